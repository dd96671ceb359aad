"""`python -m tests.shell.planted`: plants bugs one after the other; the state machine (B9) has to find each.

Each bug replaces one place in the source of a copy of `app`; the machine then runs in a process of its own that imports
the copy. So the app needs no code for being broken, and any part of it can be. `--here` runs that process.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import structlog

from app.store import embedded
from app.store.database import migrate
from tests.shell.machine import open_stage, run_machine

ROOT = Path(__file__).parents[2]
MAX_HUNT_SECONDS = 600.0
"""Each bug has to be found within these seconds."""
_STEPS_PER_EXAMPLE = 50
_FOUND_EXIT_CODE, _MISSED_EXIT_CODE = 3, 0


@dataclass(frozen=True)
class Bug:
    """A bug made by replacing `before`, which occurs exactly once in `file`, with `after`."""

    name: str
    description: str
    file: str
    before: str
    after: str

    def apply_to(self, folder: Path) -> None:
        path = folder / self.file
        text = path.read_text()
        assert text.count(self.before) == 1, f"{self.name}: {self.file} has it {text.count(self.before)} times"
        path.write_text(text.replace(self.before, self.after))


PLANTED_BUGS = (
    Bug(
        "retry without look-up",
        "a retry does not look for a comment that got through",
        "app/worker/pipeline/outbox_relay.py",
        "uncertain_items = [item for item in items if item.outcome_unknown]",
        "uncertain_items: list[OutboxItem] = []",
    ),
    Bug(
        "replay storm",
        "each pending notice becomes a comment of its own",
        "app/worker/pipeline/outbox_relay.py",
        "return [item for item in items if isinstance(item.effect, Notice)]\n",
        "return [first]\n",
    ),
    Bug(
        "lost on crash",
        "marked as done before it is",
        "app/worker/pipeline/outbox_relay.py",
        '    ctx.failpoints.reach("before_post")\n',
        "    with ctx.database.transaction() as db:\n"
        "        for item in items:\n"
        "            outbox.complete(db, item)\n"
        '    ctx.failpoints.reach("before_post")\n',
    ),
    Bug(
        "older snapshot wins",
        "an edit is dated by its receipt, so that an older one may come last",
        "app/github/inbound.py",
        'report = build_opened_event(issue, "", policy, created, by=by, adopted=False)',
        'changed, report = received_at, build_opened_event(issue, "", policy, created, by=by, adopted=False)',
    ),
    Bug(
        "fold error",
        "a late event is applied as if it were the newest",
        "app/worker/pipeline/fold.py",
        "(not new_events or new_events[0].at > stored.replayed_until)",
        "(not new_events or new_events[0].at > stored.incident.declared_at)",
    ),
    Bug(
        "forged marker",
        "a marker counts regardless of the author of its comment",
        "app/github/signed_marker.py",
        "if not (comment.bot and is_ours and has_marker(comment.body)):",
        "if not has_marker(comment.body):",
    ),
)


@dataclass(frozen=True)
class Verdict:
    """The result of hunting one bug. `failure` is the first line of what failed; empty: not found."""

    bug: Bug
    failure: str
    seconds: float
    examples: int


def hunt(bug: Bug | None, max_seconds: float = MAX_HUNT_SECONDS) -> Verdict:
    """Run the machine against a copy of the app with that bug; None: against the unchanged app."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("app", "tests"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        if bug is not None:
            bug.apply_to(folder)
        words = [sys.executable, "-m", "tests.shell.planted", "--here", str(max_seconds)]
        environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    assert done.returncode in (_FOUND_EXIT_CODE, _MISSED_EXIT_CODE), done.stderr[-4000:]
    examples, _, failure = done.stdout.strip().rpartition("\n")[2].partition(" ")
    return Verdict(bug or Bug("none", "the app as it is", "", "", ""), failure, took, int(examples))


def run_machine_here(max_seconds: float) -> int:
    """Run the machine in the app that this process imports, until it fails or time is up; return an exit code."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    totals, failure = Counter[str](), ""
    end = time.monotonic() + max_seconds
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = embedded.start(Path(folder))
        try:
            migrate(server.url)
            with open_stage(server.url) as stage:
                while not failure and time.monotonic() < end:
                    try:
                        run_machine(stage, 10, _STEPS_PER_EXAMPLE, totals=totals, shrink=False)
                    except AssertionError as problem:
                        failure = str(problem).splitlines()[0][:200]
        finally:
            server.stop()
    print(totals["examples"], failure)
    return _FOUND_EXIT_CODE if failure else _MISSED_EXIT_CODE


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--here", type=float, help=argparse.SUPPRESS)
    parser.add_argument("only", nargs="*", help="names of bugs; all by default")
    arguments = parser.parse_args()
    if arguments.here is not None:
        return run_machine_here(arguments.here)
    missed = 0
    for bug in (each for each in PLANTED_BUGS if not arguments.only or each.name in arguments.only):
        verdict = hunt(bug)
        missed += not verdict.failure
        found = f"found after {verdict.seconds:.0f} s, {verdict.examples} examples" if verdict.failure else "NOT FOUND"
        print(f"{bug.name}: {bug.description} ({bug.file})\n    {found}: {verdict.failure}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
