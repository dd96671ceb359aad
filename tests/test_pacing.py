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
UNSPACED = Rates(spacing=0.0)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def spent(times: int, method: str = "POST", rates: Rates = UNSPACED, every: float = 0.0) -> RateLimitState:
    """Return the state after that many calls, one every `interval_seconds` from NOW on."""
    ledger = RateLimitState()
    for nth in range(times):
        ledger = made(ledger, rates, method, after(nth * every))
    return ledger


def made(ledger: RateLimitState, rates: Rates, method: str, at: datetime) -> RateLimitState:
    """Return the state after one more call that was answered at once."""
    return ledger.record_request(rates, method, at).record_response(rates, method, None, at)


def test_writes_are_a_second_apart_and_reads_are_not() -> None:
    ledger = spent(1, rates=GITHUB_RATES)
    assert ledger.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(0.25)) == 0.75
    assert ledger.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1)) == 0
    assert ledger.seconds_until_allowed(GITHUB_RATES, "GET", SEV2, after(0)) == 0


def test_a_write_counts_from_its_answer() -> None:
    asked = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    ledger = asked.record_response(GITHUB_RATES, "POST", Budget(5000, 4000, after(600)), after(0.5))
    assert ledger.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1)) == 0.5
    read = ledger.record_response(GITHUB_RATES, "GET", Budget(5000, 3999, after(600)), after(0.9))
    assert read.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(1.5)) == 0
    assert ledger.creation_times == (after(0.5).timestamp(),), "and so does what it created"


def test_one_write_is_under_way_at_a_time_until_it_must_have_died() -> None:
    """No write overtakes another, however slow GitHub is; a killed process's write delays others only briefly."""
    ledger = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    waits = [
        ledger.seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(seconds))
        for seconds in (0, 0.5, 5, 19, 20.25, 21)
    ]
    assert waits == [1, 1, 1, 1, 0.75, 0]
    assert ledger.seconds_until_allowed(GITHUB_RATES, "GET", SEV2, after(1)) == 0, "reads go on"


def test_a_moment_that_was_read_before_the_last_write_ended_is_no_clock_set_back() -> None:
    """Two callers ask; one has to wait for the state, so the time it read before is past when its turn comes."""
    ledger = spent(1, rates=GITHUB_RATES, every=0)
    assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV1, after(-0.01)) == 1


def test_a_moment_that_was_read_before_the_last_write_began_is_no_clock_set_back() -> None:
    ledger = RateLimitState().record_request(GITHUB_RATES, "POST", NOW)
    assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", Severity.SEV2, NOW - timedelta(milliseconds=5)) > 0


def test_a_clock_that_was_set_back_holds_nobody_up() -> None:
    assert spent(1, rates=GITHUB_RATES).seconds_until_allowed(GITHUB_RATES, "PATCH", SEV1, after(-7200)) == 0


@pytest.mark.parametrize(("severity", "most"), [(SEV1, 80), (SEV2, 64), (None, 64)])
def test_creations_of_a_minute_keep_a_part_for_sev1(severity: Severity | None, most: int) -> None:
    assert spent(most - 1).seconds_until_allowed(UNSPACED, "POST", severity, after(30)) == 0
    assert spent(most).seconds_until_allowed(UNSPACED, "POST", severity, after(30)) == 30
    assert spent(most).seconds_until_allowed(UNSPACED, "PATCH", severity, after(30)) == 0, "an edit creates nothing"


@pytest.mark.parametrize(("severity", "most"), [(SEV1, 500), (SEV2, 400)])
def test_creations_of_an_hour_keep_a_part_for_sev1(severity: Severity, most: int) -> None:
    rates = Rates(spacing=0.0, points_per_minute=None, creations_per_minute=None)
    assert spent(most - 1, rates=rates).seconds_until_allowed(rates, "POST", severity, after(600)) == 0
    assert spent(most, rates=rates).seconds_until_allowed(rates, "POST", severity, after(600)) == 3000


