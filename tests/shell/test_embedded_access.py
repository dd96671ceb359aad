"""The embedded PostgreSQL belongs to its user: nobody else gets in, and no folder is opened for it (FC-S9)."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from app.store import embedded
from app.store.connection_errors import DatabaseUnavailable
from app.store.embedded import EmbeddedServer
from app.store.postgres_programs import choose_account, find_programs
from tests.shell.processes import ROOT

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can run a process as another user")
STRANGER, OTHER_STRANGER = "nobody", "daemon"

BECOME = """
import os, pathlib, psycopg, pwd, socket, sys
from app.store import embedded
entry = pwd.getpwnam(sys.argv.pop(1))  # after the imports: Python itself may be where others cannot read it
os.setgroups([])
os.setgid(entry.pw_gid)
os.setuid(entry.pw_uid)
"""

TRY_TO_GET_IN = """
home, url, socket_folder = pathlib.Path(sys.argv[1]), *sys.argv[2:]
for name in ("postgres", "root", "pgserver", "nobody", "daemon"):
    for password in ("", "postgres"):
        try:
            psycopg.connect(url, user=name, password=password, connect_timeout=3).close()
            print("connected as", name)
        except psycopg.OperationalError:
            pass
try:
    socket.socket(socket.AF_UNIX).connect(socket_folder + "/.s.PGSQL.5432")
    print("reached the socket")
except OSError:
    pass
for name in ("postgres", "postgres/PG_VERSION", "postgres/pg_hba.conf", "postgres/base", "postgres.lock", socket_folder):
    try:
        path = home / name
        print("read", list(path.iterdir()) if path.is_dir() else path.read_bytes())
    except OSError:
        pass
"""


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Yield a folder that everybody may enter, so that only the data folder itself keeps others out."""
    with tempfile.TemporaryDirectory(prefix="muster-open-", dir="/tmp", ignore_cleanup_errors=True) as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.fixture
def started() -> Iterator[list[EmbeddedServer]]:
    servers: list[EmbeddedServer] = []
    yield servers
    for server in servers:
        server.server.stop()


def run_as(user: str, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", BECOME + code, user, *arguments],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def modes_above(path: Path) -> dict[Path, tuple[int, int]]:
    return {each: (each.stat().st_mode, each.stat().st_uid) for each in path.parents}


def assert_shut(home: Path, server: EmbeddedServer, user: str = STRANGER) -> None:
    allowed = run_as("root", TRY_TO_GET_IN, str(home), server.url, str(server.server.socket_folder))
    assert "connected as postgres\n" in allowed.stdout, "the attempt itself works"
    assert "reached the socket" in allowed.stdout
    done = run_as(user, TRY_TO_GET_IN, str(home), server.url, str(server.server.socket_folder))
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr


def test_fc_s9_the_server_listens_for_its_owner_only(open_folder: Path, started: list[EmbeddedServer]) -> None:
    """No network, a socket and a folder of the owner's, and no rule that lets in without asking."""
    home = open_folder / "home"  # short enough for a socket in it
    before = modes_above(home)
    server = embedded.start(home)
    started.append(server)
    folder = home / "postgres"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / ".s.PGSQL.5432").stat().st_mode) == 0o700
    assert modes_above(home) == before
    with psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW listen_addresses").fetchall() == [("",)]
        assert connection.execute("SELECT type, auth_method FROM pg_hba_file_rules").fetchall() == [("local", "peer")]


@as_root
@pytest.mark.parametrize("deep", [False, True], ids=["short", "long"])
def test_fc_s9_started_by_root_nobody_else_gets_in(
    open_folder: Path, started: list[EmbeddedServer], deep: bool
) -> None:
    """Also where the path is too long for a socket, which is then in a folder of its own."""
    home = open_folder / ("a-long-name-" * 10 if deep else "home")
    home.mkdir(mode=0o755)
    programs = find_programs(choose_account(home / "postgres")).bin_folder
    before = modes_above(home / "postgres"), modes_above(programs)
    server = embedded.start(home)
    started.append(server)
    assert (server.server.socket_folder == home / "postgres") is not deep
    assert stat.S_IMODE(server.server.socket_folder.stat().st_mode) == 0o700
    assert_shut(home, server)
    assert (modes_above(home / "postgres"), modes_above(programs)) == before
    with psycopg.connect(server.url) as connection:
        connection.execute("SELECT 1")
    server.stop()
    assert not deep or not server.server.socket_folder.exists()


