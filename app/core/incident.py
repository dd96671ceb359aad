"""The state of an incident, as the rules see it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.core.calendar import Pause, paused_time
from app.core.events import Closed, Edited, Event, Reopened, Role, is_without_rights
from app.core.incident_report import Exposure, IncidentReport, Kind, Level
from app.core.lifecycle import Status
from app.core.severity import Severity
from app.core.timeline import Entry, EntryKind

if TYPE_CHECKING:
    from dataclasses import replace
else:

    def replace(incident: Incident, **changes: Any) -> Incident:
        """Return a copy of `incident` with some fields changed, like `dataclasses.replace`, but faster.

        It does not visit every field, which matters because every event makes a copy.  Type checkers see
        `dataclasses.replace`, so the changes are still checked.
        """
        copy = object.__new__(Incident)
        object.__setattr__(copy, "__dict__", {**incident.__dict__, **changes})
        return copy


__all__ = [
    "DisputedClosing",
    "Grade",
    "GradingInput",
    "Incident",
    "PendingEdit",
    "PostmortemPull",
    "RoleObservation",
    "replace",
]


@dataclass(frozen=True, slots=True)
class Grade:
    """A severity and its reasons: one sentence for each input that was weighed, the deciding ones first."""

    severity: Severity
    reasons: tuple[str, ...] = ()
    by: str = ""
    """The login of the person who graded by hand; empty: graded from the report."""
    uncertain: bool = False
    """True if the report was not clear enough: its severity, or the default of the policy, awaits confirmation."""


@dataclass(frozen=True, slots=True)
class GradingInput:
    """The answers in a report that determine its grade, valid from `at` on.

    GitHub keeps only the newest text of an issue, so these answers are stored in the board, where a rebuild finds them.
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
    """The affected services that the policy knows, by their names in the policy."""
    detected_at: datetime | None = None
    """Set only where a regulation counts from it."""

    @property
    def answers(self) -> tuple[object, ...]:
        """The graded answers, without time and author."""
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
class RoleObservation:
    """The role a person had when they acted, valid from `at` on.

    GitHub only returns the current permission, so the earlier ones are recorded here.  `answered`: a person without
    rights was told so; False: they only edited, closed or reopened the issue.
    """

    at: datetime
    login: str
    role: Role
    answered: bool = True


@dataclass(frozen=True, slots=True)
class PendingEdit:
    """An edit by a person without rights whose answers do not count until a responder decides.

    `report` is what the issue shows now, and `severity` what it would be by that.
    """

    at: datetime
    by: str
    report: IncidentReport
    severity: Severity


@dataclass(frozen=True, slots=True)
class DisputedClosing:
    """The closing of the issue by a person without rights, which a responder has not confirmed."""

    at: datetime
    by: str


@dataclass(frozen=True, slots=True)
class PostmortemPull:
    """The postmortem pull request; `state` is `open`, `merged` or `dropped`, the last two since `ended_at`."""

    number: int
    url: str
    state: str = "open"
    ended_at: datetime | None = None


