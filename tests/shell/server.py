"""Runs a PostgreSQL server as `DATABASE_URL` would name one.

It uses the machine's own binaries, over TCP, with its own settings. As root the server runs
as another user, since PostgreSQL refuses to run as root.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg

from app.web.server import find_free_port

_TIMEOUT_SECONDS = 60.0
"""Seconds in which a server has to start or stop."""


class ServerUnavailable(Exception):
    """Raised when no PostgreSQL server can be started on this machine; the message says why."""


@dataclass
class Server:
    """A server in its own folder, with fsync on. `url`: `{}` stands for the name of a database."""

    bin_folder: Path
    folder: Path
    user: str | None
    port: int
    name: str = ""
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/{{}}"

    def start(self, *options: str) -> None:
        """Start the server and wait until it answers; `options` are further arguments, such as `-c`, `fsync=off`."""
        words = ["postgres", "-D", str(self.folder / "data"), "-p", str(self.port), "-c", "unix_socket_directories="]
        words += options
        with (self.folder / "log").open("ab") as log:
            self._process = self._popen(words, log)
        deadline = time.monotonic() + _TIMEOUT_SECONDS
        while not self.is_answering():
            assert time.monotonic() < deadline, (self.folder / "log").read_text()[-2000:]
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def is_answering(self) -> bool:
        try:
            with psycopg.connect(self.url.format("postgres"), connect_timeout=3):
                return True
        except psycopg.OperationalError:
            return False

    def end(self, how: signal.Signals) -> None:
        """Stop the server: SIGINT ends its connections first; SIGQUIT is `pg_ctl stop -m immediate`."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(_TIMEOUT_SECONDS)
            self._process = None

    def init_data_folder(self) -> None:
        """Create the data folder. Raises ServerUnavailable."""
        words = [
            "initdb",
            "-D",
            str(self.folder / "data"),
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
        ]
        with (self.folder / "log").open("ab") as log:
            code = self._popen(words, log).wait(120)
        if code:
            raise ServerUnavailable(f"initdb: {(self.folder / 'log').read_text()[-400:]}")

    def _popen(self, words: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        command = [str(self.bin_folder / words[0]), *words[1:]]
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        if self.user is None:
            return subprocess.Popen(command, env=environment, cwd=self.folder, stdout=log, stderr=log)
        group = pwd.getpwnam(self.user).pw_gid
        return subprocess.Popen(
            command,
            env=environment,
            cwd=self.folder,
            stdout=log,
            stderr=log,
            user=self.user,
            group=group,
            extra_groups=[],
        )


def find_bin_folder() -> Path:
    """Return the folder of the server binaries on PATH, else the newest of Debian's. Raises ServerUnavailable."""
    found = shutil.which("initdb")
    if found and (Path(found).resolve().parent / "postgres").exists():
        return Path(found).resolve().parent
    debian = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = sorted(debian, key=lambda path: float(path.parents[1].name))
    if not newest:
        raise ServerUnavailable("no PostgreSQL server programs on PATH or in /usr/lib/postgresql")
    return newest[-1].parent


def read_version(bin_folder: Path) -> str:
    """Return the product and major version of the binaries in that folder, such as `PostgreSQL 15`."""
    output = subprocess.run(
        [bin_folder / "postgres", "--version"], capture_output=True, text=True, timeout=10, check=True
    )
    return f"PostgreSQL {output.stdout.split()[2].partition('.')[0]}"


def _choose_user() -> str | None:
    """Return the user to run the server as; None: ourselves, unless we are root. Raises ServerUnavailable."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name).pw_name
    raise ServerUnavailable("we are root, and there is no user postgres or nobody to run a server as")


@contextmanager
def run_server(bin_folder: Path | None = None) -> Iterator[Server]:
    """Run a server from the binaries in that folder, and remove it at the end. Raises ServerUnavailable."""
    bin_folder, user = bin_folder or find_bin_folder(), _choose_user()
    folder = Path(tempfile.mkdtemp(prefix="muster-server-"))
    server = Server(bin_folder, folder, user, find_free_port(), read_version(bin_folder))
    try:
        if user is not None:
            shutil.chown(folder, user)
        server.init_data_folder()
        server.start()
        yield server
    finally:
        server.end(signal.SIGINT)
        shutil.rmtree(folder, ignore_errors=True)
