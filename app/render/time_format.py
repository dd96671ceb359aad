"""Format times and durations for people.

No time is written without its zone.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from app.core.policy import BUSINESS, TEAM, Duration, Target


def format_time(at: datetime, zone: str, *, day: date | None = None) -> str:
    """Format a time in UTC and, where it differs, in the team's zone: `09:15 UTC (10:15 CET)`.

    `day` is the UTC day that the reader assumes, so its date is left out.  None: the date is always written.
    """
    utc = at.astimezone(UTC)
    local = at.astimezone(ZoneInfo(zone))
    date_prefix = "" if utc.date() == day else f"{utc:%Y-%m-%d} "
    text = f"{date_prefix}{utc:%H:%M} UTC"
    name = local.tzname() or ""
    if name == "UTC":
        return text
    if not name[:1].isalpha():  # a zone without an abbreviation is named `-03`
        name = f"UTC{name}"
    local_date_prefix = f"{local:%Y-%m-%d} " if local.date() != utc.date() else ""
    return f"{text} ({local_date_prefix}{local:%H:%M} {name})"


def format_utc(at: datetime, *, day: date | None = None) -> str:
    """Format a time in UTC only: `09:15 UTC`, with its date unless that is `day`."""
    return format_time(at, "UTC", day=day)


def format_timedelta(length: timedelta) -> str:
    """Format a timedelta in its two largest units, rounded down: `12 min`, `1 h 05 min`, `3 d 4 h`."""
    minutes = int(length.total_seconds()) // 60
    if minutes < 1:
        return "under 1 min"
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h" if hours else f"{days} d"
    if hours:
        return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
    return f"{minutes} min"


def format_duration(duration: Duration) -> str:
    """Format a duration of a policy: `15 min`, `48 h`, `2 business days`, `at once`."""
    if duration.business_days:
        return f"{duration.business_days} business day" + ("s" if duration.business_days > 1 else "")
    hours, rest = divmod(duration.seconds, 3600)
    if 24 < hours <= 72 and not rest:  # postmortem deadlines are commonly written as 48 h and 72 h
        return f"{hours} h"
    return "at once" if duration.is_immediate else format_timedelta(duration.as_timedelta)


def format_target(sla_target: Target) -> str:
    """Format an SLA target: `4 h`, or `4 h of support hours` where a calendar says which hours or days count."""
    text, name, days = format_duration(sla_target.within), sla_target.calendar, sla_target.within.business_days
    if name is None or (days and name == BUSINESS):
        return text
    if name == TEAM:
        return f"{text} of the owning team" if days else f"{text} of the owning team's hours"
    return f"{text} by {name} hours" if days else f"{text} of {name} hours"


def pluralize(number: int, singular: str, plural: str = "") -> str:
    """Format a number with its noun: `1 page`, `3 pages`.

    `plural` is needed only where it is not `singular` with an `s`.
    """
    return f"{number} {singular}" if number == 1 else f"{number} {plural or singular + 's'}"
