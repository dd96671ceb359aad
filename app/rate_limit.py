"""How fast GitHub may be asked: its published limits, and a ledger of what one installation has asked for.

The law of this file: it is arithmetic.  Who keeps the ledger, and for whom, is said elsewhere.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.core.severity import Severity

READS = frozenset({"GET", "HEAD", "OPTIONS"})
_CREATES = frozenset({"POST", "PUT"})
"""What counts as creating content: GitHub names no list, so every one of these does."""
_MINUTE, _HOUR = 60.0, 3600.0
_MILLISECOND = 0.001
_UNDER_WAY = 20.0
"""Seconds after which a write of which nobody has heard since is over: its process died.  No call takes so long."""
_LOOK_AGAIN = 60.0
"""Seconds after which somebody who is held back asks again: his incident may be a sev1 by then."""
_QUIET = 60.0
"""Seconds of quiet where GitHub does not say how long; each time it happens again within an hour, twice as long."""
_LONGEST_QUIET = 3600.0
_SANEST_QUIET = 86400.0
"""No limit of GitHub's lasts longer, so whatever asks for more is not believed."""


@dataclass(frozen=True, slots=True)
class Rates:
    """What one caller may do, as GitHub publishes it.  `spacing` is in seconds between writes; None: no such limit.

    `kept` is the part of each budget that only a sev1 may use.  Reads for nobody's incident yet, such as who may command,
    may use half of it.
    """

    spacing: float = 1.0
    points_per_minute: int | None = 900
    creations_per_minute: int | None = 80
    creations_per_hour: int | None = 500
    kept: float = 0.2


GITHUB = Rates()
FREE = Rates(spacing=0.0, points_per_minute=None, creations_per_minute=None, creations_per_hour=None)
"""Where nobody counts: a GitHub Enterprise Server without limits, a pretend GitHub.  Quiet is kept all the same."""
ITSELF = -1
"""Who asks as the App itself, where others are the id of an installation."""
APP = Rates(spacing=0.0, creations_per_minute=None, creations_per_hour=2000)
"""The App itself, whose only writes are its requests for tokens."""


def rates_of(installation: int, rates: Rates) -> Rates:
    """Those of that installation, or of the App itself."""
    return APP if installation == ITSELF and rates != FREE else rates


@dataclass(frozen=True, slots=True)
class Urgency:
    """How urgent a call is.  `severity` is that of the incident it is for; None: of no incident (yet).

    `shows`: it says nothing to anybody, but shows how things are, and goes after what is said for incidents as severe.
    """

    severity: Severity | None = None
    shows: bool = False


@dataclass(frozen=True, slots=True)
class Budget:
    """The hourly budget as GitHub's own headers tell it."""

    limit: int
    left: int
    reset: datetime


