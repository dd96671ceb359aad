"""Reviews of proposed policies have a process, a queue and a budget of their own: nothing else waits for them (FC-S1)."""

from __future__ import annotations

import os
import re
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from app.core.events import Opened
from app.core.incident_report import IncidentReport, Level
from app.core.severity import Severity
from app.sandbox.github import Limits, SandboxGitHub
from app.sandbox.github.world import Repository
from app.store import policy_reviews
from app.store.database import Database, load_migrations
from app.store.policy_reviews import PastLog
from app.store.serialization import serialize_event
from app.web.server import find_free_port
from app.worker.pipeline.policy_check import MAX_FORK_LOOKS_PER_HOUR, MAX_REVIEWS_PER_HOUR, run_next_review
from app.worker.pipeline.review_child import ReviewInput, ReviewLimits
from app.worker.pipeline.review_process import ReviewFailure, run_review
from tests.figures import Figures
from tests.shell.conftest import DatabaseServer
from tests.shell.night import POLICY, SEV1, Night, get_app_registration
from tests.shell.processes import count_rows, read_log_tail, start_process, start_web, start_worker, wait_until
from tests.shell.test_policy_review import (
    FASTER_POLICY,
    FILE,
    has_unfinished_reviews,
    list_check_runs,
    load_head_sha,
    open_policy_pull,
)

OFTEN_PAGING = POLICY + "escalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack, repeat: 5m}\n"
"""A valid policy with many pages; replaying it through a long log takes time."""
LARGE = OFTEN_PAGING + "services:\n" + "".join(f"  part-{n}: {{aliases: [a-{n}, b-{n}]}}\n" for n in range(1000))
"""A valid policy that needs more memory to be read than a process has over from its start."""
NOW = datetime(2026, 3, 14, 9, tzinfo=UTC)


def make_proposal(text: str, past: tuple[str, ...] = ()) -> ReviewInput:
    return ReviewInput("octo/shop", NOW, (POLICY, None), (text, None), past=past)


def make_past_incident() -> str:
    """Return a sev1 that was never acknowledged, as a line of a ReviewInput."""
    report = IncidentReport(severity=Severity.SEV1, impact=Level.HIGH, urgency=Level.HIGH)
    opened = Opened(key="opened", by="stranger", id="INC-1", repo="octo/shop", number=1, title="Down", report=report)
    return PastLog(1, "Down", f'[["2026-03-01T09:00:00+00:00", "Opened", {serialize_event(opened)}]]').to_json()


def propose_from_fork(night: Night, name: str, text: str = FASTER_POLICY) -> int:
    """Open a pull request of a stranger with that policy; return its number."""
    stranger = night.github.person("stranger")
    fork = night.github.world.repositories.get("stranger/shop") or stranger.forks(night.shop)
    stranger.pushes(fork, FILE, f"{text}# {name}\n", branch=name)
    return stranger.opens_pull(night.shop, f"stranger:{name}", "I know better")


def run_one_review(night: Night, limits: ReviewLimits) -> None:
    """Route what has arrived, and make one review with these limits."""
    night.github.hooks.settle(10)
    night.run_job(number=10**6)
    assert run_next_review(night.application.ctx, night.installation, limits=limits)


# The process.


@pytest.mark.parametrize(
    ("limits", "failure"),
    [
        (ReviewLimits(cpu_seconds=1), ReviewFailure.TOO_SLOW),
        (ReviewLimits(wall_seconds=1), ReviewFailure.TOO_SLOW),
        (ReviewLimits(memory_bytes=48 * 2**20), ReviewFailure.TOO_LARGE),
    ],
    ids=["computing time", "wall time", "memory"],
)
def test_a_process_ends_at_its_limits(limits: ReviewLimits, failure: ReviewFailure) -> None:
    begun = time.monotonic()
    answer = run_review(make_proposal(OFTEN_PAGING, (make_past_incident(),) * 2000), lambda: True, limits)
    assert answer is not None
    assert answer.failure is failure
    assert time.monotonic() - begun < 10


