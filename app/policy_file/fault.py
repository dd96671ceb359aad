"""Errors of a policy file: what is wrong and where, in words that can be shown as they are."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PolicyFault:
    """One error in a policy file.

    `line` and `column` count from 1. `where` is the path to the value, such as `escalation.sev1[0].after`; `found` is
    what stands there, `wanted` what would have worked. `policy check --json` prints these field names.
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
    """Raised when a policy file cannot be applied; holds all of its errors, from top to bottom.

    The text is one line for each error.
    """

    def __init__(self, errors: tuple[PolicyFault, ...]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class InvalidValue(ValueError):
    """Raised for a value that cannot be read: what was found and what would have worked.

    The reader adds the path and the position.
    """

    def __init__(self, found: str, wanted: str) -> None:
        super().__init__(f"{found}, {wanted}")
        self.found = found
        self.wanted = wanted


class FormerName(InvalidValue):
    """Raised for a name that an earlier release accepted, so a policy in force may still hold it."""


def printable_excerpt(text: str, max_length: int) -> str:
    """Cut a piece of the file to fit in a line, and replace what is not printable."""
    text = text if len(text) <= max_length else text[: max_length - 1] + "…"
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in text)


def quoted_excerpt(text: str) -> str:
    """Return a piece of the file in quotes, cut to 40 printable characters."""
    return f"'{printable_excerpt(text, 40)}'"
