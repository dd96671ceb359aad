"""Fault injection: responses that are lost, late, truncated or never sent."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Request, Response

from app.sandbox.github.errors import FieldError

FaultKind = Literal["pre", "lost", "post5", "late", "trunc", "hang", "status"]


_DEFAULT_WORDS = {
    400: "Problems parsing JSON",
    401: "Bad credentials",
    403: "Resource not accessible by integration",
    404: "Not Found",
    409: "Conflict",
    410: "This issue was deleted",
    422: "Validation Failed",
    429: "API rate limit exceeded",
    451: "Repository access blocked",
    503: "Service Unavailable",
}
"""GitHub's most frequent words with each status."""

REFUSALS: dict[str, tuple[int, str, tuple[FieldError, ...]]] = {
    "suspended": (403, "This installation has been suspended", ()),
    "ip allow list": (
        403,
        (
            "Although you appear to have the correct authorization credentials, the `octo` organization has an IP"
            " allow list enabled, and your IP address is not permitted to access this resource."
        ),
        (),
    ),
    "blocked": (403, "Repository access blocked", ()),
    "not accessible": (403, "Resource not accessible by integration", ()),
    "locked": (403, "Unable to create comment because issue is locked.", ()),
    "archived": (403, "Repository was archived so is read-only.", ()),
    "pulls not allowed": (403, "GitHub Actions is not permitted to create or approve pull requests.", ()),
    "ruleset": (422, "Repository rule violations found\n\nCannot create ref due to creations being restricted.", ()),
    "not found": (404, "Not Found", ()),
    "deleted": (410, "This issue was deleted", ()),
    "issues disabled": (410, "Issues has been disabled in this repository.", ()),
    "conflict": (409, "Conflict", ()),
    "unresolved": (
        422,
        "Validation Failed",
        ({"resource": "Issue", "code": "unprocessable", "field": "data", "message": "Could not resolve to a node"},),
    ),
    "unprocessable": (422, "The request could not be processed because too many writes happened at once.", ()),
    "too quickly": (422, "was submitted too quickly", ()),
    "too long": (
        422,
        "Validation Failed",
        (
            {
                "resource": "IssueComment",
                "code": "custom",
                "field": "body",
                "message": "body is too long (maximum is 65536 characters)",
            },
        ),
    ),
    "invalid label": (422, "Validation Failed", ({"resource": "Label", "code": "invalid", "field": "name"},)),
    "head not visible": (422, "Validation Failed", ({"resource": "PullRequest", "code": "invalid", "field": "head"},)),
    "abuse": (403, "You have triggered an abuse detection mechanism. Please wait a few minutes.", ()),
    "secondary limit": (403, "You have exceeded a secondary rate limit. Please wait a few minutes.", ()),
}
"""Refusals in GitHub's own words: status, message and field errors, by a short name."""


@dataclass
class Fault:
    """A fault for the calls that match.

    pre     the connection closes and nothing is done
    lost    done, and the connection closes without a response
    post5   done, and the response is a 502
    late    the connection closes at once, and `seconds` later it is done all the same
    trunc   done, and the response breaks off in the middle
    hang    nothing is done, and the connection closes only after `seconds`
    status  nothing is done, and the response is `status` with `headers`, GitHub's `message` and its `errors`

    An empty `message` stands for the words that GitHub uses most with that status.
    """

    kind: FaultKind
    times: int = 1
    method: str | None = None
    path: str | None = None
    seconds: float = 0.0
    status: int = 502
    headers: dict[str, str] = field(default_factory=dict)
    message: str = ""
    errors: tuple[FieldError, ...] = ()

    def matches(self, request: Request) -> bool:
        """Return True if the request has the fault's method and contains its path; None matches every request."""
        return (self.method or request.method) == request.method and (self.path or "") in request.path


class Faults:
    """The faults to inject, used in the order they were added.

    `choose_fault` may pick a fault for a call that matches none of them. `comment_lag_seconds`: how long a new comment
    is missing from the list of comments.
    """

    def __init__(self) -> None:
        self.choose_fault: Callable[[Request], Fault | None] = lambda _: None
        self.comment_lag_seconds = 0.0
        self._lock = threading.Lock()
        self._pending: list[Fault] = []

    def add(self, kind: FaultKind, **parts: Any) -> Fault:
        """Add a fault for the next `times` calls whose method is `method` and whose path contains `path`."""
        fault = Fault(kind, **parts)
        with self._lock:
            self._pending.append(fault)
        return fault

    def refuse(self, name: str, **parts: Any) -> Fault:
        """Add a refusal of REFUSALS for the next `times` calls that match."""
        status, message, errors = REFUSALS[name]
        return self.add("status", status=status, message=message, errors=errors, **parts)

    def clear(self) -> None:
        """Remove all pending faults."""
        with self._lock:
            self._pending.clear()

    def apply(self, request: Request, respond: Callable[[], Response]) -> Response:
        """Return the response of `respond`, or what the next matching fault makes of it."""
        fault = self._next_fault(request)
        if fault is None:
            return respond()
        if fault.kind in ("pre", "hang", "status"):
            return _fail_without_effect(fault, request)
        if fault.kind == "late":
            _close_connection(request)
            time.sleep(fault.seconds)
        response = respond()
        if fault.kind == "trunc":
            return _truncate(response)
        if fault.kind == "post5":
            return Response("<html>502 Bad Gateway</html>", 502, content_type="text/html")
        return _close_connection(request)

    def _next_fault(self, request: Request) -> Fault | None:
        if not self._pending:
            return self.choose_fault(request)
        with self._lock:
            for fault in self._pending:
                if fault.matches(request):
                    fault.times -= 1
                    if fault.times <= 0:
                        self._pending.remove(fault)
                    return fault
        return self.choose_fault(request)


def _fail_without_effect(fault: Fault, request: Request) -> Response:
    if fault.kind == "status":
        body: dict[str, Any] = {"message": fault.message or _DEFAULT_WORDS.get(fault.status, "Server Error")}
        if fault.errors:
            body["errors"] = list(fault.errors)
        body |= {"documentation_url": "https://docs.github.com/rest", "status": str(fault.status)}
        return Response(json.dumps(body), fault.status, fault.headers, content_type="application/json; charset=utf-8")
    if fault.kind == "hang":
        time.sleep(fault.seconds)
    return _close_connection(request)


def _truncate(response: Response) -> Response:
    raw = response.get_data()
    # Send half the bytes with the full Content-Length; the server then closes the connection.
    half = Response(iter([raw[: len(raw) // 2]]), response.status_code, content_type=response.content_type)
    half.headers["Content-Length"] = str(len(raw))
    return half


def _close_connection(request: Request) -> Response:
    # waitress exposes a bound method of the connection, the only way to reach its socket.
    check = request.environ.get("waitress.client_disconnected")
    connection = getattr(getattr(check, "__self__", None), "socket", None)
    if isinstance(connection, socket.socket):
        with contextlib.suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
    return Response("", 502)
