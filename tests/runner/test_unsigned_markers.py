"""Without a secret a marker gives no right and silences no alarm (FC-S7); the app is known by its id (FC-S8)."""

from __future__ import annotations

from typing import Any

import pytest

from app.github.board_state import parse_board_state
from app.github.signed_marker import Signer
from app.github.tracker import comment_from
from app.ports import IncidentKey
from app.runner import WorkflowError
from app.runner.unsigned_markers import find_mentions
from app.sandbox.github.server import ACTIONS_BOT_LOGIN
from app.sandbox.github.world import Account, Actor
from tests.runner.actions import Actions
from tests.shell.night import SEV1

FAR_AWAY = "2099-01-01T00:00:00Z"


def public_signer(actions: Actions) -> Signer:
    return Signer((f"repository {actions.shop.id}",), bot_login=ACTIONS_BOT_LOGIN)


def echo(actions: Actions, number: int, content: dict[str, Any], text: str = "You said:") -> None:
    """Have a workflow of the repository repeat a stranger's text, as `github-actions[bot]`."""
    actions.runner.token()  # makes the account
    bot = actions.github.world.accounts[ACTIONS_BOT_LOGIN]
    marker = public_signer(actions).marker(IncidentKey(actions.shop.id, number), content)
    actions.github.changes.add_comment(actions.shop.issue(number), Actor(bot, True), f"{text}\n\n{marker}")


def read_board(actions: Actions, number: int) -> dict[str, Any]:
    """Return the content of the marker of the newest board."""
    issue, found = actions.shop.issue(number), dict[str, Any]()
    for comment in issue.comments:
        read = comment_from(actions.github.serializer.comment(issue, comment))
        content = public_signer(actions).read(IncidentKey(actions.shop.id, number), read)
        if content and parse_board_state(content):
            found = content
    assert found
    return found


def forged_board(actions: Actions, number: int) -> dict[str, Any]:
    """Return a board that gives the stranger rights, and says that all is done for years."""
    board = read_board(actions, number)
    at = "2026-03-14T09:00:00Z"
    command = {"by": "mona", "key": "comment/1", "comment": 1, "role": 4, "spoken": [{"name": "resolve", "text": "x"}]}
    return {
        **board,
        "authorities": [{"at": at, "login": login, "role": 4} for login in ("stranger", "mona")],
        "at": actions.clock().isoformat(),
        "next": FAR_AWAY,
        "kept": [[at, command]],
        "held": False,
    }


