"""What may stand in our comments as Markdown, and how everything else gets there.

The law of this room: a text is `Markdown` only if we wrote it.  Any other `str` that reaches a template or a phrase is
somebody's words and is quoted, whether anybody thought of it or not.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from app.text import fenced, length, quoted, quoted_lines

CEILING = 65_536
"""The longest body that GitHub takes for a comment, an issue or a pull request."""

_ORDINARY = 300
"""How much of somebody's words is shown where nothing else is said."""

_LOGIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_BOT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}(?:\[bot\])?")
_REFERENCE = re.compile(r"gh-[0-9]+|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-f]{7,60}|[0-9a-f]{40,60}", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][A-Za-z0-9./?#&=%+~:@,_-]*)?")
_TAG = re.compile(r"\{(?=[%{#])")
_BLANKS = re.compile(r"\n{3,}")


class Markdown(str):
    """Markdown of our own.  Made by the functions of this file only."""

    __slots__ = ()


def said(text: str, limit: int = _ORDINARY) -> Markdown:
    """Somebody's words on one line: shown as they are, doing nothing."""
    return Markdown(_TAG.sub("{\u200b", quoted(text, limit)))


def said_lines(text: str, limit: int) -> Markdown:
    """Somebody's words on several lines, as a quotation.  Nothing when there are none."""
    return Markdown(_TAG.sub("{\u200b", quoted_lines(text, limit)) if text.strip() else "")


def said_block(text: str, limit: int) -> Markdown:
    """Somebody's words in a fence, such as a log.  Nothing when there are none."""
    return Markdown(_TAG.sub("{\u200b", fenced(text, limit)) if text.strip() else "")


def safe(value: object) -> Markdown:
    """Markdown as it is, numbers as digits, any other text quoted.  Anything else is a mistake in a template."""
    if isinstance(value, Markdown):
        return value
    if isinstance(value, str):
        return said(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(value)
    if isinstance(value, Undefined):
        str(value)  # raises, and names what is missing
    raise TypeError(f"{type(value).__name__} cannot be shown in Markdown")


def md(pattern: str, *parts: object) -> Markdown:
    """Our `pattern` with each part made safe in the place of a `{}`.  The pattern is a literal of ours, never a value."""
    return Markdown(pattern.format(*map(safe, parts)))


def joined(parts: Iterable[object], between: str = ", ") -> Markdown:
    return Markdown(between.join(safe(part) for part in parts))


def listed(parts: Iterable[object], most: int, between: str = ", ") -> Markdown:
    """The first `most` of them, and how many more there are."""
    every = list(parts)
    more = [md("and {} more", len(every) - most)] if len(every) > most else []
    return joined([*every[:most], *more], between)


def code(text: str) -> Markdown:
    """Words of our own, such as a command, in a code span."""
    return Markdown(f"`{text}`") if "`" not in text and "|" not in text else said(text)


def person(login: str) -> Markdown:
    """Somebody by name, in a code span: nobody is notified."""
    if not login:
        return Markdown("somebody")
    if _BOT.fullmatch(login) and not _REFERENCE.fullmatch(login):
        return Markdown(f"`{login}`")
    return said(login, 60)


def people(logins: Iterable[str]) -> Markdown:
    return listed(map(person, logins), 10)


def mention(login: str) -> Markdown:
    """Somebody called by name: they are notified.  What is not a login, such as a team, is shown and calls nobody."""
    return Markdown(f"@{login}") if _LOGIN.fullmatch(login) else said(login, 60)


def link(text: object, url: str | None) -> Markdown:
    """A link, or the text alone where there is no address that can be linked."""
    if url is None or len(url) > 500 or not _ADDRESS.fullmatch(url):
        return safe(text)
    return md("[{}]({})", text, Markdown(url))


def rendered(template: str, **values: Any) -> Markdown:
    """The template filled in, without trailing blanks and with one empty line at most between two blocks."""
    text = _TEMPLATES.get_template(f"{template}.md.j2").render(values)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return Markdown(_BLANKS.sub("\n\n", text).strip("\n"))


def signed(body: Markdown, footer: str) -> str:
    """The body, cut at the end of a line where it is too long, and below it the footer as it is, whatever happens."""
    room = CEILING - length(footer) - 2
    text = body if length(body) <= room else _clipped(body, room)
    return f"{text}\n\n{footer}" if footer else text


def fits(body: Markdown, footer: str) -> bool:
    return length(body) + 2 + length(footer) <= CEILING


def _clipped(body: Markdown, room: int) -> str:
    """As many whole lines as there is room for; a `<details>` that was begun is left out with its text."""
    mark = "\n\n*Cut here: GitHub takes no longer comment.*"
    taken: list[str] = []
    size = length(mark)
    for line in body.split("\n"):
        size += length(line) + 1
        if size > room:
            break
        taken.append(line)
    kept = "\n".join(taken)
    if kept.count("<details>") > kept.count("</details>"):
        kept = kept[: kept.rindex("<details>")]
    return kept.rstrip("\n") + mark


_TEMPLATES = Environment(
    loader=PackageLoader("app.render.markdown"),
    autoescape=False,  # noqa: S701  the output is Markdown: `finalize` quotes what HTML escaping would not
    finalize=safe,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
