"""Question whether an incident that no person has touched for a week still is one.

After that week the rules alone page no one.  The question is asked once, by daylight, and again only after a person has
touched the incident and left it for another week.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from app.core.clocks.clock import Clock, ClockResult, Deadline, key_timestamp
from app.core.daylight import next_daylight
from app.core.effects import UntouchedQuestion
from app.core.escalation import current_owner, notice_channels
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import Policy, Via
from app.core.timeline import EntryKind

NAME = "untouched"
UNTOUCHED_PERIOD = timedelta(days=7)
"""After this time without a touch of a person, no page follows from the rules alone (FC-G8)."""


def last_touched_at(incident: Incident) -> datetime:
    """Return when a person last touched the incident: declared, graded, commanded, labelled or reopened it."""
    declared_at = incident.declared_at
    return max(
        declared_at,
        incident.severity_set_at,
        incident.escalation_started_at,
        incident.last_activity_at or declared_at,
        incident.updated_at or declared_at,
        incident.page_acknowledged_at or declared_at,
        incident.returned_at or declared_at,
    )


def pages_until(incident: Incident) -> datetime:
    """Return until when the rules may page people for an incident that no person touches."""
    return last_touched_at(incident) + UNTOUCHED_PERIOD


def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """Return no deadlines: the question is not due to anyone."""
    return ()


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the question, unless it was asked since the last touch."""
    if not incident.status.open:
        return
    touched_at = last_touched_at(incident)
    mark = f"ask@{key_timestamp(touched_at)}"
    if f"{NAME}/{mark}" not in incident.fired_alarms:
        yield Alarm(next_daylight(policy, touched_at + UNTOUCHED_PERIOD), NAME, mark)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Ask the owner, or the people on call, whether it is still an incident; no pager rings for that."""
    recipients = current_owner(incident, policy, alarm.due)
    incident = incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, "nobody has touched it for a week"
    )
    return incident, (
        UntouchedQuestion(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=tuple(via for via in notice_channels(incident, policy) if via is not Via.PAGER),
            since=last_touched_at(incident),
        ),
    )


CLOCK = Clock(NAME, "Untouched", deadlines, alarms, fire)
