"""Puts one incident through anything that may happen, in random order (B9)."""

from __future__ import annotations

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from app.core.severity import Severity
from tests.figures import Figures
from tests.shell.machine import Machine, open_stage, run_machine
from tests.shell.planted import MAX_HUNT_SECONDS, PLANTED_BUGS, ROOT, Bug, hunt
from tests.soak import choose_size

_BUDGET_SECONDS = 120.0
"""Share of the hour that `make soak` takes; `make soak ARGS=--nightly` runs 20,000 lives instead."""
_LIVES_PER_BATCH = 20
_NIGHTLY = os.environ.get("MUSTER_SOAK") == "nightly"
_NIGHTLY_LIVES = int(os.environ.get("MUSTER_LIVES") or 20_000)
"""Lives of a nightly run."""


@pytest.mark.timeout(24 * 3600 if _NIGHTLY else 1800)
def test_b9_whatever_happens_nothing_is_lost_and_nothing_said_twice(fresh_url: str, figures: Figures) -> None:
    count, began = Counter[str](), time.monotonic()
    with open_stage(fresh_url) as stage:
        if _NIGHTLY:
            run_machine(stage, _NIGHTLY_LIVES, 50, totals=count)
        elif choose_size(True, False):
            run_machine(stage, 5, 12, totals=count, derandomize=True, shrink=False)
        else:
            while time.monotonic() - began < _BUDGET_SECONDS:
                run_machine(stage, _LIVES_PER_BATCH, 50, totals=count)
    took = time.monotonic() - began
    figures.record(
        "B9",
        size=f"{_NIGHTLY_LIVES:,} lives by chance" if _NIGHTLY else "a life by chance",
        measured=f"nothing found in {count['examples']} examples, {count['steps']} steps, {took:.0f} s",
    )


def test_b9_an_edit_that_a_clock_set_back_hears_of_comes_after_the_report(fresh_url: str) -> None:
    """Regression: GitHub's time looked impossible, so the edit was applied before the opening."""
    with open_stage(fresh_url) as stage:

        class StagedMachine(Machine):
            pass

        StagedMachine.stage, StagedMachine.totals = stage, Counter()
        state = StagedMachine()
        state.process()
        state.clock_jumps(minutes=-120)
        state.edits_the_report(severity=Severity.SEV2)
        state.process()
        state.teardown()


@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: bug.name)
def test_b9_a_planted_bug_still_finds_its_place(bug: Bug, tmp_path: Path) -> None:
    before = (ROOT / bug.file).read_text()
    (tmp_path / bug.file).parent.mkdir(parents=True)
    shutil.copy(ROOT / bug.file, tmp_path / bug.file)
    bug.apply_to(tmp_path)
    after = (tmp_path / bug.file).read_text()
    assert after != before
    compile(after, bug.file, "exec")


@pytest.mark.skipif(choose_size(True, False), reason="takes minutes: `make soak`, or python -m tests.shell.planted")
@pytest.mark.timeout(2 * MAX_HUNT_SECONDS)
@pytest.mark.parametrize("bug", PLANTED_BUGS, ids=lambda bug: bug.name)
def test_b9_the_machine_finds_each_planted_bug(bug: Bug, figures: Figures) -> None:
    verdict = hunt(bug)
    assert verdict.failure
    figures.record("B9", size=f"planted: {bug.name}", measured=f"found in {verdict.seconds:.0f} s")
