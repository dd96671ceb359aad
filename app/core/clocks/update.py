"""Update cadence for responders (B6), from the acknowledgement to the resolution.

It counts from the last update, or from the last acknowledged page. A grade changes the cadence, not the start: a lower
severity does not delay an update beyond its own cadence, and a higher one may make it due at once.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, single_deadline
from app.core.effects import Remind
from app.core.escalation import current_owner, notice_channels
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import Policy
from app.core.timeline import EntryKind

NAME = "update"


def find_deadline(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the deadline of the next update, or None before the acknowledgement and after the resolution."""
    target = policy.targets_of(incident.severity).update
    if target is None or incident.page_acknowledged_at is None or not incident.status.open:
        return None
    start = (
        max(incident.page_acknowledged_at, incident.updated_at)
        if incident.updated_at
        else incident.page_acknowledged_at
    )
    return deadline(NAME, start, target, policy)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the breach alarm of the next update."""
    if guarded := find_deadline(incident, policy):
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Record the missed update and remind the current owner."""
    recipients = current_owner(incident, policy, alarm.due)
    incident = incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, "an update was due"
    )
    return incident, (
        Remind(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=notice_channels(incident, policy),
            clock=NAME,
            due=alarm.due,
        ),
    )


CLOCK = Clock(NAME, "Next update", single_deadline(find_deadline), alarms, fire)
