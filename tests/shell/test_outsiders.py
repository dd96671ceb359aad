"""People without rights in the repository: what they change on an issue, and what they cannot change."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app import ports
from app.core.lifecycle import Status
from app.core.severity import Severity
from app.worker.sync.catch_up import sync_issue
from tests.runner.actions import Actions
from tests.runner.conftest import start_runner
from tests.shell.night import SEV1, Night
from tests.soak import choose_size

SEV4 = SEV1.replace("SEV1", "SEV4").replace("High", "Low")


@pytest.fixture
def actions(tmp_path: Path) -> Iterator[Actions]:
    with start_runner(tmp_path) as runner:
        yield Actions(runner)


def repository_of(tonight: Night) -> ports.Repository:
    return ports.Repository(tonight.shop.id, "octo/shop", tonight.installation)


def open_as_stranger(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    return number


def act(tonight: Night, number: int, login: str, action: str, text: str = "") -> None:
    """Let a person do something to the issue, and let Muster follow."""
    person = tonight.github.person(login)
    if action == "says":
        person.comments(tonight.shop, number, text)
    elif action == "edits":
        person.edits_issue(tonight.shop, number, body=text)
    else:
        getattr(person, action)(tonight.shop, number)
    tonight.advance_and_settle()


def check_goes_on(tonight: Night, number: int) -> None:
    """Check that an incident which mona has taken goes on as sev1, and that it pages and escalates."""
    incident = tonight.incident(number)
    assert (incident.severity, incident.status) == (Severity.SEV1, Status.ACKNOWLEDGED)
    board = tonight.board(number)
    assert "The issue was closed by" in board
    assert "no rights here: is it over?" in board
    assert "Only somebody with rights here lowers: `/severity sev4 reason`" in board


def test_fc_s5_an_outsider_neither_lowers_nor_ends_what_a_responder_has(tonight: Night) -> None:
    """FC-S5: the edit is a question on the board, the closing one asked once; every clock goes on, also afterwards."""
    number = open_as_stranger(tonight)
    act(tonight, number, "mona", "says", "/ack")
    act(tonight, number, "stranger", "edits", SEV4)
    act(tonight, number, "stranger", "closes")
    check_goes_on(tonight, number)
    for _ in range(3):
        act(tonight, number, "stranger", "reopens")
        act(tonight, number, "stranger", "closes")
    questions = [body for body in tonight.notices(number) if "Is it over?" in body]
    assert len(questions) == 1
    assert "@mona" in questions[0]
    act(tonight, number, "mona", "says", "/severity sev1")
    assert not [body for body in tonight.notices(number) if "already" in body]
    tonight.run_for(minutes=70)
    assert [body for body in tonight.notices(number) if "escalated to it-manager" in body]
    assert [body for body in tonight.notices(number) if "escalated to cto" in body]
    assert not tonight.shop.pulls

    act(tonight, number, "mona", "says", "/resolve the rollback worked")
    assert tonight.incident(number).status is Status.CLOSED
    assert len(tonight.shop.pulls) == 1


def test_fc_s5_rebuild_and_reconciliation_come_to_the_same(tonight: Night) -> None:
    """FC-S5: the timeline has no roles; the board's record of them and GitHub's answer lead to the same incident."""
    number = open_as_stranger(tonight)
    act(tonight, number, "mona", "says", "/ack")
    act(tonight, number, "stranger", "edits", SEV4)
    act(tonight, number, "stranger", "closes")
    check_goes_on(tonight, number)
    ctx = tonight.application.ctx
    active = ctx.policies.load(ctx.database, ctx.tracker(repository_of(tonight)), repository_of(tonight), ctx.clock())
    issue = ctx.tracker(repository_of(tonight)).issue(number)
    synced = sync_issue(ctx, repository_of(tonight), active, issue, ctx.clock(), check_log=True)
    assert (synced.missing_events, synced.repaired_from_log) == (0, False)
    before = tonight.incident(number)
    tonight.lose_and_rebuild_database()
    tonight.settle()
    check_goes_on(tonight, number)
    after = tonight.incident(number)
    for name in ("report", "pending_edit", "disputed_closing", "role_history", "grade", "records_transitions"):
        assert getattr(after, name) == getattr(before, name), name


def test_fc_s5_deliveries_that_were_missed_ask_for_rights_too(tonight: Night) -> None:
    """FC-S5: what GitHub never delivered is read from the timeline, and the author's role is asked for there."""
    number = open_as_stranger(tonight)
    act(tonight, number, "mona", "says", "/ack")
    tonight.github.hooks.hold()
    tonight.github.person("stranger").edits_issue(tonight.shop, number, body=SEV4)
    tonight.clock.at += timedelta(seconds=5)
    tonight.github.person("stranger").closes(tonight.shop, number)
    tonight.github.hooks.held_deliveries.clear()
    tonight.clock.at += timedelta(seconds=60)
    ctx, repository = tonight.application.ctx, repository_of(tonight)
    active = ctx.policies.load(ctx.database, ctx.tracker(repository), repository, ctx.clock())
    synced = sync_issue(ctx, repository, active, ctx.tracker(repository).issue(number), ctx.clock())
    assert synced.missing_events == 2
    tonight.settle()
    check_goes_on(tonight, number)


