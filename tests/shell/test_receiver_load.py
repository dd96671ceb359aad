"""Runs the web receiver as a process of its own under heavy, oversized, slow and idle clients (A1, A5, A7)."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from app.github.signature import signature
from app.sandbox.github import AppRegistration
from app.store.database import Database
from app.web.server import find_free_port
from app.web.webhook import MAX_BODY_BYTES
from bench.shell import DELIVERIES_PER_SECOND, measure_load
from tests.figures import MAX_STOLEN_SHARE, Figures
from tests.shell.night import get_app_registration
from tests.shell.processes import Process, start_web
from tests.soak import choose_size, is_soak_run


@pytest.fixture
def at_home(database: Database, tmp_path: Path) -> Iterator[tuple[Process, int]]:
    """Run `muster web`; yield the process and its port."""
    app: AppRegistration = get_app_registration()
    environment = {
        "DATABASE_URL": database.url,
        "GITHUB_APP_ID": str(app.app_id),
        "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
        "GITHUB_WEBHOOK_SECRET": app.webhook_secret,
    }
    port = find_free_port()
    with start_web(environment, tmp_path, port) as process:
        yield process, port


def send_delivery(port: int, body: bytes, guid: str, signature_header: str = "") -> tuple[int, float]:
    """Send a delivery; return the status and the seconds it took.

    A `signature_header` replaces the right signature.
    """
    head = {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": "ping",
        "X-Hub-Signature-256": signature_header or signature(get_app_registration().webhook_secret, body),
    }
    began = time.monotonic()
    answer = httpx.post(f"http://127.0.0.1:{port}/webhook", content=body, headers=head, trust_env=False, timeout=30)
    return answer.status_code, time.monotonic() - began


def test_a1_two_hundred_deliveries_a_second(figures: Figures) -> None:
    """Measured up to three times while other load takes CPU time from this machine."""
    seconds, tries = choose_size(1, 60), list[str]()
    while True:
        found = measure_load(seconds, idle_samples=1, until_drained=False)
        assert found.sent == found.accepted == found.stored == DELIVERIES_PER_SECOND * seconds
        tries.append(f"half in {found.p50_ms:.0f} ms, 99 % in {found.p99_ms:.0f} ms, all in {found.max_ms:.0f} ms")
        good = found.p50_ms <= 20 and found.p99_ms <= 250 and found.max_ms <= 2000
        if good or not is_soak_run() or found.cpu_steal < MAX_STOLEN_SHARE or len(tries) == 3:
            break
    figures.record("A1", size=f"{found.sent:,} deliveries", measured=f"{', then '.join(tries)}; all stored")
    assert good or not is_soak_run(), tries


def test_a5_large_bodies_do_not_make_it_grow(at_home: tuple[Process, int], figures: Figures) -> None:
    process, port = at_home
    process_info = psutil.Process(process.pid)
    assert send_delivery(port, b"{}", "small")[0] == 202
    before, peak_rss = process_info.memory_info().rss, 0
    body = os.urandom(MAX_BODY_BYTES - 1)
    for nth in range(choose_size(4, 40)):
        assert send_delivery(port, body, f"signed-{nth}")[0] == 202
        assert send_delivery(port, body, f"forged-{nth}", signature_header="sha256=" + "0" * 64)[0] == 401
        assert send_delivery(port, body + b"xx", f"larger-{nth}")[0] == 413
        peak_rss = max(peak_rss, process_info.memory_info().rss)
    growth_mib = (peak_rss - before) / 2**20
    assert growth_mib <= 100
    figures.record(
        "A5",
        size=f"{choose_size(4, 40)} times 25 MB signed, forged, and one byte too much",
        measured=f"{growth_mib:.0f} MB",
    )


@pytest.mark.parametrize(
    ("clients", "says", "seconds"),
    [
        (200, b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{", choose_size(2, 30)),
        (choose_size(1100, 2000), b"", 2),  # select() cannot handle file descriptors above 1,023
    ],
    ids=["slow", "idle"],
)
def test_a7_a_good_delivery_gets_through_under_clients_that_send_nothing(
    at_home: tuple[Process, int], figures: Figures, clients: int, says: bytes, seconds: int
) -> None:
    """Slow clients have begun a body and send one byte every five seconds; idle clients only hold the connection."""
    _, port = at_home
    responses = []
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=10)) for _ in range(clients)
        ]
        for line in connections:
            line.sendall(says)
        began, next_byte = time.monotonic(), 5.0
        while (elapsed_seconds := time.monotonic() - began) < seconds:
            responses.append(send_delivery(port, b"{}", f"good-{len(responses)}"))
            if says and elapsed_seconds > next_byte:
                next_byte += 5
                for line in connections:
                    with suppress(ConnectionError):  # its body came too slowly
                        line.sendall(b"x")
            time.sleep(0.2)
    assert {status for status, _ in responses} == {202}
    slowest = max(took for _, took in responses)
    figures.record(
        "A7",
        size=f"{clients} {'slow' if says else 'idle'} clients for {seconds} s",
        measured=f"{slowest * 1000:.0f} ms at most of {len(responses)}",
    )
    assert slowest <= 1
