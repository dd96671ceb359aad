"""Somebody has begun to work on it (B1 to B4).  Any command of a responder is a response, and so is closing the issue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from app.core.clocks.clock import Answer, Clock, Deadline, breach, deadline, judged, warnings
from app.core.effects import Remind
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.ladder import paging_steps, reached
from app.core.policy import ON_CALL, Duration, Policy, Target

NAME = "respond"
_ANSWER = Target(Duration(seconds=300))


def due(incident: Incident, policy: Policy) -> Deadline | None:
    targets = policy.targets_of(incident.severity)
    target = targets.respond
    if target is None:
        return None
    if target.within.at_once:
        # "At once" (B4) is as soon as a page can be answered, else every such incident would begin with a breach.
        target = targets.acknowledge or _ANSWER
    found = deadline(NAME, incident.declared_at, target, policy, met_at=incident.responded_at)
    if found.met_at is not None and found.met_at > found.due and not _missed(incident):
        # It was in time for the severity it then had; a raise does not turn that into the past (B11).
        return replace(found, due=found.met_at)
    return found


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    if incident.responded_at is None and incident.status.open and (guarded := due(incident, policy)):
        yield from warnings(guarded, incident, policy)
        yield from breach(guarded, incident)


def ring(incident: Incident, alarm: Alarm, policy: Policy) -> Answer:
    """A comment only where the ladder does not page anyway."""
    guarded = due(incident, policy)
    if guarded is None:
        return incident, ()
    incident, tell = judged(incident, alarm, guarded, policy, "the response target was missed")
    if not tell or paging_steps(incident, policy):
        return incident, ()
    asked = reached(incident, policy, (ON_CALL,), alarm.due)
    return incident, (
        Remind(key=alarm.key, to=asked.people, missing=asked.missing, at=alarm.due, clock=NAME, due=guarded.due),
    )


def _missed(incident: Incident) -> bool:
    return any(key.startswith(f"{NAME}/breach@") for key in incident.rung)


CLOCK = Clock(NAME, "Respond", due, alarms, ring)
