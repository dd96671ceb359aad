"""The arithmetic of GitHub's rate limits, second by second."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.severity import Severity
from app.rate_limit import GITHUB_RATES, UNLIMITED, Budget, MemoryRateLimiter, RateLimitState, Rates

NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)
SEV1, SEV2 = Severity.SEV1, Severity.SEV2
UNSPACED_RATES = Rates(spacing=0.0)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def state_after_calls(
    calls: int, method: str = "POST", rates: Rates = UNSPACED_RATES, interval_seconds: float = 0.0
) -> RateLimitState:
    """Return the state after that many calls, one every `interval_seconds` from NOW on."""
    state = RateLimitState()
    for nth in range(calls):
        state = with_call(state, rates, method, after(nth * interval_seconds))
    return state


def with_call(state: RateLimitState, rates: Rates, method: str, at: datetime) -> RateLimitState:
    """Return the state after one more call that was answered at once."""
    return state.record_request(rates, method, at).record_response(rates, method, None, at)


def test_writes_are_a_second_apart_and_reads_are_not() -> None:
    state = state_after_calls(1, rates=GITHUB_RATES)
    assert state.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(0.25)) == 0.75
    assert state.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1)) == 0
    assert state.seconds_until_allowed(GITHUB_RATES, "GET", SEV2, after(0)) == 0


def test_a_write_counts_from_its_answer() -> None:
    requested = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    state = requested.record_response(GITHUB_RATES, "POST", Budget(5000, 4000, after(600)), after(0.5))
    assert state.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1)) == 0.5
    after_read = state.record_response(GITHUB_RATES, "GET", Budget(5000, 3999, after(600)), after(0.9))
    assert after_read.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1.5)) == 0
    assert state.creation_times == (after(0.5).timestamp(),), "and so does what it created"


def test_one_write_is_under_way_at_a_time_until_it_must_have_died() -> None:
    """No write overtakes another, however slow GitHub is; a killed process's write delays others only briefly."""
    state = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    waits = [
        state.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(seconds))
        for seconds in (0, 0.5, 5, 19, 20.25, 21)
    ]
    assert waits == [1, 1, 1, 1, 0.75, 0]
    assert state.seconds_until_allowed(GITHUB_RATES, "GET", SEV2, after(1)) == 0, "reads go on"


def test_a_moment_that_was_read_before_the_last_write_ended_is_no_clock_set_back() -> None:
    """Two callers ask; one has to wait for the state, so the time it read before is past when its turn comes."""
    state = state_after_calls(1, rates=GITHUB_RATES, interval_seconds=0)
    assert state.seconds_until_allowed(GITHUB_RATES, "POST", SEV1, after(-0.01)) == 1


def test_a_moment_that_was_read_before_the_last_write_began_is_no_clock_set_back() -> None:
    state = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    assert state.seconds_until_allowed(GITHUB_RATES, "POST", Severity.SEV2, NOW - timedelta(milliseconds=5)) > 0


def test_a_clock_that_was_set_back_holds_nobody_up() -> None:
    assert (
        state_after_calls(1, rates=GITHUB_RATES).seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(-7200)) == 0
    )


@pytest.mark.parametrize(("severity", "most"), [(SEV1, 80), (SEV2, 64), (None, 64)])
def test_creations_of_a_minute_keep_a_part_for_sev1(severity: Severity | None, most: int) -> None:
    assert state_after_calls(most - 1).seconds_until_allowed(UNSPACED_RATES, "POST", severity, after(30)) == 0
    assert state_after_calls(most).seconds_until_allowed(UNSPACED_RATES, "POST", severity, after(30)) == 30
    assert state_after_calls(most).seconds_until_allowed(UNSPACED_RATES, "PATCH", severity, after(30)) == 0, (
        "an edit creates nothing"
    )


@pytest.mark.parametrize(("severity", "most"), [(SEV1, 500), (SEV2, 400)])
def test_creations_of_an_hour_keep_a_part_for_sev1(severity: Severity, most: int) -> None:
    rates = Rates(spacing=0.0, points_per_minute=None, creations_per_minute=None)
    assert state_after_calls(most - 1, rates=rates).seconds_until_allowed(rates, "POST", severity, after(600)) == 0
    assert state_after_calls(most, rates=rates).seconds_until_allowed(rates, "POST", severity, after(600)) == 3000


