"""Parse the answer to one field from the text below its heading."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Literal

from app.github.issue_form.form import FALSE_WORDS, TRUE_WORDS, Field, FormValue
from app.github.issue_form.lines import is_fence_pair, trim_blank_lines

NO_RESPONSE = "_No response_"
CHECKBOX = re.compile(r"[-*+] +\[([ xX]?)\](?:[ \t]+(.*))?", re.DOTALL)
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(?:\.[0-9]{1,15})?")


def parse_answer(field: Field, lines: list[str]) -> FormValue:
    """Parse the answer in the lines; None if the field was not answered."""
    text = trim_blank_lines(lines)
    if not text.strip() or text == NO_RESPONSE:
        return None
    match field.kind:
        case "checkboxes":
            return _parse_checkboxes(text) or text
        case "dropdown":
            return _parse_choice(field, text.strip(" "))
        case "input":
            return text.strip()
        case _:
            return _unwrap_fence(text) if field.render else text


def _parse_choice(field: Field, text: str) -> FormValue:
    if text == "None" and not field.required:
        return None
    if not field.multiple:
        return text
    options = match_options(field, text)
    return options if isinstance(options, list) else _split_known_options(field, text)


def _unwrap_fence(text: str) -> str | None:
    head, _, rest = text.partition("\n")
    content, _, foot = rest.rpartition("\n")
    if not is_fence_pair(head, foot):
        return text
    return trim_blank_lines(content.split("\n")) or None


def _parse_checkboxes(text: str) -> list[dict[str, str | bool]]:
    ticks: list[tuple[bool, list[str]]] = []
    for line in text.split("\n"):
        found = CHECKBOX.fullmatch(line.rstrip())
        if found:
            ticks.append((found[1] in ("x", "X"), [found[2] or ""]))
        elif ticks:
            ticks[-1][1].append(line)
        else:
            return []
    return [{"label": "\n".join(words).strip(), "checked": checked} for checked, words in ticks]


def match_options(field: Field, text: str) -> str | list[str] | Literal[False]:
    """Return the options that the text names; False if it is no possible choice of the field."""
    if text == "None":
        return not field.required and "None"
    if not field.options:
        return [text] if field.multiple else text
    names = _option_spellings(field.options)
    if not field.multiple:
        return text in names and text
    return _split_options(text, names) or False


@lru_cache(256)
def _option_spellings(options: tuple[str, ...]) -> dict[str, str]:
    """Map each way an option may be written in a body to the option.

    YAML reads `yes` and `1.10` as values, and GitHub may show the value it read.
    """
    names = {option: option for option in options}
    for option in options:
        if option.lower() in TRUE_WORDS | FALSE_WORDS:
            names.setdefault(str(option.lower() in TRUE_WORDS).lower(), option)
            names.setdefault(str(option.lower() in TRUE_WORDS), option)
        elif _NUMBER.fullmatch(option):
            names.setdefault(str(float(option) if "." in option else int(option)), option)
    return names


def _split_options(text: str, names: dict[str, str]) -> list[str]:
    """Split the text into options joined by `, `, longest first where ambiguous; empty if it cannot be split.

    Works from the back and remembers from which positions the end can be reached, so nothing is tried twice.
    """
    sizes = sorted({len(name) for name in names}, reverse=True)
    if len(text) > 2 * sum(len(name) + 2 for name in names):
        return []
    next_at: dict[int, int] = {len(text) + 2: -1}
    for at in range(len(text) - 1, -1, -1):
        if at and text[at - 2 : at] != ", ":
            continue
        for size in sizes:
            end = at + size
            if end + 2 in next_at and (end == len(text) or text[end : end + 2] == ", ") and text[at:end] in names:
                next_at[at] = end + 2
                break
    parts, at = [], 0
    while 0 <= at < len(text):
        if at not in next_at:
            return []
        parts.append(text[at : next_at[at] - 2])
        at = next_at[at]
    return parts


def _split_known_options(field: Field, text: str) -> list[str]:
    """Split the text into known options and, between them, unknown text kept whole with its commas."""
    names = sorted(_option_spellings(field.options), key=len, reverse=True)
    parts: list[str] = []
    unknown = 0
    at = 0
    steps = 0
    while at < len(text) and steps < 2000:
        steps += 1
        name = next(
            (n for n in names if text.startswith(n, at) and text[at + len(n) : at + len(n) + 2] in ("", ", ")), None
        )
        if name is not None:
            if unknown < at:
                parts.append(text[unknown : at - 2])
            parts.append(name)
            at = unknown = at + len(name) + 2
        else:
            comma = text.find(", ", at)
            if comma < 0:
                break
            at = comma + 2
    if unknown < len(text):
        parts.append(text[unknown:])
    return parts
