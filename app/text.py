"""Make user text safe for our own comments, titles and code fences.

What a reporter writes is shown as written and has no effect: it mentions no user, creates no reference, closes no
issue, and stays in its line, cell or fence.  References are broken with U+200B, because neither a backslash, an entity
nor a code span stops them everywhere (mail replies quote the raw text).
"""

from __future__ import annotations

import html
import re
import unicodedata

_ZERO_WIDTH_SPACE = "\u200b"
_ELLIPSIS = "…"
_UNSTORABLE_CHARACTER = re.compile("[\x00\ud800-\udfff]")
_LINE_ENDS = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_JOINERS = frozenset("\u200c\u200d")  # needed by emoji families and several scripts

_REFERENCE_BREAKS = (
    # Each has at most one unbounded part, which cannot restart inside itself: linear time on any text.
    (re.compile(r"@"), "@" + _ZERO_WIDTH_SPACE),
    (re.compile(r"#(?=\w)"), "#" + _ZERO_WIDTH_SPACE),
    (re.compile(r"(?<![A-Za-z0-9])(gh-)(?=[0-9])", re.IGNORECASE), r"\1" + _ZERO_WIDTH_SPACE),
    (re.compile(r"://"), _ZERO_WIDTH_SPACE + "://"),
    (re.compile(r"(?<![A-Za-z0-9])(www)(?=\.)", re.IGNORECASE), r"\1" + _ZERO_WIDTH_SPACE),
    (re.compile(r"<(?=!--)"), "<" + _ZERO_WIDTH_SPACE),
    (re.compile(r"--(?=!?>)"), "--" + _ZERO_WIDTH_SPACE),
)
_COMMIT_HASH = re.compile(r"(?<![A-Za-z0-9])[0-9a-fA-F]{7,64}(?![A-Za-z0-9])")
_CLOSING_KEYWORD = re.compile(
    r"(?<![A-Za-z])(clos|fix|resolv)(?=(?:e|es|ed)?:?[ \t\n]+[^ \t\n]{0,200}(?:#|gh-|://))", re.IGNORECASE
)
_SKIP_CI = re.compile(r"\[(?=(?:skip[ -](?:ci|actions|checks)|(?:ci|actions)[ -]skip|no[ -]ci)\])", re.IGNORECASE)
_TEMPLATE_TAG = re.compile(r"\{(?=[{%#])")

