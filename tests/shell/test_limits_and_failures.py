"""GitHub fails in many ways: everything is still posted once, or becomes a visible dead letter."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from app.core.effects import Page
from app.github.auth import AppKey
from app.github.client import Client
from app.ports import IncidentKey
from app.store import outbox
from tests.shell.night import SEV1, Night, Wire


def open_incident(tonight: Night) -> int:
    return tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])


def load_states(tonight: Night, number: int) -> dict[str, str]:
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT key, state FROM outbox WHERE number = %s", (number,)).fetchall()
    return {row["key"]: row["state"] for row in rows}


def assert_done_once(tonight: Night, number: int) -> None:
    """Check for one board, the labels, no duplicate and nothing left to do."""
    tonight.board(number)
    keys = tonight.list_posted_keys(number)
    assert len(keys) == len(set(keys))
    assert {"incident", "sev1"} <= tonight.labels(number)
    assert set(load_states(tonight, number).values()) <= {"done", "skipped"}


@pytest.mark.parametrize("path", ["/comments", "/labels", "/contents", "/access_tokens"])
@pytest.mark.parametrize("kind", ["pre", "lost", "post5", "trunc"])
def test_an_answer_that_is_lost(tonight: Night, kind: Any, path: str) -> None:
    """Before or after GitHub did it: a broken connection, a 502, or half a response."""
    tonight.github.faults.add(kind, path=path, times=2)
    number = open_incident(tonight)
    tonight.run_for(minutes=4)
    assert_done_once(tonight, number)


def test_c2_a_third_of_the_calls_fails(tonight: Night) -> None:
    number = open_incident(tonight)
    for _ in range(6):
        tonight.github.faults.add("post5", method="POST")
        tonight.github.faults.add("status", status=502, method="PATCH")
        tonight.github.faults.add("lost", method="POST", path="/comments")
        tonight.run_for(minutes=3)
    tonight.run_for(minutes=3)
    tonight.github.faults.clear()
    tonight.run_for(minutes=2)
    assert_done_once(tonight, number)


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (403, {"Retry-After": "37"}, 37),
        (429, {"Retry-After": "37"}, 37),
        (429, {}, 60),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "1773480637"}, 637),
    ],
)
def test_c3_quiet_is_kept_for_as_long_as_github_asks(
    tonight: Night, status: int, headers: dict[str, str], seconds: int
) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    tonight.clock.at = tonight.clock.at.replace(minute=0, second=0) + timedelta(minutes=10 if seconds > 60 else 1)
    began = tonight.clock.at
    tonight.github.faults.add("status", status=status, headers=headers, path="/comments")
    mark = tonight.github.call_log_position()
    tonight.github.person("mona").comments(tonight.shop, number, "/help\n/nonsens")
    if headers.get("X-RateLimit-Reset"):
        seconds = int(headers["X-RateLimit-Reset"]) - int(began.timestamp())
    tonight.settle()
    call_count = len(tonight.github.calls_since(mark))
    for second in (1, seconds // 2, seconds - 1):
        tonight.clock.at = began + timedelta(seconds=second)
        tonight.settle()
    assert len(tonight.github.calls_since(mark)) == call_count
    tonight.clock.at = began + timedelta(seconds=seconds + 1)
    tonight.settle()
    assert len(tonight.github.calls_since(mark)) > call_count
    tonight.run_for(minutes=1)
    assert_done_once(tonight, number)


def test_c1_github_is_away_for_two_hours(tonight: Night) -> None:
    """Nothing is lost, and one comment appears, not all that would have been posted meanwhile."""
    number = open_incident(tonight)
    tonight.advance_and_settle()
    before = len(tonight.notices(number))
    tonight.github.faults.add("pre", times=10**6)
    for _ in range(17):
        tonight.clock.at += timedelta(minutes=7)
        tonight.settle()
    tonight.github.faults.clear()
    tonight.run_for(minutes=1)
    assert len(tonight.notices(number)) == before + 1
    assert "cto" in tonight.notices(number)[-1], "the highest step that was reached"
    assert_done_once(tonight, number)


def test_a_notice_that_got_through_in_the_end_is_linked_on_the_board(tonight: Night) -> None:
    tonight.github.faults.add("status", status=502, method="POST", path="/issues/1/comments", times=1)
    number = tonight.github.person("ada").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    (page,) = [one for one in tonight.shop.issue(number).comments if "@mona" in one.body and "## " not in one.body]
    assert f"#issuecomment-{page.id}" in tonight.board(number)


def test_more_notices_than_one_comment_can_carry(tonight: Night) -> None:
    number = tonight.github.person("ada").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    before, now = len(tonight.notices(number)), tonight.clock()
    with tonight.database.transaction() as db:
        many = (Page(key=f"escalate/page/{n}/of/many", to=("mona",), at=now, attempt=n) for n in range(900))
        outbox.add_effects(db, IncidentKey(tonight.shop.id, number), many, now)
    tonight.advance_and_settle()
    assert len(tonight.notices(number)) - before == 1
    keys = [key for key in tonight.list_posted_keys(number) if key.endswith("/of/many")]
    assert len(keys) == 400
    assert "escalate/page/899/of/many" in keys, "the newest"
    assert set(load_states(tonight, number).values()) <= {"done", "skipped"}


def test_what_fails_for_a_day_is_set_aside_and_the_rest_goes_on(tonight: Night) -> None:
    tonight.github.faults.add("status", status=500, path="/reactions", times=10**6)
    number = open_incident(tonight)
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    assert "acknowledged" in tonight.labels(number)
    assert "in_flight" in load_states(tonight, number).values()
    for _ in range(9):
        tonight.clock.at += timedelta(hours=3)
        tonight.settle()
    assert [key.partition("/")[0] for key, state in load_states(tonight, number).items() if state == "dead"] == [
        "react"
    ]
    assert not {"pending", "in_flight"} & set(load_states(tonight, number).values())


def test_what_github_refuses_for_good_is_set_aside_at_once(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("too long", path="/reactions")
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    assert sorted(load_states(tonight, number).values()).count("dead") == 1
    assert "acknowledged" in tonight.labels(number)


def test_a_board_that_is_gone_is_posted_anew(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    (board,) = [one for one in tonight.shop.issue(number).comments if one.body.startswith("## ")]
    tonight.github.hooks.drop_next()
    tonight.github.person("ada").deletes_comment(tonight.shop, board)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    assert_done_once(tonight, number)


def test_c6_a_token_that_ends_early_is_renewed_once(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.add("status", status=401, path="/repos/")
    mark = tonight.github.call_log_position()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    calls = tonight.github.calls_since(mark)
    assert len([call for call in calls if "access_tokens" in call.path]) == 1
    assert_done_once(tonight, number)


def test_tokens_are_renewed_before_their_hour_is_over(tonight: Night) -> None:
    open_incident(tonight)
    mark = tonight.github.call_log_position()
    tonight.run_for(hours=2)
    calls = tonight.github.calls_since(mark)
    assert not [call for call in calls if call.status == 401]
    assert 2 <= len([call for call in calls if "access_tokens" in call.path]) <= 4


@pytest.mark.parametrize("seconds", [240, -240])
def test_d5_a_clock_that_is_four_minutes_off_is_believed(tonight: Night, seconds: int) -> None:
    tonight.advance_and_settle()
    off, wire = timedelta(seconds=seconds), Wire()
    key = AppKey(tonight.github.app.app_id, tonight.github.app.private_key_pem)
    client = Client(tonight.github.api_url, key, lambda: tonight.clock() + off, wire)
    (installation,) = client.list_installations()
    mark = tonight.github.call_log_position()
    for _ in range(5 * 60):
        client.call(installation, "GET", f"/repos/{tonight.shop.full_name}")
        tonight.clock.at += timedelta(minutes=1)
    wire.end()
    calls = tonight.github.calls_since(mark)
    assert {call.status for call in calls} <= {200, 201}, "never a 401"
    assert len([call for call in calls if "access_tokens" in call.path]) == 6, "one an hour, five minutes early"


def test_d4_a_clock_that_was_hours_fast_leaves_no_label_behind(tonight: Night) -> None:
    """GitHub's deliveries then seem old; the response to our own change shows the labels that were ignored."""
    number = open_incident(tonight)
    tonight.advance_and_settle()
    with tonight.database.transaction() as db:
        db.execute("UPDATE incident SET labels_at = labels_at + interval '2 hours'")
    tonight.github.hooks.hold()
    for label in ("sev2", "sev3"):
        tonight.github.person("ada").labels(tonight.shop, number, label)
        tonight.clock.at += timedelta(seconds=2)
    tonight.github.hooks.release()
    tonight.advance_and_settle()
    assert {label for label in tonight.labels(number) if label.startswith("sev")} == {"sev3"}


