"""The embedded PostgreSQL: it starts, is shared, stops, and survives being killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

import app
from app.store import embedded
from app.store.embedded import EmbeddedServer


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
