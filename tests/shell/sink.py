"""A receiver of channel messages on loopback, with configurable responses."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from app.safe_http import SafeHttpClient
from tests.shell.night import Night

SECRET = "a secret of the channel, long enough"


@dataclass(frozen=True)
class ReceivedRequest:
    """One request and the time of its arrival, by the clock of the night."""

    at: datetime
    headers: Mapping[str, str]
    body: bytes

    @property
    def key(self) -> str:
        return self.headers["idempotency-key"]

    @property
    def payload(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found


SinkResponse = tuple[int, Mapping[str, str]]
"""The status and headers to respond with; status 0 closes the connection without a response."""


@dataclass
class Sink:
    """The requests received and how to respond to them."""

    clock: Callable[[], datetime]
    choose_response: Callable[[ReceivedRequest], SinkResponse] = lambda request: (204, {})
    requests: list[ReceivedRequest] = field(default_factory=list)
    accepted: list[ReceivedRequest] = field(default_factory=list)
    """The requests that were answered with 2xx."""
    port: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://hooks.example:{self.port}/muster/secret-path"

    def respond_with(self, status: int, headers: Mapping[str, str] | None = None) -> None:
        self.choose_response = lambda request: (status, headers or {})

    def create_http_client(self) -> SafeHttpClient:
        """Create an HTTP client that resolves every name to this machine."""

        def resolve_to_loopback(host: str, port: int) -> Sequence[str]:
            return ["127.0.0.1"]

        return SafeHttpClient(resolve=resolve_to_loopback, loopback=True)


@contextmanager
def run_sink(clock: Callable[[], datetime]) -> Iterator[Sink]:
    found = Sink(clock)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received = ReceivedRequest(
                found.clock(), {name.lower(): value for name, value in self.headers.items()}, body
            )
            with found.lock:
                found.requests.append(received)
            status, headers = found.choose_response(received)
            if not status:
                return
            if 200 <= status < 300:
                with found.lock:
                    found.accepted.append(received)
            self.send_response(status)
            for name, value in {"Content-Length": "0", **headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- the library's name
            return

    class Server(ThreadingHTTPServer):
        request_queue_size = 256
        daemon_threads = True

    server = Server(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def connect_sink(night: Night, sink: Sink) -> None:
    """Point the night's `env:CHANNEL_OPS_URL` and `env:CHANNEL_OPS_SECRET` at that sink."""
    night.http_client = sink.create_http_client()
    night.channels = {"CHANNEL_OPS_URL": sink.url, "CHANNEL_OPS_SECRET": SECRET}
    night.restart()
