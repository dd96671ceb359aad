"""Anything may happen to one incident, in any order (B9)."""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from app.store.database import Database
from tests.figures import Figures
from tests.shell.machine import Machine
from tests.soak import size


def test_b9_whatever_happens_nothing_is_lost_and_nothing_said_twice(database: Database, figures: Figures) -> None:
    examples, steps = size((6, 12), (20_000, 50))

    class Here(Machine):
        pass

    Here.database = database
    run_state_machine_as_test(
        Here,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            derandomize=size(True, False),
            database=None,
            suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink),
        ),
    )
    figures.record(
        "B9",
        size=f"{examples} examples of {steps} steps",
        measured="none found",
    )