_MARKDOWN_ESCAPES = {c: "\\" + c for c in "\\`*_[]|~$!{}"} | {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_LINE_START = re.compile(r"[-+=#:]|[0-9]{1,9}[.)]")


def replace_unstorable(text: str) -> str:
    """Replace NUL and lone surrogates by U+FFFD, so that every store, log and page can hold the text."""
    return _UNSTORABLE_CHARACTER.sub("\ufffd", text)


def make_visible(text: str, limit: int = 60) -> str:
    r"""Return one line of the text for a message about the text itself, with deceptive characters spelled out.

    Controls, invisible and bidirectional characters, accents on ASCII and look-alike letters come out as `\u202e`.
    """
    shown: list[str] = []
    previous = ""
    for char in text[: limit + 1]:
        shown.append(_spell_out(char) if _is_deceptive(char, previous) else char)
        previous = char
    return _truncate(shown, limit)


def escape_line(text: str, limit: int) -> str:
    """Escape user text for one line of Markdown: a heading, a sentence, a table cell.

    At most `limit` long, truncated with `…`.
    """
    return _truncate(_escape_markdown(_defuse(" ".join(_decode(text, limit).split()))), limit)


def quote_lines(text: str, limit: int) -> str:
    """Format user text of several lines as a Markdown quotation, at most `limit` long."""
    lines = _defuse(_decode(text, limit).strip("\n")).split("\n")
    pieces: list[str] = []
    for number, line in enumerate(lines):
        pieces.append("\n> " if number else "> ")
        pieces.extend(_escape_markdown(line.strip()))
    return _truncate(pieces, limit)


def defuse_line(text: str, limit: int) -> str:
    """Defuse user text for one line that is not Markdown: a pull request title, a commit subject.

    Also breaks `[skip ci]`, template tags, and a first character that a spreadsheet would run as a formula.
    """
    line = _defuse_unescaped(" ".join(_decode(text, limit).split()))
    line = _TEMPLATE_TAG.sub("{" + _ZERO_WIDTH_SPACE, _SKIP_CI.sub(lambda found: found[0] + _ZERO_WIDTH_SPACE, line))
    line = re.sub(r"<(?=[A-Za-z/!?])", "<" + _ZERO_WIDTH_SPACE, line)
    return _truncate([_ZERO_WIDTH_SPACE, *line] if line[:1] in set("=+-@") else list(line), limit)


def fence_text(text: str, limit: int) -> str:
    """Put user text of several lines into a code fence that it cannot close, at most `limit` long with the fences."""
    content = _defuse_unescaped(_decode(text, limit)).strip("\n")
    runs = re.findall("`+", content)
    delimiter = "`" * max(3, *(len(run) + 1 for run in runs)) if runs else "```"
    room = limit - 2 * len(delimiter) - 2
    if room < 1:  # nothing but backticks: show that there was some text
        delimiter, content, room = "```", _ELLIPSIS, limit
    return f"{delimiter}\n{_truncate(list(content), room)}\n{delimiter}"


def github_length(text: str) -> int:
    """Return the length as GitHub may count it: in UTF-16 units, the larger of its two ways."""
    return len(text) if text.isascii() else len(text) + sum(char > "\uffff" for char in text)


def _decode(text: str, limit: int) -> str:
    r"""Decode entities, normalise line ends to `\n` and spell out invisible characters."""
    text = replace_unstorable(text[: 8 * limit + 64])
    for _ in range(3):
        text, before = html.unescape(text), text
        if text == before:
            break
    text = _LINE_ENDS.sub("\n", replace_unstorable(text))
    return "".join(_spell_out(char) if _is_hidden(char) else char for char in text)


def _defuse(text: str) -> str:
    text = _CLOSING_KEYWORD.sub(lambda found: found[0] + _ZERO_WIDTH_SPACE, text)
    text = _COMMIT_HASH.sub(_split_hash, text)
    for pattern, safe in _REFERENCE_BREAKS:
        text = pattern.sub(safe, text)
    return text


def _defuse_unescaped(text: str) -> str:
    """Defuse text where an entity would be decoded later, such as in a mail reply that quotes it."""
    return re.sub(r"&(?=#|[A-Za-z])", "&" + _ZERO_WIDTH_SPACE, _defuse(text))


def _split_hash(found: re.Match[str]) -> str:
    word = found[0]
    plain_word = len(word) < 40 and (word.isdigit() or word.isalpha())  # a number or a word, not a commit
    return word if plain_word else word[:6] + _ZERO_WIDTH_SPACE + word[6:]


def _escape_markdown(line: str) -> list[str]:
    """Escape Markdown, one piece per character, so that truncation never falls inside an escape."""
    pieces = [_MARKDOWN_ESCAPES.get(char, char) for char in line]
    start = _LINE_START.match(line)
    if start:
        last = start.end() - 1
        pieces[last] = "\\" + line[last]
    return pieces


def _truncate(pieces: list[str], limit: int) -> str:
    used = 0
    for number, piece in enumerate(pieces):
        size = github_length(piece)
        if used + size > limit:
            kept = number
            while kept and used + 1 > limit:
                kept -= 1
                used -= github_length(pieces[kept])
            return "".join(pieces[:kept]) + _ELLIPSIS
        used += size
    return "".join(pieces)


def _spell_out(char: str) -> str:
    return f"\\u{ord(char):04x}" if char <= "\uffff" else f"\\U{ord(char):08x}"


def _is_hidden(char: str) -> bool:
    """Return True if the character is invisible, or can change the direction of the text around it."""
    if char.isascii():
        return char not in "\n\t" and (char < " " or char == "\x7f")
    return unicodedata.category(char) in {"Cf", "Cc", "Cs"} and char not in _JOINERS


def _is_deceptive(char: str, previous: str) -> bool:
    if char.isascii():
        return not char.isprintable()
    category = unicodedata.category(char)
    if category in {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp", "Zs"}:
        return True
    if category in {"Mn", "Me"}:
        return previous.isascii() or previous == "\ufe0f"
    if category[0] in "LN":
        folded = unicodedata.normalize("NFKC", char)
        alphabet = unicodedata.name(char, "").partition(" ")[0]
        return folded.isascii() or (alphabet in {"CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE"} and previous.isascii())
    return False
