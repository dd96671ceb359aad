"""Slash commands: first words of a comment's own lines."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.spoken import Spoken
from app.github.spoken import spoken


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ("/ack", ["ack"]),
        ("/ResoLve", ["resolve"]),
        ("please /resolve", []),
        ("> /resolve", []),
        ("> why\n/resolve", []),  # GitHub shows it as part of the quotation
        ("> why\n\n/resolve", ["resolve"]),
        ("/etc/passwd", []),
        ("/ack: yes", []),
        ("/", []),
        ("/-x", []),
        ("/not-an-incident test", ["not-an-incident"]),
        ("text\n/ack\nmore\r\n/resolve", ["ack", "resolve"]),
        ("   /ack", ["ack"]),
        ("    /ack", []),
        ("\t/ack", []),
        ("text\n\n    /ack", []),
        ("- /ack", []),
        ("- a\n  /ack", []),
        ("- a\n\n  /ack", []),
        ("1. /ack", []),
        ("- a\n\n/ack", ["ack"]),
        ("```\n/ack\n```\n/resolve", ["resolve"]),
        ("~~~\n```\n/ack\n~~~", []),
        ("```\n/ack", []),
        ("`code\n/ack\ncode`\n/resolve", ["resolve"]),
        ("``code ` \n/ack\ncode``\n/resolve", ["resolve"]),
        ("`no code\n/ack", ["ack"]),
        ("\\`no code\n/ack x`", ["ack"]),
        ("`a`\n/ack `b`", ["ack"]),
        ("<!--\n/ack\n-->\n/resolve", ["resolve"]),
        ("<!-- /ack -->", []),
        ("see <!-- hidden\n/ack\n--> done\n/resolve", ["resolve"]),
        ("see <!-- hidden\n/ack", ["ack"]),
        ("see <!-- `\n/ack\n--> ` x\n/resolve", ["resolve"]),
        ("<details>\n/ack\n</details>", []),
        ("<details>\n\n/ack\n\n</details>", ["ack"]),
        ("/ack\n-- \nMona", ["ack"]),
        ("# /ack", []),
        ("\u200b/ack", []),
        ("/ack\u200b", []),
        ("/аck", []),  # a Cyrillic letter
    ],
)
def test_what_is_said(body: str, names: list[str]) -> None:
    assert [said.name for said in spoken(body)] == names


def test_the_argument_is_the_rest_of_the_line() -> None:
    assert spoken("/severity  sev2 `too` loud \nmore\n/ack\n") == (Spoken("severity", "sev2 `too` loud"), Spoken("ack"))


def test_ten_commands_are_enough() -> None:
    assert len(spoken("/ack\n" * 50)) == 10


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.sampled_from(
            ["/ack", "`", "``", "```", "<!--", "-->", "> ", "- ", "\n", "\n", " ", "\\", "x", "    ", "\x00"]
        )
    )
)
def test_no_comment_breaks_the_reading(parts: list[str]) -> None:
    spoken("".join(parts))


PARTS = [
    "### ", "\n", "1m", "[", "| a ", "<!--", "> ", "- ", "`", "``` ", "a\n", "> a\n", "/a\n", "<!--\n", "```\n", "\\", "*", "<a", "1. ",
    "".join("`" * size + " " for size in range(1, 300)),
]  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_twice_the_text_takes_about_twice_the_time(part: str) -> None:
    def needed(size: int) -> float:
        body = (part * (size // len(part) + 1))[:size]
        best = 1e9
        for _ in range(2):
            started = time.process_time()
            spoken(body)
            spoken(body + "\n\n/ack")
            best = min(best, time.process_time() - started)
        return best

    assert needed(65_536) < 5 * needed(32_768) + 0.1
