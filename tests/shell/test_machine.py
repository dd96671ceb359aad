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
from tests.shell.machine import Machine, lives_through, staged
from tests.shell.planted import LONGEST, PLANTED, ROOT, Bug, hunt
from tests.soak import size

_BUDGET = 120.0
"""Share of the hour that `make soak` takes; `make soak ARGS=--nightly` runs 20,000 lives instead."""
_AT_ONCE = 20
_NIGHTLY = os.environ.get("MUSTER_SOAK") == "nightly"
_LIVES = int(os.environ.get("MUSTER_LIVES") or 20_000)
"""Lives of a nightly run."""


@pytest.mark.timeout(24 * 3600 if _NIGHTLY else 1800)
def test_b9_whatever_happens_nothing_is_lost_and_nothing_said_twice(fresh_url: str, figures: Figures) -> None:
    count, began = Counter[str](), time.monotonic()
    with staged(fresh_url) as stage:
        if _NIGHTLY:
            lives_through(stage, _LIVES, 50, found=count)
        elif size(True, False):
            lives_through(stage, 5, 12, found=count, same=True, shrink=False)
        else:
            while time.monotonic() - began < _BUDGET:
                lives_through(stage, _AT_ONCE, 50, found=count)
    took = time.monotonic() - began
    figures.record(
        "B9",
        size=f"{_LIVES:,} lives by chance" if _NIGHTLY else "a life by chance",
        measured=f"nothing found in {count['examples']} examples, {count['steps']} steps, {took:.0f} s",
    )


def test_b9_an_edit_that_a_clock_set_back_hears_of_comes_after_the_report(fresh_url: str) -> None:
    """Regression: GitHub's time looked impossible, so the edit was applied before the opening."""
    with staged(fresh_url) as stage:

        class Found(Machine):
            pass

        Found.stage, Found.lived = stage, Counter()
        state = Found()
        state.process()
        state.clock_jumps(minutes=-120)
        state.edits_the_report(severity=Severity.SEV2)
        state.process()
        state.teardown()


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_b9_a_planted_bug_still_finds_its_place(bug: Bug, tmp_path: Path) -> None:
    before = (ROOT / bug.file).read_text()
    (tmp_path / bug.file).parent.mkdir(parents=True)
    shutil.copy(ROOT / bug.file, tmp_path / bug.file)
    bug.put_into(tmp_path)
    after = (tmp_path / bug.file).read_text()
    assert after != before
    compile(after, bug.file, "exec")


@pytest.mark.skipif(size(True, False), reason="takes minutes: `make soak`, or python -m tests.shell.planted")
@pytest.mark.timeout(2 * LONGEST)
@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_b9_the_machine_finds_each_planted_bug(bug: Bug, figures: Figures) -> None:
    verdict = hunt(bug)
    assert verdict.says
    figures.record("B9", size=f"planted: {bug.name}", measured=f"found in {verdict.seconds:.0f} s")
