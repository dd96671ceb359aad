"""Response deadline: work on the incident begins in time (B1 to B4).

Any command of a responder is a response, and so is closing the issue.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import (
    Clock,
    ClockResult,
    Deadline,
    breach,
    deadline,
    expand_at_once,
    forgive_regrade,
    record_warning_or_breach,
    single_deadline,
    warnings,
)
from app.core.effects import Remind
from app.core.escalation import notice_channels, paging_steps, resolve_recipients
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.policy import ON_CALL, Policy

NAME = "respond"


def find_deadline(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the response deadline, or None if the severity has no such target."""
    targets = policy.targets_of(incident.severity)
    target = targets.respond
    if target is None:
        return None
    found = deadline(NAME, incident.declared_at, expand_at_once(target, targets), policy, met_at=incident.responded_at)
    return forgive_regrade(found, incident)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the unfired warnings and the breach until someone responds."""
    if incident.responded_at is None and incident.status.open and (guarded := find_deadline(incident, policy)):
        yield from warnings(guarded, incident, policy)
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Record a warning or breach; remind the people on call only where the escalation policy does not page anyway."""
    guarded = find_deadline(incident, policy)
    if guarded is None:
        return incident, ()
    incident, notify = record_warning_or_breach(incident, alarm, guarded, policy, "the response target was missed")
    if not notify or paging_steps(incident, policy):
        return incident, ()
    recipients = resolve_recipients(incident, policy, (ON_CALL,), alarm.due)
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


CLOCK = Clock(NAME, "Respond", single_deadline(find_deadline), alarms, fire)
