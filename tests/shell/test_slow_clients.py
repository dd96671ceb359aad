"""Strangers who send slowly, much, or nothing: the door stays open for deliveries, and nothing of theirs is kept (FC-S13)."""

from __future__ import annotations

import os
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from app.github.signature import signature
from app.store.database import Database
from app.web.application import create_app, create_head_check
from app.web.connection import RequestLimits
from app.web.server import HttpServer
from app.web.webhook import MAX_BODY_BYTES
from tests.shell.night import HandClock
from tests.shell.processes import Process, wait_until
from tests.shell.test_receiver_load import at_home, send_delivery

__all__ = ["at_home"]

SECRET = "a-secret-that-nobody-could-guess-1"
FORGED = "sha256=" + "0" * 64
QUICK = RequestLimits(head_seconds=0.5, body_seconds=1.0, idle_seconds=1.0, body_bytes=2**20)


def head(length: int | str, *, path: str = "/webhook", method: str = "POST", **changes: str) -> bytes:
    """Return the head of a delivery with a signature that may be right; underscores in names stand for dashes."""
    headers = {
        "Host": "x",
        "Content-Type": "application/json",
        "X-GitHub-Delivery": "slow",
        "X-GitHub-Event": "ping",
        "X-Hub-Signature-256": FORGED,
        "Content-Length": str(length),
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items() if value)]
    return "\r\n".join([*lines, "", ""]).encode()


@contextmanager
def serve_door(database: Database, limits: RequestLimits, max_connections: int = 2500) -> Iterator[HttpServer]:
    flask = create_app(database, (SECRET,), HandClock.at_default_start())
    served = HttpServer(
        flask,
        "127.0.0.1",
        0,
        name="door",
        max_connections=max_connections,
        max_body_bytes=MAX_BODY_BYTES + 65536,
        limits=limits,
        check_head=create_head_check(flask),
    )
    try:
        yield served
    finally:
        served.stop()


@contextmanager
def connect(port: int, source: str = "127.0.0.1") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=10, source_address=(source, 0)) as line:
        yield line


def read_all(line: socket.socket) -> bytes:
    """Return everything up to the end of the stream; a reset ends it, too."""
    found = b""
    with suppress(ConnectionError):
        while piece := line.recv(65536):
            found += piece
    return found


def is_readable(line: socket.socket) -> bool:
    return bool(select.select([line], [], [], 0)[0])


def is_closed(line: socket.socket) -> bool:
    line.settimeout(0.01)
    try:
        return line.recv(1, socket.MSG_PEEK) == b""
    except TimeoutError:
        return False
    except ConnectionError:
        return True


def deliver(port: int, guid: str, body: bytes = b"{}") -> int:
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": "ping",
        "X-Hub-Signature-256": signature(SECRET, body),
    }
    url = f"http://127.0.0.1:{port}/webhook"
    return httpx.post(url, content=body, headers=headers, trust_env=False, timeout=10).status_code


@pytest.mark.parametrize("begins", [b"POST /webhook HTT", head(100) + b"{"], ids=["in the head", "in the body"])
def test_2600_trickling_clients_do_not_close_the_door(at_home: tuple[Process, int], begins: bytes) -> None:
    _, port = at_home
    with ExitStack() as stack:
        lines = [stack.enter_context(connect(port)) for _ in range(2600)]
        for line in lines:
            with suppress(ConnectionError):
                line.sendall(begins)
        for nth in range(5):
            status, took = send_delivery(port, b"{}", f"good-{nth}")
            assert (status, took <= 1) == (202, True), took
            for line in lines:
                with suppress(ConnectionError):  # some had to make room
                    line.sendall(b"x")


def test_unsigned_bodies_fill_neither_the_disk_nor_the_memory(at_home: tuple[Process, int]) -> None:
    """Twenty clients send all but the last byte of 24 MB under a signature that might be right."""
    process, port = at_home
    running = psutil.Process(process.pid)
    assert send_delivery(port, b"{}", "first")[0] == 202
    before, piece = running.memory_info().rss, os.urandom(2**20)
    with ExitStack() as stack:
        lines = [stack.enter_context(connect(port)) for _ in range(20)]
        for line in lines:
            line.sendall(head(24 * 2**20))
        for nth in range(23):
            for line in lines:
                with suppress(ConnectionError):  # some are told 503
                    line.sendall(piece)
            if nth % 8 == 7:
                assert send_delivery(port, b"{}", f"good-{nth}")[0] == 202
        assert [file.path for file in running.open_files() if "processes.log" not in file.path] == []
        assert list_deleted_files(process.pid) == []
        assert running.memory_info().rss - before < 160 * 2**20


