"""A pull request that changes the policy gets one check run on its newest commit, which shows the effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from app.core.backtest import backtest
from app.core.policy import Duration, Policy, Rotation, Shift
from app.failpoints import Failpoints
from app.github.client import ApiResponse
from app.github.incident_history import BACKTEST_PERIOD, MAX_INCIDENTS, load_past_incidents
from app.github.tracker import GitHubTracker
from app.policy_file import read_policy
from app.ports import Annotation, CheckRun, Repository
from app.sandbox.github.world import CheckRun as ShownCheckRun
from app.store import incidents, policy_reviews
from app.worker.pipeline.review_child import parse_past_incidents, with_known_shifts
from tests.sandbox.conftest import shared_data
from tests.sandbox.test_contract import description, openapi
from tests.shell.night import POLICY, SEV1, Night
from tests.shell.processes import count_rows
from tests.shell.test_crashes import Died, DyingWire, die
from tests.shell.test_github_contract import CheckedWire, checked

__all__ = ["checked", "description", "openapi", "shared_data"]

FILE = ".github/incidents.yml"
FASTER_POLICY = POLICY + "severities:\n  sev1: {acknowledge: 2m}\n"
FAULTY_POLICY = POLICY.replace("extends: guide", "extends: nothing").replace("Europe/Berlin", "Atlantis")
MANY_FAULTS_POLICY = POLICY + "".join(f"unknown-{number}: 1\n" for number in range(60))


def open_policy_pull(night: Night, text: str | None, branch: str = "faster", path: str = FILE) -> int:
    """Open a pull request of ada with that file; return its number."""
    ada = night.github.person("ada")
    ada.pushes(night.shop, path, text, branch=branch)
    number = ada.opens_pull(night.shop, branch, "Another policy")
    night.advance_and_settle()
    return number


def list_check_runs(night: Night, sha: str = "") -> list[ShownCheckRun]:
    """Return the check runs on that commit, or on any."""
    return [run for run in night.shop.check_runs.values() if sha in ("", run.head_sha)]


def load_head_sha(night: Night, number: int) -> str:
    pull = night.shop.issue(number).pull
    assert pull is not None
    return pull.head_sha


def list_calls(night: Night, mark: int) -> list[str]:
    """Return the calls to GitHub since that position, without queries and without those for tokens."""
    calls = (
        f"{call.method} {call.path}" for call in night.github.calls_since(mark) if "access_tokens" not in call.path
    )
    return [one.replace("/api/v3/repos/octo/shop", "").split("?")[0] for one in calls]


def has_unfinished_reviews(night: Night) -> bool:
    """Return True if a review is to be made, or its check run to be published."""
    return count_rows(night.database, "FROM policy_review WHERE state <> 'done'") > 0


def open_incident(night: Night) -> int:
    number = night.github.person("stranger").opens(night.shop, "Checkout is down", SEV1, ["incident"])
    night.advance_and_settle()
    return number


def test_a_good_change_is_shown_with_what_it_would_have_done(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.run_for(minutes=3)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    pull = open_policy_pull(tonight, FASTER_POLICY)
    (run,) = list_check_runs(tonight)
    assert (run.name, run.head_sha, run.status, run.conclusion) == (
        "Muster policy",
        load_head_sha(tonight, pull),
        "completed",
        "success",
    )
    assert run.annotations == []
    assert "1" in run.output["title"]
    assert "acknowledge" in run.output["summary"]
    assert "octo/shop" in run.output["summary"], "the incident that would have gone otherwise is named"
    assert tonight.shop.issue(pull).comments == [], "no comment is posted"
    tonight.run_for(minutes=30)
    assert len(list_check_runs(tonight)) == 1


def test_a_fault_stands_at_its_line_until_a_push_mends_it(tonight: Night) -> None:
    pull = open_policy_pull(tonight, FAULTY_POLICY)
    first = load_head_sha(tonight, pull)
    (run,) = list_check_runs(tonight, first)
    assert run.conclusion == "failure"
    profile, zone = run.annotations
    assert profile["path"] == FILE
    assert (profile["start_line"], profile["end_line"], profile["start_column"]) == (1, 1, 10)
    assert (profile["annotation_level"], profile["title"]) == ("failure", "extends")
    assert profile["message"].startswith("'nothing' ")
    assert (zone["start_line"], zone["title"]) == (2, "timezone")

    tonight.github.person("ada").pushes(tonight.shop, FILE, FASTER_POLICY, branch="faster")
    tonight.advance_and_settle()
    (mended,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert (mended.conclusion, mended.annotations) == ("success", [])
    assert len(list_check_runs(tonight)) == 2
    assert list_check_runs(tonight, first)[0].conclusion == "failure", "the check run of the old commit stays"


def test_the_newest_of_several_pushes_is_answered(tonight: Night) -> None:
    ada = tonight.github.person("ada")
    ada.pushes(tonight.shop, FILE, FAULTY_POLICY, branch="faster")
    pull = ada.opens_pull(tonight.shop, "faster", "Another policy")
    ada.pushes(tonight.shop, FILE, MANY_FAULTS_POLICY, branch="faster")
    ada.pushes(tonight.shop, FILE, FASTER_POLICY, branch="faster")
    tonight.advance_and_settle()
    (run,) = list_check_runs(tonight)
    assert (run.head_sha, run.conclusion) == (load_head_sha(tonight, pull), "success")
    assert set(tonight.load_delivery_states().values()) <= {"processed", "ignored"}


def test_a_fork_is_read_through_the_repository_that_it_asks(tonight: Night) -> None:
    stranger = tonight.github.person("stranger")
    fork = stranger.forks(tonight.shop)
    stranger.pushes(fork, FILE, FAULTY_POLICY, branch="better")
    pull = stranger.opens_pull(tonight.shop, "stranger:better", "I know better")
    tonight.advance_and_settle()
    (run,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert run.conclusion == "failure"
    stranger.pushes(fork, FILE, FASTER_POLICY, branch="better")
    tonight.advance_and_settle()
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull))] == ["success"]
    assert "octo/shop" in {call.path[len("/api/v3/repos/") :][:9] for call in tonight.github.calls_since(0)}
    assert not any("/repos/stranger" in call.path for call in tonight.github.calls_since(0))


def test_a_pull_request_that_leaves_the_policy_alone_costs_one_call(tonight: Night) -> None:
    open_incident(tonight)
    mark = tonight.github.call_log_position()
    open_policy_pull(tonight, "# shop, open all night\n", path="README.md")
    assert list_calls(tonight, mark) == [f"GET /contents/{FILE}"]
    assert list_check_runs(tonight) == []


def test_a_branch_from_before_the_last_change_does_not_change_the_policy(tonight: Night) -> None:
    ada = tonight.github.person("ada")
    ada.pushes(tonight.shop, "README.md", "# shop, open all night\n", branch="old")
    ada.pushes(tonight.shop, FILE, FASTER_POLICY)
    open_incident(tonight)
    mark = tonight.github.call_log_position()
    pull = ada.opens_pull(tonight.shop, "old", "A better README")
    tonight.advance_and_settle()
    assert list_calls(tonight, mark) == [f"GET /contents/{FILE}", f"GET /pulls/{pull}/files"]
    assert list_check_runs(tonight) == []


def test_whoever_aims_at_another_branch_is_answered_then(tonight: Night) -> None:
    ada = tonight.github.person("ada")
    ada.pushes(tonight.shop, FILE, FASTER_POLICY, branch="next")
    ada.pushes(tonight.shop, "README.md", "# shop\n\nnext\n", branch="next")
    # The branch `release` has that policy already, so against it only the README changes.
    git = tonight.shop.git
    parent = git.commits[git.refs["refs/heads/next"]].parents[0]
    git.refs["refs/heads/release"] = parent
    pull = ada.opens_pull(tonight.shop, "next", "README", base="release")
    tonight.advance_and_settle()
    assert list_check_runs(tonight) == []
    ada.retargets(tonight.shop, pull, "main")
    tonight.advance_and_settle()
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull))] == ["success"]
    ada.edits_issue(tonight.shop, pull, title="Another policy")
    tonight.advance_and_settle()
    assert len(list_check_runs(tonight)) == 1


def test_taking_the_file_away_says_what_would_hold(tonight: Night) -> None:
    open_policy_pull(tonight, None)
    (run,) = list_check_runs(tonight)
    assert run.conclusion == "success"
    assert "profile `guide` would hold" in run.output["summary"]


def test_a_faulty_policy_that_was_merged_is_shown_on_its_commit(tonight: Night) -> None:
    number = open_incident(tonight)
    pull = open_policy_pull(tonight, FAULTY_POLICY)
    merged = tonight.github.person("ada").merges(tonight.shop, pull)
    tonight.advance_and_settle()
    (run,) = list_check_runs(tonight, merged)
    assert run.conclusion == "failure"
    assert len(run.annotations) == 2
    assert "never takes effect: the last good one does" in run.output["summary"]
    assert len([body for body in tonight.notices(number) if "last good" in body]) == 1

    mended = tonight.github.person("ada").pushes(tonight.shop, FILE, FASTER_POLICY)
    tonight.advance_and_settle()
    assert list_check_runs(tonight, mended) == [], "a good one takes effect and needs no words"


def test_a_pull_request_that_mends_a_merged_fault_is_answered(tonight: Night) -> None:
    tonight.github.person("ada").pushes(tonight.shop, FILE, FAULTY_POLICY)
    tonight.advance_and_settle()
    pull = open_policy_pull(tonight, FASTER_POLICY)
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull))] == ["success"]


def test_more_faults_than_go_into_one_request(tonight: Night) -> None:
    mark = tonight.github.call_log_position()
    open_policy_pull(tonight, MANY_FAULTS_POLICY)
    (run,) = list_check_runs(tonight)
    assert (run.conclusion, len(run.annotations)) == ("failure", 60)
    assert len({one["start_line"] for one in run.annotations}) == 60
    assert [call for call in list_calls(tonight, mark) if "check-run" in call][1:] == [
        "POST /check-runs",
        f"PATCH /check-runs/{run.id}",
    ]


@pytest.mark.parametrize("call", [("POST", "/check-runs"), ("PATCH", "/check-runs/")], ids=" ".join)
@pytest.mark.parametrize("text", [FASTER_POLICY, MANY_FAULTS_POLICY], ids=["good", "hopeless"])
def test_a_death_before_the_answer_is_heard_leaves_one_check(tonight: Night, text: str, call: tuple[str, str]) -> None:
    wire = DyingWire([call])
    tonight.wire = wire
    tonight.restart()
    try:
        if text == FASTER_POLICY and call[0] == "PATCH":
            open_policy_pull(tonight, text)  # a good policy needs one call only, so the process does not die
        else:
            with pytest.raises(Died):
                open_policy_pull(tonight, text)
            tonight.restart()
            tonight.advance_and_settle(180)
        (run,) = list_check_runs(tonight)
        assert (run.status, len(run.annotations)) == ("completed", 0 if text == FASTER_POLICY else 60)
    finally:
        wire.end()


@pytest.mark.parametrize("gap", ["after_claim", "before_post", "after_post_before_mark"])
def test_a_death_in_any_gap_leaves_one_check(tonight: Night, gap: str) -> None:
    tonight.create_failpoints = lambda: Failpoints(f"{gap}:1", on_reach=die)
    tonight.restart()
    with pytest.raises(Died):
        open_policy_pull(tonight, FAULTY_POLICY)
    tonight.create_failpoints = Failpoints
    tonight.restart()
    tonight.advance_and_settle(180)
    (run,) = list_check_runs(tonight)
    assert (run.status, len(run.annotations)) == ("completed", 2)


def test_while_github_is_away_the_check_waits_and_then_comes_once(tonight: Night) -> None:
    tonight.github.faults.add("status", status=502, method="POST", path="/check-runs", times=2)
    open_policy_pull(tonight, FASTER_POLICY)
    assert list_check_runs(tonight) == []
    tonight.advance_and_settle()
    tonight.advance_and_settle()
    assert len(list_check_runs(tonight)) == 1
    assert not has_unfinished_reviews(tonight)


def test_what_github_does_not_take_for_a_day_is_left(tonight: Night) -> None:
    tonight.github.faults.add("status", status=502, method="POST", path="/check-runs", times=99)
    open_policy_pull(tonight, FASTER_POLICY)
    assert has_unfinished_reviews(tonight)
    tonight.clock.at += timedelta(days=1)
    tonight.settle()
    assert not has_unfinished_reviews(tonight)
    assert list_check_runs(tonight) == []


def test_a_commit_whose_files_cannot_be_seen_yet_is_not_taken_for_a_removal(tonight: Night) -> None:
    tonight.github.faults.add("status", status=404, method="GET", path="/contents/", times=1)
    ada = tonight.github.person("ada")
    ada.pushes(tonight.shop, FILE, FASTER_POLICY, branch="faster")
    ada.opens_pull(tonight.shop, "faster", "Another policy")
    tonight.settle()
    assert list_check_runs(tonight) == []
    tonight.advance_and_settle()
    (run,) = list_check_runs(tonight)
    assert "acknowledge" in run.output["title"]


def test_without_the_permission_it_ends_quietly(tonight: Night) -> None:
    assert tonight.shop.installation is not None
    tonight.shop.installation.permissions = {
        name: level for name, level in tonight.shop.installation.permissions.items() if name != "checks"
    }
    mark = tonight.github.call_log_position()
    open_policy_pull(tonight, FASTER_POLICY)
    tonight.run_for(minutes=30)
    tries = [call for call in tonight.github.calls_since(mark) if "/check-runs" in call.path]
    assert 2 <= len(tries) < 20
    mark = tonight.github.call_log_position()
    tonight.run_for(hours=2)
    assert not [call for call in tonight.github.calls_since(mark) if "/check-runs" in call.path], "it is given up"
    assert list_check_runs(tonight) == []
    assert not has_unfinished_reviews(tonight)


def test_a_pull_request_that_is_reopened_has_its_answer_already(tonight: Night) -> None:
    ada, pull = tonight.github.person("ada"), open_policy_pull(tonight, FASTER_POLICY)
    ada.closes(tonight.shop, pull)
    ada.reopens(tonight.shop, pull)
    tonight.advance_and_settle()
    assert len(list_check_runs(tonight)) == 1


class RecordingClient:
    """GitHub with one check run on the commit, of the App with that id; records what is written."""

    app_id = 3

    def __init__(self, app: int, status: str, annotations: int) -> None:
        output = {"annotations_count": annotations}
        self.row = {"id": 5, "app": {"id": app}, "status": status, "output": output}
        self.written: list[tuple[str, str, int]] = []

    def list_rows(self, installation: int, path: str, params: Any = None, *, key: str = "") -> Iterator[Any]:
        return iter([self.row])

    def call(self, installation: int, method: str, path: str, *, json: Any, params: Any = None) -> ApiResponse:
        sent = len(json["output"].get("annotations", ()))
        self.written.append((method, json["status"], sent))
        return ApiResponse(201, {"id": 6}, {})


@pytest.mark.parametrize(
    ("app", "status", "there", "written"),
    [
        (4, "completed", 120, [("POST", "in_progress", 50), ("PATCH", "in_progress", 50), ("PATCH", "completed", 20)]),
        (3, "completed", 120, []),
        (3, "in_progress", 0, [("PATCH", "in_progress", 50), ("PATCH", "in_progress", 50), ("PATCH", "completed", 20)]),
        (3, "in_progress", 50, [("PATCH", "in_progress", 50), ("PATCH", "completed", 20)]),
        (3, "in_progress", 100, [("PATCH", "completed", 20)]),
        (3, "in_progress", 120, [("PATCH", "completed", 0)]),
    ],
)
def test_only_what_lacks_is_sent(app: int, status: str, there: int, written: list[tuple[str, str, int]]) -> None:
    github = RecordingClient(app, status, there)
    faults = tuple(Annotation(FILE, line, 1, "zone", "unknown") for line in range(1, 121))
    tracker = GitHubTracker(github, Repository(1, "octo/shop", 2))  # type: ignore[arg-type]
    tracker.check(CheckRun("Muster policy", "a" * 40, False, "120 faults", "All of them", faults))
    assert github.written == written


def test_the_postmortem_may_not_bring_a_policy_in_unseen(tonight: Night) -> None:
    number = open_incident(tonight)
    mona = tonight.github.person("mona")
    mona.comments(tonight.shop, number, "/resolve the pool is larger now")
    tonight.advance_and_settle()
    mona.closes(tonight.shop, number)
    tonight.advance_and_settle()
    (pull,) = tonight.shop.pulls
    assert list_check_runs(tonight) == []
    mona.pushes(tonight.shop, FILE, FAULTY_POLICY, branch=f"muster/postmortem-{number}")
    tonight.advance_and_settle()
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull.number))] == ["failure"]


def test_the_actions_host_tries_the_same_incidents_and_finds_the_same(tonight: Night) -> None:
    mona, ada = tonight.github.person("mona"), tonight.github.person("ada")
    first, second = open_incident(tonight), open_incident(tonight)
    tonight.run_for(minutes=6)
    mona.comments(tonight.shop, first, "/ack")
    tonight.advance_and_settle()
    ada.labels(tonight.shop, second, "sev3")
    tonight.run_for(minutes=9)
    mona.comments(tonight.shop, second, "/ack\n/update we look at it")
    mona.comments(tonight.shop, first, "/resolve the pool is larger now")
    tonight.advance_and_settle()
    mona.closes(tonight.shop, first)
    tonight.advance_and_settle()
    ada.merges(tonight.shop, tonight.shop.pulls[0].number)
    tonight.run_for(minutes=20)
    repository = Repository(tonight.shop.id, "octo/shop", tonight.installation)
    ctx, now, old, new = tonight.application.ctx, tonight.clock(), read_policy(POLICY), read_policy(FASTER_POLICY)
    with tonight.database.transaction() as db:
        logs, skipped = policy_reviews.list_past_logs(
            db, repository.id, now - BACKTEST_PERIOD, max_incidents=200, max_events=20_000, max_bytes=10**7
        )
    lines = [each.to_json() for each in reversed(logs)]
    app_result = backtest(parse_past_incidents(lines, "octo/shop", now), old, new)
    assert skipped == 0
    tracker = ctx.tracker(repository)
    past_incidents = [*load_past_incidents(tracker, "incident", now - BACKTEST_PERIOD, old, repo="octo/shop", now=now)]
    assert backtest(sorted(past_incidents, key=lambda one: one.name), old, new) == app_result
    assert app_result.incident_count == 2
    assert [one.name for one in app_result.diffs] == ["octo/shop#1"]


class BusyTracker:
    """A repository with more incidents than are read."""

    def __init__(self) -> None:
        self.timelines_read = 0

    def incidents_since(self, label: str, updated: datetime) -> list[dict[str, Any]]:
        row = {"title": "Down", "body": "", "user": {"login": "mona"}, "created_at": "2026-03-01T09:00:00Z"}
        return [{**row, "number": number} for number in range(1, 251)]

    def timeline(self, number: int) -> list[Any]:
        self.timelines_read += 1
        return []

    def pull_of(self, branches: tuple[str, ...]) -> None:
        return None


def test_no_more_are_read_than_a_run_may_ask_for() -> None:
    tracker, now = BusyTracker(), datetime(2026, 3, 14, tzinfo=UTC)
    found = load_past_incidents(
        tracker, "incident", now - BACKTEST_PERIOD, read_policy(POLICY), repo="octo/shop", now=now
    )  # type: ignore[arg-type]
    next(found)
    assert tracker.timelines_read == 1, "each is asked for as it is taken"
    assert len(list(found)) == MAX_INCIDENTS - 1
    assert tracker.timelines_read == MAX_INCIDENTS


def test_what_a_proposal_names_is_not_fetched_before_it_is_merged(tonight: Night) -> None:
    rota = "rotations:\n  nights: {people: [mona], feed: %s, starts: 2026-01-05}\n"
    mark = tonight.github.call_log_position()
    open_policy_pull(tonight, POLICY + rota % "rotas/on-call.ics")
    assert [run.conclusion for run in list_check_runs(tonight)] == ["success"]
    assert not any("rotas" in call for call in list_calls(tonight, mark))


def test_the_shifts_that_are_known_count_on_both_sides() -> None:
    start = datetime(2026, 3, 14, tzinfo=UTC)
    shifts = (Shift(start, start + timedelta(days=1), 0, "mona"),)
    known = Rotation(people=("hubot",), feed="a.ics", shifts=shifts)
    old = Policy(rotations={"on-call": known, "other": known})
    new = Policy(
        rotations={
            "on-call": replace(known, shifts=(), turn=Duration(timedelta(days=1))),
            "other": replace(known, shifts=(), feed="b.ics"),
            "new": replace(known, shifts=()),
        }
    )
    filled = with_known_shifts(new, old).rotations
    assert [filled[name].shifts for name in ("on-call", "other", "new")] == [shifts, (), ()]


def test_only_the_incidents_of_the_last_months_are_tried(tonight: Night) -> None:
    numbers = [open_incident(tonight)]
    tonight.github.person("mona").comments(tonight.shop, numbers[0], "/resolve it was the cache")
    tonight.advance_and_settle()
    tonight.clock.at += timedelta(days=60)
    numbers += [open_incident(tonight), open_incident(tonight)]

    def list_numbers(days: int, limit: int = 200) -> list[int]:
        since = tonight.clock() - timedelta(days=days)
        with tonight.database.transaction() as db:
            return [
                incident_key.number
                for incident_key, _ in incidents.list_incidents_declared_since(db, tonight.shop.id, since, limit)
            ]

    assert list_numbers(90) == numbers
    assert list_numbers(30) == numbers[1:]
    assert list_numbers(90, limit=2) == numbers[1:], "the newest"
    assert list_numbers(0) == []


def test_every_call_is_as_github_describes_it(tonight: Night, checked: CheckedWire) -> None:
    open_incident(tonight)
    open_policy_pull(tonight, MANY_FAULTS_POLICY)
    open_policy_pull(tonight, FASTER_POLICY, branch="better")
    assert len(list_check_runs(tonight)) == 2
    assert checked.faults == []


class PullFilesClient(RecordingClient):
    """GitHub with these files in every pull request."""

    def __init__(self, *rows: dict[str, str]) -> None:
        super().__init__(3, "", 0)
        self.rows = rows

    def list_rows(self, installation: int, path: str, params: Any = None, *, key: str = "") -> Iterator[Any]:
        return iter(self.rows)


@pytest.mark.parametrize(
    ("rows", "change"),
    [
        ([], "none"),
        ([{"filename": "README.md", "status": "modified"}], "none"),
        ([{"filename": FILE, "status": "added"}], "written"),
        ([{"filename": FILE, "status": "modified"}], "written"),
        ([{"filename": FILE, "status": "removed"}], "removed"),
        ([{"filename": "old.yml", "status": "renamed", "previous_filename": FILE}], "removed"),
        ([{"filename": FILE, "status": "renamed", "previous_filename": "new.yml"}], "written"),
    ],
)
def test_what_a_pull_request_does_to_the_file(rows: list[dict[str, str]], change: str) -> None:
    tracker = GitHubTracker(PullFilesClient(*rows), Repository(1, "octo/shop", 2))  # type: ignore[arg-type]
    assert tracker.file_change(9, FILE) == change
