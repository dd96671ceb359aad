"""The weeks, months, quarters and years that reports cover, in local time of a zone."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Literal, get_args
from zoneinfo import ZoneInfo

from app.core.calendar import wall_to_utc

PeriodKind = Literal["week", "month", "quarter", "year"]
PERIOD_KINDS: tuple[PeriodKind, ...] = get_args(PeriodKind)

_DAY = timedelta(days=1)
_MONTHS: dict[PeriodKind, int] = {"month": 1, "quarter": 3, "year": 12}


@dataclass(frozen=True, slots=True)
class Period:
    """The days from `first` to `last` in `zone`; weeks begin on Monday.

    `name` sorts: `2026-W11`, `2026-03`, `2026-Q1`, `2026`.
    """

    kind: PeriodKind
    name: str
    first: date
    last: date
    zone: str

    @property
    def start(self) -> datetime:
        """The instant at which the period begins, UTC."""
        return wall_to_utc(datetime.combine(self.first, time()), self.zone)

    @property
    def end(self) -> datetime:
        """The instant at which the next period begins, UTC."""
        return wall_to_utc(datetime.combine(self.last + _DAY, time()), self.zone)


def period_containing(kind: PeriodKind, day: date, zone: str) -> Period:
    """Return the period that contains `day`.  Raises ValueError for a day at the very ends of the calendar."""
    try:
        if kind == "week":
            first = day - timedelta(days=day.weekday())
            year, week, _ = day.isocalendar()
            return _check_bounds(Period(kind, f"{year}-W{week:02}", first, first + 6 * _DAY, zone))
        months = _MONTHS[kind]
        first = date(day.year, (day.month - 1) // months * months + 1, 1)
        # 31 days after the first of a month are in the next one, and 62 in the one after it.
        following = first
        for _ in range(months):
            following = (following + 31 * _DAY).replace(day=1)
        number = (first.month - 1) // months + 1
        name = {"month": f"{day.year}-{number:02}", "quarter": f"{day.year}-Q{number}", "year": f"{day.year}"}[kind]
        return _check_bounds(Period(kind, name, first, following - _DAY, zone))
    except OverflowError:
        raise ValueError(f"{day} is not in a {kind} that the calendar holds") from None


def previous_period(kind: PeriodKind, now: datetime, zone: str) -> Period:
    """Return the last period that was over at `now`."""
    current = period_containing(kind, now.astimezone(ZoneInfo(zone)).date(), zone)
    return period_containing(kind, current.first - _DAY, zone)


def _check_bounds(period: Period) -> Period:
    """Return the period if its ends are representable instants.  Raises OverflowError."""
    assert period.start < period.end
    return period