@dataclass(frozen=True)
class Incident:
    """The state of one incident.  Times are UTC; None means that it has not happened yet.

    `acknowledged_at` and `responded_at` are the first acknowledgement and the first response ever.
    `page_acknowledged_at` is when the last page was answered; taking or closing the incident answers it too.
    `last_activity_at` is when a responder last did anything, `updated_at` when they last gave an update.
    `mitigated_at`, `resolved_at` and `closed_at` belong to the run since the last reopening.
    `severity_set_at` is when the severity last changed or was set by hand, or when other services or another type
    brought another policy into effect.
    `paging_started_at` is when paging last began: at the declaration, a grade that pages differently, a reopening, or
    after a silence that lasted too long.
    `escalation_started_at` is what the escalation steps count from: the declaration or the last reopening.
    `pauses` are the times that a reopened incident spent resolved, which its resolution target does not count.
    `fired_alarms` are the keys of the alarms that have fired: the warnings, breaches and escalations so far.
    `initial_labels` are the severity labels the issue was opened with; `labels` are our own labels it should carry.
    `unavailable` says why the issue cannot be used (`deleted`, `transferred` or `gone`): while it is not empty no alarm
    fires and nothing is posted.  `returned_at` is when the issue last became available again.
    `conversation_locked`: our comments wait for the unlock, and everything else goes on.
    `postmortem_refusal` says why GitHub refuses the postmortem pull request; empty: it does not.
    `disputed_closing`: the issue is closed, but by a person without rights, so the incident is not.
    `pending_edit`: the report shown on the issue is not the one that counts.
    `outsider_notified_at` is when a change by a person without rights last made the incident notify people.
    `records_transitions`: `role_history` holds the roles of those who edited, closed or reopened the issue, too.
    `postmortem_wanted_at` is when the postmortem was asked for; None although it is wanted: an older release stored it.
    """

    id: str
    repo: str
    number: int
    url: str
    title: str
    opened_by: str
    declared_at: datetime
    report: IncidentReport
    grade: Grade
    severity_set_at: datetime
    paging_started_at: datetime
    escalation_started_at: datetime
    initial_labels: frozenset[str] = frozenset()
    labels: frozenset[str] = frozenset()
    status: Status = Status.TRIGGERED
    commander: str = ""
    acknowledged_at: datetime | None = None
    page_acknowledged_at: datetime | None = None
    responded_at: datetime | None = None
    last_activity_at: datetime | None = None
    updated_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None
    reopen_count: int = 0
    pauses: tuple[Pause, ...] = ()
    fired_alarms: frozenset[str] = frozenset()
    postmortem_wanted: bool = False
    postmortem_wanted_at: datetime | None = None
    postmortem: PostmortemPull | None = None
    unavailable: str = ""
    returned_at: datetime | None = None
    conversation_locked: bool = False
    postmortem_refusal: str = ""
    timeline: tuple[Entry, ...] = ()
    grading_inputs: tuple[GradingInput, ...] = ()
    role_history: tuple[RoleObservation, ...] = ()
    disputed_closing: DisputedClosing | None = None
    pending_edit: PendingEdit | None = None
    outsider_notified_at: datetime | None = None
    records_transitions: bool = False

    @property
    def severity(self) -> Severity:
        """The current severity."""
        return self.grade.severity

    @property
    def shown_report(self) -> IncidentReport:
        """The report as the issue shows it."""
        return self.pending_edit.report if self.pending_edit is not None else self.report

    @property
    def paused_time(self) -> timedelta:
        """How long the incident was resolved before it was reopened."""
        return paused_time(self.pauses, self.declared_at)

    @property
    def is_paging(self) -> bool:
        """True while a page is unanswered: the first one, or the one after a long silence (E3)."""
        return self.status.open and (
            self.page_acknowledged_at is None or self.page_acknowledged_at < self.paging_started_at
        )

    @property
    def alarms_reset_at(self) -> datetime:
        """When a grade, a reopening, a return or the request of a postmortem last reset the alarms.

        No alarm is due before it (B11).
        """
        since = max(self.severity_set_at, self.escalation_started_at)
        for at in (self.returned_at, self.postmortem_wanted_at):
            if at is not None and at > since:
                since = at
        return since

    def with_entry(self, at: datetime, event: Event, kind: EntryKind, text: str, detail: str = "") -> Incident:
        """Return the incident with one more timeline entry."""
        entry = Entry(at=at, by=event.by, kind=kind, text=text, detail=detail, key=event.key, url=event.url)
        return replace(self, timeline=(*self.timeline, entry))

    def with_role(self, at: datetime, event: Event, *, answered: bool = True) -> Incident:
        """Return the incident with the role of the actor of `event` added to its role history, if it is new."""
        last = next((a for a in reversed(self.role_history) if a.login == event.by), None)
        if last is not None and last.role == event.role and (last.answered or not answered):
            return self
        return replace(self, role_history=(*self.role_history, RoleObservation(at, event.by, event.role, answered)))

    def with_transition_role(self, at: datetime, event: Edited | Closed | Reopened) -> Incident:
        """Return the incident with the role of who edited, closed or reopened the issue, if GitHub was asked for it."""
        if not event.role_known:
            return self
        recording = self if self.records_transitions else replace(self, records_transitions=True)
        return recording.with_role(at, event, answered=False)

    def may_be_notified_by(
        self, event: Edited | Closed | Reopened, at: datetime, period: timedelta, *, confirmed: bool
    ) -> bool:
        """Return True if this change may notify people: one of people without rights does so once in `period`."""
        last = self.outsider_notified_at
        return not is_without_rights(event) or confirmed or last is None or at - last >= period

    def with_outsider_notification(self, event: Edited | Closed | Reopened, at: datetime) -> Incident:
        """Return the incident with the time of this change, if it is by a person without rights."""
        return replace(self, outsider_notified_at=at) if is_without_rights(event) else self
