"""Parse the slash commands in a comment: the first words of its own lines, as seen in the rendered comment.

Lines in code, quotations, lists or HTML blocks are not commands.  Blocks follow CommonMark. They are distinguished
here in one pass over the lines, because a comment can keep a Markdown parser busy for seconds; the tests compare
this pass with such a parser.  Three rules are our own, and each finds fewer commands, never more:

- only the first 4,000 lines of a comment are read;
- text nested more than twenty deep is plain text, whatever it begins with;
- a line that may belong to a link definition above it (`[a]:`) belongs to it, and so does the end of its paragraph.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial

from app.core.slash_command import SlashCommand

MAX_COMMANDS = 10
_MAX_LINES = 4_000  # GitHub accepts 65,536 characters: 16 per line
_MAX_DEPTH = 20

_COMMAND = re.compile(r"/([A-Za-z][A-Za-z-]{0,39})(?:[ \t]+(.*))?")
_POSSIBLE_COMMAND = re.compile(r"^[ \t]*/[A-Za-z]", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n){2,}")


def parse_commands(body: str) -> tuple[SlashCommand, ...]:
    """Parse the commands of a comment in the order written, names in lower case; at most the first ten."""
    body = body.replace("\r\n", "\n").replace("\r", "\n").replace("\x00", "\ufffd")
    if not _POSSIBLE_COMMAND.search(body):
        return ()
    commands: list[SlashCommand] = []
    for paragraph in _top_level_paragraphs(_BLANK_LINES.sub("\n\n", body).split("\n")[:_MAX_LINES]):
        for line in _visible_lines(paragraph) if _POSSIBLE_COMMAND.search(paragraph) else ():
            command = _COMMAND.fullmatch(line.strip(" \t"))
            if command:
                commands.append(SlashCommand(command[1].lower(), (command[2] or "").strip()))
                if len(commands) == MAX_COMMANDS:
                    return tuple(commands)
    return tuple(commands)


# --- blocks

_QUOTE = 0
_CONTAINER_STARTS = frozenset(">-+*0123456789")  # first characters of quotations and list items
_BLOCK_STARTS = frozenset("#-_*=`~<")  # first characters of all other blocks
_LIST_ITEM = re.compile(r"( {0,3}(?:[-+*]|([0-9]{1,9})[.)]))( +|\Z)")
_HEADING_UNDERLINE = re.compile(r"(?:=+|-+) *\Z")
_RULE_OR_HEADING = re.compile(r"#{1,6}(?: |\Z)|(?:- *+){3,}+\Z|(?:_ *+){3,}+\Z|(?:\* *+){3,}+\Z")
_FENCE = re.compile(r"(`{3,})[^`]*\Z|(~{3,})")
_HTML_BLOCK_TAGS = (
    "address|article|aside|base|basefont|blockquote|body|caption|center|col|colgroup|dd|details|dialog|dir|div|dl|dt"
    "|fieldset|figcaption|figure|footer|form|frame|frameset|h[1-6]|head|header|hr|html|iframe|legend|li|link|main|menu"
    "|menuitem|nav|noframes|ol|optgroup|option|p|param|search|section|summary|table|tbody|td|tfoot|th|thead|title|tr"
    "|track|ul"
)
_HTML_ATTRIBUTE = r"""\s++[a-zA-Z_:][a-zA-Z0-9:._-]*+(?:\s*+=\s*+(?:[^"'=<>`\x00-\x20]++|'[^']*+'|"[^"]*+"))?+"""
_HTML_BLOCK_START = re.compile(
    rf"<(?:(?P<raw>(?:script|pre|style|textarea)(?=\s|>|\Z))"
    rf"|(?P<comment>!--)|(?P<instruction>\?)|(?P<declaration>![a-z])"
    rf"|(?P<cdata>!\[(?-i:CDATA)\[)|(?P<block>/?(?:{_HTML_BLOCK_TAGS})(?=\s|/?>|\Z)))",
    re.IGNORECASE,
)
_HTML_BLOCK_ENDS: dict[str, Callable[[str], object]] = {
    "raw": re.compile(r"</(?:script|pre|style|textarea)>", re.IGNORECASE).search,
    "comment": re.compile(r"-->").search,
    "instruction": re.compile(r"\?>").search,
    "declaration": re.compile(r">").search,
    "cdata": re.compile(r"\]\]>").search,
    "block": re.compile(r" *\Z").match,
}
_ONE_TAG = re.compile(rf"(?:<[A-Za-z][A-Za-z0-9-]*+(?:{_HTML_ATTRIBUTE})*+\s*+/?>|</[A-Za-z][A-Za-z0-9-]*+\s*+>)\s*\Z")


def _top_level_paragraphs(lines: Iterable[str]) -> Iterator[str]:
    """Yield the paragraphs outside of other blocks.

    They include those that a line of dashes below them turns into a heading, such as the line above a signature.
    """
    state = _BlockState()
    paragraph: list[str] = []
    for line in lines:
        if not (state.in_paragraph and line[:1].isalpha()):  # such a line continues the paragraph in any block
            state.read_line(line)
        if state.in_paragraph and not state.containers:
            paragraph.append(line)
        elif paragraph:
            yield "\n".join(paragraph)
            paragraph = []
    if paragraph:
        yield "\n".join(paragraph)


class _BlockState:
    """The blocks that are open after the lines read so far."""

    def __init__(self) -> None:
        self.containers: list[int] = []  # _QUOTE for a quotation, else the indentation of a list item's content
        self.in_paragraph = False  # True if the innermost container has an open paragraph
        self.ends_block: Callable[[str], object] | None = None  # in a fence or HTML block: tests whether a line ends it
        self._in_empty_item = False  # the innermost container is a list item without content yet

    def read_line(self, line: str) -> None:
        """Update the state with the next line."""
        matched, rest = self._match_containers(line.expandtabs(4))
        blank = not rest.strip(" ")
        self._in_empty_item = False
        outside = matched < len(self.containers)
        if self.ends_block and not outside:
            if self.ends_block(rest):
                self.ends_block = None
            return
        opened, rest = self._open_containers(rest, matched, after_paragraph=self.in_paragraph and not outside)
        text = rest.lstrip(" ")
        indented = len(rest) - len(text) > 3
        continues = self.in_paragraph and not opened and not blank
        starts_block = bool(text) and not indented and self._starts_block(text, continues, outside)
        if continues and not starts_block:
            return  # outside of its container, this is a lazy continuation of the paragraph
        self.containers[matched:] = opened
        self.in_paragraph = bool(text) and not indented and not starts_block
        self._in_empty_item = not text and bool(opened) and opened[-1] != _QUOTE
        if not starts_block:
            self.ends_block = None

    def _match_containers(self, rest: str) -> tuple[int, str]:
        """Return how many open quotations and list items the line continues, and the line's content within them."""
        for number, container in enumerate(self.containers):
            text = rest.lstrip(" ")
            indent = len(rest) - len(text)
            if container == _QUOTE:
                if indent > 3 or text[:1] != ">":
                    return number, rest
                rest = text[1:].removeprefix(" ")
            elif indent < container if text else self._in_empty_item and number == len(self.containers) - 1:
                return number, rest
            else:
                rest = rest[container:]
        return len(self.containers), rest

    def _open_containers(self, rest: str, matched: int, *, after_paragraph: bool) -> tuple[list[int], str]:
        """Return the quotations and list items that begin in the line, and the rest of the line.

        Directly below a paragraph (`after_paragraph`) not every list item may begin.
        """
        opened: list[int] = []
        while matched + len(opened) < _MAX_DEPTH:
            text = rest.lstrip(" ")
            if text[:1] not in _CONTAINER_STARTS or len(rest) - len(text) > 3:
                break
            if text[0] == ">":
                opened.append(_QUOTE)
                rest = text[1:].removeprefix(" ")
                continue
            item = _LIST_ITEM.match(rest)
            if (
                not item
                or _RULE_OR_HEADING.match(text)
                or (after_paragraph and not opened and _HEADING_UNDERLINE.match(text))
            ):
                break
            empty = item.end() == len(rest)
            if after_paragraph and not opened and (empty or int(item[2] or 1) != 1):
                break
            spaces = len(item[3])
            opened.append(len(item[1]) + (1 if empty or spaces > 4 else spaces))
            rest = rest[opened[-1] :]
        return opened, rest

    def _starts_block(self, text: str, continues: bool, outside: bool) -> bool:
        """Return True if a block other than a paragraph begins here or, for an underline, ends here."""
        if text[0] not in _BLOCK_STARTS:
            return False
        if _RULE_OR_HEADING.match(text) or (continues and not outside and _HEADING_UNDERLINE.match(text)):
            self.ends_block = None
            return True
        if fence := _FENCE.match(text):
            self.ends_block = partial(_closes_fence, fence[1] or fence[2])
            return True
        if html := _HTML_BLOCK_START.match(text):
            ends_block = _HTML_BLOCK_ENDS[html.lastgroup or ""]
            self.ends_block = None if ends_block(text) else ends_block
            return True
        if not continues and _ONE_TAG.match(text):
            self.ends_block = _HTML_BLOCK_ENDS["block"]
            return True
        return False


def _closes_fence(mark: str, line: str) -> bool:
    text = line.strip(" ")
    return text.startswith(mark) and not text.strip(mark[0]) and len(line) - len(line.lstrip(" ")) <= 3


# --- hidden parts of a paragraph

_BACKTICKS = re.compile(r"`+")
_HIDDEN_PART_START = re.compile(r"`+|<!--|\\")
_LINK_DEFINITION = re.compile(
    r"[ \t]*\[(?=[^\]]*[^\s\]])(?:[^\[\]\\]|\\.)*+\]:[ \t]*\n?[ \t]*(?:<(?:[^<>\\\n]|\\.)*+>|[^\s<]\S*+)"
    r"""(?:(?:[ \t]+|[ \t]*\n[ \t]*)(?:"(?:[^"\\]|\\.)*+"|'(?:[^'\\]|\\.)*+'|\((?:[^()\\]|\\.)*+\)))?[ \t]*(?:\n|\Z)""",
    re.DOTALL,
)


def _visible_lines(paragraph: str) -> list[str]:
    """Return the lines that do not begin within a link definition, a code span or an HTML comment."""
    shown = 0
    while definition := _LINK_DEFINITION.match(paragraph, shown):
        shown = definition.end()
    paragraph = paragraph[shown:]
    hidden = _hidden_ranges(paragraph)
    start, end = next(hidden, (len(paragraph) + 1, 0))
    visible: list[str] = []
    at = 0
    for line in paragraph.split("\n"):
        while end and end <= at:
            start, end = next(hidden, (len(paragraph) + 1, 0))
        if at <= start:
            visible.append(line)
        at += len(line) + 1
    return visible


def _hidden_ranges(text: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of each code span and inline comment, in linear time."""
    closers: dict[int, list[int]] = {}
    for run in reversed(list(_BACKTICKS.finditer(text))):
        closers.setdefault(len(run[0]), []).append(run.start())
    last_close = text.rfind("-->")
    at = 0
    while found := _HIDDEN_PART_START.search(text, at):
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
