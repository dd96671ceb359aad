"""Circuit breaker for GitHub: after three consecutive timeouts, fail fast for 20 seconds.

A call that hangs costs the client's whole timeout and blocks a worker meanwhile.  While the breaker is open all
calls fail at once; after that one trial call is let through, and the breaker closes when it is answered.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx

_MAX_CONSECUTIVE_TIMEOUTS = 3
_OPEN_PERIOD = timedelta(seconds=20)


class CircuitBreaker(httpx.BaseTransport):
    """A transport that passes requests to `inner` while the breaker is closed.

    Only timeouts count: a refused connection fails fast anyway, and an error response is a response.
    """

    def __init__(self, inner: httpx.BaseTransport, clock: Callable[[], datetime]) -> None:
        self._inner = inner
        self._clock = clock
        self._lock = threading.Lock()
        self._consecutive_timeouts = 0
        self._open_until: datetime | None = None

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send the request unless the breaker is open, and count consecutive timeouts."""
        self._admit()
        try:
            response = self._inner.handle_request(request)
        except httpx.TimeoutException:
            with self._lock:
                self._consecutive_timeouts += 1
                if self._consecutive_timeouts >= _MAX_CONSECUTIVE_TIMEOUTS:
                    self._open_until = self._clock() + _OPEN_PERIOD
            raise
        with self._lock:
            self._consecutive_timeouts, self._open_until = 0, None
        return response

    def close(self) -> None:
        """Close the inner transport."""
        self._inner.close()

    def _admit(self) -> None:
        """Raise httpx.ConnectError while the breaker is open; afterwards let a single trial call through."""
        with self._lock:
            if self._open_until is None:
                return
            now = self._clock()
            if now < self._open_until:
                raise httpx.ConnectError("circuit breaker open: GitHub's last calls timed out")
            self._open_until = now + _OPEN_PERIOD
