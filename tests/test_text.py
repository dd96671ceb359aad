"""User text in our own comments has no effect there: no mentions, links or markup."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from app.text import defuse_line, escape_line, fence_text, github_length, make_visible, quote_lines, replace_unstorable

ACTIVE_MARKUP = re.compile(
    r"@[A-Za-z0-9]|#[0-9]|\bGH-[0-9]|(?<![A-Za-z0-9])[0-9a-fA-F]{40}(?![A-Za-z0-9])|[a-z]://|www\.|<!--|-->",
    re.IGNORECASE,
)
HOSTILE_TEXTS = [
    "@org/team", "&#64;org/team", "&commat;org/team", "&amp;#64;org", "<b>@</b>org", "`@t", "@a@b@c", "text@org/team", "GH-1",
    "0123456789abcdef0123456789abcdef01234567", "Fixes octo/other#1", "closes: #1", "resolved https://github.com/o/r/issues/1",
    "x\n```\n@everyone broke out", "```````\n@a", "</details></summary><h1>x", "<!-- ", "<!-- x:eff=1:esc2 -->", "--!>", "[a](b)",
    "x\n\nCo-authored-by: a <a@b>", 'x"\nlayout: evil\n---\n{% include secrets %}', "<Script/>", "a | b", "![x](y)", "# h", "1. x",
    "- x", "> x", "\\@x", "\u202emoc.live", "=?utf-8?q?x?=", "www.evil.example", "$x$", "~~x~~", "a\u2028# b", "\u200b@x", "[skip ci]",
]  # fmt: skip


@pytest.mark.parametrize(("text", "clean"), [("a\x00b", "a\ufffdb"), ("x\\u0000y", "x\\u0000y"), ("\ud800", "\ufffd")])
def test_cleaned(text: str, clean: str) -> None:
    assert replace_unstorable(text) == clean
    replace_unstorable(text).encode()


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_nothing_is_live(text: str) -> None:
    for safe in (escape_line(text, 500), quote_lines(text, 500), defuse_line(text, 500), fence_text(text, 500)):
        assert not ACTIVE_MARKUP.search(safe), safe


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_quoted_text_stays_in_its_line_and_cell(text: str) -> None:
    safe = escape_line(text, 500)
    assert "\n" not in safe
    tokens = MarkdownIt("commonmark").enable("table").parse(f"| a | b |\n|---|---|\n| {safe} | end |\n")
    cells = [token.content for token in tokens if token.type == "inline"]
    assert len(cells) == 4
    assert cells[3] == "end"
    [_, inline, _] = MarkdownIt("commonmark", {"html": True}).parse(safe)
    kinds = {child.type for child in inline.children or ()}
    assert kinds <= {"text", "text_special"}


@pytest.mark.parametrize("text", HOSTILE_TEXTS)
def test_a_fenced_text_stays_in_its_fence(text: str) -> None:
    [token] = MarkdownIt("commonmark").parse(fence_text(text, 500))
    assert token.type == "fence"


@pytest.mark.parametrize(
    ("text", "safe"),
    [
        ("checkout is down (50 %)", "checkout is down (50 %)"),
        ("a_b *c* | d", r"a\_b \*c\* \| d"),
        ("@mona see #12", "@\u200bmona see #\u200b12"),
        ("moc\u202e", r"moc\\u202e"),
        ("👩‍👩‍👧 ok", "👩‍👩‍👧 ok"),
        ("one\r\n two", "one two"),
        ("12345678 defaced", "12345678 defaced"),
        ("at abcdef1", "at abcdef\u200b1"),
    ],
)
def test_quoted(text: str, safe: str) -> None:
    assert escape_line(text, 200) == safe


def test_quoted_lines_is_one_quotation() -> None:
    assert quote_lines("a\n\n# b\n---", 99) == "> a\n> \n> \\# b\n> \\---"


def test_plain_is_for_titles() -> None:
    assert defuse_line("[skip ci] x_y {% a %}", 99) == "[\u200bskip ci] x_y {\u200b% a %}"
    assert defuse_line("=1+1", 99) == "\u200b=1+1"


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=120) | st.text(alphabet="`@#<>-!&;\\|*_[]()\n a1", max_size=120), st.integers(20, 60))
def test_no_more_than_the_limit(text: str, limit: int) -> None:
    for safe in (
        escape_line(text, limit),
        quote_lines(text, limit),
        defuse_line(text, limit),
        make_visible(text, limit),
    ):
        assert github_length(safe) <= limit
    for safe in (escape_line(text, limit), quote_lines(text, limit)):  # the ellipsis never cuts an escape in half
        assert not re.search(r"(?<!\\)(?:\\\\)*\\…", safe)
    assert github_length(fence_text(text, limit)) <= max(limit, 9)
    assert fence_text(text, limit).count("\n") >= 2


@pytest.mark.parametrize(
    "text", ["a" * 65_536, "👩‍👩‍👧" * 10_000, "`" * 65_536, "&amp;" * 13_000, "fix " * 16_000, "fix a" * 13_000]
)
def test_long_texts_are_cut_where_they_should_be(text: str) -> None:
    for safe in (escape_line(text, 1000), defuse_line(text, 1000), quote_lines(text, 1000)):
        assert 900 < github_length(safe) <= 1000
        assert safe.endswith("…")
    assert github_length(fence_text(text, 65_000)) <= 65_000
