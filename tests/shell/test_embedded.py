"""The embedded PostgreSQL: it starts, is shared, stops, and survives being killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import app
from app.store import embedded
from app.store.connection_errors import DatabaseUnavailable
from app.store.embedded import EmbeddedServer
from app.store.folder_lock import FolderLock
from tests.shell.processes import ROOT


def accepts_connections(server: EmbeddedServer) -> bool:
    try:
        with psycopg.connect(server.url, connect_timeout=3):
            return True
    except psycopg.OperationalError:
        return False


def read_pid(home: Path) -> int:
    return int((home / "postgres" / "postmaster.pid").read_text().splitlines()[0])


def write_row(server: EmbeddedServer) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept (word text)")
        connection.execute("INSERT INTO kept VALUES ('kept')")


def has_row(server: EmbeddedServer) -> bool:
    with psycopg.connect(server.url) as connection:
        return connection.execute("SELECT word FROM kept").fetchall() == [("kept",)]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a data folder; stop its server afterwards if one is left."""
    yield tmp_path
    if (tmp_path / "postgres" / "postmaster.pid").exists():
        embedded.start(tmp_path).server.stop()


def test_it_starts_is_borrowed_and_stops(home: Path) -> None:
    server = embedded.start(home)
    try:
        write_row(server)
        borrowed = embedded.start(home)
        assert server.started_by_us
        assert not borrowed.started_by_us
        assert borrowed.url == server.url
        borrowed.stop()
        assert has_row(server), "a borrower does not stop it"
        assert borrow_in_other_process(home) == server.url
        assert has_row(server), "nor does another process that borrows it and ends"
    finally:
        server.stop()
    assert not accepts_connections(server)


def borrow_in_other_process(home: Path) -> str:
    code = "import sys, pathlib; from app.store import embedded; print(embedded.start(pathlib.Path(sys.argv[1])).url)"
    environment = {**os.environ, "PYTHONPATH": str(Path(app.__file__).parents[1])}
    done = subprocess.run(
        [sys.executable, "-c", code, str(home)], env=environment, capture_output=True, text=True, check=True, timeout=60
    )
    return done.stdout.strip()


def test_it_survives_being_killed_and_a_pid_file_that_names_somebody_else(home: Path) -> None:
    """After a kill -9 another process may have the server's process id, and must be left alone."""
    server = embedded.start(home)
    write_row(server)
    pid_file = home / "postgres" / "postmaster.pid"
    text = pid_file.read_text().splitlines()
    os.kill(read_pid(home), signal.SIGKILL)
    while accepts_connections(server):
        time.sleep(0.05)
    with subprocess.Popen(["sleep", "60"]) as bystander:
        try:
            pid_file.write_text("\n".join([str(bystander.pid), *text[1:]]) + "\n")
            again = embedded.start(home)
            try:
                assert again.started_by_us
                assert has_row(again)
                assert bystander.poll() is None
            finally:
                again.stop()
        finally:
            bystander.kill()


def test_its_folder_may_hold_half_a_pid_file(home: Path) -> None:
    server = embedded.start(home)
    write_row(server)
    server.stop()
    (home / "postgres" / "postmaster.pid").write_text("-17\n/nowhere\n")
    again = embedded.start(home)
    try:
        assert has_row(again)
    finally:
        again.stop()


def test_a_folder_that_cannot_be_used_is_said_in_words(home: Path) -> None:
    (home / "postgres").write_text("a file, not a folder")
    with pytest.raises((RuntimeError, OSError), match="postgres"):
        embedded.start(home)


@pytest.mark.parametrize("version", ["9.6", "16", "99"])
def test_ts20_a_folder_of_another_major_version_is_said_before_anything_starts(home: Path, version: str) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "PG_VERSION").write_text(f"{version}\n")
    with pytest.raises(DatabaseUnavailable, match=rf"is of PostgreSQL {version}, .* brings PostgreSQL 18: dump it"):
        embedded.start(home)
    assert [path.name for path in (home / "postgres").iterdir()] == ["PG_VERSION"]


def test_a_half_made_folder_is_said_and_kept(home: Path) -> None:
    (home / "postgres").mkdir()
    (home / "postgres" / "something").write_text("of mine")
    with pytest.raises(DatabaseUnavailable, match="no complete PostgreSQL data folder"):
        embedded.start(home)
    assert (home / "postgres" / "something").read_text() == "of mine"


def test_ts22_a_folder_that_another_machine_holds_is_waited_for_and_then_said_whose_it_is(home: Path) -> None:
    held = FolderLock(home / "postgres.lock")
    assert held.acquire()
    held.record_holder(home / "postgres")
    record = json.loads(held.path.read_text())
    held.path.write_text(json.dumps({**record, "host": "blue", "process": 7, "machine": "another"}))
    with pytest.raises(DatabaseUnavailable, match=r"in use by process 7 on host blue, since 20\d\d-"):
        embedded.start(home, lock_wait_seconds=0.5)
    releasing = threading.Timer(1, held.close)
    releasing.start()
    server = embedded.start(home, lock_wait_seconds=20)
    releasing.join()
    try:
        assert server.started_by_us
        assert not FolderLock(home / "postgres.lock").acquire(), "the server holds it"
    finally:
        server.stop()
    free = FolderLock(home / "postgres.lock")
    assert free.acquire()
    free.close()


def test_ts22_an_orphaned_process_of_a_killed_server_still_holds_the_folder(home: Path) -> None:
    """The lock is free only when the last process is gone that could write to the folder."""
    server = embedded.start(home)
    children = [int(pid) for pid in Path(f"/proc/{read_pid(home)}/task/{read_pid(home)}/children").read_text().split()]
    os.kill(children[0], signal.SIGSTOP)
    try:
        os.kill(read_pid(home), signal.SIGKILL)
        while accepts_connections(server):
            time.sleep(0.05)
        time.sleep(0.5)
        assert not FolderLock(home / "postgres.lock").acquire()
    finally:
        os.kill(children[0], signal.SIGKILL)
    again = embedded.start(home)
    try:
        assert again.started_by_us
    finally:
        again.stop()


IN_OTHER_CONTAINER = """
import pathlib, sys, psycopg
from app.store import embedded
server = embedded.start(pathlib.Path(sys.argv[1]))
with psycopg.connect(server.url) as connection:
    connection.execute("CREATE TABLE kept (word text)")
    connection.execute("INSERT INTO kept VALUES ('kept')")
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a container's process numbers")
def test_ts22_two_containers_on_one_folder_never_run_two_servers(home: Path) -> None:
    """Each has its own process numbers, so the second finds the first one's server dead; the lock says otherwise."""
    inside = ["unshare", "--pid", "--fork", "--mount-proc", sys.executable, "-c", IN_OTHER_CONTAINER, str(home)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        inside, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as first:
        assert first.stdin
        assert first.stdout
        assert first.stderr
        if first.stdout.readline().strip() != "started":
            pytest.skip(f"no container could be made: {first.stderr.read()[-200:]}")
        before = (home / "postgres" / "postmaster.pid").read_text()
        with pytest.raises(DatabaseUnavailable, match="in use by process"):
            embedded.start(home, lock_wait_seconds=1)
        assert (home / "postgres" / "postmaster.pid").read_text() == before
        ending = threading.Timer(1, first.stdin.close)
        ending.start()
        server = embedded.start(home)
        ending.join()
        assert first.wait(30) == 0
    try:
        assert server.started_by_us
        assert has_row(server)
    finally:
        server.stop()
