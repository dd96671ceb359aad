"""Extract the events that occur in a time span from the text of an iCalendar.

The text is reduced first: of a calendar that spans years, the library parses only what can occur in the span,
and of an event only the properties that say when and who.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import icalendar
import recurring_ical_events  # type: ignore[import-untyped]

from app.feeds.ical import FeedFault, Occurrence

_MAX_EVENTS, _MAX_CANDIDATE_EVENTS, _MAX_OCCURRENCES, _MAX_ZONES = 20_000, 1_000, 2_000, 50
"""Limits: events in a feed, events that may occur in the span, occurrences, time zones."""
_MAX_NESTING = 8
_YEARS = range(1980, 2101)
"""The years in which a shift may begin and end."""
_MAX_VALUE_CHARS = 500
"""Length of a value that is read, after its folded lines were joined."""
_MARGIN_PERIOD = timedelta(days=2)
_TIME_PROPERTIES = frozenset({"DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID"})
_READ_PROPERTIES = _TIME_PROPERTIES | {"UID", "SUMMARY", "ATTENDEE", "STATUS", "SEQUENCE"}
_RECURRENCE_PROPERTIES = frozenset({"RRULE", "RDATE", "RECURRENCE-ID", "EXRULE", "DURATION"})
_NAME_PATTERN = re.compile(r"[A-Za-z0-9-]+")
_TOO_FREQUENT_PATTERN = re.compile(r"FREQ\s*=\s*(SECONDLY|MINUTELY)", re.IGNORECASE)
_FREQUENCY_PATTERN = re.compile(r"FREQ\s*=\s*[A-Z]", re.IGNORECASE)
_DATE_PATTERN = re.compile(r"[^:]*:\s*([0-9]{8})")


def find_occurrences(feed: bytes, since: datetime, until: datetime) -> list[Occurrence]:
    """Find the events that occur between the two times, in order.

    Raises FeedFault, and any exception of the library for a malformed feed.
    """
    calendar = icalendar.Calendar.from_ical(_reduce(_decode(feed), since, until))
    for event in calendar.walk("VEVENT"):
        _check_readable(event)
    found = recurring_ical_events.of(calendar).between(since, until)
    if len(found) > _MAX_OCCURRENCES:
        raise FeedFault(
            f"it has {len(found)} shifts in {(until - since).days} days; {_MAX_OCCURRENCES} are read at most"
        )
    shifts = (_to_occurrence(event) for event in found if str(event.get("STATUS", "")).upper() != "CANCELLED")
    return sorted((shift for shift in shifts if shift.since < shift.until), key=lambda one: one.since.isoformat())


def _decode(feed: bytes) -> str:
    """Decode the feed: UTF-8 as the standard requires, else UTF-16 or Windows-1252, as old programs write."""
    for encoding in ("utf-8-sig", "utf-16" if feed[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252"):
        try:
            text = feed.decode(encoding)
        except UnicodeError:
            continue
        return text.replace("\x00", "\ufffd")
    return feed.decode("latin-1").replace("\x00", "\ufffd")


def _reduce(text: str, since: datetime, until: datetime) -> str:
    """Reduce the calendar to its time zones and the events that may occur between the two times."""
    head = ["VERSION:2.0", "PRODID:-//muster//feed//EN"]
    zones: list[str] = []
    events: list[str] = []
    if "BEGIN:VCALENDAR" not in text[: 64 * 1024].upper():
        raise FeedFault("it is no iCalendar, which begins with BEGIN:VCALENDAR")
    if text.upper().count("BEGIN:VEVENT") > _MAX_EVENTS:
        raise FeedFault(f"it has more than {_MAX_EVENTS} events")
    for kind, lines in _split_blocks(text):
        if kind == "VTIMEZONE" and len(zones) < _MAX_ZONES:
            zones.append("\r\n".join(lines))
        elif kind == "VCALENDAR":
            head.extend(line for line in lines if line.upper().startswith("X-WR-TIMEZONE"))
        elif kind == "VEVENT" and _may_occur(lines, since, until):
            events.append("\r\n".join(lines))
    if len(events) > _MAX_CANDIDATE_EVENTS:
        raise FeedFault(
            f"{len(events)} of its events repeat or lie in {(until - since).days} days; "
            f"{_MAX_CANDIDATE_EVENTS} are read"
        )
    return "\r\n".join(("BEGIN:VCALENDAR", *head[:3], *zones, *events, "END:VCALENDAR", ""))


def _split_blocks(text: str) -> Iterator[tuple[str, list[str]]]:
    """Split the text into time zones and events with their relevant lines; all else comes last, as VCALENDAR."""
    plain = text.replace("\r\n", "\n").replace("\r", "\n").replace("\n ", "").replace("\n\t", "")
    inside: list[str] = []
    outside: list[str] = []
    block: list[str] = []
    for line in plain.split("\n"):
        found = _NAME_PATTERN.match(line)
        name = found[0].upper() if found else ""
        if name == "BEGIN":
            inside.append(line[6:].strip().upper())
            if len(inside) > _MAX_NESTING:
                raise FeedFault(f"its parts are nested more than {_MAX_NESTING} deep")
        kind = next((part for part in inside if part in ("VEVENT", "VTIMEZONE")), "")
        if not kind:
            outside.append(line[:_MAX_VALUE_CHARS])
        elif kind == "VTIMEZONE" or (inside[-1] == kind and name in _READ_PROPERTIES | {"BEGIN", "END"}):
            block.append(_shorten_line(name, line))
        if name == "END" and inside and inside.pop() == kind and kind not in inside:
            yield kind, block
            block = []
    yield "VCALENDAR", outside


def _shorten_line(name: str, line: str) -> str:
    """Shorten a line to the length that is read; properties that say when are never cut."""
    if name == "RRULE":
        if often := _TOO_FREQUENT_PATTERN.search(line):
            raise FeedFault(f"an event repeats {often[1].lower()}, which no shift does")
        if not _FREQUENCY_PATTERN.search(line):
            raise FeedFault("an event has no RRULE that can be read")
    return line if name in _TIME_PROPERTIES else line[:_MAX_VALUE_CHARS].rstrip("\\")


def _may_occur(lines: list[str], since: datetime, until: datetime) -> bool:
    """Return whether an event may occur between the two times; in doubt, True."""
    names = {(_NAME_PATTERN.match(line) or [""])[0].upper(): line for line in lines}
    if names.keys() & _RECURRENCE_PROPERTIES or "DTSTART" not in names:
        return True
    begins, ends = _parse_date(names["DTSTART"]), _parse_date(names.get("DTEND", names["DTSTART"]))
    if begins is None or ends is None:
        return True
    return begins <= (until + _MARGIN_PERIOD).date() and ends >= (since - _MARGIN_PERIOD).date()


def _parse_date(line: str) -> date | None:
    found = _DATE_PATTERN.match(line)
    try:
        return datetime.strptime(found[1], "%Y%m%d").date() if found else None  # noqa: DTZ007 -- a day has no zone
    except ValueError:
        return None


def _check_readable(event: Any) -> None:
    """Raise FeedFault where the time of an event cannot be parsed."""
    wrong = sorted({str(name).upper() for name, _ in event.errors if name} & _TIME_PROPERTIES)
    if "DTSTART" not in event:
        wrong = wrong or ["DTSTART"]
    if wrong:
        raise FeedFault(f"an event has no {wrong[0]} that can be read")


def _to_occurrence(event: Any) -> Occurrence:
    since, until = event["DTSTART"].dt, event["DTEND"].dt if "DTEND" in event else event["DTSTART"].dt
    return Occurrence(
        _normalize_time(since), _normalize_time(until), str(event.get("SUMMARY", "")), tuple(_attendee_mails(event))
    )


def _normalize_time(found: date | datetime) -> datetime:
    """Convert a time with a zone to UTC; a date, and a time without a zone, stays a wall clock time.

    A year far off stands for always, or never: it is moved to where arithmetic of calendars is safe.
    """
    if found.year not in _YEARS:
        found = found.replace(year=_YEARS.start if found.year < _YEARS.start else _YEARS.stop - 1, month=1, day=1)
    if not isinstance(found, datetime):
        return datetime.combine(found, time())
    if found.utcoffset() is None:
        return found.replace(tzinfo=None)
    return found.astimezone(UTC)


def _attendee_mails(event: Any) -> Iterator[str]:
    """Iterate over the addresses of attendees who have not declined, at most 20."""
    found = event.get("ATTENDEE", [])
    for one in (found if isinstance(found, list) else [found])[:20]:
        text = str(one)
        if text[:7].lower() == "mailto:" and str(one.params.get("PARTSTAT", "")).upper() != "DECLINED":
            yield text[7:]
