"""The database is lost in mid-incident: it is rebuilt from GitHub alone, and nothing is posted twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.shell.night import SEV1, Night

SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def opened(tonight: Night, body: str = SEV1) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", body, ["incident"])
    tonight.later()
    return number


def says(tonight: Night, login: str, number: int, text: str) -> None:
    tonight.github.person(login).comments(tonight.shop, number, text)
    tonight.later()


def nobody_answers(tonight: Night) -> None:
    opened(tonight)
    tonight.passes(minutes=34)


def graded_up_and_down(tonight: Night) -> None:
    number = opened(tonight)
    says(tonight, "mona", number, "/ack")
    tonight.github.person("ada").labels(tonight.shop, number, "sev2")
    tonight.later()
    says(tonight, "hubot", number, "/severity sev1 it is everybody after all\n/escalate we need the vendor")
    says(tonight, "mona", number, "/update the pool is being enlarged")
    tonight.passes(minutes=31)


def a_stranger_tries(tonight: Night) -> None:
    number = opened(tonight)
    for text in ("/ack", "/resolve", "thank you all"):
        says(tonight, "stranger", number, text)
    says(tonight, "mona", number, "/acknowledge\n/status nonsense")
    tonight.shop.permit("stranger", "write")
    tonight.passes(minutes=2)
    says(tonight, "stranger", number, "/ack")


def the_report_is_edited(tonight: Night) -> None:
    number = opened(tonight, SEV3)
    stranger = tonight.github.person("stranger")
    stranger.edits_issue(tonight.shop, number, body=SEV1.replace("SEV1", "SEV2"))
    tonight.later()
    stranger.edits_issue(tonight.shop, number, title="Checkout is down for everybody")
    tonight.later()
    says(tonight, "mona", number, "/severity sev3 only the old checkout")
    stranger.edits_issue(tonight.shop, number, body=SEV1)
    tonight.later()


def an_old_issue_is_adopted(tonight: Night) -> None:
    number = tonight.github.person("stranger").opens(tonight.shop, "It is slow", "Slow since yesterday.")
    tonight.passes(hours=1)
    says(tonight, "mona", number, "/ack")
    tonight.github.person("ada").labels(tonight.shop, number, "sev2", "incident")
    tonight.later()
    says(tonight, "mona", number, "/ack")


def nothing_could_be_read(tonight: Night) -> None:
    number = opened(tonight, "It is broken.")
    tonight.github.person("mona").unlabels(tonight.shop, number, "needs-triage")
    tonight.later()


def closed(tonight: Night) -> int:
    number = opened(tonight)
    says(tonight, "mona", number, "/ack")
    tonight.passes(minutes=3)
    says(tonight, "mona", number, "/resolve the pool is larger now")
    tonight.github.person("mona").closes(tonight.shop, number)
    tonight.later()
    return number


def pull_of(tonight: Night) -> int:
    (pull,) = [issue.number for issue in tonight.shop.issues.values() if issue.pull is not None]
    return pull


def the_postmortem_is_open(tonight: Night) -> None:
    closed(tonight)


def the_postmortem_is_merged(tonight: Night) -> None:
    closed(tonight)
    tonight.github.person("ada").closes(tonight.shop, pull_of(tonight))
    tonight.later()
    tonight.github.person("ada").reopens(tonight.shop, pull_of(tonight))
    tonight.later()
    tonight.github.person("ada").merges(tonight.shop, pull_of(tonight))
    tonight.later()


def it_comes_back(tonight: Night) -> None:
    number = closed(tonight)
    tonight.passes(minutes=10)
    tonight.github.person("stranger").reopens(tonight.shop, number)
    tonight.passes(minutes=12)


def mona_has_left_the_team(tonight: Night) -> None:
    number = opened(tonight)
    says(tonight, "mona", number, "/ack")
    tonight.shop.permit("mona", "none")
    tonight.github.person("ada").unassigns(tonight.shop, number, "mona")
    tonight.passes(minutes=2)
    says(tonight, "mona", number, "/resolve")


def it_was_locked_and_unlocked(tonight: Night) -> None:
    number = opened(tonight)
    tonight.github.person("ada").locks(tonight.shop, number)
    tonight.passes(minutes=7)
    tonight.github.person("ada").unlocks(tonight.shop, number)
    tonight.passes(minutes=4)


def an_answer_was_not_worth_waiting_for(tonight: Night) -> None:
    """Reach the comment limit of the issue before mona sends a command that is refused."""
    number = opened(tonight)
    tonight.passes(minutes=50)
    says(tonight, "mona", number, "/status nonsense")
    says(tonight, "mona", number, "/ack")
    says(tonight, "mona", number, "/resolve it came back by itself")
    says(tonight, "stranger", number, "/resolve")
    tonight.passes(hours=2)


NIGHTS = (
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


@pytest.mark.parametrize("story", NIGHTS, ids=lambda story: story.__name__)
def test_github_alone_brings_everything_back(tonight: Night, story: Callable[[Night], object]) -> None:
    story(tonight)
    before, pages = tonight.state(), comments(tonight)

    tonight.lost_and_rebuilt()

    tonight.expect(before)
    tonight.settle()
    assert comments(tonight) == pages, "a rebuild posts nothing"
    tonight.passes(minutes=17)
    said = tonight.said(1)
    assert len(said) == len(set(said)), "nothing is posted twice"
    tonight.board(1)


@pytest.mark.parametrize("story", [nobody_answers, it_comes_back], ids=lambda story: story.__name__)
def test_a_rebuilt_night_goes_on_like_any_other(
    tonight: Night, elsewhere: Night, story: Callable[[Night], object]
) -> None:
    for night in (tonight, elsewhere):
        story(night)
        if night is tonight:
            night.lost_and_rebuilt()
        night.passes(minutes=40)
    tonight.expect(elsewhere.state())
    assert tonight.said(1) == elsewhere.said(1)


def comments(tonight: Night) -> list[tuple[int, str]]:
    found = [(issue.number, comment.body) for issue in tonight.shop.issues.values() for comment in issue.comments]
    return sorted(found)
