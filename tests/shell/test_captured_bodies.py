"""FC-S10: a delivery that was captured is sent again, under another event or another id."""

from __future__ import annotations

import json

import pytest

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
