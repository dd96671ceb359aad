"""What GitHub refuses for a moment, for a while, or until a person changes something: nothing ends that should not."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.store.database import Database
from app.worker.monitoring.self_audit import run_audit
from tests.shell.night import POLICY, SEV1, Night, run_night

PAGER = POLICY + "channels: {desk: {type: webhook, url: 'https://desk.example/hook', serves: [pager, chat, mail]}}\n"


def open_sev1(tonight: Night) -> int:
    return tonight.github.person("grace").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])


def say(tonight: Night, number: int, text: str, login: str = "mona") -> None:
    tonight.github.person(login).comments(tonight.shop, number, text)
    tonight.advance_and_settle()


def list_states(tonight: Night) -> dict[str, str]:
    with tonight.database.transaction() as db:
        return {row["key"]: row["state"] for row in db.execute("SELECT key, state FROM outbox")}


# FC-G1: not found.


def test_two_answers_of_not_found_end_nothing(tonight: Night) -> None:
    """FC-G1: the page's comment and the look after it are answered with 404; the page is posted a moment later."""
    number = open_sev1(tonight)
    tonight.github.faults.refuse("not found", method="POST", path=f"/issues/{number}/comments")
    tonight.github.faults.refuse("not found", method="GET", path=f"/issues/{number}")
    tonight.settle()
    assert tonight.incident(number).unavailable == ""
    tonight.run_for(minutes=3)
    assert any("page" in text or "sev1" in text.lower() for text in tonight.notices(number))
    pages = len(tonight.notices(number))
    tonight.run_for(minutes=12)
    assert len(tonight.notices(number)) > pages, "its alarms go on"