def test_c6_a_suspended_installation_waits_and_goes_on(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    tonight.github.suspend("octo")
    tonight.github.hooks.settle()
    tonight.restart()
    tonight.run_for(minutes=40)
    assert "dead" not in load_states(tonight, number).values()
    tonight.github.unsuspend("octo")
    tonight.run_for(minutes=16)
    assert_done_once(tonight, number)
    assert any("it-manager" in key for key in tonight.list_posted_keys(number))


def rename_repository(tonight: Night) -> None:
    tonight.github.rename_repository(tonight.shop, "store")


def test_m37_a_renamed_repository_is_the_same_one(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    rename_repository(tonight)
    tonight.run_for(minutes=6)
    assert any("page0.2" in key for key in tonight.list_posted_keys(number))
    assert not tonight.incident(number).unavailable
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    assert_done_once(tonight, number)


def fail_permission_lookups(tonight: Night) -> None:
    tonight.github.faults.add("status", status=503, path="/permission", times=3)


def test_a_command_waits_until_github_says_who_may_command(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.advance_and_settle()
    fail_permission_lookups(tonight)
    given = tonight.clock.at
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    tonight.run_job(number)
    assert tonight.incident(number).acknowledged_at is None
    tonight.run_for(minutes=3)
    assert tonight.incident(number).acknowledged_at == given
