"""A failure of the rules loses no report, and work that fails again and again is set aside and shown."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from app.core.policy import Policy
from app.core.policy.people import OnCallOverride, Rotation
from app.policy_file import load_profile
from app.policy_source.active_policy import ActivePolicy, PolicySource
from app.ports import IncidentKey, Repository, Tracker
from app.store import failed_processing
from app.store.database import Database
from app.worker.jobs import Queue
from app.worker.monitoring.self_audit import readiness_problems, run_audit
from app.worker.pipeline import fold
from tests.shell.night import POLICY, SEV1, Night
from tests.shell.test_refusals import open_sev1, say


class OddPolicies(PolicySource):
    """Policies of which some make the rules fail: the active one, or each of them."""

    def __init__(self, active: Policy | None = None, *, fallbacks_fail: bool = False) -> None:
        super().__init__()
        self._active = active or make_odd()
        self._fallbacks_fail = fallbacks_fail

    def load(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> ActivePolicy:
        return replace(super().load(database, tracker, repository, now), policy=self._active)

    def fallbacks(self, database: Database, repo_id: int) -> Iterator[Policy]:
        for fallback in super().fallbacks(database, repo_id):
            yield make_odd() if self._fallbacks_fail else fallback


def make_odd() -> Policy:
    """Return a policy whose rotation leads out of the calendar, as a year of 9999 did in a zone west of Greenwich."""
    never_ends = OnCallOverride(datetime(2026, 1, 1), datetime.max, "kai")  # noqa: DTZ001, DTZ901  wall clock
    rotation = Rotation(("kai", "mona"), zone="America/New_York", overrides=(never_ends,))
    return replace(load_profile("guide"), rotations={"on-call": rotation}, contacts={})


def make_slightly_odd() -> Policy:
    """Return a policy with which only the board cannot be rendered."""
    return Policy(rotations=make_odd().rotations)


def use_policies(tonight: Night, policies: PolicySource) -> None:
    tonight.application = replace(tonight.application, ctx=replace(tonight.application.ctx, policies=policies))


@pytest.mark.parametrize("make", [make_odd, make_slightly_odd], ids=["in the fold", "in the board"])
def test_a_report_is_graded_and_paged_under_the_last_good_policy(tonight: Night, make: Callable[[], Policy]) -> None:
    """FC-C1: an exception of the rules under the active policy; told on the issue, on /readyz and by the audit."""
    use_policies(tonight, OddPolicies(make()))
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    assert tonight.labels(number) >= {"incident", "sev1"}
    assert tonight.board(number)
    assert any("rules fail with it" in text for text in tonight.notices(number))
    assert any("rules fail" in reason for reason in readiness_problems(tonight.application.ctx))
    assert "policy" in [finding.name for finding in run_audit(tonight.application.ctx)]
    tonight.run_for(minutes=40)
    assert any(key.startswith("escalate/page") for key in tonight.incident(number).fired_alarms), "open ones page on"
    told = sum("rules fail with it" in text for text in tonight.notices(number))
    assert told == 1, "once"


def test_the_finding_ends_with_the_next_version_of_the_file(tonight: Night) -> None:
    use_policies(tonight, OddPolicies())
    open_sev1(tonight)
    tonight.advance_and_settle()
    use_policies(tonight, PolicySource())
    tonight.github.person("mona").pushes(
        tonight.shop, ".github/incidents.yml", POLICY + "# mended\n", "Mend the policy"
    )
    tonight.advance_and_settle()
    tonight.run_for(minutes=1)
    assert not any("rules fail" in reason for reason in readiness_problems(tonight.application.ctx))


def test_a_report_with_which_every_policy_fails_is_kept_shown_and_found_again(tonight: Night) -> None:
    """It waits as a dead letter, which /readyz and the audit name; the comparison finds it once the rules are mended."""
    use_policies(tonight, OddPolicies(fallbacks_fail=True))
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    assert any(
        "could not be processed by the rules" in reason for reason in readiness_problems(tonight.application.ctx)
    )
    assert "lost-reports" in [finding.name for finding in run_audit(tonight.application.ctx)]
    use_policies(tonight, PolicySource())
    tonight.clock.at += timedelta(minutes=10)
    from app.bootstrap import create_reconciler  # noqa: PLC0415

    create_reconciler(tonight.application).run_now(lambda _: None, deep=True)
    tonight.settle()
    assert tonight.labels(number) >= {"incident", "sev1"}


def test_a_fold_that_another_process_overtook_is_done_again(tonight: Night) -> None:
    """The fold holds no lock: what another process saves meanwhile is neither lost nor overwritten."""
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    ctx, incident_key = tonight.application.ctx, IncidentKey(tonight.shop.id, number)
    tries = 0

    def fold_and_save(stored: object) -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            say(tonight, number, "/ack")
        with ctx.database.transaction() as db:
            fold.require_unchanged(db, incident_key, stored)  # type: ignore[arg-type]

    from app.store import incidents  # noqa: PLC0415

    with ctx.database.autocommit() as db:
        stored = incidents.load_incident(db, incident_key)
    fold.repeat_while_stale(ctx, incident_key, fold_and_save, first=stored)
    assert tries == 2
    assert tonight.incident(number).commander == "mona"


def test_work_that_fails_three_times_is_set_aside_and_shown(tonight: Night) -> None:
    """FC-S1: a wake-up that died three times waits, longer each time; the others go on; it resumes by itself."""
    number, other = open_sev1(tonight), open_sev1(tonight)
    tonight.advance_and_settle()
    ctx, incident_key = tonight.application.ctx, IncidentKey(tonight.shop.id, number)
    for nth in (1, 2, 3):
        with ctx.database.transaction() as db:
            failures = failed_processing.record_failure(db, incident_key, "its worker died", ctx.clock())
        assert failures == nth
    with ctx.database.autocommit() as db:
        failure = failed_processing.load_failure(db, incident_key)
    assert failure is not None
    assert failure.is_set_aside
    assert failure.next_try_at == ctx.clock() + timedelta(minutes=1)
    assert any("set aside" in reason for reason in readiness_problems(ctx))
    assert [f.incident_keys for f in run_audit(ctx) if f.name == "set-aside"] == [(incident_key,)]
    say(tonight, number, "/update still here")
    assert "tries again from time to time" in tonight.board(number)
    assert "tries again from time to time" not in tonight.board(other)


def test_the_waits_of_what_is_set_aside_grow_to_an_hour(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    ctx, incident_key, waits = tonight.application.ctx, IncidentKey(tonight.shop.id, number), []
    for _ in range(12):
        with ctx.database.transaction() as db:
            failed_processing.record_failure(db, incident_key, "x", ctx.clock())
            failure = failed_processing.load_failure(db, incident_key)
        assert failure is not None
        waits.append(int((failure.next_try_at - ctx.clock()).total_seconds()))
    assert waits == [0, 0, 60, 120, 240, 480, 960, 1920, 3600, 3600, 3600, 3600]


def test_a_set_aside_incident_is_not_woken_and_its_failures_are_forgotten_with_a_success(tonight: Night) -> None:
    number = open_sev1(tonight)
    tonight.advance_and_settle()
    ctx, incident_key = tonight.application.ctx, IncidentKey(tonight.shop.id, number)
    with ctx.database.transaction() as db:
        for _ in range(3):
            failed_processing.record_failure(db, incident_key, "x", ctx.clock())
    queue = Queue(ctx)
    tonight.clock.at += timedelta(seconds=30)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    queue.sweep()
    queue._run_routing()
    queue._run_incident(incident_key.repo_id, incident_key.number)
    assert tonight.incident(number).commander == ""
    tonight.clock.at += timedelta(seconds=31)
    queue.sweep()
    queue._run_incident(incident_key.repo_id, incident_key.number)
    assert tonight.incident(number).commander == "mona"
    with ctx.database.autocommit() as db:
        assert failed_processing.list_failures(db) == []


@pytest.mark.parametrize("body", [SEV1])
def test_no_fold_holds_a_transaction(tonight: Night, body: str) -> None:
    """While the rules run, the worker has no connection in use: they may take long."""

    class Watching(PolicySource):
        in_use: list[int] = []  # noqa: RUF012

        def fallbacks(self, database: Database, repo_id: int) -> Iterator[Policy]:
            self.in_use.append(
                database.pool.get_stats().get("pool_size", 0) - database.pool.get_stats()["pool_available"]
            )
            return super().fallbacks(database, repo_id)

        def load(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> ActivePolicy:
            return replace(super().load(database, tracker, repository, now), policy=make_odd())

    use_policies(tonight, Watching())
    tonight.github.person("grace").opens(tonight.shop, "Checkout is down", body, ["incident"])
    tonight.advance_and_settle()
    assert Watching.in_use
    assert set(Watching.in_use) == {0}
