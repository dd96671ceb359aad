"""Report the incidents closed in a week, month, quarter or year, for teams that run no server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from app.core.incident import Incident
from app.core.metrics import summarize_metrics
from app.core.policy import BUSINESS, Policy
from app.core.report_period import PERIOD_KINDS, Period, period_containing, previous_period
from app.github import inbound
from app.github.incident_history import MAX_INCIDENTS, current_role_lookup, load_incident
from app.github.tracker import GitHubTracker, parse_time
from app.ports import DeliveryFailed, NotFound, Repository, Tracker
from app.render.markdown.report import PeriodReport, as_json, headline, render_report
from app.runner.actions_io import Workflow
from app.runner.active_policy import RunnerPolicy, load_policy
from app.runner.context import RETRY_SECONDS, annotate_policy
from app.text import make_visible

_T = TypeVar("_T")

_TITLE = "Muster report"
_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, inbound.Unreadable)
"""Errors from an issue that is not as expected: the other incidents are reported all the same."""
_INCIDENTS_PER_PROGRESS_LINE = 25
"""Number of incidents between two progress lines; each takes GitHub about a second."""
_MAX_ATTEMPTS = 3
_MAX_RETRY_WAIT_SECONDS = 20.0
"""Maximum wait in seconds between two attempts; a longer request of GitHub ends the run."""


class _ReportFailed(Exception):
    """No report can be made, and the reason has been printed."""

    def __init__(self, exit_code: int = 1) -> None:
        super().__init__()
        self.exit_code = exit_code


@dataclass
class _ClosedIncidents:
    """The closed incidents of a period, as far as they could be read.

    `unread` holds the numbers of the others, `left_out` counts incidents beyond the maximum.
    """

    incidents: list[Incident]
    unread: list[int]
    left_out: int = 0


def report(workflow: Workflow, *, as_lines: bool = False) -> int:
    """Report the incidents closed in a period; return the exit code.

    1: not all of them could be listed, or the policy has faults; 2: the period is invalid.  MUSTER_PERIOD defaults to
    `week`; MUSTER_AT is a day inside the wanted period, and without it the last complete period is meant.  `as_lines`
    also prints the JSON to the log.  Raises WorkflowError outside a workflow.
    """
    repository = _repository(workflow)
    client = workflow.create_client(workflow.token)
    try:
        return _ReportRun(workflow, GitHubTracker(client, repository), repository, workflow.clock()).report(as_lines)
    except _ReportFailed as stopped:
        return stopped.exit_code
    finally:
        client.close()


def _repository(workflow: Workflow) -> Repository:
    return workflow.repository(workflow.load_payload())


@dataclass(frozen=True)
class _ReportRun:
    """One report, from the wanted period to its output."""

    workflow: Workflow
    tracker: Tracker
    repository: Repository
    now: datetime

    def report(self, as_lines: bool) -> int:
        # Check the usage first: it costs no call.
        kind, day = self._requested_period()
        active = self._load_policy()
        policy = active.policy
        period = self._resolve_period(kind, day, policy)
        incidents_read = self._read_closed_incidents(period, policy)
        period_report = PeriodReport(
            repository=self.repository.name,
            period=period,
            metrics=summarize_metrics(incidents_read.incidents, policy, self.now),
            made_at=self.now,
            left_out=incidents_read.left_out,
            unread=tuple(incidents_read.unread),
        )
        self._publish(period_report, policy, as_lines)
        return 1 if active.problems else 0

    def _requested_period(self) -> tuple[str, date | None]:
        """Return the kind of period and a day in it; None: the last complete one."""
        environment = self.workflow.environment
        kind = environment.get("MUSTER_PERIOD", "").strip().lower() or "week"
        if kind not in PERIOD_KINDS:
            raise self._usage_error(f"MUSTER_PERIOD: '{make_visible(kind, 40)}' is none of {', '.join(PERIOD_KINDS)}.")
        if not (day_text := environment.get("MUSTER_AT", "").strip()):
            return kind, None
        try:
            return kind, date.fromisoformat(day_text)
        except ValueError:
            raise self._usage_error(
                f"MUSTER_AT: '{make_visible(day_text, 40)}' is not a day, such as {self.now:%Y-%m-%d}."
            ) from None

    def _usage_error(self, message: str) -> _ReportFailed:
        self.workflow.annotate("error", message, title=_TITLE)
        return _ReportFailed(2)

    def _delivery_error(self, sentence: str, error: DeliveryFailed) -> _ReportFailed:
        help_ = (
            "Try again later."
            if error.refusal is None and error.retry_after is not None and self.workflow.token
            else "The step needs GITHUB_TOKEN, and its job the permissions"
            " contents: read, issues: read and pull-requests: read."
        )
        self.workflow.annotate("error", f"{sentence}, so there is no report. {error}. {help_}", title=_TITLE)
        return _ReportFailed()

    def _load_policy(self) -> RunnerPolicy:
        """Load the active policy, and print the faults of the file and what replaces it."""
        try:
            active = self._with_retries(lambda: load_policy(self.tracker, self.repository, self.now))
        except DeliveryFailed as failed:
            raise self._delivery_error("The policy could not be read", failed) from None
        annotate_policy(self.workflow, active)
        return active

    def _resolve_period(self, kind: str, day: date | None, policy: Policy) -> Period:
        hours = policy.calendars.get(BUSINESS)
        zone = hours.zone if hours else policy.zone
        (known_kind,) = (each for each in PERIOD_KINDS if each == kind)
        try:
            return (
                previous_period(known_kind, self.now, zone) if day is None else period_containing(known_kind, day, zone)
            )
        except ValueError as problem:
            raise self._usage_error(f"MUSTER_AT: {problem}.") from None

    def _read_closed_incidents(self, period: Period, policy: Policy) -> _ClosedIncidents:
        """Read the incidents closed in the period and still closed, the latest first, up to the maximum."""
        label = policy.labels.incident
        try:
            rows = self._with_retries(lambda: self.tracker.incidents_since(label, period.start))
        except DeliveryFailed as failed:
            raise self._delivery_error("The incidents could not be listed", failed) from None
        closed = sorted(_closed_in_period(rows, period), key=lambda row: row[0], reverse=True)
        incidents_read = _ClosedIncidents([], [], max(len(closed) - MAX_INCIDENTS, 0))
        role = current_role_lookup(self.tracker)
        if incidents_read.left_out:
            message = f"{len(closed)} incidents were closed: only the last {MAX_INCIDENTS} of them are read."
            self.workflow.annotate("warning", message, title=_TITLE)
        for number, (_, issue) in enumerate(closed[:MAX_INCIDENTS], 1):
            self._read_incident(
                issue,
                incidents_read,
                partial(load_incident, self.tracker, issue, self.repository.name, policy, role, self.now),
            )
            if number % _INCIDENTS_PER_PROGRESS_LINE == 0:
                self.workflow.print_line(f"{number} of {min(len(closed), MAX_INCIDENTS)} incidents read")
        return incidents_read

    def _read_incident(
        self, issue: Mapping[str, Any], incidents_read: _ClosedIncidents, load: Callable[[], Incident]
    ) -> None:
        number = int(issue["number"])
        try:
            incident = self._with_retries(load)
            if incident.closed_at is None:
                raise inbound.Unreadable("its history does not tell of its closing")
        except NotFound as gone:
            reason = str(gone)
        except DeliveryFailed as failed:
            raise self._delivery_error(f"Issue {number} could not be read", failed) from None
        except _PARSE_ERRORS as problem:
            reason = f"{problem!r:.200}"
        else:
            incidents_read.incidents.append(incident)
            return
        incidents_read.unread.append(number)
        self.workflow.annotate(
            "warning", f"Issue {number} could not be read and is in no figure: {reason}", title=_TITLE
        )

    def _with_retries(self, load: Callable[[], _T]) -> _T:
        """Call `load`, with a few more attempts where GitHub failed briefly.  Raises DeliveryFailed."""
        for _ in range(_MAX_ATTEMPTS - 1):
            try:
                return load()
            except DeliveryFailed as failed:
                if (
                    failed.retry_after is None
                    or failed.retry_after > _MAX_RETRY_WAIT_SECONDS
                    or not self.workflow.token
                ):
                    raise
                self.workflow.sleep(max(failed.retry_after, RETRY_SECONDS))
        return load()

    def _publish(self, report: PeriodReport, policy: Policy, as_lines: bool) -> None:
        workflow, body = self.workflow, as_json(report, policy)
        workflow.append_summary(render_report(report, policy))
        workflow.set_output("incidents", report.incidents)
        percent = report.metrics.compliance.percent
        workflow.set_output("compliance", "" if percent is None else f"{percent:g}")
        if folder := workflow.environment.get("RUNNER_TEMP"):
            path = Path(folder) / f"muster-report-{report.period.name}.json"
            path.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
            workflow.set_output("json", str(path))
        if as_lines:
            workflow.print_line(_escape_commands(json.dumps(body)))
        workflow.annotate("notice", f"{headline(report)}.", title=_TITLE)


def _closed_in_period(rows: list[Mapping[str, Any]], period: Period) -> Iterator[tuple[datetime, Mapping[str, Any]]]:
    for row in rows:
        if row.get("state") == "closed" and row.get("closed_at"):
            at = parse_time(str(row["closed_at"]))
            if period.start <= at < period.end:
                yield at, row


def _escape_commands(line: str) -> str:
    """Escape JSON so that no text in it starts a workflow command.

    The line begins with a brace, so only the old syntax, `##[`, could do so.
    """
    return line.replace("##[", "\\u0023#[")
