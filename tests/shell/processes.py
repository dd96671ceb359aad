"""Real processes for tests to kill: web and workers.

Run as a program this is a worker as `muster worker` starts it, except for what the environment sets:
`LEASE`, the lease in seconds; `DEAD`, the seconds after which a silent worker counts as dead; `END=stop`, which
suspends the process at its fail point instead of killing it; and `SINK`, a loopback URL for `env:CHANNEL_OPS_URL`.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

import app
from app import bootstrap, settings
from app.failpoints import Failpoints
from app.safe_http import SafeHttpClient
from app.store.database import Database
from app.worker.jobs import Queue

ROOT = Path(app.__file__).parents[1]
Process = subprocess.Popen[bytes]


@contextmanager
def start_process(arguments: list[str], environment: Mapping[str, str], folder: Path) -> Iterator[Process]:
    """Start a Python process, and kill it at the end whatever happens; its output goes to `processes.log`."""
    everything = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "MUSTER_PACE": "free", **environment}
    with (folder / "processes.log").open("ab") as log:
        started = subprocess.Popen([sys.executable, *arguments], env=everything, cwd=folder, stdout=log, stderr=log)
        try:
            yield started
        finally:
            started.kill()
            started.wait(10)


def start_worker(
    environment: Mapping[str, str],
    folder: Path,
    *,
    lease: float = 3,
    dead_after: float = 2,
    failpoint: str = "",
    end: str = "",
) -> AbstractContextManager[Process]:
    """Start a worker that dies, or with `end="stop"` is suspended, at the given fail point.

    By default its times are a tenth and a fifth of the real ones, which are 30 and 10 seconds.
    """
    more = {"LEASE": str(lease), "DEAD": str(dead_after), "FAILPOINT": failpoint, "END": end}
    return start_process(["-m", "tests.shell.processes"], {**environment, **more}, folder)


@contextmanager
def start_web(environment: Mapping[str, str], folder: Path, port: int, *, failpoint: str = "") -> Iterator[Process]:
    """Start `muster web` on that port and wait until it answers; it dies at the given fail point."""
    with start_process(
        ["-m", "app", "web"], {**environment, "PORT": str(port), "FAILPOINT": failpoint}, folder
    ) as started:
        assert wait_until(lambda: is_answering(port)), read_log_tail(folder)
        yield started


def is_answering(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False, timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> bool:
    """Wait until the condition holds; return False if it does not within that time."""
    end = time.monotonic() + seconds
    while not (found := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return found


def read_log_tail(folder: Path) -> str:
    """Return the end of the processes' output, for the message of a failing test."""
    return (folder / "processes.log").read_text(errors="replace")[-4000:]


def count_rows(database: Database, clause: str) -> int:
    """Return the number of rows for a clause such as `FROM delivery WHERE ...`."""
    with database.transaction() as db:
        row = db.execute(f"SELECT count(*) AS found {clause}").fetchone()
    return int(row["found"]) if row else 0


def is_idle(database: Database) -> bool:
    """Return True if every delivery is processed, every outbox item done and no job left."""
    return not any(
        count_rows(database, what)
        for what in (
            "FROM delivery WHERE state IN ('received', 'routed')",
            "FROM outbox WHERE state IN ('pending', 'in_flight')",
            "FROM policy_review WHERE state <> 'done'",
            "FROM procrastinate_jobs",
        )
    )


def main() -> None:
    found, sink = settings.read_settings(), os.environ.get("SINK", "")
    if sink:  # set here, since the settings accept https addresses only
        found = replace(found, channels={**found.channels, "CHANNEL_OPS_URL": sink})
    bootstrap.configure_logging(found.log)

    def end() -> None:
        if os.environ["END"] == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            os._exit(137)

    with bootstrap.open_database(found) as opened:
        application = bootstrap.build(
            found,
            opened,
            lambda: datetime.now(UTC),
            failpoints=Failpoints(found.failpoint, end),
            lease=timedelta(seconds=float(os.environ["LEASE"])),
            http_client=SafeHttpClient(loopback=True) if sink else None,
        )
        queue = Queue(
            application.ctx,
            reconciler=bootstrap.create_reconciler(application),
            worker_timeout_seconds=float(os.environ["DEAD"]),
        )
        bootstrap.serve(application, web=False, worker=True, queue=queue)


if __name__ == "__main__":
    main()
