"""An incident as the core knows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.core.calendar import Rest, rested
from app.core.events import Event, Role
from app.core.incident_report import Exposure, Kind, Level, Report
from app.core.lifecycle import Status
from app.core.severity import Severity
from app.core.timeline import Deed, Entry

if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(incident: Incident, **changes: Any) -> Incident:
        """What `dataclasses.replace` gives, whose types are checked, without asking every field: every event copies one."""
        copy = object.__new__(Incident)
        object.__setattr__(copy, "__dict__", {**incident.__dict__, **changes})
        return copy


__all__ = ["Authority", "Grade", "Ground", "Incident", "PostmortemPull", "replace"]


@dataclass(frozen=True, slots=True)
class Grade:
    """How severe, and why: one sentence for each ground that was weighed, the deciding ones first."""

    severity: Severity
    reasons: tuple[str, ...] = ()
    by: str = ""
    """Who graded by hand; empty: graded from the report."""
    unsure: bool = False
    """The report did not say enough; the default of the policy stands until somebody grades it."""


@dataclass(frozen=True, slots=True)
class Ground:
    """The answers that a grade from the report rested on, from `at` on.

    GitHub keeps only the newest text of an issue, so these are kept beside the board, where a rebuild finds them.
    """

    at: datetime
    by: str
    key: str
    url: str
    severity: Severity | None
    impact: Level | None
    urgency: Level | None
    kind: Kind | None
    personal_data: Exposure | None
    doubts: tuple[str, ...] = ()
    services: tuple[str, ...] = ()
    """Those that the policy knows, by their names there."""
    detected_at: datetime | None = None
    """Kept where a regulation counts from it."""

    @property
    def answers(self) -> tuple[object, ...]:
        """What was answered, apart from when and by whom."""
        return (
            self.severity,
            self.impact,
            self.urgency,
            self.kind,
            self.personal_data,
            self.doubts,
            self.services,
            self.detected_at,
        )


@dataclass(frozen=True, slots=True)
class Authority:
    """What somebody was allowed to do when they acted, from `at` on.  GitHub knows only what they may do today."""

    at: datetime
    login: str
    role: Role


@dataclass(frozen=True, slots=True)
class PostmortemPull:
    """The pull request that holds the postmortem; `state` is `open`, `merged` or `dropped`, the last two since `ended_at`."""

    number: int
    url: str
    state: str = "open"
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Incident:
    """Everything known of one incident.  Times are UTC; None means not yet.

    `acknowledged_at` and `responded_at` are the first acknowledgement and the first response ever; `answered_at` is when
    the last page was answered, which taking or closing the incident does too; `spoken_at` when a responder last did anything, and `updated_at` when they last gave an
    update.  `mitigated_at`, `resolved_at` and `closed_at` belong to the run that goes on since the last reopening.
    `graded_at` is when the severity last changed, or was set by hand, or other services or another type brought other
    rules with them.
    `armed_at` is when paging last began: the declaration, a grade that pages otherwise, a reopening, or a silence that
    lasted too long.
    `laddered_at` is what the ladder counts from: the declaration or the last reopening.  `rests` are the times that a
    reopened incident spent resolved, which its resolution target does not count.
    `rung` are the keys of the alarms that have rung, and so what has been warned of, breached and told.
    `opened_with` are the severity labels the issue came with; `labels` are those of ours that it should carry.  `left` says how the issue went out of reach: while it is
    not empty nothing rings and nothing is said.  `returned_at` is when it last came back.
    `postmortem_wanted_at` is when the postmortem was asked for; None with `postmortem_wanted`: stored before it was kept.
    """

    id: str
    repo: str
    number: int
    url: str
    title: str
    opened_by: str
    declared_at: datetime
    report: Report
    grade: Grade
    graded_at: datetime
    armed_at: datetime
    laddered_at: datetime
    opened_with: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    status: Status = Status.TRIGGERED
    commander: str = ""
    acknowledged_at: datetime | None = None
    answered_at: datetime | None = None
    responded_at: datetime | None = None
    spoken_at: datetime | None = None
    updated_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    reopened: int = 0
    rests: tuple[Rest, ...] = ()
    rung: frozenset[str] = frozenset()
    postmortem_wanted: bool = False
    postmortem_wanted_at: datetime | None = None
    postmortem: PostmortemPull | None = None
    left: str = ""
    returned_at: datetime | None = None
    timeline: tuple[Entry, ...] = ()
    grounds: tuple[Ground, ...] = ()
    authorities: tuple[Authority, ...] = ()

    @property
    def severity(self) -> Severity:
        return self.grade.severity

    @property
    def rested(self) -> timedelta:
        """How long it was resolved before it was reopened."""
        return rested(self.rests, self.declared_at)

    @property
    def paging(self) -> bool:
        """Nobody has answered yet: not the first page, or not the page after a long silence (E3)."""
        return self.status.open and (self.answered_at is None or self.answered_at < self.armed_at)

    @property
    def reckoned_at(self) -> datetime:
        """When the alarms were last made anew: by a grade, a reopening, a return, or a postmortem that was asked for.

        None is due before that (B11).
        """
        since = max(self.graded_at, self.laddered_at)
        for at in (self.returned_at, self.postmortem_wanted_at):
            if at is not None and at > since:
                since = at
        return since

    def noted(self, at: datetime, event: Event, deed: Deed, text: str, words: str = "") -> Incident:
        """The same incident with one more row in its timeline."""
        entry = Entry(at=at, by=event.by, deed=deed, text=text, words=words, key=event.key, url=event.url)
        return replace(self, timeline=(*self.timeline, entry))

    def heard(self, at: datetime, event: Event) -> Incident:
        """The same incident, remembering what the actor of `event` was allowed to do."""
        last = next((a.role for a in reversed(self.authorities) if a.login == event.by), None)
        if last == event.role:
            return self
        return replace(self, authorities=(*self.authorities, Authority(at, event.by, event.role)))
