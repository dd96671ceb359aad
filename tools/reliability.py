"""`make soak`: run every check that knows a full size, and write docs/reliability.md from what was measured.

`python -m tools.reliability` prints the page anew from the figures that are there; with `--run` it measures first, at
full size or, with `--quick`, at the size of `make test`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reliability.md"
FIGURES = ROOT / "docs" / "reliability.jsonl"
LONGEST = 3600
"""Seconds."""
_WORTH = "figures.record("

PROMISES = """\
# Reliability

An incident desk must be the last thing to fail. What Muster promises, how each promise is tested, and the figure that
was reached. The tests run on the real database and against the pretend GitHub over real HTTP; where a process dies, a
real process is killed.

| Promise | How it is kept | How it is tested |
|---|---|---|
| What was answered with 202 is not lost | stored and committed before the answer | B1 to B3, A8, F3: doors, workers and databases are killed while deliveries pour in |
| Nothing is said twice | a key and a signed marker for everything that is said; a look before it is tried again | B1 to B5: 8 % of the writes fail, late, lost or after they were done |
| A process that was away does no harm | [each attempt has a token and a time](adr/0024-fencing.md) | B6: a worker stands still for minutes and goes on |
| Order does not matter | [one fold](adr/0012-one-fold.md) | B1: 10,000 deliveries, shuffled, against an oracle that took them in order |
| An upgrade loses nothing | each step of the schema is one transaction; an older program stands aside | row 14 |
| A backup is one moment | [docs/backup.md](backup.md) | F5 |
| A database can move | [docs/backup.md](backup.md) | F4: from the embedded one to a server, row by row |
| What was committed is there after a loss of power | every commit waits for the disk | F2: the log is cut at any byte; F3: the server is stopped at once |

`make test` runs each check at a quick size, `make soak` at its full size. Each row below says which size was run last,
and when; a row that says `quick` has not been run at its full size on this version.

| Check | Size of the last run | Required | Measured | When |
|---|---|---|---|---|
"""

OPEN = """
A1 is measured by `make bench` ([figures](figures.md)). *Embedded* is the PostgreSQL 18 that comes with Muster; where another
is named, it was a server of the machine's own over TCP, as `DATABASE_URL` names one.

Not shown yet: that the machine of B9 finds each of six planted bugs in ten minutes (`python -m tests.shell.planted` plants
three of them).
"""


def page() -> str:
    """The page, a row for each check and size as it was last run."""
    last: dict[tuple[str, str], dict[str, str]] = {}
    for line in FIGURES.read_text().splitlines() if FIGURES.exists() else ():
        found = json.loads(line)
        last[found["check"], found["size"]] = found
    rows = (
        f"| {one['check']} | {one['size']} ({one['run']}) | {one['required']} | {one['measured']} | {one['at']} |\n"
        for _, one in sorted(last.items())
    )
    return PROMISES + "".join(rows) + OPEN


def checks() -> list[str]:
    """The files with a check that writes down a figure."""
    return sorted(
        str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("test_*.py") if _WORTH in file.read_text()
    )


def measure(*, quick: bool, only: list[str]) -> int:
    """Run the checks; returns the exit code of pytest."""
    environment = {**os.environ, "MUSTER_FIGURES": str(FIGURES)}
    if not quick:
        environment["MUSTER_SOAK"] = "1"
    FIGURES.unlink(missing_ok=True)
    words = [sys.executable, "-m", "pytest", "--timeout=1800", *(only or checks())]
    try:
        return subprocess.run(words, cwd=ROOT, env=environment, timeout=LONGEST, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"not done after {LONGEST} s: the rest was not run", file=sys.stderr)
        return 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", action="store_true", help="measure first")
    parser.add_argument("--quick", action="store_true", help="at the size of `make test`")
    parser.add_argument("only", nargs="*", help="files of tests; all by default")
    options = parser.parse_args()
    began, ended = time.monotonic(), 0
    if options.run:
        ended = measure(quick=options.quick, only=options.only)
    PAGE.write_text(page())
    print(page().partition("| Check |")[2])
    if options.run:
        print(f"{time.monotonic() - began:.0f} s, {'all good' if ended == 0 else 'NOT all good'}; see {PAGE.name}")
    return ended


if __name__ == "__main__":
    raise SystemExit(main())
