"""`muster run triage`: an incident served by workflows alone."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest

from app.github.signed_marker import Signer
from app.ports import IncidentKey
from app.runner import WorkflowError, triage
from app.sandbox.github.server import ACTIONS_BOT_LOGIN
from app.sandbox.github.world import Actor
from tests.runner.actions import TRIAGE_RIGHTS, Actions
from tests.runner.conftest import POLICY_PATH, Run
from tests.shell.night import POLICY, SEV1, Wire
from tests.shell.test_commands_line import ROOT


def test_a_report_is_graded_labelled_paged_and_shown_with_eight_calls(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *labelled) = actions.take_new_events()
    done = actions.triage(*opened)
    assert (done.code, done.log) == (0, [])
    assert actions.runner.calls <= 8
    assert actions.labels(number) == {"incident", "sev1"}
    (page,) = actions.notices(number)
    assert "@mona" in page
    assert actions.board(number).startswith("## 🚨 INC-2026-0314-001 Checkout is down")
    assert actions.shop.issue(number).reactions == []
    assert done.outputs["incident"] == "INC-2026-0314-001"
    assert (done.outputs["skipped"], done.outputs["severity"]) == ("false", "sev1")
    before = comment_texts(actions, number)
    for event in labelled:
        assert actions.triage(*event).code == 0
    assert comment_texts(actions, number) == before, "a second run says nothing"


def test_who_takes_it_has_it(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.says("mona", number, "/ack")
    assert actions.labels(number) == {"incident", "sev1", "acknowledged"}
    assert [account.login for account in actions.shop.issue(number).assignees] == ["mona"]
    comment = next(each for each in actions.shop.issue(number).comments if each.login == "mona")
    assert [(each.content, each.account.login) for each in comment.reactions] == [("+1", "github-actions[bot]")]
    assert "`mona`" in actions.board(number).partition("\n\n")[2].partition("\n")[0]
    actions.run_for(minutes=10)
    assert len(actions.notices(number)) == 1


def comment_texts(actions: Actions, number: int) -> list[str]:
    return [comment.body for comment in actions.shop.issue(number).comments]


def test_whoever_waits_in_vain_is_seen_by_whoever_was_slow(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    waited: list[Run] = []

    class Slow(Wire):
        """While the page is being posted, mona acknowledges, and the run for that finds the incident locked."""

        def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
            if request.method == "POST" and request.url.path.endswith("/comments") and not waited:
                actions.runner.wire = Wire
                actions.github.person("mona").comments(actions.shop, number, "/ack")
                (new_event,) = actions.take_new_events()
                waited.append(actions.triage(*new_event))

    actions.runner.wire = Slow
    assert actions.triage(*opened).code == 0
    assert waited[0].log == [
        f"::notice title=Muster::Another run has had #{number} in hand all the while: it sees what happened here."
    ]
    assert waited[0].outputs["skipped"] == "true"
    assert 45 <= sum(actions.slept_seconds) <= 48
    assert "acknowledged" in actions.labels(number), "the slow one looked once more"
    assert actions.shop.issue(number).reactions == []
    assert len(actions.list_posted_keys(number)) == len(set(actions.list_posted_keys(number)))


@pytest.mark.parametrize("nth", [1, 3, 5, 7])
def test_two_runs_for_one_report_say_everything_once(actions: Actions, nth: int) -> None:
    """The second run begins at one call of the first, and gets its turn when that has ended."""
    number = actions.opens(SEV1)
    runs, begun, outcomes = actions.take_new_events()[:2], threading.Event(), list[int]()

    class Shared(Wire):
        calls = 0

        def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
            self.calls += 1
            if self.calls == nth:
                begun.set()

    def run(which: int) -> None:
        wire = Shared()
        try:
            outcomes.append(
                actions.runner.run_concurrently(runs[which], triage, wire, TRIAGE_RIGHTS, lambda _: time.sleep(0.02))
            )
        finally:
            wire.end()
            begun.set()

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(run, 0)
        assert begun.wait(10)
        second = pool.submit(run, 1)
    assert (first.exception(), second.exception(), outcomes) == (None, None, [0, 0])
    posted = actions.list_posted_keys(number)
    assert len(posted) == len(set(posted)), posted
    actions.board(number)


@pytest.mark.parametrize("nth", range(1, 6))
def test_a_run_that_dies_leaves_nothing_for_done(actions: Actions, nth: int) -> None:
    """A run dies after each of its writes in turn: lock, labels, page, board, unlock."""
    paging = POLICY + "escalation:\n  sev3: [{after: 0m, to: on-call, until: ack}]\n"  # and nothing further for an hour
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, paging)
    number = actions.opens(SEV1.replace("SEV1", "SEV3").replace("High", "Low"))
    (opened, *_) = actions.take_new_events()

    class Dying(Wire):
        writes = 0

        def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
            self.writes += request.method != "GET"
            if self.writes >= nth:
                raise KeyboardInterrupt

    actions.runner.wire = Dying
    with pytest.raises(KeyboardInterrupt):
        actions.triage(*opened)
    actions.runner.wire = Wire
    actions.clock.at += timedelta(minutes=11)
    assert actions.sweep().code == 0
    assert actions.labels(number) >= {"incident", "sev3"}
    assert actions.shop.issue(number).reactions == []
    actions.board(number)
    posted = actions.list_posted_keys(number)
    assert len(posted) == len(set(posted)), posted
    assert len(actions.notices(number)) == 1


def test_a_mark_that_a_dead_run_has_left_is_taken_away(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    actions.github.issue_actions_token(actions.shop, TRIAGE_RIGHTS)
    bot = actions.github.world.account(ACTIONS_BOT_LOGIN)
    actions.github.changes.react(actions.shop.issue(number), Actor(bot), "eyes")
    actions.clock.at += timedelta(minutes=9)
    assert actions.triage(*opened).outputs["skipped"] == "true"
    actions.clock.at += timedelta(minutes=2)
    assert actions.triage(*opened).outputs["skipped"] == "false"
    assert actions.shop.issue(number).reactions == []


def test_somebody_elses_eyes_are_no_mark(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.github.person("mona").reacts(actions.shop, number, "eyes")
    actions.settle()
    actions.board(number)
    assert actions.slept_seconds == []


def test_where_the_app_is_at_work_a_run_says_so_and_stops(actions: Actions) -> None:
    actions.runner.variables["MUSTER_APP_ID"] = str(actions.github.app.app_id)
    number = actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    marker = Signer(("not ours",), actions.github.app.app_id).marker(
        IncidentKey(actions.shop.id, number), {"keys": ["board"]}
    )
    theirs = actions.github.changes.add_comment(
        actions.shop.issue(number), Actor(actions.github.bot, True), f"## 🚨 INC\n\n{marker}"
    )
    mark = actions.github.call_log_position()
    done = actions.triage(*opened)
    assert (done.code, done.outputs) == (0, {"skipped": "true"})
    assert f"#issuecomment-{theirs.id} shows: nothing is done twice" in done.log[0]
    other = actions.opens(SEV1, "Another one")
    (opened, *_) = actions.take_new_events()
    assert actions.triage(*opened).outputs == {"skipped": "true"}, "there is no board of ours yet"
    assert actions.sweep().outputs == {"skipped": "true"}
    assert {call.method for call in actions.github.calls_since(mark)} == {"GET"}
    assert actions.shop.issue(other).comments == []


def test_a_marker_that_a_person_writes_is_only_text(actions: Actions) -> None:
    number = actions.opens(SEV1)
    marker = Signer(("guessed",), 1).marker(IncidentKey(actions.shop.id, number), {"keys": ["escalate/page"]})
    actions.github.person("stranger").comments(actions.shop, number, f"look\n{marker}")
    actions.settle()
    actions.board(number)


def test_what_is_no_incident_costs_one_call(actions: Actions) -> None:
    number = actions.github.person("stranger").opens(actions.shop, "A question", "How do I pay?")
    actions.github.person("mona").comments(actions.shop, number, "/ack")
    mark = actions.github.call_log_position()
    runs = actions.settle()
    assert [(run.code, run.outputs) for run in runs] == [(0, {"skipped": "true"})] * 2
    assert all("is no incident" in run.log[0] for run in runs)
    assert len(actions.github.calls_since(mark)) == 2


def test_an_issue_that_is_gone_is_left_alone_and_a_locked_one_is_labelled(actions: Actions) -> None:
    first, second = actions.opens(SEV1), actions.opens(SEV1)
    events = {payload["issue"]["number"]: (name, payload) for name, payload in actions.take_new_events()}
    actions.shop.permit("ada", "admin")
    actions.github.person("ada").deletes_issue(actions.shop, first)
    actions.github.person("ada").locks(actions.shop, second)
    gone, locked = actions.triage(*events[first]), actions.triage(*events[second])
    assert (gone.code, locked.code) == (0, 0)
    assert "is out of reach" in gone.log[0]
    assert "issue is locked" in locked.summary
    assert actions.labels(second) == {"incident", "sev1"}
    assert actions.shop.issue(second).comments == []
    actions.github.person("ada").unlocks(actions.shop, second)
    actions.advance_and_settle()
    assert "sev1" in actions.board(second).lower()


def test_the_label_of_an_incident_comes_back(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.advance_and_settle()
    actions.github.person("ada").unlabels(actions.shop, number, "incident", "sev1")
    actions.advance_and_settle()
    assert actions.labels(number) == {"incident", "sev1"}


def test_a_secret_of_its_own_signs_what_a_run_says(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    assert actions.triage(*opened, MUSTER_SIGNING_SECRET="a long one").code == 0
    assert actions.list_posted_keys(number) == [], "the key that everybody can guess does not fit"
    before = comment_texts(actions, number)
    assert actions.triage(*opened, MUSTER_SIGNING_SECRET="a long one").code == 0
    assert comment_texts(actions, number) == before


def test_whoever_is_on_call_by_a_calendar_is_paged(actions: Actions) -> None:
    feed = (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260301T000000Z\r\n"
        "DTSTART:20260313T000000Z\r\nDTEND:20260316T000000Z\r\nSUMMARY:grace\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    rotation = "rotations:\n  on-call: {feed: rotas/on-call.ics}\n"
    actions.github.person("ada").pushes(
        actions.shop, POLICY_PATH, POLICY.replace("  on-call: [mona, hubot]\n", "") + rotation
    )
    actions.github.person("ada").pushes(actions.shop, "rotas/on-call.ics", feed)
    number = actions.opens(SEV1)
    (done, *_) = actions.settle()
    assert (done.code, done.log) == (0, [])
    assert "@grace" in actions.notices(number)[0]
    actions.github.person("ada").pushes(actions.shop, "rotas/on-call.ics", None)
    other = actions.opens(SEV1)
    (done, *_) = actions.settle()
    assert done.code == 1
    assert "rotations.on-call.feed cannot be used, there is no such file in the repository" in done.log[0]
    assert len(actions.notices(other)) == 1, "somebody is paged all the same"


def test_a_missing_permission_is_named_before_anything_is_written(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.rights = {"metadata": "read", "contents": "read", "issues": "read", "pull_requests": "read"}
    (done, *_) = actions.settle()
    assert done.code == 1
    assert done.log[-1].startswith("::error title=Muster::")
    assert "Resource not accessible by integration" in done.log[-1]
    assert "issues: write" in done.log[-1]
    assert actions.shop.issue(number).comments == []
    assert actions.labels(number) == {"incident"}


def test_a_policy_with_a_fault_leaves_the_last_good_one_in_force(actions: Actions) -> None:
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, POLICY.replace("Europe/Berlin", "Atlantis"))
    number = actions.opens(SEV1)
    (done, *_) = actions.settle()
    assert done.code == 1, "somebody has to mend it"
    assert done.log[0].startswith(f"::error file={POLICY_PATH},line=2,col=11,title=timezone::'Atlantis' ")
    (page,) = actions.notices(number)
    assert "@mona" in page, "the policy before it is in force"
    assert "**⚠️ The policy file has a fault, the first at .github/incidents.yml:2:11" in actions.board(number)
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, POLICY)
    assert actions.sweep().code == 0
    assert "⚠️" not in actions.board(number)
    assert len(actions.notices(number)) == 1


def test_channels_are_not_served_and_that_is_said(actions: Actions) -> None:
    channels = "channels: {ops: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [chat]}}\n"
    actions.github.person("ada").pushes(actions.shop, POLICY_PATH, POLICY + channels)
    actions.opens(SEV1)
    (done, *_) = actions.settle()
    assert (done.code, len(done.log)) == (0, 1)
    assert "serve none of them" in done.log[0]


def test_somebody_names_the_issue_by_hand(actions: Actions) -> None:
    number = actions.opens(SEV1)
    actions.take_new_events()
    done = actions.triage("workflow_dispatch", {}, MUSTER_ISSUE=str(number))
    assert (done.code, done.outputs["issue"]) == (0, str(number))
    with pytest.raises(WorkflowError, match="MUSTER_ISSUE: 'first' is not the number"):
        actions.triage("workflow_dispatch", {}, MUSTER_ISSUE="first")
    assert "set MUSTER_ISSUE" in actions.triage("workflow_dispatch", {}).log[0]
    with pytest.raises(WorkflowError, match="GITHUB_TOKEN is not set"):
        actions.triage("workflow_dispatch", {}, GITHUB_TOKEN="")


def test_github_is_not_well_for_a_moment(actions: Actions) -> None:
    number = actions.opens(SEV1)
    (opened, *_) = actions.take_new_events()
    actions.github.faults.add("post5", method="POST", path="/comments")
    done = actions.triage(*opened)
    assert done.code == 0
    assert "tried again in 5 s" in done.log[0]
    assert len(actions.notices(number)) == 1, "it was written, and found by its marker"


def test_what_people_wrote_does_nothing_in_the_log_and_on_the_page(actions: Actions) -> None:
    number = actions.opens(SEV1, "::error::gone\n@mona <img src=x> | `x`")
    (done, *_) = actions.settle()
    assert done.log == []
    assert "<img" not in done.summary
    assert "@mona" not in done.summary
    assert actions.board(number)


def test_the_command_line_says_what_is_missing() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "app", "run", "triage"], cwd=ROOT, env={}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "muster: GITHUB_EVENT_PATH is not set: this command is for a step of a GitHub Actions workflow.\n"
    )
