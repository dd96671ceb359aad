"""Every outbox item ends, done or as a dead letter, within three tries and never in a loop (C7)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from app.store.database import Database
from tests.shell.night import POLICY, SEV1, Night, run_night

MAX_TEXT_LENGTH = 65_536
FAULT = "The policy file has a fault"
FAMILY = "\U0001f468‍\U0001f469‍\U0001f467‍\U0001f466"


def run_to_end(tonight: Night) -> dict[str, str]:
    """Run until every item has ended and GitHub is no longer called; return the states by key."""
    tonight.advance_and_settle()
    tonight.run_for(minutes=3)
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT key, state, attempts FROM outbox").fetchall()
    assert {row["state"] for row in rows} <= {"done", "skipped", "dead"}, rows
    assert max(row["attempts"] for row in rows) <= 3, rows
    mark = tonight.github.call_log_position()
    tonight.clock.at += timedelta(seconds=30)
    tonight.settle()
    assert tonight.github.calls_since(mark) == [], "it goes on and on"
    return {row["key"]: row["state"] for row in rows}


def open_acknowledged_incident(tonight: Night, title: str = "Checkout is down", body: str = SEV1) -> int:
    number = tonight.github.person("mona").opens(tonight.shop, title, body, ["incident"])
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    return number


@pytest.mark.parametrize("words", ["a" * MAX_TEXT_LENGTH, FAMILY * 10_000], ids=["letters", "families"])
def test_c7_m39_a_report_as_long_as_github_allows(tonight: Night, words: str) -> None:
    body = f"{SEV1}\n### What happened?\n\n{words}"[:MAX_TEXT_LENGTH]
    number = open_acknowledged_incident(tonight, words[:250], body)
    tonight.github.person("hubot").comments(tonight.shop, number, f"/update {words}"[:MAX_TEXT_LENGTH])
    assert set(run_to_end(tonight).values()) <= {"done", "skipped"}
    for text in [tonight.board(number), *tonight.notices(number)]:
        assert len(text.encode("utf-16-le")) // 2 <= MAX_TEXT_LENGTH
        assert "muster:1" in text.splitlines()[-1], "the marker is whole"
        text.encode()


@pytest.mark.parametrize("name", ["a,b", "%2e%2e", 'sev1"><b>', "../../issues", "ü ö?#&"])
def test_c7_m14_labels_of_any_name(database: Database, name: str) -> None:
    """The label is set and removed on its own issue and nowhere else."""
    with run_night(database, POLICY + f"labels: {{acknowledged: '{name}'}}\n") as tonight:
        number = open_acknowledged_incident(tonight)
        assert name in tonight.labels(number) or "," in name
        assert name in tonight.labels(number) or FAULT in "".join(tonight.notices(number)), "refused, with a notice"
        tonight.github.person("mona").comments(tonight.shop, number, "/resolve it is well again")
        assert "dead" not in run_to_end(tonight).values()
        assert tonight.labels(number) == {"incident", "sev1", "resolved"}


@pytest.mark.parametrize("name", ["a" * 51, ""], ids=["too long", "empty"])
def test_c7_m14_a_label_that_github_would_refuse_is_refused_in_the_policy(database: Database, name: str) -> None:
    with run_night(database, POLICY + f"labels: {{acknowledged: '{name}'}}\n") as tonight:
        number = open_acknowledged_incident(tonight)
        assert "dead" not in run_to_end(tonight).values()
        assert any(FAULT in text for text in tonight.notices(number))
        assert "acknowledged" in tonight.labels(number)


def deletes(tonight: Night, number: int) -> None:
    tonight.shop.permit("ada", "admin")
    tonight.github.person("ada").deletes_issue(tonight.shop, number)


def transfers(tonight: Night, number: int) -> None:
    other = tonight.github.add_repository("octo/attic")
    other.permit("ada", "write")
    tonight.github.person("ada").transfers(tonight.shop, number, other)


@pytest.mark.parametrize("deed", [deletes, transfers])
@pytest.mark.parametrize("heard", [True, False], ids=["and says so", "without a word"])
def test_c7_an_issue_that_is_out_of_reach(tonight: Night, deed: Callable[[Night, int], None], heard: bool) -> None:
    number = open_acknowledged_incident(tonight)
    if not heard:
        tonight.github.hooks.drop_next(4)
    deed(tonight, number)
    tonight.github.hooks.settle()
    tonight.advance_and_settle()
    tonight.run_for(hours=2)
    states = run_to_end(tonight)
    assert states


def test_c7_a_label_that_was_deleted_is_made_again(tonight: Night) -> None:
    """GitHub removes a deleted label from every issue, but sends a delivery about the label only."""
    number = open_acknowledged_incident(tonight)
    tonight.github.hooks.drop_next(2)
    tonight.github.person("ada").unlabels(tonight.shop, number, "sev1", "acknowledged")
    tonight.shop.labels.pop("sev1")
    tonight.github.person("mona").comments(tonight.shop, number, "/resolve it is well again")
    assert "dead" not in run_to_end(tonight).values()
    assert {"resolved", "sev1"} <= tonight.labels(number)


def test_c7_a_comment_that_was_deleted_gets_no_reaction_and_bothers_nobody(tonight: Night) -> None:
    number = open_acknowledged_incident(tonight)
    comment = tonight.github.person("mona").comments(tonight.shop, number, "/update it goes on")
    tonight.github.person("mona").deletes_comment(tonight.shop, comment)
    assert "dead" not in run_to_end(tonight).values()


@pytest.mark.parametrize("name", ["too long", "conflict", "unprocessable", "not accessible", "not found", "archived"])
def test_c7_whatever_github_refuses_is_no_loop_and_loses_no_incident(tonight: Night, name: str) -> None:
    """FC-G1 to FC-G4: whatever it is, the calls grow rare, the incident goes on, and all is said once it is accepted."""
    for method in ("POST", "PATCH"):
        tonight.github.faults.refuse(name, method=method, path="/repos/", times=10**6)
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.run_for(hours=2)
    mark = tonight.github.call_log_position()
    tonight.run_for(hours=1)
    assert len(tonight.github.calls_since(mark)) <= 150
    assert tonight.incident(number).status.open
    assert not tonight.incident(number).unavailable
    tonight.github.faults.clear()
    tonight.run_for(hours=2)
    tonight.github.person("mona").comments(tonight.shop, number, "/retry")
    tonight.advance_and_settle()
    assert tonight.board(number)
    assert tonight.notices(number)
    assert tonight.labels(number) >= {"incident", "sev1"}
