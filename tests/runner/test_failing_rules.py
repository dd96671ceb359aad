"""FC-C1 in Actions: a failure of Muster's rules loses no report, and stops no other."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from app.core.policy import Policy
from app.runner.active_policy import RunnerPolicy
from app.runner.context import RunContext, run_command
from app.runner.gather import Trigger
from app.runner.incident_run import Handled, Task, handle_incident
from tests.runner.actions import TRIAGE_RIGHTS, Actions
from tests.shell.night import SEV1
from tests.shell.test_failing_rules import make_odd, make_slightly_odd


@pytest.mark.parametrize("policy", [make_odd(), make_slightly_odd()], ids=["in the fold", "in the board"])
def test_fc_c1_a_report_is_handled_under_the_next_best_policy(actions: Actions, policy: Policy) -> None:
    """The board and the run say so; what was done before the failure is not done again."""
    number = actions.github.person("grace").opens(actions.shop, "Down", SEV1, ["incident"])

    def handle(run: RunContext, payload: Mapping[str, Any]) -> int:
        task = Task(number, Trigger(run.tracker.issue(number), is_current=True))
        assert isinstance(handle_incident(run, task, RunnerPolicy(policy, "odd")), Handled)
        return int(run.has_faults)

    actions.runner.rights = TRIAGE_RIGHTS
    run = actions.runner.run("schedule", {}, lambda workflow: run_command(workflow, handle), actions.sleep)
    assert run.code == 1
    assert any("Muster's rules fail with it (OverflowError" in line for line in run.log)
    assert actions.labels(number) >= {"incident", "sev1"}
    assert "Muster's rules fail with it" in actions.board(number)
    assert len(actions.notices(number)) == 1


def test_fc_c1_what_fails_under_every_policy_is_named_and_the_sweep_goes_on(actions: Actions) -> None:
    """In the last hours of the calendar every deadline fails."""
    actions.clock.at = datetime(9999, 12, 31, 22, tzinfo=UTC)
    for nth in range(2):
        actions.github.person("grace").opens(actions.shop, f"Down {nth}", SEV1, ["incident"])
    run = actions.sweep()
    assert run.code == 1
    for number in (1, 2):
        assert any(f"#{number}: Muster's rules fail with it (OverflowError" in line for line in run.log)
        assert f"#{number} could not be looked into" in run.summary
