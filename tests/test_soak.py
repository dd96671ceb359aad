"""`make soak`: which tests run side by side, what its page says of them, and that no process is left when it ends."""

from __future__ import annotations

import json
import math
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil

from tests.figures import FIGURES_FILE_VARIABLE, Figures, checks_of
from tests.shell.processes import wait_until
from tests.soak import choose_size
from tools.reliability.report_page import describe_run, superseded_results, unproven_checks
from tools.reliability.requirements import REQUIREMENTS
from tools.reliability.results import ResultsFile
from tools.reliability.scheduler import EXCLUSIVE_TEST_PREFIXES, Batch, SoakRun, plan_batches

RUN = "2026-03-14T09:00:00Z"


def test_what_measures_answers_runs_alone_and_of_the_rest_the_longest_and_then_the_short_ones_go_first() -> None:
    quick = "a.py::test_e3_short"
    slow = "a.py::test_e4_slow"
    long = "a.py::test_e1_long"
    timed = "a.py::test_a1_timed[x::y]"
    both = "a.py::test_b1_b2_both"
    found = plan_batches([slow, quick, timed, long, both], {long: 400.0, quick: 0.5, slow: 50.0, timed: 60.0}, 2)
    assert found == [Batch("alone", [timed, both]), Batch("beside", [long, quick, slow], 4)]
    assert plan_batches([quick], {}, 2) == [Batch("beside", [quick], 4)]
    new = f"{long}[9]"
    assert plan_batches([quick, new], {f"{long}[1]": 400.0}, 2) == [Batch("beside", [new, quick], 4)], (
        "as others of its name"
    )
    late = {quick: 0.5, slow: math.inf, long: 400.0}
    assert plan_batches([quick, slow, long], late, 2) == [Batch("beside", [long, slow, quick], 4)], (
        "what did not fit last time"
    )
    assert "--numprocesses=4" in found[1].pytest_command(Path("x"))
    assert not any(word.startswith("--numprocesses") for word in found[0].pytest_command(Path("x")))
    known = {check for checks in REQUIREMENTS.values() for check in checks}
    assert {check for begin in EXCLUSIVE_TEST_PREFIXES for check in checks_of(f"test_{begin}_")} <= known
    assert all(checks_of(f"test_{begin}_") for begin in EXCLUSIVE_TEST_PREFIXES)


def test_lines_of_several_processes_are_whole(tmp_path: Path) -> None:
    file = tmp_path / "figures.jsonl"

    def write(nth: int) -> None:
        for _ in range(50):
            Figures(file).record("A1", size="x" * 9000, measured=str(nth))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    assert len([json.loads(line) for line in file.read_text().splitlines()]) == 200


def test_the_page_says_whether_it_is_from_one_run() -> None:
    one = {"checks": ["E1"], "test": "a.py::test_e1_x", "outcome": "passed", "at": "2026-03-14", "of": RUN}
    late = {**one, "test": "a.py::test_e2_y", "outcome": "not run"}
    run = {"run": RUN, "began": "2026-03-14 09:00 UTC", "seconds": 3000, "cores": 2, "size": "full", "tests": 2}
    whole = describe_run([one, {"check": "E1", "size": "", "measured": ""}, {**run, "all": True}], "This page")
    assert (
        "This page is **from one run** of all 2 tests, at full size, on 2 cores: 2026-03-14 09:00 UTC, 50 min" in whole
    )
    assert "None was left out" in whole
    assert "on 2 cores, by PostgreSQL 15: 2026" in describe_run(
        [one, {**run, "all": True, "on": "PostgreSQL 15"}], "It"
    )
    assert "1 did not fit in and were not run: `test_e2_y`" in describe_run([one, late, {**run, "all": True}], "It")
    assert "It is **not from one run**" in describe_run([one, {**run, "all": False}], "It")
    assert "not from one run" in describe_run([one, {**late, "of": "another"}, {**run, "all": True}], "It")
    again = {**run, "run": "again", "began": "2026-03-14 11:00 UTC", "all": False}
    anew = describe_run(
        [one, {**late, "outcome": "passed", "checks": ["E2"], "of": "again"}, {**run, "all": True}, again], "It"
    )
    assert "09:00 UTC, 50 minutes. Measured again, each by itself: E2 (2026-03-14 11:00 UTC)." in anew
    before = {**again, "began": "2026-03-13 11:00 UTC"}
    assert "not from one run" in describe_run([one, {**late, "of": "again"}, {**run, "all": True}, before], "It")
    assert "from 2026-03-13 to 2026-03-14" in describe_run([one, {**one, "of": "", "at": "2026-03-13"}], "It")


def test_what_is_measured_anew_replaces_its_own_part(tmp_path: Path) -> None:
    results = ResultsFile(tmp_path / "figures.jsonl")
    assert results.load_lines() == []
    one = {"checks": ["E1"], "test": "a.py::test_e1_x", "outcome": "passed"}
    both = {"checks": ["B1", "B2"], "test": "a.py::test_b1_b2_y", "outcome": "failed", "full": True, "at": "then"}
    figure = {"check": "B1, B2", "size": "many", "measured": "12 s"}
    results.add([figure, one, both, {"run": RUN}])
    assert unproven_checks(results.load_lines(), ["B1", "E1", "E2"]) == ["B1", "E2"]
    results.forget(["B2"])
    first = [{"once": figure}, one, {"once": both}, {"run": RUN}]
    assert results.load_lines() == first, "what the whole run had given stays to be seen"
    anew = {**both, "outcome": "passed"}
    results.add([anew])
    assert unproven_checks(results.load_lines(), ["B1", "E1"]) == []
    shown = "".join(superseded_results(results.load_lines()))
    assert "| B1 | 1 failed | then |" in shown
    assert "- **B1**\n  - many: 12 s\n" in shown
    results.forget(["B1"])
    assert results.load_lines() == first, "and it alone"
    results.forget([])
    assert results.load_lines() == []


ORPHAN_STORY = """\
import subprocess, sys, time

def test_e2_never_ends(tmp_path):
    code = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    orphan = subprocess.Popen([sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True)
    number = orphan.stdout.readline()
    with open(FILE, "w") as told:
        told.write(number)
    time.sleep(600)
"""
"""A process in a session of its own, as a database server has, cannot be found as a child of the test."""


def test_when_the_time_is_over_nothing_stays(tmp_path: Path) -> None:
    file, figures, pid_file = tmp_path / "test_story.py", tmp_path / "figures.jsonl", tmp_path / "told"
    file.write_text(ORPHAN_STORY.replace("FILE", repr(str(pid_file))))
    figures.touch()
    soak_run = SoakRun(
        {"PATH": os.environ["PATH"], FIGURES_FILE_VARIABLE: str(figures)}, tmp_path / "soak", max_seconds=None
    )

    def end_run() -> int:
        assert wait_until(lambda: pid_file.exists() and bool(pid_file.read_text()), 60)
        soak_run.max_seconds = 0.0
        return int(pid_file.read_text())

    with ThreadPoolExecutor(1) as pool:
        number = pool.submit(end_run)
        soak_run.run(Batch("beside", [f"{file}::test_e2_never_ends"], choose_size(1, 2)))
        assert not psutil.pid_exists(number.result())
    assert soak_run.failed
