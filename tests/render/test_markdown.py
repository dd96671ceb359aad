from __future__ import annotations

import pytest
from jinja2 import DictLoader, Environment, StrictUndefined, UndefinedError

from app.render.markdown.markup import (
    _TEMPLATES,
    Markdown,
    code_span,
    format_login,
    join,
    link,
    markdown,
    mention,
    to_markdown,
)


def render_source(source: str, **values: object) -> str:
    env: Environment = _TEMPLATES.overlay(loader=DictLoader({"t": source}))
    return env.get_template("t").render(values)


@pytest.mark.parametrize("source", ["{{ x }}", "{{ x ~ '' }}", "{{ [x]|join }}", "{{ x|upper|lower }}", "{{ x|safe }}"])
def test_a_template_cannot_forget_to_quote(source: str) -> None:
    assert render_source(source, x="@mona") == "@\u200bmona"


def test_our_own_markdown_stays() -> None:
    assert render_source("{{ x }} {{ n }}", x=markdown("**{}**", "a*b"), n=3) == "**a\\*b** 3"


def test_what_was_added_to_markdown_is_quoted_again() -> None:
    assert to_markdown(mention("mona") + "@hubot") == "@\u200bmona@\u200bhubot"


@pytest.mark.parametrize("wrong", [None, True, 1.5, ["a"], b"a"])
def test_only_text_and_whole_numbers_can_be_shown(wrong: object) -> None:
    with pytest.raises(TypeError):
        render_source("{{ x }}", x=wrong)


def test_a_missing_value_is_a_mistake() -> None:
    assert _TEMPLATES.undefined is StrictUndefined
    with pytest.raises(UndefinedError):
        render_source("{{ nothing }}")


@pytest.mark.parametrize(
    ("login", "shown", "called"),
    [
        ("mona", "`mona`", "@mona"),
        ("mona-lisa_corp", "`mona-lisa_corp`", "@mona-lisa_corp"),
        ("dependabot[bot]", "`dependabot[bot]`", "dependabot\\[bot\\]"),
        ("", "somebody", ""),
        ("org/team", "org/team", "org/team"),
        ("@mona", "@\u200bmona", "@\u200bmona"),
        ("a`b", "a\\`b", "a\\`b"),
    ],
)
def test_people_are_named_or_called(login: str, shown: str, called: str) -> None:
    assert format_login(login) == shown
    assert mention(login) == called


@pytest.mark.parametrize(
    "url", [None, "", "javascript:alert(1)", "https://x.y/a b", "https://x.y/)(", "https://x.y/" + "a" * 600]
)
def test_only_plain_addresses_are_linked(url: str | None) -> None:
    assert link("a]b", url) == "a\\]b"


def test_a_link() -> None:
    assert link("a]b", "https://github.com/o/r/issues/1#issuecomment-2") == (
        "[a\\]b](https://github.com/o/r/issues/1#issuecomment-2)"
    )


def test_code_of_ours() -> None:
    assert code_span("/ack") == "`/ack`"
    assert code_span("a`b|c") == "a\\`b\\|c"
    assert isinstance(join(["a", code_span("b")]), Markdown)
