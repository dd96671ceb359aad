"""Untrusted text has no effect in what we write (M15, M16, M18, M19, M39)."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.core.effects import Announce, ChannelFailure, Escalate, Help, Notice, Page, Remind, Reply, SeverityQuestion
from app.core.incident import Incident
from app.core.incident_report import Kind
from app.core.lifecycle import Status
from app.core.metrics import summarize_metrics
from app.core.policy import (
    Audience,
    Closing,
    Duration,
    Policy,
    Regulation,
    Rotation,
    Runbook,
    Service,
    Team,
    WarRoom,
)
from app.core.report_period import period_containing
from app.core.severity import Severity
from app.core.timeline import Entry, EntryKind
from app.render import (
    channel_message,
    is_for_channels,
    render_board,
    render_help,
    render_notices,
    render_postmortem,
    render_reply,
)
from app.render.markdown.report import PeriodReport, render_report
from app.text import github_length

from .scenes import FOOTER, LINKS, POLICY, REPORT, START, Scene, answered_scene, closed_scene

ATTACKS = (
    "@org/team", "&#64;org/team", "&commat;org/team", "<b>@</b>org", "`@t", "@a@b@c", "text@org/team", "GH-1", "#12",
    "0123456789abcdef0123456789abcdef01234567", "x\n```\n@everyone broke out", "```````\n@a", "~~~\n@a",
    "</details></summary><h1>x", "<!-- ", "-->", "<!-- x:eff=1:esc2 -->", "<!-- muster:end timeline -->",
    "Fixes octo/other#1", "closes: #3", "Resolves https://github.com/o/r/issues/1", "fixes",
    "x\n\nCo-authored-by: a <a@b>", 'x"\nlayout: evil\n---\n{% include secrets %}', "{{ 7*7 }}", "{# x #}", "<Script/>",
    "[skip ci]", "[no ci]", "***NO_CI***", "=1+1", "-1", "+1", "| a | b |", "\n| --- | --- |\n", "\n# h\n", "\n- x\n",
    "\n> q\n", "\n    code\n", "[x](javascript:1)", "![x](https://x.y/z.png)", "https://x.y", "www.x.y", "[x]: https://x.y",
    "<https://x.y>", "a  \nb", "\\", "*", "_", "**", "``", "$x$", ":tada:", "\u202e", "\u2028", "\r", "\x00", "\ud800", "👨‍👩‍👧‍👦",
)  # fmt: skip

hostile_texts = st.lists(st.one_of(st.sampled_from(ATTACKS), st.text(max_size=12)), min_size=1, max_size=6).map(
    lambda parts: "x" + " ".join(parts)
)

RenderText = Callable[[Incident, str], str]
NOW = START.replace(hour=12)
CLOSED_INCIDENT, OPEN_INCIDENT = closed_scene().state_at(125)[0], Scene().state_at(31)[0]


def poisoned_incident(text: str) -> Incident:
    """Build an incident in which everything that a person can write is `text`."""
    report = replace(
        REPORT, summary=text, services=(text, text), symptoms=text, affected=text, revenue=text, workaround=text
    )
    incident = CLOSED_INCIDENT
    timeline = tuple(replace(entry, detail=text if entry.detail else "") for entry in incident.timeline)
    acknowledgement = Entry(START, text, EntryKind.ACKNOWLEDGED, "acknowledged the incident", "k", text)
    return replace(
        incident,
        title=text,
        opened_by=text,
        report=report,
        grade=replace(incident.grade, reasons=(text, text), by=text),
        commander=text,
        timeline=(*timeline, acknowledgement),
    )


def as_triggered(incident: Incident) -> Incident:
    return replace(
        OPEN_INCIDENT,
        title=incident.title,
        opened_by=incident.opened_by,
        report=incident.report,
        grade=incident.grade,
        timeline=incident.timeline,
    )


def as_resolved(incident: Incident) -> Incident:
    return replace(incident, status=Status.RESOLVED)


def invalid_login(text: str) -> str:
    """Return a name that is not a valid login, whatever the text."""
    return f"org/{text}"


def poisoned_policy(text: str) -> Policy:
    """Build a policy in which all names and links are `text`."""
    return replace(
        POLICY,
        teams={text: Team(members=(text,), on_call=text)},
        rotations={text: Rotation(people=(invalid_login(text), "hubot"), turn=Duration(seconds=12 * 3600))},
        services={text: Service(owner=text, runbooks=(text, f"{text} too"))},
        runbooks={text: Runbook(text), f"{text} too": Runbook(f"https://wiki.example/{text}", tuple(Kind))},
        war_room=WarRoom(frozenset(Severity), name=text, link="https://meet.example/{{ room }}"),
        closing=Closing(frozenset(Severity), (text,), (text, text)),
        audiences={text: Audience(updates=dict.fromkeys(Severity, Duration(seconds=3600)))},
        regulations={text: Regulation(Duration(seconds=72 * 3600), kinds=tuple(Kind))},
    )


def all_notices(text: str) -> list[Notice]:
    return [
        Page(to=(invalid_login(text), "hubot"), at=START, attempt=2, unstaffed=(text,)),
        Escalate(to=("hubot",), at=START, contacts=(text, "cto"), because=text, do=text),
        Remind(to=("hubot",), at=START, clock="resolve", due=NOW),
        SeverityQuestion(to=("hubot",), at=START, doubts=(text, text)),
        Announce(to=("hubot",), at=START, contacts=(text,), because=text),
        Remind(to=("hubot",), at=START, clock="audience", about=text, due=NOW),
        Remind(to=("hubot",), at=START, clock="regulatory", about=text, do=text, due=NOW),
        Remind(to=("hubot",), at=START, clock="postmortem", about="review", due=NOW),
        ChannelFailure(to=("hubot",), at=START, channel=text, notice_kind=text, reason=text),
    ]


def all_messages(incident: Incident, text: str) -> str:
    """Return the text of all channel messages, one after the other."""
    notices = [one for one in all_notices(text) if is_for_channels(one)]
    return "\n".join(channel_message(one, incident, POLICY, NOW, key="k").text for one in notices)


def notice_text(incident: Incident, text: str, index: int) -> str:
    return render_notices(
        all_notices(text)[index : index + 1], incident, POLICY, NOW, comment_urls=LINKS, footer=FOOTER
    )


def report_text(incident: Incident, policy: Policy) -> str:
    """Render the report of a week in which that incident was the only one."""
    week = period_containing("week", START.date(), "UTC")
    return render_report(PeriodReport("octo/shop", week, summarize_metrics([incident], policy, NOW), NOW), policy)


TEXTS: dict[str, RenderText] = {
    "board": lambda i, t: render_board(as_triggered(i), POLICY, NOW, comment_urls={"k": t}, footer=FOOTER),
    "board of the end": lambda i, t: render_board(i, POLICY, NOW, comment_urls={"k": t}, footer=FOOTER),
    "all notices": lambda i, t: render_notices(
        all_notices(t), as_triggered(i), POLICY, NOW, comment_urls=LINKS, footer=FOOTER
    ),
    "page": lambda i, t: notice_text(as_triggered(i), t, 0),
    "escalate": lambda i, t: notice_text(as_triggered(i), t, 1),
    "remind": lambda i, t: notice_text(as_triggered(i), t, 2),
    "ask": lambda i, t: notice_text(replace(as_triggered(i), grade=replace(i.grade, uncertain=True)), t, 3),
    "board of a team": lambda i, t: render_board(
        as_triggered(i), poisoned_policy(t), NOW, comment_urls={}, footer=FOOTER
    ),
    "board before the closing": lambda i, t: render_board(
        as_resolved(i), poisoned_policy(t), NOW, comment_urls={}, footer=FOOTER
    ),
    "escalate to a team": lambda i, t: render_notices(
        all_notices(t)[1:2], as_triggered(i), poisoned_policy(t), NOW, comment_urls=LINKS, footer=FOOTER
    ),
    "postmortem of a team": lambda i, t: render_postmortem(i, poisoned_policy(t), comment_urls={}, now=NOW).text,
    "announce": lambda i, t: notice_text(as_triggered(i), t, 4),
    "remind of an audience": lambda i, t: notice_text(as_triggered(i), t, 5),
    "remind of a law": lambda i, t: notice_text(as_triggered(i), t, 6),
    "remind of a law after the end": lambda i, t: notice_text(as_resolved(i), t, 6),
    "remind of a postmortem": lambda i, t: notice_text(i, t, 7),
    "undelivered": lambda i, t: notice_text(i, t, 8),
    "reply": lambda i, t: render_reply(Reply(to=invalid_login(t), text=t), FOOTER),
    "help": lambda i, t: render_help(Help(to=invalid_login(t)), i, POLICY, FOOTER),
    "postmortem": lambda i, t: render_postmortem(i, POLICY, comment_urls={"k": t}, now=NOW).text,
    "report": lambda i, t: report_text(i, POLICY),
    "report of a team": lambda i, t: report_text(i, poisoned_policy(t)),
    "pull request": lambda i, t: render_postmortem(i, POLICY, comment_urls={"k": t}, now=NOW).body,
}

PARSER = MarkdownIt("commonmark").enable(["table", "strikethrough"])


def skeleton(text: str) -> list[tuple[str, str, str]]:
    """Return the blocks of a text and its HTML, without the content of quotations and fences."""
    found: list[tuple[str, str, str]] = []
    depth = 0
    for token in PARSER.parse(text):
        depth -= token.type == "blockquote_close"
        if not depth:
            found.append((token.type, token.tag, token.content if token.type == "html_block" else ""))
            found += [("html", "", child.content) for child in token.children or () if child.type == "html_inline"]
        depth += token.type == "blockquote_open"
    return found


@cache
def expected_skeleton(name: str) -> list[tuple[str, str, str]]:
    """Return the skeleton that a text has whatever people write."""
    return skeleton(TEXTS[name](poisoned_incident("harmless words"), "harmless words"))


def urls_in(tokens: list[Token]) -> Iterator[str]:
    for token in tokens:
        yield from (str(url) for name in ("href", "src") if (url := token.attrGet(name)))
        yield from urls_in(token.children or [])


ACTIVE_PATTERNS = (
    re.compile(r"@(?=[A-Za-z0-9])(?!hubot|octocat|boss|chief)"),
    re.compile(r"(?<!Refs )#(?=[0-9])"),
    re.compile(r"\bgh-(?=[0-9])", re.IGNORECASE),
    re.compile(r"\b[0-9a-f]{40}\b"),
    re.compile(r"\b(?:close[sd]?|fix(?:e[sd])?|resolve[sd]?):?\s+(?:\S*#\w|gh-|https?://)", re.IGNORECASE),
    re.compile(r"\[(?:skip[ -]ci|ci[ -]skip|no[ -]ci)\]", re.IGNORECASE),
    re.compile(r"\{[{%#]"),
    re.compile(r"^(?:---|[a-z-]+-by:)", re.IGNORECASE | re.MULTILINE),
)


FENCE_PATTERN = re.compile(r"^(```+)\n.*?\n\1$", re.MULTILINE | re.DOTALL)
"""A fenced block.

