"""Resolution deadline: the service is restored in time (B1 to B3)."""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import (
    Clock,
    ClockResult,
    Deadline,
    breach,
    deadline,
    record_warning_or_breach,
    single_deadline,
    warnings,
)
from app.core.effects import Remind
from app.core.escalation import current_owner, notice_channels
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.policy import Policy

NAME = "resolve"


def find_deadline(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the resolution deadline, or None if the severity has no such target."""
    target = policy.targets_of(incident.severity).resolve
    if target is None:
        return None
    met_at = incident.resolved_at or incident.closed_at
    return deadline(NAME, incident.declared_at, target, policy, met_at=met_at, pauses=incident.pauses)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the unfired warnings and the breach while the incident is open."""
    if incident.status.open and (guarded := find_deadline(incident, policy)):
        yield from warnings(guarded, incident, policy)
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Record a warning or breach, and remind the current owner if it is one to notify."""
    guarded = find_deadline(incident, policy)
    if guarded is None:
        return incident, ()
    incident, notify = record_warning_or_breach(incident, alarm, guarded, policy, "the resolution target was missed")
    if not notify:
        return incident, ()
    recipients = current_owner(incident, policy, alarm.due)
    return incident, (
        Remind(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=notice_channels(incident, policy),
            clock=NAME,
            due=guarded.due,
        ),
    )


CLOCK = Clock(NAME, "Resolve", single_deadline(find_deadline), alarms, fire)
