"""FC-S10: a delivery that was captured is sent again, under another event or another id."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from app.worker.pipeline.uninstall import delete_uninstalled
from tests.shell.night import SEV1, Night


def open_acknowledged(tonight: Night) -> int:
    number = tonight.github.person("grace").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    return number


def find_body(tonight: Night, event: str, action: str) -> bytes:
    with tonight.database.autocommit() as db:
        rows = db.execute("SELECT event, body FROM delivery ORDER BY arrival DESC").fetchall()
    return next(
        bytes(row["body"])
        for row in rows
        if row["event"] == event and json.loads(bytes(row["body"]))["action"] == action
    )


@pytest.mark.parametrize("event", ["issues", "installation", "push", "pull_request", "installation_repositories"])
def test_a_comments_deletion_under_another_name_ends_nothing(tonight: Night, event: str) -> None:
    number = open_acknowledged(tonight)
    comment = tonight.github.person("ada").comments(tonight.shop, number, "never mind")
    tonight.github.person("ada").deletes_comment(tonight.shop, comment)
    tonight.advance_and_settle()
    body = find_body(tonight, "issue_comment", "deleted") + b" "
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "captured", event, body)
    tonight.settle()
    assert tonight.load_delivery_states()["captured"] == "dead"
    assert tonight.incident(number).unavailable == ""
    assert tonight.incident(number).status.open
    with tonight.database.autocommit() as db:
        assert db.execute("SELECT count(*) AS n FROM uninstalled_repository").fetchone() == {"n": 0}


@pytest.mark.parametrize(
    "event", ["issue_comment", "installation", "installation_repositories", "push", "pull_request"]
)
def test_a_label_under_another_name_says_nothing(tonight: Night, event: str) -> None:
    number = open_acknowledged(tonight)
    tonight.github.person("mona").labels(tonight.shop, number, "mitigated")
    tonight.advance_and_settle()
    before = tonight.dump_lines()
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "captured", event, find_body(tonight, "issues", "labeled") + b" ")
    tonight.settle()
    assert tonight.load_delivery_states()["captured"] == "dead"
    assert tonight.dump_lines() == before


@pytest.mark.parametrize("event", ["ping", "brand_new", "installation", "issue_comment"])
def test_a_body_sent_first_under_a_wrong_name_is_taken_under_the_right_one(tonight: Night, event: str) -> None:
    """GitHub delivers it again, or its list of deliveries has it, after somebody has sent what got lost."""
    number = open_acknowledged(tonight)
    url, tonight.github.hooks.url = tonight.github.hooks.url, None
    tonight.github.person("mona").comments(tonight.shop, number, "just a remark")
    tonight.github.person("mona").closes(tonight.shop, number)
    tonight.github.hooks.settle()
    tonight.github.hooks.url = url
    lost = next(one for one in tonight.github.hooks.deliveries() if one.event == "issues" and one.action == "closed")
    body = lost.body
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "too-early", event, body)
    tonight.settle()
    assert tonight.load_delivery_states()["too-early"] in ("dead", "ignored")
    assert tonight.incident(number).status.open
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "genuine", "issues", body)
    tonight.settle()
    assert tonight.load_delivery_states()["genuine"] == "processed"
    assert not tonight.incident(number).status.open


def test_a_removal_sent_again_silences_nothing_and_a_second_one_counts(tonight: Night) -> None:
    """GitHub says in the same words that a repository was removed again, so it is asked which of the two it was."""
    number = open_acknowledged(tonight)
    tonight.github.uninstall("octo", tonight.shop)
    tonight.github.hooks.settle()
    with tonight.database.autocommit() as db:
        row = db.execute("SELECT body FROM delivery WHERE event = 'installation_repositories'").fetchone()
    assert row is not None
    tonight.settle()
    tonight.github.install(tonight.shop)
    tonight.settle()
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0
    before = tonight.dump_lines()
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "again", "installation_repositories", bytes(row["body"]))
    tonight.settle()
    assert tonight.load_delivery_states()["again"] == "ignored"
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0
    assert tonight.dump_lines() == before
    assert count_checks(tonight) == 0, "GitHub said that the App is installed"

    tonight.github.uninstall("octo", tonight.shop)
    tonight.github.hooks.settle()
    with tonight.database.transaction() as db:
        db.execute("DELETE FROM delivery WHERE state = 'received'")
        tonight.store_delivery(db, "second", "installation_repositories", bytes(row["body"]))
    tonight.settle()
    assert count_checks(tonight) == 1
    tonight.clock.at += timedelta(minutes=61)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    with tonight.database.autocommit() as db:
        assert db.execute("SELECT 1 FROM incident WHERE number = %s", (number,)).fetchone() is None


def count_checks(tonight: Night) -> int:
    with tonight.database.autocommit() as db:
        row = db.execute("SELECT count(*) AS n FROM uninstalled_repository").fetchone()
    return int(row["n"]) if row else -1


def test_a_body_is_taken_once_under_whatever_id(tonight: Night) -> None:
    number = open_acknowledged(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/resolve it was the cable")
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, "/status investigating")
    tonight.advance_and_settle()
    before = tonight.dump_lines()
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "again", "issue_comment", find_body(tonight, "issue_comment", "created"))
        tonight.store_delivery(db, "as-issues", "issues", find_body(tonight, "issues", "opened"))
    tonight.settle()
    states = tonight.load_delivery_states()
    assert (states["again"], states["as-issues"]) == ("ignored", "ignored")
    assert tonight.dump_lines() == before