@dataclass(frozen=True, slots=True)
class Ledger:
    """What one installation has asked for, and what GitHub has told it.

    `wrote_at` is when the last write ended; while one is under way, when it would be given up, which lies ahead.
    `created` are the times of the last hour, as seconds since 1970; `spent` the points of each second of the last minute.
    `quiet_until` is what GitHub asked for, `strikes` how often in a row without saying how long; `held_until` is when
    somebody who was told to wait for long may expect his turn.
    """

    wrote_at: datetime | None = None
    created: tuple[float, ...] = ()
    spent: tuple[tuple[int, int], ...] = ()
    quiet_until: datetime | None = None
    strikes: int = 0
    held_until: datetime | None = None
    budget: Budget | None = None

    def wait(self, rates: Rates, method: str, severity: Severity | None, now: datetime) -> float:
        """Seconds until that call may be made, as far as anybody knows; 0: now."""
        waits = [
            _left(self.quiet_until, now),
            self._for_budget(_kept(rates, method, severity), now),
            self._for_points(rates, method, severity, now),
        ]
        if method not in READS:
            waits.append(self._for_spacing(rates, now))
        if method in _CREATES:
            kept = _kept(rates, method, severity)
            waits.append(self._for_creations(rates.creations_per_minute, _MINUTE, rates.spacing, kept, now))
            waits.append(self._for_creations(rates.creations_per_hour, _HOUR, rates.spacing, kept, now))
        longest = max(waits)
        return max(longest, _MILLISECOND) if longest > 0 else 0.0

    def asks_again(self, wait: float, now: datetime) -> float:
        """Seconds after which it is worth asking again: quiet is kept to the end, other turns may come sooner."""
        return max(_left(self.quiet_until, now), min(wait, _LOOK_AGAIN))

    def charged(self, rates: Rates, method: str, now: datetime) -> Ledger:
        """With that call written down.  A spaced write is under way until it has `ended`."""
        at = now.timestamp()
        new = self
        if rates.points_per_minute is not None:
            new = replace(new, spent=_spend(self.spent, int(at), _points(method)))
        if self.budget is not None:
            new = replace(new, budget=replace(self.budget, left=max(0, self.budget.left - 1)))
        if method not in READS:
            new = replace(new, wrote_at=now + timedelta(seconds=_UNDER_WAY) if rates.spacing else now)
        if method in _CREATES and rates.creations_per_hour is not None:
            new = replace(new, created=(*(one for one in self.created if one > at - _HOUR), at))
        return new

    def held(self, wait: float, now: datetime) -> Ledger:
        """With somebody who was told to wait so long."""
        return replace(self, held_until=now + timedelta(seconds=wait))

    def limited(self, told: float | None, now: datetime) -> Ledger:
        """With quiet for as long as GitHub asked, None: it did not say."""
        strikes = 0
        if told is None:
            again = self.quiet_until is not None and (now - self.quiet_until).total_seconds() < _HOUR
            strikes = self.strikes + 1 if again else 1
            told = min(_LONGEST_QUIET, _QUIET * 2.0 ** (strikes - 1))
        until = now + timedelta(seconds=min(told, _SANEST_QUIET))
        if self.quiet_until is not None and self.quiet_until > until:
            until = self.quiet_until  # another call was told to wait for longer
        return replace(self, quiet_until=until, strikes=strikes or self.strikes)

    def ended(self, rates: Rates, method: str, budget: Budget | None, now: datetime) -> Ledger:
        """With the end of that call.  A write counts from its answer: on the way there it may have taken its time."""
        new = replace(self, budget=budget or self.budget)
        if method in READS or not rates.spacing:
            return new
        if method in _CREATES and new.created:
            new = replace(new, created=(*new.created[:-1], max(new.created[-1], now.timestamp())))
        return replace(new, wrote_at=now)

    def _for_spacing(self, rates: Rates, now: datetime) -> float:
        """One write at a time, and the next one a while after its end."""
        if self.wrote_at is None or not rates.spacing:
            return 0.0
        since = (now - self.wrote_at).total_seconds()
        if since >= 0:
            return rates.spacing - since
        # Under way, begun or ended after `now` was read: whoever has to wait for the ledger has read it a while ago.  Further
        # ahead than that, the clock was set back, and nobody waits for it.
        return rates.spacing if since >= -2 * _UNDER_WAY else 0.0

    def _for_points(self, rates: Rates, method: str, severity: Severity | None, now: datetime) -> float:
        if rates.points_per_minute is None:
            return 0.0
        most = rates.points_per_minute * (1 - _kept(rates, method, severity))
        at = now.timestamp()
        lasting = [(second, points) for second, points in self.spent if second + 1 + _MINUTE > at]
        over = sum(points for _, points in lasting) + _points(method) - most
        for second, points in lasting:
            if over <= 0:
                break
            over -= points
            at = second + 1 + _MINUTE
        return at - now.timestamp()

    def _for_budget(self, kept: float, now: datetime) -> float:
        budget = self.budget
        if budget is None or budget.left - 1 >= budget.limit * kept:
            return 0.0
        return _left(budget.reset, now)

    def _for_creations(self, most: int | None, window: float, spacing: float, kept: float, now: datetime) -> float:
        """Until a burst of sev1 that begins right after this one would still find its part of that window.

        The burst's nth write comes `n * spacing` later, and by then older writes have left the window.
        """
        if most is None:
            return 0.0
        at = now.timestamp()
        recent = [one for one in self.created if one > at - window]
        free = at
        for nth in range(int(most * kept) + 1):
            oldest = len(recent) - most + nth
            if oldest >= len(recent):
                break
            if oldest >= 0:
                free = max(free, recent[oldest] + window - nth * spacing)
        return free - at


class MemoryPace:
    """The pace of one process, forgotten when it ends: for a run inside Actions, and for tools."""

    def __init__(self, rates: Rates = FREE) -> None:
        self._rates = rates
        self._ledgers: dict[int, Ledger] = {}
        self._lock = threading.Lock()

    def ask(self, installation: int, method: str, urgency: Urgency, now: datetime) -> float:
        rates = rates_of(installation, self._rates)
        with self._lock:
            ledger = self._ledgers.get(installation, Ledger())
            wait = ledger.wait(rates, method, urgency.severity, now)
            if wait:
                return ledger.asks_again(wait, now)
            self._ledgers[installation] = ledger.charged(rates, method, now)
            return 0.0

    def ended(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        rates = rates_of(installation, self._rates)
        with self._lock:
            ledger = self._ledgers.get(installation, Ledger())
            self._ledgers[installation] = ledger.ended(rates, method, budget, now)

    def limited(self, installation: int, told: float | None, now: datetime) -> float:
        with self._lock:
            ledger = self._ledgers[installation] = self._ledgers.get(installation, Ledger()).limited(told, now)
        return _left(ledger.quiet_until, now)


@dataclass
class Line:
    """Who of this process waits in place for an installation: so few that nobody else's work is held up by it."""

    most: int = 2
    _there: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self, installation: int) -> bool:
        """Whether there was room; whoever got in has to leave."""
        with self._lock:
            there = self._there.get(installation, 0)
            if there >= self.most:
                return False
            self._there[installation] = there + 1
            return True

    def leave(self, installation: int) -> None:
        with self._lock:
            self._there[installation] -= 1
            if not self._there[installation]:
                del self._there[installation]


def _kept(rates: Rates, method: str, severity: Severity | None) -> float:
    """The part of a budget that this call must leave alone."""
    if severity is Severity.SEV1:
        return 0.0
    return rates.kept / 2 if severity is None and method in READS else rates.kept


def _points(method: str) -> int:
    return 1 if method in READS else 5


def _spend(spent: tuple[tuple[int, int], ...], second: int, points: int) -> tuple[tuple[int, int], ...]:
    lasting = {one: each for one, each in spent if one + 1 + _MINUTE > second}
    lasting[second] = lasting.get(second, 0) + points
    return tuple(sorted(lasting.items()))


def _left(until: datetime | None, now: datetime) -> float:
    return max(0.0, (until - now).total_seconds()) if until is not None else 0.0