def test_what_is_kept_for_sev1_is_given_free_when_it_comes_back_in_time() -> None:
    """400 were written, one a second; from 100 s before the first leaves the hour on, a burst of sev1 still fits."""
    state = state_after_calls(400, rates=GITHUB_RATES, interval_seconds=1.0)
    assert state.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(1000)) == pytest.approx(2500)
    assert state.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(3500)) == 0
    at = 3500.0
    for nth in range(200):
        assert state.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at + nth)) == 0, nth
        state = with_call(state, GITHUB_RATES, "POST", after(at + nth))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 5000))
def test_a_burst_of_sev1_always_finds_its_part_of_the_hour(gaps: list[int], late: int) -> None:
    """However others write: whenever one is admitted, a hundred sev1 writes could follow, a second apart."""
    state, at = RateLimitState(), 0
    for gap in gaps * 20:
        at += gap if at % 7 else 1
        if not state.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at)):
            state = with_call(state, GITHUB_RATES, "POST", after(at))
    while state.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at + late)):
        late += 60
    at += late
    state = with_call(state, GITHUB_RATES, "POST", after(at))
    for nth in range(1, 101):
        assert state.seconds_until_allowed(GITHUB_RATES, "POST", SEV1, after(at + nth)) == 0
        state = with_call(state, GITHUB_RATES, "POST", after(at + nth))


@pytest.mark.parametrize(
    ("method", "severity", "most"),
    [("GET", SEV1, 900), ("GET", SEV2, 720), ("GET", None, 810), ("PATCH", SEV1, 180), ("PATCH", SEV2, 144)],
)
def test_points_of_a_minute(method: str, severity: Severity | None, most: int) -> None:
    assert state_after_calls(most - 1, method).seconds_until_allowed(UNSPACED_RATES, method, severity, after(30)) == 0
    # The second in which they were spent counts to its end.
    assert state_after_calls(most, method).seconds_until_allowed(UNSPACED_RATES, method, severity, after(30)) == 31


@pytest.mark.parametrize(
    ("left", "sev1", "sev2", "nobody"), [(5000, 0, 0, 0), (1000, 0, 600, 0), (500, 0, 600, 600), (0, 600, 600, 600)]
)
def test_the_hourly_budget_is_what_github_says(left: int, sev1: float, sev2: float, nobody: float) -> None:
    state = RateLimitState(budget=Budget(5000, left, after(600)))
    waits = [state.seconds_until_allowed(UNLIMITED, "GET", severity, NOW) for severity in (SEV1, SEV2, None)]
    assert waits == [sev1, sev2, nobody]
    assert state.seconds_until_allowed(UNLIMITED, "GET", SEV2, after(600)) == 0, "another hour"


def test_quiet_without_a_time_doubles_and_is_forgotten_after_an_hour() -> None:
    limiter, at, pauses = MemoryRateLimiter(), NOW, []
    for _ in range(8):
        pauses.append(limiter.record_limit(7, None, at))
        at += timedelta(seconds=pauses[-1] + 10)
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert limiter.record_limit(7, None, at + timedelta(hours=2)) == 60
    assert limiter.record_limit(8, None, at) == 60, "another installation"


def test_a_shorter_quiet_does_not_end_a_longer_one_and_nonsense_is_not_believed() -> None:
    limiter = MemoryRateLimiter()
    assert limiter.record_limit(7, 600.0, NOW) == 600
    assert limiter.record_limit(7, 5.0, NOW) == 600
    assert limiter.record_limit(8, 9_999_999_999.0, NOW) == 86400


def test_quiet_is_waited_out_and_other_turns_are_asked_for_again() -> None:
    paused = RateLimitState(paused_until=after(900))
    assert paused.seconds_until_recheck(paused.seconds_until_allowed(UNLIMITED, "GET", SEV1, NOW), NOW) == 900
    full = state_after_calls(400, rates=GITHUB_RATES, interval_seconds=1.0)
    assert (
        full.seconds_until_recheck(full.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(1000)), after(1000))
        == 60
    )
