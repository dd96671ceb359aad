"""The slash commands in a comment: first words of its own lines, as a reader of the rendered comment sees them.

What stands in code, a quotation, a list or an HTML comment is shown or hidden, not said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.core.spoken import Spoken

MOST_COMMANDS = 10

_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]{0,39})(?:[ \t]+(.*))?")
_MAYBE = re.compile(r"^[ \t]*/[A-Za-z]", re.MULTILINE)
_BLANK = re.compile(r"\n(?:[ \t]*\n){2,}")
_TICKS = re.compile(r"`+")
_SPECIAL = re.compile(r"`+|<!--|\\")
_MARKDOWN = MarkdownIt("commonmark")


def spoken(body: str) -> tuple[Spoken, ...]:
    """The commands, names in lower case, in the order they were written; at most the first ten."""
    body = body.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")
    if not _MAYBE.search(body):
        return ()
    body = _BLANK.sub("\n\n", body)
    found: list[Spoken] = []
    for paragraph in _paragraphs(body):
        for line in _said(paragraph):
            command = _COMMAND.fullmatch(line.strip(" \t"))
            if command:
                found.append(Spoken(command[1].lower(), (command[2] or "").strip()))
                if len(found) == MOST_COMMANDS:
                    return tuple(found)
    return tuple(found)


def _paragraphs(body: str) -> Iterator[str]:
    """The paragraphs that stand by themselves; also one that a line of dashes below it, such as the one above a
    signature, makes a heading."""
    tokens: list[Token] = []
    _MARKDOWN.block.parse(body, _MARKDOWN, {}, tokens)
    for before, token in pairwise(tokens):
        own = before.level == 0 and (before.type == "paragraph_open" or before.markup in {"-", "="})
        if own and token.type == "inline":
            yield token.content


def _said(paragraph: str) -> list[str]:
    """The lines that do not begin within a code span or an HTML comment."""
    hidden = iter(_hidden(paragraph))
    start, end = next(hidden, (len(paragraph) + 1, 0))
    said: list[str] = []
    at = 0
    for line in paragraph.split("\n"):
        while end and end <= at:
            start, end = next(hidden, (len(paragraph) + 1, 0))
        if at <= start:
            said.append(line)
        at += len(line) + 1
    return said


def _hidden(text: str) -> Iterator[tuple[int, int]]:
    """Where code spans and inline comments begin and end.  Looks at each character a fixed number of times."""
    closers: dict[int, list[int]] = {}
    for run in reversed(list(_TICKS.finditer(text))):
        closers.setdefault(len(run[0]), []).append(run.start())
    last_close = text.rfind("-->")
    at = 0
    while found := _SPECIAL.search(text, at):
        at = found.end()
        if found[0] == "\\":
            at += 1
        elif found[0] == "<!--":
            if found.start() + 2 <= last_close:
                at = text.index("-->", found.start() + 2) + 3
                yield found.start(), at
        else:
            ends = closers.get(len(found[0]), [])
            while ends and ends[-1] < at:
                ends.pop()
            if ends:
                at = ends[-1] + len(found[0])
                yield found.start(), at
