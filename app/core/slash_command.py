"""A slash command as it was written, before it is interpreted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SlashCommand:
    """One command line: `/severity sev2 too loud` has the name `severity` and the argument `sev2 too loud`."""

    name: str
    argument: str = ""
