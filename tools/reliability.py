"""`make soak`: run every check of reliability at full size, and write docs/reliability.md from what was measured.

`python -m tools.reliability` prints the page anew from the figures that are there; with `--run` it measures first, at
full size or, with `--quick`, at the size of `make test`.  What is named after that, such as `B1 C4`, is measured alone, and
replaces its own part of the page.  `--nightly` lets the machine of B9 live 20,000 times, which takes a night; `--lives`
says how often it lives, so that several computers can share one.

What measures how soon something is answered runs first, and nothing beside it; then all the rest on every core.  What
does not fit into the hour is named, and counts as not run.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.figures import FILE, RUN, checks_of
from tests.figures import Run as Outcome

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
FIGURES = ROOT / "docs" / "reliability.jsonl"
NOT_RUN = "not run"
LONGEST = 3600
"""Seconds for everything."""
ALONE = ("a1", "a2", "a7", "a8", "b1", "b8", "g1", "row8_alarms", "row12")
"""How the names of the tests begin whose figure is a time of answering: nothing else runs beside them."""
_LONG = 100.0
"""Seconds.  What takes longer comes first, or it would end alone; of the rest the short ones, so that few do not fit."""
_PATIENCE = 60.0
"""Seconds in which tests that are interrupted put away what they started."""
_UNKNOWN = 30.0
"""Seconds that a test is thought to take which has never been run at this size."""
_EACH = 1800
"""Seconds that one test may take."""
WHERE = (
    "tests/shell",
    "tests/core/test_calendar.py",
    "tests/core/test_calm.py",
    "tests/core/test_replay.py",
    "tests/test_pacing.py",
)

ASKED: Mapping[str, Mapping[str, str]] = {
    "Receiving": {
        "A1": "200 deliveries a second for a minute: half answered in 20 ms, 99 % in 250 ms, all in 2 s, all stored",
        "A2": "wrong signatures are refused, in a time that tells nothing of the right one",
        "A3": "without good secrets nothing is started: one line, exit code 2",
        "A4": "the same delivery a hundred times is one; what means nothing to us does nothing",
        "A5": "bodies of 25 MB do not make it grow by 100 MB",
        "A6": "what nobody can read is set aside after one try, and the rest is done",
        "A7": "a good delivery is answered within 1 s under 200 slow and 2,000 idle clients",
        "A8": "a full disk or a locked database: 503 within 9 s, never 202; afterwards nothing is lost",
    },
    "Crashes": {
        "B1": "10,000 deliveries, 20 % twice, shuffled, 8 % of the writes fail, workers killed at 25, 50 and 75 %: nothing"
        " lost, nothing twice, the same state as in order; 120 s",
        "B2": "likewise with the door killed at 60 %",
        "B3": "a process dies at each of twelve points, the first, second and tenth time it gets there: likewise",
        "B4": "5 % of the writes arrive 9 s after the connection broke: nothing twice; with a lease that is too short, something is",
        "B5": "350 comments, ours on the last page, and a list that lags 3 s: nothing twice",
        "B6": "a worker stands still in the middle of a write and goes on: what it writes then is refused",
        "B7": "death between branch, file and pull request: one of each",
        "B8": "SIGTERM under load: gone within 30 s, at once by a second one; nothing lost",
        "B9": "whatever happens, in any order (20,000 examples of 50 steps a night); six planted bugs are found in 10 min each",
    },
    "Outages, limits, storms": {
        "C1": "two hours without GitHub, 50 open incidents: 200 messages on time by a channel; afterwards one comment each within 60 s",
        "C2": "30 % of the calls fail for an hour: all done, nothing twice, at most 8 tries each, each wait twice the one before",
        "C3": "GitHub asks for quiet: none of that installation's calls until then, others go on",
        "C4": "600 comments wait: 1 a second, 80 a minute, 500 an hour, sev1 in the first minute, no limit met, done in 3,700 s",
        "C5": "bots, flickering labels, floods of reports: 10 comments an hour, 20 calls, 3 pages in 10 min",
        "C6": "tokens, suspension, uninstalling, sinks that fail: renewed once, parked, cancelled, told",
        "C7": "what GitHub will not take ends after three tries at most",
    },
    "Time": {
        "D1": "working hours and local times over both changes of the clock",
        "D2": "durations are elapsed time, whatever the clock on the wall does",
        "D3": "29 February",
        "D4": "a clock that jumps by two hours: nothing rings twice, nothing is left out",
        "D5": "a clock 240 s wrong is let in; tokens are renewed 5 min before their end",
        "D6": "what people write as a time",
        "D7": "a delivery 4.5 h late has the deadlines of a prompt one",
    },
    "Order, and what came past us": {
        "E1": "1,000 permutations of 200 events with a fifth twice: one state",
        "E2": "71 h away: 2,000 deliveries found in 10 min, 5,000 in 90 min, each once; incidents right in 2 min",
        "E3": "80 h away: nothing missing, nothing raked up, a page of the list for 100 issues",
        "E4": "what drifted apart is told and set right within an hour",
    },
    "Storage": {
        "F1": "odd texts are stored alike on every PostgreSQL",
        "F2": "the embedded database survives the death of everything at any moment",
        "F3": "three immediate stops of the server under load: nothing acknowledged is lost",
        "F4": "100,000 rows moved to another server: the same state",
        "F5": "a backup while deliveries are written is one moment; ten writers at a time meet no error",
    },
    "Watching itself": {
        "G1": "all workers killed: not ready within 30 s, no sign of life within 5 min",
        "G2": "each kind of trouble is one alarm, not one a thing",
        "G3": "an incident whose deadline passed unheard is found within 5 min",
    },
    "Beyond the list": {
        "Row 3": "GitHub's late, lost and broken answers, as B1 and B4",
        "Row 8": "alarms ring on time, also after a restart",
        "Row 10": "deliveries hours late",
        "Row 12": "99.99 % of 100,000 messages are tried within 60 s of their time; all arrive, or somebody is told",
        "Row 14": "an upgrade with 10,000 rows under load: nothing lost; an older worker does nothing and says so",
    },
}
"""What is asked of each check, in our words, by the part of Muster that it is about."""

HEAD = """\
# Reliability

