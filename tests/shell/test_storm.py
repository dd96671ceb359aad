"""Kills workers and the web receiver in a storm of deliveries: nothing lost, nothing twice (B1, B2, B3, B8)."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from app.store.database import Database
from app.store.serialization import canonical_json
from app.web.server import find_free_port
from tests.figures import Figures
from tests.shell.conftest import Place
from tests.shell.processes import Process, comes, count, door, idle, log_of, worker
from tests.shell.storm import Storm, decided, known, now, storm
from tests.soak import size

AT_THE_DOOR = ("after_body_read", "after_insert", "before_202")
AT_WORK = (
    "after_claim",
    "mid_reduce",
    "timer_fired_before_commit",
    "before_commit",
    "after_commit",
    "before_post",
    "after_post_before_mark",
    "after_mark",
)
"""Every run tries all of them in one process, in test_crashes.py."""
DEATHS: list[tuple[tuple[str, ...], int]] = size(
    [(("after_insert", "timer_fired_before_commit", "after_post_before_mark"), 1)],
    [((point,), nth) for point in (*AT_THE_DOOR, *AT_WORK) for nth in (1, 2, 10)],
)
"""The fail points at which processes die one after the other, and at which hit."""
TAKEN = "FROM delivery WHERE state IN ('processed', 'ignored')"


def redelivered(told: Storm) -> int:
    """Request redelivery of every unacknowledged delivery until all are accepted.  Return how many requests it took.

    This is what the deliveries API permits.
    """
    asked = 0
    while True:
        told.github.hooks.settle(1200)
        heard = {d.guid for d in told.github.hooks.deliveries() if d.ok}
        missed = {d.guid: d for d in told.github.hooks.deliveries() if d.guid not in heard}
        if not missed:
            return asked
        asked += len(missed)
        for delivery in missed.values():
            told.github.hooks.redeliver(delivery)
        time.sleep(0.2)


def nothing_lost_nothing_twice(told: Storm, database: Database, place: Place) -> None:
    """Check that the database equals the oracle's, with nothing lost or doubled.

    Out of order, a warning may have been posted before the event that makes it needless was known.
    Call it only when no process is at work any more.
    """
    assert told.lost(database) == 0
    assert told.doubled() == []
    assert told.missing(database) == []
    with place.database() as oracle:
        told.oracle(oracle, now())
        assert canonical_json(known(database)) == canonical_json(known(oracle))
        more = decided(database) - decided(oracle)
        assert decided(oracle) <= decided(database)
    kinds = {key.partition("/")[0] for _, key in more}
    assert kinds <= {"update", "acknowledge", "respond", "escalate", "resolve"}, more


def test_b1_b2_workers_and_the_door_are_killed_in_a_storm(places: Place, tmp_path: Path, figures: Figures) -> None:
    """At full size with the lease and the timeouts of real workers."""
    deliveries = size(40, 10_000)
    times = size({}, {"lease": 30.0, "dead": 10.0})
    with storm(deliveries) as told, places.database() as database:
        told.bad_weather()
        environment = told.environment(DATABASE_URL=database.url)
        port = find_free_port()
        with ExitStack() as stack:
            receiver = stack.enter_context(door(environment, tmp_path, port))
            told.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            workers = [stack.enter_context(worker(environment, tmp_path, **times)) for _ in range(2)]
            assert comes(lambda: count(database, "FROM procrastinate_workers") == 2), log_of(tmp_path)
            began = time.monotonic()
            told.github.hooks.ensure_senders(8)
            told.github.hooks.release(told.order())
            if size(False, True):
                # Of those received, not of those processed: by then the web receiver would have little left to miss.
                assert comes(lambda: count(database, "FROM delivery") >= 0.6 * deliveries, 600), log_of(tmp_path)
                receiver.kill()
                receiver.wait(10)
                time.sleep(0.5)  # no web receiver answers meanwhile
                stack.enter_context(door(environment, tmp_path, port))
            for part in size((0.5,), (0.25, 0.5, 0.75)):
                assert comes(lambda part=part: count(database, TAKEN) >= part * deliveries, 600), log_of(tmp_path)
                workers[0].kill()
                assert workers.pop(0).wait(10) == -signal.SIGKILL
                workers.append(stack.enter_context(worker(environment, tmp_path, **times)))
            again = redelivered(told)
            assert again or size(True, False), "nothing was missed while no receiver was running"
            heard = time.monotonic() - began
            assert comes(lambda: idle(database), 600), log_of(tmp_path)
            took = time.monotonic() - began
        nothing_lost_nothing_twice(told, database, places)
        posts = sum(call.method != "GET" for call in told.github.calls_since())
        figures.record(
            "B1, B2",
            size=f"{deliveries} deliveries, 20 % twice, shuffled; {places.name}",
            measured=f"0 lost, 0 missing, 0 twice of {sum(told.said().values())} said in {posts} writes, as the oracle;"
            f" {again} delivered again, {heard:.0f} s until all was heard, {took:.0f} s until all was done",
        )


@pytest.mark.parametrize(("points", "nth"), DEATHS, ids=[f"{'+'.join(points)}:{nth}" for points, nth in DEATHS])
def test_b3_a_process_dies_at_each_failpoint(
    usual: Place, tmp_path: Path, figures: Figures, points: tuple[str, ...], nth: int
) -> None:
    """Web receiver or worker die one after the other; then a process without a fail point finishes.

    The twelfth fail point, mid_migration, is in test_upgrade.py.
    """
    deliveries = size(30, 100 * nth if "timer_fired_before_commit" in points and nth > 2 else 200)
    with storm(deliveries) as told, usual.database() as database, ExitStack() as stack:
        told.bad_weather()
        environment = told.environment(DATABASE_URL=database.url)
        port = find_free_port()
        hooks = told.github.hooks
        hooks.release(told.order())  # no web receiver is running yet
        hooks.settle(60)
        hooks.url = f"http://127.0.0.1:{port}/webhook"
        missed = iter([d for d in hooks.deliveries() if d.status_code != 202])

        def dies(process: Process) -> int | None:
            """Redeliver until the process ends; return its exit code, or None if it lives on."""
            for _ in range(1200):
                if process.poll() is not None:
                    break
                if (next_one := next(missed, None)) is not None:
                    hooks.redeliver(next_one)
                time.sleep(0.05)
            hooks.settle(60)
            return process.poll()

        for point in points:
            if point in AT_THE_DOOR:
                with door(environment, tmp_path, port, at=f"{point}:{nth}") as receiver:
                    assert dies(receiver) == 137, point
        stack.enter_context(door(environment, tmp_path, port))
        for point in points:
            if point in AT_WORK:
                with worker(environment, tmp_path, at=f"{point}:{nth}") as at_work:
                    assert dies(at_work) == 137, (point, log_of(tmp_path))
        with worker(environment, tmp_path):
            redelivered(told)
            assert comes(lambda: idle(database), 120), log_of(tmp_path)
        nothing_lost_nothing_twice(told, database, usual)
        figures.record(
            "B3",
            size=f"{', '.join(points)}: hit {nth}, {deliveries} deliveries; {usual.name}",
            measured=f"died; 0 lost, 0 missing, 0 twice of {sum(told.said().values())}, as the oracle",
        )


def test_b8_a_worker_that_is_asked_to_stop_does_and_at_once_when_asked_twice(
    usual: Place, tmp_path: Path, figures: Figures
) -> None:
    """In the middle of its work, and while a call to GitHub hangs."""
    with storm(size(30, 400)) as told, usual.database() as database:
        environment = told.environment(DATABASE_URL=database.url)
        with door(environment, tmp_path, port := find_free_port()):
            told.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            told.github.hooks.release(told.order())
            redelivered(told)
        with worker(environment, tmp_path) as first:
            assert comes(lambda: count(database, TAKEN) > 10), log_of(tmp_path)
            began = time.monotonic()
            first.terminate()
            assert first.wait(40) == 0
            once = time.monotonic() - began
        told.github.faults.add("hang", times=4, method="POST", path="/comments", seconds=size(5.0, 8.0))
        with worker(environment, tmp_path) as second:
            assert comes(lambda: count(database, "FROM outbox WHERE state = 'in_flight'") > 0), log_of(tmp_path)
            time.sleep(0.5)
            second.terminate()
            time.sleep(0.5)
            began = time.monotonic()
            second.terminate()
            assert second.wait(40) == 128 + signal.SIGTERM
            twice = time.monotonic() - began
        told.github.faults.clear()
        with worker(environment, tmp_path):
            assert comes(lambda: idle(database), 120), log_of(tmp_path)
        nothing_lost_nothing_twice(told, database, usual)
        figures.record(
            "B8",
            size=f"two workers under load, {size(30, 400)} deliveries; {usual.name}",
            measured=f"{once:.1f} s; {twice:.1f} s; 0 lost",
        )
        assert once <= 30
        assert twice <= 2


def test_b6_a_worker_that_was_away_does_not_write_any_more(
    database: Database, tmp_path: Path, figures: Figures
) -> None:
    """It is stopped right before a call; another worker reaps its job and posts the comments; then it goes on."""
    away, lease = size((5, 2), (300, 30))
    with storm(10) as told:
        environment = told.environment(DATABASE_URL=database.url)
        with door(environment, tmp_path, port := find_free_port()):
            told.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            told.github.hooks.release(told.deliveries)
            redelivered(told)
        with worker(environment, tmp_path, lease=lease, at="before_post", end="stop") as first:
            assert comes(lambda: stopped(first)), log_of(tmp_path)
            assert sum(told.said().values()) == 0
            stood = time.monotonic()
            with worker(environment, tmp_path, lease=lease):
                assert comes(lambda: idle(database), 90 + lease), log_of(tmp_path)
                said = told.said()
                time.sleep(max(0.0, away - (time.monotonic() - stood)))
                first.send_signal(signal.SIGCONT)
                assert comes(lambda: '"lease lost"' in (tmp_path / "processes.log").read_text(), 20), log_of(tmp_path)
                assert comes(lambda: idle(database), 30)
        now_said = told.said()
        assert {key: now_said[key] for key in said} == said, "another page may fire, but nothing twice"
        assert told.doubled() == []
        assert told.missing(database) == []
        figures.record(
            "B6",
            size=f"away for {away} s, lease {lease} s",
            measured="refused, 0 twice",
        )


def stopped(process: Process) -> bool:
    return "State:\tT" in Path(f"/proc/{process.pid}/status").read_text()
