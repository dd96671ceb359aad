"""Noise limits: ceilings that hold in every window, and budgets that do not take each other's place."""

from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from app.core.noise_limits import (
    DAY,
    HOUR,
    CommentBudget,
    PostedComment,
    UnconfirmedReport,
    comment_budget_of_keys,
    next_comment_at,
    next_label_write_at,
    next_notification_at,
)

NOW = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)
MINUTES = timedelta(minutes=1)


def accepted_times(
    interval: timedelta, length: timedelta, budget: CommentBudget, *, repeats: bool = False
) -> list[datetime]:
    """Return when comments are accepted if one is wanted every `interval` during `length`."""
    posted: list[PostedComment] = []
    at = NOW
    while at < NOW + length:
        if next_comment_at(posted, at, budget, repeats=repeats) <= at:
            posted.append(PostedComment(at, budget))
        at += interval
    return [each.at for each in posted]


def max_in_window(times: list[datetime], span: timedelta) -> int:
    return max(sum(start <= time < start + span for time in times) for start in times)


@pytest.mark.parametrize(
    ("budget", "repeats", "hour", "day"),
    [
        (CommentBudget.ORDINARY, False, 10, 30),
        (CommentBudget.URGENT, False, 10, 240),
        (CommentBudget.URGENT, True, 9, 216),
        (CommentBudget.OUTSIDERS, False, 3, 6),
    ],
)
def test_c5_no_window_holds_more_than_the_ceiling(budget: CommentBudget, repeats: bool, hour: int, day: int) -> None:
    times = accepted_times(timedelta(seconds=48), timedelta(days=2), budget, repeats=repeats)
    assert max_in_window(times, HOUR) == hour
    assert max_in_window(times, DAY) == day


def test_fc_m3_pages_and_reminders_go_on_every_hour_of_the_day() -> None:
    """FC-M3: no spacing after twelve comments; only the last places of an hour wait for the next one."""
    times = accepted_times(5 * MINUTES, DAY, CommentBudget.URGENT, repeats=True)
    assert max(later - time for time, later in pairwise(times)) <= 20 * MINUTES
    assert NOW + DAY - times[-1] <= 20 * MINUTES


def test_c5_an_escalation_gets_through_where_a_page_does_not() -> None:
    full = [PostedComment(NOW + n * 5 * MINUTES, CommentBudget.URGENT) for n in range(9)]
    at = NOW + 45 * MINUTES
    assert next_comment_at(full, at, CommentBudget.URGENT, repeats=True) > at
    assert next_comment_at(full, at, CommentBudget.URGENT) == at
    full.append(PostedComment(at, CommentBudget.URGENT))
    assert next_comment_at(full, at + MINUTES, CommentBudget.URGENT) == NOW + HOUR


def test_fc_s2_no_budget_takes_the_place_of_another() -> None:
    """FC-S2: answers to outsiders and ordinary comments never cost an escalation its place, nor each other theirs."""
    chance = random.Random(7)
    budgets = list(CommentBudget)
    for full in budgets:
        posted = [PostedComment(NOW - chance.randrange(3600) * timedelta(seconds=1), full) for _ in range(400)]
        assert next_comment_at(posted, NOW, full) > NOW
        assert all(next_comment_at(posted, NOW, other) == NOW for other in budgets if other is not full)


@pytest.mark.parametrize(
    ("keys", "budget"),
    [
        (["board"], CommentBudget.URGENT),
        (["escalate/page0.2@2026-03-14T09:00:00Z", "announce/sev1"], CommentBudget.URGENT),
        (["raised/comment/7"], CommentBudget.URGENT),
        (["update/breach@2026-03-14T09:15:00Z"], CommentBudget.URGENT),
        (["reply/rights/mallory"], CommentBudget.OUTSIDERS),
        (["reply/comment/7"], CommentBudget.ORDINARY),
        (["announce/sev1"], CommentBudget.ORDINARY),
        (["a key of another release"], CommentBudget.ORDINARY),
        ([], CommentBudget.ORDINARY),
    ],
)
def test_fc_s2_a_marker_tells_which_budget_its_comment_used(keys: list[str], budget: CommentBudget) -> None:
    assert comment_budget_of_keys(keys) is budget


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
            0,
            id="a repeat is not held back by another report (FC-M2)",
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
