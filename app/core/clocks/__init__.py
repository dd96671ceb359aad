"""The shelf of clocks: one file each, one line here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from app.core.clocks import acknowledge, audience, commander, escalate, postmortem, regulatory, resolve, respond, update
from app.core.clocks.clock import Clock, Deadline
from app.core.effective_policy import rules
from app.core.effects import Escalate, Remind
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy

CLOCKS: dict[str, Clock] = {
    clock.name: clock
    for clock in (
        acknowledge.CLOCK,
        commander.CLOCK,
        respond.CLOCK,
        update.CLOCK,
        audience.CLOCK,
        resolve.CLOCK,
        regulatory.CLOCK,
        escalate.CLOCK,
        postmortem.CLOCK,
    )
}


def alarms(incident: Incident, policy: Policy) -> tuple[Alarm, ...]:
    """The alarms that should exist now, the earliest first, and together due in the order of the shelf.  Whoever keeps alarms makes theirs equal to these.

    None is due before the grade, reopening or return that made it: what is late by then rings at that moment (B11).
    """
    policy = rules(policy, incident)
    found = [alarm for clock in CLOCKS.values() for alarm in clock.alarms(incident, policy)]
    return tuple(sorted(_timely(found, incident), key=lambda alarm: alarm.due))


def still(alarm: Alarm, incident: Incident, policy: Policy) -> Alarm | None:
    """The alarm of that key as it should be now, or None where it should not be any more."""
    clock = CLOCKS.get(alarm.clock)
    if clock is None:
        return None
    found = (found for found in clock.alarms(incident, rules(policy, incident)) if found.mark == alarm.mark)
    return next(_timely(found, incident), None)


def _timely(found: Iterable[Alarm], incident: Incident) -> Iterator[Alarm]:
    if not incident.left:
        earliest = incident.reckoned_at
        for alarm in found:
            yield replace(alarm, due=earliest) if alarm.due < earliest else alarm


def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """The promises of this incident, in the order of the shelf."""
    policy = rules(policy, incident)
    return tuple(found for clock in CLOCKS.values() for found in clock.deadlines(incident, policy))


def owed(notice: Escalate | Remind, incident: Incident) -> bool:
    """Whether what a clock or the ladder asked for is still to be done."""
    if notice.key.startswith(f"{postmortem.NAME}/"):
        return incident.resolved_at is not None and not postmortem.merged(incident)
    if not isinstance(notice, Remind):
        return incident.status.open
    if notice.clock == regulatory.NAME:
        return incident.status is not Status.CLOSED
    told = notice.clock in (update.NAME, audience.NAME) and (incident.updated_at or notice.at) > notice.at
    return incident.status.open and not told


__all__ = ["CLOCKS", "Clock", "Deadline", "alarms", "deadlines", "owed", "still"]
