"""`make soak`: run every check of reliability at full size, and write docs/reliability.md from what was measured.

`python -m tools.reliability` prints the page anew from the figures that are there; with `--run` it measures first, at
full size or, with `--quick`, at the size of `make test`.  What is named after that, such as `B1 C4`, is measured alone, and
replaces its own part of the page.  `--nightly` lets the machine of B9 live 20,000 times, which takes a night.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
FIGURES = ROOT / "docs" / "reliability.jsonl"
LONGEST = 3600
"""Seconds."""
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
"""


def page() -> str:
    """The page, from the figures that are there."""
    lines = [json.loads(line) for line in FIGURES.read_text().splitlines()] if FIGURES.exists() else []
    figures = [line for line in lines if "measured" in line]
    runs = [line for line in lines if "outcome" in line]
    parts = [HEAD]
    for part, checks in ASKED.items():
        parts.append(f"\n## {part}\n\n| Check | Asked | Reached | Tests | When |\n|---|---|---|---|---|\n")
        parts += [_row(check, asked, figures, runs) for check, asked in checks.items()]
    return "".join(parts)


def _row(check: str, asked: str, figures: Iterable[Mapping[str, Any]], runs: Iterable[Mapping[str, Any]]) -> str:
    reached = [f"{one['size']}: {one['measured']}" for one in figures if check in one["check"].split(", ")]
    ours = [one for one in runs if check in one["checks"]]
    ended = Counter(one["outcome"] for one in ours)
    tests = ", ".join(f"{count} {outcome}" for outcome, count in sorted(ended.items())) or "not run"
    size = "" if all(one["full"] for one in ours) else " (quick)"
    when = max((one["at"] for one in ours), default="–") + size
    return f"| {check} | {asked} | {'<br>'.join(reached) or '–'} | {tests} | {when} |\n"


def unshown() -> list[str]:
    """The checks of which the figures have no test that passed, or one that failed."""
    lines = [json.loads(line) for line in FIGURES.read_text().splitlines()] if FIGURES.exists() else []
    ended: dict[str, set[str]] = {}
    for line in lines:
        for check in line.get("checks", ()):
            ended.setdefault(check, set()).add(line["outcome"])
    return [
        check
        for checks in ASKED.values()
        for check in checks
        if "passed" not in ended.get(check, ()) or "failed" in ended[check]
    ]


def measure(how: str, only: list[str]) -> int:
    """Run the checks, each said as it ends; returns the exit code of pytest.  `how`: quick, full or nightly."""
    environment = {**os.environ, "MUSTER_FIGURES": str(FIGURES)}
    environment.pop("MUSTER_SOAK", None)
    if how != "quick":
        environment["MUSTER_SOAK"] = how
    _forget(only)
    words = [sys.executable, "-m", "pytest", "-vv", "--checks", f"--timeout={_EACH}", "--tb=short", *WHERE]
    if only:
        names = (one.lower().replace(" ", "") for one in only)
        words += ["-k", " or ".join(f"_{name}_" for name in names)]
    with subprocess.Popen(words, cwd=ROOT, env=environment) as tests:
        try:
            return tests.wait(None if how == "nightly" else LONGEST)
        except subprocess.TimeoutExpired:
            print(f"not done after {LONGEST} s: the rest is not run", file=sys.stderr)
            tests.send_signal(signal.SIGINT)  # so that it ends what it started
            tests.wait(120)
            return 1


def _forget(only: list[str]) -> None:
    """What is measured now; everything where nothing is named."""
    kept = []
    if only and FIGURES.exists():
        lines = [json.loads(line) for line in FIGURES.read_text().splitlines()]
        kept = [line for line in lines if not set(only).intersection(line.get("checks") or line["check"].split(", "))]
    FIGURES.write_text("".join(json.dumps(line) + "\n" for line in kept))


def main() -> int:
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure first")
    parser.add_argument(
        "--quick", dest="how", action="store_const", const="quick", default="full", help="at the size of `make test`"
    )
    parser.add_argument("--nightly", dest="how", action="store_const", const="nightly", help="B9 for a whole night")
    parser.add_argument("only", nargs="*", metavar="CHECK", help="such as B1 or 'Row 12'; all by default")
    options = parser.parse_args()
    known = {check for checks in ASKED.values() for check in checks}
    if strange := [one for one in options.only if one not in known]:
        parser.error(f"{', '.join(strange)}: no such check; there are {', '.join(sorted(known))}")
    began, ended = time.monotonic(), 0
    if options.run:
        ended = measure(options.how, options.only or (["B9"] if options.how == "nightly" else []))
    PAGE.write_text(page())
    print(page().partition("\n## ")[2])
    missing = unshown()
    if missing:
        print(f"Not shown: {', '.join(missing)}", file=sys.stderr)
    if options.run:
        good = ended == 0 and not (missing and not options.only)
        print(
            f"{time.monotonic() - began:.0f} s, {'all good' if good else 'NOT all good'}; see {PAGE.relative_to(ROOT)}"
        )
        return ended or int(not good)
    return ended


if __name__ == "__main__":
    sys.exit(main())
