"""Who is woken when: Procrastinate spreads the wake-ups, and the rows are the work.

A wake-up that is lost, doubled or tried again does no harm: the beat finds every row that nobody woke.
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
import structlog
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.jobs import Job, Status
from procrastinate.types import JSONDict
from prometheus_client import Counter

from app.ports import Lane
from app.store import inbox, incidents, outbox, rate_limits
from app.store.database import Db, async_pool, fits
from app.worker.context import Desk
from app.worker.monitoring.gauges import OLDEST_ALARM
from app.worker.monitoring.retention import tidy
from app.worker.pipeline.channel_sender import Messenger
from app.worker.pipeline.ingest import take
from app.worker.pipeline.outbox_relay import perform
from app.worker.pipeline.routing import sort
from app.worker.sync.reconciler import Reconciler

log = structlog.get_logger()

FAILED = Counter("muster_jobs_failed", "Wake-ups that ended with a bug of ours, or without a database", ["task"])


_QUEUE = "muster"
_POLL = 0.25
"""Seconds.  A wake-up that waits for another one of its incident to end is not notified of that end."""
_DEAD = 10.0
"""Seconds of silence after which a worker counts as dead."""
_ENOUGH = 100
"""So many wake-ups wait at most, but for those of alarms: each one that waits makes it harder to find the next, and what is
more severe stands behind fewer of them.  The beat puts in others as they are taken out.
"""
_FEW = 16
"""Where more wait, what was just sorted is left to the beat, which wakes those first that have waited longest: by their turn
more has come in for each of them, and all of it is taken at once.
"""
_CONNECTIONS = 4
"""How many the queue has for handing out wake-ups."""
_BREATH = 0.2
"""Seconds between two rings of the bell: the first delivery is sorted at once, and what comes with many others is sorted with
them.
"""
_TIDY = 3600.0
"""Seconds between two looks for deliveries that have been kept long enough."""
_FIRST = 1
"""The priority of what must not wait behind the others."""
_REST = 10.0
"""Seconds in which the beat leaves an incident alone after a wake-up that got nowhere."""


class Queue:
    """Wakes incidents and works them off."""

    def __init__(
        self,
        desk: Desk,
        *,
        beat: float = 1.0,
        concurrency: int = 8,
        reconciler: Reconciler | None = None,
        dead: float = _DEAD,
    ) -> None:
        """`beat`: seconds of the wall clock between two looks for rows that nobody woke.

        `dead`: seconds of silence after which a worker counts as dead; it speaks three times as often.
        `reconciler` compares with GitHub now and then; None: nobody does.
        """
        self.desk = desk
        self._reconciler = reconciler
        self._beat = beat
        self._concurrency = concurrency
        self._dead, self._heartbeat = dead, dead / 3
        # Two sides of one queue: waking is done from any thread, working in an event loop of its own.
        self._waking = procrastinate.App(connector=procrastinate.SyncPsycopgConnector()).open(desk.database.pool)
        self._working = procrastinate.App(connector=procrastinate.PsycopgConnector())
        self._working.task(name="sort")(self._sort_now)
        self._working.task(name="wake")(self._wake_now)
        self._bell, self._rung = ThreadPoolExecutor(1, thread_name_prefix="bell"), threading.Event()
        self._stop = threading.Event()
        self._resting: dict[Lane, float] = {}
        self._tidied = 0.0
        self._fitted, self._outdated = 0.0, False

    def delivered(self) -> None:
        """A delivery has been stored: somebody should sort it.  Returns at once; one ring is enough for many."""
        if not self._rung.is_set():
            self._rung.set()
            self._bell.submit(self._ring)

    def _ring(self) -> None:
        self._rung.clear()
        try:
            self._ask_to_sort()
        except Exception:
            log.exception("nobody woken")
        self._stop.wait(_BREATH)

    def _ask_to_sort(self) -> None:
        """Somebody sorts what has come in."""
        with self.desk.database.look() as db:
            waits = db.execute(
                "SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = 'sort' AND status = 'todo'"
            ).fetchone()
        if waits is None:
            self._put([_job("sort", "sort", priority=_FIRST)])

    def wake(self, lanes: Iterable[Lane], *, rings: bool = False, most: int = _ENOUGH) -> None:
        """Wake these incidents.  At most one wake-up waits for each, and one runs; where `most` wait already, none is added.

        `rings`: an alarm of theirs is due, which waits for nobody's orders: they come first, whatever else waits for them.
        """
        named = {f"{'alarm' if rings else 'incident'} {lane}": lane for lane in lanes}
        if not named:
            return
        waiting = self._waiting()
        room = len(named) if rings else most - len(waiting)
        jobs = [
            _job("wake", name, lock=f"incident {lane}", priority=_FIRST if rings else 0, about=lane)
            for name, lane in named.items()
            if name not in waiting
        ]
        self._put(jobs[: max(room, 0)])

    def look(self) -> None:
        """Wake everything that has something to do: new deliveries, due alarms, orders whose time has come."""
        if not self._fits():
            return
        now = self.desk.clock()
        with self.desk.database.look() as db:
            new = inbox.any_new(db)
            due = dict.fromkeys(lane for lane in incidents.lanes_due(db, now) if not self._rests(lane))
            # In turns, so that neither a flood of deliveries nor one of orders keeps the other waiting.
            turns = zip_longest(inbox.waiting_lanes(db), self._in_line(db, now))
            lanes = dict.fromkeys(lane for both in turns for lane in both if lane is not None)
            OLDEST_ALARM.set(incidents.most_overdue(db, now).total_seconds())
        if new:
            self._ask_to_sort()
        self.wake(due, rings=True)
        self.wake(lane for lane in lanes if lane not in due and not self._rests(lane))
        # Last, and a batch a beat, so that no alarm waits for it.
        if (not self._tidied or time.monotonic() - self._tidied > _TIDY) and tidy(self.desk, now):
            self._tidied = time.monotonic()
        if self._reconciler is not None:
            self._reconciler.beat()

    def idle(self) -> bool:
        """Nothing is due and nobody is at work."""
        now = self.desk.clock()
        with self.desk.database.look() as db:
            busy = db.execute("SELECT 1 FROM procrastinate_jobs WHERE status IN ('todo', 'doing') LIMIT 1").fetchone()
            rows = (
                inbox.any_new(db)
                or inbox.waiting_lanes(db)
                or incidents.lanes_due(db, now)
                or outbox.lanes_waiting(db, now)
            )
        return busy is None and not rows

    def run(self) -> None:
        """Work until `stop`, or a signal where this is the main thread."""
        if self._reconciler is not None:
            self._reconciler.first(self._stop.wait)
        beat = threading.Thread(target=self._keep_beat, name="beat", daemon=True)
        beat.start()
        messenger = threading.Thread(target=Messenger(self.desk).run, args=(self._stop,), name="messenger", daemon=True)
        messenger.start()
        try:
            asyncio.run(self._work())
        finally:
            self._stop.set()
            beat.join(timeout=5)
            messenger.join(timeout=10)
            if self._reconciler is not None:
                self._reconciler.stop()

    def stop(self) -> None:
        """Finish what is being done, and return from `run`."""
        self._stop.set()

    def _put(self, jobs: Sequence[Job]) -> None:
        """All in one statement; where one of them waits already, each by itself, but for that one."""
        try:
            if jobs:
                self._waking.job_manager.batch_defer_jobs(list(jobs))
        except AlreadyEnqueued:
            if len(jobs) > 1:
                for job in jobs:
                    self._put([job])

    def _waiting(self) -> set[str]:
        """The wake-ups that wait already: a look costs less than being refused one, which leaves a line in the server's
        log besides.
        """
        with self.desk.database.look() as db:
            rows = db.execute("SELECT queueing_lock FROM procrastinate_jobs WHERE status = 'todo'").fetchall()
        return {row["queueing_lock"] for row in rows}

    async def _work(self) -> None:
        async with async_pool(self.desk.database.url, _CONNECTIONS) as pool, self._working.open_async(pool):
            stopped = asyncio.create_task(asyncio.to_thread(self._stop.wait))
            while not stopped.done():
                working = asyncio.create_task(self._take_jobs())
                await asyncio.wait((working, stopped), return_when=asyncio.FIRST_COMPLETED)
                if stopped.done():
                    working.cancel()
                (problem,) = await asyncio.gather(working, return_exceptions=True)
                if not stopped.done():
                    log.error("the worker stumbled", reason=repr(problem))
                    await asyncio.wait((stopped,), timeout=1)

    async def _take_jobs(self) -> None:
        """Work until cancelled.  Ends with the database's error when that is away."""
        burying = asyncio.create_task(self._bury())
        try:
            await self._working.run_worker_async(
                queues=[_QUEUE],
                concurrency=self._concurrency,
                # Also what failed: the rows are the work, and the beat finds them again.
                delete_jobs="always",
                install_signal_handlers=False,
                fetch_job_polling_interval=_POLL,
                shutdown_graceful_timeout=25,
                update_heartbeat_interval=self._heartbeat,
                stalled_worker_timeout=self._dead,
            )
        finally:
            burying.cancel()

    async def _bury(self) -> None:
        """Drop the wake-ups that a killed worker held, or their incidents would stay locked; the beat wakes them anew."""
        while True:
            for job in await self._working.job_manager.get_stalled_jobs(seconds_since_heartbeat=self._dead):
                log.warning("left behind by a worker that died", task=job.task_name, lock=job.lock)
                await self._working.job_manager.finish_job(job, Status.FAILED, delete_job=True)
            await asyncio.sleep(self._heartbeat)

    def _keep_beat(self) -> None:
        while not self._stop.wait(self._beat):
            try:
                self.look()
            except Exception:
                log.exception("the beat stumbled")

    def _sort_now(self) -> None:
        if self._fits():
            self.wake(sort(self.desk, self._going), most=_FEW)

    def _wake_now(self, repo_id: int, number: int) -> None:
        if not self._fits():
            return
        lane = Lane(repo_id, number)
        try:
            while self._going() and take(self.desk, lane):
                perform(self.desk, lane, self._going)
                with self.desk.database.look() as db:
                    if not inbox.of_lane(db, lane, most=1):
                        return
            perform(self.desk, lane, self._going)
        except Exception:
            FAILED.labels("wake").inc()
            self._resting[lane] = time.monotonic() + _REST
            raise
        self._resting[lane] = time.monotonic() + _REST

    def _in_line(self, db: Db, now: datetime) -> list[Lane]:
        resting = [lane for lane in tuple(self._resting) if self._rests(lane)]
        return rate_limits.first_in_line(db, now, resting, self.desk.at_once)

    def _fits(self) -> bool:
        """Whether this program is as new as the schema.  If not, it says so and does nothing; a newer one finds the rows.

        Asked once a beat, however many are woken.
        """
        asked = time.monotonic()
        if asked - self._fitted < self._beat:
            return True
        with self.desk.database.look() as db:
            known = fits(db)
        self._fitted = asked if known else 0.0
        if not known and not self._outdated:
            log.error("the schema is newer than this program: it does nothing until it is replaced")
        self._outdated = not known
        return known

    def _going(self) -> bool:
        """Whether another step may begin."""
        return not self._stop.is_set()

    def _rests(self, lane: Lane) -> bool:
        """Whether its last wake-up got nowhere, so that trying again every second would help nobody."""
        until = self._resting.get(lane)
        if until is not None and until <= time.monotonic():
            self._resting.pop(lane, None)
        return until is not None and until > time.monotonic()


def _job(task: str, name: str, *, lock: str | None = None, priority: int = 0, about: Lane | None = None) -> Job:
    """One wake-up; only one of that name waits at a time."""
    told: JSONDict = {"repo_id": about.repo_id, "number": about.number} if about is not None else {}
    return Job(queue=_QUEUE, task_name=task, queueing_lock=name, lock=lock, priority=priority, task_kwargs=told)
