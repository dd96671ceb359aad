"""The last results on the embedded database and on a server: lines of JSON beside the page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
NOT_RUN = "not run"
"""The outcome of a test for which there was no time."""


@dataclass(frozen=True)
class ResultsFile:
    """The results on one database: measured figures, the outcome of each test, and the runs they are from."""

    file: Path

    def load_lines(self) -> list[dict[str, Any]]:
        """Load every line; none when the file does not exist."""
        return [json.loads(line) for line in self.file.read_text().splitlines()] if self.file.exists() else []

    def forget(self, only: Sequence[str]) -> None:
        """Remove the lines of these checks, or all lines when `only` is empty.

        The first result of each check stays as a line with the key `once`, so that a better second result does not
        hide it.
        """
        lines = self.load_lines() if only else []
        superseded = {check for line in lines if "once" in line for check in _checks_of_line(line["once"])}
        remaining = []
        for line in lines:
            checks = set(only).intersection(_checks_of_line(line))
            if not checks:
                remaining.append(line)
            elif not checks & superseded:
                remaining.append({"once": line})
        self.file.write_text("".join(json.dumps(line) + "\n" for line in remaining))

    def add(self, lines: Sequence[Mapping[str, Any]]) -> None:
        """Append these lines."""
        with self.file.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)


EMBEDDED_RESULTS = ResultsFile(ROOT / "docs" / "reliability.jsonl")
SERVER_RESULTS = ResultsFile(ROOT / "docs" / "reliability-server.jsonl")


def _checks_of_line(line: Mapping[str, Any]) -> Sequence[str]:
    """Return the checks that a line is about."""
    checks: Sequence[str] = line.get("checks") or line.get("check", "").split(", ")
    return checks
