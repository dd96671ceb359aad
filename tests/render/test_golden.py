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
    WATCHED,
    Scene,
    answered,
    over,
    owned,
    restored,
    unanswered,
    unsure,
    watched,
    watched_and_taken,
)

GOLDEN = Path(__file__).parent / "golden"


def shown(scene: Scene, after: float) -> str:
    incident, now = scene.at(after)
    return render_board(incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)


def told(scene: Scene, after: float, pick: Callable[[list[Notice]], list[Notice]]) -> str:
    incident, now = scene.at(after)
    return render_notices(pick(scene.notices(after)), incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)


def last(notices: list[Notice]) -> list[Notice]:
    return notices[-1:]


def every(notices: list[Notice]) -> list[Notice]:
    return notices


def begins(key: str) -> Callable[[list[Notice]], list[Notice]]:
    """Return a filter for the last notice whose key begins with `prefix`."""
    return lambda notices: [notice for notice in notices if notice.key.startswith(key)][-1:]


def silent() -> Scene:
    return Scene().said(2, "hubot", "ack")


def nobody() -> Scene:
    return Scene(policy=replace(POLICY, contacts={"cto": ("chief",)}))


def again() -> Scene:
    return over().reopened(150, "mona")


def drafted(part: str) -> str:
    scene = over()
    incident, now = scene.at(125)
    return str(getattr(render_postmortem(incident, scene.policy, comment_urls=LINKS, now=now), part))


def helped() -> str:
    scene = answered()
    return render_help(Help(to="hubot"), scene.at(27)[0], scene.policy, FOOTER)


def reported(*scenes: Scene, after: float = 10_000, unread: tuple[int, ...] = (), left_out: int = 0) -> str:
    """Render the report of a week, `minute` minutes after the first incident; by default a week after it began."""
    now = START + timedelta(minutes=after)
    found = summarize_metrics([scene.at(after)[0] for scene in scenes], WATCHED, now)
    week = period_containing("week", START.date(), "Europe/Berlin")
    return render_report(PeriodReport("octo/shop", week, found, now, left_out, unread), WATCHED)


def small() -> Scene:
    report = IncidentReport(severity=Severity.SEV3, detected_at=START - timedelta(minutes=2))
    return Scene("A picture | is missing", report, policy=WATCHED).said(90, "octocat", "ack").closed(1000, "mona")


def late() -> Scene:
    """Build an incident that was acknowledged too late, updated too seldom, closed and then reopened."""
    scene = watched().said(9, "hubot", "ack").said(70, "hubot", "update", "half of it").said(95, "hubot", "resolve")
    return scene.closed(120, "mona").reopened(130, "mona").said(131, "octocat", "ack").closed(150, "mona").drafted(151)


REFUSED = "You cannot acknowledge an incident that is resolved. From here you can: verify, close, reopen."

TEXTS: dict[str, Callable[[], str]] = {
    "board-new": lambda: shown(unanswered(), 0),
    "board-nobody-answers": lambda: shown(unanswered(), 33),
    "board-at-work": lambda: shown(answered(), 27),
    "board-silent": lambda: shown(silent(), 40),
    "board-over": lambda: shown(over(), 125),
    "board-again": lambda: shown(again(), 152),
    "board-unsure": lambda: shown(unsure(), 3),
    "board-nobody-named": lambda: shown(nobody(), 0),
    "board-owned": lambda: shown(owned(), 0),
    "board-before-closing": lambda: shown(restored(), 51),
    "page": lambda: told(unanswered(), 0, last),
    "page-third": lambda: told(unanswered(), 10, last),
    "page-after-silence": lambda: told(silent(), 32, last),
    "page-answered-meanwhile": lambda: told(answered(), 8, every),
    "page-nobody-named": lambda: told(nobody(), 0, last),
    "escalate": lambda: told(answered(), 27, last),
    "escalate-after-an-outage": lambda: told(unanswered(), 61, every),
    "board-watched": lambda: shown(watched_and_taken(), 33),
    "announce": lambda: told(watched(), 0, begins("announce/")),
    "remind-commander": lambda: told(watched(), 5, begins("commander/")),
    "remind-audience": lambda: told(watched_and_taken(), 51, begins("audience/customers")),
    "remind-regulation": lambda: told(watched_and_taken(), 40 * 60, begins("regulatory/")),
    "remind-postmortem": lambda: told(over(), 125 + 60 * 60, begins("postmortem/")),
    "escalate-watched": lambda: told(watched_and_taken(), 61, last),
    "escalate-owned": lambda: told(owned(), 31, last),
    "escalate-too-late": lambda: told(over(), 125, every),
    "remind": lambda: told(answered(), 36, last),
    "ask": lambda: told(unsure(), 0, last),
    "reply": lambda: render_reply(Reply(to="hubot", text=REFUSED), FOOTER),
    "help": helped,
    "report": lambda: reported(small(), late(), watched_and_taken().said(30, "hubot", "resolve").closed(95, "mona")),
    "report-so-far": lambda: reported(small(), after=1100, unread=(4,), left_out=7),
    "report-empty": reported,
    "postmortem": lambda: drafted("text"),
    "postmortem-pull": lambda: drafted("body"),
    "postmortem-commit": lambda: drafted("message"),
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
