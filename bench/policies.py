"""Measure how fast policies are read, simulated and backtested; print, assert nothing.

All times are processor time of one core.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from time import process_time

from app.core.backtest import PastIncident, backtest
from app.core.policy import Duration, Policy
from app.core.severity import Severity
from app.core.simulate import Scenario, simulate
from app.policy_file import read_policy
from bench.core import DECLARED_AT, guide_policy, sample_log
from tests.policy_file.large import large_policy


def simulate_ms() -> float:
    """Return the milliseconds to simulate 48 hours of an unacknowledged sev1: the best of ten.

    Its escalation policy pages 577 times.
    """
    scenario = Scenario(severity=Severity.SEV1, at=DECLARED_AT, length=timedelta(hours=48))
    guide = guide_policy()
    return _best_seconds(lambda: simulate(guide, scenario), 10) * 1000


def backtest_seconds(incidents: int = 1000, events: int = 20) -> float:
    """Return the seconds to replay past incidents through two policies.

    `events` is the number of events of each incident.
    """
    log = sample_log()
    filler_events = [log[n] for n in (1, 2, 3, 4, 6, 8, 9)]
    extra = [
        (
            DECLARED_AT + timedelta(minutes=65 + number),
            replace(filler_events[number % len(filler_events)][1], key=f"more/{number}"),
        )
        for number in range(events - len(log))
    ]
    full_log = tuple(sorted([*log, *extra], key=lambda happened: happened[0]))
    past_incidents = [
        PastIncident(f"octo/shop#{number}", "Checkout is down", full_log, full_log[-1][0])
        for number in range(incidents)
    ]
    old, new = guide_policy(), _with_later_steps(guide_policy())
    started = process_time()
    backtest(past_incidents, old, new)
    return process_time() - started


def read_ms() -> float:
    """Return the milliseconds to read the largest policy that makes sense: the best of five.

    It has 64 KiB, for a company of thirty teams.
    """
    text = large_policy()
    return _best_seconds(lambda: read_policy(text), 5) * 1000


def _with_later_steps(policy: Policy) -> Policy:
    """Return the policy with every escalation step ten minutes later, so that every incident differs."""
    steps_by_severity = {
        severity: tuple(
            replace(step, after=Duration(step.after.seconds + 600, step.after.business_days)) for step in steps
        )
        for severity, steps in policy.ladders.items()
    }
    return replace(policy, ladders=steps_by_severity)


def _best_seconds(run: object, repeats: int) -> float:
    """Return the shortest processor time of several runs, in seconds."""
    assert callable(run)
    durations = []
    for _ in range(repeats):
        started = process_time()
        run()
        durations.append(process_time() - started)
    return min(durations)


def main() -> None:
    """Print the figures of the policies beside the required ones."""
    print(f"simulate: {simulate_ms():.0f} ms for 48 h (at most 100)")
    print(f"replay of 1,000 past incidents: {backtest_seconds():.1f} s (at most 10)")
    print(f"reading a policy of 64 KiB: {read_ms():.0f} ms (at most 100)")


if __name__ == "__main__":
    main()
