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


def opens(tonight: Night) -> int:
    return tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])


def states(tonight: Night, number: int) -> dict[str, str]:
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT key, state FROM outbox WHERE number = %s", (number,)).fetchall()
    return {row["key"]: row["state"] for row in rows}


def once(tonight: Night, number: int) -> None:
    """Check for one board, the labels, no duplicate and nothing left to do."""
    tonight.board(number)
    said = tonight.said(number)
    assert len(said) == len(set(said))
    assert {"incident", "sev1"} <= tonight.labels(number)
    assert set(states(tonight, number).values()) <= {"done", "skipped"}


@pytest.mark.parametrize("path", ["/comments", "/labels", "/contents", "/access_tokens"])
@pytest.mark.parametrize("kind", ["pre", "lost", "post5", "trunc"])
def test_an_answer_that_is_lost(tonight: Night, kind: Any, path: str) -> None:
    """Before or after GitHub did it: a broken connection, a 502, or half a response."""
    tonight.github.faults.add(kind, path=path, times=2)
    number = opens(tonight)
    tonight.passes(minutes=4)
    once(tonight, number)


def test_c2_a_third_of_the_calls_fails(tonight: Night) -> None:
    number = opens(tonight)
    for _ in range(6):
        tonight.github.faults.add("post5", method="POST")
        tonight.github.faults.add("status", status=502, method="PATCH")
        tonight.github.faults.add("lost", method="POST", path="/comments")
        tonight.passes(minutes=3)
    tonight.passes(minutes=3)
    tonight.github.faults.clear()
    tonight.passes(minutes=2)
    once(tonight, number)


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
    number = opens(tonight)
    tonight.later()
    tonight.clock.at = tonight.clock.at.replace(minute=0, second=0) + timedelta(minutes=10 if seconds > 60 else 1)
    began = tonight.clock.at
    tonight.github.faults.add("status", status=status, headers=headers, path="/comments")
    mark = tonight.github.call_log_position()
    tonight.github.person("mona").comments(tonight.shop, number, "/help\n/nonsens")
    if headers.get("X-RateLimit-Reset"):
        seconds = int(headers["X-RateLimit-Reset"]) - int(began.timestamp())
    tonight.settle()
    heard = len(tonight.github.calls_since(mark))
    for second in (1, seconds // 2, seconds - 1):
        tonight.clock.at = began + timedelta(seconds=second)
        tonight.settle()
    assert len(tonight.github.calls_since(mark)) == heard
    tonight.clock.at = began + timedelta(seconds=seconds + 1)
    tonight.settle()
    assert len(tonight.github.calls_since(mark)) > heard
    tonight.passes(minutes=1)
    once(tonight, number)


def test_c1_github_is_away_for_two_hours(tonight: Night) -> None:
    """Nothing is lost, and one comment appears, not all that would have been posted meanwhile."""
    number = opens(tonight)
    tonight.later()
    before = len(tonight.notices(number))
    tonight.github.faults.add("pre", times=10**6)
    for _ in range(17):
        tonight.clock.at += timedelta(minutes=7)
        tonight.settle()
    tonight.github.faults.clear()
    tonight.passes(minutes=1)
    assert len(tonight.notices(number)) == before + 1
    assert "cto" in tonight.notices(number)[-1], "the highest step that was reached"
    once(tonight, number)


def test_a_notice_that_got_through_in_the_end_is_linked_on_the_board(tonight: Night) -> None:
    tonight.github.faults.add("status", status=502, method="POST", path="/issues/1/comments", times=1)
    number = tonight.github.person("ada").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.later()
    (page,) = [one for one in tonight.shop.issue(number).comments if "@mona" in one.body and "## " not in one.body]
    assert f"#issuecomment-{page.id}" in tonight.board(number)


def test_more_notices_than_one_comment_can_carry(tonight: Night) -> None:
    number = tonight.github.person("ada").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.later()
    before, now = len(tonight.notices(number)), tonight.clock()
    with tonight.database.transaction() as db:
        many = (Page(key=f"escalate/page/{n}/of/many", to=("mona",), at=now, attempt=n) for n in range(900))
        outbox.add_effects(db, IncidentKey(tonight.shop.id, number), many, now)
    tonight.later()
    assert len(tonight.notices(number)) - before == 1
    said = [key for key in tonight.said(number) if key.endswith("/of/many")]
    assert len(said) == 400
    assert "escalate/page/899/of/many" in said, "the newest"
    assert set(states(tonight, number).values()) <= {"done", "skipped"}


def test_what_fails_for_a_day_is_set_aside_and_the_rest_goes_on(tonight: Night) -> None:
    tonight.github.faults.add("status", status=500, path="/reactions", times=10**6)
    number = opens(tonight)
    tonight.later()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.later()
    assert "acknowledged" in tonight.labels(number)
    assert "in_flight" in states(tonight, number).values()
    for _ in range(9):
        tonight.clock.at += timedelta(hours=3)
        tonight.settle()
    assert [key.partition("/")[0] for key, state in states(tonight, number).items() if state == "dead"] == ["react"]
    assert not {"pending", "in_flight"} & set(states(tonight, number).values())


def test_what_github_refuses_for_good_is_set_aside_at_once(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    tonight.github.faults.add("status", status=422, path="/reactions")
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.later()
    assert sorted(states(tonight, number).values()).count("dead") == 1
    assert "acknowledged" in tonight.labels(number)


def test_a_board_that_is_gone_is_posted_anew(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    (board,) = [one for one in tonight.shop.issue(number).comments if one.body.startswith("## ")]
    tonight.github.hooks.drop_next()
    tonight.github.person("ada").deletes_comment(tonight.shop, board)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.later()
    once(tonight, number)


def test_c6_a_token_that_ends_early_is_renewed_once(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    tonight.github.faults.add("status", status=401, path="/repos/")
    mark = tonight.github.call_log_position()
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.later()
    calls = tonight.github.calls_since(mark)
    assert len([call for call in calls if "access_tokens" in call.path]) == 1
    once(tonight, number)


def test_tokens_are_renewed_before_their_hour_is_over(tonight: Night) -> None:
    opens(tonight)
    mark = tonight.github.call_log_position()
    tonight.passes(hours=2)
    calls = tonight.github.calls_since(mark)
    assert not [call for call in calls if call.status == 401]
    assert 2 <= len([call for call in calls if "access_tokens" in call.path]) <= 4


@pytest.mark.parametrize("seconds", [240, -240])
def test_d5_a_clock_that_is_four_minutes_off_is_believed(tonight: Night, seconds: int) -> None:
    tonight.later()
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
    number = opens(tonight)
    tonight.later()
    with tonight.database.transaction() as db:
        db.execute("UPDATE incident SET labels_at = labels_at + interval '2 hours'")
    tonight.github.hooks.hold()
    for label in ("sev2", "sev3"):
        tonight.github.person("ada").labels(tonight.shop, number, label)
        tonight.clock.at += timedelta(seconds=2)
    tonight.github.hooks.release()
    tonight.later()
    assert {label for label in tonight.labels(number) if label.startswith("sev")} == {"sev3"}


def test_c6_a_suspended_installation_waits_and_goes_on(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    tonight.github.suspend("octo")
    tonight.github.hooks.settle()
    tonight.move_in()
    tonight.passes(minutes=40)
    assert "dead" not in states(tonight, number).values()
    tonight.github.unsuspend("octo")
    tonight.passes(minutes=16)
    once(tonight, number)
    assert any("it-manager" in key for key in tonight.said(number))


def renamed(tonight: Night) -> None:
    tonight.github.rename_repository(tonight.shop, "store")


def test_m37_a_renamed_repository_is_the_same_one(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    renamed(tonight)
    tonight.passes(minutes=6)
    assert any("page0.2" in key for key in tonight.said(number))
    assert not tonight.incident(number).unavailable
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.later()
    once(tonight, number)


def rights_unknown(tonight: Night) -> None:
    tonight.github.faults.add("status", status=503, path="/permission", times=3)


def test_a_command_waits_until_github_says_who_may_command(tonight: Night) -> None:
    number = opens(tonight)
    tonight.later()
    rights_unknown(tonight)
    given = tonight.clock.at
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    tonight.wake(number)
    assert tonight.incident(number).acknowledged_at is None
    tonight.passes(minutes=3)
    assert tonight.incident(number).acknowledged_at == given
