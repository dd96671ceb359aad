"""What the head of a request says, and the answer to a request that its head alone refuses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The head of a request with a body.

    The names of `headers` are in lower case; `body_bytes` is the declared length, None for a body in chunks.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    body_bytes: int | None


@dataclass(frozen=True, slots=True)
class EarlyAnswer:
    """The answer to a request whose body is not read: a status, its one-line reason, and further headers."""

    status: int
    reason: str
    headers: tuple[tuple[str, str], ...] = ()

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:  # noqa: ARG002
        """Return status line, headers and body, as waitress asks of an error."""
        headers = [("Content-Type", "text/plain; charset=utf-8"), *self.headers]
        return f"{self.status} {self.reason.title()}", headers, f"{self.reason}\n".encode()


HeadCheck = Callable[[RequestHead], EarlyAnswer | None]
"""Returns why a request with a body is refused before its body is read; None: it is read."""


def accept_every_head(head: RequestHead) -> EarlyAnswer | None:
    """Refuse nothing."""
    return None