def list_deleted_files(pid: int) -> list[str]:
    """Return the open files without a name, such as those of a spooled body."""
    targets = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            targets.append(str(entry.readlink()))
    return [target for target in targets if target.endswith("(deleted)")]


@pytest.mark.parametrize(
    ("says", "status"),
    [
        (head(20_000_000, X_Hub_Signature_256=""), 401),
        (head(20_000_000, X_Hub_Signature_256="sha256=no"), 401),
        (head(20_000_000, Content_Type="text/plain"), 415),
        (head(20_000_000, X_GitHub_Delivery=""), 400),
        (head(20_000_000, X_GitHub_Event=""), 400),
        (head(MAX_BODY_BYTES + 1), 413),
        (head(10**12), 413),
        (head(20_000_000, method="PUT"), 405),
        (head(20_000_000, path="/elsewhere"), 404),
        (head(20_000_000, path="/healthz"), 405),
        (head(20_000_000, X_Hub_Signature_256="", Expect="100-continue"), 401),
        (head("", X_Hub_Signature_256="", Transfer_Encoding="chunked"), 401),
    ],
)
def test_what_the_head_alone_refuses_is_refused_at_once(database: Database, says: bytes, status: int) -> None:
    with serve_door(database, RequestLimits()) as door, connect(door.port) as line:
        line.sendall(says)
        answer = read_all(line)
        assert answer.startswith(f"HTTP/1.1 {status} ".encode())
        assert answer.count(b"HTTP/1.1") == 1


def test_the_rest_of_a_refused_body_is_no_request(database: Database) -> None:
    """Bytes that follow a refused head, such as a good request, are thrown away and never answered."""
    with serve_door(database, RequestLimits()) as door, connect(door.port) as line:
        line.sendall(head(10_000, X_Hub_Signature_256="") + b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
        assert read_all(line).count(b"HTTP/1.1") == 1


def test_a_client_that_sends_all_before_it_reads_still_reads_why(database: Database) -> None:
    with serve_door(database, RequestLimits()) as door, connect(door.port) as line:
        line.sendall(head(25_000_000, X_Hub_Signature_256="") + b"x" * 25_000_000)
        assert read_all(line).startswith(b"HTTP/1.1 401 ")


@pytest.mark.parametrize(
    ("says", "answer"),
    [
        (b"", b""),
        (b"POST /webhook HTT", b""),
        (head(100) + b"{", b"HTTP/1.1 408 "),
        (head(100, X_Hub_Signature_256="") + b"{", b"HTTP/1.1 401 "),
    ],
    ids=["nothing", "half a head", "half a body", "a refused body"],
)
def test_head_and_body_have_their_time_however_they_trickle(database: Database, says: bytes, answer: bytes) -> None:
    with serve_door(database, QUICK) as door, connect(door.port) as line:
        line.sendall(says)

        def trickle_until_closed() -> bool:
            try:
                line.sendall(b"x" if says else b"")
            except ConnectionError:
                return True
            return door.connection_count == 0

        assert wait_until(trickle_until_closed, 8)
        assert read_all(line).startswith(answer)


def test_a_body_needs_a_minimum_rate(database: Database) -> None:
    """A byte a second gets less time than a body that is large and comes over a slow line."""
    limits = RequestLimits(slow_body_seconds=1, min_bytes_per_second=1000)
    with serve_door(database, limits) as door, connect(door.port) as trickling, connect(door.port) as slow:
        trickling.sendall(head(30_000) + b"{")
        slow.sendall(head(30_000) + b"x" * 20_000)
        assert wait_until(lambda: is_readable(trickling), 5)
        assert read_all(trickling).startswith(b"HTTP/1.1 408 ")
        slow.sendall(b"x" * 10_000)
        assert slow.recv(12) == b"HTTP/1.1 401", "it was read to its end, and its signature checked"


def test_clients_that_do_not_read_their_answers_make_room_first() -> None:
    def answer_much(environ: dict[str, Any], start_response: Callable[..., Any]) -> list[bytes]:
        start_response("200 OK", [("Content-Length", str(6 * 2**20))])
        return [bytes(6 * 2**20)]

    limits = RequestLimits(unread_seconds=0.5)
    served = HttpServer(answer_much, "127.0.0.1", 0, name="much", max_connections=64, limits=limits)
    try:
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(connect(served.port)).sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            time.sleep(2)
            others = [stack.enter_context(connect(served.port)) for _ in range(64)]
            assert wait_until(lambda: served.connection_count == 64, 5)
            assert not any(map(is_closed, others))
    finally:
        served.stop()


def test_a_kept_connection_may_be_idle_for_longer_than_a_new_one(database: Database) -> None:
    with serve_door(database, RequestLimits(head_seconds=0.2, idle_seconds=30)) as door, connect(door.port) as line:
        for _ in range(2):
            line.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}\n"):
                piece = line.recv(1000)
                assert piece, answer
                answer += piece
            assert answer.startswith(b"HTTP/1.1 200 ")
            time.sleep(2.5)
        assert not is_closed(line)


