"""Records measurements and the reliability checks that were run; `python -m tools.reliability` prints them."""

from __future__ import annotations

import fcntl
import json
import os
import re
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from bench.cpu_steal import CpuStealMeter
from tests import soak

FIGURES_FILE_VARIABLE = "MUSTER_FIGURES"
"""The environment variable that names the output file; unset: nothing is written."""
RUN_VARIABLE = "MUSTER_RUN"
"""The environment variable that names the `make soak` run this process is part of."""

MAX_STOLEN_SHARE = 0.03
"""Share of CPU time stolen by the host above which measured times are unreliable."""

_IDS = re.compile(r"test_((?:(?:[a-h]\d|row\d+|m\d\d)_)+)")


@dataclass(frozen=True)
class Figure:
    """The last measurement of one check."""

    check: str
    size: str
    measured: str


@dataclass(frozen=True)
class Run:
    """One test and its outcome.

    `full`: it ran at the size of `make soak`; `seconds` of wall-clock time.
    `of`: the `make soak` run that it was part of; empty: none.
    """

    checks: tuple[str, ...]
    test: str
    outcome: str
    seconds: float
    full: bool
    at: str
    of: str = ""


def checks_of(test: str) -> tuple[str, ...]:
    """Return the check ids that a test's name begins with: `test_c3_c4_two_workers` has C3 and C4."""
    found = _IDS.match(test)
    ids = found[1].rstrip("_").split("_") if found else ()
    return tuple(f"Row {one[3:]}" if one.startswith("row") else one.upper() for one in ids if one[0] != "m")


class Figures:
    """Appends measurements and test outcomes to a file; several processes may write at a time."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._cpu_steal = CpuStealMeter()

    def record(self, check: str, *, size: str, measured: str) -> None:
        """Record a measurement: `check` is an id of the reliability page, `size` says how large this run was.

        Notes how much CPU time the host has stolen, if it is much, since times are less reliable then.
        """
        stolen = self._cpu_steal.fraction
        note = f"; the host took {100 * stolen:.0f} % of the machine" if stolen >= MAX_STOLEN_SHARE else ""
        self._write(Figure(check, size, measured + note))

    def record_outcome(self, test: str, outcome: str, seconds: float) -> None:
        if ids := checks_of(test.partition("::")[2]):
            at = f"{datetime.now(UTC):%Y-%m-%d}"
            run = os.environ.get(RUN_VARIABLE, "")
            self._write(Run(ids, test, outcome, round(seconds, 1), soak.choose_size(False, True), at, run))

    def _write(self, entry: Figure | Run) -> None:
        if self._file is None:
            return
        with self._file.open("ab", buffering=0) as lines:
            fcntl.flock(lines, fcntl.LOCK_EX)
            lines.write(json.dumps(asdict(entry)).encode() + b"\n")


def open_figures() -> Figures:
    """Open the figures file of this run."""
    name = os.environ.get(FIGURES_FILE_VARIABLE)
    return Figures(Path(name) if name else None)
