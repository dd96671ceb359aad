"""What is wrong with a policy file, and where: words that can be shown as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing in the file that cannot be obeyed.

    `line` and `column` count from 1.  `where` is the path to the value, such as `escalation.sev1[0].after`; `wanted` is
    what would have worked.
    """

    file: str
    line: int
    column: int
    where: str
    found: str
    wanted: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.where}: {self.found}, {self.wanted}"


class PolicyFaults(Exception):
    """The file cannot be obeyed.  Every fault of it, from top to bottom; the text is one line for each."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


class Wrong(ValueError):
    """A value that cannot be read: what was found and what would have worked.  The reader knows where."""

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found}, {wanted}")
        self.found = found
        self.wanted = wanted


def clean(text: str, length: int) -> str:
    """A piece of the file that fits in a line: cut, and without what does not print."""
    text = text if len(text) <= length else text[: length - 1] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def shown(text: str) -> str:
    """A piece of the file in quotes."""
    return f"'{clean(text, 40)}'"
