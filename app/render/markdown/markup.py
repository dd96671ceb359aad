"""Build Markdown safely: everything that we did not write ourselves is escaped.

The rule of this module: a text is `Markdown` only if it is our own.  Any other `str` that reaches a template or a
phrase is untrusted and is escaped by default, so that forgetting to escape it does no harm.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Undefined

from app.text import escape_line, fence_text, github_length, quote_lines

MAX_BODY_CHARS = 65_536
"""The maximum length that GitHub accepts for the body of a comment, an issue or a pull request."""

_DEFAULT_MAX_CHARS = 300
"""The length at which untrusted text is cut unless the caller says otherwise."""

_LOGIN_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}")
_LOGIN_OR_BOT_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,59}(?:\[bot\])?")
_REFERENCE_PATTERN = re.compile(
    r"gh-[0-9]+|(?=[a-z]*[0-9])(?=[0-9]*[a-z])[0-9a-f]{7,60}|[0-9a-f]{40,60}", re.IGNORECASE
)
_URL_PATTERN = re.compile(r"https?://[A-Za-z0-9.-]+(?::[0-9]{1,5})?(?:[/?#][A-Za-z0-9./?#&=%+~:@,_-]*)?")
_TEMPLATE_TAG_PATTERN = re.compile(r"\{(?=[%{#])")
_BLANK_LINES_PATTERN = re.compile(r"\n{3,}")


class Markdown(str):
    """Markdown of our own, created only by the functions of this module."""

    __slots__ = ()


def escape(text: str, limit: int = _DEFAULT_MAX_CHARS) -> Markdown:
    """Escape untrusted text to one line of Markdown that shows it literally."""
    return Markdown(_TEMPLATE_TAG_PATTERN.sub("{\u200b", escape_line(text, limit)))


def quote(text: str, limit: int) -> Markdown:
    """Escape untrusted text of several lines as a block quote; blank text gives an empty result."""
    return Markdown(_TEMPLATE_TAG_PATTERN.sub("{\u200b", quote_lines(text, limit)) if text.strip() else "")


def code_block(text: str, limit: int) -> Markdown:
    """Escape untrusted text, such as a log, as a fenced code block; blank text gives an empty result."""
    return Markdown(_TEMPLATE_TAG_PATTERN.sub("{\u200b", fence_text(text, limit)) if text.strip() else "")


def to_markdown(value: object) -> Markdown:
    """Convert a value to Markdown: Markdown unchanged, integers as digits, any other text escaped.

    Raises TypeError for any other type, which is a mistake in a template.
    """
    if isinstance(value, Markdown):
        return value
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return Markdown(value)
    if isinstance(value, Undefined):
        str(value)  # raises an error that names the missing variable
    raise TypeError(f"{type(value).__name__} cannot be shown in Markdown")


def markdown(pattern: str, *parts: object) -> Markdown:
    """Fill each `{}` of `pattern` with a part converted to Markdown.

    `pattern` is a literal of ours, never a value.
    """
    return Markdown(pattern.format(*map(to_markdown, parts)))


def join(parts: Iterable[object], separator: str = ", ") -> Markdown:
    """Join the parts, each converted to Markdown."""
    return Markdown(separator.join(to_markdown(part) for part in parts))


def join_limited(parts: Iterable[object], limit: int, separator: str = ", ") -> Markdown:
    """Join the first `limit` parts, and say how many more there are."""
    all_parts = list(parts)
    rest = [markdown("and {} more", len(all_parts) - limit)] if len(all_parts) > limit else []
    return join([*all_parts[:limit], *rest], separator)


def code_span(text: str) -> Markdown:
    """Format our own text, such as a command, as a code span."""
    return Markdown(f"`{text}`") if "`" not in text and "|" not in text else escape(text)


def format_login(login: str) -> Markdown:
    """Format a login as a code span, which notifies no one."""
    if not login:
        return Markdown("somebody")
    if _LOGIN_OR_BOT_PATTERN.fullmatch(login) and not _REFERENCE_PATTERN.fullmatch(login):
        return Markdown(f"`{login}`")
    return escape(login, 60)


def format_logins(logins: Iterable[str]) -> Markdown:
    """Format up to ten logins as code spans, and say how many more there are."""
    return join_limited(map(format_login, logins), 10)


def mention(login: str) -> Markdown:
    """Mention a login, which notifies the person.

    Text that is not a login, such as a team, is escaped and notifies no one.
    """
    return Markdown(f"@{login}") if _LOGIN_PATTERN.fullmatch(login) else escape(login, 60)


def link(text: object, url: str | None) -> Markdown:
    """Build a link, or give the text alone where `url` is not a valid address."""
    if url is None or len(url) > 500 or not _URL_PATTERN.fullmatch(url):
        return to_markdown(text)
    return markdown("[{}]({})", text, Markdown(url))


def render_template(template: str, **values: Any) -> Markdown:
    """Render a template, without trailing blanks and with at most one empty line between blocks."""
    text = _TEMPLATES.get_template(f"{template}.md.j2").render(values)
    text = "\n".join(line.rstrip() for line in text.split("\n"))
    return Markdown(_BLANK_LINES_PATTERN.sub("\n\n", text).strip("\n"))


def with_footer(body: Markdown, footer: str) -> str:
    """Append the footer to the body, which is cut at the end of a line where it is too long.

    The footer is never changed: it holds the signed marker.
    """
    max_chars = MAX_BODY_CHARS - github_length(footer) - 2
    text = body if github_length(body) <= max_chars else _truncate(body, max_chars)
    return f"{text}\n\n{footer}" if footer else text


def fits_in_comment(body: Markdown, footer: str) -> bool:
    """Return whether body and footer fit into one GitHub comment."""
    return github_length(body) + 2 + github_length(footer) <= MAX_BODY_CHARS


def _truncate(body: Markdown, max_chars: int) -> str:
    """Cut the body after a whole line; a `<details>` block that would stay open is removed entirely."""
    truncation_note = "\n\n*Cut here: GitHub takes no longer comment.*"
    lines: list[str] = []
    size = github_length(truncation_note)
    for line in body.split("\n"):
        size += github_length(line) + 1
        if size > max_chars:
            break
        lines.append(line)
    text = "\n".join(lines)
    if text.count("<details>") > text.count("</details>"):
        text = text[: text.rindex("<details>")]
    return text.rstrip("\n") + truncation_note


_TEMPLATES = Environment(
    loader=PackageLoader("app.render.markdown"),
    autoescape=False,  # noqa: S701  the output is Markdown: `finalize` escapes what HTML escaping would not
    finalize=to_markdown,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
