"""Content that the texts must have, wherever it is placed."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from typing import Any

import pytest

from app.core.effects import Escalate, Page, Remind
from app.core.policy import Duration, OnCallOverride, Shift
from app.core.policy.people import ONE_WEEK
from app.core.severity import Scale
from app.render import render_board, render_notices, render_postmortem

from .scenes import (
    FOOTER,
    LINKS,
    POLICY,
    REPORT,
    SHOP_POLICY,
    START,
    Scene,
    answered_scene,
    closed_scene,
    resolved_scene,
    unanswered_scene,
    unclear_scene,
)


def board_at(scene: Scene, minute: float) -> str:
    incident, now = scene.state_at(minute)
    return render_board(incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)


def mentions_in(text: str) -> list[str]:
    return re.findall(r"@([A-Za-z0-9-]+)", text)


def test_the_new_board_calls_the_person_on_call_and_nobody_else() -> None:
    assert mentions_in(board_at(unanswered_scene(), 0)) == ["hubot"]


@pytest.mark.parametrize(("scene", "after"), [(answered_scene(), 27), (closed_scene(), 125), (answered_scene(), 60)])
def test_afterwards_the_board_calls_nobody(scene: Scene, after: float) -> None:
    assert mentions_in(board_at(scene, after)) == []


def test_the_first_line_says_whether_it_is_over() -> None:
    assert board_at(answered_scene(), 27).startswith("## 🚨 INC-2026-0314-001 Checkout is down\n")
    assert board_at(closed_scene(), 125).startswith("## ✅ INC-2026-0314-001 Checkout is down\n")


def test_each_person_is_called_once_and_in_the_first_line() -> None:
    incident, now = unanswered_scene().state_at(61)
    text = render_notices(unanswered_scene().notices(61), incident, POLICY, now, comment_urls=LINKS, footer=FOOTER)
    assert mentions_in(text) == mentions_in(text.split("\n")[0]) == ["chief", "boss", "hubot", "octocat"]


def test_a_lock_screen_shows_what_a_page_wants() -> None:
    scene = Scene("Checkout is down for everybody who wants to pay with a card from abroad " * 4)
    incident, now = scene.state_at(10)
    seen = render_notices(scene.notices(10)[-1:], incident, POLICY, now, comment_urls=LINKS, footer=FOOTER)[:100]
    for words in ("SEV1", "page 3", "Checkout is down", "/ack", "by 09:15 UTC"):
        assert words in seen


def test_the_highest_rung_makes_the_headline() -> None:
    incident, now = unanswered_scene().state_at(61)
    notices = [
        Escalate(to=("chief",), at=now, contacts=("cto",), because="x"),
        Escalate(to=("boss",), at=now, contacts=("it-manager",), because="y"),
        Page(to=("hubot",), at=now, attempt=1),
    ]
    for order in (notices, notices[::-1]):
        text = render_notices(order, incident, POLICY, now, comment_urls={}, footer=FOOTER)
        assert text.startswith("🔺 **SEV1 escalated to cto: Checkout is down**")


def test_a_reminder_that_was_answered_before_it_could_be_written_says_so() -> None:
    scene = answered_scene().post_command(36, "hubot", "update", "still at it")
    incident, now = scene.state_at(37)
    late = [each for each in scene.notices(37) if isinstance(each, Remind)]
    text = render_notices(late, incident, POLICY, now, comment_urls=LINKS, footer=FOOTER)
    assert "answered since" in text.split("\n")[0]
    assert "has come since" in text


def test_the_other_scale_is_used_everywhere() -> None:
    scene = unclear_scene()
    scene.policy = replace(POLICY, scale=Scale.P)
    incident, now = scene.state_at(0)
    assert "**P2 · triggered" in render_board(incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)
    text = render_notices(scene.notices(0), incident, scene.policy, now, comment_urls=LINKS, footer=FOOTER)
    assert "`/severity p1 reason` (`p0`, `p1`, `p2`, `p3`)" in text


def on_call_text(**changes: Any) -> str:
    """Return who is on call, as the board shows it on Saturday at 09:00 UTC."""
    shop = SHOP_POLICY.rotations["payments"]
    scene = Scene(policy=replace(SHOP_POLICY, rotations={"payments": replace(shop, **changes)}))
    return next(line for line in board_at(scene, 0).split("\n") if line.startswith("- **On call:**"))[15:]


def wall_time(day: int, hour: int) -> datetime:
    return datetime.combine(date(2026, 3, day), time(hour))


DAY = timedelta(days=1)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({}, "@hubot, then `octocat`; `octocat` takes over at 17:00 UTC (18:00 CET)"),
        ({"turn": ONE_WEEK}, "@octocat, then `boss`"),  # until Sunday at 18:00
        ({"turn": ONE_WEEK, "starts": date(2026, 3, 7)}, "@hubot, then `octocat`; `octocat` takes over at 17:00 UTC (18:00 CET)"),
        ({"people": ("hubot",)}, "@hubot"),
        (
            {"turn": ONE_WEEK, "overrides": (OnCallOverride(wall_time(14, 0), wall_time(15, 6), "chief"),)},
            "@chief, then `boss`; `octocat` takes over at 2026-03-15 05:00 UTC (06:00 CET)",
        ),
        (
            {"turn": ONE_WEEK, "overrides": (OnCallOverride(wall_time(14, 0), wall_time(15, 18), "chief"),)},
            "@chief, then `boss`",
        ),
        (
            {"shifts": (Shift(START - DAY, START + DAY / 2, 0, "chief"),)},
            "@chief; nobody takes over at 21:00 UTC (22:00 CET)",
        ),
    ],
)  # fmt: skip
def test_the_board_says_who_takes_over_within_a_day(changes: dict[str, Any], says: str) -> None:
    assert on_call_text(**changes) == says


def test_what_closing_asks_for_is_listed_between_the_resolution_and_the_closing() -> None:
    scene = resolved_scene().post_command(60, "hubot", "status", "verified").close(70, "mona")
    items = {after: re.findall(r"^\* \[ \] (.*)$", board_at(scene, after), re.MULTILINE) for after in (49, 51, 61, 71)}
    checklist = ["service restored", "root cause found, or a problem issue linked", "users told"]
    verify = [f"recovery verified: {way}" for way in ("functional", "user", "monitoring")]
    assert items == {49: [], 51: [*verify, *checklist], 61: checklist, 71: []}


def test_an_alias_of_a_service_leads_to_its_team() -> None:
    scene = Scene(report=replace(REPORT, services=("SHOP", "mail")), policy=SHOP_POLICY)
    text = board_at(scene, 0)
    assert "- **Services:** SHOP (team payments), mail\n" in text
    assert "- **War room:** [inc-2026-0314-001-checkout]" in text


def test_an_issue_out_of_reach_is_said_to_be() -> None:
    incident, now = answered_scene().state_at(27)
    text = render_board(replace(incident, unavailable="locked"), POLICY, now, comment_urls=LINKS, footer=FOOTER)
    assert "**The issue was locked: nothing is done until it is back.**" in text
    assert "Comes next" not in text


def test_a_row_is_linked_to_its_comment() -> None:
    incident, now = unanswered_scene().state_at(0)
    page = next(entry for entry in incident.timeline if entry.key.startswith("escalate/page"))
    links = {page.key: "https://github.com/octo/shop/issues/12#issuecomment-9"}
    text = render_board(incident, POLICY, now, comment_urls=links, footer=FOOTER)
    assert "| [09:00 UTC](https://github.com/octo/shop/issues/12#issuecomment-9) | Muster | paged hubot |" in text


def test_the_postmortem_has_every_section() -> None:
    incident, now = closed_scene().state_at(125)
    text = render_postmortem(incident, POLICY, comment_urls=LINKS, now=now).text
    sections = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert sections == [
        "Summary",
        "Severity",
        "Impact",
        "Duration and metrics",
        "SLA",
        "Timeline",
        "Root cause",
        "Contributing factors",
        "Resolution",
        "Remediation",
        "Preventive actions",
        "What went well",
        "What went poorly",
        "Where we were lucky",
        "Response effectiveness",
        "Lessons",
        "Action items",
        "Contributors",
        "Links",
    ]
    assert not re.search(r"\bMTTR\b(?!, to resolve)", text)
    begun, ended = (re.findall(rf"<!-- muster:{word} ([a-z]+) -->", text) for word in ("begin", "end"))
    assert begun == ended


def test_the_pull_request_refers_and_does_not_close() -> None:
    incident, now = closed_scene().state_at(125)
    body = render_postmortem(incident, POLICY, comment_urls=LINKS, now=now).body
    assert "Refs #12" in body
    assert not re.search(r"(?i)(close|fix|resolve)[sd]? #", body)
    assert "2026-03-16 10:35 UTC (11:35 CET), 48 h after the resolution" in body
    assert "2026-03-17 10:35 UTC (11:35 CET), 72 h after the resolution" in body


def test_a_postmortem_on_demand_has_no_date_yet() -> None:
    incident, now = answered_scene().state_at(27)
    policy = replace(POLICY, postmortem=replace(POLICY.postmortem, document=Duration.parse("1bd"), reviewers=()))
    body = render_postmortem(incident, policy, comment_urls={}, now=now).body
    assert "**Document due:** 1 business day after the resolution" in body
    assert "**Reviews:** nobody is named" in body
