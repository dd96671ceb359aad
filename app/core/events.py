"""The events that can happen to an incident, named in the past tense.

An event says what happened and who did it; the time travels beside it, as `now`.  All events but `AlarmFired`
and `PostmortemRefused` can be read back from GitHub, so a log of `(when, event)` is the full history of an incident.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum

from app.core.incident_report import IncidentReport
from app.core.slash_command import SlashCommand


class Role(IntEnum):
    """The permission of a person in the repository, as GitHub's permission endpoint reports it.

    UNKNOWN: GitHub was asked and did not answer, so nothing follows from it, neither rights nor their absence.
    """

    UNKNOWN = -1
    NONE = 0
    READ = 1
    TRIAGE = 2
    WRITE = 3
    MAINTAIN = 4
    ADMIN = 5


RESPONDER = Role.TRIAGE
"""The lowest role that may command an incident: people who may label an issue may lead it."""


@dataclass(frozen=True, slots=True, order=True)
class Alarm:
    """A moment at which the core must run again.

    `mark` distinguishes the alarms of one clock and names what it belongs to, so that a fired alarm is recognized
    after a replay: `respond/breach@2026-03-14T09:15Z`.
    """

    due: datetime
    clock: str
    mark: str

    @property
    def key(self) -> str:
        """The name of the alarm in `Incident.fired_alarms`."""
        return f"{self.clock}/{self.mark}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The base class of events.

    `key` identifies the event in GitHub; it is the same on every delivery and by every way the event reaches us.
    """

    by: str = ""
    role: Role = Role.NONE
    key: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened(Event):
    """An incident was declared: an issue was opened, or (`adopted`) an old issue got the incident label.

    `asks_roles`: GitHub is asked for the role of who edits, closes and reopens the issue; earlier releases did not.
    """

    id: str
    repo: str
    number: int
    title: str
    report: IncidentReport = field(default_factory=IncidentReport)
    labels: frozenset[str] = frozenset()
    adopted: bool = False
    asks_roles: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Edited(Event):
    """The title or the report was changed.

    `role_known`: GitHub was asked for the role; otherwise its author is trusted.
    """

    title: str
    report: IncidentReport
    role_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Labeled(Event):
    """A label was added to the issue."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unlabeled(Event):
    """A label was removed from the issue."""

    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Commented(Event):
    """A person wrote a comment with slash commands in it."""

    comment: int
    commands: tuple[SlashCommand, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed(Event):
    """The issue was closed.

    `role_known`: GitHub was asked for the role; otherwise its author is trusted.
    """

    role_known: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Reopened(Event):
    """The issue was reopened.

    `role_known`: GitHub was asked for the role; otherwise its author is trusted.
    """

    role_known: bool = False


TRANSITIONS = (Edited, Closed, Reopened)
"""The changes of the issue that its author may make without any role in the repository."""


def is_without_rights(event: Edited | Closed | Reopened) -> bool:
    """Return True if GitHub said that the author of this change may not command incidents.

    Logs of earlier releases hold no role for these events: their authors are trusted.
    """
    return event.role_known and event.role < RESPONDER


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueUnavailable(Event):
    """The issue became unavailable; `reason` is `deleted`, `transferred`, or `gone`: not found for a long time."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class IssueAvailable(Event):
    """The issue was seen again after it had been unavailable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationLocked(Event):
    """The conversation on the issue was locked: comments are limited, and nothing else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationUnlocked(Event):
    """The conversation on the issue was unlocked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemOpened(Event):
    """The postmortem pull request was opened."""

    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemRefused(Event):
    """GitHub refused to open the postmortem pull request; `reason` are its words, `advice` says what would help.

    GitHub keeps no record of it: after a rebuild the pull request is tried again, and refused again.
    """

    reason: str
    advice: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemMerged(Event):
    """The postmortem pull request was merged."""

    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmortemDropped(Event):
    """The postmortem pull request was closed without a merge."""

    pull: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmFired(Event):
    """One of our alarms fell due."""

    alarm: Alarm
