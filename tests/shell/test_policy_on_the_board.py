"""What a team's policy brings to the issue: its severity names, links, and on-call turns."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest

from app.store.database import Database
from tests.shell.night import POLICY, SEV1, Night, run_night

TEAM_POLICY = (
    POLICY
    + """\
aliases: {sev1: [kritisch], sev2: [hoch]}
labels: {severities: [kritisch, hoch, mittel, niedrig]}
intake: {fields: {Dringlichkeitsstufe: severity, Betroffenes System: services}}
teams: {payments: {members: [ada], on-call: payments-turns}}
rotations: {payments-turns: {people: [ada, grace], turn: 12h, starts: 2026-01-05}}
services: {checkout: {owner: payments, aliases: [Kasse], runbooks: [database]}}
runbooks: {database: {link: docs/runbooks/database.md}}
war-room: {severities: [sev1], link: "https://meet.example/{{ room }}"}
closing: {severities: [sev1], verify: [functional], checklist: [users told]}
"""
)
REPORT = "### Dringlichkeitsstufe\n\nKritisch (alle)\n\n### Betroffenes System\n\nKasse\n"


@pytest.fixture
def ours(database: Database) -> Iterator[Night]:
    with run_night(database, policy=TEAM_POLICY) as found:
        found.github.person("ada").pushes(found.shop, "docs/runbooks/database.md", "# Fail over\n")
        yield found


def open_incident(ours: Night, body: str) -> int:
    number = ours.github.person("stranger").opens(ours.shop, "Nichts geht", body, ["incident"])
    ours.advance_and_settle()
    return number


def test_a_report_in_the_words_of_the_team(ours: Night) -> None:
    number = open_incident(ours, REPORT)
    assert ours.labels(number) == {"incident", "kritisch"}
    board = ours.board(number)
    assert "- **On call:** @ada, then `grace`; `grace` takes over at 20:00 UTC (21:00 CET)\n" in board
    assert "- **War room:** [inc-2026-0314-001-checkout](https://meet.example/inc-2026-0314-001-checkout)\n" in board
    assert "- **Services:** Kasse (team payments)\n" in board
    assert "@ada" in ours.notices(number)[0]


def test_the_runbook_is_where_the_link_leads(ours: Night) -> None:
    found = re.search(r"\*\*Runbooks:\*\* \[database\]\((.*)\)\n", ours.board(open_incident(ours, REPORT)))
    assert found is not None
    page = httpx.get(found[1])
    assert page.status_code == 200
    assert "<h1>Fail over</h1>" in page.text


def test_before_the_closing_the_board_lists_what_it_asks_for(ours: Night) -> None:
    number = open_incident(ours, REPORT)
    ours.github.person("ada").comments(ours.shop, number, "/resolve the limit was raised")
    ours.advance_and_settle()
    assert "**Before closing:**\n\n* [ ] recovery verified: functional\n* [ ] users told\n" in ours.board(number)
    ours.github.person("ada").closes(ours.shop, number)
    ours.advance_and_settle()
    assert "Before closing" not in ours.board(number)


def test_names_of_the_team_work_everywhere_and_those_of_others_are_asked_about(ours: Night) -> None:
    number = open_incident(ours, REPORT.replace("Kritisch (alle)", "P1"))
    (question,) = (text for text in ours.notices(number) if "How severe is" in text)
    assert "Please choose one of SEV1 (kritisch), SEV2 (hoch), SEV3, SEV4 or Not sure" in question.replace("\\", "")
    ours.github.person("ada").comments(ours.shop, number, "/severity hoch nur wenige")
    ours.advance_and_settle()
    assert "hoch" in ours.labels(number)
    number = open_incident(ours, SEV1)
    assert "kritisch" in ours.labels(number)
