"""Split a body at its headings, without knowing the form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from app.github.issue_form.lines import find_fence_lines, hidden_spans, is_within, split_lines, trim_blank_lines

_MAX_HEADINGS = 1_000


@dataclass(frozen=True, slots=True)
class Block:
    """A heading and the text below it.

    `line` is the heading as written; it and `heading` are empty for the text before the first heading.
    """

    heading: str
    text: str
    line: str = ""


def split_blocks(body: str, is_known: Callable[[str], bool] | None = None) -> tuple[Block, ...]:
    """Split the body at its headings: `#` to `######`, and lines that are `**bold**` as a whole.

    Headings in fences and HTML comments are text, and so are all after the first thousand.  `**Severity:** SEV1` is a
    heading and its text in one line.  Bold text has other uses too: with `is_known`, it is a heading only if that says
    so.
    """
    lines = split_lines(body)
    hidden = hidden_spans(find_fence_lines(lines))
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines):
        if (
            not line
            or line[0] not in _HEADING_CHARS
            or (heading := _parse_heading(line)) is None
            or is_within(hidden, number)
        ):
            continue
        if len(found) == _MAX_HEADINGS:
            break
        if is_known is None or line.lstrip(" ").startswith("#") or is_known(heading[0]):
            found.append((number, *heading))
    marks = [(-1, "", ""), *found]
    ends = [number for number, _, _ in found] + [len(lines)]
    split = (
        Block(
            heading,
            trim_blank_lines([rest, *lines[at + 1 : end]] if rest else lines[at + 1 : end]),
            lines[at] if at >= 0 else "",
        )
        for (at, heading, rest), end in zip(marks, ends, strict=True)
    )
    return tuple(block for block in split if block.line or block.text)


_HEADING_CHARS = frozenset("# *-_+")


def _parse_heading(line: str) -> tuple[str, str] | None:
    """Return the heading's words and the text after them in the same line; None if the line is no heading."""
    line = line.strip(" \t")
    if line[:1] == "#":
        words = line.lstrip("#")
        if len(line) - len(words) > 6 or words[:1] not in {"", " ", "\t"}:
            return None
        words = words.strip(" \t")
        closed = words.rstrip("#")
        return (closed.rstrip(" \t") if not closed or closed[-1] in " \t" else words), ""
    if line[:2] in {"- ", "* ", "+ "}:
        line = line[2:].lstrip(" ")
    for mark in ("**", "__"):
        if line.startswith(mark):
            words, closed, rest = line[2:].partition(mark)
            rest = rest.lstrip(" \t")
            if not closed or not words.strip() or len(words) > 200:
                return None
            if words.rstrip().endswith((":", "：")) or rest[:1] in {":", "："}:
                return words.strip(" \t:：*"), rest.lstrip(":： \t")
            return None if rest else (words.strip(" \t*"), "")
    return None