def test_one_address_has_a_bound_and_a_proxy_has_none(database: Database) -> None:
    limits = RequestLimits(connections_per_address=5, proxies=(IPv4Network("127.0.0.9/32"),))
    with serve_door(database, limits) as door, ExitStack() as stack:
        proxied = [stack.enter_context(connect(door.port, "127.0.0.9")) for _ in range(40)]
        theirs = [stack.enter_context(connect(door.port, "127.0.0.2")) for _ in range(40)]
        ours = [stack.enter_context(connect(door.port, "127.0.0.3")) for _ in range(5)]
        assert wait_until(lambda: sum(map(is_closed, theirs)) == 35, 5)
        assert not any(map(is_closed, ours)), "another address is not touched"
        assert not any(map(is_closed, theirs[-5:])), "those that have waited longest go first"
        assert not any(map(is_closed, proxied)), "a proxy stands for many clients"
        assert deliver(door.port, "good") == 202


def test_beyond_the_bound_in_all_the_slowest_go(database: Database) -> None:
    with serve_door(database, RequestLimits(), max_connections=64) as door, ExitStack() as stack:
        lines = [stack.enter_context(connect(door.port)) for _ in range(200)]
        for nth in range(10):
            assert deliver(door.port, f"good-{nth}") == 202
        assert wait_until(lambda: sum(map(is_closed, lines)) >= 136, 10)
        assert not is_closed(lines[-1])


def test_room_is_made_once_while_ever_more_clients_come(database: Database) -> None:
    """Connections that are about to be closed are not counted again, so that no more are closed than have to be."""
    with serve_door(database, RequestLimits(), max_connections=64) as door, ExitStack() as stack:
        for _ in range(600):
            newest = stack.enter_context(connect(door.port))
        assert wait_until(lambda: door.connection_count == 64, 5), door.connection_count
        assert not is_closed(newest)


@pytest.mark.parametrize(
    "flood", [lambda: b"1" * 5000, lambda: b"0\r\nX: " + b"y" * 20_000], ids=["a size line", "a trailer"]
)
def test_lines_of_a_chunked_body_are_bounded(database: Database, flood: Callable[[], bytes]) -> None:
    with serve_door(database, RequestLimits()) as door, connect(door.port) as line:
        line.sendall(head("", Transfer_Encoding="chunked") + flood())
        assert read_all(line).startswith(b"HTTP/1.1 400 ")


def test_memory_is_given_back_when_bodies_end_break_off_or_are_refused(database: Database) -> None:
    with serve_door(database, RequestLimits()) as door:
        assert deliver(door.port, "whole", b"x" * 500_000) == 202
        with connect(door.port) as line:
            line.sendall(head(1_000_000) + b"x" * 500_000)
            assert wait_until(lambda: door.body_bytes == 500_000, 5)
        assert wait_until(lambda: door.body_bytes == 0, 5)
