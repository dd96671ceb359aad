"""Commander deadline: an incident gets a commander in time (B8).

The first responder to take the incident commands it until they hand it on.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, forgive_regrade, single_deadline
from app.core.effects import Remind
from app.core.escalation import notice_channels, role_holders
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import COMMANDER, Policy
from app.core.timeline import EntryKind

NAME = "commander"


def find_deadline(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the commander deadline, or None if there is no target.

    Also None once the incident has ended without a commander: there is nothing left to lead.
    """
    target, met_at = policy.targets_of(incident.severity).commander, incident.acknowledged_at
    if target is None or (met_at is None and not incident.status.open):
        return None
    return forgive_regrade(deadline(NAME, incident.declared_at, target, policy, met_at=met_at), incident)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the breach alarm until the incident is acknowledged."""
    if incident.acknowledged_at is None and (guarded := find_deadline(incident, policy)):
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Remind the holders of the commander role and their backups, otherwise the people on call."""
    recipients = role_holders(incident, policy, (), alarm.due, fallback=(COMMANDER,))
    notice = Remind(
        key=alarm.key,
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=alarm.due,
        via=notice_channels(incident, policy),
        clock=NAME,
        due=alarm.due,
    )
    return incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, "nobody led it in time"
    ), (notice,)


CLOCK = Clock(NAME, "Commander", single_deadline(find_deadline), alarms, fire)
