"""A GitHub that lets time run out is left alone for a moment.

One call that hangs costs the client's whole patience, and a worker stands still meanwhile.  After a few of them in a row
all calls fail at once; then one is let through to see, and the rest follow when it is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

_IN_A_ROW = 3
_ALONE = timedelta(seconds=20)


class Breaker(httpx.BaseTransport):
    """`inner`, as long as it answers.  Only time that ran out counts: a refusal is quick, and an error is an answer."""

    def __init__(self, inner: httpx.BaseTransport, clock: Callable[[], datetime]) -> None:
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._hung = 0
        self._until: datetime | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._admit()
        try:
            response = self._inner.handle_request(request)
        except httpx.TimeoutException:
            with self._lock:
                self._hung += 1
                if self._hung >= _IN_A_ROW:
                    self._until = self._clock() + _ALONE
            raise
        with self._lock:
            self._hung, self._until = 0, None
        return response

    def close(self) -> None:
        self._inner.close()

    def _admit(self) -> None:
        """Raises httpx.ConnectError while GitHub is left alone; whoever comes first after that is let through alone."""
        with self._lock:
            if self._until is None:
                return
            now = self._clock()
            if now < self._until:
                raise httpx.ConnectError("GitHub hangs, and is left alone for a moment")
            self._until = now + _ALONE
