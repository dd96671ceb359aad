"""A slash command as somebody wrote it, before anybody asks what it means."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Spoken:
    """One command line: `/severity sev2 too loud` is the name `severity` and the argument `sev2 too loud`."""

    name: str
    argument: str = ""
