"""Reconcile the store with GitHub: missed deliveries, changes made while we were down, and drift.

After an absence, issues are compared before deliveries, so that open incidents are correct before an alarm fires on
outdated data.  After that, the newest page of the delivery list is scanned every minute; the whole list every hour,
since GitHub may list a page hours late; and the open incidents every hour.  One process at a time does it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
import structlog
from prometheus_client import Counter, Gauge

from app.github.client import Client
from app.github.deliveries import Deliveries
from app.github.installations import list_installed_repositories
from app.ports import DeliveryFailed, IncidentKey, Repository
from app.store import incidents, sync_state
from app.store.database import Db
from app.store.sync_state import Checkpoint
from app.worker.context import WorkerContext
from app.worker.pipeline import uninstall
from app.worker.sync import catch_up, drift, missed_deliveries
from app.worker.sync.catch_up import CatchUp
from app.worker.sync.drift import DriftReport
from app.worker.sync.missed_deliveries import DeliveryScan, ScanOptions

DELIVERY_SCAN_INTERVAL = timedelta(seconds=60)
"""Interval between scans of the newest page of the delivery list, while the web receiver gets deliveries too."""
_FULL_SCAN_INTERVAL = timedelta(hours=1)
_DRIFT_INTERVAL = timedelta(hours=1)
_INSTALLATIONS_INTERVAL = timedelta(minutes=15)
_ABSENCE_PERIOD = timedelta(minutes=5)
"""After this long without a comparison, the process counts as having been away."""
_CATCH_UP_WAIT_SECONDS = 45.0
"""How long alarms wait for the catch-up on issues after an absence, in wall-clock seconds.

Not longer, because alarms have to fire within a minute of a restart.
"""
_MIN_RETRY_SECONDS = 5.0
"""The shortest delay before a failed comparison is retried; GitHub may ask for more."""
_RETRY_SECONDS = 60.0
"""Seconds until the next attempt after a failure, unless GitHub asks for more."""

RECONCILE_FAILURES = Counter("muster_reconcile_failed", "Comparisons with GitHub that failed")
RECONCILED_TIMESTAMP_SECONDS = Gauge(
    "muster_reconciled_timestamp_seconds", "When each comparison was last finished", ["part"]
)

log = structlog.get_logger()


@dataclass
class ReconcileReport:
    """What a reconciliation found and did."""

    absent_since: datetime | None = None
    repositories: int = 0
    issues: CatchUp = field(default_factory=CatchUp)
    deliveries: DeliveryScan = field(default_factory=DeliveryScan)
    drift: DriftReport = field(default_factory=DriftReport)
    failures: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the report as JSON data; its keys are printed by `muster reconcile --json`."""
        scan = self.deliveries
        return {
            "absent_since": self.absent_since.isoformat() if self.absent_since else None,
            "repositories": self.repositories,
            "issues": asdict(self.issues),
            "deliveries": {
                "pages": scan.pages,
                "listed": scan.listed,
                "missed": scan.missed,
                "taken": scan.fetched,
                "lost": scan.expired,
                "left": scan.in_transit,
                "oldest": scan.oldest_at.isoformat() if scan.oldest_at else None,
            },
            "drift": {**asdict(self.drift)},
            "failures": self.failures,
        }