def test_an_issue_that_is_away_for_half_an_hour_keeps_its_alarms(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not found", path=f"/issues/{number}", times=10**6)
    tonight.run_for(minutes=30)
    assert tonight.incident(number).unavailable == ""
    tonight.github.faults.clear()
    tonight.run_for(minutes=12)
    assert "escalate/it-manager@30m" in tonight.list_posted_keys(number)


def test_an_issue_that_is_not_found_for_over_an_hour_ends_and_comes_back_when_it_is_seen(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not found", path=f"/issues/{number}", times=10**6)
    tonight.run_for(hours=3)
    assert tonight.incident(number).unavailable == "gone"
    mark = tonight.github.call_log_position()
    tonight.run_for(hours=1)
    assert tonight.github.calls_since(mark) == [], "it is left alone"
    tonight.github.faults.clear()
    say(tonight, number, "/ack")
    incident = tonight.incident(number)
    assert incident.unavailable == ""
    assert incident.commander == "mona"
    assert "acknowledged" in tonight.labels(number)
    tonight.run_for(minutes=40)
    assert tonight.incident(number).status.open
    assert any(key.startswith("update/") for key in tonight.incident(number).fired_alarms), "its alarms are back"


def test_any_word_about_the_issue_brings_it_back(tonight: Night) -> None:
    """A comment that commands nothing is a sign, too; a delivery about another issue is none."""
    number, other = open_sev1(tonight), open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not found", path=f"/issues/{number}", times=10**6)
    tonight.run_for(hours=3)
    say(tonight, other, "Anybody here?")
    assert tonight.incident(number).unavailable == "gone"
    tonight.github.faults.clear()
    say(tonight, number, "Anybody here?", login="stranger")
    assert tonight.incident(number).unavailable == ""


def test_a_board_that_is_not_found_for_a_moment_is_not_posted_twice(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not found", method="PATCH", path="/issues/comments/")
    say(tonight, number, "/ack")
    tonight.run_for(minutes=2)
    assert "acknowledged" in tonight.board(number)


# FC-G2: rights.


def test_a_refused_question_about_rights_is_asked_again(tonight: Night) -> None:
    """FC-G2: nobody is told that they have no rights because GitHub did not say."""
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not accessible", path="/collaborators/mona/permission", times=2)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.settle()
    assert tonight.incident(number).commander == ""
    tonight.run_for(minutes=2)
    assert tonight.incident(number).commander == "mona"
    assert not [text for text in tonight.notices(number) if "role in this repository" in text]


def test_a_question_about_rights_that_stays_refused_is_answered_after_minutes(tonight: Night) -> None:
    """The command is answered, what others say is not held up, and the same command works once GitHub answers."""
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("not accessible", path="/collaborators/mona/permission", times=10**6)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.settle()
    say(tonight, number, "/update Looking.", login="ada")
    assert "Looking." in tonight.board(number)
    tonight.run_for(minutes=7)
    assert any("could not ask GitHub" in text for text in tonight.notices(number))
    assert tonight.incident(number).commander != "mona"
    tonight.github.faults.clear()
    say(tonight, number, "/ack")
    assert tonight.incident(number).commander in ("ada", "mona")


@pytest.mark.parametrize("name", ["not accessible", "unresolved", "unprocessable", "too quickly", "conflict"])
@pytest.mark.parametrize("times", [1, 3])
def test_a_first_no_to_the_first_page_is_tried_again(tonight: Night, name: str, times: int) -> None:
    """FC-G2, FC-G3: also the board; nothing is posted twice."""
    tonight.github.faults.refuse(name, method="POST", path="/comments", times=times)
    number = open_sev1(tonight)
    tonight.run_for(minutes=4)
    assert sum(key.startswith("escalate/page0.1@") for key in tonight.list_posted_keys(number)) == 1
    assert tonight.board(number)
    assert "dead" not in list_states(tonight).values()


def test_the_question_of_a_free_text_report_is_tried_again(tonight: Night) -> None:
    """FC-G3: the question how severe it is."""
    tonight.github.faults.refuse("unresolved", method="POST", path="/comments", times=2)
    number = tonight.github.person("grace").opens(tonight.shop, "Everything is odd", "Nothing works.", ["incident"])
    tonight.run_for(minutes=3)
    assert any("How severe" in text for text in tonight.notices(number))


def test_only_a_refusal_of_our_own_text_is_final_at_once(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    tonight.github.faults.refuse("too long", method="POST", path="/comments")
    say(tonight, number, "/help")
    assert [state for key, state in list_states(tonight).items() if key.startswith("help/")] == ["dead"]
    say(tonight, number, "/retry")
    assert any("/postmortem" in text for text in tonight.notices(number)), "people can try again what was given up"


def test_an_installation_that_is_refused_is_parked_and_resumes(tonight: Night) -> None:
    tonight.github.faults.refuse("ip allow list", path="/repos/", times=10**6)
    number = open_sev1(tonight)
    tonight.run_for(minutes=30)
    assert tonight.shop.issue(number).comments == []
    names = [finding.name for finding in run_audit(tonight.application.ctx)]
    assert "refused" in names
    tonight.github.faults.clear()
    tonight.run_for(minutes=8)
    assert tonight.board(number)
    assert tonight.notices(number)


# FC-G4: the postmortem pull request.


def close_acknowledged(tonight: Night) -> int:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    say(tonight, number, "/ack\n/resolve It was the cable.")
    tonight.github.person("mona").closes(tonight.shop, number)
    tonight.advance_and_settle()
    return number


def test_a_branch_in_the_way_makes_another_name(tonight: Night) -> None:
    """FC-G4: a branch `muster` exists."""
    tonight.github.person("ada").pushes(tonight.shop, "notes.md", "# x\n", "Notes", branch="muster")
    number = close_acknowledged(tonight)
    pull = tonight.shop.pulls[0]
    assert pull.pull is not None
    assert pull.pull.head == f"muster-postmortem-{number}"
    assert f"/pull/{pull.number}" in tonight.board(number)
    tonight.github.person("mona").merges(tonight.shop, pull.number)
    tonight.advance_and_settle()
    assert tonight.incident(number).postmortem is not None
    assert tonight.incident(number).postmortem.state == "merged"  # type: ignore[union-attr]


def test_a_ruleset_is_told_once_and_lifted_by_people(tonight: Night) -> None:
    """FC-G4: board and one notice say what GitHub refused; nobody is reminded of a document that is not there."""
    tonight.github.faults.refuse("ruleset", path="/git/refs", method="POST", times=10**6)
    number = close_acknowledged(tonight)
    board = tonight.board(number)
    assert "Repository rule violations found" in board
    assert "bypass list" in board
    assert "is being opened" not in board
    told = [text for text in tonight.notices(number) if "GitHub refuses the postmortem pull request" in text]
    assert len(told) == 1
    for _ in range(12):
        tonight.clock.at += timedelta(days=1)
        tonight.settle()
    told = [text for text in tonight.notices(number) if "postmortem pull request" in text]
    assert len(told) == 1, "once"
    assert not [text for text in tonight.notices(number) if "postmortem document" in text], "no reminders"
    tonight.github.faults.clear()
    say(tonight, number, "/postmortem")
    assert len(tonight.shop.pulls) == 1
    assert "bypass list" not in tonight.board(number)


def test_a_refused_postmortem_is_tried_again_by_itself(tonight: Night) -> None:
    tonight.github.faults.refuse("archived", path="/git/refs", method="POST", times=2)
    number = close_acknowledged(tonight)
    assert not tonight.shop.pulls
    for _ in range(3):
        tonight.clock.at += timedelta(days=1, minutes=1)
        tonight.settle()
    assert len(tonight.shop.pulls) == 1
    assert "can unarchive it" not in tonight.board(number)


# FC-G6: locked conversations.


def test_locking_ends_nothing(database: Database) -> None:
    """FC-G6: clocks, labels and assignments go on, comments wait for the unlock, which we never do ourselves."""
    with run_night(database, POLICY) as tonight:
        number = open_sev1(tonight)
        tonight.advance_and_settle()
        before = len(tonight.notices(number))
        tonight.github.person("ada").locks(tonight.shop, number)
        tonight.advance_and_settle()
        tonight.run_for(minutes=35)
        assert tonight.shop.issue(number).locked
        assert len(tonight.notices(number)) == before
        incident = tonight.incident(number)
        assert any(key.startswith("escalate/it-manager") for key in incident.fired_alarms)
        assert "The conversation is locked" in tonight.board(number)
        assert "sla-breached" in tonight.labels(number)
        say(tonight, number, "/ack")
        assert [each.login for each in tonight.shop.issue(number).assignees] == ["mona"]
        assert "acknowledged" in tonight.labels(number)
        tonight.github.person("ada").unlocks(tonight.shop, number)
        tonight.advance_and_settle()
        assert len(tonight.notices(number)) > before
        assert "The conversation is locked" not in tonight.board(number)
        assert "dead" not in list_states(tonight).values()


def test_an_issue_locked_as_it_is_opened_is_an_incident(tonight: Night) -> None:
    """FC-G6: a bot locks the issue one second after its opening; there is no board yet."""
    number = open_sev1(tonight)
    tonight.clock.at += timedelta(seconds=1)
    tonight.github.person("ada").locks(tonight.shop, number)
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev1"}
    tonight.run_for(minutes=20)
    assert "sla-breached" in tonight.labels(number)
    tonight.github.person("ada").unlocks(tonight.shop, number)
    tonight.advance_and_settle()
    assert tonight.board(number)
    assert tonight.notices(number)


def test_an_unlock_that_is_missed_is_found_within_the_hour(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    before = len(tonight.notices(number))
    tonight.github.person("ada").locks(tonight.shop, number)
    tonight.advance_and_settle()
    tonight.run_for(minutes=20)
    tonight.github.hooks.drop_next(1)
    tonight.github.person("ada").unlocks(tonight.shop, number)
    tonight.run_for(minutes=65)
    assert len(tonight.notices(number)) > before
