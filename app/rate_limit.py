"""Rate limits: GitHub's published limits, and the state of one installation's use of them.

The law of this file: it is pure arithmetic.  Where the state is stored, and for which caller, is decided elsewhere.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.core.severity import Severity

READ_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CREATING_METHODS = frozenset({"POST", "PUT"})
"""The methods counted as creating content: GitHub publishes no list, so all of them count."""
_MINUTE_SECONDS, _HOUR_SECONDS = 60.0, 3600.0
_MIN_WAIT_SECONDS = 0.001
_WRITE_TIMEOUT_SECONDS = 20.0
"""After this long an unfinished write counts as ended, because its process died; no call takes as long."""
_RECHECK_SECONDS = 60.0
"""Re-check interval of deferred calls, since the severity of their incident may rise meanwhile."""
_DEFAULT_PAUSE_SECONDS = 60.0
"""Pause after a rate limit without `retry-after`; doubled each time it happens again within an hour."""
_MAX_DEFAULT_PAUSE_SECONDS = 3600.0
_MAX_PAUSE_SECONDS = 86400.0
"""No limit of GitHub's lasts longer than this, so larger values are not believed."""


@dataclass(frozen=True, slots=True)
class Rates:
    """The limits of one caller, as GitHub publishes them.

    `spacing` is in seconds between writes.  None: no such limit.  `reserved` is the part of each budget that only a
    sev1 may use; reads that belong to no incident yet, such as permission checks, may use half of it.
    """

    spacing: float = 1.0
    points_per_minute: int | None = 900
    creations_per_minute: int | None = 80
    creations_per_hour: int | None = 500
    reserved: float = 0.2


GITHUB_RATES = Rates()
UNLIMITED = Rates(spacing=0.0, points_per_minute=None, creations_per_minute=None, creations_per_hour=None)
"""No limits: a GitHub Enterprise Server without limits, or the sandbox GitHub.

A pause that the server asks for is kept all the same.
"""
APP = -1
"""The caller id of the App itself; other callers are installation ids."""
APP_RATES = Rates(spacing=0.0, creations_per_minute=None, creations_per_hour=2000)
"""The limits of the App itself, whose only writes are its requests for tokens."""


def rates_for(installation: int, rates: Rates) -> Rates:
    """Return the limits of that installation, or of the App itself."""
    return APP_RATES if installation == APP and rates != UNLIMITED else rates


