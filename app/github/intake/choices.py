"""Choices as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from app.core.severity import Scale, Severity
from app.github.intake.wording import SEVERITIES, UNSURE
from app.text import visible


def begins(text: str, words: Iterable[str]) -> bool:
    """Whether the text is one of the words, or one of them and then a remark: `High — all users`, `P1 (critical)`."""
    return any(_matches(text, word) for word in words)


def _matches(text: str, word: str) -> bool:
    head, rest = text[: len(word)], text[len(word) :]
    if not (head in (word, word.capitalize(), word.upper()) or (head.isascii() and head.lower() == word)):
        return False
    return _may_follow(rest)


def _may_follow(rest: str) -> bool:
    return not rest or rest.removeprefix(" ")[:1] in tuple("—–-:(：（")


def grade(text: str, scale: Scale) -> Severity | None:
    """The severity that a text begins with, on that scale or in words."""
    for size in range(min(len(text), 12), 0, -1):
        name = text[:size]
        severity = scale.read(name) or (Scale.SEV.read(name) if name.lower().startswith("sev") else None)
        if severity is not None:
            return severity if _may_follow(text[size:]) and not _other_grades(text[size:], severity, scale) else None
    return next((severity for severity, row in SEVERITIES.items() if begins(text, row)), None)


def _other_grades(rest: str, severity: Severity, scale: Scale) -> bool:
    """Whether a remark names another severity: `SEV1 - SEV2` is no choice."""
    names = re.findall(r"(?<![A-Za-z0-9])(?:sev|severity|p|priority)[- ]?[0-9](?![0-9A-Za-z])", rest, re.IGNORECASE)
    return rest[1:2].isdigit() or any(scale.read(name) not in (severity, None) for name in names)


def severity_doubt(title: str, text: str, scale: Scale) -> str:
    """What to tell somebody whose severity was not understood."""
    names = ", ".join(severity.on(scale) for severity in Severity)
    other = Scale.P if scale is Scale.SEV else Scale.SEV
    label = re.match(r"(?:p|priority)[- ]?([0-9])(?![0-9A-Za-z])", text, re.IGNORECASE)
    if scale is Scale.SEV and label and grade(text, other) is not None:
        level = int(label[1])
        first = f"sev{level} where levels begin with 1, " if 1 <= level <= 4 else ""
        return f"{title}: '{visible(text)}' is {first}sev{level + 1} where {'they' if first else 'levels'} begin with P0. Please choose one of {names} or Not sure"
    return f"{title}: '{visible(text)}' is not one of {names} or Not sure"


def unsure(text: str) -> bool:
    """Whether an answer says that it is none."""
    return begins(text.lower() if text.isascii() else text, UNSURE)


def has_word(text: str, word: str) -> bool:
    """Whether a word of the text begins so; a short one has to be it.  One that is not ASCII only has to be in it."""
    if not word.isascii():
        return word in text
    end = "(?![a-z])" if len(word) <= 3 else ""
    return re.search(rf"(?<![a-z]){re.escape(word)}{end}", text) is not None
