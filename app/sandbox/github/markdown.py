"""GitHub's Markdown as safe HTML: user text never becomes an element of its own choosing.

Raw HTML is escaped, except comments, which are removed, and a few bare tags without attributes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.rules_core import StateCore
from markdown_it.token import Token

HTML_COMMENT = re.compile(r"<!--.*?(?:-->|\Z)", re.DOTALL)
ALLOWED_TAG = re.compile(r"<(/?)(details|summary|br|sub|sup|kbd)(\s+open)?\s*/?>", re.IGNORECASE)
MENTION = re.compile(
    r"(?<![\w/@.-])@(?P<login>[A-Za-z0-9](?:[A-Za-z0-9-]{0,38}))(?![\w/])"
    r"|(?<![\w/&-])(?P<where>[\w.-]+/[\w.-]+)?#(?P<number>\d{1,9})\b"
)
TASK = re.compile(r"\[([ xX])\]\s+")


class _Renderer(RendererHTML):
    """Renders only HTML that is written here or escaped by the library."""

    def html_block(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        html = _escape_unsafe_html(tokens[idx].content).strip()
        return f"<p>{html}</p>\n" if html.startswith("&lt;") else f"{html}\n"

    def html_inline(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        return _escape_unsafe_html(tokens[idx].content)

    def image(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        # Nothing is fetched from other hosts: an image is shown as a link to it.
        source, text = str(tokens[idx].attrGet("src") or ""), tokens[idx].content or "image"
        return f'<a href="{escape(source)}" rel="nofollow noopener">{escape(text)}</a>'

    def task(self, tokens: Sequence[Token], idx: int, *_: Any) -> str:
        checked = " checked" if tokens[idx].meta["checked"] else ""
        return f'<input type="checkbox" disabled{checked}> '


def render(text: str, url: str = "", repository: str | None = None) -> str:
    """Render a text to HTML; `repository` (owner/name) is the one that #1 refers to."""
    return str(MARKDOWN.render(text, {"url": url, "repository": repository}))


def _escape_unsafe_html(raw: str) -> str:
    out, end = [], 0
    raw = HTML_COMMENT.sub("", raw)
    for tag in ALLOWED_TAG.finditer(raw):
        out.append(escape(raw[end : tag.start()]))
        slash, name, opened = tag.group(1), tag.group(2).lower(), tag.group(3)
        out.append(f"<{slash}{name}{' open' if opened and name == 'details' and not slash else ''}>")
        end = tag.end()
    return "".join(out) + escape(raw[end:])


def _link_mentions(state: StateCore) -> None:
    for block in state.tokens:
        if block.type != "inline" or block.children is None:
            continue
        children: list[Token] = []
        inside = 0
        for token in block.children:
            inside += {"link_open": 1, "link_close": -1}.get(token.type, 0)
            if token.type == "text" and not inside:
                children += _split_mentions(token, state.env)
            else:
                children.append(token)
        block.children = children


def _split_mentions(token: Token, env: Any) -> list[Token]:
    out, end = [], 0
    for match in MENTION.finditer(token.content):
        where = match["where"] or env.get("repository")
        if match["number"] and not where:
            continue
        address = f"{where}/issues/{match['number']}" if match["number"] else match["login"]
        out.append(_text_token(token.content[end : match.start()]))
        kind = "reference" if match["number"] else "mention"
        attrs: dict[str, str | int | float] = {"href": f"{env.get('url', '')}/{address}", "class": kind}
        out += [Token("link_open", "a", 1, attrs=attrs), _text_token(match[0]), Token("link_close", "a", -1)]
        end = match.end()
    return [*out, _text_token(token.content[end:])] if out else [token]


def _text_token(content: str) -> Token:
    return Token("text", "", 0, content=content)


def _mark_task_items(state: StateCore) -> None:
    for item, paragraph, inline in zip(state.tokens, state.tokens[1:], state.tokens[2:]):  # noqa: B905
        if (item.type, paragraph.type, inline.type) != ("list_item_open", "paragraph_open", "inline"):
            continue
        first = inline.children[0] if inline.children else None
        box = TASK.match(first.content) if first is not None and first.type == "text" else None
        if first is not None and box is not None and inline.children is not None:
            first.content = first.content[box.end() :]
            inline.children.insert(0, Token("task", "input", 0, meta={"checked": box[1] != " "}))
            item.attrJoin("class", "task")


def _build_parser() -> MarkdownIt:
    # `html` only makes the parser recognize tags and comments; the renderer above decides what to do with them.
    markdown = MarkdownIt("commonmark", {"html": True, "breaks": True}, renderer_cls=_Renderer)
    markdown.enable(["table", "strikethrough"])
    markdown.core.ruler.push("mentions", _link_mentions)
    markdown.core.ruler.push("tasks", _mark_task_items)
    return markdown


MARKDOWN = _build_parser()
