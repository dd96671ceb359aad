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
from tests.shell.conftest import DatabaseServer
from tests.shell.processes import Process, count_rows, is_idle, read_log_tail, start_web, start_worker, wait_until
from tests.shell.storm import Storm, create_storm, dump_comparable_state, list_decided_effects, now
from tests.soak import choose_size

RECEIVER_FAILPOINTS = ("after_body_read", "after_insert", "before_202")
WORKER_FAILPOINTS = (
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
DEATHS: list[tuple[tuple[str, ...], int]] = choose_size(
    [(("after_insert", "timer_fired_before_commit", "after_post_before_mark"), 1)],
    [((point,), nth) for point in (*RECEIVER_FAILPOINTS, *WORKER_FAILPOINTS) for nth in (1, 2, 10)],
)
"""The fail points at which processes die one after the other, and at which hit."""
SETTLED_DELIVERIES = "FROM delivery WHERE state IN ('processed', 'ignored')"


def redeliver_missed(traffic: Storm) -> int:
    """Request redelivery of every unacknowledged delivery until all are accepted.  Return how many requests it took.

    This is what the deliveries API permits.
    """
    request_count = 0
    while True:
        traffic.github.hooks.settle(1200)
        accepted = {d.guid for d in traffic.github.hooks.deliveries() if d.ok}
        missed = {d.guid: d for d in traffic.github.hooks.deliveries() if d.guid not in accepted}
        if not missed:
            return request_count
        request_count += len(missed)
        for delivery in missed.values():
            traffic.github.hooks.redeliver(delivery)
        time.sleep(0.2)


def assert_nothing_lost_or_doubled(traffic: Storm, database: Database, place: DatabaseServer) -> None:
    """Check that the database equals the oracle's, with nothing lost or doubled.

    Out of order, a warning may have been posted before the event that makes it needless was known.
    Call it only when no process is at work any more.
    """
    assert traffic.count_lost_deliveries(database) == 0
    assert traffic.list_duplicates() == []
    assert traffic.list_missing(database) == []
    with place.database() as oracle:
        traffic.fill_oracle(oracle, now())
        assert canonical_json(dump_comparable_state(database)) == canonical_json(dump_comparable_state(oracle))
        more = list_decided_effects(database) - list_decided_effects(oracle)
        assert list_decided_effects(oracle) <= list_decided_effects(database)
    kinds = {key.partition("/")[0] for _, key in more}
    assert kinds <= {"update", "acknowledge", "respond", "escalate", "resolve"}, more


def test_b1_b2_workers_and_the_door_are_killed_in_a_storm(
    places: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """At full size with the lease and the timeouts of real workers."""
    deliveries = choose_size(40, 10_000)
    times = choose_size({}, {"lease": 30.0, "dead_after": 10.0})
    with create_storm(deliveries) as traffic, places.database() as database:
        traffic.start_faults()
        environment = traffic.environment(DATABASE_URL=database.url)
        port = find_free_port()
        with ExitStack() as stack:
            receiver = stack.enter_context(start_web(environment, tmp_path, port))
            traffic.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            workers = [stack.enter_context(start_worker(environment, tmp_path, **times)) for _ in range(2)]
            assert wait_until(lambda: count_rows(database, "FROM procrastinate_workers") == 2), read_log_tail(tmp_path)
            began = time.monotonic()
            traffic.github.hooks.ensure_senders(8)
            traffic.github.hooks.release(traffic.shuffle_deliveries())
            if choose_size(False, True):
                # Of those received, not of those processed: by then the web receiver would have little left to miss.
                assert wait_until(lambda: count_rows(database, "FROM delivery") >= 0.6 * deliveries, 600), (
                    read_log_tail(tmp_path)
                )
                receiver.kill()
                receiver.wait(10)
                time.sleep(0.5)  # no web receiver answers meanwhile
                stack.enter_context(start_web(environment, tmp_path, port))
            for part in choose_size((0.5,), (0.25, 0.5, 0.75)):
                assert wait_until(
                    lambda part=part: count_rows(database, SETTLED_DELIVERIES) >= part * deliveries, 600
                ), read_log_tail(tmp_path)
                workers[0].kill()
                assert workers.pop(0).wait(10) == -signal.SIGKILL
                workers.append(stack.enter_context(start_worker(environment, tmp_path, **times)))
            again = redeliver_missed(traffic)
            assert again or choose_size(True, False), "nothing was missed while no receiver was running"
            received_seconds = time.monotonic() - began
            assert wait_until(lambda: is_idle(database), 600), read_log_tail(tmp_path)
            done_seconds = time.monotonic() - began
        assert_nothing_lost_or_doubled(traffic, database, places)
        posts = sum(call.method != "GET" for call in traffic.github.calls_since())
        figures.record(
            "B1, B2",
            size=f"{deliveries} deliveries, 20 % twice, shuffled; {places.name}",
            measured=f"0 lost, 0 missing, 0 twice of {sum(traffic.count_posted_keys().values())} said in {posts} writes, as the oracle;"
            f" {again} delivered again, {received_seconds:.0f} s until all was heard, {done_seconds:.0f} s until all was done",
        )


@pytest.mark.parametrize(("points", "nth"), DEATHS, ids=[f"{'+'.join(points)}:{nth}" for points, nth in DEATHS])
def test_b3_a_process_dies_at_each_failpoint(
    usual: DatabaseServer, tmp_path: Path, figures: Figures, points: tuple[str, ...], nth: int
) -> None:
    """Web receiver or worker die one after the other; then a process without a fail point finishes.

    The twelfth fail point, mid_migration, is in test_upgrade.py.
    """
    deliveries = choose_size(30, 100 * nth if "timer_fired_before_commit" in points and nth > 2 else 200)
    with create_storm(deliveries) as traffic, usual.database() as database, ExitStack() as stack:
        traffic.start_faults()
        environment = traffic.environment(DATABASE_URL=database.url)
        port = find_free_port()
        hooks = traffic.github.hooks
        hooks.release(traffic.shuffle_deliveries())  # no web receiver is running yet
        hooks.settle(60)
        hooks.url = f"http://127.0.0.1:{port}/webhook"
        missed = iter([d for d in hooks.deliveries() if d.status_code != 202])

        def wait_for_death(process: Process) -> int | None:
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
            if point in RECEIVER_FAILPOINTS:
                with start_web(environment, tmp_path, port, failpoint=f"{point}:{nth}") as receiver:
                    assert wait_for_death(receiver) == 137, point
        stack.enter_context(start_web(environment, tmp_path, port))
        for point in points:
            if point in WORKER_FAILPOINTS:
                with start_worker(environment, tmp_path, failpoint=f"{point}:{nth}") as at_work:
                    assert wait_for_death(at_work) == 137, (point, read_log_tail(tmp_path))
        with start_worker(environment, tmp_path):
            redeliver_missed(traffic)
            assert wait_until(lambda: is_idle(database), 120), read_log_tail(tmp_path)
        assert_nothing_lost_or_doubled(traffic, database, usual)
        figures.record(
            "B3",
            size=f"{', '.join(points)}: hit {nth}, {deliveries} deliveries; {usual.name}",
            measured=f"died; 0 lost, 0 missing, 0 twice of {sum(traffic.count_posted_keys().values())}, as the oracle",
        )


def test_b8_a_worker_that_is_asked_to_stop_does_and_at_once_when_asked_twice(
    usual: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """In the middle of its work, and while a call to GitHub hangs."""
    with create_storm(choose_size(30, 400)) as traffic, usual.database() as database:
        environment = traffic.environment(DATABASE_URL=database.url)
        with start_web(environment, tmp_path, port := find_free_port()):
            traffic.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            traffic.github.hooks.release(traffic.shuffle_deliveries()[: choose_size(18, 240)])
            traffic.github.hooks.settle(1200)
        with start_worker(environment, tmp_path) as first:
            assert wait_until(lambda: count_rows(database, SETTLED_DELIVERIES) > 5), read_log_tail(tmp_path)
            began = time.monotonic()
            first.terminate()
            assert first.wait(40) == 0
            graceful_seconds = time.monotonic() - began
        with start_web(environment, tmp_path, port := find_free_port()):  # the first one may have finished all it had
            traffic.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            redeliver_missed(traffic)
        traffic.github.faults.add("hang", times=4, method="POST", path="/comments", seconds=choose_size(5.0, 8.0))
        with start_worker(environment, tmp_path) as second:
            assert wait_until(lambda: count_rows(database, "FROM outbox WHERE state = 'in_flight'") > 0), read_log_tail(
                tmp_path
            )
            time.sleep(0.5)
            second.terminate()
            time.sleep(0.5)
            began = time.monotonic()
            second.terminate()
            assert second.wait(40) == 128 + signal.SIGTERM
            forced_seconds = time.monotonic() - began
        traffic.github.faults.clear()
        with start_worker(environment, tmp_path):
            assert wait_until(lambda: is_idle(database), 120), read_log_tail(tmp_path)
        assert_nothing_lost_or_doubled(traffic, database, usual)
        figures.record(
            "B8",
            size=f"two workers under load, {choose_size(30, 400)} deliveries; {usual.name}",
            measured=f"{graceful_seconds:.1f} s; {forced_seconds:.1f} s; 0 lost",
        )
        assert graceful_seconds <= 30
        assert forced_seconds <= 2


def test_b6_a_worker_that_was_away_does_not_write_any_more(
    database: Database, tmp_path: Path, figures: Figures
) -> None:
    """It is stopped right before a call; another worker reaps its job and posts the comments; then it goes on."""
    away, lease = choose_size((5, 2), (300, 30))
    with create_storm(10) as traffic:
        environment = traffic.environment(DATABASE_URL=database.url)
        with start_web(environment, tmp_path, port := find_free_port()):
            traffic.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
            traffic.github.hooks.release(traffic.deliveries)
            redeliver_missed(traffic)
        with start_worker(environment, tmp_path, lease=lease, failpoint="before_post", end="stop") as first:
            assert wait_until(lambda: is_stopped(first)), read_log_tail(tmp_path)
            assert sum(traffic.count_posted_keys().values()) == 0
            stood = time.monotonic()
            with start_worker(environment, tmp_path, lease=lease):
                assert wait_until(lambda: is_idle(database), 90 + lease), read_log_tail(tmp_path)
                counts_before = traffic.count_posted_keys()
                time.sleep(max(0.0, away - (time.monotonic() - stood)))
                first.send_signal(signal.SIGCONT)
                assert wait_until(lambda: '"lease lost"' in (tmp_path / "processes.log").read_text(), 20), (
                    read_log_tail(tmp_path)
                )
                assert wait_until(lambda: is_idle(database), 30)
        counts_afterwards = traffic.count_posted_keys()
        assert {key: counts_afterwards[key] for key in counts_before} == counts_before, (
            "another page may fire, but nothing twice"
        )
        assert traffic.list_duplicates() == []
        assert traffic.list_missing(database) == []
        figures.record(
            "B6",
            size=f"away for {away} s, lease {lease} s",
            measured="refused, 0 twice",
        )


def is_stopped(process: Process) -> bool:
    return "State:\tT" in Path(f"/proc/{process.pid}/status").read_text()
