"""Bad days: answers that get lost, come late, break off or never come."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Request, Response

Kind = Literal["pre", "lost", "post5", "late", "trunc", "hang", "status"]


@dataclass
class Fault:
    """One kind of bad day for calls that match.

    pre     the connection breaks and nothing is done
    lost    done, and the connection breaks without an answer
    post5   done, and the answer is a 502
    late    the connection breaks at once, and `seconds` later it is done all the same
    trunc   done, and the answer breaks off in the middle
    hang    nothing is done, and the connection breaks only after `seconds`
    status  nothing is done, and the answer is `status` with `headers`
    """

    kind: Kind
    times: int = 1
    method: str | None = None
    path: str | None = None
    seconds: float = 0.0
    status: int = 502
    headers: dict[str, str] = field(default_factory=dict)

    def matches(self, request: Request) -> bool:
        return (self.method or request.method) == request.method and (self.path or "") in request.path


class Faults:
    """What goes wrong next.  Faults are taken in the order they were added.

    `weather` says of each call that met none of them whether something goes wrong with it.  `lag`: seconds that a new
    comment takes until it shows in the list of comments.
    """

    def __init__(self) -> None:
        self.weather: Callable[[Request], Fault | None] = lambda _: None
        self.lag = 0.0
        self._lock = threading.Lock()
        self._waiting: list[Fault] = []

    def add(self, kind: Kind, **parts: Any) -> Fault:
        """The next `times` calls whose method is `method` and whose path contains `path` go wrong."""
        fault = Fault(kind, **parts)
        with self._lock:
            self._waiting.append(fault)
        return fault

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def around(self, request: Request, answer: Callable[[], Response]) -> Response:
        """The answer, or what a fault makes of it."""
        fault = self._next(request)
        if fault is None:
            return answer()
        if fault.kind in ("pre", "hang", "status"):
            return _undone(fault, request)
        if fault.kind == "late":
            _cut(request)
            time.sleep(fault.seconds)
        response = answer()
        if fault.kind == "trunc":
            return _half(response)
        if fault.kind == "post5":
            return Response("<html>502 Bad Gateway</html>", 502, content_type="text/html")
        return _cut(request)

    def _next(self, request: Request) -> Fault | None:
        if not self._waiting:
            return self.weather(request)
        with self._lock:
            for fault in self._waiting:
                if fault.matches(request):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._waiting.remove(fault)
                    return fault
        return self.weather(request)


def _undone(fault: Fault, request: Request) -> Response:
    if fault.kind == "status":
        message = f'{{"message":"pretended {fault.status}","status":"{fault.status}"}}'
        return Response(message, fault.status, fault.headers, content_type="application/json")
    if fault.kind == "hang":
        time.sleep(fault.seconds)
    return _cut(request)


def _half(response: Response) -> Response:
    raw = response.get_data()
    # Half the bytes under the full length: the server closes the connection there.
    half = Response(iter([raw[: len(raw) // 2]]), response.status_code, content_type=response.content_type)
    half.headers["Content-Length"] = str(len(raw))
    return half


def _cut(request: Request) -> Response:
    # waitress hands out a bound method of the connection and nothing else that leads to it.
    check = request.environ.get("waitress.client_disconnected")
    connection = getattr(getattr(check, "__self__", None), "socket", None)
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    return Response("", 502)
