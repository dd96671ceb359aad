"""The database is lost in mid-incident: it is rebuilt from GitHub alone, and nothing is posted twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.shell.night import SEV1, Night

SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def open_incident(tonight: Night, body: str = SEV1) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", body, ["incident"])
    tonight.advance_and_settle()
    return number


def post_comment(tonight: Night, login: str, number: int, text: str) -> None:
    tonight.github.person(login).comments(tonight.shop, number, text)
    tonight.advance_and_settle()


def nobody_answers(tonight: Night) -> None:
    open_incident(tonight)
    tonight.run_for(minutes=34)


def graded_up_and_down(tonight: Night) -> None:
    number = open_incident(tonight)
    post_comment(tonight, "mona", number, "/ack")
    tonight.github.person("ada").labels(tonight.shop, number, "sev2")
    tonight.advance_and_settle()
    post_comment(tonight, "hubot", number, "/severity sev1 it is everybody after all\n/escalate we need the vendor")
    post_comment(tonight, "mona", number, "/update the pool is being enlarged")
    tonight.run_for(minutes=31)


def a_stranger_tries(tonight: Night) -> None:
    number = open_incident(tonight)
    for text in ("/ack", "/resolve", "thank you all"):
        post_comment(tonight, "stranger", number, text)
    post_comment(tonight, "mona", number, "/acknowledge\n/status nonsense")
    tonight.shop.permit("stranger", "write")
    tonight.run_for(minutes=2)
    post_comment(tonight, "stranger", number, "/ack")


def the_report_is_edited(tonight: Night) -> None:
    number = open_incident(tonight, SEV3)
    stranger = tonight.github.person("stranger")
    stranger.edits_issue(tonight.shop, number, body=SEV1.replace("SEV1", "SEV2"))
    tonight.advance_and_settle()
    stranger.edits_issue(tonight.shop, number, title="Checkout is down for everybody")
    tonight.advance_and_settle()
    post_comment(tonight, "mona", number, "/severity sev3 only the old checkout")
    stranger.edits_issue(tonight.shop, number, body=SEV1)
    tonight.advance_and_settle()


def an_old_issue_is_adopted(tonight: Night) -> None:
    number = tonight.github.person("stranger").opens(tonight.shop, "It is slow", "Slow since yesterday.")
    tonight.run_for(hours=1)
    post_comment(tonight, "mona", number, "/ack")
    tonight.github.person("ada").labels(tonight.shop, number, "sev2", "incident")
    tonight.advance_and_settle()
    post_comment(tonight, "mona", number, "/ack")


def nothing_could_be_read(tonight: Night) -> None:
    number = open_incident(tonight, "It is broken.")
    tonight.github.person("mona").unlabels(tonight.shop, number, "needs-triage")
    tonight.advance_and_settle()


def close_incident(tonight: Night) -> int:
    number = open_incident(tonight)
    post_comment(tonight, "mona", number, "/ack")
    tonight.run_for(minutes=3)
    post_comment(tonight, "mona", number, "/resolve the pool is larger now")
    tonight.github.person("mona").closes(tonight.shop, number)
    tonight.advance_and_settle()
    return number


def find_pull_number(tonight: Night) -> int:
    (pull,) = [issue.number for issue in tonight.shop.issues.values() if issue.pull is not None]
    return pull


def the_postmortem_is_open(tonight: Night) -> None:
    close_incident(tonight)


def the_postmortem_is_merged(tonight: Night) -> None:
    close_incident(tonight)
    tonight.github.person("ada").closes(tonight.shop, find_pull_number(tonight))
    tonight.advance_and_settle()
    tonight.github.person("ada").reopens(tonight.shop, find_pull_number(tonight))
    tonight.advance_and_settle()
    tonight.github.person("ada").merges(tonight.shop, find_pull_number(tonight))
    tonight.advance_and_settle()


def it_comes_back(tonight: Night) -> None:
    number = close_incident(tonight)
    tonight.run_for(minutes=10)
    tonight.github.person("stranger").reopens(tonight.shop, number)
    tonight.run_for(minutes=12)


def mona_has_left_the_team(tonight: Night) -> None:
    number = open_incident(tonight)
    post_comment(tonight, "mona", number, "/ack")
    tonight.shop.permit("mona", "none")
    tonight.github.person("ada").unassigns(tonight.shop, number, "mona")
    tonight.run_for(minutes=2)
    post_comment(tonight, "mona", number, "/resolve")


def it_was_locked_and_unlocked(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.github.person("ada").locks(tonight.shop, number)
    tonight.run_for(minutes=7)
    tonight.github.person("ada").unlocks(tonight.shop, number)
    tonight.run_for(minutes=4)


def an_answer_was_not_worth_waiting_for(tonight: Night) -> None:
    """Reach the comment limit of the issue before mona sends a command that is refused."""
    number = open_incident(tonight)
    tonight.run_for(minutes=50)
    post_comment(tonight, "mona", number, "/status nonsense")
    post_comment(tonight, "mona", number, "/ack")
    post_comment(tonight, "mona", number, "/resolve it came back by itself")
    post_comment(tonight, "stranger", number, "/resolve")
    tonight.run_for(hours=2)


STORIES = (
    nobody_answers,
    graded_up_and_down,
    a_stranger_tries,
    the_report_is_edited,
    an_old_issue_is_adopted,
    nothing_could_be_read,
    the_postmortem_is_open,
    the_postmortem_is_merged,
    it_comes_back,
    mona_has_left_the_team,
    it_was_locked_and_unlocked,
    an_answer_was_not_worth_waiting_for,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_github_alone_brings_everything_back(tonight: Night, story: Callable[[Night], object]) -> None:
    story(tonight)
    before, comments_before = tonight.dump_lines(), list_comments(tonight)

    tonight.lose_and_rebuild_database()

    tonight.expect(before)
    tonight.settle()
    assert list_comments(tonight) == comments_before, "a rebuild posts nothing"
    tonight.run_for(minutes=17)
    keys = tonight.list_posted_keys(1)
    assert len(keys) == len(set(keys)), "nothing is posted twice"
    tonight.board(1)


@pytest.mark.parametrize("story", [nobody_answers, it_comes_back], ids=lambda story: story.__name__)
def test_a_rebuilt_night_goes_on_like_any_other(
    tonight: Night, elsewhere: Night, story: Callable[[Night], object]
) -> None:
    for night in (tonight, elsewhere):
        story(night)
        if night is tonight:
            night.lose_and_rebuild_database()
        night.run_for(minutes=40)
    tonight.expect(elsewhere.dump_lines())
    assert tonight.list_posted_keys(1) == elsewhere.list_posted_keys(1)


def list_comments(tonight: Night) -> list[tuple[int, str]]:
    found = [(issue.number, comment.body) for issue in tonight.shop.issues.values() for comment in issue.comments]
    return sorted(found)
