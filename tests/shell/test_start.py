"""What `muster` says as a process when it cannot start: one line, and no secret in it (FC-O2, FC-O4, FC-S14)."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from app.sandbox.github import AppRegistration
from app.web.server import find_free_port
from tests.shell.processes import ROOT, is_answering, start_process, wait_until

CANARY = "canary0that0nobody0may0see"
DATABASE_URLS = (
    "mysql://u:{}@127.0.0.1/x",
    "postgresql+psycopg://u:{}@127.0.0.1/x",
    "postgresql://u:{}@{}@127.0.0.1/x",
    "postgresql://u:{}/{}@127.0.0.1/x",
    "postgresql://u:{}%zz@127.0.0.1/x",
    "postgresql://u:{}%ca@127.0.0.1/x",
    "postgresql://u:{}#{}@127.0.0.1:1/x",
    "postgresql://u:{}:{}@127.0.0.1:1/x",
    "postgresql://u:{}?{}@127.0.0.1:1/x",
    "postgresql://u:{} {}@127.0.0.1:1/x",
    "postgresql://u:{}@127.0.0.1:port/x",
    "postgresql://u:{}@127.0.0.1:1/x",
    "postgresql://u:p@127.0.0.1:1/x?password={}",
    "postgresql://u:p@127.0.0.1:1/x?{}=1",
    "postgresql://u:{}@no-such-host.invalid/x",
    "host=127.0.0.1 port=1 password={}",
    "host=127.0.0.1 password={} {}",
    "host=127.0.0.1 password='{}",
    "{}",
    "://{}",
    "postgresql:/{}",
    "jdbc:postgresql://127.0.0.1/x?password={}",
)


@pytest.fixture(scope="module")
def credentials() -> dict[str, str]:
    app = AppRegistration.generate()
    return {
        "GITHUB_APP_ID": "7",
        "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
        "GITHUB_WEBHOOK_SECRET": "a-secret-that-nobody-could-guess-1",
        "GITHUB_API_URL": "http://127.0.0.1:9",
    }


def run_muster(
    arguments: list[str], environment: Mapping[str, str], folder: Path, timeout_seconds: float = 60
) -> subprocess.CompletedProcess[str]:
    everything = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "PORT": "0", **environment}
    return subprocess.run(
        [sys.executable, "-m", "app", *arguments],
        env=everything,
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )


@pytest.mark.parametrize(
    ("command", "urls"),
    [("db status", DATABASE_URLS), ("serve", DATABASE_URLS[::3]), ("worker", DATABASE_URLS[1::3])],
    ids=["db status", "serve", "worker"],
)
def test_fc_s14_the_password_of_the_database_is_shown_nowhere(
    tmp_path: Path, credentials: dict[str, str], command: str, urls: tuple[str, ...]
) -> None:
    """FC-S14: whatever is wrong with the address, there is one line, and no password and no traceback in it."""

    def run(url: str) -> tuple[str, subprocess.CompletedProcess[str]]:
        return url, run_muster(command.split(), {**credentials, "DATABASE_URL": url.replace("{}", CANARY)}, tmp_path)

    with ThreadPoolExecutor(2) as pool:
        for url, done in pool.map(run, urls):
            shown = done.stdout + done.stderr
            assert done.returncode in (1, 2), (url, shown)
            assert CANARY not in shown, (url, shown)
            assert "Traceback" not in shown, (url, shown)
            (line,) = [line for line in shown.splitlines() if line.startswith("muster: ") and "warning" not in line]
            assert "DATABASE_URL" in line or "the database does not answer" in line, (url, line)


@pytest.fixture
def busy_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield int(taken.getsockname()[1])


def test_fc_o4_a_port_in_use_is_one_line(tmp_path: Path, busy_port: int) -> None:
    done = run_muster(["serve"], {"PORT": str(busy_port)}, tmp_path)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("muster: ")]
    assert line == (
        f"muster: 127.0.0.1:{busy_port} cannot be listened on: another process listens there."
        " End it, or set PORT to another port."
    )
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_fc_o4_a_host_that_is_not_ours_is_one_line(tmp_path: Path, host: str) -> None:
    done = run_muster(["serve"], {"MUSTER_HOST": host}, tmp_path)
    assert done.returncode == 1
    assert "cannot be listened on" in done.stderr
    assert "MUSTER_HOST" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", [["serve"], ["db", "status"], ["db", "migrate"]], ids=" ".join)
def test_fc_o4_a_home_that_cannot_be_written_is_one_line(
    tmp_path: Path, credentials: dict[str, str], command: list[str]
) -> None:
    (tmp_path / "file").write_text("no folder")
    done = run_muster(command, {**credentials, "MUSTER_HOME": "file/home"}, tmp_path)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if "running as root" not in line]
    assert line.startswith(f"muster: MUSTER_HOME: {tmp_path}/file/home cannot be written (Not a directory). Set it to")


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("GITHUB_APP_ID", "GITHUB_APP_ID is not set"),
        ("GITHUB_APP_PRIVATE_KEY", "no private key: set GITHUB_APP_PRIVATE_KEY_FILE"),
        ("GITHUB_WEBHOOK_SECRET", "GITHUB_WEBHOOK_SECRET is not set"),
    ],
)
def test_fc_o2_serve_with_part_of_the_credentials_names_what_is_missing(
    tmp_path: Path, credentials: dict[str, str], missing: str, says: str
) -> None:
    """FC-O2: a missing or misspelled name ends in a fault, not beside the sandbox GitHub."""
    for given in (
        {name: text for name, text in credentials.items() if name != missing},
        {name.replace(missing, f"{missing}S"): text for name, text in credentials.items()},
    ):
        done = run_muster(["serve"], given, tmp_path)
        assert done.returncode == 2
        assert says in done.stderr
        assert f"{missing}S" not in given or f"{missing}S is set, which is no setting" in done.stderr
        assert done.stdout == ""


def test_ts_06_an_empty_variable_does_not_hide_the_file_of_the_process(
    tmp_path: Path, credentials: dict[str, str]
) -> None:
    (tmp_path / ".env").write_text(f"GITHUB_APP_ID=7\nGITHUB_WEBHOOK_SECRET={CANARY * 2}\n")
    (tmp_path / ".env").chmod(0o644)
    empty = {"GITHUB_APP_ID": "", "GITHUB_WEBHOOK_SECRET": credentials["GITHUB_WEBHOOK_SECRET"]}
    done = run_muster(["serve"], empty, tmp_path)
    assert done.returncode == 2
    assert "no private key" in done.stderr
    assert "GITHUB_WEBHOOK_SECRET of the environment hides another value in .env" in done.stderr
    assert "others may read the secrets in it. To change that: chmod 600" in done.stderr
    assert CANARY not in done.stderr


@pytest.mark.parametrize("given", [False, True], ids=["no credentials", "credentials"])
def test_the_sandbox_is_served_on_request_and_says_so(tmp_path: Path, credentials: dict[str, str], given: bool) -> None:
    port = find_free_port()
    environment = {"PORT": str(port), "MUSTER_LOG": "json", **(credentials if given else {})}
    with start_process(["-m", "app", "sandbox" if given else "serve"], environment, tmp_path) as started:
        assert wait_until(lambda: is_answering(port)), (tmp_path / "processes.log").read_text()
        text = (tmp_path / "processes.log").read_text()
        assert "beside a pretend GitHub" in text
        assert ("credentials that are set are not used" in text) is given
        assert "serving the sandbox GitHub" in text
        assert httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).status_code == 200
        started.send_signal(signal.SIGTERM)
        started.wait(40)
