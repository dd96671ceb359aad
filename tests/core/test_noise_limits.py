"""Noise limits: ceilings that hold in every window, and the share that is reserved for urgent comments."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.core.noise_limits import (
    DAY,
    HOUR,
    UnconfirmedReport,
    next_comment_at,
    next_label_write_at,
    next_notification_at,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


def accepted_times(interval: timedelta, length: timedelta, *, urgent: bool = False) -> list[datetime]:
    """Return when comments are accepted if one is wanted every `interval` during `length`."""
    times: list[datetime] = []
    at = NOW
    while at < NOW + length:
        if next_comment_at([time for time in times if time > at - DAY], at, urgent=urgent) <= at:
            times.append(at)
        at += interval
    return times


def max_in_window(times: list[datetime], span: timedelta) -> int:
    return max(sum(start <= time < start + span for time in times) for start in times)


@pytest.mark.parametrize(("presses", "hour", "day"), [(False, 9, 27), (True, 10, 30)])
def test_c5_no_window_holds_more_than_the_ceiling(presses: bool, hour: int, day: int) -> None:
    times = accepted_times(timedelta(seconds=48), timedelta(days=2), urgent=presses)
    assert max_in_window(times, HOUR) == hour
    assert max_in_window(times, DAY) == day


def test_c5_whoever_pages_every_five_minutes_is_heard_the_whole_day() -> None:
    times = accepted_times(5 * MINUTES, DAY)
    assert [time - NOW for time in times[:9]] == [n * 5 * MINUTES for n in range(9)]
    assert max(later - time for time, later in pairwise(times)) <= 95 * MINUTES
    assert NOW + DAY - times[-1] <= 95 * MINUTES


def test_c5_an_escalation_gets_through_where_a_page_does_not() -> None:
    full = accepted_times(5 * MINUTES, 45 * MINUTES)
    at = NOW + 45 * MINUTES
    assert next_comment_at(full, at, urgent=False) > at
    assert next_comment_at(full, at, urgent=True) == at
    assert next_comment_at([*full, at], at + MINUTES, urgent=True) == NOW + HOUR


def test_c5_pressing_and_ordinary_ones_together_stay_below_the_ceiling() -> None:
    chance, times, at = random.Random(7), [], NOW
    for _ in range(4000):
        at += timedelta(seconds=chance.randrange(1, 90))
        if next_comment_at([time for time in times if time > at - DAY], at, urgent=chance.random() < 0.3) <= at:
            times.append(at)
    assert max_in_window(times, HOUR) <= 10
    assert max_in_window(times, DAY) <= 30


def test_m29_the_same_labels_are_put_back_six_times_a_minute() -> None:
    times = [NOW + timedelta(seconds=n) for n in range(6)]
    assert next_label_write_at(times[:5], times[5]) == times[5]
    assert next_label_write_at(times, NOW + timedelta(seconds=6)) == NOW + MINUTES


@pytest.mark.parametrize(
    ("number", "login", "recent", "minutes"),
    [
        pytest.param(1, "mallory", [], 0, id="alone"),
        pytest.param(1, "mallory", [UnconfirmedReport(1, "mallory", NOW)], 0, id="alone and again"),
        pytest.param(
            2, "mallory", [UnconfirmedReport(1, "mallory", NOW - 3 * MINUTES)], 7, id="a second of one author"
        ),
        pytest.param(
            1,
            "mallory",
            [UnconfirmedReport(1, "mallory", NOW - 3 * MINUTES), UnconfirmedReport(2, "mallory")],
            7,
            id="a repeat",
        ),
        pytest.param(2, "grace", [UnconfirmedReport(1, "mallory", NOW)], 0, id="another author"),
        pytest.param(3, "eve", [UnconfirmedReport(n, f"u{n}", NOW) for n in range(2)], 0, id="the third"),
        pytest.param(
            9, "eve", [UnconfirmedReport(n, f"u{n}", NOW - n * MINUTES) for n in range(3)], 8, id="the fourth"
        ),
        pytest.param(
            9,
            "eve",
            [UnconfirmedReport(n, f"u{n}", NOW - n * MINUTES) for n in range(2)] + [UnconfirmedReport(7, "x")],
            0,
            id="room left",
        ),
    ],
)
def test_m30_who_may_notify_people(number: int, login: str, recent: list[UnconfirmedReport], minutes: int) -> None:
    assert next_notification_at(number, login, recent, NOW) == NOW + minutes * MINUTES
