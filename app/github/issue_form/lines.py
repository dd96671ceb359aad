"""Find the lines of a body that are inside fences and HTML comments, and trim blank lines."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)", re.DOTALL)
_COMMENT_START = "<!--"


def split_lines(body: str) -> list[str]:
    """Split a body into lines, at line ends of any kind and without byte order mark."""
    return body.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")


def find_fence_lines(lines: Sequence[str]) -> list[tuple[int, str]]:
    """Return the lines that may open or close a fence or an HTML comment, with their numbers."""
    return [
        (number, line)
        for number, line in enumerate(lines)
        if "```" in line or "~~~" in line or "<!--" in line or "-->" in line
    ]


def hidden_spans(fence_lines: Sequence[tuple[int, str]]) -> list[tuple[int, int]]:
    """Return the spans of lines in fences and HTML comments, both ends included.

    The last span may be unclosed: then it ends after any possible line.
    """
    spans: list[tuple[int, int]] = []
    start, opened = -1, ""
    for number, line in fence_lines:
        if start < 0:
            opened = _opening_mark(line)
            start = number if opened else -1
        elif _closes_block(opened, line):
            spans.append((start, number))
            start = -1
    if start >= 0:
        spans.append((start, 1 << 60))
    return spans


def is_within(spans: Sequence[tuple[int, int]], line: int) -> bool:
    """Return True if the line is inside one of the spans, which are sorted."""
    at = bisect_left(spans, (line + 1,)) - 1
    return at >= 0 and spans[at][0] <= line <= spans[at][1]


def is_fence_pair(head: str, foot: str) -> bool:
    """Return True if the two lines open and close the same fence."""
    opened = _opening_mark(head)
    return opened not in {"", _COMMENT_START} and _closes_block(opened, foot)


def _opening_mark(line: str) -> str:
    """Return the fence that the line opens, or the start of a comment it leaves open; else an empty text."""
    found = _FENCE.match(line)
    if found:
        return "" if found[1][0] == "`" and "`" in found[2] else found[1]
    at = line.find(_COMMENT_START)
    return _COMMENT_START if 0 <= at <= 3 and not line[:at].strip(" ") and "-->" not in line[at + 2 :] else ""


def _closes_block(opened: str, line: str) -> bool:
    if opened == _COMMENT_START:
        return "-->" in line
    found = _FENCE.match(line)
    return found is not None and found[1].startswith(opened) and not found[2].strip()


def trim_blank_lines(lines: Sequence[str]) -> str:
    """Return the text without blank lines around it and spaces after it; the first line keeps its indentation."""
    text = "\n".join(lines).rstrip(" \n")  # nothing else: a no-break space may be there to deceive
    first = len(text) - len(text.lstrip(" \n"))
    return text[text.rfind("\n", 0, first) + 1 :]
