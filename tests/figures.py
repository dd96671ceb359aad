"""What was measured, written down beside what was asked for; `python -m tools.reliability` prints it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from tests import soak

FILE = "MUSTER_FIGURES"
"""The setting that names the file; without it nothing is written."""


@dataclass(frozen=True)
class Figure:
    """One check as it was last run."""

    check: str
    size: str
    run: str
    """`quick` or `full`."""
    required: str
    measured: str
    at: str


class Figures:
    """Where tests put their figures."""

    def __init__(self, file: Path | None) -> None:
        self._file = file

    def record(self, check: str, *, size: str, required: str, measured: str) -> None:
        """`check` is an id of the reliability page; `size` says how large this run was."""
        if self._file is None:
            return
        found = Figure(check, size, soak.size("quick", "full"), required, measured, f"{datetime.now(UTC):%Y-%m-%d}")
        with self._file.open("a") as lines:
            lines.write(json.dumps(asdict(found)) + "\n")


def figures() -> Figures:
    """Those of this run."""
    name = os.environ.get(FILE)
    return Figures(Path(name) if name else None)
