"""Schedule work with Procrastinate; a job only says "process this incident".

The rows in the database are the work.  A lost, doubled or retried job does no harm: the sweep finds every row that
has no job.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from itertools import zip_longest

import procrastinate
import psycopg
import structlog
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job, Status
from procrastinate.types import JSONDict
from prometheus_client import Counter
from psycopg_pool import PoolTimeout

from app.core.effects import ShowBoard
from app.ports import IncidentKey
from app.store import failed_processing, inbox, incidents, outbox, policy_reviews, rate_limits
from app.store.database import Db, create_async_pool, is_schema_known
from app.store.failed_processing import ProcessingFailure
from app.worker.context import WorkerContext
from app.worker.monitoring.gauges import OLDEST_ALARM
from app.worker.monitoring.retention import delete_expired_deliveries
from app.worker.pipeline.channel_sender import ChannelSender
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.outbox_relay import relay_outbox
from app.worker.pipeline.policy_reviewer import PolicyReviewer
from app.worker.pipeline.routing import route_deliveries
from app.worker.sync.reconciler import Reconciler

log = structlog.get_logger()

JOBS_FAILED = Counter("muster_jobs_failed", "Jobs that failed because of a bug or an unavailable database", ["task"])


_QUEUE_NAME = "muster"
_JOB_POLL_SECONDS = 0.25
"""Interval between two polls for runnable jobs.

Workers are not notified when a job ends that blocked another one of its incident.
"""
_WORKER_TIMEOUT_SECONDS = 10.0
"""Silence after which a worker counts as dead."""
_MAX_PENDING_JOBS = 100
"""Limit on pending jobs; jobs for due alarms are exempt.

Many pending jobs make it slow to fetch the next one, and a more severe incident has to wait behind them.  The
sweep enqueues further incidents as jobs finish.
"""
_MAX_PENDING_JOBS_AFTER_ROUTING = 16
"""Limit on pending jobs above which routed deliveries are left to the sweep.

The sweep enqueues the incident that has waited longest first.  Until then more deliveries may arrive for it, and one
job processes all of them.
"""
_MAX_POOL_CONNECTIONS = 4
"""Size of the connection pool from which Procrastinate fetches jobs."""
_NOTIFY_INTERVAL_SECONDS = 0.2
"""Minimum time between two routing notifications.

