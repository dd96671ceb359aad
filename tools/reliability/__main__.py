"""`make soak`: run every check of reliability at full size, and write docs/reliability.md from what was measured.

`python -m tools.reliability` prints the page anew from the figures that are there; with `--run` it measures first, at
full size or, with `--quick`, at the size of `make test`.  What is named after that, such as `B1 C4`, is measured alone,
and replaces its own part of the page.  `--server` runs what runs on the embedded database on a server of the machine's
own PostgreSQL.  `--nightly` lets the machine of B9 live 20,000 times, which takes a night; `--lives` says how often it
lives, so that several computers can share one.

What measures how soon something is answered runs first, and nothing beside it; then all the rest on every core.  What
does not fit into the hour is named, and counts as not run.
"""

from __future__ import annotations

import argparse
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime

from tests.figures import FIGURES_FILE_VARIABLE, RUN_VARIABLE, checks_of
from tests.figures import Run as Outcome
from tests.shell import server
from tests.soak import DATABASE_KIND_VARIABLE
from tools.reliability.report_page import HEAD, PAGE, render_page, unproven_checks
from tools.reliability.requirements import REQUIREMENTS
from tools.reliability.results import EMBEDDED_RESULTS, NOT_RUN, ROOT, SERVER_RESULTS, ResultsFile
from tools.reliability.scheduler import SoakRun, plan_batches, temporary_folder

MAX_SECONDS = 3600
"""Time limit of a whole run; what does not fit is listed as not run."""
TEST_PATHS = (
    "tests/shell",
    "tests/core/test_calendar.py",
    "tests/core/test_noise_limits.py",
    "tests/core/test_replay.py",
    "tests/test_rate_limit.py",
)
"""Where the tests of the reliability checks are."""


def _checks_of_test(test: str) -> tuple[str, ...]:
    return checks_of(test.partition("::")[2])


def collect_tests(environment: Mapping[str, str], only: Sequence[str]) -> list[str]:
    """Return the tests of these checks, or of all when `only` is empty.

    Raises CalledProcessError when pytest cannot collect them.
    """
    command = [sys.executable, "-m", "pytest", "--collect-only", "--checks", *TEST_PATHS]
    output = subprocess.run(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [line for line in output.splitlines() if "::test_" in line]
    return [test for test in found if not only or set(only).intersection(_checks_of_test(test))]


def run_checks(
    results: ResultsFile, size: str, only: list[str], max_seconds: float | None = MAX_SECONDS, lives: int | None = None
) -> bool:
    """Run the checks on that database and record the result of each; return True when all passed.

    `size`: quick, full or nightly.  `lives`: how many of a night; None: as many as there are in a whole one.
    Raises Absent when there is no such server.
    """
    began = datetime.now(UTC)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    run = f"{began:%Y-%m-%dT%H:%M:%SZ}"
    server_name = server.read_version(server.find_bin_folder()) if results is SERVER_RESULTS else ""
    environment = {
        **os.environ,
        FIGURES_FILE_VARIABLE: str(results.file),
        RUN_VARIABLE: run,
        DATABASE_KIND_VARIABLE: "server" if server_name else "",
    }
    environment.pop("MUSTER_SOAK", None)
    if size != "quick":
        environment["MUSTER_SOAK"] = size
    if lives is not None:
        environment["MUSTER_LIVES"] = str(lives)
    full = size != "quick"
    last_seconds = {
        line["test"]: math.inf if line["outcome"] == NOT_RUN else line["seconds"]
        for line in (*EMBEDDED_RESULTS.load_lines(), *results.load_lines())
        if line.get("full") is full and "outcome" in line
    }
    tests = collect_tests(environment, only)
    results.forget(only)
    with temporary_folder() as folder:
        soak_run = SoakRun(environment, folder, None if size == "nightly" else max_seconds)
        try:
            for batch in plan_batches(tests, last_seconds, cores or 1):
                soak_run.run(batch)
        finally:
            tests_run = {line["test"] for line in results.load_lines() if line.get("of") == run}
            tests_not_run = [
                Outcome(_checks_of_test(test), test, NOT_RUN, 0.0, full, run[:10], run)
                for test in tests
                if test not in tests_run
            ]
            run_record = {
                "run": run,
                "began": f"{began:%Y-%m-%d %H:%M} UTC",
                "seconds": round(soak_run.elapsed_seconds),
                "cores": cores,
                "on": server_name,
                "size": "full" if full else "quick",
                "tests": len(tests),
                "all": not only,
            }
            results.add([*map(asdict, tests_not_run), run_record])
            for one in tests_not_run:
                print(f"not run: {one.test}", file=sys.stderr)
    return not soak_run.failed and not tests_not_run


def _parse_count(text: str) -> int:
    """Parse a whole number from 1."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _raise_interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Run the checks if asked to, write the page, and return the exit code."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure first")
    parser.add_argument(
        "--quick", dest="how", action="store_const", const="quick", default="full", help="at the size of `make test`"
    )
    parser.add_argument("--server", action="store_true", help="on a server of this machine's own PostgreSQL")
    parser.add_argument("--nightly", dest="how", action="store_const", const="nightly", help="B9 for a whole night")
    parser.add_argument("--lives", type=_parse_count, metavar="N", help="with --nightly: how often it lives (20000)")
    parser.add_argument("only", nargs="*", metavar="CHECK", help="such as B1 or 'Row 12'; all by default")
    options = parser.parse_args()
    known = {check for checks in REQUIREMENTS.values() for check in checks}
    if options.lives is not None and options.how != "nightly":
        parser.error("--lives says something of --nightly only")
    if unknown := [one for one in options.only if one not in known]:
        parser.error(f"{', '.join(unknown)}: no such check; there are {', '.join(sorted(known))}")
    results = SERVER_RESULTS if options.server else EMBEDDED_RESULTS
    only = options.only or (["B9"] if options.how == "nightly" else [])
    started, succeeded = time.monotonic(), True
    if options.run:
        # SIGINT too: a shell makes background jobs ignore it, and the processes they start inherit that.
        for signal_number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(signal_number, _raise_interrupt)
        try:
            succeeded = run_checks(results, options.how, only, lives=options.lives)
        except server.ServerUnavailable as reason:
            parser.error(f"no server to run them on: {reason}")
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            succeeded = False
    PAGE.write_text(render_page())
    print(render_page().removeprefix(HEAD))
    lines = results.load_lines()
    covered = {check for line in lines for check in line.get("checks", ())} if options.server else known
    missing = unproven_checks(lines, sorted(covered))
    if missing:
        print(f"Not shown: {', '.join(missing)}", file=sys.stderr)
    if options.run:
        good = succeeded and not (missing and not only)
        print(
            f"{time.monotonic() - started:.0f} s, {'all good' if good else 'NOT all good'}; "
            f"see {PAGE.relative_to(ROOT)}"
        )
        return int(not good)
    return 0


if __name__ == "__main__":
    sys.exit(main())
