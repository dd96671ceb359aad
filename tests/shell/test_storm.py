"""Workers and the door are killed while it rains deliveries: nothing is lost, nothing is said twice (B1, B2, B3, B8)."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from app.serving import free_port
from app.store.codec import canonical
from app.store.database import Database
from tests.figures import Figures
from tests.shell.processes import comes, count, door, idle, log_of, worker
from tests.shell.storm import Storm, decided, known, storm
from tests.soak import size

POINTS = (
    "after_claim",
    "mid_reduce",
    "timer_fired_before_commit",
    "before_commit",
    "after_commit",
    "before_post",
    "after_post_before_mark",
    "after_mark",
)
AT_THE_DOOR = ("after_body_read", "after_insert", "before_202")
TAKEN = "FROM delivery WHERE state IN ('taken', 'ignored')"


def redelivered(told: Storm) -> None:
    """Whoever was not answered is asked for again, as the deliveries API lets one do, until all were."""
    while True:
        told.github.hooks.settle(120)
        heard = {d.guid for d in told.github.hooks.deliveries() if d.ok}
        missed = {d.guid: d for d in told.github.hooks.deliveries() if d.guid not in heard}
        if not missed:
            return
        for delivery in missed.values():
            told.github.hooks.redeliver(delivery)
        time.sleep(0.2)


def nothing_lost_nothing_twice(told: Storm, database: Database, oracle: Database) -> None:
    """As the oracle; what came out of order may have been warned of before it was known to be well."""
    assert told.lost(database) == 0
    assert told.doubled() == []
    assert told.missing(database) == []
    assert canonical(known(database)) == canonical(known(oracle))
    more = decided(database) - decided(oracle)
    assert decided(oracle) <= decided(database)
    assert {key.partition("/")[0] for _, key in more} <= {"update", "acknowledge", "respond", "escalate", "resolve"}, more


def test_b1_b2_workers_and_the_door_are_killed_in_a_storm(
    database: Database, beside: Database, tmp_path: Path, figures: Figures
) -> None:
    deliveries = size(200, 10_000)
    with storm(deliveries) as told, ExitStack() as stack:
        told.oracle(beside)
        told.bad_weather()
        environment = told.environment(DATABASE_URL=database.url)
        port = free_port()
        receiver = stack.enter_context(door(environment, tmp_path, port))
        told.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
        workers = [stack.enter_context(worker(environment, tmp_path)) for _ in range(2)]
        assert comes(lambda: count(database, "FROM procrastinate_workers") == 2), log_of(tmp_path)
        began = time.monotonic()
        told.github.hooks.release(told.order())
        for part in (0.25, 0.5, 0.6, 0.75):
            assert comes(lambda part=part: count(database, TAKEN) >= part * deliveries, 600), log_of(tmp_path)
            if part == 0.6:
                receiver.kill()
                receiver.wait(10)
                time.sleep(0.5)  # meanwhile nobody answers at the door
                receiver = stack.enter_context(door(environment, tmp_path, port))
                continue
            workers[0].kill()
            assert workers.pop(0).wait(10) == -signal.SIGKILL
            workers.append(stack.enter_context(worker(environment, tmp_path)))
        redelivered(told)
        assert comes(lambda: idle(database), 600), log_of(tmp_path)
        took = time.monotonic() - began
        nothing_lost_nothing_twice(told, database, beside)
        figures.record(
            "B1, B2",
            size=f"{deliveries} deliveries, 20 % twice, shuffled",
            required="3 workers and the door killed: 0 lost, 0 missing, 0 twice, as the oracle; 10,000 in 120 s",
            measured=f"0 lost, 0 missing, 0 twice of {sum(told.said().values())}, as the oracle; {took:.0f} s",
        )


@pytest.mark.parametrize("nth", size((1,), (1, 2, 10)))
def test_b3_a_process_dies_at_each_failpoint(
    database: Database, beside: Database, tmp_path: Path, figures: Figures, nth: int
) -> None:
    """One after the other, worker after worker and door after door, in one storm; then one that is left alone finishes."""
    deliveries = 200
    with storm(deliveries) as told, ExitStack() as stack:
        told.oracle(beside)
        told.bad_weather()
        environment = told.environment(DATABASE_URL=database.url)
        port = free_port()
        told.github.hooks.url = f"http://127.0.0.1:{port}/webhook"
        batches = itertools.batched_by(told.order(), len(AT_THE_DOOR))
        died = 0
        for point, batch in zip(AT_THE_DOOR, batches, strict=True):
            with door(environment, tmp_path, port, at=f"{point}:{nth}") as receiver:
                told.github.hooks.release(batch)
                assert receiver.wait(60) == 137, log_of(tmp_path)
                died += 1
                told.github.hooks.settle(60)
                told.github.hooks.hold()
