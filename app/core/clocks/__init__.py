"""The shelf of clocks: one file each, one line here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.core.clocks import acknowledge, escalate, resolve, respond, update
from app.core.clocks.clock import Clock, Deadline
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.policy import Policy
from app.core.rules import rules

CLOCKS: dict[str, Clock] = {
    clock.name: clock
    for clock in (
        acknowledge.CLOCK,
        respond.CLOCK,
        update.CLOCK,
        resolve.CLOCK,
        escalate.CLOCK,
    )
}


def alarms(incident: Incident, policy: Policy) -> tuple[Alarm, ...]:
    """The alarms that should exist now, the earliest first, and together due in the order of the shelf.  Whoever keeps alarms makes theirs equal to these.

    None is due before the grade, reopening or return that made it: what is late by then rings at that moment (B11).
    """
    policy = rules(policy, incident)
    found = [alarm for clock in CLOCKS.values() for alarm in _of(clock, incident, policy)]
    return tuple(sorted(found, key=lambda alarm: alarm.due))


def still(alarm: Alarm, incident: Incident, policy: Policy) -> Alarm | None:
    """The alarm of that key as it should be now, or None where it should not be any more."""
    clock, policy = CLOCKS.get(alarm.clock), rules(policy, incident)
    return next((found for found in _of(clock, incident, policy) if found.mark == alarm.mark), None) if clock else None


def _of(clock: Clock, incident: Incident, policy: Policy) -> Iterator[Alarm]:
    if not incident.left:
        earliest = incident.reckoned_at
        for alarm in clock.alarms(incident, policy):
            yield replace(alarm, due=earliest) if alarm.due < earliest else alarm


def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """The promises of this incident, in the order of the shelf."""
    policy = rules(policy, incident)
    return tuple(found for clock in CLOCKS.values() if (found := clock.deadline(incident, policy)))


__all__ = ["CLOCKS", "Clock", "Deadline", "alarms", "deadlines", "still"]