Fences occur only in the postmortem file, where no line is a trailer or a command; `skeleton` shows that they hold.
"""


def active_markup(text: str) -> list[str]:
    """Return what GitHub or a site generator would act on, in the text as it is and with its entities decoded."""
    plain = re.sub(r"\]\([^)]*\)", "]", FENCE_PATTERN.sub("", text))
    return [
        found[0] for form in (plain, html.unescape(plain)) for live in ACTIVE_PATTERNS for found in live.finditer(form)
    ]


OWN_URLS = {"https://github.com/octo/shop/issues/12", "https://github.com/octo/shop/pull/13"}
ALLOWED_URL_PREFIXES = ("https://github.com/octo/shop/blob/HEAD/", "https://wiki.example/", "https://meet.example/")


@pytest.mark.parametrize("name", TEXTS)
@settings(max_examples=6, deadline=None)
@given(text=hostile_texts)
def test_words_of_others_do_nothing(name: str, text: str) -> None:
    written = TEXTS[name](poisoned_incident(text), text)
    assert active_markup(written) == []
    assert skeleton(written) == expected_skeleton(name)
    for url in urls_in(PARSER.parse(written)):
        assert url.partition("#")[0] in OWN_URLS or url.startswith(ALLOWED_URL_PREFIXES)
        assert ".." not in url.removeprefix(ALLOWED_URL_PREFIXES[0]).split("/")
    if not name.startswith(("postmortem", "pull request", "report")):
        assert written.endswith(f"\n\n{FOOTER}")
    assert not re.search("[\x00\ud800-\udfff]", written)


@pytest.mark.parametrize("text", ATTACKS)
def test_each_known_attack_alone(text: str) -> None:
    for name, write in TEXTS.items():
        written = write(poisoned_incident(text), text)
        assert active_markup(written) == [], name


@pytest.mark.parametrize("text", ATTACKS)
def test_in_a_message_they_do_nothing_either(text: str) -> None:
    """In whatever form the channel shows it: chat, mail or web page."""
    incident = as_triggered(poisoned_incident(text))
    written = all_messages(incident, text).replace(incident.url, "")
    assert active_markup(written) == []
    assert not re.search(
        r"[a-z]://|<[A-Za-z/!?]|[\x00-\x09\x0b-\x1f\x7f\u202a-\u202e\u2028\u2029\ud800-\udfff]", written
    )
    harmless = all_messages(as_triggered(poisoned_incident("harmless words")), "harmless words")
    assert written.count("\n") == harmless.count("\n"), "each stays in its line"


@pytest.mark.parametrize("text", ["a" * 65_536, "👨‍👩‍👧‍👦" * 10_000], ids=range(2))
def test_a_message_is_short_whatever_is_in_it(text: str) -> None:
    for one in filter(is_for_channels, all_notices(text)):
        found = channel_message(one, as_triggered(poisoned_incident(text)), POLICY, NOW, key="k")
        assert github_length(found.subject) <= 200
        assert github_length(found.text) <= 1500


@pytest.mark.parametrize(
    "title",
    [
        "../../.github/workflows/x.yml",
        "/etc/passwd",
        "CON",
        "@{u}",
        "a..b",
        "refs/heads/main",
        "%2e%2e%2f",
        "x" * 300,
        *ATTACKS,
    ],
)
def test_titles_lead_to_no_path_and_no_trailer(title: str) -> None:
    document = render_postmortem(replace(CLOSED_INCIDENT, title=title), POLICY, comment_urls=LINKS, now=NOW)
    assert document.path == "docs/incidents/postmortems/2026/INC-2026-0314-001.md"
    assert document.branches[0] == "muster/postmortem-12"
    assert document.message == f"{document.title}\n\nRefs #12\n"
    assert "\n" not in document.title
    assert github_length(document.title) <= 120
    assert active_markup(document.message) == []


def test_an_id_that_is_none_reaches_no_path() -> None:
    with pytest.raises(ValueError, match="is not the id"):
        render_postmortem(replace(CLOSED_INCIDENT, id="../x"), POLICY, comment_urls=LINKS, now=NOW)


HUGE_TEXTS = ("a" * 65_536, "👨‍👩‍👧‍👦" * 10_000, "*|<&" * 20_000, "\n" * 2_000 + "x" + "`" * 65_536)


@pytest.mark.parametrize("text", HUGE_TEXTS, ids=range(len(HUGE_TEXTS)))
@pytest.mark.parametrize("footer", [FOOTER, f"<!-- {'f' * 65_000}\nand more -->"], ids=range(2))
def test_nothing_is_too_long_for_github(text: str, footer: str) -> None:
    incident = poisoned_incident(text)
    rows = tuple(replace(entry, text=f"update: {text}") for entry in incident.timeline) * 2
    for each in (replace(incident, timeline=rows), replace(as_triggered(incident), timeline=rows)):
        for written in (
            render_board(each, POLICY, NOW, comment_urls=LINKS, footer=footer),
            render_notices(all_notices(text) * 5, each, POLICY, NOW, comment_urls=LINKS, footer=footer),
            render_reply(Reply(to=text, text=text), footer),
            render_help(Help(to=text), each, POLICY, footer),
        ):
            assert github_length(written) <= 65_536
            assert written.endswith(f"\n\n{footer}")
            assert written.count("<details>") == written.count("</details>")
    assert (
        github_length(render_postmortem(replace(incident, timeline=rows), POLICY, comment_urls=LINKS, now=NOW).body)
        <= 65_536
    )


def test_the_timeline_yields_first() -> None:
    incident, now = answered_scene().state_at(27)
    long = replace(
        incident, timeline=tuple(replace(e, text="update", detail="word " * 200) for e in incident.timeline) * 9
    )
    footer = f"<!-- {'f' * 57_000} -->"
    written = render_board(long, POLICY, now, comment_urls=LINKS, footer=footer)
    assert "Timeline, the newest 30 of 72 entries" in render_board(long, POLICY, now, comment_urls=LINKS, footer=FOOTER)
    assert "Timeline, the newest 5 of 72 entries" in written
    assert "As of 2026-03-14 09:27 UTC" in written
