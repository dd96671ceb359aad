"""Recognise choices as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from app.core.policy import Policy
from app.core.severity import Scale, Severity
from app.github.intake.wording import SEVERITIES, UNSURE_WORDS
from app.text import make_visible

_MAX_ALIASES_SHOWN = 3
"""Maximum number of aliases per severity in the hint for an answer that was not understood."""


def begins_with_choice(text: str, words: Iterable[str]) -> bool:
    """Return True if the text is one of the words, also with a remark: `High — all users`, `P1 (critical)`."""
    return any(_matches(text, word) for word in words)


def _matches(text: str, word: str) -> bool:
    head, rest = text[: len(word)], text[len(word) :]
    if not (head in (word, word.capitalize(), word.upper()) or (head.isascii() and head.lower() == word)):
        return False
    return _is_remark(rest)


def _is_remark(rest: str) -> bool:
    return not rest or rest.removeprefix(" ")[:1] in tuple("—–-:(：（")


def parse_severity(text: str, policy: Policy) -> Severity | None:
    """Return the severity that the text begins with: the team's own name, a name on its scale, or a common word."""
    severity, size = max(
        _severity_by_alias(text, policy), _severity_by_scale(text, policy.scale), key=lambda found: found[1]
    )
    if severity is not None:
        rest = text[size:]
        return severity if _is_remark(rest) and not _names_other_severity(rest, severity, policy) else None
    return next((severity for severity, row in SEVERITIES.items() if begins_with_choice(text, row)), None)


def _severity_by_alias(text: str, policy: Policy) -> tuple[Severity | None, int]:
    """Return the severity of the longest alias that begins the text, and the alias's length."""
    found = [(name, severity) for severity, names in policy.aliases.items() for name in names]
    for name, severity in sorted(found, key=lambda alias: -len(alias[0])):
        if begins_with_choice(text, (name, name.lower())):
            return severity, len(name)
    return None, 0


def _severity_by_scale(text: str, scale: Scale) -> tuple[Severity | None, int]:
    """Return the severity of the longest name on the scale that begins the text, and the name's length."""
    for size in range(min(len(text), 12), 0, -1):
        name = text[:size]
        severity = scale.parse(name) or (Scale.SEV.parse(name) if name.lower().startswith("sev") else None)
        if severity is not None:
            return severity, size
    return None, 0


def _names_other_severity(rest: str, severity: Severity, policy: Policy) -> bool:
    """Return True if the remark names another severity: `SEV1 - SEV2` is no choice."""
    names = re.findall(r"(?<![A-Za-z0-9])(?:sev|severity|p|priority)[- ]?[0-9](?![0-9A-Za-z])", rest, re.IGNORECASE)
    return rest[1:2].isdigit() or any(policy.severity(name) not in (severity, None) for name in names)


def severity_doubt(title: str, text: str, policy: Policy) -> str:
    """Return the doubt for the reporter about a severity that was not understood."""
    scale = policy.scale
    names = ", ".join(_severity_names(severity, policy) for severity in Severity)
    label = re.match(r"(?:p|priority)[- ]?([0-9])(?![0-9A-Za-z])", text, re.IGNORECASE)
    if scale is Scale.SEV and label and parse_severity(text, replace(policy, scale=Scale.P)) is not None:
        level = int(label[1])
        first = f"sev{level} where levels begin with 1, " if 1 <= level <= 4 else ""
        return (
            f"{title}: '{make_visible(text)}' is {first}sev{level + 1} where {'they' if first else 'levels'} begin "
            f"with P0. Please choose one of {names} or Not sure"
        )
    return f"{title}: '{make_visible(text)}' is not one of {names} or Not sure"


def _severity_names(severity: Severity, policy: Policy) -> str:
    """Return the severity's names in this policy: `SEV1`, or `SEV1 (critical, kritisch)`."""
    aliases = ", ".join(make_visible(name, 30) for name in policy.aliases.get(severity, ())[:_MAX_ALIASES_SHOWN])
    return f"{severity.display_name(policy.scale)} ({aliases})" if aliases else severity.display_name(policy.scale)


def is_unsure(text: str) -> bool:
    """Return True if the text says that the reporter does not know."""
    return begins_with_choice(text.lower() if text.isascii() else text, UNSURE_WORDS)


def has_word(text: str, word: str) -> bool:
    """Return True if a word of the text begins with `word`.

    A short word (up to 3 letters) has to match as a whole; one that is not ASCII only has to occur in the text.
    """
    if not word.isascii():
        return word in text
    end = "(?![a-z])" if len(word) <= 3 else ""
    return re.search(rf"(?<![a-z]){re.escape(word)}{end}", text) is not None