@dataclass(frozen=True, slots=True)
class Priority:
    """The priority of a call.

    `severity` is that of the incident the call is for; None: for no incident (yet).  `display_only`: it notifies no one
    but shows the current state, such as the board; it comes after notices for incidents of the same severity.
    """

    severity: Severity | None = None
    display_only: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The hourly budget as reported by GitHub's rate limit headers."""

    limit: int
    remaining: int
    resets_at: datetime


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """What one installation has used of its rate limits, and what GitHub has reported.

    `last_write_at` is when the last write ended; while one is in flight, it is when that one times out, which lies in
    the future. `creation_times` are those of the last hour, in seconds since 1970; `points_by_second` holds the points
    of each second of the last minute.  `paused_until` is the end of a pause that GitHub asked for, `consecutive_limits`
    counts limits in a row without `retry-after`; `deferred_until` is when a call that was deferred for long may expect
    its turn.
    """

    last_write_at: datetime | None = None
    creation_times: tuple[float, ...] = ()
    points_by_second: tuple[tuple[int, int], ...] = ()
    paused_until: datetime | None = None
    consecutive_limits: int = 0
    deferred_until: datetime | None = None
    budget: Budget | None = None

    def seconds_until_allowed(self, rates: Rates, method: str, severity: Severity | None, now: datetime) -> float:
        """Return the seconds until that call may be made, as far as is known; 0: now."""
        waits = [
            _seconds_until(self.paused_until, now),
            self._wait_for_budget(_reserved_part(rates, method, severity), now),
            self._wait_for_points(rates, method, severity, now),
        ]
        if method not in READ_METHODS:
            waits.append(self._wait_for_spacing(rates, now))
        if method in _CREATING_METHODS:
            reserved = _reserved_part(rates, method, severity)
            waits.append(
                self._wait_for_creations(rates.creations_per_minute, _MINUTE_SECONDS, rates.spacing, reserved, now)
            )
            waits.append(
                self._wait_for_creations(rates.creations_per_hour, _HOUR_SECONDS, rates.spacing, reserved, now)
            )
        longest = max(waits)
        return max(longest, _MIN_WAIT_SECONDS) if longest > 0 else 0.0

    def seconds_until_recheck(self, wait_seconds: float, now: datetime) -> float:
        """Return the seconds after which asking again is worthwhile.

        A pause is kept to its end; other turns may come sooner than expected.
        """
        return max(_seconds_until(self.paused_until, now), min(wait_seconds, _RECHECK_SECONDS))

    def record_request(self, rates: Rates, method: str, now: datetime) -> RateLimitState:
        """Return the state with that call counted; a spaced write is in flight until `record_response`."""
        at = now.timestamp()
        new = self
        if rates.points_per_minute is not None:
            new = replace(new, points_by_second=_add_points(self.points_by_second, int(at), _call_points(method)))
        if self.budget is not None:
            new = replace(new, budget=replace(self.budget, remaining=max(0, self.budget.remaining - 1)))
        if method not in READ_METHODS:
            new = replace(new, last_write_at=now + timedelta(seconds=_WRITE_TIMEOUT_SECONDS) if rates.spacing else now)
        if method in _CREATING_METHODS and rates.creations_per_hour is not None:
            new = replace(new, creation_times=(*(one for one in self.creation_times if one > at - _HOUR_SECONDS), at))
        return new

    def record_deferral(self, wait_seconds: float, now: datetime) -> RateLimitState:
        """Return the state with a call that was deferred for that many seconds."""
        return replace(self, deferred_until=now + timedelta(seconds=wait_seconds))

    def record_limit(self, retry_after_seconds: float | None, now: datetime) -> RateLimitState:
        """Return the state with a pause of `retry_after_seconds`; None: GitHub did not say how long."""
        consecutive_limits = 0
        if retry_after_seconds is None:
            repeated = self.paused_until is not None and (now - self.paused_until).total_seconds() < _HOUR_SECONDS
            consecutive_limits = self.consecutive_limits + 1 if repeated else 1
            retry_after_seconds = min(
                _MAX_DEFAULT_PAUSE_SECONDS, _DEFAULT_PAUSE_SECONDS * 2.0 ** (consecutive_limits - 1)
            )
        until = now + timedelta(seconds=min(retry_after_seconds, _MAX_PAUSE_SECONDS))
        if self.paused_until is not None and self.paused_until > until:
            until = self.paused_until  # another call was given a longer pause
        return replace(self, paused_until=until, consecutive_limits=consecutive_limits or self.consecutive_limits)

    def record_response(self, rates: Rates, method: str, budget: Budget | None, now: datetime) -> RateLimitState:
        """Return the state after that call's response.

        A write counts from its response, because it may have taken its time on the way to GitHub.
        """
        new = replace(self, budget=budget or self.budget)
        if method in READ_METHODS or not rates.spacing:
            return new
        if method in _CREATING_METHODS and new.creation_times:
            new = replace(new, creation_times=(*new.creation_times[:-1], max(new.creation_times[-1], now.timestamp())))
        return replace(new, last_write_at=now)

    def _wait_for_spacing(self, rates: Rates, now: datetime) -> float:
        """Return the wait for one write at a time, each a while after the end of the last."""
        if self.last_write_at is None or not rates.spacing:
            return 0.0
        since = (now - self.last_write_at).total_seconds()
        if since >= 0:
            return rates.spacing - since
        # In flight, or begun or ended after `now` was read: a caller that had to wait for the state's lock read `now` a
        # while ago.  If it lies further ahead than that, the clock was set back, so do not wait for it.
        return rates.spacing if since >= -2 * _WRITE_TIMEOUT_SECONDS else 0.0

    def _wait_for_points(self, rates: Rates, method: str, severity: Severity | None, now: datetime) -> float:
        if rates.points_per_minute is None:
            return 0.0
        allowed = rates.points_per_minute * (1 - _reserved_part(rates, method, severity))
        at = now.timestamp()
        recent = [(second, points) for second, points in self.points_by_second if second + 1 + _MINUTE_SECONDS > at]
        excess = sum(points for _, points in recent) + _call_points(method) - allowed
        for second, points in recent:
            if excess <= 0:
                break
            excess -= points
            at = second + 1 + _MINUTE_SECONDS
        return at - now.timestamp()

    def _wait_for_budget(self, reserved: float, now: datetime) -> float:
        budget = self.budget
        if budget is None or budget.remaining - 1 >= budget.limit * reserved:
            return 0.0
        return _seconds_until(budget.resets_at, now)

    def _wait_for_creations(
        self, maximum: int | None, window: float, spacing: float, reserved: float, now: datetime
    ) -> float:
        """Return the wait until a sev1 burst right after this call would still find its part of that window.

        The burst's nth write comes `n * spacing` later, and by then older writes have left the window.
        """
        if maximum is None:
            return 0.0
        at = now.timestamp()
        recent = [one for one in self.creation_times if one > at - window]
        free = at
        for nth in range(int(maximum * reserved) + 1):
            oldest = len(recent) - maximum + nth
            if oldest >= len(recent):
                break
            if oldest >= 0:
                free = max(free, recent[oldest] + window - nth * spacing)
        return free - at


