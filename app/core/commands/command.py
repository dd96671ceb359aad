"""The parts of a slash command, and the changes that several commands share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from app.core.effects import Effect
from app.core.events import Event, Role
from app.core.incident import Incident, replace
from app.core.lifecycle import Status, next_status
from app.core.policy import Policy

Answer = tuple[Incident, tuple[Effect, ...]]
"""The changed incident and the effects to carry out."""


@dataclass(frozen=True, slots=True)
class Call:
    """One use of a command, in a comment or through the label that stands for it.

    `argument` is the text after the name, as it was typed.  `event` is the event that contains it, and `index` its
    position there, from 0.
    """

    by: str
    at: datetime
    argument: str
    event: Event
    policy: Policy
    index: int = 0

    @property
    def key(self) -> str:
        """The key of the effects of this call: one comment may hold the same command twice."""
        return f"{self.event.key}.{self.index}" if self.index else self.event.key


@dataclass(frozen=True, slots=True)
class Command:
    """One slash command.  `run` may raise Refused."""

    name: str
    usage: str
    summary: str
    role: Role
    run: Callable[[Incident, Call], Answer]


def with_activity(incident: Incident, call: Call) -> Incident:
    """Record activity of a responder: a response, and the end of a silence.

    It answers a page that was sent after a silence, but not the page of a triggered incident: that one has to be taken.
    """
    has_commander = incident.status is not Status.TRIGGERED
    return replace(
        incident,
        responded_at=incident.responded_at or call.at,
        last_activity_at=call.at,
        page_acknowledged_at=call.at if has_commander and incident.is_paging else incident.page_acknowledged_at,
    )


def with_commander(incident: Incident, call: Call) -> Incident:
    """Make the caller the commander, unless the incident has one; record the acknowledgement and the activity."""
    has_commander = incident.status is not Status.TRIGGERED
    return replace(
        with_activity(incident, call),
        commander=(incident.commander if has_commander else "") or call.by,
        acknowledged_at=incident.acknowledged_at or call.at,
        page_acknowledged_at=call.at if incident.is_paging else incident.page_acknowledged_at,
    )


def with_status(incident: Incident, call: Call, action: str) -> Incident:
    """Change the status by `action` and make the caller the commander, if there is none.  Raises Refused."""
    status = next_status(incident.status, action)
    incident = replace(with_commander(incident, call), status=status)
    if status is Status.MITIGATED:
        return replace(incident, mitigated_at=incident.mitigated_at or call.at)
    if status is Status.RESOLVED:
        return replace(incident, resolved_at=call.at, mitigated_at=incident.mitigated_at or call.at)
    return incident