An incident desk must be the last thing to fail. What Muster promises, how each promise is tested, and the figure that
was reached. The tests run on the real database and against the pretend GitHub over real HTTP; where a process dies, a
real process is killed.

| Promise | How it is kept | Checks |
|---|---|---|
| What was answered with 202 is not lost | stored and committed before the answer | A8, B1 to B3, F2, F3 |
| Nothing is said twice | a key and a signed marker for everything that is said; a look before it is tried again | B1 to B5, B7, B9 |
| A process that was away does no harm | [each attempt has a token and a time](adr/0024-fencing.md) | B6 |
| Order does not matter | [one fold](adr/0012-one-fold.md) | B1, E1 |
| GitHub's limits are kept before they are met | [one pace an installation](adr/0020-one-pace-an-installation.md) | C3, C4 |
| People are woken while GitHub is away | [channels know nothing of GitHub](adr/0021-channels-know-nothing-of-github.md) | C1, C2 |
| What came past us is found | [two lists of GitHub's are compared](adr/0022-what-came-past-us-is-found.md) | E2 to E4 |
| Too much is told once | a breaker of our own, far below GitHub's limits | C5 |
| It says when something is wrong with itself | [an audit every minute](adr/0023-it-watches-itself.md) | G1 to G3 |
| What was committed is there after a loss of power | every commit waits for the disk | F2, F3 |
| An upgrade loses nothing, a backup is one moment, a database can move | each step of the schema is one transaction; [backup](backup.md) | F4, F5, row 14 |

`make test` runs each check at a quick size, `make soak` at its full size. Below is what the last run of each found; `quick`
beside a date means that not all of its tests have a larger size, or were run at it. *Embedded* is the PostgreSQL 18 that
comes with Muster; where another one is named, it was a server of the machine's own over TCP, as `DATABASE_URL` names one.
Every night [a workflow](../.github/workflows/nightly.yml) lets B9 live 20,000 times.
"""


def page() -> str:
    """The page, from the figures that are there."""
    lines = figures()
    measured = [line for line in lines if "measured" in line]
    runs = [line for line in lines if "outcome" in line]
    parts = [HEAD, "\n", whence(lines), "\n"]
    for part, checks in ASKED.items():
        parts.append(f"\n## {part}\n\n| Check | Asked | Reached | Tests | When |\n|---|---|---|---|---|\n")
        parts += [_row(check, asked, measured, runs) for check, asked in checks.items()]
    return "".join(parts)


def figures() -> list[dict[str, Any]]:
    """Every line that was written."""
    return [json.loads(line) for line in FIGURES.read_text().splitlines()] if FIGURES.exists() else []


def whence(lines: Iterable[Mapping[str, Any]]) -> str:
    """Whether all of it is from one run, and from which."""
    lines = list(lines)
    tests = [line for line in lines if "outcome" in line]
    runs = {line["run"]: line for line in lines if "run" in line}
    of = {line.get("of", "") for line in tests}
    run = runs.get(of.pop()) if len(of) == 1 else None
    if run is None or not run["all"]:
        dates = sorted({line["at"] for line in tests}) or ["never"]
        since = dates[0] if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
        return f"This page is **not from one run**: its parts were measured one by one, {since}.\n"
    missing = [line["test"].rpartition("::")[2] for line in tests if line["outcome"] == NOT_RUN]
    rest = (
        f"{len(missing)} did not fit in and were not run: `{'`, `'.join(missing)}`."
        if missing
        else "None was left out."
    )
    return (
        f"This page is **from one run** of all {run['tests']} tests, at {run['size']} size, on {run['cores']} cores:"
        f" {run['began']}, {run['seconds'] / 60:.0f} minutes. {rest}\n"
    )


def _row(check: str, asked: str, measured: Iterable[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]) -> str:
    reached = [f"{one['size']}: {one['measured']}" for one in measured if check in one["check"].split(", ")]
    ours = [one for one in runs if check in one["checks"]]
    ended = Counter(one["outcome"] for one in ours)
    tests = ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items())) or NOT_RUN
    size = "" if all(one["full"] for one in ours) else " (quick)"
    when = max((one["at"] for one in ours), default="–") + size
    found = "<br>".join(reached) or ("as asked, exactly" if set(ended) == {"passed"} else "–")
    return f"| {check} | {asked} | {found} | {tests} | {when} |\n"


def unshown() -> list[str]:
    """The checks of which the figures have no test that passed, or one that did not."""
    ended: dict[str, set[str]] = {}
    for line in figures():
        for check in line.get("checks", ()):
            ended.setdefault(check, set()).add(line["outcome"])
    return [
        check
        for checks in ASKED.values()
        for check in checks
        if "passed" not in ended.get(check, ()) or ended[check] & {"failed", NOT_RUN}
    ]


@dataclass(frozen=True)
class Lane:
    """Tests that run together, in this order, so many at a time."""

    name: str
    tests: Sequence[str]
    at_once: int = 1

    def words(self, folder: Path) -> list[str]:
        """What is typed to run them."""
        # One by one, each to the core that is free: so what is begun first is begun in this order.
        spread = [f"--numprocesses={self.at_once}", "--dist=load", "--maxschedchunk=1"] if self.at_once > 1 else []
        most = [f"--timeout={_EACH}", "--tb=short", f"--basetemp={folder / self.name}"]
        return [sys.executable, "-m", "pytest", *spread, *most, *self.tests]


def lanes(tests: Iterable[str], took: Mapping[str, float], cores: int) -> list[Lane]:
    """First each test that must be alone, then the others on every core, the longest and then the short ones first.

    `took`: seconds last time.  One more than there are cores: some of them wait most of the time.
    """
    alone, beside = list[str](), list[str]()
    for test in tests:
        name = test.partition("::test_")[2]
        (alone if any(name.startswith(f"{begin}_") for begin in ALONE) else beside).append(test)
    beside.sort(key=lambda test: ((seconds := _expected(test, took)) <= _LONG, seconds))
    return [lane for lane in (Lane("alone", alone), Lane("beside", beside, cores + 1)) if lane.tests]


def _expected(test: str, took: Mapping[str, float]) -> float:
    """Seconds: as last time, or as the longest of those that differ from it in their parameters only."""
    like = test.partition("[")[0]
    alike = (seconds for name, seconds in took.items() if name.partition("[")[0] == like)
    return took[test] if test in took else max(alike, default=_UNKNOWN)


def _checks(test: str) -> tuple[str, ...]:
    return checks_of(test.partition("::")[2])


def collected(environment: Mapping[str, str], only: Sequence[str]) -> list[str]:
    """The tests of these checks, or of all.  Raises CalledProcessError where pytest cannot find them."""
    words = [sys.executable, "-m", "pytest", "--collect-only", "--checks", *WHERE]
    said = subprocess.run(words, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    found = [line for line in said.splitlines() if "::test_" in line]
    return [test for test in found if not only or set(only).intersection(_checks(test))]


class Hour:
    """One run of some tests: says how it goes, and ends everything that it started.

    `longest`: seconds; None: as long as it takes.
    """

    def __init__(self, environment: Mapping[str, str], folder: Path, longest: float | None) -> None:
        """`folder`: where the tests have everything that they write."""
        self.failed = False
        self.done = 0
        self._environment = {**environment, "TMPDIR": str(folder / "tmp")}
        self._figures = Path(environment[FILE])
        self._folder = folder
        self.longest = longest
        self._began = time.monotonic()
        self._heard = len(self._figures.read_bytes()) if self._figures.exists() else 0
        # A server that runs as somebody else has to get in.
        for each in (folder, folder / "tmp"):
            each.mkdir(exist_ok=True)
            each.chmod(0o711)

    @property
    def gone(self) -> float:
        """The seconds that it has taken so far."""
        return time.monotonic() - self._began

    def run(self, lane: Lane) -> None:
        """Run them all, or as many as there is time for."""
        where = f"{lane.at_once} at a time" if lane.at_once > 1 else "one after the other"
        self._say(f"{len(lane.tests)} tests {where}")
        log = self._folder / f"{lane.name}.log"
        with (
            log.open("wb") as said,
            subprocess.Popen(
                lane.words(self._folder),
                cwd=ROOT,
                env=self._environment,
                stdout=said,
                stderr=said,
                start_new_session=True,  # who interrupts us leaves it to us to end them
            ) as tests,
        ):
            try:
                while tests.poll() is None and not self._over():
                    self._tell()
                    time.sleep(0.25)
            finally:
                try:
                    if tests.poll() is None:
                        self._say(f"ends what it has begun, in {_PATIENCE:.0f} s at most")
                        _put_away(tests, lane.at_once > 1)
                finally:
                    end_all_of(self._folder)
        self._tell()
        if tests.returncode:
            self.failed = True
            text = log.read_text(errors="replace")
            print(text[max(0, text.find("\n=")) :] if "= FAILURES =" in text else text[-4000:], file=sys.stderr)

    def _over(self) -> bool:
        over = self.longest is not None and self.gone > self.longest
        if over:
            self.failed = True
        return over

    def _tell(self) -> None:
        """Say what has ended since the last time."""
        with self._figures.open("rb") as opened:
            opened.seek(self._heard)
            lines = opened.readlines()
        for line in lines:
            if not line.endswith(b"\n"):
                return
            self._heard += len(line)
            one = json.loads(line)
            if "outcome" in one:
                self.done += 1
                name = one["test"].partition("::")[2]
                self._say(f"{', '.join(one['checks'])}: {one['outcome']} in {one['seconds']:.0f} s, {name}")

    def _say(self, what: str) -> None:
        most = f" of {self.longest:.0f}" if self.longest is not None else ""
        print(f"{self.gone:6.0f}{most} s  {what}", flush=True)


def _put_away(tests: subprocess.Popen[bytes], spread: bool) -> None:
    """Interrupt them, as one would at a keyboard; what is left of them after a while is ended."""
    with suppress(psutil.NoSuchProcess):
        itself = psutil.Process(tests.pid)
        everyone = [itself, *itself.children(recursive=True)]
        try:
            # Where they are spread, each child is a pytest of its own, and nobody hands the interruption on to it.
            for each in (*(itself.children() if spread else ()), itself):
                with suppress(psutil.NoSuchProcess):
                    each.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                tests.wait(_PATIENCE)
        finally:
            _end(everyone)
    tests.wait()


def end_all_of(folder: Path) -> None:
    """End what runs in that folder: a server that was started there belongs to nobody any more."""
    found = []
    for each in psutil.process_iter():
        with suppress(psutil.Error):
            if Path(each.cwd()).is_relative_to(folder):
                found.append(each)
    _end(found)


def _end(processes: Iterable[psutil.Process]) -> None:
    """At once; PostgreSQL is asked first, so that it gives back its shared memory."""
    left = list(processes)
    for ask in (signal.SIGQUIT, signal.SIGKILL):
        for each in left:
            with suppress(psutil.Error):
                each.send_signal(ask)
        _, left = psutil.wait_procs(left, timeout=5)


def measure(how: str, only: list[str], longest: float | None = LONGEST, lives: int | None = None) -> bool:
    """Run the checks, and write down what came of each.  `how`: quick, full or nightly.  False: not all is well.

    `lives` of a night; None: as many as there are in a whole one.
    """
    began, cores = (
        datetime.now(UTC),
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    run = f"{began:%Y-%m-%dT%H:%M:%SZ}"
    environment = {**os.environ, FILE: str(FIGURES), RUN: run}
    environment.pop("MUSTER_SOAK", None)
    if how != "quick":
        environment["MUSTER_SOAK"] = how
    if lives is not None:
        environment["MUSTER_LIVES"] = str(lives)
    full = how != "quick"
    took = {
        line["test"]: line["seconds"]
        for line in figures()
        if line.get("full") is full and line.get("outcome", NOT_RUN) != NOT_RUN
    }
    tests = collected(environment, only)
    _forget(only)
    with _folder() as folder:
        hour = Hour(environment, folder, None if how == "nightly" else longest)
        try:
            for lane in lanes(tests, took, cores or 1):
                hour.run(lane)
        finally:
            ran = {line["test"] for line in figures() if line.get("of") == run}
            late = [
                Outcome(_checks(test), test, NOT_RUN, 0.0, full, run[:10], run) for test in tests if test not in ran
            ]
            whole = {
                "run": run,
                "began": f"{began:%Y-%m-%d %H:%M} UTC",
                "seconds": round(hour.gone),
                "cores": cores,
                "size": "full" if full else "quick",
                "tests": len(tests),
                "all": not only,
            }
            with FIGURES.open("a") as lines:
                lines.writelines(json.dumps(one) + "\n" for one in (*map(asdict, late), whole))
            for one in late:
                print(f"not run: {one.test}", file=sys.stderr)
    return not hour.failed and not late


@contextmanager
def _folder() -> Iterator[Path]:
    """A folder of our own, gone at the end."""
    found = Path(tempfile.mkdtemp(prefix="muster-soak-")).resolve()
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)


def _forget(only: list[str]) -> None:
    """What is measured now; everything where nothing is named."""
    kept = [line for line in figures() if only and not set(only).intersection(_told_of(line))]
    FIGURES.write_text("".join(json.dumps(line) + "\n" for line in kept))


def _told_of(line: Mapping[str, Any]) -> Sequence[str]:
    """The checks that a line is about."""
    checks: Sequence[str] = line.get("checks") or line.get("check", "").split(", ")
    return checks


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1")
    return int(text)


def _interrupted(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure first")
    parser.add_argument(
        "--quick", dest="how", action="store_const", const="quick", default="full", help="at the size of `make test`"
    )
    parser.add_argument("--nightly", dest="how", action="store_const", const="nightly", help="B9 for a whole night")
    parser.add_argument("--lives", type=_count, metavar="N", help="with --nightly: how often it lives (20000)")
    parser.add_argument("only", nargs="*", metavar="CHECK", help="such as B1 or 'Row 12'; all by default")
    options = parser.parse_args()
    known = {check for checks in ASKED.values() for check in checks}
    if options.lives is not None and options.how != "nightly":
        parser.error("--lives says something of --nightly only")
    if strange := [one for one in options.only if one not in known]:
        parser.error(f"{', '.join(strange)}: no such check; there are {', '.join(sorted(known))}")
    only = options.only or (["B9"] if options.how == "nightly" else [])
    began, well = time.monotonic(), True
    if options.run:
        # Also SIGINT, which a shell lets those in the background ignore, and what they start with them.
        for asked in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(asked, _interrupted)
        try:
            well = measure(options.how, only, lives=options.lives)
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            well = False
    PAGE.write_text(page())
    print(page().removeprefix(HEAD))
    missing = unshown()
    if missing:
        print(f"Not shown: {', '.join(missing)}", file=sys.stderr)
    if options.run:
        good = well and not (missing and not only)
        print(
            f"{time.monotonic() - began:.0f} s, {'all good' if good else 'NOT all good'}; see {PAGE.relative_to(ROOT)}"
        )
        return int(not good)
    return 0


if __name__ == "__main__":
    sys.exit(main())
