"""The schema is migrated while GitHub goes on delivering (row 14), and the migration may die half way."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from app.ports import IncidentKey
from app.store.database import Database, is_schema_known, load_migrations, migrate, read_schema_version
from app.store.queue_schema import QueueSchema, application_name, load_queue_schema
from app.web.application import create_app
from app.web.server import HttpServer
from app.worker.jobs import Queue
from tests.figures import Figures
from tests.shell.conftest import DatabaseServer
from tests.shell.night import SEV1, Night
from tests.shell.processes import ROOT, count_rows, read_log_tail, start_worker, wait_until
from tests.shell.storm import create_storm, now
from tests.soak import choose_size

NEWEST_MIGRATION = max(number for number, _, _ in load_migrations())
FUTURE_MIGRATION = (
    NEWEST_MIGRATION + 1,
    f"{NEWEST_MIGRATION + 1:04}_tomorrow.sql",
    "ALTER TABLE outbox ADD COLUMN tomorrow text NOT NULL DEFAULT ''",
)


@pytest.fixture
def empty_url(places: DatabaseServer) -> Iterator[str]:
    """Yield the URL of a database without any schema."""
    with psycopg.connect(places.url.format("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS upgraded WITH (FORCE)")
        connection.execute("CREATE DATABASE upgraded")
    yield places.url.format("upgraded")
    with psycopg.connect(places.url.format("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS upgraded WITH (FORCE)")


def test_row14_a_step_with_ten_thousand_rows_and_live_traffic(
    empty_url: str, places: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """From the last migration but one: deliveries arrive all the while, and all are processed afterwards."""
    before = [step for step in load_migrations() if step[0] < NEWEST_MIGRATION]
    migrate(empty_url, steps=before)
    with psycopg.connect(empty_url) as connection:
        connection.execute(
            "INSERT INTO outbox (repo_id, number, key, kind, data, state, created_at, not_before)"
            " SELECT 1, n, 'reply/' || n, 'Reply', '{}', 'done', '2026-03-14Z', '2026-03-14Z' FROM generate_series(1, 10000) n"
        )
    delivery_count = choose_size(72, 240)
    with create_storm(delivery_count * 10 // 12) as traffic, closing(Database(empty_url).open()) as database:
        environment = traffic.environment(DATABASE_URL=empty_url)
        hooks = traffic.github.hooks
        served = HttpServer(
            create_app(database, (traffic.github.app.webhook_secret,), now), "127.0.0.1", 0, name="door"
        )
        try:
            hooks.url = f"http://127.0.0.1:{served.port}/webhook"
            hooks.release(traffic.shuffle_deliveries())
            assert wait_until(lambda: count_rows(database, "FROM delivery") > 20)
            began = time.monotonic()
            assert migrate(empty_url) == [name for number, name, _ in load_migrations() if number == NEWEST_MIGRATION]
            took = time.monotonic() - began
            hooks.settle(60)
        finally:
            served.stop()
        accepted = {one.guid for one in hooks.deliveries() if one.status_code == 202}
        assert {one.guid for one in traffic.deliveries} <= accepted
        assert count_rows(database, "FROM outbox WHERE fencing_token = 0") == 10_000
        with start_worker(environment, tmp_path):
            assert wait_until(
                lambda: not count_rows(database, "FROM delivery WHERE state IN ('received', 'routed')"), 60
            ), read_log_tail(tmp_path)
        assert traffic.count_lost_deliveries(database) == 0
        figures.record(
            "Row 14",
            size=f"step {NEWEST_MIGRATION} with 10,000 rows, {delivery_count} deliveries meanwhile; {places.name}",
            measured=f"0 lost, 0 refused; the step took {took * 1000:.0f} ms",
        )


STORE_AS_RELEASE_12_DID = (
    "INSERT INTO delivery (hook, guid, event, body, digest, received_at) VALUES (%s, %s, %s, %b, %s, %s)"
    " ON CONFLICT (hook, guid) DO NOTHING"
)
"""What a web process runs that was started before the schema took step 13."""


def test_row14_an_old_receiver_stores_deliveries_while_and_after_the_names_change(empty_url: str) -> None:
    migrate(empty_url, steps=[step for step in load_migrations() if step[0] <= 12])
    stop, stored = threading.Event(), []

    def store_deliveries() -> None:
        with psycopg.connect(empty_url, autocommit=True) as connection:
            while not stop.is_set():
                guid = f"guid-{len(stored)}"
                done = connection.execute(STORE_AS_RELEASE_12_DID, ("other", guid, "ping", b"{}", b"", now()))
                stored.append(done.rowcount)

    receiver = threading.Thread(target=store_deliveries)
    receiver.start()
    try:
        assert wait_until(lambda: len(stored) > 50)
        assert migrate(empty_url)
        after = len(stored)
        assert wait_until(lambda: len(stored) > after + 50)
    finally:
        stop.set()
        receiver.join(10)
    with closing(Database(empty_url).open()) as database:
        assert set(stored) == {1}
        assert count_rows(database, "FROM delivery WHERE state = 'received'") == len(stored)


def test_row14_a_worker_in_the_middle_of_a_transaction_does_not_stop_the_migration(empty_url: str) -> None:
    """It holds a row that the migration needs, and then wants a table that the migration has locked."""
    migrate(empty_url, steps=[step for step in load_migrations() if step[0] <= 12])
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before)"
            " VALUES (1, 1, 'k', 'Page', '{}', '2026-03-14Z', '2026-03-14Z')"
        )
    ended: list[str] = []

    def hold_a_row_and_want_a_table() -> None:
        with psycopg.connect(empty_url) as connection:
            # The server looks for a deadlock after this time, and ends the transaction that looked.
            connection.execute("SET deadlock_timeout = '60s'")
            connection.execute("UPDATE outbox SET note = 'held' WHERE key = 'k'")
            assert wait_until(lambda: _waits_for_lock(empty_url))
            connection.execute("SELECT count(*) FROM departed")
            ended.append("the worker's transaction is complete")

    worker = threading.Thread(target=hold_a_row_and_want_a_table)
    worker.start()
    assert wait_until(lambda: _holds_row(empty_url))
    try:
        assert migrate(empty_url)[:1] == ["0013_plain_names.sql"]
    finally:
        worker.join(30)
    assert ended


def _holds_row(url: str) -> bool:
    return _count_sessions(url, "state = 'idle in transaction'") > 0


def _waits_for_lock(url: str) -> bool:
    return _count_sessions(url, "wait_event_type = 'Lock'") > 0


def _count_sessions(url: str, condition: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            f"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND {condition}"  # noqa: S608
        ).fetchone()
    assert row
    return int(row[0])


def test_row14_an_old_worker_does_nothing_in_a_new_schema_and_says_so(
    tonight: Night, capsys: pytest.CaptureFixture[str], figures: Figures
) -> None:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.github.hooks.settle()
    migrate(tonight.database.url, steps=[*load_migrations(), FUTURE_MIGRATION])
    with tonight.database.transaction() as db:
        assert not is_schema_known(db)
    queue = Queue(tonight.application.ctx, poll_interval_seconds=0.05)
    working = threading.Thread(target=queue.run)
    working.start()
    try:
        time.sleep(1.5)
        queue.on_delivery()
        queue.enqueue_incidents([IncidentKey(tonight.shop.id, number)])
        assert wait_until(lambda: not count_rows(tonight.database, "FROM procrastinate_jobs"), 20)
        assert set(tonight.load_delivery_states().values()) == {"received"}
        assert tonight.notices(number) == []
        assert "newer than this program" in capsys.readouterr().out
        with tonight.database.transaction() as db:
            db.execute(
                "DELETE FROM schema_step WHERE number = %s", (FUTURE_MIGRATION[0],)
            )  # as if this were the newer program
        assert wait_until(lambda: "incident" in tonight.labels(number) and bool(tonight.notices(number)), 20)
    finally:
        queue.stop()
        working.join(30)
    figures.record(
        "Row 14",
        size="a worker one step behind, one incident waiting",
        measured="nothing done, said in the log",
    )


def test_b3_a_migration_dies_half_way_and_nothing_of_it_stays(
    empty_url: str, places: DatabaseServer, figures: Figures
) -> None:
    """The process dies after each migration in turn; the next one starts from an empty database.

    At the quick size only after the first, one in the middle, and the last.
    """
    last = len(load_migrations())
    hits = choose_size((1, last // 2, last), range(1, last + 1))
    for nth in hits:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": empty_url,
            "FAILPOINT": f"mid_migration:{nth}",
        }
        done = subprocess.run([sys.executable, "-m", "app", "db", "migrate"], env=environment, timeout=60, check=False)
        assert done.returncode == 137
        assert read_schema_version(empty_url) == 0
    assert len(migrate(empty_url)) == len(load_migrations())
    figures.record(
        "B3",
        size=f"mid_migration, hits {', '.join(map(str, hits))} of {last}; {places.name}",
        measured="nothing stayed",
    )


PRE_STEP, POST_STEP = "03.99.00_01_pre_tomorrow.sql", "03.99.00_50_post_tomorrow.sql"


@pytest.fixture
def newer_queue(tmp_path: Path) -> QueueSchema:
    """Load a newer Procrastinate: the installed one, with a function more and, once the old are gone, one less."""
    folder = tmp_path / "migrations"
    folder.mkdir()
    for step in load_queue_schema().steps:
        (folder / step.name).write_text(step.sql)
    (folder / PRE_STEP).write_text(
        "ALTER TABLE procrastinate_jobs ADD COLUMN tomorrow integer;"
        " CREATE FUNCTION queue_new() RETURNS integer LANGUAGE sql AS 'SELECT 1';"
        " CREATE FUNCTION queue_old() RETURNS integer LANGUAGE sql AS 'SELECT 1'"
    )
    (folder / POST_STEP).write_text("DROP FUNCTION queue_old()")
    return load_queue_schema(folder)


def list_queue_steps(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute('SELECT name FROM queue_step ORDER BY name COLLATE "C"')]


def test_ts19_a_newer_procrastinate_brings_its_schema(empty_url: str, newer_queue: QueueSchema) -> None:
    """FC-O6: *pre* before ours, *post* after, each once, in the order of their names."""
    before = [step for step in load_migrations() if step[0] < NEWEST_MIGRATION]
    migrate(empty_url, steps=before)
    assert list_queue_steps(empty_url) == [step.name for step in load_queue_schema().steps]
    ours = load_migrations()[-1][1]
    assert migrate(empty_url, queue=newer_queue) == [
        f"procrastinate/{PRE_STEP}",
        ours,
        f"procrastinate/{POST_STEP}",
    ]
    assert list_queue_steps(empty_url) == [step.name for step in newer_queue.steps]
    assert migrate(empty_url, queue=newer_queue) == []


def test_ts19_a_database_from_before_the_record_gets_the_baseline_of_its_release(
    empty_url: str, newer_queue: QueueSchema
) -> None:
    """It was made by Procrastinate 3.10, even when the first program that looks brings a newer one."""
    migrate(empty_url)
    with psycopg.connect(empty_url) as connection:
        connection.execute("DROP TABLE queue_step")
    assert migrate(empty_url, queue=newer_queue) == [f"procrastinate/{PRE_STEP}", f"procrastinate/{POST_STEP}"]
    assert list_queue_steps(empty_url) == [step.name for step in newer_queue.steps]


def test_ts19_what_old_programs_need_stays_while_one_is_connected(empty_url: str, newer_queue: QueueSchema) -> None:
    migrate(empty_url)
    for name in (application_name(), ""):  # of this release, and of one before sessions had names
        with psycopg.connect(empty_url, application_name=name, autocommit=True) as old:
            assert migrate(empty_url, queue=newer_queue) in ([f"procrastinate/{PRE_STEP}"], [])
            assert old.execute("SELECT queue_old()").fetchone() == (1,)
    with psycopg.connect(empty_url, application_name=application_name(newer_queue)):
        assert wait_until(lambda: _count_sessions(empty_url, "application_name IN ('', 'muster 03.04.00_50')") <= 1)
        assert migrate(empty_url, queue=newer_queue) == [f"procrastinate/{POST_STEP}"]


def test_ts19_an_old_program_stands_aside_after_a_post_step_only(empty_url: str, newer_queue: QueueSchema) -> None:
    migrate(empty_url)
    with closing(Database(empty_url).open()) as database:
        assert migrate(empty_url, queue=newer_queue) == [f"procrastinate/{PRE_STEP}"], "the pool is an old program"
        with database.transaction() as db:
            assert is_schema_known(db)
    assert wait_until(lambda: _count_sessions(empty_url, "application_name LIKE 'muster %'") == 0)
    assert migrate(empty_url, queue=newer_queue) == [f"procrastinate/{POST_STEP}"]
    with closing(Database(empty_url).open()) as database, database.transaction() as db:
        assert not is_schema_known(db)


def test_ts19_a_step_does_not_queue_for_its_lock_and_is_tried_again(empty_url: str, newer_queue: QueueSchema) -> None:
    """One long transaction holds the table; others are not stopped by the migration that waits for it."""
    migrate(empty_url)
    applied: list[str] = []
    with psycopg.connect(empty_url) as long:
        long.execute("SELECT count(*) FROM procrastinate_jobs")
        migrating = threading.Thread(target=lambda: applied.extend(migrate(empty_url, queue=newer_queue)))
        migrating.start()
        slowest, ends = 0.0, time.monotonic() + 5
        while time.monotonic() < ends:
            with psycopg.connect(empty_url) as other:
                began = time.monotonic()
                other.execute("SELECT count(*) FROM procrastinate_jobs")
                slowest = max(slowest, time.monotonic() - began)
        assert not applied
    migrating.join(30)
    assert f"procrastinate/{PRE_STEP}" in applied
    assert slowest < 4


def test_ts19_the_second_migrator_goes_on_when_the_first_one_dies(
    empty_url: str, newer_queue: QueueSchema, tmp_path: Path
) -> None:
    code = (
        "import pathlib, sys, time\n"
        "from app.store.database import migrate; from app.store.queue_schema import load_queue_schema\n"
        "def stop(name): print('reached', flush=True); time.sleep(60)\n"
        "migrate(sys.argv[1], stop, queue=load_queue_schema(pathlib.Path(sys.argv[2])))\n"
    )
    migrate(empty_url)
    applied: list[str] = []
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    first = subprocess.Popen(
        [sys.executable, "-c", code, empty_url, str(tmp_path / "migrations")],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert first.stdout
        assert first.stdout.readline() == "reached\n"
        second = threading.Thread(target=lambda: applied.extend(migrate(empty_url, queue=newer_queue)))
        second.start()
        assert wait_until(lambda: _count_sessions(empty_url, "wait_event = 'advisory'") == 1)
        assert PRE_STEP not in list_queue_steps(empty_url)
    finally:
        first.kill()
        first.communicate()
    second.join(30)
    assert applied == [f"procrastinate/{PRE_STEP}", f"procrastinate/{POST_STEP}"]
