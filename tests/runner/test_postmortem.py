"""`muster run postmortem`: the only job that may write files."""

from __future__ import annotations

from tests.runner.actions import POSTMORTEM_RIGHTS, Actions
from tests.shell.night import SEV1


def close_incident(actions: Actions) -> tuple[int, tuple[str, dict[str, object]]]:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.says("mona", number, "/ack\n/resolve a larger pool")
    actions.github.person("mona").closes(actions.shop, number)
    ((name, payload),) = actions.take_new_events()
    return number, (name, payload)


def test_it_is_opened_once_and_linked_on_the_board(actions: Actions) -> None:
    number, event = close_incident(actions)
    shown = actions.triage(*event)
    assert shown.outputs["postmortem-due"] == "true"
    assert "its pull request is being opened" in actions.board(number)
    done = actions.postmortem(*event)
    assert done.code == 0
    (pull,) = actions.shop.pulls
    assert done.outputs["postmortem"].endswith(f"/pull/{pull.number}")
    assert f"pull request {pull.number}" in actions.board(number)
    assert "a larger pool" in actions.shop.file(
        "docs/incidents/postmortems/2026/INC-2026-0314-001.md", f"muster/postmortem-{number}"
    )
    board = actions.board(number)
    assert actions.postmortem(*event).code == 0
    assert (actions.shop.pulls, actions.board(number)) == ([pull], board)


def test_a_token_of_its_own_opens_it_in_somebody_elses_name(actions: Actions) -> None:
    """Its checks run then, whereas GitHub starts none for a pull request opened with a run's token."""
    number, event = close_incident(actions)
    token = actions.github.token_for("ada")
    done = actions.postmortem(*event, MUSTER_PULL_REQUEST_TOKEN=token)
    assert done.code == 0
    (pull,) = actions.shop.pulls
    assert pull.author.login == "ada"
    assert {comment.login for comment in actions.shop.issue(number).comments} == {"mona", "github-actions[bot]"}


def test_on_a_locked_issue_the_board_is_edited_and_the_postmortem_is_opened(actions: Actions) -> None:
    number, event = close_incident(actions)
    actions.triage(*event)
    board = actions.board(number)
    actions.github.person("ada").locks(actions.shop, number)
    done = actions.postmortem(*event)
    assert (done.code, len(actions.shop.pulls)) == (0, 1)
    assert actions.board(number) != board
    assert "/pull/" in actions.board(number)
    assert actions.shop.issue(number).reactions == []


def test_without_the_permission_nothing_is_half_done(actions: Actions) -> None:
    number, event = close_incident(actions)
    actions.triage(*event)
    board = actions.board(number)
    actions.rights = {**POSTMORTEM_RIGHTS, "contents": "read"}
    done = actions.postmortem(*event)
    assert done.code == 1
    assert "contents and pull-requests: write" in done.log[-1]
    assert (actions.shop.pulls, actions.board(number)) == ([], board)
    actions.rights = None
    assert actions.postmortem(*event).code == 0
    assert len(actions.shop.pulls) == 1


BOX = "Allow GitHub Actions to create and approve pull requests"


def test_a_box_that_is_not_ticked_is_said_and_tried_again(actions: Actions) -> None:
    """FC-G7: GitHub refuses Actions the pull request; everything else is done, and the next sweep tries again."""
    number, event = close_incident(actions)
    actions.shop.actions_may_open_pulls = False
    actions.triage(*event)
    done = actions.postmortem(*event)
    assert (done.code, actions.shop.pulls) == (0, [])
    (warning,) = done.log
    assert warning.startswith(f"::warning title=Muster::#{number}: The postmortem's pull request was refused")
    assert "GitHub Actions is not permitted to create or approve pull requests" in warning
    for where in (warning, done.summary, actions.board(number)):
        assert "Settings, Actions, General, Workflow permissions" in where
        assert BOX in where
    assert "The next sweep tries again." in actions.board(number)
    assert done.outputs["postmortem-due"] == "true"

    actions.triage(*event)
    assert BOX in actions.board(number), "a run that does not try leaves it on the board"
    swept = actions.sweep()
    assert (swept.code, swept.outputs["postmortem-due"]) == (0, str(number)), "its job may not write files"
    assert BOX in swept.summary
    actions.rights = POSTMORTEM_RIGHTS
    swept = actions.sweep()
    assert (swept.code, actions.shop.pulls) == (0, [])
    assert BOX in swept.log[0]

    actions.shop.actions_may_open_pulls = True
    swept = actions.sweep()
    assert (swept.code, len(actions.shop.pulls), swept.outputs["postmortem-due"]) == (0, 1, "")
    assert BOX not in actions.board(number)
    assert f"pull request {actions.shop.pulls[0].number}" in actions.board(number)
    mark = actions.github.call_log_position()
    assert actions.sweep().outputs["due"] == "0"
    assert not [call for call in actions.github.calls_since(mark) if call.method == "POST"]


def test_any_other_refusal_of_the_postmortem_is_said_as_well(actions: Actions) -> None:
    """FC-G7, its kind: the branch itself is refused, and later it is not."""
    number, event = close_incident(actions)
    actions.triage(*event)
    actions.github.faults.refuse("ruleset", method="POST", path="/git/refs")
    done = actions.postmortem(*event)
    assert (done.code, actions.shop.pulls) == (0, [])
    assert "Repository rule violations found" in actions.board(number)
    assert "bypass list" in actions.board(number)
    actions.rights = POSTMORTEM_RIGHTS
    actions.sweep()
    assert len(actions.shop.pulls) == 1
    assert "was refused" not in actions.board(number)


def test_a_pull_request_of_a_fork_and_any_other_concern_no_incident(actions: Actions) -> None:
    number, event = close_incident(actions)
    actions.triage(*event)
    stranger = actions.github.person("stranger")
    fork = stranger.forks(actions.shop)
    branch = f"muster/postmortem-{number}"
    stranger.pushes(fork, "x.md", "x", branch=branch)
    stranger.opens_pull(actions.shop, f"stranger:{branch}", "Mine")
    actions.github.person("ada").pushes(actions.shop, "y.md", "y", branch="other")
    actions.github.person("ada").opens_pull(actions.shop, "other", "Other")
    mark = actions.github.call_log_position()
    runs = actions.settle()
    assert len(runs) == 2
    assert {run.outputs["skipped"] for run in runs} == {"true"}
    assert all("holds no postmortem of this repository" in run.log[0] for run in runs)
    assert len(actions.github.calls_since(mark)) == 2, "the policy alone"
