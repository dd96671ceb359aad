"""What stands between Muster and its database is said in one line: found, where, what works (FC-O4, FC-S14, TS-14)."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import cache
from pathlib import Path

import psycopg
import pytest

from app.sandbox.github import AppRegistration
from app.store.connection_errors import DatabaseUnavailable, check_server, check_url
from app.web.server import find_free_port
from tests.shell.fake_servers import TransactionPooler, answer_http, refuse_with, run_fake_server, welcome_as
from tests.shell.processes import ROOT
from tests.shell.server import Server, ServerUnavailable, run_server

PASSWORD = "hunter-two-3141"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """Run a server with a password for everybody but its superuser, a role without rights, and no other database."""
    try:
        with run_server() as running:
            with psycopg.connect(running.url.format("postgres"), autocommit=True) as connection:
                connection.execute(f"CREATE ROLE poor LOGIN PASSWORD '{PASSWORD}'")
                connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
            rules = "host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
            (running.folder / "data" / "pg_hba.conf").write_text(rules)
            assert running._process
            running._process.send_signal(signal.SIGHUP)
            yield running
    except ServerUnavailable as reason:
        pytest.skip(f"no server to try: {reason}")


def run_muster(url: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATABASE_URL": url,
        "PORT": str(find_free_port()),
        "GITHUB_APP_ID": "1",
        "GITHUB_APP_PRIVATE_KEY": private_key(),
        "GITHUB_WEBHOOK_SECRET": "0123456789abcdef0123456789abcdef",
        "GITHUB_API_URL": "http://127.0.0.1:9",
    }
    return subprocess.run(
        [sys.executable, "-m", "app", *words],
        env=environment,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@cache
def private_key() -> str:
    return AppRegistration.generate().private_key_pem


def assert_one_line(done: subprocess.CompletedProcess[str], *words: str, secret: str = PASSWORD, code: int = 1) -> None:
    """One line after the warnings, that exit code, the words in it, and nothing of the password."""
    lines = [line for line in done.stderr.splitlines() if "running as root" not in line]
    assert (done.returncode, done.stdout, len(lines)) == (code, "", 1), done.stderr
    assert lines[0].startswith("muster: ")
    for word in words:
        assert word in lines[0]
    for piece in (secret, *filter(None, secret.replace("#", "@").replace("/", "@").split("@"))):
        assert piece not in lines[0]


@pytest.mark.parametrize(
    "command", [("db", "status"), ("db", "migrate"), ("serve",), ("web",), ("worker",)], ids=" ".join
)
def test_fc_o4_every_command_says_a_wrong_password_in_one_line(
    server: Server, tmp_path: Path, command: tuple[str, ...]
) -> None:
    url = f"postgresql://poor:{PASSWORD}x@127.0.0.1:{server.port}/postgres"
    place = f"(host 127.0.0.1, port {server.port}, database postgres, user poor)"
    assert_one_line(run_muster(url, tmp_path, *command), "refused the user name or the password", place)


def test_fc_o4_what_is_missing_on_the_server(server: Server, tmp_path: Path) -> None:
    at = f"127.0.0.1:{server.port}"
    done = run_muster(f"postgresql://poor:{PASSWORD}@{at}/absent", tmp_path, "db", "status")
    assert_one_line(done, "has no database 'absent'", 'CREATE DATABASE "absent" OWNER "poor"')
    done = run_muster(f"postgresql://poor:{PASSWORD}@{at}/postgres", tmp_path, "db", "migrate")
    assert_one_line(
        done, "user 'poor' may not create or change tables", "database postgres, user poor", "GRANT USAGE, CREATE"
    )
    done = run_muster(f"postgresql://ghost:{PASSWORD}@{at}/postgres", tmp_path, "db", "migrate")
    assert_one_line(done, "refused the user name or the password", "user ghost")


def test_fc_o4_no_server_there(tmp_path: Path) -> None:
    port = find_free_port()
    done = run_muster(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d", tmp_path, "db", "status")
    assert_one_line(done, "no server listens", f"host 127.0.0.1, port {port}, database d, user u")
    done = run_muster(f"postgresql://u:{PASSWORD}@nowhere.invalid/d", tmp_path, "db", "status")
    assert_one_line(done, "host is not known", "host nowhere.invalid, port 5432")
    done = run_muster(f"postgresql://u:{PASSWORD}@/d?host={tmp_path}", tmp_path, "db", "status")
    assert_one_line(done, "no server listens on that local socket", str(tmp_path))


def test_fc_o4_what_answers_is_no_postgresql_or_too_old(tmp_path: Path) -> None:
    with run_fake_server(answer_http) as port:
        done = run_muster(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d", tmp_path, "db", "status")
        assert_one_line(done, "PostgreSQL", f"port {port}", "check host and port")
    with run_fake_server(welcome_as("13.14")) as port:
        done = run_muster(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d", tmp_path, "db", "migrate")
        assert_one_line(done, "is PostgreSQL 13", f"port {port}", "14 or newer")


@pytest.mark.parametrize(
    "text",
    ["unsupported startup parameter: options", "unsupported startup parameter in options: lock_timeout"],
)
def test_ts17_a_pooler_that_refuses_the_start_is_recognised(tmp_path: Path, text: str) -> None:
    with run_fake_server(refuse_with(text)) as port:
        done = run_muster(f"postgresql://u:{PASSWORD}@127.0.0.1:{port}/d", tmp_path, "worker")
        assert_one_line(done, "pooler", "direct address", "session mode", f"port {port}")


def test_ts17_a_pooler_in_transaction_mode_is_found_at_the_first_connection(server: Server, tmp_path: Path) -> None:
    with (
        closing(TransactionPooler("127.0.0.1", server.port, "postgres", "postgres")) as pooler,
        run_fake_server(pooler.answer) as port,
    ):
        url = f"postgresql://postgres:{PASSWORD}@127.0.0.1:{port}/postgres"
        with psycopg.connect(url, autocommit=True) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,), "the pooler works"
        done = run_muster(url, tmp_path, "db", "migrate")
        assert_one_line(done, "transaction mode", "direct address", "pool_mode = session")
    check_server(server.url.format("postgres"))


@pytest.mark.parametrize(
    ("url", "words", "secret"),
    [
        ("mysql://u:{}@h/d", "is not PostgreSQL", PASSWORD),
        ("postgresql+psycopg://u:{}@h/d", "write it as postgresql://", PASSWORD),
        ("postgresql://u:{}@h/d", "percent-encode", "left/right77"),
        ("postgresql://u:{}@h/d", "percent-encode", "left77@right77"),
        ("postgresql://u:{}@h/d", "percent-encode", "left%zzright"),
        ("postgresql://u:{}@h:54x32/d", "DATABASE_URL", PASSWORD),
        ("hunter-two-3141", "DATABASE_URL", PASSWORD),
    ],
)
def test_fc_s14_a_malformed_address_shows_nothing_of_the_password(
    tmp_path: Path, url: str, words: str, secret: str
) -> None:
    done = run_muster(url.format(secret), tmp_path, "db", "status")
    assert_one_line(done, "DATABASE_URL", words, secret=secret, code=2)


@pytest.mark.parametrize(
    "url", ["postgres://u@h/d", "postgresql://u:p%40%23@h1,h2:5432,5433/d", "host=h dbname=d user=u"]
)
def test_ts14_addresses_that_work_are_taken(url: str) -> None:
    check_url(url)


def test_fc_o4_a_home_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "var").write_text("a file")
    done = run_muster("", tmp_path, "db", "status")
    assert_one_line(done, "MUSTER_HOME", "cannot be written", "DATABASE_URL", code=2)


def test_fc_s9_root_that_serves_is_told_what_to_do(tmp_path: Path) -> None:
    done = run_muster(f"postgresql://u:{PASSWORD}@127.0.0.1:{find_free_port()}/d", tmp_path, "web")
    warnings = [line for line in done.stderr.splitlines() if "running as root" in line]
    assert len(warnings) == (os.geteuid() == 0)
    assert all("useradd" in line and "chown" in line for line in warnings)


def test_no_password_in_what_is_raised() -> None:
    with pytest.raises(DatabaseUnavailable) as raised:
        check_server(f"postgresql://u:{PASSWORD}@127.0.0.1:{find_free_port()}/d")
    assert PASSWORD not in repr(raised.value)