The first delivery is routed at once; deliveries that arrive in a burst are routed together.
"""
_RETENTION_INTERVAL_SECONDS = 3600.0
"""Time between two runs of the retention of deliveries."""
_URGENT_PRIORITY = 1
"""Priority of jobs that run before all others: routing and due alarms."""
_COOLDOWN_SECONDS = 10.0
"""Time in which the sweep does not enqueue an incident whose last job made no progress."""


class Queue:
    """Enqueues jobs for incidents and runs them."""

    def __init__(
        self,
        ctx: WorkerContext,
        *,
        poll_interval_seconds: float = 1.0,
        concurrency: int = 8,
        reconciler: Reconciler | None = None,
        worker_timeout_seconds: float = _WORKER_TIMEOUT_SECONDS,
    ) -> None:
        """Set up the queue for `ctx`.

        `poll_interval_seconds`: wall-clock time between two sweeps for rows without a job.
        `worker_timeout_seconds`: time without a heartbeat after which a worker counts as dead; it sends three in it.
        `reconciler` compares with GitHub regularly; None: no comparison.
        """
        self.ctx = ctx
        self._reconciler = reconciler
        self._poll_interval_seconds = poll_interval_seconds
        self._concurrency = concurrency
        self._worker_timeout_seconds = worker_timeout_seconds
        self._heartbeat_interval_seconds = worker_timeout_seconds / 3
        # Two apps on one queue: jobs are enqueued from any thread, and run in an event loop of their own.
        self._enqueue_app = procrastinate.App(connector=procrastinate.SyncPsycopgConnector()).open(ctx.database.pool)
        self._worker_app = procrastinate.App(connector=procrastinate.PsycopgConnector())
        self._worker_app.task(name="sort")(self._run_routing)
        self._worker_app.task(name="wake")(self._run_incident)
        self._notifier = ThreadPoolExecutor(1, thread_name_prefix="job-notifier")
        self._notify_pending = threading.Event()
        self._stop = threading.Event()
        self._cooldown_until: dict[IncidentKey, float] = {}
        self._failures: dict[IncidentKey, ProcessingFailure] = {}
        self._retention_ran_at = 0.0
        self._schema_checked_at, self._schema_error_logged = 0.0, False

    def on_delivery(self) -> None:
        """Request routing after a delivery was stored; return at once.

        One request covers all deliveries stored before it runs.
        """
        if not self._notify_pending.is_set():
            self._notify_pending.set()
            self._notifier.submit(self._notify)

    def _notify(self) -> None:
        self._notify_pending.clear()
        try:
            self._enqueue_routing()
        except Exception:
            log.exception("enqueue failed")
        self._stop.wait(_NOTIFY_INTERVAL_SECONDS)

    def _enqueue_routing(self) -> None:
        """Enqueue a routing job unless one is pending."""
        with self.ctx.database.autocommit() as db:
            pending = db.execute(
                "SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = 'sort' AND status = 'todo'"
            ).fetchone()
        if pending is None:
            self._enqueue([_make_job("sort", "sort", priority=_URGENT_PRIORITY)])

    def enqueue_incidents(
        self, incident_keys: Iterable[IncidentKey], *, alarms_due: bool = False, max_pending: int = _MAX_PENDING_JOBS
    ) -> None:
        """Enqueue a job for each incident that has none pending.

        At most one job is pending and one running for each incident.  Nothing is added once `max_pending` jobs are
        pending.
        `alarms_due`: these incidents have a due alarm; their jobs come first and ignore the limit.
        """
        keys_by_job_name = {
            f"{'alarm' if alarms_due else 'incident'} {incident_key}": incident_key for incident_key in incident_keys
        }
        if not keys_by_job_name:
            return
        pending = self._load_pending_job_names()
        room = len(keys_by_job_name) if alarms_due else max_pending - len(pending)
        jobs = [
            _make_job(
                "wake",
                name,
                lock=f"incident {incident_key}",
                priority=_URGENT_PRIORITY if alarms_due else 0,
                incident_key=incident_key,
            )
            for name, incident_key in keys_by_job_name.items()
            if name not in pending
        ]
        self._enqueue(jobs[: max(room, 0)])

    def sweep(self) -> None:
        """Enqueue jobs for new deliveries, due alarms and due outbox items, and start periodic work that is due.

        Does nothing while the schema is newer than this program.
        """
        if not self._is_schema_known():
            return
        now = self.ctx.clock()
        self._load_failures()
        with self.ctx.database.autocommit() as db:
            has_new_deliveries = inbox.has_received_deliveries(db)
            due_incident_keys = dict.fromkeys(
                incident_key
                for incident_key in incidents.list_due_incident_keys(db, now)
                if not self._is_cooling_down(incident_key) and not self._is_set_aside(incident_key, now)
            )
            # Alternate, so that neither a flood of deliveries nor one of outbox items starves the other.
            turns = zip_longest(inbox.list_routed_incident_keys(db), self._list_next_incident_keys(db, now))
            incident_keys = dict.fromkeys(
                incident_key for both in turns for incident_key in both if incident_key is not None
            )
            OLDEST_ALARM.set(incidents.max_alarm_delay(db, now).total_seconds())
        if has_new_deliveries:
            self._enqueue_routing()
        self.enqueue_incidents(due_incident_keys, alarms_due=True)
        self.enqueue_incidents(
            incident_key
            for incident_key in incident_keys
            if incident_key not in due_incident_keys
            and not self._is_cooling_down(incident_key)
            and not self._is_set_aside(incident_key, now)
        )
        # Last, and one batch a sweep, so that no alarm waits for it.
        if (
            not self._retention_ran_at or time.monotonic() - self._retention_ran_at > _RETENTION_INTERVAL_SECONDS
        ) and delete_expired_deliveries(self.ctx, now):
            self._retention_ran_at = time.monotonic()
        if self._reconciler is not None:
            self._reconciler.start_if_due()

    def is_idle(self) -> bool:
        """Return True if nothing is due and no job is pending or running."""
        now = self.ctx.clock()
        with self.ctx.database.autocommit() as db:
            busy = db.execute("SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1").fetchone()
            rows = (
                inbox.has_received_deliveries(db)
                or inbox.list_routed_incident_keys(db)
                or incidents.list_due_incident_keys(db, now)
                or outbox.list_due_incident_keys(db, now)
                or policy_reviews.list_due_installations(db, now)
                or policy_reviews.is_any_running(db, now)
            )
        return busy is None and not rows

    def run(self) -> None:
        """Run jobs until `stop` is called, or a signal arrives on the main thread."""
        if self._reconciler is not None:
            self._reconciler.catch_up_before_start(self._stop.wait)
        sweeper = threading.Thread(target=self._run_sweeps, name="sweep", daemon=True)
        sweeper.start()
        sender = threading.Thread(
            target=ChannelSender(self.ctx).run, args=(self._stop,), name="channel-sender", daemon=True
        )
        sender.start()
        # Reviews are no jobs: anyone may ask for one, and it may take half a minute.
        reviewer = threading.Thread(
            target=PolicyReviewer(self.ctx, self._is_schema_known).run,
            args=(self._stop,),
            name="policy-reviewer",
            daemon=True,
        )
        reviewer.start()
        try:
            asyncio.run(self._run_worker())
        finally:
            self._stop.set()
            sweeper.join(timeout=5)
            sender.join(timeout=10)
            reviewer.join(timeout=5)
            if self._reconciler is not None:
                self._reconciler.stop()

    def stop(self) -> None:
        """Finish running jobs, then return from `run`."""
        self._stop.set()

    def _enqueue(self, jobs: Sequence[Job]) -> None:
        """Insert all jobs in one statement.

        If one of them is pending already, insert the others one by one.
        """
        try:
            if jobs:
                self._enqueue_app.job_manager.batch_defer_jobs(list(jobs))
        except AlreadyEnqueued:
            if len(jobs) > 1:
                for job in jobs:
                    self._enqueue([job])

    def _load_pending_job_names(self) -> set[str]:
        """Load the names of the pending jobs.

        This costs less than a refused insert, which also adds a line to the log of the database server.
        """
        with self.ctx.database.autocommit() as db:
            rows = db.execute("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo'").fetchall()
        return {row["queueing_lock"] for row in rows}

    async def _run_worker(self) -> None:
        async with (
            create_async_pool(self.ctx.database.url, _MAX_POOL_CONNECTIONS) as pool,
            self._worker_app.open_async(pool),
        ):
            stopped = asyncio.create_task(asyncio.to_thread(self._stop.wait))
            while not stopped.done():
                working = asyncio.create_task(self._run_jobs())
                await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
                if stopped.done():
                    working.cancel()
                (problem,) = await asyncio.gather(working, return_exceptions=True)
                if not stopped.done():
                    log.error("worker failed", reason=repr(problem))
                    await asyncio.wait((stopped,), timeout=1)

    async def _run_jobs(self) -> None:
        """Run jobs until cancelled; end with the database's error when it is unavailable."""
        reaper = asyncio.create_task(self._reap_stalled_jobs())
        try:
            await self._worker_app.run_worker_async(
                queues=[_QUEUE_NAME],
                concurrency=self._concurrency,
                # Failed jobs too: the rows are the work, and the sweep finds them again.
                delete_jobs="always",
                install_signal_handlers=False,
                fetch_job_polling_interval=_JOB_POLL_SECONDS,
                shutdown_graceful_timeout=25,
                update_heartbeat_interval=self._heartbeat_interval_seconds,
                stalled_worker_timeout=self._worker_timeout_seconds,
            )
        finally:
            reaper.cancel()

    async def _reap_stalled_jobs(self) -> None:
        """Delete the running jobs of dead workers, which would keep their incidents locked.

        The sweep enqueues these incidents again.
        """
        while True:
            for job in await self._worker_app.job_manager.get_stalled_jobs(
                seconds_since_heartbeat=self._worker_timeout_seconds
            ):
                log.warning("stalled job reaped", task=job.task_name, lock=job.lock)
                if job.task_name == "wake":
                    incident_key = IncidentKey(*(int(str(job.task_kwargs[part])) for part in ("repo_id", "number")))
                    await asyncio.to_thread(
                        self._record_failure, incident_key, "its worker died or was stopped by force"
                    )
                await self._worker_app.job_manager.finish_job(job, Status.FAILED, delete_job=True)
            await asyncio.sleep(self._heartbeat_interval_seconds)

    def _run_sweeps(self) -> None:
        while not self._stop.wait(self._poll_interval_seconds):
            try:
                self.sweep()
            except Exception:
                log.exception("sweep failed")

    def _run_routing(self) -> None:
        if self._is_schema_known():
            self.enqueue_incidents(
                route_deliveries(self.ctx, self._should_continue), max_pending=_MAX_PENDING_JOBS_AFTER_ROUTING
            )

    def _run_incident(self, repo_id: int, number: int) -> None:
        if not self._is_schema_known():
            return
        incident_key = IncidentKey(repo_id, number)
        if self._is_set_aside(incident_key, self.ctx.clock()):
            return
        try:
            has_progress = self._process(incident_key)
        except Exception as problem:
            JOBS_FAILED.labels("wake").inc()
            self._cooldown_until[incident_key] = time.monotonic() + _COOLDOWN_SECONDS
            if not isinstance(problem, psycopg.OperationalError | PoolTimeout):
                self._record_failure(incident_key, f"{type(problem).__name__}: {problem}")
            raise
        if not has_progress:
            self._cooldown_until[incident_key] = time.monotonic() + _COOLDOWN_SECONDS
        if incident_key in self._failures:
            with self.ctx.database.single_statement() as db:
                failed_processing.clear_failure(db, incident_key)

    def _process(self, incident_key: IncidentKey) -> bool:
        """Process an incident and relay its outbox; False if some of its deliveries have to wait."""
        while self._should_continue() and process_incident(self.ctx, incident_key):
            relay_outbox(self.ctx, incident_key, self._should_continue)
            with self.ctx.database.autocommit() as db:
                if not inbox.list_routed_deliveries(db, incident_key, limit=1):
                    return True
        relay_outbox(self.ctx, incident_key, self._should_continue)
        return False

    def _record_failure(self, incident_key: IncidentKey, reason: str) -> None:
        """Count a failure, or the death of a worker; after several in a row the incident is set aside for a while."""
        now = self.ctx.clock()
        with self.ctx.database.transaction() as db:
            failures = failed_processing.record_failure(db, incident_key, reason, now)
            if failures == failed_processing.MAX_FAILURES_IN_A_ROW:
                outbox.add_effects(db, incident_key, (ShowBoard(),), now)
        if failures >= failed_processing.MAX_FAILURES_IN_A_ROW:
            log.error("incident set aside", incident=str(incident_key), failures=failures, reason=reason)
        self._load_failures()

    def _load_failures(self) -> None:
        with self.ctx.database.autocommit() as db:
            self._failures = {one.incident_key: one for one in failed_processing.list_failures(db)}

    def _is_set_aside(self, incident_key: IncidentKey, now: datetime) -> bool:
        failure = self._failures.get(incident_key)
        return failure is not None and failure.next_try_at > now

    def _list_next_incident_keys(self, db: Db, now: datetime) -> list[IncidentKey]:
        cooling_down = [
            incident_key for incident_key in tuple(self._cooldown_until) if self._is_cooling_down(incident_key)
        ]
        return rate_limits.list_next_incident_keys(db, now, cooling_down, self.ctx.max_incidents_per_installation)

    def _is_schema_known(self) -> bool:
        """Return True if this program knows the current database schema.

        If it does not, log that once and do no work; a newer program finds the rows.  Checked at most once a poll
        interval, however many jobs run.
        """
        checked_at = time.monotonic()
        if checked_at - self._schema_checked_at < self._poll_interval_seconds:
            return True
        with self.ctx.database.autocommit() as db:
            schema_known = is_schema_known(db)
        self._schema_checked_at = checked_at if schema_known else 0.0
        if not schema_known and not self._schema_error_logged:
            log.error("the schema is newer than this program: it does nothing until it is replaced")
        self._schema_error_logged = not schema_known
        return schema_known

    def _should_continue(self) -> bool:
        """Return True while another step may begin."""
        return not self._stop.is_set()

    def _is_cooling_down(self, incident_key: IncidentKey) -> bool:
        """Return True if the last job made no progress, so that retrying every second would not help."""
        until = self._cooldown_until.get(incident_key)
        if until is not None and until <= time.monotonic():
            self._cooldown_until.pop(incident_key, None)
        return until is not None and until > time.monotonic()


def _make_job(
    task: str, name: str, *, lock: str | None = None, priority: int = 0, incident_key: IncidentKey | None = None
) -> Job:
    """Make a job; at most one with this name is pending at a time."""
    task_kwargs: JSONDict = (
        {"repo_id": incident_key.repo_id, "number": incident_key.number} if incident_key is not None else {}
    )
    return Job(
        queue=_QUEUE_NAME, task_name=task, queueing_lock=name, lock=lock, priority=priority, task_kwargs=task_kwargs
    )
