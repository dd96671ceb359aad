"""GitHub's rate limits, counted for each caller by the given clock."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.sandbox.github.errors import ApiError

HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True)
class Limits:
    """The rate limits of one caller; None switches a secondary limit off."""

    per_hour: int = 5000
    points_per_minute: int | None = None
    creations_per_minute: int | None = None
    creations_per_hour: int | None = None
    concurrent_requests: int | None = None
    """Requests that are in progress at the same time."""
    tokens_per_hour: int | None = None
    """Installation tokens that an App may request."""

    @classmethod
    def strict(cls, per_hour: int = 5000) -> Limits:
        """Return the primary limit with the published secondary limits.

        900 points and 80 creations a minute, 500 creations and 2,000 tokens an hour, 100 concurrent requests.
        """
        return cls(per_hour, 900, 80, 500, 100, 2000)


@dataclass
class _Usage:
    window_start: datetime
    used: int = 0
    points: deque[tuple[datetime, int]] = field(default_factory=deque)
    points_sum: int = 0
    creations: deque[datetime] = field(default_factory=deque)
    tokens: deque[datetime] = field(default_factory=deque)


class Meter:
    """Counts calls and refuses those over a limit."""

    def __init__(self, limits: Limits, clock: Callable[[], datetime]) -> None:
        self.limits = limits
        self._clock = clock
        self._usages: dict[str, _Usage] = {}
        self._active_requests: Counter[str] = Counter()
        self._lock = threading.Lock()
        self.refused_count = 0
        """The number of calls that met a secondary limit."""

    @contextmanager
    def track_request(self, caller: str) -> Iterator[bool]:
        """Count a request as in progress; yield True if that is more than the limit."""
        with self._lock:
            self._active_requests[caller] += 1
            limit = self.limits.concurrent_requests
            too_many = limit is not None and self._active_requests[caller] > limit
        try:
            yield too_many
        finally:
            with self._lock:
                self._active_requests[caller] -= 1

    def charge(self, caller: str, method: str, *, too_many: bool = False, token: bool = False) -> None:
        """Count one call.

        `too_many`: more requests are in progress than allowed; `token`: the call requests an installation token.
        Raises ApiError 403 over a limit.
        """
        now = self._clock()
        usage = self._usage(caller, now)
        if usage.used >= self.limits.per_hour:
            raise ApiError(403, f"API rate limit exceeded for {caller}.", headers=self.headers(caller))
        if too_many:
            raise self._secondary_limit_error(MINUTE)
        if token and self.limits.tokens_per_hour is not None:
            self._check_tokens(usage, now, self.limits.tokens_per_hour)
        creation = method == "POST" and not caller.startswith("app ")
        if self.limits.points_per_minute is not None or self.limits.creations_per_minute is not None:
            self._check_secondary(usage, now, 1 if method in READ_METHODS else 5, creation)
        usage.used += 1

    def _check_tokens(self, usage: _Usage, now: datetime, limit: int) -> None:
        while usage.tokens and usage.tokens[0] <= now - HOUR:
            usage.tokens.popleft()
        if len(usage.tokens) >= limit:
            raise self._secondary_limit_error(usage.tokens[0] + HOUR - now)
        usage.tokens.append(now)

    def _secondary_limit_error(self, wait: timedelta) -> ApiError:
        self.refused_count += 1
        return ApiError(
            403,
            "You have exceeded a secondary rate limit. Please wait a few minutes before you try again.",
            headers={"Retry-After": str(max(1, round(wait.total_seconds())))},
        )

    def refund(self, caller: str) -> None:
        """Take one call back, since a 304 is free."""
        usage = self._usage(caller, self._clock())
        usage.used = max(0, usage.used - 1)

    def status(self, caller: str) -> dict[str, int]:
        """Return the caller's primary limit as GitHub's `rate_limit` object."""
        usage = self._usage(caller, self._clock())
        return {
            "limit": self.limits.per_hour,
            "used": usage.used,
            "remaining": max(0, self.limits.per_hour - usage.used),
            "reset": int((usage.window_start + HOUR).timestamp()),
        }

    def headers(self, caller: str) -> dict[str, str]:
        """Return the X-RateLimit headers for the caller."""
        named = {f"X-RateLimit-{name.capitalize()}": str(value) for name, value in self.status(caller).items()}
        return {**named, "X-RateLimit-Resource": "core"}

    def _usage(self, caller: str, now: datetime) -> _Usage:
        usage = self._usages.get(caller)
        if usage is None:
            usage = self._usages[caller] = _Usage(now)
        elif not timedelta(0) <= now - usage.window_start < HOUR:
            usage.window_start, usage.used = now, 0
        return usage

    def _check_secondary(self, usage: _Usage, now: datetime, points: int, creation: bool) -> None:
        limits = self.limits
        while usage.points and usage.points[0][0] <= now - MINUTE:
            usage.points_sum -= usage.points.popleft()[1]
        while usage.creations and usage.creations[0] <= now - HOUR:
            usage.creations.popleft()
        wait: timedelta | None = None
        if limits.points_per_minute is not None and usage.points_sum + points > limits.points_per_minute:
            wait = usage.points[0][0] + MINUTE - now
        if creation:
            for limit, period in ((limits.creations_per_minute, MINUTE), (limits.creations_per_hour, HOUR)):
                if limit is not None and len(usage.creations) >= limit and usage.creations[-limit] > now - period:
                    wait = usage.creations[-limit] + period - now
        if wait is not None:
            raise self._secondary_limit_error(wait)
        usage.points.append((now, points))
        usage.points_sum += points
        if creation:
            usage.creations.append(now)