class Reconciler:
    """Runs the comparisons with GitHub that are due.

    `scan_interval` is the time between two scans of the newest deliveries.  `pull`: GitHub's list is the only source of
    deliveries, so recent ones need not be left to the web receiver.
    """

    def __init__(
        self,
        ctx: WorkerContext,
        client: Client,
        *,
        scan_interval: timedelta = DELIVERY_SCAN_INTERVAL,
        pull: bool = False,
    ) -> None:
        self.ctx = ctx
        self._client = client
        self._deliveries = Deliveries(client, ctx.clock)
        self._scan_interval = scan_interval
        self._pull = pull
        self._not_before: datetime | None = None
        self._thread: threading.Thread | None = None
        self._issues_compared = threading.Event()
        self._stopped = threading.Event()

    # Called by the worker's periodic sweep.

    def start_if_due(self) -> None:
        """Start the comparisons that are due, in a thread of their own, so that no alarm waits for them."""
        if (
            (self._thread is not None and self._thread.is_alive())
            or self._stopped.is_set()
            or not self._is_anything_due()
        ):
            return
        self._thread = threading.Thread(target=self._run_in_thread, name="reconcile", daemon=True)
        self._thread.start()

    def catch_up_before_start(self, wait_for_stop: Callable[[float], bool]) -> None:
        """After an absence, wait until the issues have been compared, at most 45 seconds.

        `wait_for_stop` waits the given seconds and returns True when the process is to stop.
        """
        try:
            with self.ctx.database.transaction() as db:
                absent = _find_absence_start(sync_state.load_checkpoints(db), self.ctx.clock()) is not None
            if not absent:
                return
            self.start_if_due()
        except psycopg.Error as problem:
            log.warning("absence could not be determined", reason=type(problem).__name__)
            return
        for _ in range(int(_CATCH_UP_WAIT_SECONDS * 10)):
            if (
                self._issues_compared.is_set()
                or self._thread is None
                or not self._thread.is_alive()
                or wait_for_stop(0.1)
            ):
                return
        log.warning("catch-up still running; alarms continue")

    def stop(self) -> None:
        """Start nothing new, and give a running comparison 3 seconds to end."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=3)

    def run_due(self) -> ReconcileReport | None:
        """Run the comparisons that are due.

        Returns None if none is, or if another process is reconciling.  Raises DeliveryFailed.
        """
        if not self._is_anything_due():
            return None
        with sync_state.acquire_sync_lock(self.ctx.database) as acquired:
            # Another process may have done it while we waited for the lock.
            if not acquired or not self._is_anything_due():
                return None
            try:
                report = self._compare(_ignore_progress)
            except DeliveryFailed as failed:
                self._back_off(
                    _RETRY_SECONDS if failed.retry_after is None else max(failed.retry_after, _MIN_RETRY_SECONDS)
                )
                raise
            finally:
                self._issues_compared.set()
            if report.failures:
                self._back_off(0.0)
            return report

    def _back_off(self, wait_seconds: float) -> None:
        """Pause after a failure for that many seconds, at least a minute unless in pull mode."""
        min_wait_seconds = self._scan_interval.total_seconds() if self._pull else _RETRY_SECONDS
        self._not_before = self.ctx.clock() + timedelta(seconds=max(wait_seconds, min_wait_seconds))

    # On demand.

    def run_now(self, report_progress: Callable[[str], None], *, repo: str = "", deep: bool = False) -> ReconcileReport:
        """Compare now, whether it is due or not.

        `repo`: one repository only, as owner/name.  `deep`: compare everything.  Waits while another process
        reconciles.  Raises DeliveryFailed.
        """
        with sync_state.acquire_sync_lock(self.ctx.database, wait=True):
            return self._compare(report_progress, on_demand=True, repo=repo.lower(), deep=deep)

    def _run_in_thread(self) -> None:
        try:
            self.run_due()
        except DeliveryFailed as failed:
            RECONCILE_FAILURES.inc()
            log.warning("reconciliation failed", reason=str(failed))
        except Exception:
            RECONCILE_FAILURES.inc()
            log.exception("reconciliation crashed")
            self._not_before = self.ctx.clock() + timedelta(seconds=_RETRY_SECONDS)
        finally:
            self._issues_compared.set()

    def _is_anything_due(self) -> bool:
        now = self.ctx.clock()
        if self._not_before is not None and now < self._not_before:
            return False
        with self.ctx.database.transaction() as db:
            checkpoints, to_catch_up = sync_state.load_checkpoints(db), sync_state.list_repositories_to_catch_up(db)
        return bool(to_catch_up) or any(self._is_part_due(checkpoints, part, now) for part in ("deliveries", "drift"))

    def _is_part_due(self, checkpoints: dict[str, Checkpoint], part: str, now: datetime) -> bool:
        interval = {
            "deliveries": self._scan_interval,
            "deep": _FULL_SCAN_INTERVAL,
            "drift": _DRIFT_INTERVAL,
            incidents.INSTALLATION_CHECKPOINT: _INSTALLATIONS_INTERVAL,
        }[part]
        # Incidents received since the first run have had no time to drift yet.
        last = checkpoints.get(part) or (checkpoints.get("begun") if part == "drift" else None)
        return last is None or now - last.at >= interval or last.at > now + interval

    def _compare(
        self, report_progress: Callable[[str], None], *, on_demand: bool = False, repo: str = "", deep: bool = False
    ) -> ReconcileReport:
        now, report = self.ctx.clock(), ReconcileReport()
        uninstall.delete_uninstalled(self.ctx, self._client)
        with self.ctx.database.transaction() as db:
            tracked_from = _load_tracked_from(db, now)
            checkpoints = sync_state.load_checkpoints(db)
            report.absent_since = _find_absence_start(checkpoints, now) or _find_absence_without_checkpoint(
                db, checkpoints, now
            )
        if report.absent_since is not None:
            self._record_absence(report.absent_since)
        if deep:
            self._record_absence(max(tracked_from, now - missed_deliveries.DELIVERY_LIST_PERIOD), repo)
        self._catch_up_issues(tracked_from, report, report_progress, repo)
        self._issues_compared.set()
        if on_demand or self._is_part_due(checkpoints, "deliveries", now):
            full_list = deep or report.absent_since is not None or self._is_part_due(checkpoints, "deep", now)
            self._scan_deliveries(checkpoints, now, report, report_progress, full_list=full_list, repo=repo)
        # After an absence the issues were compared just now; the drift check can wait for the next sweep.
        if on_demand or (self._is_part_due(checkpoints, "drift", now) and report.absent_since is None):
            self._compare_open_incidents(tracked_from, now, report, report_progress, repo=repo, deep=deep)
        if self._is_part_due(checkpoints, incidents.INSTALLATION_CHECKPOINT, now):
            self.ctx.installations.refresh()
        return report

    def _record_absence(self, since: datetime, repo: str = "") -> None:
        """Record which repositories must catch up before GitHub is asked, so that a crash in between loses nothing."""
        affected = [one for one in list_installed_repositories(self._client) if repo in ("", one.name.lower())]
        with self.ctx.database.transaction() as db:
            for one in affected:
                incidents.save_repository(db, one)
            sync_state.mark_for_catch_up(db, since, [one.id for one in affected])

    def _catch_up_issues(
        self, tracked_from: datetime, report: ReconcileReport, report_progress: Callable[[str], None], repo: str
    ) -> None:
        with self.ctx.database.transaction() as db:
            to_catch_up = sync_state.list_repositories_to_catch_up(db)
        for repository, since in self._select_repositories(to_catch_up, repo):
            try:
                result = catch_up.catch_up_repository(self.ctx, repository, since, tracked_from, report_progress)
            except DeliveryFailed as failed:
                report.failures.append(f"{repository.name}: {failed}")
                log.warning("catch-up failed", repository=repository.name, reason=str(failed))
                if failed.retry_after is not None:
                    continue
            else:
                report.repositories += 1
                for name in ("listed", "looked", "opened", "events"):
                    setattr(report.issues, name, getattr(report.issues, name) + getattr(result, name))
            with self.ctx.database.transaction() as db:
                sync_state.clear_catch_up(db, repository.id, since)
        if not report.failures:
            RECONCILED_TIMESTAMP_SECONDS.labels("issues").set(self.ctx.clock().timestamp())

    def _scan_deliveries(
        self,
        checkpoints: dict[str, Checkpoint],
        now: datetime,
        report: ReconcileReport,
        report_progress: Callable[[str], None],
        *,
        full_list: bool,
        repo: str,
    ) -> None:
        last, repo_id = checkpoints.get("deliveries"), None
        if repo:
            with self.ctx.database.transaction() as db:
                repo_id = next((one.id for one in incidents.list_repositories(db) if one.name.lower() == repo), None)
            if repo_id is None:
                return
        options = ScanOptions(
            since=None if full_list or last is None else last.at,
            etag="" if full_list or last is None else last.etag,
            skip_recent=not self._pull,
            repo_id=repo_id,
        )
        scan = missed_deliveries.fetch_missed_deliveries(self.ctx, self._deliveries, options, report_progress)
        report.deliveries = scan
        if repo:
            return  # the other repositories were not scanned, so no checkpoint
        with self.ctx.database.transaction() as db:
            # `now` is when the scan started: deliveries that were in transit belong to the next scan.
            sync_state.save_checkpoint(db, "deliveries", now, scan.etag)
            if full_list:
                sync_state.save_checkpoint(db, "deep", now)
        RECONCILED_TIMESTAMP_SECONDS.labels("deliveries").set(now.timestamp())

    def _compare_open_incidents(
        self,
        tracked_from: datetime,
        now: datetime,
        report: ReconcileReport,
        report_progress: Callable[[str], None],
        *,
        repo: str,
        deep: bool,
    ) -> None:
        drifted: list[IncidentKey] = []
        with self.ctx.database.transaction() as db:
            candidates = [(one, now) for one in incidents.list_repositories(db)]
        for repository, _ in self._select_repositories(candidates, repo):
            try:
                found = drift.compare_open_incidents(self.ctx, repository, tracked_from, report_progress, full=deep)
            except DeliveryFailed as failed:
                report.failures.append(f"{repository.name}: {failed}")
                log.warning("drift check failed", repository=repository.name, reason=str(failed))
                continue
            report.drift.open += found.open
            report.drift.in_full += found.in_full
            report.drift.differences += found.differences
            drifted += [IncidentKey(repository.id, one.number) for one in found.differences]
        if repo:
            return
        with self.ctx.database.transaction() as db:
            sync_state.save_checkpoint(db, "drift", now, incident_keys=dict.fromkeys(drifted))
        RECONCILED_TIMESTAMP_SECONDS.labels("drift").set(now.timestamp())

    def _select_repositories(
        self, candidates: list[tuple[Repository, datetime]], repo: str
    ) -> Iterator[tuple[Repository, datetime]]:
        """Yield the requested repositories until the reconciler is stopped."""
        for repository, since in candidates:
            if self._stopped.is_set():
                return
            if repo in ("", repository.name.lower()):
                yield repository, since


def _load_tracked_from(db: Db, now: datetime) -> datetime:
    """Return when our first delivery arrived; incidents declared before are not tracked."""
    if (checkpoint := sync_state.load_checkpoints(db).get("begun")) is not None:
        return checkpoint.at
    tracked_from = sync_state.oldest_delivery_at(db) or now
    sync_state.save_checkpoint(db, "begun", tracked_from)
    return tracked_from


def _find_absence_start(checkpoints: dict[str, Checkpoint], now: datetime) -> datetime | None:
    """Return when deliveries were last compared, if that is longer ago than the absence period."""
    last = checkpoints.get("deliveries")
    return last.at if last is not None and now - last.at > _ABSENCE_PERIOD else None


def _find_absence_without_checkpoint(db: Db, checkpoints: dict[str, Checkpoint], now: datetime) -> datetime | None:
    """Return when the last delivery arrived, if long ago and no comparison was ever recorded.

    Earlier versions kept no other trace of being up.
    """
    last = None if "deliveries" in checkpoints else sync_state.newest_delivery_at(db)
    return last if last is not None and now - last > _ABSENCE_PERIOD else None


def _ignore_progress(line: str) -> None:
    """Discard a progress message."""