class MemoryRateLimiter:
    """A rate limiter in memory, for one process: a run inside Actions, and tools."""

    def __init__(self, rates: Rates = UNLIMITED) -> None:
        self._rates = rates
        self._states: dict[int, RateLimitState] = {}
        self._lock = threading.Lock()

    def acquire(self, installation: int, method: str, priority: Priority, now: datetime) -> float:
        """Count that call and return 0, or return the seconds after which to ask again."""
        rates = rates_for(installation, self._rates)
        with self._lock:
            state = self._states.get(installation, RateLimitState())
            wait = state.seconds_until_allowed(rates, method, priority.severity, now)
            if wait:
                return state.seconds_until_recheck(wait, now)
            self._states[installation] = state.record_request(rates, method, now)
            return 0.0

    def record_response(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        """Record the end of that call, and the budget that GitHub reported."""
        rates = rates_for(installation, self._rates)
        with self._lock:
            state = self._states.get(installation, RateLimitState())
            self._states[installation] = state.record_response(rates, method, budget, now)

    def record_limit(self, installation: int, retry_after_seconds: float | None, now: datetime) -> float:
        """Pause the installation, and return for how many seconds."""
        with self._lock:
            state = self._states[installation] = self._states.get(installation, RateLimitState()).record_limit(
                retry_after_seconds, now
            )
        return _seconds_until(state.paused_until, now)


@dataclass
class WaitSlots:
    """Limits how many threads of this process wait in place per installation, so that other work goes on."""

    max_waiting: int = 2
    _waiting: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def try_acquire(self, installation: int) -> bool:
        """Take a slot; return False if none is free.  A slot that was taken has to be released."""
        with self._lock:
            waiting = self._waiting.get(installation, 0)
            if waiting >= self.max_waiting:
                return False
            self._waiting[installation] = waiting + 1
            return True

    def release(self, installation: int) -> None:
        """Give a slot back."""
        with self._lock:
            self._waiting[installation] -= 1
            if not self._waiting[installation]:
                del self._waiting[installation]


def _reserved_part(rates: Rates, method: str, severity: Severity | None) -> float:
    """Return the part of a budget that this call must leave to others."""
    if severity is Severity.SEV1:
        return 0.0
    return rates.reserved / 2 if severity is None and method in READ_METHODS else rates.reserved


def _call_points(method: str) -> int:
    return 1 if method in READ_METHODS else 5


def _add_points(points_by_second: tuple[tuple[int, int], ...], second: int, points: int) -> tuple[tuple[int, int], ...]:
    recent = {one: each for one, each in points_by_second if one + 1 + _MINUTE_SECONDS > second}
    recent[second] = recent.get(second, 0) + points
    return tuple(sorted(recent.items()))


def _seconds_until(until: datetime | None, now: datetime) -> float:
    return max(0.0, (until - now).total_seconds()) if until is not None else 0.0