def test_what_is_kept_for_sev1_is_given_free_when_it_comes_back_in_time() -> None:
    """400 were written, one a second; from 100 s before the first leaves the hour on, a burst of sev1 still fits."""
    ledger = spent(400, rates=GITHUB_RATES, every=1.0)
    assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(1000)) == pytest.approx(2500)
    assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(3500)) == 0
    at = 3500.0
    for nth in range(200):
        assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at + nth)) == 0, nth
        ledger = made(ledger, GITHUB_RATES, "POST", after(at + nth))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=40), st.integers(0, 5000))
def test_a_burst_of_sev1_always_finds_its_part_of_the_hour(gaps: list[int], late: int) -> None:
    """However others write: whenever one is admitted, a hundred sev1 writes could follow, a second apart."""
    ledger, at = RateLimitState(), 0
    for gap in gaps * 20:
        at += gap if at % 7 else 1
        if not ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at)):
            ledger = made(ledger, GITHUB_RATES, "POST", after(at))
    while ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(at + late)):
        late += 60
    at += late
    ledger = made(ledger, GITHUB_RATES, "POST", after(at))
    for nth in range(1, 101):
        assert ledger.seconds_until_allowed(GITHUB_RATES, "POST", SEV1, after(at + nth)) == 0
        ledger = made(ledger, GITHUB_RATES, "POST", after(at + nth))


@pytest.mark.parametrize(
    ("method", "severity", "most"),
    [("GET", SEV1, 900), ("GET", SEV2, 720), ("GET", None, 810), ("PATCH", SEV1, 180), ("PATCH", SEV2, 144)],
)
def test_points_of_a_minute(method: str, severity: Severity | None, most: int) -> None:
    assert spent(most - 1, method).seconds_until_allowed(UNSPACED, method, severity, after(30)) == 0
    # The second in which they were spent counts to its end.
    assert spent(most, method).seconds_until_allowed(UNSPACED, method, severity, after(30)) == 31


@pytest.mark.parametrize(
    ("left", "sev1", "sev2", "nobody"), [(5000, 0, 0, 0), (1000, 0, 600, 0), (500, 0, 600, 600), (0, 600, 600, 600)]
)
def test_the_hourly_budget_is_what_github_says(left: int, sev1: float, sev2: float, nobody: float) -> None:
    ledger = RateLimitState(budget=Budget(5000, left, after(600)))
    waits = [ledger.seconds_until_allowed(UNLIMITED, "GET", severity, NOW) for severity in (SEV1, SEV2, None)]
    assert waits == [sev1, sev2, nobody]
    assert ledger.seconds_until_allowed(UNLIMITED, "GET", SEV2, after(600)) == 0, "another hour"


def test_quiet_without_a_time_doubles_and_is_forgotten_after_an_hour() -> None:
    pace, at, heard = MemoryRateLimiter(), NOW, []
    for _ in range(8):
        heard.append(pace.record_limit(7, None, at))
        at += timedelta(seconds=heard[-1] + 10)
    assert heard == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert pace.record_limit(7, None, at + timedelta(hours=2)) == 60
    assert pace.record_limit(8, None, at) == 60, "another installation"


def test_a_shorter_quiet_does_not_end_a_longer_one_and_nonsense_is_not_believed() -> None:
    pace = MemoryRateLimiter()
    assert pace.record_limit(7, 600.0, NOW) == 600
    assert pace.record_limit(7, 5.0, NOW) == 600
    assert pace.record_limit(8, 9_999_999_999.0, NOW) == 86400


def test_quiet_is_waited_out_and_other_turns_are_asked_for_again() -> None:
    quiet = RateLimitState(paused_until=after(900))
    assert quiet.seconds_until_recheck(quiet.seconds_until_allowed(UNLIMITED, "GET", SEV1, NOW), NOW) == 900
    full = spent(400, rates=GITHUB_RATES, every=1.0)
    assert (
        full.seconds_until_recheck(full.seconds_until_allowed(GITHUB_RATES, "POST", SEV2, after(1000)), after(1000))
        == 60
    )
