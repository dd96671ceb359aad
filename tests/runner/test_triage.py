"""`muster run triage`: an incident that nobody serves but workflows."""

from __future__ import annotations

from tests.runner.actions import Actions
from tests.shell.night import SEV1


def test_a_report_is_graded_labelled_paged_and_shown_with_eight_calls(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *labelled) = actions.happened()
    done = actions.triage(*opened)
    assert (done.code, done.log) == (0, [])
    assert actions.on.calls <= 8
    assert actions.labels(number) == {"incident", "sev1"}
    (page,) = actions.notices(number)
    assert "@mona" in page
    assert actions.board(number).startswith("## 🚨 INC-2026-0314-001 Checkout is down")
    assert actions.shop.issue(number).reactions == []
    assert done.outputs["incident"] == "INC-2026-0314-001"
    assert (done.outputs["skipped"], done.outputs["severity"]) == ("false", "sev1")
    before = texts(actions, number)
    for event in labelled:
        assert actions.triage(*event).code == 0
    assert texts(actions, number) == before, "a second run says nothing"


def test_who_takes_it_has_it(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.later()
    actions.says("mona", number, "/ack")
    assert actions.labels(number) == {"incident", "sev1", "acknowledged"}
    assert [account.login for account in actions.shop.issue(number).assignees] == ["mona"]
    comment = next(each for each in actions.shop.issue(number).comments if each.login == "mona")
    assert [(each.content, each.account.login) for each in comment.reactions] == [("+1", "github-actions[bot]")]
    assert "`mona`" in actions.board(number).partition("\n\n")[2].partition("\n")[0]
    actions.passes(minutes=10)
    assert len(actions.notices(number)) == 1


def texts(actions: Actions, number: int) -> list[str]:
    return [comment.body for comment in actions.shop.issue(number).comments]
