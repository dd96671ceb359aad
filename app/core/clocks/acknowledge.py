"""Acknowledgement deadline: the person on call answers a page in time, by default within five minutes (B5)."""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, single_deadline
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import Policy
from app.core.timeline import EntryKind

NAME = "acknowledge"


def find_deadline(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the acknowledgement deadline, or None if the severity has no such target."""
    target = policy.targets_of(incident.severity).acknowledge
    if target is None:
        return None
    return deadline(
        NAME,
        incident.paging_started_at,
        target,
        policy,
        met_at=None if incident.is_paging else incident.page_acknowledged_at,
    )


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the breach alarm while the incident is paging."""
    if incident.is_paging and (guarded := find_deadline(incident, policy)):
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Record the breach on the timeline; the escalation policy keeps paging by itself."""
    return incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, "nobody acknowledged in time"
    ), ()


CLOCK = Clock(NAME, "Acknowledge", single_deadline(find_deadline), alarms, fire)