def test_what_takes_too_long_to_try_is_left_out_and_said() -> None:
    """The newest incidents come first, and a review that runs out of time for them is still one."""
    past = (make_past_incident(),) * 500
    answer = run_review(make_proposal(OFTEN_PAGING, past), lambda: True, ReviewLimits(backtest_seconds=1))
    assert answer is not None
    assert answer.failure is None
    assert re.match(r"Tried on the newest \d+ of 500 past incidents: more would take too long here\.", answer.summary)
    assert "### What moves" in answer.summary


def test_a_process_is_stopped_when_this_one_is_to_end() -> None:
    begun = time.monotonic()
    assert run_review(make_proposal(FASTER_POLICY), lambda: False, ReviewLimits()) is None
    assert time.monotonic() - begun < 5


def test_the_process_gets_none_of_our_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a review may read of our environment is what Python needs to start."""
    monkeypatch.setenv("GITHUB_WEBHOOK_SECRET", "not for strangers")
    seen: list[bytes] = []

    def look() -> bool:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if b"review_child" in (process / "cmdline").read_bytes():
                    seen.append((process / "environ").read_bytes())
            except OSError:
                continue
        return True

    if not Path("/proc/self/environ").exists():
        pytest.skip("no /proc here to look into")
    answer = run_review(make_proposal(FASTER_POLICY), look, ReviewLimits())
    assert answer is not None
    assert answer.failure is None
    environments = [one for one in seen if one]
    assert environments
    assert not any(b"SECRET" in one or b"PRIVATE_KEY" in one for one in environments)
    assert all(b"PYTHONUTF8" in one for one in environments), os.fsdecode(environments[0])


def test_a_log_that_is_not_what_it_should_be_is_a_failure_and_no_traceback() -> None:
    answer = run_review(
        make_proposal(FASTER_POLICY, ('[1, "Down", [["yesterday", "Opened", {}]]]',)), lambda: True, ReviewLimits()
    )
    assert answer is not None
    assert answer.failure is ReviewFailure.BROKEN


# What its author sees.


def test_a_proposal_that_takes_too_long_fails_its_check_and_is_not_tried_again(tonight: Night) -> None:
    pull = propose_from_fork(tonight, "slow", LARGE)
    run_one_review(tonight, ReviewLimits(memory_bytes=40 * 2**20))
    (run,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert (run.status, run.conclusion) == ("completed", "failure")
    assert run.output["title"].startswith("This policy needs too much memory to replay")
    assert "muster policy replay" in run.output["summary"]
    stranger = tonight.github.person("stranger")
    stranger.closes(tonight.shop, pull)
    stranger.reopens(tonight.shop, pull)
    tonight.run_for(minutes=5)
    assert count_rows(tonight.database, "FROM policy_review WHERE attempts > 0 OR state <> 'done'") == 0
    assert [run.conclusion for run in list_check_runs(tonight)] == ["failure"]


def test_what_was_ended_is_published_later_without_another_process(tonight: Night) -> None:
    tonight.github.faults.add("status", status=502, method="POST", path="/check-runs", times=1)
    propose_from_fork(tonight, "slow", LARGE)
    run_one_review(tonight, ReviewLimits(memory_bytes=40 * 2**20))
    assert list_check_runs(tonight) == []
    # By now any process would have the usual limits, and find the policy good.
    tonight.advance_and_settle()
    assert [run.conclusion for run in list_check_runs(tonight)] == ["failure"]


def test_pages_an_hour_are_named_where_they_are_the_likely_cause(tonight: Night) -> None:
    pull = propose_from_fork(tonight, "slow", POLICY + _make_crowded_escalation())
    tonight.settle()
    (run,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert run.conclusion == "failure"
    assert run.annotations or "an hour" in run.output["title"]


def _make_crowded_escalation() -> str:
    """Return the largest escalation that the language may admit; where it does not, it says so itself."""
    steps = "".join(f"    - {{after: {minute}m, to: on-call, until: ack, repeat: 1m}}\n" for minute in range(60))
    return f"escalation:\n  sev1:\n{steps}"


def test_a_review_whose_process_dies_three_times_is_given_up_and_said(tonight: Night) -> None:
    pull = open_pull_unrouted(tonight)
    for _ in range(3):
        with tonight.database.transaction() as db:
            assert policy_reviews.claim_next_review(db, tonight.installation, tonight.clock()) is not None
        tonight.clock.at += timedelta(minutes=3)
    tonight.settle()
    (run,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert (run.conclusion, run.output["title"]) == ("failure", "This policy could not be reviewed")
    assert not has_unfinished_reviews(tonight)


def open_pull_unrouted(night: Night) -> int:
    ada = night.github.person("ada")
    ada.pushes(night.shop, FILE, FASTER_POLICY, branch="faster")
    number = ada.opens_pull(night.shop, "faster", "Another policy")
    night.github.hooks.settle(10)
    night.run_job(number=10**6)
    return number


# The queue.


def test_while_one_is_made_the_installation_gets_no_other(tonight: Night) -> None:
    propose_from_fork(tonight, "first")
    propose_from_fork(tonight, "second")
    tonight.github.hooks.settle(10)
    tonight.run_job(number=10**6)
    now = tonight.clock()
    with tonight.database.transaction() as db:
        first = policy_reviews.claim_next_review(db, tonight.installation, now)
        assert first is not None
        assert policy_reviews.list_due_installations(db, now) == []
        assert policy_reviews.claim_next_review(db, tonight.installation, now) is None
        policy_reviews.finish_review(db, first)
        second = policy_reviews.claim_next_review(db, tonight.installation, now)
        assert second is not None
    assert first.request.number != second.request.number


def test_beyond_the_budget_a_fork_waits_and_is_told_until_when_and_a_writer_does_not(tonight: Night) -> None:
    with tonight.database.transaction() as db:
        db.execute(
            "INSERT INTO policy_review (repo_id, number, head, from_fork, proposed_at, received_at, state, not_before,"
            " claimed_at, started_at) SELECT %(repo)s, 900 + n, 'x', true, %(at)s, %(at)s, 'done', %(at)s, %(at)s, %(at)s"
            " FROM generate_series(1, %(count)s) n",
            {"repo": tonight.shop.id, "at": tonight.clock(), "count": MAX_REVIEWS_PER_HOUR},
        )
    tonight.clock.at += timedelta(minutes=10)
    pull = propose_from_fork(tonight, "one-more")
    tonight.advance_and_settle()
    (run,) = list_check_runs(tonight, load_head_sha(tonight, pull))
    assert (run.status, run.conclusion) == ("queued", None)
    assert run.output["title"] == "Too many proposals at once: reviewed again at 10:00 UTC"
    mark = tonight.github.call_log_position()
    tonight.run_for(minutes=20)
    assert not [call for call in tonight.github.calls_since(mark) if "/check-runs" in call.path], "said once"

    own = open_policy_pull(tonight, FASTER_POLICY)
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, own))] == ["success"]
    tonight.run_for(minutes=30)
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull))] == ["success"]
    assert len(list_check_runs(tonight)) == 2


def test_looking_at_forks_costs_no_more_than_so_many_calls_an_hour(tonight: Night) -> None:
    """A stranger may push as often as they like; incidents need the same budget of calls."""
    with tonight.database.transaction() as db:
        db.execute(
            "INSERT INTO policy_review (repo_id, number, head, from_fork, proposed_at, received_at, state, not_before,"
            " claimed_at) SELECT %(repo)s, 900 + n, 'x', true, %(at)s, %(at)s, 'done', %(at)s, %(at)s"
            " FROM generate_series(1, %(count)s) n",
            {"repo": tonight.shop.id, "at": tonight.clock(), "count": MAX_FORK_LOOKS_PER_HOUR},
        )
    tonight.clock.at += timedelta(minutes=10)
    mark = tonight.github.call_log_position()
    pull = propose_from_fork(tonight, "one-more")
    tonight.run_for(minutes=45)
    assert tonight.github.calls_since(mark) == []
    own = open_policy_pull(tonight, FASTER_POLICY)
    assert list_check_runs(tonight, load_head_sha(tonight, own))
    tonight.run_for(minutes=10)
    assert list_check_runs(tonight, load_head_sha(tonight, pull))


def test_a_process_whose_parent_dies_ends_soon(tmp_path: Path) -> None:
    code = (
        "from tests.shell.test_policy_reviewer import OFTEN_PAGING, make_past_incident, make_proposal\n"
        "from app.worker.pipeline.review_process import run_review\n"
        "from app.worker.pipeline.review_child import ReviewLimits\n"
        "run_review(make_proposal(OFTEN_PAGING, (make_past_incident(),) * 3000), lambda: True, ReviewLimits())\n"
    )
    with start_process(["-c", code], {"MARK": str(tmp_path)}, tmp_path) as parent:
        assert wait_until(lambda: bool(list_children(parent.pid)), 20)
        (child,) = list_children(parent.pid)
        time.sleep(1)
    assert wait_until(lambda: not Path(f"/proc/{child}/cmdline").exists() or not read_command(child), 8)


def list_children(pid: int) -> list[int]:
    """Return the ids of the reviews that this process has started."""
    if not Path("/proc/self/stat").exists():
        pytest.skip("no /proc here to look into")
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:
            continue
        if parent == pid and b"review_child" in read_command(int(stat.parent.name)):
            found.append(int(stat.parent.name))
    return found


def read_command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def test_what_the_release_before_had_routed_is_routed_again(tonight: Night) -> None:
    """A proposal that waited during an upgrade is reviewed."""
    pull = propose_from_fork(tonight, "waiting")
    tonight.github.hooks.settle(10)
    step = next(sql for name, sql in list_steps() if name == "0015_policy_review.sql")
    _, keyword, update = step.rpartition("UPDATE delivery")
    with tonight.database.transaction() as db:
        db.execute("UPDATE delivery SET state = 'routed', number = 7, repo_id = %s", (tonight.shop.id,))
        db.execute((keyword + update).encode())
    tonight.advance_and_settle()
    assert [run.conclusion for run in list_check_runs(tonight, load_head_sha(tonight, pull))] == ["success"]


def list_steps() -> list[tuple[str, str]]:
    return [(name, sql) for _, name, sql in load_migrations()]


def test_reviews_are_no_jobs_of_incidents_and_leave_with_the_installation(tonight: Night) -> None:
    pull = propose_from_fork(tonight, "first")
    tonight.github.hooks.settle(10)
    tonight.run_job(pull)
    assert list_check_runs(tonight) == [], "the job of an incident makes no review"
    assert has_unfinished_reviews(tonight)
    assert set(tonight.load_delivery_states().values()) <= {"processed", "ignored"}
    tonight.github.uninstall("octo")
    tonight.settle()
    assert not has_unfinished_reviews(tonight)


# Beside incidents: real processes.


@contextmanager
def serve(place: DatabaseServer, folder: Path) -> Iterator[tuple[SandboxGitHub, list[Repository], Database]]:
    """Serve two organisations, each with one repository, by a web process and a worker."""
    with (
        SandboxGitHub(lambda: datetime.now(UTC), get_app_registration(), limits=Limits(per_hour=10**9)) as github,
        place.database() as database,
        ExitStack() as stack,
    ):
        for login in ("mona", "hubot", "ada", "grace", "stranger"):
            github.add_person(login)
        shops = [github.add_repository(f"{name}/shop", files={FILE: POLICY}) for name in ("octo", "other")]
        for shop in shops:
            for login in ("mona", "hubot", "ada", "grace"):
                shop.permit(login, "write")
        port = find_free_port()
        environment = {
            "GITHUB_API_URL": github.api_url,
            "GITHUB_APP_ID": str(github.app.app_id),
            "GITHUB_APP_PRIVATE_KEY": github.app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": github.app.webhook_secret,
            "DATABASE_URL": database.url,
        }
        stack.enter_context(start_web(environment, folder, port))
        github.hooks.url = f"http://127.0.0.1:{port}/webhook"
        stack.enter_context(start_worker(environment, folder, lease=30, dead_after=10))
        assert wait_until(lambda: count_rows(database, "FROM procrastinate_workers") == 1), read_log_tail(folder)
        yield github, shops, database


def measure_board_seconds(github: SandboxGitHub, shop: Repository) -> float:
    """File a report and return the seconds until its board is there."""
    begun = time.monotonic()
    number = github.person("mona").opens(shop, "Checkout is down", SEV1, ["incident"])
    issue = shop.issue(number)
    end = begun + 60
    while not any(comment.body.startswith("## ") for comment in issue.comments):
        assert time.monotonic() < end, "no board after a minute"
        time.sleep(0.02)
    return time.monotonic() - begun


def add_past_incidents(database: Database, shop: Repository, number: int, count: int) -> None:
    """Copy an unacknowledged sev1 as many past incidents, so that a backtest has much to replay."""
    with database.transaction() as db:
        db.execute(
            "INSERT INTO incident (repo_id, number, state, replayed_until) SELECT repo_id, 10000 + n,"
            " jsonb_set(state, '{status}', '\"resolved\"'), replayed_until"
            " FROM incident, generate_series(1, %s) n WHERE repo_id = %s AND number = %s",
            (count, shop.id, number),
        )
        db.execute(
            "INSERT INTO event (repo_id, number, key, at, kind, data) SELECT repo_id, 10000 + n, key,"
            " at - interval '20 days', kind, data FROM event, generate_series(1, %s) n"
            " WHERE repo_id = %s AND number = %s",
            (count, shop.id, number),
        )


def test_h1_five_hostile_pull_requests_leave_reports_alone(
    usual: DatabaseServer, tmp_path: Path, figures: Figures
) -> None:
    """FC-S1: with five of them open and under review, a report gets its board about as soon as without.

    The policies are valid; what makes them slow is the replay of many old incidents that were never acknowledged.
    """
    with serve(usual, tmp_path) as (github, shops, database):
        octo = shops[0]
        measure_board_seconds(github, octo)  # the first one also loads the policy
        add_past_incidents(database, octo, 1, 150)
        alone = {
            shop.full_name: statistics.median(measure_board_seconds(github, shop) for _ in range(3)) for shop in shops
        }
        stranger = github.person("stranger")
        fork = stranger.forks(octo)
        for nth in range(5):
            stranger.pushes(fork, FILE, f"{OFTEN_PAGING}# {nth}\n", branch=f"b{nth}")
            stranger.opens_pull(octo, f"stranger:b{nth}", "I know better")
        running = "FROM policy_review WHERE lease_until IS NOT NULL"
        assert wait_until(lambda: count_rows(database, running) == 1, 30), read_log_tail(tmp_path)
        beside = {}
        for shop in shops:
            samples = []
            for _ in range(3):
                samples.append(measure_board_seconds(github, shop))
                assert count_rows(database, running) <= 1, "one at a time"
            beside[shop.full_name] = statistics.median(samples)
        unfinished = count_rows(database, "FROM policy_review WHERE state <> 'done'")
        measured = (f"{alone[name]:.2f} s alone, {beside[name]:.2f} s beside them" for name in alone)
        figures.record(
            "H1", size="5 reviews of 150 past incidents; the same installation, another", measured="; ".join(measured)
        )
        assert unfinished, "the reviews were still at work when the last report was filed"
        for name, seconds in beside.items():
            assert seconds <= max(2 * alone[name], alone[name] + 2), (alone, beside)
        assert wait_until(lambda: not count_rows(database, "FROM policy_review WHERE state <> 'done'"), 240), (
            read_log_tail(tmp_path)
        )
        assert len(octo.check_runs) == 5
