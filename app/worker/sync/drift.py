"""Compare the stored open incidents with GitHub every hour, and repair what differs.

Labels and state of all open incidents cost one call per 100 incidents.  One in a hundred, those compared longest ago,
is compared in full: the timeline with the log, the log with the stored incident, and whether the board exists.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from prometheus_client import Counter

from app.core.clocks import alarms
from app.core.effects import ShowBoard
from app.core.labels import desired_labels, own_labels
from app.core.policy import Policy
from app.core.replay import replay
from app.github import board_state
from app.github.tracker import labels_of, parse_time
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, IncidentKey, NotFound, Repository, Tracker
from app.store import incidents, outbox, sync_state
from app.store.sync_state import SyncCandidate
from app.worker.context import WorkerContext
from app.worker.pipeline import fold, missing_issues
from app.worker.sync import catch_up

_INCIDENTS_PER_SAMPLE = 100
"""One of this many open incidents is compared in full each time, at least one per repository."""
_MAX_REPLAYS_PER_REPOSITORY = 1000
"""Number of incidents replayed from their logs in each comparison, which needs no call to GitHub."""
_SETTLED_AGE = timedelta(minutes=2)
"""Age below which a change of an issue may not have reached us yet."""

DRIFT_TOTAL = Counter("muster_drift", "Differences between GitHub and the store that were repaired", ["kind"])

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DriftFinding:
    """One difference between an incident and GitHub.

    `kind`: `labels`, `state` (open or closed), `missing` (not stored), `gone` (issue unavailable), `alarms`, `events`
    (missing in the log), `stored` (differs from a replay of its log) or `board` (comment missing).
    """

    repo: str
    number: int
    kind: str


@dataclass
class DriftReport:
    """How many open incidents were compared, how many of them in full, and which differences were repaired."""

    open: int = 0
    in_full: int = 0
    differences: list[DriftFinding] = field(default_factory=list)


def compare_open_incidents(
    ctx: WorkerContext,
    repository: Repository,
    tracked_from: datetime,
    report_progress: Callable[[str], None],
    *,
    full: bool = False,
) -> DriftReport:
    """Compare a repository's open incidents with GitHub and repair the differences.

    Incidents declared before `tracked_from` are ignored: they are older than our first delivery.  `full`: compare all
    of them in full.  Raises DeliveryFailed when GitHub does not answer.
    """
    return _DriftComparison(ctx, repository, tracked_from, report_progress, full).run()


@dataclass
class _DriftComparison:
    ctx: WorkerContext
    repository: Repository
    tracked_from: datetime
    report_progress: Callable[[str], None]
    full: bool
    result: DriftReport = field(default_factory=DriftReport)

    def __post_init__(self) -> None:
        self.now = self.ctx.clock()
        self.tracker: Tracker = self.ctx.tracker(self.repository)
        self.active_policy: ActivePolicy = self.ctx.policies.load(
            self.ctx.database, self.tracker, self.repository, self.now
        )

    def run(self) -> DriftReport:
        """Run the comparison and return its report."""
        label = self.active_policy.policy.labels.incident
        issues = {int(row["number"]): row for row in self.tracker.open_incidents(label)}
        with self.ctx.database.transaction() as db:
            open_incidents = sync_state.list_sync_candidates(db, self.repository.id)
        self.result.open = len(open_incidents)
        comparable = [one for one in open_incidents if not one.has_pending_work]
        sample_size = len(comparable) if self.full else -(-len(comparable) // _INCIDENTS_PER_SAMPLE)
        for nth, one in enumerate(comparable):
            try:
                self._compare(one, issues.get(one.incident_key.number), nth, sample_size)
            except DeliveryFailed:
                raise
            except Exception:
                log.exception("incident could not be compared", incident=str(one.incident_key))
            if nth % 100 == 99:
                self.report_progress(f"{self.repository.name}: {nth + 1} of {len(comparable)} open incidents compared")
        self._restore_missing_incidents(issues, {one.incident_key.number for one in open_incidents})
        return self.result

    def _compare(self, one: SyncCandidate, row: Mapping[str, Any] | None, nth: int, sample_size: int) -> None:
        kinds = self._list_visible_differences(one, row)
        if nth < _MAX_REPLAYS_PER_REPOSITORY and not kinds and self._differs_from_log(one):
            kinds = ["stored"]
        if kinds or nth < sample_size:
            self._compare_in_full(one, row, kinds)

    def _policy_of(self, one: SyncCandidate) -> Policy:
        return fold.policy_of_incident(self.ctx, one.incident_key, one.stored, self.active_policy).policy

    def _list_visible_differences(self, open_incident: SyncCandidate, row: Mapping[str, Any] | None) -> list[str]:
        """Return the kinds of differences visible from GitHub's list and our tables alone."""
        incident, policy = open_incident.stored.incident, self._policy_of(open_incident)
        if row is None:
            return ["state"]
        kinds = []
        if labels_of(row) & own_labels(policy.labels) != desired_labels(incident, policy) and self._is_settled(row):
            kinds.append("labels")
        if {alarm.key: alarm.due for alarm in alarms(incident, policy)} != open_incident.alarms:
            kinds.append("alarms")
        return kinds

    def _differs_from_log(self, open_incident: SyncCandidate) -> bool:
        """Return True if a replay of the log yields another status, commander or times.

        The grade is not compared: under a changed policy it may rightly differ.
        """
        with self.ctx.database.autocommit() as db:
            known_log = incidents.load_log(db, open_incident.incident_key)
        replayed = replay(known_log, self._policy_of(open_incident), open_incident.stored.replayed_until).incident
        stored = open_incident.stored.incident
        return replayed is not None and (
            replayed.status,
            replayed.commander,
            replayed.acknowledged_at,
            replayed.resolved_at,
        ) != (
            stored.status,
            stored.commander,
            stored.acknowledged_at,
            stored.resolved_at,
        )

    def _is_settled(self, row: Mapping[str, Any]) -> bool:
        return parse_time(row["updated_at"]) <= self.now - _SETTLED_AGE

    def _compare_in_full(self, open_incident: SyncCandidate, row: Mapping[str, Any] | None, kinds: list[str]) -> None:
        incident_key = open_incident.incident_key
        self.result.in_full += 1
        try:
            issue = row if row is not None else self.tracker.issue(incident_key.number)
            if not self._is_settled(issue):
                return
            synced = catch_up.sync_issue(self.ctx, self.repository, self.active_policy, issue, self.now, check_log=True)
            board_was_missing = self._restore_missing_board(open_incident)
        except NotFound as absent:
            self._record_absence(incident_key, absent.proof)
            return
        if row is None and issue.get("state") == "open":
            kinds = ["labels"]  # it is missing from the list because it lost its label
        kinds += ["events"] if synced.missing_events else []
        kinds += ["stored"] if synced.repaired_from_log and "stored" not in kinds else []
        kinds += ["board"] if board_was_missing else []
        self._record_differences(incident_key, kinds)
        with self.ctx.database.transaction() as db:
            if kinds and not board_was_missing:
                outbox.add_effects(db, incident_key, (ShowBoard(),), self.now)
            sync_state.record_comparison(db, incident_key, self.now)

    def _record_absence(self, incident_key: IncidentKey, proof: str) -> None:
        """Record that GitHub did not find the issue; writing its board then looks for it again, over an hour."""
        if missing_issues.record_absence(self.ctx, incident_key, proof):
            self._record_differences(incident_key, ["gone"])
            return
        with self.ctx.database.transaction() as db:
            outbox.add_effects(db, incident_key, (ShowBoard(),), self.now)

    def _restore_missing_board(self, open_incident: SyncCandidate) -> bool:
        """Return True if the board comment is missing, and queue an update that restores it.

        If another board of ours is on the issue, its id is stored again instead of posting a new one.
        """
        comments = self.tracker.comments(open_incident.incident_key.number)
        if any(comment.id == open_incident.stored.board_id for comment in comments):
            return False
        markers = ((comment, self.ctx.signer.read(open_incident.incident_key, comment) or {}) for comment in comments)
        boards = [comment for comment, found in markers if board_state.BOARD_KEY in found.get("keys", ())]
        board = boards[-1] if boards else None
        with self.ctx.database.transaction() as db:
            incidents.record_board(
                db, open_incident.incident_key, board.id if board else None, board.url if board else ""
            )
            outbox.add_effects(db, open_incident.incident_key, (ShowBoard(),), self.now)
        return True

    def _restore_missing_incidents(self, issues: Mapping[int, Mapping[str, Any]], known_numbers: set[int]) -> None:
        """Rebuild open incidents that are not stored at all."""
        for number, row in issues.items():
            incident_key = IncidentKey(self.repository.id, number)
            if number in known_numbers or not self._is_settled(row):
                continue
            with self.ctx.database.transaction() as db:
                stored = incidents.load_incident(db, incident_key)
            if stored is not None:
                self._sync_reopened_incident(incident_key, row)
            elif catch_up.was_declared_since(self.ctx, self.repository, self.active_policy, row, self.tracked_from):
                catch_up.restore_missing_incident(self.ctx, self.repository, incident_key)
                self._record_differences(incident_key, ["missing"])

    def _sync_reopened_incident(self, incident_key: IncidentKey, row: Mapping[str, Any]) -> None:
        """Sync an incident that is open on GitHub, but closed or unavailable in the store."""
        with self.ctx.database.transaction() as db:
            busy = any(True for _ in outbox.list_unfinished(db, incident_key, self.now))
        if busy:
            return
        synced = catch_up.sync_issue(self.ctx, self.repository, self.active_policy, row, self.now, check_log=True)
        if synced.missing_events or synced.repaired_from_log:
            self._record_differences(incident_key, ["state"])

    def _record_differences(self, incident_key: IncidentKey, kinds: list[str]) -> None:
        for kind in kinds:
            DRIFT_TOTAL.labels(kind).inc()
            self.result.differences.append(DriftFinding(self.repository.name, incident_key.number, kind))
            self.report_progress(f"{self.repository.name}#{incident_key.number}: {kind} differed, set right")
            log.warning("drift", incident=str(incident_key), kind=kind)
