"""Plays the same stories with the App and with GitHub Actions alone: people must see the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from difflib import unified_diff
from pathlib import Path

import pytest

from app.sandbox.github.people import Person
from tests.runner.actions import Actions
from tests.runner.conftest import Runner, start_runner
from tests.shell.night import SEV1, Night

Host = Night | Actions

SEV2 = SEV1.replace("SEV1", "SEV2")
SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def person(host: Host, login: str) -> Person:
    return host.github.person(login)


def open_incident(host: Host, body: str = SEV1) -> int:
    number = person(host, "stranger").opens(host.shop, "Checkout is down", body, ["incident"])
    host.advance_and_settle()
    return number


def post_comment(host: Host, login: str, number: int, text: str) -> None:
    person(host, login).comments(host.shop, number, text)
    host.advance_and_settle()


def find_pull_number(host: Host) -> int:
    (pull,) = [issue.number for issue in host.shop.issues.values() if issue.pull is not None]
    return pull


def from_report_to_merged_postmortem(host: Host) -> None:
    number = open_incident(host)
    host.run_for(minutes=6)
    post_comment(host, "mona", number, "/ack")
    post_comment(host, "mona", number, "/update the pool is being enlarged")
    host.run_for(minutes=16)
    post_comment(host, "mona", number, "/resolve the pool is larger now")
    person(host, "mona").closes(host.shop, number)
    host.advance_and_settle()
    host.run_for(minutes=2)
    person(host, "ada").merges(host.shop, find_pull_number(host))
    host.advance_and_settle()


def regraded_by_a_label(host: Host) -> None:
    number = open_incident(host, SEV3)
    person(host, "ada").labels(host.shop, number, "sev1")
    host.advance_and_settle()
    host.run_for(minutes=7)
    person(host, "stranger").comments(host.shop, number, "thank you")
    host.advance_and_settle()
    person(host, "ada").unlabels(host.shop, number, "sev1")
    host.advance_and_settle()


def it_comes_back(host: Host) -> None:
    number = open_incident(host)
    post_comment(host, "mona", number, "/ack")
    post_comment(host, "mona", number, "/resolve a restart")
    person(host, "mona").closes(host.shop, number)
    host.advance_and_settle()
    host.run_for(minutes=3)
    person(host, "stranger").reopens(host.shop, number)
    host.advance_and_settle()
    host.run_for(minutes=6)


def a_false_alarm(host: Host) -> None:
    number = open_incident(host, SEV2)
    post_comment(host, "hubot", number, "/ack")
    post_comment(host, "hubot", number, "/severity sev4 it was the monitor")
    post_comment(host, "hubot", number, "/resolve false alarm")
    person(host, "hubot").closes(host.shop, number)
    host.advance_and_settle()


def commands_are_refused(host: Host) -> None:
    number = open_incident(host)
    post_comment(host, "stranger", number, "/ack")
    post_comment(host, "mona", number, "/acknowlege")
    post_comment(host, "mona", number, "/status nonsense\n/ack")
    post_comment(host, "stranger", number, "/resolve")
    post_comment(host, "mona", number, "/help")


def the_report_is_edited(host: Host) -> None:
    number = open_incident(host, SEV3)
    person(host, "stranger").edits_issue(host.shop, number, body=SEV2)
    host.advance_and_settle()
    person(host, "stranger").edits_issue(host.shop, number, title="Checkout is down for everybody")
    host.advance_and_settle()
    post_comment(host, "mona", number, "/severity sev3 only the old checkout")
    person(host, "stranger").edits_issue(host.shop, number, body=SEV1)
    host.advance_and_settle()


def rights_are_lost(host: Host) -> None:
    number = open_incident(host)
    post_comment(host, "mona", number, "/ack")
    host.shop.permit("mona", "none")
    host.run_for(minutes=2)
    post_comment(host, "mona", number, "/resolve")
    post_comment(host, "hubot", number, "/update still looking")


def words_are_changed_afterwards(host: Host) -> None:
    """Edit and delete comments after they were processed: only a new comment is a command, and commands stay valid."""
    number = open_incident(host)
    harmless = person(host, "mona").comments(host.shop, number, "I am looking")
    host.advance_and_settle()
    acknowledgement = person(host, "mona").comments(host.shop, number, "/ack")
    host.advance_and_settle()
    update = person(host, "mona").comments(host.shop, number, "/update the pool is full")
    host.advance_and_settle()
    host.shop.permit("ada", "admin")
    person(host, "ada").edits_comment(host.shop, harmless, "/resolve")
    host.advance_and_settle()
    person(host, "ada").edits_comment(host.shop, update, "/resolve all is well")
    host.advance_and_settle()
    person(host, "ada").edits_comment(host.shop, update, "/update forged")
    host.advance_and_settle()
    person(host, "ada").deletes_comment(host.shop, acknowledgement)
    host.advance_and_settle()
    post_comment(host, "hubot", number, "/update still full")


def an_old_issue_is_adopted(host: Host) -> None:
    number = person(host, "stranger").opens(host.shop, "It is slow", "Slow since yesterday.")
    host.advance_and_settle()
    host.run_for(minutes=20)
    person(host, "ada").labels(host.shop, number, "sev2", "incident")
    host.advance_and_settle()
    post_comment(host, "mona", number, "/ack")


def locked_and_unlocked(host: Host) -> None:
    number = open_incident(host)
    person(host, "ada").locks(host.shop, number)
    host.advance_and_settle()
    host.run_for(minutes=7)
    person(host, "ada").unlocks(host.shop, number)
    host.advance_and_settle()
    host.run_for(minutes=4)


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
    expected, found = list_visible_lines(tonight), list_visible_lines(elsewhere_in_actions)
    difference = "\n".join(unified_diff(expected, found, "app", "actions", lineterm="", n=2))
    assert not difference, difference


@pytest.fixture
def elsewhere_in_actions(tmp_path: Path) -> Iterator[Actions]:
    with start_runner(tmp_path) as runner:
        # Without it GitHub is asked for rights anew, so that what lost its author's rights does not count.
        runner.variables["MUSTER_SIGNING_SECRET"] = "a long one"
        yield Actions(runner)


def list_visible_lines(host: Host) -> list[str]:
    """Return all that people see, line by line: labels, assignees, our comments, reactions and the postmortem."""
    lines: list[str] = []
    for issue in host.shop.issues.values():
        lines += [f"# {issue.number} {issue.title} {issue.state}", f"labels {' '.join(sorted(issue.labels))}"]
        lines += [f"assigned {' '.join(account.login for account in issue.assignees)}"]
        if issue.pull is not None:
            lines += _normalize(host, issue.body or "")
            lines += _normalize(host, host.shop.file(find_postmortem_path(host, issue.pull.head), issue.pull.head))
        for comment in issue.comments:
            thumbs = [reaction.content for reaction in comment.reactions]
            lines += [f"## {'ours' if comment.author.kind == 'Bot' else comment.login} {thumbs}"]
            lines += _normalize(host, comment.body)
    return lines


def another_pull_request_after_the_merge(host: Host) -> int:
    """Let somebody correct the merged postmortem from its own branch; the days of every reminder go by."""
    from_report_to_merged_postmortem(host)
    mona, branch = person(host, "mona"), "muster/postmortem-1"
    mona.pushes(host.shop, "docs/correction.md", "It was 02:10, not 02:12.", branch=branch)
    again = mona.opens_pull(host.shop, branch, "Correct the postmortem")
    host.advance_and_settle()
    host.run_for(hours=3)
    return again


def test_another_pull_request_does_not_reopen_a_merged_postmortem(
    tonight: Night, elsewhere_in_actions: Actions
) -> None:
    for host in (tonight, elsewhere_in_actions):
        again = another_pull_request_after_the_merge(host)
        merged = min(issue.number for issue in host.shop.issues.values() if issue.pull is not None)
        assert again > merged
        assert "postmortem-due" not in host.labels(1), type(host).__name__
        assert f"pull request {merged}" in host.board(1), type(host).__name__
        assert f"pull request {again}" not in host.board(1), type(host).__name__
    person(elsewhere_in_actions, "hubot").comments(elsewhere_in_actions.shop, 1, "Thank you all.")
    elsewhere_in_actions.advance_and_settle()
    elsewhere_in_actions.sweep()
    assert "postmortem-due" not in elsewhere_in_actions.labels(1)


def test_a_rebuild_keeps_a_merged_postmortem_merged(tonight: Night) -> None:
    another_pull_request_after_the_merge(tonight)
    before, notices = tonight.incident(1), tonight.notices(1)
    tonight.lose_and_rebuild_database()
    tonight.run_for(minutes=5)
    assert tonight.incident(1).postmortem == before.postmortem
    assert "postmortem-due" not in tonight.labels(1)
    assert tonight.notices(1) == notices


def test_a_schedule_that_comes_two_hours_late_says_everything_at_once(
    tonight: Night, elsewhere_in_actions: Actions
) -> None:
    """A late scheduled run posts in one comment what the App posted in several; it counts the pages after twenty.

    Only the App reaches the comment limit this way, so only its board warns about it.
    """
    actions = elsewhere_in_actions
    number = open_incident(tonight)
    tonight.run_for(hours=2)
    open_incident(actions)
    actions.clock.at = tonight.clock.at
    late = actions.sweep()
    assert late.code == 0
    assert len(actions.notices(number)) == 2, "the first page, and one comment for everything since"
    assert len(tonight.notices(number)) > 5
    counted = {f"escalate/page0.{nth}@2026-03-14T09:00:00Z" for nth in range(21, 25)}
    assert set(actions.list_posted_keys(number)) == set(tonight.list_posted_keys(number)) - counted
    assert actions.labels(number) == tonight.labels(number)
    app_board = "\n".join(_normalize(tonight, tonight.board(number)))
    assert "held back until 11:05 UTC" in app_board
    assert "\n".join(_normalize(actions, actions.board(number))) == re.sub(r"\*\*⚠️ This issue .*\n\n", "", app_board)
    assert int(late.outputs["lag"]) == 6920, "the page of 09:05 was due first"
    assert "1 h 55 min" in late.summary
    again = actions.sweep()
    assert (again.outputs["due"], len(actions.notices(number))) == ("0", 2)


def test_where_both_are_at_work_only_the_app_acts(tonight: Night, tmp_path: Path) -> None:
    number = open_incident(tonight)
    before = list_visible_lines(tonight)
    known = {"MUSTER_APP_ID": str(tonight.github.app.app_id)}
    actions = Actions(Runner(tonight.github, tonight.shop, tonight.clock, tmp_path, variables=known))
    runs = []
    person(tonight, "mona").comments(tonight.shop, number, "/ack")
    runs += actions.settle()
    runs.append(actions.sweep())
    assert [(run.code, run.outputs) for run in runs] == [(0, {"skipped": "true"})] * 2
    assert "The app is at work here" in runs[0].summary
    assert list_visible_lines(tonight)[: len(before)] == before
    tonight.github.hooks.release()
    tonight.advance_and_settle()
    assert "acknowledged" in tonight.labels(number)


def find_postmortem_path(host: Host, branch: str) -> str:
    commit = host.shop.git.resolve(branch)
    assert commit is not None
    (path,) = [
        path
        for path in (f"docs/incidents/postmortems/2026/INC-2026-0314-{n:03d}.md" for n in range(1, 9))
        if host.shop.git.find_entry(commit.tree, path)
    ]
    return path


def _normalize(host: Host, text: str) -> list[str]:
    """Split the text into lines, without what differs between the hosts.

    That is: our login, the markers, the ids of comments and events, and the address of the sandbox GitHub.
    """
    text = re.sub(r"\n*<!-- muster:1 .*$", "", text).replace(host.github.url, "")
    text = text.replace("muster[bot]", "OURS").replace("github-actions[bot]", "OURS")
    text = re.sub(r"#issuecomment-\d+", "#issuecomment", text)
    return re.sub(r"#event-\d+", "#event", text).splitlines()
