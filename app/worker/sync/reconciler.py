"""What came past us is found: deliveries in GitHub's list, issues by their own history, and drift.

Whoever comes back after an absence looks at the issues first, so that the open incidents are right before an alarm rings
on old evidence; then at the deliveries.  After that the newest page of the delivery list is compared every minute, all of
it every hour, since GitHub may list a page hours late, and the open incidents every hour.  One process at a time does it.
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
from app.github.installations import repositories
from app.ports import DeliveryFailed, Lane, Repository
from app.store import incidents, sync_state
from app.store.database import Db
from app.store.sync_state import Mark
from app.worker.context import Desk
from app.worker.pipeline import uninstall
from app.worker.sync import catch_up, drift, missed_deliveries
from app.worker.sync.catch_up import Caught
from app.worker.sync.drift import Compared
from app.worker.sync.missed_deliveries import Look, Search

EVERY = timedelta(seconds=60)
"""Between two looks at the newest page of the delivery list, where a door takes deliveries in."""
_DEEP = timedelta(hours=1)
_DRIFT = timedelta(hours=1)
_ABSENT = timedelta(minutes=5)
"""Who has not compared anything for so long has been away."""
_PATIENCE = 45.0
"""Seconds of the wall clock in which alarms wait for the look at the issues after an absence, and no longer: they are
promised within a minute of a restart."""
_SOON = 5.0
"""Seconds until a look that failed is taken again, unless GitHub asks for more."""
_AGAIN = 60.0
"""Seconds until the next try after a failure, unless GitHub asks for more."""

FAILED = Counter("muster_reconcile_failed", "Comparisons with GitHub that could not be finished")
DONE = Gauge("muster_reconciled_timestamp_seconds", "When each comparison was last finished", ["part"])

log = structlog.get_logger()


@dataclass
class Report:
    """What a comparison found and did."""

    absent_since: datetime | None = None
    repositories: int = 0
    issues: Caught = field(default_factory=Caught)
    deliveries: Look = field(default_factory=Look)
    drift: Compared = field(default_factory=Compared)
    failures: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, Any]:
        """As plain data."""
        look = self.deliveries
        return {
            "absent_since": self.absent_since.isoformat() if self.absent_since else None,
            "repositories": self.repositories,
            "issues": asdict(self.issues),
            "deliveries": {
                "pages": look.pages,
                "listed": look.listed,
                "missed": look.missed,
                "taken": look.taken,
                "lost": look.lost,
                "left": look.left,
                "oldest": look.reaches.isoformat() if look.reaches else None,
            },
            "drift": {**asdict(self.drift)},
            "failures": self.failures,
        }


class Reconciler:
    """Compares with GitHub whatever is due.  `every`: how long the newest deliveries may go unseen; `pull`: nothing comes
    in at a door, so that there is none to wait for.
    """

    def __init__(self, desk: Desk, client: Client, *, every: timedelta = EVERY, pull: bool = False) -> None:
        self.desk = desk
        self._client = client
        self._deliveries = Deliveries(client, desk.clock)
        self._every = every
        self._pull = pull
        self._not_before: datetime | None = None
        self._thread: threading.Thread | None = None
        self._issues_done = threading.Event()
        self._stopped = threading.Event()

    # From the worker's beat.

    def beat(self) -> None:
        """Begin what is due, in a thread of its own: no alarm waits for it."""
        if (self._thread is not None and self._thread.is_alive()) or self._stopped.is_set() or not self._due():
            return
        self._thread = threading.Thread(target=self._turn_safely, name="reconcile", daemon=True)
        self._thread.start()

    def first(self, stopped: Callable[[float], bool]) -> None:
        """After an absence, wait until the issues have been looked at, 45 seconds at most.  `stopped` waits and says so."""
        try:
            with self.desk.database.transaction() as db:
                absent = _absent_since(sync_state.marks(db), self.desk.clock()) is not None
            if not absent:
                return
            self.beat()
        except psycopg.Error as problem:
            log.warning("nobody knows whether we were away", reason=type(problem).__name__)
            return
        for _ in range(int(_PATIENCE * 10)):
            if self._issues_done.is_set() or self._thread is None or not self._thread.is_alive() or stopped(0.1):
                return
        log.warning("the issues are still being looked at; alarms go on meanwhile")

    def stop(self) -> None:
        """Begin nothing new, and give what is being done a moment."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join(timeout=3)

    def turn(self) -> Report | None:
        """Whatever is due now; None: nothing is, or another process is at it.  Raises DeliveryFailed."""
        if not self._due():
            return None
        with sync_state.alone(self.desk.database) as mine:
            # Another process may have done it while we asked.
            if not mine or not self._due():
                return None
            try:
                report = self._work(_quiet)
            except DeliveryFailed as failed:
                self._rest(_AGAIN if failed.retry_after is None else max(failed.retry_after, _SOON))
                raise
            finally:
                self._issues_done.set()
            if report.failures:
                self._rest(0.0)
            return report

    def _rest(self, wait: float) -> None:
        """After a failure, ask nothing for so many seconds, and no less than a minute where a door is open."""
        least = self._every.total_seconds() if self._pull else _AGAIN
        self._not_before = self.desk.clock() + timedelta(seconds=max(wait, least))

    # By hand.

    def run(self, say: Callable[[str], None], *, repo: str = "", deep: bool = False) -> Report:
        """Compare now, whatever is due.  `repo`: one repository only; `deep`: all that can be compared.

        Waits for another process that is at it.  Raises DeliveryFailed.
        """
        with sync_state.alone(self.desk.database, wait=True):
            return self._work(say, by_hand=True, repo=repo.lower(), deep=deep)

    def _turn_safely(self) -> None:
        try:
            self.turn()
        except DeliveryFailed as failed:
            FAILED.inc()
            log.warning("not compared with GitHub", reason=str(failed))
        except Exception:
            FAILED.inc()
            log.exception("the comparison with GitHub stumbled")
            self._not_before = self.desk.clock() + timedelta(seconds=_AGAIN)
        finally:
            self._issues_done.set()

    def _due(self) -> bool:
        now = self.desk.clock()
        if self._not_before is not None and now < self._not_before:
            return False
        with self.desk.database.transaction() as db:
            marks, behind = sync_state.marks(db), sync_state.behind(db)
        return bool(behind) or any(self._is_due(marks, part, now) for part in ("deliveries", "drift"))

    def _is_due(self, marks: dict[str, Mark], part: str, now: datetime) -> bool:
        each = {"deliveries": self._every, "deep": _DEEP, "drift": _DRIFT}[part]
        # What we have heard of since we began has had no time yet to differ.
        last = marks.get(part) or (marks.get("begun") if part == "drift" else None)
        return last is None or now - last.at >= each or last.at > now + each

    def _work(self, say: Callable[[str], None], *, by_hand: bool = False, repo: str = "", deep: bool = False) -> Report:
        now, report = self.desk.clock(), Report()
        uninstall.forget(self.desk, self._client)
        with self.desk.database.transaction() as db:
            begun = _begun(db, now)
            marks = sync_state.marks(db)
            report.absent_since = _absent_since(marks, now) or _never_looked(db, marks, now)
        if report.absent_since is not None:
            self._fell_behind(report.absent_since)
        if deep:
            self._fell_behind(max(begun, now - missed_deliveries.LOOK_BACK), repo)
        self._issues(begun, report, say, repo)
        self._issues_done.set()
        if by_hand or self._is_due(marks, "deliveries", now):
            whole = deep or report.absent_since is not None or self._is_due(marks, "deep", now)
            self._look_at_deliveries(marks, now, report, say, whole=whole, repo=repo)
        # After an absence the issues were compared just now; the rest has until the next beat.
        if by_hand or (self._is_due(marks, "drift", now) and report.absent_since is None):
            self._drift(begun, now, report, say, repo=repo, deep=deep)
        return report

    def _fell_behind(self, since: datetime, repo: str = "") -> None:
        """Write down what is owed before anything is asked, so that a crash in between forgets nothing."""
        found = [one for one in repositories(self._client) if repo in ("", one.name.lower())]
        with self.desk.database.transaction() as db:
            for one in found:
                incidents.remember_repository(db, one)
            sync_state.fell_behind(db, since, [one.id for one in found])

    def _issues(self, begun: datetime, report: Report, say: Callable[[str], None], repo: str) -> None:
        with self.desk.database.transaction() as db:
            behind = sync_state.behind(db)
        for repository, since in self._of(behind, repo):
            try:
                caught = catch_up.catch_up(self.desk, repository, since, begun, say)
            except DeliveryFailed as failed:
                report.failures.append(f"{repository.name}: {failed}")
                log.warning("issues not looked at", repository=repository.name, reason=str(failed))
                if failed.retry_after is not None:
                    continue
            else:
                report.repositories += 1
                for name in ("listed", "looked", "opened", "events"):
                    setattr(report.issues, name, getattr(report.issues, name) + getattr(caught, name))
            with self.desk.database.transaction() as db:
                sync_state.caught_up(db, repository.id, since)
        if not report.failures:
            DONE.labels("issues").set(self.desk.clock().timestamp())

    def _look_at_deliveries(
        self,
        marks: dict[str, Mark],
        now: datetime,
        report: Report,
        say: Callable[[str], None],
        *,
        whole: bool,
        repo: str,
    ) -> None:
        last, only = marks.get("deliveries"), None
        if repo:
            with self.desk.database.transaction() as db:
                only = next((one.id for one in incidents.repositories(db) if one.name.lower() == repo), None)
            if only is None:
                return
        search = Search(
            since=None if whole or last is None else last.at,
            etag="" if whole or last is None else last.etag,
            patient=not self._pull,
            repo_id=only,
        )
        look = missed_deliveries.fetch_missed(self.desk, self._deliveries, search, say)
        report.deliveries = look
        if repo:
            return  # the others have not been looked at
        with self.desk.database.transaction() as db:
            # What is on its way now has to be looked at the next time.
            sync_state.mark(db, "deliveries", now, look.etag)
            if whole:
                sync_state.mark(db, "deep", now)
        DONE.labels("deliveries").set(now.timestamp())

    def _drift(
        self, begun: datetime, now: datetime, report: Report, say: Callable[[str], None], *, repo: str, deep: bool
    ) -> None:
        about: list[Lane] = []
        with self.desk.database.transaction() as db:
            every = [(one, now) for one in incidents.repositories(db)]
        for repository, _ in self._of(every, repo):
            try:
                found = drift.compare(self.desk, repository, begun, say, everything=deep)
            except DeliveryFailed as failed:
                report.failures.append(f"{repository.name}: {failed}")
                log.warning("not compared", repository=repository.name, reason=str(failed))
                continue
            report.drift.open += found.open
            report.drift.in_full += found.in_full
            report.drift.differences += found.differences
            about += [Lane(repository.id, one.number) for one in found.differences]
        if repo:
            return
        with self.desk.database.transaction() as db:
            sync_state.mark(db, "drift", now, about=dict.fromkeys(about))
        DONE.labels("drift").set(now.timestamp())

    def _of(self, every: list[tuple[Repository, datetime]], repo: str) -> Iterator[tuple[Repository, datetime]]:
        """Those that are asked for, until we are to stop."""
        for repository, since in every:
            if self._stopped.is_set():
                return
            if repo in ("", repository.name.lower()):
                yield repository, since


def _begun(db: Db, now: datetime) -> datetime:
    """When we first heard of anything: what was declared before is not ours to take up."""
    if (known := sync_state.marks(db).get("begun")) is not None:
        return known.at
    begun = sync_state.first_delivery(db) or now
    sync_state.mark(db, "begun", begun)
    return begun


def _absent_since(marks: dict[str, Mark], now: datetime) -> datetime | None:
    """When we last compared anything, if that is long ago."""
    last = marks.get("deliveries")
    return last.at if last is not None and now - last.at > _ABSENT else None


def _never_looked(db: Db, marks: dict[str, Mark], now: datetime) -> datetime | None:
    """When the last delivery came, if long ago and nothing was ever compared: an earlier version kept no other trace."""
    last = None if "deliveries" in marks else sync_state.last_delivery(db)
    return last if last is not None and now - last > _ABSENT else None


def _quiet(line: str) -> None:
    """Nobody watches."""