@as_root
def test_fc_s9_root_needs_no_open_folder_above(open_folder: Path, started: list[EmbeddedServer]) -> None:
    """The data folder stays where it is, below a folder that only root may enter, such as /root."""
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    server = embedded.start(closed / "home")
    started.append(server)
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert pwd.getpwuid((closed / "home" / "postgres").stat().st_uid).pw_name == "pgserver"
    with psycopg.connect(server.url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    server.stop()
    again = embedded.start(closed / "home")
    started.append(again)
    with psycopg.connect(again.url) as connection:
        assert connection.execute("TABLE kept").fetchall() == [(1,)]


@as_root
def test_fc_s9_root_gives_the_server_a_copy_of_programs_that_it_cannot_reach(open_folder: Path) -> None:
    closed = open_folder / "closed"
    closed.mkdir(mode=0o700)
    account = choose_account(open_folder / "postgres")
    installed = find_programs(account).bin_folder
    package = installed.parents[1]
    for folder in (package / installed.parent.name, package.with_name(f"{package.name}.libs")):
        subprocess.run(
            ["cp", "-r", folder, closed / folder.relative_to(package.parent).parts[0]]
            if folder.parent != package
            else ["cp", "-r", "--parents", folder.relative_to(package.parent), closed],
            cwd=package.parent,
            check=True,
        )
    hidden = closed / package.name / installed.parent.name / "bin"
    programs = find_programs(account, hidden, open_folder / "copies")
    assert programs.bin_folder.is_relative_to(open_folder / "copies")
    assert find_programs(account, hidden, open_folder / "copies") == programs, "made once"
    data = open_folder / "data"
    data.mkdir()
    account.take_ownership(data)
    code, output = programs.run(data, "initdb", "-D", programs.name_folder(data), "--auth-local=peer")
    assert code == 0, output
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


START_AND_STOP = """
server = embedded.start(pathlib.Path(sys.argv[1]))
with psycopg.connect(server.url) as connection:
    print(connection.execute("SELECT current_user").fetchone()[0], flush=True)
sys.stdin.read()
server.stop()
"""


@as_root
def test_fc_s9_an_ordinary_user_starts_it_and_only_root_may_look(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir(mode=0o755)
    entry = pwd.getpwnam(STRANGER)
    os.chown(home, entry.pw_uid, entry.pw_gid)
    with subprocess.Popen(
        [sys.executable, "-c", BECOME + START_AND_STOP, STRANGER, str(home)],
        cwd="/",
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as owner:
        assert owner.stdin
        assert owner.stdout
        assert owner.stdout.readline().strip() == "postgres"
        borrowed = embedded.start(home)
        assert not borrowed.started_by_us, "root uses the server of the folder's owner"
        assert_shut(home, borrowed, OTHER_STRANGER)
        refused = run_as(OTHER_STRANGER, START_AND_STOP, str(home))
        assert "belongs to user nobody" in refused.stderr
        owner.stdin.close()
        assert owner.wait(30) == 0
    as_owner = embedded.start(home)
    try:
        assert as_owner.started_by_us
        assert (home / "postgres").stat().st_uid == entry.pw_uid, "the folder stays its owner's when root starts it"
    finally:
        as_owner.stop()


@as_root
def test_fc_s9_root_does_not_run_a_folder_that_a_stranger_planted(open_folder: Path) -> None:
    home = open_folder / "home"
    home.mkdir()
    home.chmod(0o777)
    (home / "postgres").mkdir()
    entry = pwd.getpwnam(STRANGER)
    os.chown(home / "postgres", entry.pw_uid, entry.pw_gid)
    with pytest.raises(DatabaseUnavailable, match="belongs to user nobody, and others may write to"):
        embedded.start(home)


def test_fc_s9_a_folder_of_an_earlier_release_is_closed_at_the_next_start(
    tmp_path: Path, started: list[EmbeddedServer]
) -> None:
    """It let in everybody; its data stays."""
    folder = tmp_path / "postgres"
    folder.mkdir()
    programs = find_programs(choose_account(folder))
    programs.account.take_ownership(folder)
    code, output = programs.run(folder, "initdb", "--auth=trust", "-U", "postgres", "-D", programs.name_folder(folder))
    assert code == 0, output
    code, output = programs.run(
        folder, "pg_ctl", "-w", "-s", "-o", "-k . -h ''", "-l", "log", "-D", programs.name_folder(folder), "start"
    )
    assert code == 0, output
    url = f"postgresql://postgres:@/postgres?host={folder}"
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1")
    running = embedded.start(tmp_path)
    assert not running.started_by_us, "it still runs: used, and closed"
    with psycopg.connect(running.url) as connection:
        assert connection.execute("SELECT auth_method FROM pg_hba_file_rules").fetchall() == [("peer",)]
    running.server.stop()
    server = embedded.start(tmp_path)
    started.append(server)
    assert server.started_by_us
    assert "trust" not in (folder / "pg_hba.conf").read_text()
    with psycopg.connect(server.url) as connection:
        assert connection.execute("TABLE kept").fetchall() == [(1,)]
