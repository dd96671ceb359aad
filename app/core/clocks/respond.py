"""Response deadline: work on the incident begins in time (B1 to B4).

Any command of a responder is a response, and so is closing the issue.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, fairly, judged, one, prompt, warnings
from app.core.effects import Remind
from app.core.escalation import channels, paging_steps, reached
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.policy import ON_CALL, Policy

NAME = "respond"


def due(incident: Incident, policy: Policy) -> Deadline | None:
    """Return the response deadline, or None if the severity has no such target."""
    targets = policy.targets_of(incident.severity)
    target = targets.respond
    if target is None:
        return None
    found = deadline(NAME, incident.declared_at, prompt(target, targets), policy, met_at=incident.responded_at)
    return fairly(found, incident)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the unfired warnings and the breach until someone responds."""
    if incident.responded_at is None and incident.status.open and (guarded := due(incident, policy)):
        yield from warnings(guarded, incident, policy)
        yield from breach(guarded, incident)


def ring(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Record a warning or breach; remind the people on call only where the escalation policy does not page anyway."""
    guarded = due(incident, policy)
    if guarded is None:
        return incident, ()
    incident, tell = judged(incident, alarm, guarded, policy, "the response target was missed")
    if not tell or paging_steps(incident, policy):
        return incident, ()
    asked = reached(incident, policy, (ON_CALL,), alarm.due)
    return incident, (
        Remind(
            key=alarm.key,
            to=asked.people,
            missing=asked.missing,
            at=alarm.due,
            via=channels(incident, policy),
            clock=NAME,
            due=guarded.due,
        ),
    )


CLOCK = Clock(NAME, "Respond", one(due), alarms, ring)
