"""Measure webhook, worker and sandbox GitHub as separate processes, with real HTTP between them."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg

from app.store import embedded
from app.store.database import migrate
from app.web.server import find_free_port
from bench.cpu_steal import CpuStealMeter

DELIVERIES_PER_SECOND = 200
"""Deliveries sent per second."""
_CONNECTIONS = 16
"""Connections that the load generator keeps open."""


@dataclass(frozen=True)
class LoadFigures:
    """What one load run measured: counts of deliveries, times, memory, and CPU steal during the load.

    `to_label_ms`: median time from a delivery to its label without other load.  `cpu_steal`: from 0 to 1, see
    `CpuStealMeter.fraction`.
    """

    sent: int
    accepted: int
    stored: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    to_label_ms: float
    web_memory_mb: float
    worker_memory_mb: float
    drain_seconds: float
    cpu_steal: float


def measure_load(seconds: int = 30, idle_samples: int = 15, *, until_drained: bool = True) -> LoadFigures:
    """Send deliveries for `seconds` and measure the responses, the label time and the memory.

    `idle_samples`: single deliveries timed before the load.  `until_drained`: wait until all deliveries are processed.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-bench-", ignore_cleanup_errors=True))
        )
        postgres = embedded.start(folder)
        stack.callback(postgres.stop)
        migrate(postgres.url)
        deliveries = folder / "deliveries.json"
        incidents = DELIVERIES_PER_SECOND * seconds // 8
        github = stack.enter_context(
            _run_child([sys.executable, "-m", "bench.fake_github", str(incidents), str(deliveries)], {})
        )
        credentials = json.loads(_read_line(github))
        port = find_free_port()
        environment = {
            "DATABASE_URL": postgres.url,
            "GITHUB_API_URL": credentials["api_url"],
            "GITHUB_APP_ID": str(credentials["app_id"]),
            "GITHUB_APP_PRIVATE_KEY": credentials["private_key"],
            "GITHUB_WEBHOOK_SECRET": credentials["secret"],
            "PORT": str(port),
            "MUSTER_HOME": str(folder),
            "MUSTER_PACE": "free",
        }
        web = stack.enter_context(_run_child([sys.executable, "-m", "app", "web"], environment))
        worker = stack.enter_context(_run_child([sys.executable, "-m", "app", "worker"], environment))
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(f"{url}/readyz")
        to_label_ms = statistics.median(_measure_label_ms(github, f"{url}/webhook") for _ in range(idle_samples))
        load = json.loads(deliveries.read_text())[: DELIVERIES_PER_SECOND * seconds]
        steal_meter = CpuStealMeter()
        responses = asyncio.run(_send(port, load))
        cpu_steal = steal_meter.fraction
        times = sorted(ms for ms, _ in responses)
        drain_started = time.monotonic()
        if until_drained:
            _wait_until_drained(postgres.url)
        stored = _count_stored(postgres.url, [delivery["headers"]["X-GitHub-Delivery"] for delivery in load])
        return LoadFigures(
            sent=len(load),
            accepted=sum(status == 202 for _, status in responses),
            stored=stored,
            p50_ms=times[len(times) // 2],
            p99_ms=times[len(times) * 99 // 100],
            max_ms=times[-1],
            to_label_ms=to_label_ms,
            web_memory_mb=_memory_mb(web),
            worker_memory_mb=_memory_mb(worker),
            drain_seconds=time.monotonic() - drain_started,
            cpu_steal=cpu_steal,
        )


async def _send(port: int, deliveries: list[dict[str, Any]]) -> list[tuple[float, int]]:
    """Send each delivery at its due time; return the milliseconds and the status of each response.

    Times count from the due time, not from the actual sending, so a slow response also counts for the deliveries behind
    it (no coordinated omission).
    """
    queue: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
    results: list[tuple[float, int]] = []

    async def send_requests() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (job := await queue.get()) is not None:
            due, request = job
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
            )
            await reader.readexactly(length)
            results.append(((time.perf_counter() - due) * 1000, int(head.split(b" ")[1])))
        writer.close()

    requests = [_build_request(delivery) for delivery in deliveries]
    senders = [asyncio.create_task(send_requests()) for _ in range(_CONNECTIONS)]
    start = time.perf_counter() + 0.2
    for number, request in enumerate(requests):
        due = start + number / DELIVERIES_PER_SECOND
        if (pause := due - time.perf_counter()) > 0:
            await asyncio.sleep(pause)
        queue.put_nowait((due, request))
    for _ in senders:
        queue.put_nowait(None)
    await asyncio.gather(*senders)
    return results


def _build_request(delivery: dict[str, Any]) -> bytes:
    body = base64.b64decode(delivery["body"])
    headers = {**delivery["headers"], "Host": "127.0.0.1", "Content-Length": str(len(body))}
    head = "POST /webhook HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items()) + "\r\n"
    return head.encode() + body


def _measure_label_ms(github: subprocess.Popen[str], url: str) -> float:
    """Return the milliseconds from a delivery to its label, without other load."""
    assert github.stdin is not None
    github.stdin.write(url + "\n")
    github.stdin.flush()
    ms = float(json.loads(_read_line(github))["ms"])
    time.sleep(0.4)
    return ms


def _wait_until_drained(database_url: str) -> None:
    """Wait until every delivery is processed, at most ten minutes."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for _ in range(2400):
            waits = connection.execute(
                "SELECT 1 FROM delivery WHERE state IN ('received', 'routed') LIMIT 1"
            ).fetchone()
            if waits is None:
                return
            time.sleep(0.25)


def _count_stored(database_url: str, guids: list[str]) -> int:
    """Count how many of these deliveries are stored."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM delivery WHERE guid = ANY(%s)", (guids,)).fetchone()
        assert row is not None
        return int(row[0])


def _memory_mb(process: subprocess.Popen[str]) -> float:
    return float(psutil.Process(process.pid).memory_info().rss / 2**20)


def _wait_until_ready(url: str) -> None:
    for _ in range(200):
        try:
            with urllib.request.urlopen(url, timeout=5):  # noqa: S310 - our own child on loopback
                return
        except OSError:
            time.sleep(0.1)
    raise TimeoutError(f"{url} does not get ready")


def _read_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline()


@contextmanager
def _run_child(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    """Run a child process; terminate it at the end, and kill it after 30 seconds."""
    process = subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
