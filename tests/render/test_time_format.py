from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from app.core.policy import Duration, Target
from app.render.time_format import format_duration, format_target, format_time, format_timedelta, pluralize

DAY = date(2026, 3, 14)


def at(month: int, day: int, hour: int, minute: int) -> datetime:
    return datetime(2026, month, day, hour, minute, tzinfo=UTC)


@pytest.mark.parametrize(
    ("when", "zone", "day", "words"),
    [
        (at(3, 14, 9, 15), "Europe/Berlin", DAY, "09:15 UTC (10:15 CET)"),
        (at(7, 14, 9, 15), "Europe/Berlin", date(2026, 7, 14), "09:15 UTC (11:15 CEST)"),
        (at(3, 14, 9, 15), "UTC", DAY, "09:15 UTC"),
        (at(3, 14, 9, 15), "Etc/UTC", DAY, "09:15 UTC"),
        (at(3, 14, 9, 15), "Europe/London", DAY, "09:15 UTC (09:15 GMT)"),
        (at(3, 14, 9, 15), "America/Sao_Paulo", DAY, "09:15 UTC (06:15 UTC-03)"),
        (at(3, 15, 9, 15), "UTC", DAY, "2026-03-15 09:15 UTC"),
        (at(3, 14, 9, 15), "UTC", None, "2026-03-14 09:15 UTC"),
        (at(3, 14, 23, 30), "Europe/Berlin", DAY, "23:30 UTC (2026-03-15 00:30 CET)"),
        (at(3, 14, 1, 0), "America/New_York", DAY, "01:00 UTC (2026-03-13 21:00 EDT)"),
    ],
)
def test_a_moment_carries_its_zone(when: datetime, zone: str, day: date | None, words: str) -> None:
    assert format_time(when, zone, day=day) == words


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(), "under 1 min"),
        (timedelta(seconds=59), "under 1 min"),
        (timedelta(minutes=12, seconds=59), "12 min"),
        (timedelta(minutes=60), "1 h"),
        (timedelta(minutes=65), "1 h 05 min"),
        (timedelta(days=1), "1 d"),
        (timedelta(days=3, hours=4, minutes=59), "3 d 4 h"),
    ],
)
def test_a_span_is_rounded_down(length: timedelta, words: str) -> None:
    assert format_timedelta(length) == words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("15m", "15 min"),
        ("48h", "48 h"),
        ("5d", "5 d"),
        ("1bd", "1 business day"),
        ("5bd", "5 business days"),
        ("0m", "at once"),
    ],
)
def test_a_duration_of_a_policy(text: str, words: str) -> None:
    assert format_duration(Duration.parse(text)) == words


@pytest.mark.parametrize(
    ("text", "calendar", "words"),
    [
        ("4h", None, "4 h"),
        ("4h", "support", "4 h of support hours"),
        ("4h", "business", "4 h of business hours"),
        ("4h", "team", "4 h of the owning team's hours"),
        ("1bd", None, "1 business day"),
        ("2bd", "business", "2 business days"),
        ("2bd", "team", "2 business days of the owning team"),
        ("2bd", "late", "2 business days by late hours"),
    ],
)
def test_a_target_names_its_calendar(text: str, calendar: str | None, words: str) -> None:
    assert format_target(Target(Duration.parse(text), calendar)) == words


def test_one_page_and_two_pages() -> None:
    assert (pluralize(1, "page"), pluralize(2, "page"), pluralize(2, "entry", "entries")) == (
        "1 page",
        "2 pages",
        "2 entries",
    )
