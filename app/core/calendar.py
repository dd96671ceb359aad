"""Compute due times from targets and business calendars.

A length of time is elapsed seconds in UTC; a calendar only decides which of those seconds count, and which days are
business days.  Every result is an instant in UTC, so daylight saving moves wall clocks, never deadlines.

A pause is time that a target does not count.  It moves a deadline by as much counted time as it took: by the elapsed
time where every second counts, otherwise by the open time that was lost, so a pause over a closed night costs nothing.

A wall clock time that does not exist (the hour skipped in spring) means the first instant after the gap; one that
exists twice (the hour repeated in autumn) means the first of the two.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from app.core.policy import BUSINESS, TEAM, Calendar, Target

AROUND_THE_CLOCK = Calendar(opens=time(0), closes=time(0), days=frozenset(range(7)))
"""A calendar that is always open: one whose `closes` is not after its `opens` closes on the next day."""

HORIZON_DAYS = 10_000
"""Days that a search looks ahead before it gives up.  The policy reader rejects targets that reach half as far."""

_DAY = timedelta(days=1)
_SECOND = timedelta(seconds=1)
_ZERO = timedelta()


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause in which no time counts, from `since` to `until`."""

    since: datetime
    until: datetime


def due_time(
    start: datetime, target: Target, calendars: Mapping[str, Calendar], pauses: tuple[Pause, ...] = ()
) -> datetime:
    """Return the instant at which `target`, counted from `start`, is due, moved by the `pauses` since `start`.

    Without a calendar every second counts.  With one, only open hours count, and "at once" is the next opening.
    Business days lead to the same time of the working day that many business days later; a start outside hours counts
    from the next opening.  Raises ValueError for a calendar that does not open often enough to ever get there.
    """
    start, within = _to_utc(start), target.within
    calendar = calendar_for(target, calendars)
    if calendar is None:
        end = start + within.as_timedelta
    elif within.business_days:
        end = _add_business_days(start, within.business_days, calendar)
    else:
        end = _add_open_hours(start, within.as_timedelta, calendar)
    paused = paused_time(pauses, start, calendar) if pauses else _ZERO
    return add_counted_time(end, paused, calendar) if paused else end


def add_counted_time(at: datetime, by: timedelta, calendar: Calendar | None) -> datetime:
    """Return the instant at which `by` more counted time has passed; without a calendar every second counts."""
    return _to_utc(at) + by if calendar is None else _add_open_hours(_to_utc(at), by, calendar)


def counted_time_between(a: datetime, b: datetime, calendar: Calendar | None) -> timedelta:
    """Return the counted time from `a` to `b`; zero when `b` is not after `a`."""
    return max(b - a, _ZERO) if calendar is None else open_time_between(calendar, a, b)


def paused_time(pauses: Iterable[Pause], start: datetime, calendar: Calendar | None = None) -> timedelta:
    """Return the counted time in the pauses since `start`; where pauses overlap, it counts once."""
    total, last = _ZERO, start
    for rest in sorted(pauses, key=lambda rest: rest.since):
        total += counted_time_between(max(rest.since, last), rest.until, calendar)
        last = max(last, rest.until)
    return total


def calendar_for(target: Target, calendars: Mapping[str, Calendar]) -> Calendar | None:
    """Return the calendar that a target is measured in, or None where every hour counts."""
    if target.calendar is None and not target.within.business_days:
        return None
    name = target.calendar or TEAM
    return calendars[BUSINESS] if name == TEAM and TEAM not in calendars else calendars[name]


def next_opening(calendar: Calendar, at: datetime) -> datetime:
    """Return `at` itself when the calendar is open then, otherwise the instant at which it next opens."""
    at = _to_utc(at)
    _, opens, _ = next(_openings(calendar, at))
    return max(at, opens)


def open_time_between(calendar: Calendar, a: datetime, b: datetime) -> timedelta:
    """Return how much of the time from `a` to `b` the calendar is open; zero when `b` is not after `a`."""
    a, b = _to_utc(a), _to_utc(b)
    total = _ZERO
    if a < b:
        day, last = _first_day(calendar, a), b.astimezone(ZoneInfo(calendar.zone)).date()
        while day <= last:
            window = _opening_hours(calendar, day)
            if window is not None:
                total += max(_ZERO, min(b, window[1]) - max(a, window[0]))
            day += _DAY
    return total


@lru_cache(maxsize=4096)
def _add_open_hours(start: datetime, amount: timedelta, calendar: Calendar) -> datetime:
    for _, opens, closes in _openings(calendar, start):
        begin = max(start, opens)
        if begin + amount <= closes:
            return begin + amount
        amount -= closes - begin
    raise AssertionError("openings end with ValueError, never quietly")


