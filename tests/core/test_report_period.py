"""Report periods: whole days in a time zone, by default the last period that is complete."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.report_period import PERIOD_KINDS, PeriodKind, period_containing, previous_period

DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@pytest.mark.parametrize(
    ("kind", "day", "name", "first", "last"),
    [
        ("week", "2026-03-14", "2026-W11", "2026-03-09", "2026-03-15"),
        ("week", "2026-03-09", "2026-W11", "2026-03-09", "2026-03-15"),
        ("week", "2027-01-01", "2026-W53", "2026-12-28", "2027-01-03"),
        ("month", "2024-02-29", "2024-02", "2024-02-01", "2024-02-29"),
        ("month", "2026-12-31", "2026-12", "2026-12-01", "2026-12-31"),
        ("quarter", "2026-03-14", "2026-Q1", "2026-01-01", "2026-03-31"),
        ("quarter", "2026-11-30", "2026-Q4", "2026-10-01", "2026-12-31"),
        ("year", "2026-03-14", "2026", "2026-01-01", "2026-12-31"),
    ],
)
def test_a_day_is_in_one_of_each_kind(kind: PeriodKind, day: str, name: str, first: str, last: str) -> None:
    found = period_containing(kind, date.fromisoformat(day), "UTC")
    assert (found.name, f"{found.first}", f"{found.last}") == (name, first, last)


@pytest.mark.parametrize(("kind", "name"), [("week", "2025-W52"), ("month", "2025-12"), ("quarter", "2025-Q4")])
def test_without_a_day_it_is_the_last_one_that_is_over(kind: PeriodKind, name: str) -> None:
    assert previous_period(kind, datetime(2026, 1, 1, 0, 30, tzinfo=UTC), "UTC").name == name


def test_which_day_it_is_now_the_zone_tells() -> None:
    now = datetime(2026, 3, 1, 4, 30, tzinfo=UTC)
    assert [previous_period("month", now, zone).name for zone in ("UTC", "America/New_York")] == ["2026-02", "2026-01"]


def test_it_begins_at_midnight_there_also_when_the_clocks_change() -> None:
    week = period_containing("week", date(2026, 3, 29), "Europe/Berlin")
    assert (week.start, week.end) == (
        datetime(2026, 3, 22, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    )


@given(kind=st.sampled_from(PERIOD_KINDS), day=DAYS, zone=st.sampled_from(["UTC", "Asia/Tokyo", "America/Sao_Paulo"]))
def test_they_follow_each_other_without_a_gap(kind: PeriodKind, day: date, zone: str) -> None:
    found = period_containing(kind, day, zone)
    assert found.first <= day <= found.last
    following = period_containing(kind, found.last + timedelta(days=1), zone)
    assert (found.end, found.name < following.name) == (following.start, True)
    assert previous_period(kind, following.start, zone) == found


@pytest.mark.parametrize("day", [date.min, date.max])
@pytest.mark.parametrize("kind", PERIOD_KINDS)
def test_the_ends_of_the_calendar_are_told(kind: PeriodKind, day: date) -> None:
    with pytest.raises(ValueError, match="that the calendar holds"):
        period_containing(kind, day, "Asia/Tokyo" if day == date.min else "America/New_York")
