"""The lines of a body: which are blank, and which stand in fences and HTML comments."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_COMMENT = "<!--"


def lines_of(body: str) -> list[str]:
    return body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def markers(lines: Sequence[str]) -> list[tuple[int, str]]:
    """The lines that may open or close a fence or an HTML comment."""
    return [
        (number, line)
        for number, line in enumerate(lines)
        if "```" in line or "~~~" in line or "<!--" in line or "-->" in line
    ]


def hidden_spans(markers: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    """The spans of lines within fences and HTML comments, first and last included; the last may be open to the end."""
    spans: list[tuple[int, int]] = []
    start, opened = -1, ""
    for number, line in markers:
        if start < 0:
            opened = _opened(line)
            start = number if opened else -1
        elif _closes(opened, line):
            spans.append((start, number))
            start = -1
    if start >= 0:
        spans.append((start, 1 << 60))
    return spans


def within(spans: Sequence[tuple[int, int]], line: int) -> bool:
    at = bisect_left(spans, (line + 1,)) - 1
    return at >= 0 and spans[at][0] <= line <= spans[at][1]


def wraps(head: str, foot: str) -> bool:
    """Whether two lines are the first and the last of one fence."""
    opened = _opened(head)
    return opened not in {"", _COMMENT} and _closes(opened, foot)


def _opened(line: str) -> str:
    """The fence that the line opens, or the beginning of a comment that it leaves open; empty for other lines."""
    found = _FENCE.match(line)
    if found:
        return "" if found[1][0] == "`" and "`" in found[2] else found[1]
    at = line.find(_COMMENT)
    return _COMMENT if 0 <= at <= 3 and not line[:at].strip(" ") and "-->" not in line[at + 2 :] else ""


def _closes(opened: str, line: str) -> bool:
    if opened == _COMMENT:
        return "-->" in line
    found = _FENCE.match(line)
    return found is not None and found[1].startswith(opened) and not found[2].strip()


def trimmed(lines: Sequence[str]) -> str:
    """Without the blank lines around it and the spaces behind it; an indented first line keeps its indent."""
    text = "\n".join(lines).rstrip(" \n")  # and nothing else: a no-break space can be meant to deceive
    first = len(text) - len(text.lstrip(" \n"))
    return text[text.rfind("\n", 0, first) + 1 :]