@lru_cache(maxsize=4096)
def _add_business_days(start: datetime, days: int, calendar: Calendar) -> datetime:
    openings = _openings(calendar, start)
    first, opens, _ = next(openings)
    time_of_day = _utc_to_wall(max(start, opens), calendar.zone) - datetime.combine(first, time())
    for _ in range(days - 1):
        next(openings)
    day, opens, closes = next(openings)
    moment = wall_to_utc(datetime.combine(day, time()) + time_of_day, calendar.zone)
    return min(max(moment, opens), closes)


def _openings(calendar: Calendar, at: datetime) -> Iterator[tuple[date, datetime, datetime]]:
    """Yield the working days that are not over at `at`, each with the instants at which it opens and closes."""
    day = _first_day(calendar, at)
    for _ in range(HORIZON_DAYS):
        window = _opening_hours(calendar, day)
        if window is not None and at < window[1]:
            yield day, *window
        day += _DAY
    raise ValueError(f"the calendar does not open often enough in the {HORIZON_DAYS} days after {at:%Y-%m-%d}")


def _first_day(calendar: Calendar, at: datetime) -> date:
    """Return the first day whose hours can reach `at`: yesterday, since its hours may end after midnight."""
    return at.astimezone(ZoneInfo(calendar.zone)).date() - _DAY


@lru_cache(maxsize=16384)
def _opening_hours(calendar: Calendar, day: date) -> tuple[datetime, datetime] | None:
    """Return when the calendar opens and closes on that day.

    None on a day off, and on a day whose hours daylight saving skips entirely.
    """
    if not _is_working_day(calendar, day):
        return None
    last = day if calendar.opens < calendar.closes else day + _DAY
    opens = wall_to_utc(datetime.combine(day, calendar.opens), calendar.zone)
    closes = wall_to_utc(datetime.combine(last, calendar.closes), calendar.zone)
    return (opens, closes) if opens < closes else None


def _is_working_day(calendar: Calendar, day: date) -> bool:
    if day in calendar.workdays:
        return True
    if day.weekday() not in calendar.days or day in calendar.holidays:
        return False
    return not calendar.country or day not in _public_holidays(calendar.country, calendar.region, day.year)


@lru_cache(maxsize=512)
def _public_holidays(country: str, region: str, year: int) -> frozenset[date]:
    """Return the public holidays of that year, with the days off that replace those on a weekend."""
    # Imported lazily: most policies name no country, and it is slow to load.
    from holidays import country_holidays  # noqa: PLC0415

    return frozenset(country_holidays(country, subdiv=region or None, years=year))


@lru_cache(maxsize=8192)
def wall_to_utc(wall: datetime, zone: str) -> datetime:
    """Convert wall clock time in `zone` to UTC: the first instant that shows `wall`, or has just skipped it."""
    tz = ZoneInfo(zone)
    instant = wall.replace(tzinfo=tz, fold=0).astimezone(UTC)
    if instant.astimezone(tz).replace(tzinfo=None) == wall:
        return instant
    return _find_offset_change(wall.replace(tzinfo=tz, fold=1).astimezone(UTC), instant, tz)


def _utc_to_wall(instant: datetime, zone: str) -> datetime:
    """Convert an instant to the wall clock time of `zone`.

    It stands still while an hour is repeated, so that it never runs backwards.
    """
    tz = ZoneInfo(zone)
    local = instant.astimezone(tz)
    if local.fold:
        first_pass = local.replace(fold=0).astimezone(UTC)
        local = _find_offset_change(first_pass, instant, tz) + _utc_offset(first_pass, tz)
    return local.replace(tzinfo=None, fold=0)


def _find_offset_change(before: datetime, after: datetime, tz: ZoneInfo) -> datetime:
    """Find the instant between the two at which the UTC offset changes; it is on a whole second."""
    old, before, after = _utc_offset(before, tz), before.replace(microsecond=0), after.replace(microsecond=0)
    while (seconds := (after - before) // _SECOND) > 1:
        middle = before + seconds // 2 * _SECOND
        before, after = (middle, after) if _utc_offset(middle, tz) == old else (before, middle)
    return after


def _utc_offset(instant: datetime, tz: ZoneInfo) -> timedelta:
    return instant.astimezone(tz).utcoffset() or _ZERO


def _to_utc(at: datetime) -> datetime:
    if at.tzinfo is UTC:
        return at
    if at.tzinfo is None:
        raise ValueError(f"{at.isoformat()} has no zone")
    return at.astimezone(UTC)
