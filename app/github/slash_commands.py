"""The slash commands in a comment: first words of its own lines, as a reader of the rendered comment sees them.

What stands in code, a quotation, a list or an HTML block is shown or hidden, not said.  Where a line stands is a matter
of CommonMark's blocks.  They are told apart here in one pass over the lines, because a Markdown parser can be kept busy
for seconds by one comment; the tests hold this pass against such a parser.  Three rules are our own, and each hears
less rather than more:

- only the first 4,000 lines of a comment are listened to;
- what is nested more than twenty deep is text, whatever it begins with;
- a line that may belong to a link definition above it (`[a]:`) belongs to it, and so does the end of its paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from app.core.slash_command import Spoken

MOST_COMMANDS = 10
_MOST_LINES = 4_000  # GitHub takes 65,536 characters: 16 a line
_DEEPEST = 20

_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]{0,39})(?:[ \t]+(.*))?")
_MAYBE = re.compile(r"^[ \t]*/[A-Za-z]", re.MULTILINE)
_BLANK = re.compile(r"\n(?:[ \t]*\n){2,}")


def spoken(body: str) -> tuple[Spoken, ...]:
    """The commands, names in lower case, in the order they were written; at most the first ten."""
    body = body.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")
    if not _MAYBE.search(body):
        return ()
    found: list[Spoken] = []
    for paragraph in _paragraphs(_BLANK.sub("\n\n", body).split("\n")[:_MOST_LINES]):
        for line in _said(paragraph) if _MAYBE.search(paragraph) else ():
            command = _COMMAND.fullmatch(line.strip(" \t"))
            if command:
                found.append(Spoken(command[1].lower(), (command[2] or "").strip()))
                if len(found) == MOST_COMMANDS:
                    return tuple(found)
    return tuple(found)


# --- blocks

_QUOTE = 0
_OPENING = frozenset(">-+*0123456789")  # what quotations and items begin with
_OTHER = frozenset("#-_*=`~<")  # and the other blocks
_ITEM = re.compile(r"( {0,3}(?:[-+*]|([0-9]{1,9})[.)]))( +|\Z)")
_UNDERLINE = re.compile(r"(?:=+|-+) *\Z")
_RULE_OR_HEADING = re.compile(r"#{1,6}(?: |\Z)|(?:- *+){3,}+\Z|(?:_ *+){3,}+\Z|(?:\* *+){3,}+\Z")
_FENCE = re.compile(r"(`{3,})[^`]*\Z|(~{3,})")
_BLOCKS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt"
    "|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu"
    "|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr"
    "|track|ul"
)
_ATTRIBUTE = r"""\s++[a-zA-Z_:][a-zA-Z0-9:._-]*+(?:\s*+=\s*+(?:[^"'=<>`\x00-\x20]++|'[^']*+'|"[^"]*+"))?+"""
_HTML = re.compile(
    rf"<(?:(?P<raw>(?:script|pre|style|textarea)(?=\s|>|\Z))|(?P<comment>!--)|(?P<instruction>\?)|(?P<declaration>![a-z])"
    rf"|(?P<cdata>!\[(?-i:CDATA)\[)|(?P<block>/?(?:{_BLOCKS})(?=\s|/?>|\Z)))",
    re.IGNORECASE,
)
_HTML_ENDS: dict[str, Callable[[str], object]] = {
    "raw": re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE).search,
    "comment": re.compile(r"-->").search,
    "instruction": re.compile(r"\?>").search,
    "declaration": re.compile(r">").search,
    "cdata": re.compile(r"\]\]>").search,
    "block": re.compile(r" *\Z").match,
}
_ONE_TAG = re.compile(rf"(?:<[A-Za-z][A-Za-z0-9-]*+(?:{_ATTRIBUTE})*+\s*+/?>|</[A-Za-z][A-Za-z0-9-]*+\s*+>)\s*\Z")


def _paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """The paragraphs that stand by themselves; also one that a line of dashes below it, such as the one above a
    signature, makes a heading."""
    place = _Place()
    own: list[str] = []
    for line in lines:
        if not (place.paragraph and line[:1].isalpha()):  # such a line goes on with the paragraph, wherever that is
            place.take(line)
        if place.paragraph and not place.inside:
            own.append(line)
        elif own:
            yield "\n".join(own)
            own = []
    if own:
        yield "\n".join(own)


class _Place:
    """What is open after the lines taken so far."""

    def __init__(self) -> None:
        self.inside: list[int] = []  # quotations, and for list items how far their content is indented
        self.paragraph = False  # of the innermost of them
        self.until: Callable[[str], object] | None = None  # in a fence or HTML: whether it ends with that line
        self._hollow = False  # the innermost is an item that has nothing in it yet

    def take(self, line: str) -> None:
        """Go on with one line."""
        kept, rest = self._entered(line.expandtabs(4))
        blank = not rest.strip(" ")
        self._hollow = False
        outside = kept < len(self.inside)
        if self.until and not outside:
            if self.until(rest):
                self.until = None
            return
        opened, rest = self._opened(rest, kept, directly=self.paragraph and not outside)
        text = rest.lstrip(" ")
        indented = len(rest) - len(text) > 3
        goes_on = self.paragraph and not opened and not blank
        begins = bool(text) and not indented and self._begins(text, goes_on, outside)
        if goes_on and not begins:
            return  # outside, this is the lazy continuation of a paragraph within
        self.inside[kept:] = opened
        self.paragraph = bool(text) and not indented and not begins
        self._hollow = not text and bool(opened) and opened[-1] != _QUOTE
        if not begins:
            self.until = None

    def _entered(self, rest: str) -> tuple[int, str]:
        """How many of the open quotations and items the line belongs to, and the line within them."""
        for number, need in enumerate(self.inside):
            text = rest.lstrip(" ")
            indent = len(rest) - len(text)
            if need == _QUOTE:
                if indent > 3 or text[:1] != ">":
                    return number, rest
                rest = text[1:].removeprefix(" ")
            elif indent < need if text else self._hollow and number == len(self.inside) - 1:
                return number, rest
            else:
                rest = rest[need:]
        return len(self.inside), rest

    def _opened(self, rest: str, kept: int, *, directly: bool) -> tuple[list[int], str]:
        """The quotations and items that begin in the line.  `directly` below a paragraph not every item may."""
        opened: list[int] = []
        while kept + len(opened) < _DEEPEST:
            text = rest.lstrip(" ")
            if text[:1] not in _OPENING or len(rest) - len(text) > 3:
                break
            if text[0] == ">":
                opened.append(_QUOTE)
                rest = text[1:].removeprefix(" ")
                continue
            item = _ITEM.match(rest)
            if not item or _RULE_OR_HEADING.match(text) or (directly and not opened and _UNDERLINE.match(text)):
                break
            empty = item.end() == len(rest)
            if directly and not opened and (empty or int(item[2] or 1) != 1):
                break
            spaces = len(item[3])
            opened.append(len(item[1]) + (1 if empty or spaces > 4 else spaces))
            rest = rest[opened[-1] :]
        return opened, rest

    def _begins(self, text: str, goes_on: bool, outside: bool) -> bool:
        """Whether another block than a paragraph begins or, in the case of an underline, ends here."""
        if text[0] not in _OTHER:
            return False
        if _RULE_OR_HEADING.match(text) or (goes_on and not outside and _UNDERLINE.match(text)):
            self.until = None
            return True
        if fence := _FENCE.match(text):
            self.until = partial(_closes, fence[1] or fence[2])
            return True
        if html := _HTML.match(text):
            until = _HTML_ENDS[html.lastgroup or ""]
            self.until = None if until(text) else until
            return True
        if not goes_on and _ONE_TAG.match(text):
            self.until = _HTML_ENDS["block"]
            return True
        return False


def _closes(mark: str, line: str) -> bool:
    text = line.strip(" ")
    return text.startswith(mark) and not text.strip(mark[0]) and len(line) - len(line.lstrip(" ")) <= 3


# --- what a paragraph hides

_TICKS = re.compile(r"`+")
_SPECIAL = re.compile(r"`+|<!--|\\")
_DEFINITION = re.compile(
    r"[ \t]*\[(?=[^\]]*[^\s\]])(?:[^\[\]\\]|\\.)*+\]:[ \t]*\n?[ \t]*(?:<(?:[^<>\\\n]|\\.)*+>|[^\s<]\S*+)"
    r"""(?:(?:[ \t]+|[ \t]*\n[ \t]*)(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\)))?[ \t]*(?:\n|\Z)""",
    re.DOTALL,
)


def _said(paragraph: str) -> list[str]:
    """The lines that do not begin within a link definition, a code span or an HTML comment."""
    shown = 0
    while definition := _DEFINITION.match(paragraph, shown):
        shown = definition.end()
    paragraph = paragraph[shown:]
    hidden = _hidden(paragraph)
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
