"""What happens to an incident, in the past tense.

An event says what happened and by whom; when it happened is the `now` that travels beside it.  All but `Rang` can be
read back from GitHub, so a log of `(when, event)` is the whole truth about an incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from app.core.incident_report import Report
from app.core.slash_command import Spoken


class Role(IntEnum):
    """What GitHub's permission endpoint says somebody may do in the repository."""

    NONE = 0
    READ = 1
    TRIAGE = 2
    WRITE = 3
    MAINTAIN = 4
    ADMIN = 5


RESPONDER = Role.TRIAGE
"""The least role that may command an incident: whoever may label an issue may lead it."""


@dataclass(frozen=True, slots=True, order=True)
class Alarm:
    """A moment at which the core wants to be woken.

    `mark` tells the alarms of one clock apart and names what it belongs to, so an alarm that has rung is known again
    after a replay: `respond/breach@2026-03-14T09:15Z`.
    """

    due: datetime
    clock: str
    mark: str

    @property
    def key(self) -> str:
        return f"{self.clock}/{self.mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The common part.  `key` is the event's name in GitHub, the same however often and whichever way it reaches us."""

    by: str = ""
    role: Role = Role.NONE
    key: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """An incident was declared: the issue was opened, or (`adopted`) an old issue got the incident label."""

    id: str
    repo: str
    number: int
    title: str
    report: Report = field(default_factory=Report)
    labels: frozenset[str] = frozenset()
    adopted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited(Event):
    """The title or the report was changed."""

    title: str
    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled(Event):
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabeled(Event):
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Said(Event):
    """A person wrote a comment with commands in it."""

    comment: int
    spoken: tuple[Spoken, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened(Event):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Left(Event):
    """The issue went out of reach; `how` is `deleted`, `transferred` or `locked`."""

    how: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Returned(Event):
    """A locked issue was unlocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemOpened(Event):
    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemMerged(Event):
    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemDropped(Event):
    """Its pull request was closed without a merge."""

    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rang(Event):
    """An alarm of ours fell due."""

    alarm: Alarm
