"""Find the answers in an issue's body by the meaning of their headings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from app.core.policy import Policy
from app.github.intake.shipped import shipped_form
from app.github.intake.wording import HEADING_KEYWORDS, HEADINGS
from app.github.issue_form import FormValue, parse_exact_body, split_blocks

MAX_READ_CHARS = 200
"""Number of characters of a choice, a time or a heading that are read."""
_FIELD_ALIASES = {"kind": "type", "source": "detection"}  # a policy may also use the report's own field names


@dataclass(frozen=True, slots=True)
class HeadingAnswer:
    """One answer below one heading."""

    heading: str
    value: FormValue

    @property
    def text(self) -> str:
        """The answer as one text; chosen items are joined by `, `."""
        if isinstance(self.value, str):
            return self.value
        return ", ".join(self.items)

    @property
    def items(self) -> list[str]:
        """The chosen parts of a multiple choice, or the labels of the ticked boxes."""
        if isinstance(self.value, str):
            return _ticked_boxes(self.value)
        return [
            part if isinstance(part, str) else str(part["label"])
            for part in self.value or []
            if isinstance(part, str) or part["checked"]
        ]

    @property
    def choice(self) -> str:
        """The beginning of a choice, stripped of ASCII spaces and line ends only."""
        return (", ".join(self.items) if self.items else self.text)[:MAX_READ_CHARS].strip(" \r\n")


def parse_answers(body: str, policy: Policy) -> dict[str, list[HeadingAnswer]]:
    """Map each field that the body asks for to its answers.

    An empty answer gives an empty list; an unknown heading gives no entry.
    """
    form = shipped_form()
    exact = parse_exact_body(form, body)
    if exact is not None:
        return {
            key: [HeadingAnswer(form_field.label, exact[key])] if exact[key] is not None else []
            for key, form_field in zip(form.keys(), form.fields, strict=True)
        }
    custom_headings = {
        " ".join(words.casefold().split()): _FIELD_ALIASES.get(name, name)
        for words, name in policy.intake.fields.items()
    }
    field_of = cache(lambda heading: _field_for_heading(heading, custom_headings))
    found: dict[str, list[HeadingAnswer]] = {}
    for block in split_blocks(body, lambda heading: field_of(heading) is not None):
        field = field_of(block.heading)
        if field is not None:
            value = _strip_comments(block.text)
            found.setdefault(field, []).extend([HeadingAnswer(block.heading, value)] if _is_answer(value) else [])
    return found


def _field_for_heading(heading: str, custom_headings: Mapping[str, str]) -> str | None:
    whole = " ".join(heading.casefold().split())
    if whole in custom_headings:
        return custom_headings[whole]
    whole = whole.strip(" :：?？*_#.!`")
    if whole in custom_headings:
        return custom_headings[whole]
    before, opened, inside = whole.partition("(")
    shown = whole if not opened else before
    candidates = [whole, before, inside.rstrip(") "), *shown.split("/"), *whole.split("（")]
    for words in candidates:
        meaning = HEADINGS.get(re.sub(r"^[^\w]+|[^\w]+$", "", words)) or HEADINGS.get(words.strip())
        if meaning:
            return meaning
    words_inside = set(re.split(r"\W+", whole[:MAX_READ_CHARS]))
    return next((HEADINGS[word] for word in HEADING_KEYWORDS if word in words_inside), None)


def _ticked_boxes(text: str) -> list[str]:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    found = [re.match(r"[-*+] +\[([xX ]?)\] +(.*)", line) for line in lines]
    return [tick[2] for tick in found if tick and tick[1] in ("x", "X")] if lines and all(found) else []


def _is_answer(text: str) -> bool:
    boxes_only = (
        text.startswith(("- [", "* ["))
        and not _ticked_boxes(text)
        and all("[ ]" in line or "[]" in line for line in text.split("\n"))
    )
    return bool(text) and text not in {"_No response_", "None"} and not boxes_only


def _strip_comments(text: str) -> str:
    parts: list[str] = []
    at = 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 2)) >= 0:
        parts.append(text[at:start])
        at = end + 3
    return "".join([*parts, text[at:]]).strip(" \r\n")
