"""`muster run sweep`: what the schedule does, also when it comes late."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.runner.sweep import measure_schedule_delay
from tests.runner.actions import Actions
from tests.runner.conftest import POLICY_PATH
from tests.shell.night import POLICY, SEV1

SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def test_only_what_is_due_is_looked_into(actions: Actions) -> None:
    first, *others = [actions.opens(body, f"{body[-20:]}") for body in (SEV1, SEV3, SEV3, SEV3)]
    actions.advance_and_settle()
    idle = actions.sweep()
    assert (idle.outputs["open"], idle.outputs["due"], actions.runner.calls) == ("4", "0", 4)
    assert "No alarm was due." in idle.summary
    before = {number: actions.board(number) for number in others}
    actions.clock.at += timedelta(minutes=9)
    due = actions.sweep()
    assert (due.code, due.outputs["due"], due.outputs["notices"]) == (0, "1", "1")
    assert actions.runner.calls <= 4 + 6
    assert len(actions.notices(first)) == 2
    assert {number: actions.board(number) for number in others} == before
    assert "| an alarm was due | 4 min |" in due.summary
    assert due.log == ["::notice title=Muster::4 incidents looked after, 1 due; the latest alarm was 4 min late."]


def test_what_no_run_has_seen_is_caught_up_with(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.take_new_events()
    assert actions.sweep().outputs["due"] == "1", "nobody has looked at it yet"
    actions.clock.at += timedelta(minutes=2)
    actions.github.person("mona").comments(actions.shop, number, "/ack")
    actions.take_new_events()
    actions.clock.at += timedelta(minutes=1)
    caught = actions.sweep()
    assert "something happened since its board was written" in caught.summary
    assert "acknowledged" in actions.labels(number)
    actions.clock.at += timedelta(minutes=1)
    actions.github.person("mona").comments(actions.shop, number, "I am looking")
    actions.clock.at += timedelta(minutes=1)
    assert actions.sweep().outputs["due"] == "1"
    assert actions.sweep().outputs["due"] == "0", "what says nothing new is looked at once"


def test_a_report_that_no_run_has_seen_is_as_late_as_its_first_page(actions: Actions) -> None:
    actions.opens(SEV1)
    actions.take_new_events()
    actions.clock.at += timedelta(minutes=40)
    found = actions.sweep()
    assert (found.outputs["due"], found.outputs["lag"]) == ("1", str(40 * 60))
    assert "| it has no board | 40 min |" in found.summary
    assert "No alarm was due" not in found.summary


def test_an_edit_that_no_run_has_seen_counts_from_when_it_is_found(actions: Actions) -> None:
    number = actions.opens(SEV3)
    actions.advance_and_settle()
    actions.clock.at += timedelta(minutes=10)
    actions.github.person("stranger").edits_issue(actions.shop, number, body=SEV1)
    actions.take_new_events()
    actions.clock.at += timedelta(minutes=2)
    actions.sweep()
    assert actions.labels(number) == {"incident", "sev1", "sla-at-risk"}, "its clocks count from the report"
    board = actions.board(number)
    actions.clock.at += timedelta(minutes=1)
    actions.sweep()
    assert actions.board(number) == board


def test_a_deleted_board_comes_back(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    (board,) = [each for each in actions.shop.issue(number).comments if each.body.startswith("## ")]
    actions.shop.permit("ada", "admin")
    actions.github.person("ada").deletes_comment(actions.shop, board)
    actions.take_new_events()
    assert "it has no board" in actions.sweep().summary
    assert actions.board(number)
    assert len(actions.notices(number)) == 1


def test_another_policy_reaches_every_board(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    faster = POLICY + "escalation:\n  sev1: [{after: 0m, to: on-call, until: ack}, {after: 7m, to: cto}]\n"
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, faster)
    actions.take_new_events()
    assert "another policy holds" in actions.sweep().summary
    actions.clock.at += timedelta(minutes=7)
    actions.sweep()
    assert "@grace" in actions.notices(number)[-1]
    before = actions.notices(number)
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, faster.replace("7m", "6m"))
    actions.clock.at += timedelta(minutes=1)
    actions.sweep()
    assert actions.notices(number) == before, "who was told is not told again because the hour is another"


def test_a_postmortem_that_is_due_is_reminded_after_the_closing(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.says("mona", number, "/ack\n/resolve a larger pool")
    actions.github.person("mona").closes(actions.shop, number)
    actions.advance_and_settle()
    (pull,) = [issue for issue in actions.shop.issues.values() if issue.pull is not None]
    assert pull.author.login == "github-actions[bot]"
    assert "postmortem-due" in actions.labels(number)
    before = len(actions.notices(number))
    actions.clock.at += timedelta(hours=49)
    assert actions.sweep().outputs["due"] == "1"
    assert len(actions.notices(number)) == before + 1
    actions.github.person("ada").merges(actions.shop, pull.number)
    (merged, *_) = [done for done in actions.settle() if done.outputs["skipped"] == "false"]
    assert merged.outputs["postmortem"].endswith(f"/pull/{pull.number}")
    assert "postmortem-due" not in actions.labels(number)
    assert actions.sweep().outputs["open"] == "0"


def test_one_that_cannot_be_looked_into_keeps_nobody_from_the_others(actions: Actions) -> None:
    first, second = actions.opens(SEV1), actions.opens(SEV1)
    actions.advance_and_settle()
    actions.clock.at += timedelta(minutes=6)
    actions.github.faults.refuse("too long", method="GET", path=f"/issues/{first}/timeline")
    done = actions.sweep()
    assert done.code == 1
    assert f"#{first} could not be looked into" in done.summary
    assert len(actions.notices(second)) == 2
    assert actions.shop.issue(first).reactions == []
    assert actions.sweep().code == 0
    assert len(actions.notices(first)) == 2


def test_a_github_that_wants_quiet_is_left_alone(actions: Actions) -> None:
    first, *others = [actions.opens(SEV1) for _ in range(4)]
    actions.advance_and_settle()
    actions.clock.at += timedelta(minutes=6)
    before = {number: len(actions.notices(number)) for number in (first, *others)}
    limited = {"retry-after": "600"}
    actions.github.faults.add("status", method="POST", path="/reactions", status=429, headers=limited)
    done = actions.sweep()
    assert done.code == 1
    assert actions.runner.calls <= 4, "after that it is not asked again in this run"
    assert len([line for line in done.log if line.startswith("::error")]) <= 2
    assert "more are due: the next run looks into them" in done.summary
    assert {number: len(actions.notices(number)) for number in before} == before
    assert actions.sweep().outputs["due"] == "4"


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ("*/5 * * * *", 190),
        ("7,37 * * * *", 670),
        ("* * * * *", 10),
        ("0 9 * * 1-5", None),
        ("1-5 * * * *", None),
        ("nonsense", None),
    ],
)
def test_how_late_the_schedule_itself_is(schedule: str, seconds: int | None) -> None:
    at = datetime(2026, 3, 14, 9, 48, 10, tzinfo=UTC)
    lag = measure_schedule_delay({"schedule": schedule}, at)
    assert (lag.total_seconds() if lag is not None else None) == seconds
