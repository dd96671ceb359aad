"""Recognise choices as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from app.core.policy import Policy
from app.core.severity import Scale, Severity
from app.github.intake.wording import SEVERITIES, UNSURE_WORDS
from app.text import visible

_MAX_ALIASES_SHOWN = 3
"""Maximum number of aliases per severity in the hint for an answer that was not understood."""


def begins(text: str, words: Iterable[str]) -> bool:
    """Return True if the text is one of the words, or one of them and a remark: `High — all users`, `P1 (critical)`."""
    return any(_matches(text, word) for word in words)


def _matches(text: str, word: str) -> bool:
    head, rest = text[: len(word)], text[len(word) :]
    if not (head in (word, word.capitalize(), word.upper()) or (head.isascii() and head.lower() == word)):
        return False
    return _may_follow(rest)


def _may_follow(rest: str) -> bool:
    return not rest or rest.removeprefix(" ")[:1] in tuple("—–-:(：（")


def grade(text: str, policy: Policy) -> Severity | None:
    """Return the severity that the text begins with: the team's own name, a name on its scale, or a common word."""
    severity, size = max(_by_alias(text, policy), _by_scale(text, policy.scale), key=lambda found: found[1])
    if severity is not None:
        rest = text[size:]
        return severity if _may_follow(rest) and not _other_grades(rest, severity, policy) else None
    return next((severity for severity, row in SEVERITIES.items() if begins(text, row)), None)


def _by_alias(text: str, policy: Policy) -> tuple[Severity | None, int]:
    """Return the severity of the longest alias that begins the text, and the alias's length."""
    found = [(name, severity) for severity, names in policy.aliases.items() for name in names]
    for name, severity in sorted(found, key=lambda alias: -len(alias[0])):
        if begins(text, (name, name.lower())):
            return severity, len(name)
    return None, 0


def _by_scale(text: str, scale: Scale) -> tuple[Severity | None, int]:
    """Return the severity of the longest name on the scale that begins the text, and the name's length."""
    for size in range(min(len(text), 12), 0, -1):
        name = text[:size]
        severity = scale.read(name) or (Scale.SEV.read(name) if name.lower().startswith("sev") else None)
        if severity is not None:
            return severity, size
    return None, 0


def _other_grades(rest: str, severity: Severity, policy: Policy) -> bool:
    """Return True if the remark names another severity: `SEV1 - SEV2` is no choice."""
    names = re.findall(r"(?<![A-Za-z0-9])(?:sev|severity|p|priority)[- ]?[0-9](?![0-9A-Za-z])", rest, re.IGNORECASE)
    return rest[1:2].isdigit() or any(policy.severity(name) not in (severity, None) for name in names)


def severity_doubt(title: str, text: str, policy: Policy) -> str:
    """Return the doubt for the reporter about a severity that was not understood."""
    scale = policy.scale
    names = ", ".join(_names(severity, policy) for severity in Severity)
    label = re.match(r"(?:p|priority)[- ]?([0-9])(?![0-9A-Za-z])", text, re.IGNORECASE)
    if scale is Scale.SEV and label and grade(text, replace(policy, scale=Scale.P)) is not None:
        level = int(label[1])
        first = f"sev{level} where levels begin with 1, " if 1 <= level <= 4 else ""
        return f"{title}: '{visible(text)}' is {first}sev{level + 1} where {'they' if first else 'levels'} begin with P0. Please choose one of {names} or Not sure"
    return f"{title}: '{visible(text)}' is not one of {names} or Not sure"


def _names(severity: Severity, policy: Policy) -> str:
    """Return the severity's names in this policy: `SEV1`, or `SEV1 (critical, kritisch)`."""
    aliases = ", ".join(visible(name, 30) for name in policy.aliases.get(severity, ())[:_MAX_ALIASES_SHOWN])
    return f"{severity.on(policy.scale)} ({aliases})" if aliases else severity.on(policy.scale)


def unsure(text: str) -> bool:
    """Return True if the text says that the reporter does not know."""
    return begins(text.lower() if text.isascii() else text, UNSURE_WORDS)


def has_word(text: str, word: str) -> bool:
    """Return True if a word of the text begins with `word`.

    A short word (up to 3 letters) has to match as a whole; one that is not ASCII only has to occur in the text.
    """
    if not word.isascii():
        return word in text
    end = "(?![a-z])" if len(word) <= 3 else ""
    return re.search(rf"(?<![a-z]){re.escape(word)}{end}", text) is not None
