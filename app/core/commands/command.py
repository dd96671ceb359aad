"""What a slash command is made of."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.core.effects import Effect
from app.core.events import Event, Role
from app.core.incident import Incident, replace
from app.core.lifecycle import Status, after
from app.core.policy import Policy

Answer = tuple[Incident, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Call:
    """Somebody used a command, in a comment or by its twin, a label.

    `argument` is what followed the name, as it was typed.  `event` is where it was said, and `nth` its place there,
    from 0.
    """

    by: str
    at: datetime
    argument: str
    event: Event
    policy: Policy
    nth: int = 0

    @property
    def key(self) -> str:
        """What the effects of this call are known by: one comment may hold the same command twice."""
        return f"{self.event.key}.{self.nth}" if self.nth else self.event.key


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the shelf.  `run` may raise Refused."""

    name: str
    usage: str
    summary: str
    role: Role
    run: Callable[[Incident, Call], Answer]


def spoken(incident: Incident, call: Call) -> Incident:
    """The incident after a responder did anything about it: a response, and the end of a silence.

    A page after a silence is answered by that.  The page of an incident that nobody holds is not: it has to be taken.
    """
    held = incident.status is not Status.TRIGGERED
    return replace(
        incident,
        responded_at=incident.responded_at or call.at,
        spoken_at=call.at,
        answered_at=call.at if held and incident.paging else incident.answered_at,
    )


def taken(incident: Incident, call: Call) -> Incident:
    """The incident in the hands of whoever works on it; who holds it already keeps it."""
    held = incident.status is not Status.TRIGGERED
    return replace(
        spoken(incident, call),
        commander=(incident.commander if held else "") or call.by,
        acknowledged_at=incident.acknowledged_at or call.at,
        answered_at=call.at if incident.paging else incident.answered_at,
    )


def moved(incident: Incident, call: Call, action: str) -> Incident:
    """The incident after `action`, taken by whoever did it.  Raises Refused."""
    status = after(incident.status, action)
    incident = replace(taken(incident, call), status=status)
    if status is Status.MITIGATED:
        return replace(incident, mitigated_at=incident.mitigated_at or call.at)
    if status is Status.RESOLVED:
        return replace(incident, resolved_at=call.at, mitigated_at=incident.mitigated_at or call.at)
    return incident
