"""Plays the same stories with the App and with GitHub Actions alone: people must see the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import unified_diff
from pathlib import Path

import pytest

from app.sandbox.github.people import Person
from tests.runner.actions import Actions
from tests.runner.conftest import Runner, running
from tests.shell.night import SEV1, Night

Host = Night | Actions

SEV2 = SEV1.replace("SEV1", "SEV2")
SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def person(host: Host, login: str) -> Person:
    return host.github.person(login)


def opened(host: Host, body: str = SEV1) -> int:
    number = person(host, "stranger").opens(host.shop, "Checkout is down", body, ["incident"])
    host.later()
    return number


def says(host: Host, login: str, number: int, text: str) -> None:
    person(host, login).comments(host.shop, number, text)
    host.later()


def pull_of(host: Host) -> int:
    (pull,) = [issue.number for issue in host.shop.issues.values() if issue.pull is not None]
    return pull


def from_report_to_merged_postmortem(host: Host) -> None:
    number = opened(host)
    host.passes(minutes=6)
    says(host, "mona", number, "/ack")
    says(host, "mona", number, "/update the pool is being enlarged")
    host.passes(minutes=16)
    says(host, "mona", number, "/resolve the pool is larger now")
    person(host, "mona").closes(host.shop, number)
    host.later()
    host.passes(minutes=2)
    person(host, "ada").merges(host.shop, pull_of(host))
    host.later()


def regraded_by_a_label(host: Host) -> None:
    number = opened(host, SEV3)
    person(host, "ada").labels(host.shop, number, "sev1")
    host.later()
    host.passes(minutes=7)
    person(host, "stranger").comments(host.shop, number, "thank you")
    host.later()
    person(host, "ada").unlabels(host.shop, number, "sev1")
    host.later()


def it_comes_back(host: Host) -> None:
    number = opened(host)
    says(host, "mona", number, "/ack")
    says(host, "mona", number, "/resolve a restart")
    person(host, "mona").closes(host.shop, number)
    host.later()
    host.passes(minutes=3)
    person(host, "stranger").reopens(host.shop, number)
    host.later()
    host.passes(minutes=6)


def a_false_alarm(host: Host) -> None:
    number = opened(host, SEV2)
    says(host, "hubot", number, "/ack")
    says(host, "hubot", number, "/severity sev4 it was the monitor")
    says(host, "hubot", number, "/resolve false alarm")
    person(host, "hubot").closes(host.shop, number)
    host.later()


def commands_are_refused(host: Host) -> None:
    number = opened(host)
    says(host, "stranger", number, "/ack")
    says(host, "mona", number, "/acknowlege")
    says(host, "mona", number, "/status nonsense\n/ack")
    says(host, "stranger", number, "/resolve")
    says(host, "mona", number, "/help")


def the_report_is_edited(host: Host) -> None:
    number = opened(host, SEV3)
    person(host, "stranger").edits_issue(host.shop, number, body=SEV2)
    host.later()
    person(host, "stranger").edits_issue(host.shop, number, title="Checkout is down for everybody")
    host.later()
    says(host, "mona", number, "/severity sev3 only the old checkout")
    person(host, "stranger").edits_issue(host.shop, number, body=SEV1)
    host.later()


def rights_are_lost(host: Host) -> None:
    number = opened(host)
    says(host, "mona", number, "/ack")
    host.shop.permit("mona", "none")
    host.passes(minutes=2)
    says(host, "mona", number, "/resolve")
    says(host, "hubot", number, "/update still looking")


def words_are_changed_afterwards(host: Host) -> None:
    """Edit and delete comments after they were processed: only a new comment is a command, and commands stay valid."""
    number = opened(host)
    harmless = person(host, "mona").comments(host.shop, number, "I am looking")
    host.later()
    taken = person(host, "mona").comments(host.shop, number, "/ack")
    host.later()
    told = person(host, "mona").comments(host.shop, number, "/update the pool is full")
    host.later()
    host.shop.permit("ada", "admin")
    person(host, "ada").edits_comment(host.shop, harmless, "/resolve")
    host.later()
    person(host, "ada").edits_comment(host.shop, told, "/resolve all is well")
    host.later()
    person(host, "ada").edits_comment(host.shop, told, "/update forged")
    host.later()
    person(host, "ada").deletes_comment(host.shop, taken)
    host.later()
    says(host, "hubot", number, "/update still full")


def an_old_issue_is_adopted(host: Host) -> None:
    number = person(host, "stranger").opens(host.shop, "It is slow", "Slow since yesterday.")
    host.later()
    host.passes(minutes=20)
    person(host, "ada").labels(host.shop, number, "sev2", "incident")
    host.later()
    says(host, "mona", number, "/ack")


def locked_and_unlocked(host: Host) -> None:
    number = opened(host)
    person(host, "ada").locks(host.shop, number)
    host.later()
    host.passes(minutes=7)
    person(host, "ada").unlocks(host.shop, number)
    host.later()
    host.passes(minutes=4)


STORIES: tuple[Callable[[Host], None], ...] = (
    from_report_to_merged_postmortem,
    regraded_by_a_label,
    it_comes_back,
    a_false_alarm,
    commands_are_refused,
    the_report_is_edited,
    rights_are_lost,
    words_are_changed_afterwards,
    an_old_issue_is_adopted,
    locked_and_unlocked,
)


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.__name__)
def test_what_people_see_is_the_same(
    tonight: Night, elsewhere_in_actions: Actions, story: Callable[[Host], None]
) -> None:
    story(tonight)
    story(elsewhere_in_actions)
    expected, found = shown(tonight), shown(elsewhere_in_actions)
    difference = "\n".join(unified_diff(expected, found, "app", "actions", lineterm="", n=2))
    assert not difference, difference


@pytest.fixture
def elsewhere_in_actions(tmp_path: Path) -> Iterator[Actions]:
    with running(tmp_path) as runner:
        yield Actions(runner)


def shown(host: Host) -> list[str]:
    """Return all that people see, line by line: labels, assignees, our comments, reactions and the postmortem."""
    lines: list[str] = []
    for issue in host.shop.issues.values():
        lines += [f"# {issue.number} {issue.title} {issue.state}", f"labels {' '.join(sorted(issue.labels))}"]
        lines += [f"assigned {' '.join(account.login for account in issue.assignees)}"]
        if issue.pull is not None:
            lines += _plain(host, issue.body or "")
            lines += _plain(host, host.shop.file(issue_path(host, issue.pull.head), issue.pull.head))
        for comment in issue.comments:
            thumbs = [reaction.content for reaction in comment.reactions]
            lines += [f"## {'ours' if comment.author.kind == 'Bot' else comment.login} {thumbs}"]
            lines += _plain(host, comment.body)
    return lines


def test_a_schedule_that_comes_two_hours_late_says_everything_at_once(
    tonight: Night, elsewhere_in_actions: Actions
) -> None:
    """A late scheduled run posts in one comment what the App posted in several.

    Only the App reaches the comment limit this way, so only its board warns about it.
    """
    actions = elsewhere_in_actions
    number = opened(tonight)
    tonight.passes(hours=2)
    opened(actions)
    actions.clock.at = tonight.clock.at
    late = actions.sweep()
    assert late.code == 0
    assert len(actions.notices(number)) == 2, "the first page, and one comment for everything since"
    assert len(tonight.notices(number)) > 5
    assert set(actions.said(number)) == set(tonight.said(number))
    assert actions.labels(number) == tonight.labels(number)
    there = "\n".join(_plain(tonight, tonight.board(number)))
    assert "held back until 12:30 UTC" in there
    assert "\n".join(_plain(actions, actions.board(number))) == re.sub(r"\*\*⚠️ This issue .*\n\n", "", there)
    assert int(late.outputs["lag"]) == 6920, "the page of 09:05 was due first"
    assert "1 h 55 min" in late.summary
    again = actions.sweep()
    assert (again.outputs["due"], len(actions.notices(number))) == ("0", 2)


def test_where_both_are_at_work_only_the_app_acts(tonight: Night, tmp_path: Path) -> None:
    number = opened(tonight)
    before = shown(tonight)
    actions = Actions(Runner(tonight.github, tonight.shop, tonight.clock, tmp_path))
    runs = []
    person(tonight, "mona").comments(tonight.shop, number, "/ack")
    runs += actions.settle()
    runs.append(actions.sweep())
    assert [(run.code, run.outputs) for run in runs] == [(0, {"skipped": "true"})] * 2
    assert "The app is at work here" in runs[0].summary
    assert shown(tonight)[: len(before)] == before
    tonight.github.hooks.release()
    tonight.later()
    assert "acknowledged" in tonight.labels(number)


def issue_path(host: Host, branch: str) -> str:
    commit = host.shop.git.resolve(branch)
    assert commit is not None
    (path,) = [
        path
        for path in (f"docs/incidents/postmortems/2026/INC-2026-0314-{n:03d}.md" for n in range(1, 9))
        if host.shop.git.find_entry(commit.tree, path)
    ]
    return path


def _plain(host: Host, text: str) -> list[str]:
    """Split the text into lines, without what differs between the hosts.

    That is: our login, the markers, the ids of comments and events, and the address of the sandbox GitHub.
    """
    text = re.sub(r"\n*<!-- muster:1 .*$", "", text).replace(host.github.url, "")
    text = text.replace("muster[bot]", "OURS").replace("github-actions[bot]", "OURS")
    text = re.sub(r"#issuecomment-\d+", "#issuecomment", text)
    return re.sub(r"#event-\d+", "#event", text).splitlines()
