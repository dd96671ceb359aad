"""Golden files of what people read.

`MUSTER_UPDATE_GOLDEN=1 pytest tests/render` writes them, and you read the diff.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from app.core.effects import Help, Notice, Reply
from app.core.incident_report import IncidentReport
from app.core.metrics import summarize_metrics
from app.core.report_period import period_containing
from app.core.severity import Severity
from app.render import render_board, render_help, render_notices, render_postmortem, render_reply
from app.render.markdown.report import PeriodReport, render_report

from .scenes import (
    FOOTER,
    LINKS,
    POLICY,
    START,
    WATCHED_POLICY,
    Scene,
    acknowledged_watched_scene,
    answered_scene,
    closed_scene,
    owned_scene,
    resolved_scene,
    unanswered_scene,
    unclear_scene,
    watched_scene,
)

GOLDEN = Path(__file__).parent / "golden"


def board_at(scene: Scene, minute: float) -> str:
    incident, now = scene.state_at(minute)
    return render_board(incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)


def notices_at(scene: Scene, minute: float, pick: Callable[[list[Notice]], list[Notice]]) -> str:
    incident, now = scene.state_at(minute)
    return render_notices(pick(scene.notices(minute)), incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)


def last_notice(notices: list[Notice]) -> list[Notice]:
    return notices[-1:]


def all_notices(notices: list[Notice]) -> list[Notice]:
    return notices


def last_with_key(prefix: str) -> Callable[[list[Notice]], list[Notice]]:
    """Return a filter for the last notice whose key begins with `prefix`."""
    return lambda notices: [notice for notice in notices if notice.key.startswith(prefix)][-1:]


def silent_scene() -> Scene:
    return Scene().post_command(2, "hubot", "ack")


def unstaffed_scene() -> Scene:
    return Scene(policy=replace(POLICY, contacts={"cto": ("chief",)}))


def reopened_scene() -> Scene:
    return closed_scene().reopen(150, "mona")


def postmortem_part(part: str) -> str:
    scene = closed_scene()
    incident, now = scene.state_at(125)
    return str(getattr(render_postmortem(incident, scene.policy, comment_urls=LINKS, now=now), part))


def help_text() -> str:
    scene = answered_scene()
    return render_help(Help(to="hubot"), scene.state_at(27)[0], scene.policy, FOOTER)


def report_text(*scenes: Scene, minute: float = 10_000, unread: tuple[int, ...] = (), left_out: int = 0) -> str:
    """Render the report of a week, `minute` minutes after the first incident; by default a week after it began."""
    now = START + timedelta(minutes=minute)
    found = summarize_metrics([scene.state_at(minute)[0] for scene in scenes], WATCHED_POLICY, now)
    week = period_containing("week", START.date(), "Europe/Berlin")
    return render_report(PeriodReport("octo/shop", week, found, now, left_out, unread), WATCHED_POLICY)


def minor_scene() -> Scene:
    report = IncidentReport(severity=Severity.SEV3, detected_at=START - timedelta(minutes=2))
    return (
        Scene("A picture | is missing", report, policy=WATCHED_POLICY)
        .post_command(90, "octocat", "ack")
        .close(1000, "mona")
    )


def late_scene() -> Scene:
    """Build an incident that was acknowledged too late, updated too seldom, closed and then reopened."""
    scene = (
        watched_scene()
        .post_command(9, "hubot", "ack")
        .post_command(70, "hubot", "update", "half of it")
        .post_command(95, "hubot", "resolve")
    )
    return (
        scene.close(120, "mona")
        .reopen(130, "mona")
        .post_command(131, "octocat", "ack")
        .close(150, "mona")
        .open_postmortem(151)
    )


REFUSED = "You cannot acknowledge an incident that is resolved. From here you can: verify, close, reopen."

TEXTS: dict[str, Callable[[], str]] = {
    "board-new": lambda: board_at(unanswered_scene(), 0),
    "board-nobody-answers": lambda: board_at(unanswered_scene(), 33),
    "board-at-work": lambda: board_at(answered_scene(), 27),
    "board-silent": lambda: board_at(silent_scene(), 40),
    "board-over": lambda: board_at(closed_scene(), 125),
    "board-again": lambda: board_at(reopened_scene(), 152),
    "board-unsure": lambda: board_at(unclear_scene(), 3),
    "board-nobody-named": lambda: board_at(unstaffed_scene(), 0),
    "board-owned": lambda: board_at(owned_scene(), 0),
    "board-before-closing": lambda: board_at(resolved_scene(), 51),
    "page": lambda: notices_at(unanswered_scene(), 0, last_notice),
    "page-third": lambda: notices_at(unanswered_scene(), 10, last_notice),
    "page-after-silence": lambda: notices_at(silent_scene(), 32, last_notice),
    "page-answered-meanwhile": lambda: notices_at(answered_scene(), 8, all_notices),
    "page-nobody-named": lambda: notices_at(unstaffed_scene(), 0, last_notice),
    "escalate": lambda: notices_at(answered_scene(), 27, last_notice),
    "escalate-after-an-outage": lambda: notices_at(unanswered_scene(), 61, all_notices),
    "board-watched": lambda: board_at(acknowledged_watched_scene(), 33),
    "announce": lambda: notices_at(watched_scene(), 0, last_with_key("announce/")),
    "remind-commander": lambda: notices_at(watched_scene(), 5, last_with_key("commander/")),
    "remind-audience": lambda: notices_at(acknowledged_watched_scene(), 51, last_with_key("audience/customers")),
    "remind-regulation": lambda: notices_at(acknowledged_watched_scene(), 40 * 60, last_with_key("regulatory/")),
    "remind-postmortem": lambda: notices_at(closed_scene(), 125 + 60 * 60, last_with_key("postmortem/")),
    "escalate-watched": lambda: notices_at(acknowledged_watched_scene(), 61, last_notice),
    "escalate-owned": lambda: notices_at(owned_scene(), 31, last_notice),
    "escalate-too-late": lambda: notices_at(closed_scene(), 125, all_notices),
    "remind": lambda: notices_at(answered_scene(), 36, last_notice),
    "ask": lambda: notices_at(unclear_scene(), 0, last_notice),
    "reply": lambda: render_reply(Reply(to="hubot", text=REFUSED), FOOTER),
    "help": help_text,
    "report": lambda: report_text(
        minor_scene(), late_scene(), acknowledged_watched_scene().post_command(30, "hubot", "resolve").close(95, "mona")
    ),
    "report-so-far": lambda: report_text(minor_scene(), minute=1100, unread=(4,), left_out=7),
    "report-empty": report_text,
    "postmortem": lambda: postmortem_part("text"),
    "postmortem-pull": lambda: postmortem_part("body"),
    "postmortem-commit": lambda: postmortem_part("message"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_reads_as_it_was_approved(name: str) -> None:
    text, file = TEXTS[name](), GOLDEN / f"{name}.md"
    if os.environ.get("MUSTER_UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TEXTS)
def test_says_the_same_twice(name: str) -> None:
    assert TEXTS[name]() == TEXTS[name]()