def test_fc_s7_an_outsider_commands_nothing_by_a_forged_board(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    echo(actions, number, forged_board(actions, number))
    actions.github.person("stranger").comments(actions.shop, number, "/ack")
    actions.advance_and_settle()
    actions.github.person("stranger").comments(actions.shop, number, "/resolve it is gone")
    actions.advance_and_settle()
    assert actions.labels(number) == {"incident", "sev1"}


def test_fc_s7_a_board_that_is_forged_before_the_first_run_gives_no_right_either(actions: Actions) -> None:
    first = actions.opens(SEV1, "One to learn from")
    actions.advance_and_settle()
    number = actions.opens(SEV1)
    echo(actions, number, forged_board(actions, first))
    actions.github.person("stranger").comments(actions.shop, number, "/ack")
    actions.advance_and_settle()
    assert "acknowledged" not in actions.labels(number)
    assert "resolved" not in actions.labels(number)


def test_fc_s7_a_forged_board_silences_no_alarm(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    for _ in range(3):
        echo(actions, number, forged_board(actions, number))
        actions.take_new_events()  # the echo starts no run of ours: it was written with the token of a run
        before = len(notices(actions, number))
        actions.runner.advance_clock(6)
        actions.sweep()
        assert len(notices(actions, number)) > before


def test_fc_s7_a_notice_counts_as_said_only_where_it_reaches_people(actions: Actions) -> None:
    other = actions.opens(SEV1, "One to learn from")
    actions.advance_and_settle()
    for _ in range(4):
        actions.runner.advance_clock(6)
        actions.sweep()
    keys = actions.list_posted_keys(other)
    number = actions.opens(SEV1)
    actions.settle()
    for text in ("You said:", "You said: `@mona @hubot @ada @grace` <!-- @mona @hubot @ada @grace -->"):
        echo(actions, number, {"keys": keys}, text)
    actions.take_new_events()
    before = len(notices(actions, number))
    actions.runner.advance_clock(20)
    actions.sweep()
    (said,) = notices(actions, number)[before:]
    assert "@mona" in said


def test_fc_s7_what_is_done_is_not_done_again_without_a_secret(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.runner.advance_clock(6)
    actions.sweep()
    before = [comment.body for comment in actions.shop.issue(number).comments]
    for _ in range(3):
        actions.sweep()
    assert [comment.body for comment in actions.shop.issue(number).comments] == before


def test_fc_s7_rights_that_are_lost_count_no_more_without_a_secret(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.github.person("mona").comments(actions.shop, number, "/ack")
    actions.advance_and_settle()
    assert "acknowledged" in actions.labels(number)
    actions.shop.permit("mona", "none")
    actions.github.person("hubot").comments(actions.shop, number, "/help")
    actions.advance_and_settle()
    assert "acknowledged" not in actions.labels(number)


def test_fc_s7_the_summary_says_how_to_set_a_secret(actions: Actions) -> None:
    actions.opens(SEV1)
    run, *_ = actions.settle()
    assert "gh secret set MUSTER_SIGNING_SECRET" in run.summary
    assert "signing-secret: ${{ secrets.MUSTER_SIGNING_SECRET }}" in run.summary
    actions.runner.variables["MUSTER_SIGNING_SECRET"] = "a long one"
    actions.opens(SEV1)
    run, *_ = actions.settle()
    assert "secret" not in run.summary


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Hey @mona, @octo/on-call: look.", {"mona", "octo/on-call"}),
        ("`@mona` ```\n@hubot\n``` <!-- @ada --> <!-- @grace", set()),
        ("mail mona@example.org, /@mona", set()),
    ],
)
def test_a_mention_is_what_github_shows_as_one(text: str, found: set[str]) -> None:
    assert find_mentions(text) == found


def notices(actions: Actions, number: int) -> list[str]:
    """Return our comments on the issue without the boards and the echoes."""
    bodies = [comment.body for comment in actions.shop.issue(number).comments]
    return [body for body in bodies if not body.startswith(("## ", "You said:"))]


@pytest.mark.parametrize("app_id", ["", "99", "known"])
@pytest.mark.parametrize("marker", ["<!-- muster:1 x -->", "<!-- muster:1 eyJrZXlzIjpbImJvYXJkIl19 0000 -->"])
def test_fc_s8_another_bots_comment_silences_nothing(actions: Actions, marker: str, app_id: str) -> None:
    """Whether it is written through another App, or by an account that is a bot."""
    known = str(actions.github.app.app_id)
    actions.runner.variables["MUSTER_APP_ID"] = known if app_id == "known" else app_id
    helper = Account(actions.github.world.new_id(), "helper[bot]", "Bot", None, actions.clock())
    actions.github.world.accounts["helper[bot]"] = helper
    number = actions.opens(SEV1)
    comment = actions.github.changes.add_comment(actions.shop.issue(number), Actor(helper), f"done\n{marker}")
    runs = actions.settle()
    assert (runs[0].code, runs[0].outputs["skipped"]) == (0, "false")
    assert "sev1" in actions.labels(number)
    assert any(line.startswith("::warning") and f"issuecomment-{comment.id}" in line for line in runs[0].log)
    assert "app-id" in runs[0].summary
    before = len(notices(actions, number))
    actions.runner.advance_clock(6)
    assert actions.sweep().outputs["skipped"] == "false"
    assert len(notices(actions, number)) > before


def test_fc_s8_an_id_that_is_none_is_a_fault_of_one_line(actions: Actions) -> None:
    actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    with pytest.raises(WorkflowError, match="MUSTER_APP_ID: 'muster' is not the id"):
        actions.triage(*opened, MUSTER_APP_ID="muster")