def test_fc_s5_a_restored_role_of_later_changes_nothing(tonight: Night) -> None:
    """FC-S5: who closes with rights and leaves the team afterwards has closed it, also after a rebuild."""
    number = open_as_stranger(tonight)
    act(tonight, number, "mona", "says", "/ack")
    act(tonight, number, "hubot", "closes")
    assert tonight.incident(number).status is Status.CLOSED
    tonight.shop.permit("hubot", "none")
    tonight.clock.at += timedelta(days=2)
    tonight.lose_and_rebuild_database()
    tonight.settle()
    assert tonight.incident(number).status is Status.CLOSED


def test_fc_s6_issues_opened_and_closed_by_an_outsider_need_no_postmortem(tonight: Night) -> None:
    """FC-S6: no branch, no pull request and no request for a review, however many there are."""
    stranger = tonight.github.person("stranger")
    for nth in range(choose_size(5, 25)):
        number = stranger.opens(tonight.shop, f"Checkout is down {nth}", SEV1, ["incident"])
        tonight.advance_and_settle()
        stranger.closes(tonight.shop, number)
        tonight.advance_and_settle()
        assert tonight.incident(number).status is Status.CLOSED
        assert "postmortem-due" not in tonight.labels(number)
    assert not tonight.shop.pulls
    act(tonight, number, "mona", "says", "/postmortem")
    assert len(tonight.shop.pulls) == 1


def test_fc_s5_s6_the_runner_asks_as_well(actions: Actions) -> None:
    """FC-S5 and FC-S6 in Actions: the same rules, also by the schedule for an issue that is closed on GitHub."""
    spam = actions.opens(SEV1, "Nothing")
    actions.advance_and_settle()
    actions.github.person("stranger").closes(actions.shop, spam)
    actions.advance_and_settle()
    assert not actions.shop.pulls

    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.says("mona", number, "/ack")
    actions.github.person("stranger").edits_issue(actions.shop, number, body=SEV4)
    actions.advance_and_settle()
    actions.github.person("stranger").closes(actions.shop, number)
    actions.advance_and_settle()
    assert actions.labels(number) >= {"sev1", "acknowledged"}
    assert "no rights here: is it over?" in actions.board(number)
    assert len([body for body in actions.notices(number) if "Is it over?" in body]) == 1
    actions.run_for(minutes=70)
    assert [body for body in actions.notices(number) if "escalated to it-manager" in body]
    assert not actions.shop.pulls
    actions.says("mona", number, "/resolve the rollback worked")
    assert "· closed ·" in actions.board(number)


def test_fc_s2_s4_the_runner_has_the_same_budgets(actions: Actions) -> None:
    """FC-S2 and FC-S4 in Actions: outsiders neither use up the comments nor restart the paging."""
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    for nth in range(9):
        actions.github.add_person(f"passer-by-{nth}").comments(actions.shop, number, "/ack")
        actions.advance_and_settle(2)
    assert len([body for body in actions.notices(number) if "@passer-by-" in body]) == 3
    pages = len([body for body in actions.notices(number) if "@mona" in body])
    for _ in range(10):
        actions.github.person("stranger").closes(actions.shop, number)
        actions.advance_and_settle(1)
        actions.github.person("stranger").reopens(actions.shop, number)
        actions.advance_and_settle(1)
    assert len([body for body in actions.notices(number) if "@mona" in body]) == pages
    actions.run_for(minutes=65)
    assert [body for body in actions.notices(number) if "escalated to cto" in body]
