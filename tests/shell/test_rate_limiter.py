"""GitHub's rate limits are kept by all processes together and over restarts; the most severe incident goes first."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import psycopg
import pytest
from prometheus_client import REGISTRY

import app
from app.bootstrap import Application, build
from app.core.effects import Reply, SetLabels, ShowBoard
from app.core.severity import Severity
from app.github.auth import AppKey
from app.github.client import Client
from app.ports import Deferred, DeliveryFailed, IncidentKey, Repository
from app.rate_limit import GITHUB_RATES, MemoryRateLimiter, Priority
from app.sandbox.github import Limits, SandboxGitHub
from app.sandbox.github.world import Repository as Shop
from app.store import incidents, outbox
from app.store.database import Database
from app.store.incidents import StoredIncident
from app.store.rate_limits import DatabaseRateLimiter, list_next_incident_keys
from app.worker.jobs import Queue
from app.worker.monitoring.rate_limit_metrics import update_rate_limit_gauges
from app.worker.pipeline.outbox_relay import relay_outbox
from tests.figures import Figures
from tests.shell.night import SEV1, HandClock, Night
from tests.shell.processes import start_worker, wait_until
from tests.soak import choose_size

COMMENTS_PER_INCIDENT = 8
"""Comments that wait per incident."""


def open_incident(tonight: Night) -> StoredIncident:
    """Open an incident and post its notices; return it as a template for copies."""
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    with tonight.database.transaction() as db:
        found = incidents.load_incident(db, IncidentKey(tonight.shop.id, number))
    assert found is not None
    return found


def add_pending_incident(
    github: SandboxGitHub,
    database: Database,
    shop: Shop,
    template: StoredIncident,
    severity: Severity,
    comment_count: int,
) -> int:
    """Add an incident of that severity with `comment_count` comments waiting.  Return its number."""
    number = github.person("stranger").opens(shop, f"A {severity}", None, [])
    incident_key, now = IncidentKey(shop.id, number), github.clock()
    incident = replace(template.incident, number=number, grade=replace(template.incident.grade, severity=severity))
    assert shop.installation is not None
    with database.transaction() as db:
        incidents.save_repository(db, Repository(shop.id, shop.full_name, shop.installation.id))
        incidents.save_incident(db, incident_key, StoredIncident(incident, now))
        outbox.add_effects(
            db,
            incident_key,
            [Reply(key=f"reply/{nth}", to="mona", text=f"No. {nth}") for nth in range(comment_count)],
            now,
        )
    return number


def count_unfinished(database: Database) -> int:
    with database.transaction() as db:
        row = db.execute("SELECT count(*) AS n FROM outbox WHERE state IN ('pending', 'in_flight')").fetchone()
    assert row is not None
    return int(row["n"])


@contextmanager
def another_process(tonight: Night, meanwhile: Callable[[], None] = lambda: None) -> Iterator[Application]:
    """Yield an application with its own database connections and GitHub's rate limits, on the same clock.

    When it waits, the clock moves on and `meanwhile` is called.
    """

    def wait(seconds: float) -> None:
        tonight.clock.at += timedelta(seconds=seconds)
        meanwhile()

    database = Database(tonight.database.url).open()
    application = build(
        replace(tonight.application.settings, enforce_rate_limits=True), database, tonight.clock, wait=wait
    )
    try:
        yield application
    finally:
        application.client.close()
        database.close()


def relay_due(application: Application) -> None:
    """Relay the outbox of the incidents that one sweep of a queue finds."""
    ctx = application.ctx
    with ctx.database.transaction() as db:
        incident_keys = list_next_incident_keys(db, ctx.clock(), (), ctx.max_incidents_per_installation)
    for incident_key in incident_keys:
        relay_outbox(ctx, incident_key)


def max_count_within(times: list[datetime], span: timedelta) -> int:
    """Return the largest number of times within any span of that length."""
    return max(sum(1 for at in times[nth:] if at < first + span) for nth, first in enumerate(times))


def test_c4_600_pending_comments_keep_every_limit_and_sev1_goes_first(tonight: Night, figures: Figures) -> None:
    """Two processes take turns, one sweep a second.  The quick size ends before the hour is used up.

    Eight comments per incident, since our own comment limit would defer more in an hour.
    """
    like = open_incident(tonight)
    tonight.clock.at += timedelta(hours=1)
    incident_counts = choose_size({4: 4, 3: 4, 2: 3, 1: 2}, {4: 25, 3: 25, 2: 18, 1: 7})
    numbers = {
        add_pending_incident(
            tonight.github, tonight.database, tonight.shop, like, Severity(severity), COMMENTS_PER_INCIDENT
        ): severity
        for severity, many in incident_counts.items()
        for _ in range(many)
    }
    total, began = COMMENTS_PER_INCIDENT * len(numbers), tonight.clock()
    tonight.github.hooks.settle()
    tonight.github.meter.limits = Limits.strict()
    mark = tonight.github.call_log_position()
    with another_process(tonight) as one, another_process(tonight) as two:
        processes = (one, two)
        while count_unfinished(tonight.database):
            before = tonight.clock()
            assert before - began < timedelta(seconds=2 * total + 3700), "it does not come to an end"
            relay_due(processes[before.second % 2])
            if tonight.clock() == before:
                tonight.clock.at += timedelta(seconds=1)
    times_by_incident = {
        number: [one.created_at for one in tonight.shop.issue(number).comments if one.author.kind == "Bot"]
        for number in numbers
    }
    assert {len(times) for times in times_by_incident.values()} == {COMMENTS_PER_INCIDENT}
    by_severity = {
        sev: [at for number, times in times_by_incident.items() if numbers[number] == sev for at in times]
        for sev in incident_counts
    }
    writes = [
        call.at for call in tonight.github.calls_since(mark) if call.method == "POST" and "/comments" in call.path
    ]
    assert len(writes) == total
    assert min(later - earlier for earlier, later in pairwise(writes)) >= timedelta(seconds=1)
    assert max_count_within(writes, timedelta(minutes=1)) <= 80
    assert max_count_within(writes, timedelta(hours=1)) <= 500
    assert tonight.github.meter.refused_count == 0
    assert max(by_severity[1]) - began <= timedelta(minutes=1), "sev1 in the first minute"
    for higher, lower in pairwise(sorted(by_severity)):
        assert max(by_severity[higher]) < min(by_severity[lower])
    assert writes[-1] - began <= timedelta(seconds=choose_size(total, 3700))
    closest = min((later - earlier).total_seconds() for earlier, later in pairwise(writes))
    figures.record(
        "C4",
        size=f"{total} pending comments, two processes in turn, simulated clock",
        measured=f"{closest:g} s apart or more, {max_count_within(writes, timedelta(minutes=1))}/min,"
        f" {max_count_within(writes, timedelta(hours=1))}/h, sev1 after {(max(by_severity[1]) - began).total_seconds():g} s,"
        f" all after {(writes[-1] - began).total_seconds():,g} s, {tonight.github.meter.refused_count} secondary limits",
    )


def test_c4_a_sev1_in_the_middle_of_the_hour_finds_its_part(tonight: Night) -> None:
    """While all others wait for the hour to pass, 100 comments of sev1 take 100 seconds."""
    like = open_incident(tonight)
    tonight.clock.at += timedelta(hours=1)
    with another_process(tonight) as application:
        assert tonight.shop.installation is not None
        limiter = DatabaseRateLimiter(tonight.database, GITHUB_RATES)
        for _ in range(400):
            assert limiter.acquire(tonight.installation, "POST", Priority(Severity.SEV2), tonight.clock()) == 0
            limiter.record_response(tonight.installation, "POST", None, tonight.clock())
            tonight.clock.at += timedelta(seconds=1)
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV3, 5)
        worst = [
            add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 5)
            for _ in range(choose_size(8, 20))
        ]
        began = tonight.clock()
        while count_unfinished(tonight.database) > 5 and tonight.clock() < began + timedelta(seconds=300):
            before = tonight.clock()
            relay_due(application)
            if tonight.clock() == before:
                tonight.clock.at += timedelta(seconds=1)
        times = [one.created_at for number in worst for one in tonight.shop.issue(number).comments]
        assert len(times) == choose_size(40, 100)
        assert max(times) - began <= timedelta(seconds=choose_size(40, 100))
        relay_due(application)
        assert count_unfinished(tonight.database) == 5, "they wait for the hour to pass"

        update_rate_limit_gauges(application.ctx, tonight.clock())
        label = {"installation": str(tonight.installation)}
        assert REGISTRY.get_sample_value("muster_outbox_pending", label) == 5
        until = REGISTRY.get_sample_value("muster_rate_limit_deferred_until_seconds", label)
        assert until is not None
        assert 3000 < until - began.timestamp() < 3300
        left = REGISTRY.get_sample_value("muster_github_budget", label)
        assert left is not None
        assert 0.9 < left < 1
        assert all(state["attempts"] == 0 for state in list_unfinished(tonight.database)), (
            "deferred items count no attempt"
        )


def list_unfinished(database: Database) -> list[dict[str, int]]:
    with database.transaction() as db:
        return db.execute("SELECT attempts FROM outbox WHERE state IN ('pending', 'in_flight')").fetchall()


RESET_EPOCH_SECONDS = int(HandClock.at_default_start().at.timestamp()) + 1700


@pytest.mark.parametrize(
    ("status", "headers", "seconds"),
    [
        (403, {"Retry-After": "37"}, 37),
        (429, {"Retry-After": "37"}, 37),
        (429, {}, 60),
        (403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(RESET_EPOCH_SECONDS)}, 1700),
        (403, {"Retry-After": "9" * 10}, 86400),
    ],
)
def test_c3_that_installation_is_quiet_to_the_second_and_after_a_restart(
    tonight: Night, status: int, headers: dict[str, str], seconds: int
) -> None:
    """Every process keeps the pause of that installation; other installations are served as before."""
    site = tonight.github.add_repository("acme/site")
    assert site.installation is not None
    with another_process(tonight) as first:
        tonight.github.faults.add("status", status=status, headers=headers, path="octo/shop")
        with pytest.raises(DeliveryFailed) as met:
            request(first.client, tonight.installation, "/repos/octo/shop/issues")
        assert met.value.retry_after == seconds
    began, mark = tonight.clock(), tonight.github.call_log_position()
    with another_process(tonight) as second:
        for passed in (0.0, 1.0, seconds / 2, seconds - 0.001):
            tonight.clock.at = began + timedelta(seconds=passed)
            for method in ("GET", "POST"):
                if seconds - passed > 3:
                    with pytest.raises(Deferred) as refused:
                        request(second.client, tonight.installation, "/repos/octo/shop/issues", method)
                    assert refused.value.retry_after == pytest.approx(seconds - passed)
            assert second.client.call(site.installation.id, "GET", "/repos/acme/site").status == 200
        early_calls = [call for call in tonight.github.calls_since(mark) if "octo/shop" in call.path]
        assert early_calls == []
        tonight.clock.at = began + timedelta(seconds=seconds - 2)
        assert second.client.call(tonight.installation, "GET", "/repos/octo/shop").status == 200
    (call,) = [call for call in tonight.github.calls_since(mark) if "octo/shop" in call.path]
    assert call.at - began == timedelta(seconds=seconds), "a short rest is waited out in place, to the second"


def request(client: Client, installation: int, path: str, method: str = "GET") -> None:
    client.call(installation, method, path, json={"title": "x"} if method == "POST" else None)


def test_c3_the_app_itself_is_limited_and_asks_for_no_token(tonight: Night) -> None:
    """The limit of 2,000 tokens an hour belongs to the App: it applies to every token requested later."""
    with another_process(tonight) as application:
        tonight.github.meter.limits = Limits(tokens_per_hour=0)
        tonight.github.faults.add("status", status=403, headers={"Retry-After": "90"}, path="/access_tokens")
        with pytest.raises(DeliveryFailed) as met:
            request(application.client, tonight.installation, "/repos/octo/shop")
        assert met.value.retry_after == 90
        mark = tonight.github.call_log_position()
        tonight.clock.at += timedelta(seconds=80)
        with pytest.raises(Deferred):
            request(application.client, tonight.installation, "/repos/octo/shop")
        assert tonight.github.calls_since(mark) == []
        tonight.github.meter.limits = Limits()
        tonight.clock.at += timedelta(seconds=10)
        request(application.client, tonight.installation, "/repos/octo/shop")


def test_c6_a_token_that_ends_in_the_middle_of_a_batch_is_renewed_once(tonight: Night) -> None:
    """Eight threads get a 401 at once: one of them requests a new token, and all continue."""
    key = AppKey(tonight.github.app.app_id, tonight.github.app.private_key_pem)
    client = Client(tonight.github.api_url, key, tonight.clock)
    try:
        request(client, tonight.installation, "/repos/octo/shop")
        tonight.github.auth._tokens.clear()
        mark = tonight.github.call_log_position()
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda _: request(client, tonight.installation, "/repos/octo/shop"), range(8)))
        calls = tonight.github.calls_since(mark)
        assert len([call for call in calls if "access_tokens" in call.path]) == 1
        assert len([call for call in calls if call.status == 200]) == 8
        assert len([call for call in calls if call.status == 401]) >= 1
    finally:
        client.close()


def test_c6_an_installation_suspended_for_days_loses_nothing(tonight: Night) -> None:
    """One call probes whether access is back, at most four times an hour, and none counts as an attempt."""
    like = open_incident(tonight)
    numbers = [
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, severity, 2)
        for severity in (Severity.SEV2, Severity.SEV3, Severity.SEV4)
    ]
    tonight.github.suspend("octo")
    tonight.github.hooks.settle()
    mark, began, hours = tonight.github.call_log_position(), tonight.clock(), choose_size(30, 72)
    with another_process(tonight) as application:
        while tonight.clock() < began + timedelta(hours=hours):
            relay_due(application)
            tonight.clock.at += timedelta(hours=3)
        assert count_unfinished(tonight.database) == 6
        assert len(tonight.github.calls_since(mark)) <= hours // 3 + 1, "one call a look"
        tonight.github.unsuspend("octo")
        back = tonight.clock()
        while count_unfinished(tonight.database) and tonight.clock() < back + timedelta(hours=1):
            relay_due(application)
            tonight.clock.at += timedelta(seconds=1)
    assert tonight.clock() - back < timedelta(minutes=16)
    assert [len(tonight.notices(number)) for number in numbers] == [2, 2, 2]


def test_a_turn_that_is_near_is_waited_for_in_place(tonight: Night) -> None:
    """Calls go out one a second; if the clock does not move, the caller gets `Deferred` instead of waiting on."""
    waited: list[float] = []

    def wait(seconds: float) -> None:
        waited.append(seconds)
        tonight.clock.at += timedelta(seconds=seconds)

    key = AppKey(tonight.github.app.app_id, tonight.github.app.private_key_pem)
    client = Client(
        tonight.github.api_url, key, tonight.clock, rate_limiter=MemoryRateLimiter(GITHUB_RATES), sleep=wait
    )
    stuck = Client(
        tonight.github.api_url, key, tonight.clock, rate_limiter=MemoryRateLimiter(GITHUB_RATES), sleep=waited.append
    )
    try:
        for _ in range(3):
            request(client, tonight.installation, "/repos/octo/shop/issues", "POST")
        assert waited == [1.0, 1.0]
        request(stuck, tonight.installation, "/repos/octo/shop/issues", "POST")
        waited.clear()
        with pytest.raises(Deferred) as refused:
            request(stuck, tonight.installation, "/repos/octo/shop/issues", "POST")
        assert (refused.value.retry_after, waited) == (1.0, [1.0, 1.0, 1.0])
    finally:
        client.close()
        stuck.close()


def test_a_sev3_in_the_middle_of_its_comments_gives_way(tonight: Night) -> None:
    """A sev1 arrives while the sev3 is being relayed: the next turn is the sev1's, the others follow."""
    like = open_incident(tonight)
    tonight.clock.at += timedelta(hours=1)
    lesser = add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV3, 5)
    worst = list[int]()

    def meanwhile() -> None:
        if not worst:
            worst.append(add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 2))

    mark = tonight.github.call_log_position()
    with another_process(tonight, meanwhile) as application:
        while count_unfinished(tonight.database):
            relay_due(application)
            tonight.clock.at += timedelta(seconds=1)
    calls = [call for call in tonight.github.calls_since(mark) if call.path.endswith("/comments")]
    assert [int(call.path.split("/")[-2]) for call in calls] == [lesser, *worst * 2, *[lesser] * 4]


def test_a_board_that_gives_way_holds_up_no_comment_of_its_incident(tonight: Night) -> None:
    """GitHub is back: this incident's reply is due in three seconds; the board lets ten others go first meanwhile."""
    like = open_incident(tonight)
    for _ in range(10):
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 1)
    number = add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 1)
    incident_key, soon = IncidentKey(tonight.shop.id, number), tonight.clock() + timedelta(seconds=3)
    with tonight.database.transaction() as db:
        incidents.record_board(db, incident_key, 1, "")
        outbox.add_effects(db, incident_key, [ShowBoard()], tonight.clock())
        (reply, _) = outbox.list_unfinished(db, incident_key, tonight.clock())
        outbox.retry_at(db, reply, soon, "GitHub was away", outcome_unknown=False)
    with another_process(tonight) as application:
        relay_outbox(application.ctx, incident_key)
        with tonight.database.transaction() as db:
            said, board = outbox.list_unfinished(db, incident_key, soon)
        assert (said.due, board.due) == (True, False)
        tonight.clock.at = soon
        relay_outbox(application.ctx, incident_key)
    assert [comment.body.splitlines()[0] for comment in tonight.shop.issue(number).comments] == ["@mona No. 0"]


def test_what_is_to_be_said_goes_before_labels_of_the_same_severity(tonight: Night) -> None:
    """The labels of one incident are the oldest outbox item, and wait until all comments have been posted."""
    like = open_incident(tonight)
    first = add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 0)
    effects = SetLabels(labels=frozenset({"sev1"})), Reply(key="reply/0", to="mona", text="No. 0")
    with tonight.database.transaction() as db:
        outbox.add_effects(db, IncidentKey(tonight.shop.id, first), effects, tonight.clock())
    others = [
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 1) for _ in range(4)
    ]
    mark = tonight.github.call_log_position()
    with another_process(tonight) as application:
        while count_unfinished(tonight.database):
            relay_due(application)
            tonight.clock.at += timedelta(seconds=1)
    calls = [call.path.split("/")[-2:] for call in tonight.github.calls_since(mark) if call.method != "GET"]
    said = [int(number) for number, what in calls if what == "comments"]
    assert sorted(said) == [first, *others]
    assert calls[-1] == [str(first), "labels"]


def test_labels_that_wait_for_their_turn_are_no_quarrel_about_labels(tonight: Night) -> None:
    """Ten times another call goes first; then the labels are set at once, since they were never written before."""
    like = open_incident(tonight)
    number = add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 0)
    incident_key = IncidentKey(tonight.shop.id, number)
    with tonight.database.transaction() as db:
        outbox.add_effects(db, incident_key, [SetLabels(labels=frozenset({"sev1"}))], tonight.clock())
    application = build(
        replace(tonight.application.settings, enforce_rate_limits=True),
        tonight.database,
        tonight.clock,
        wait=lambda _: None,
    )
    faster = application.client.with_priority(Priority(Severity.SEV1))
    try:
        for _ in range(10):
            request(faster, tonight.installation, "/repos/octo/shop/issues", "POST")
            relay_outbox(application.ctx, incident_key)
            assert not tonight.labels(number)
            tonight.clock.at += timedelta(seconds=1)
        relay_outbox(application.ctx, incident_key)
    finally:
        application.client.close()
    assert tonight.labels(number) == {"sev1"}


def test_an_order_that_nobody_gets_to_holds_up_no_other(tonight: Night) -> None:
    """A sev1 whose job keeps failing: the others give way for two minutes, then they continue."""
    like = open_incident(tonight)
    add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 1)
    limiter = DatabaseRateLimiter(tonight.database, GITHUB_RATES)
    began = tonight.clock()
    waits = [
        limiter.acquire(tonight.installation, "POST", Priority(Severity.SEV2), began + timedelta(seconds=seconds))
        for seconds in (0, 60, 119, 120)
    ]
    assert waits == [1, 1, 1, 0]


def test_a_row_of_incidents_waits_in_order_of_severity(tonight: Night) -> None:
    """The queue gets the first few incidents of each installation, without those it excludes."""
    like = open_incident(tonight)
    many = [
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, severity, 1)
        for severity in (Severity.SEV4, Severity.SEV2, Severity.SEV1, Severity.SEV2, Severity.SEV3)
    ]
    site = tonight.github.add_repository("acme/site")
    other = add_pending_incident(tonight.github, tonight.database, site, like, Severity.SEV4, 1)
    incident_keys = [IncidentKey(tonight.shop.id, number) for number in many]
    with tonight.database.transaction() as db:
        next_keys = list_next_incident_keys(db, tonight.clock(), (), 3)
        next_other_keys = list_next_incident_keys(db, tonight.clock(), (incident_keys[2],), 3)
    assert next_keys == [incident_keys[2], incident_keys[1], incident_keys[3], IncidentKey(site.id, other)]
    assert next_other_keys == [incident_keys[1], incident_keys[3], incident_keys[4], IncidentKey(site.id, other)]


def test_others_are_served_while_one_installation_waits(tonight: Night) -> None:
    """With the workers of a real queue, one installation that waits delays no other."""
    like = open_incident(tonight)
    site = tonight.github.add_repository("acme/site")
    for _ in range(12):
        add_pending_incident(tonight.github, tonight.database, tonight.shop, like, Severity.SEV1, 3)
    other = add_pending_incident(tonight.github, tonight.database, site, like, Severity.SEV4, 1)
    clock = RunningClock(tonight.clock())
    application = build(replace(tonight.application.settings, enforce_rate_limits=True), tonight.database, clock)
    with run_queue(Queue(application.ctx, poll_interval_seconds=0.2)):
        assert wait_until(lambda: len(site.issue(other).comments) == 1, 8)
        assert count_unfinished(tonight.database) > 20, "the others have not even begun"
    application.client.close()


class RunningClock:
    """A clock that starts at a given time and runs as fast as the real one."""

    def __init__(self, at: datetime) -> None:
        self._at, self._began = at, time.monotonic()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._began)


@contextmanager
def run_queue(queue: Queue) -> Iterator[None]:
    """Run the queue in a thread of its own meanwhile."""
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(queue.run)
        try:
            yield
        finally:
            queue.stop()
            running.result(30)


def now() -> datetime:
    return datetime.now(UTC)


def list_write_times(github: SandboxGitHub, name: str, since: int = 0) -> list[datetime]:
    return [one.at for one in github.calls_since(since) if one.method == "POST" and f"{name}/issues" in one.path]


def test_c3_c4_two_real_workers_share_the_limits_and_remember_them_when_killed(
    tonight: Night, tmp_path: Path, figures: Figures
) -> None:
    """Both together write once a second; GitHub asks for a pause, both are killed, and their successors keep it."""
    like, seconds = open_incident(tonight), choose_size(4, 37)
    with SandboxGitHub(now, tonight.github.app, limits=Limits.strict()) as github, ExitStack() as stack:
        github.add_person("stranger")
        shop, site = github.add_repository("octo/shop"), github.add_repository("acme/site")
        with tonight.database.transaction() as db:
            db.execute("TRUNCATE outbox, incident, alarm, repository")
        for _ in range(6):
            add_pending_incident(github, tonight.database, shop, like, Severity.SEV3, choose_size(4, 30))
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(Path(app.__file__).parents[1]),
            "DATABASE_URL": tonight.database.url,
            "GITHUB_API_URL": github.api_url,
            "GITHUB_APP_ID": str(github.app.app_id),
            "GITHUB_APP_PRIVATE_KEY": github.app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": github.app.webhook_secret,
            "MUSTER_PACE": "github",
        }
        both = [stack.enter_context(start_worker(environment, tmp_path)) for _ in range(2)]
        assert wait_until(
            lambda: len(list_write_times(github, "octo/shop")) >= choose_size(3, 60), choose_size(60, 240)
        )
        github.faults.add("status", status=403, headers={"Retry-After": str(seconds)}, path="octo/shop", method="POST")
        assert wait_until(lambda: load_pause_end(tonight.database) is not None, 10)
        for process in both:
            os.kill(process.pid, signal.SIGKILL)
        until = load_pause_end(tonight.database)
        assert until is not None
        other = add_pending_incident(github, tonight.database, site, like, Severity.SEV4, 1)
        for _ in range(2):
            stack.enter_context(start_worker(environment, tmp_path))
        assert wait_until(lambda: len(site.issue(other).comments) == 1, 20), "the other installation is served"
        served = now()
        assert wait_until(lambda: max(list_write_times(github, "octo/shop")) > until, seconds + 25)
        call_times = [one.at for one in github.calls_since() if "octo/shop" in one.path]
        pause = until - timedelta(seconds=seconds), until
        assert [at for at in call_times if pause[0] + timedelta(milliseconds=200) < at < pause[1]] == []
        assert served < until or seconds < 10
        every = list_write_times(github, "octo/shop")
        closest = min((later - earlier).total_seconds() for earlier, later in pairwise(every))
        assert closest >= 1, "as GitHub sees them, from both together"
        assert github.meter.refused_count == 0
        figures.record(
            "C3",
            size=f"two real workers killed and followed by two others, {len(every)} writes, 403 with retry-after {seconds}",
            measured=f"0 calls until {seconds} s were over, the other served; writes {closest:.3f} s apart or more,"
            f" {github.meter.refused_count} secondary limits",
        )


def load_pause_end(database: Database) -> datetime | None:
    with database.transaction() as db:
        row = db.execute("SELECT max(paused_until) AS until FROM rate_limit WHERE paused_until IS NOT NULL").fetchone()
    return row["until"] if row else None


def test_a_process_that_is_stopped_with_the_ledger_in_its_hands_keeps_nobody_waiting_for_long(
    database: Database,
) -> None:
    """PostgreSQL ends its idle transaction, and what it would write afterwards is refused."""
    stopped = Database(database.url, idle_timeout_seconds=0.2).open()
    limiter, now = DatabaseRateLimiter(database, GITHUB_RATES), datetime.now(UTC)
    quiet = pytest.approx(5.0, abs=0.1)
    limiter.record_limit(1, 5.0, now)

    def continue_stopped() -> None:
        with stopped.transaction() as db:
            db.execute("SELECT * FROM rate_limit FOR UPDATE")
            assert limiter.acquire(1, "GET", Priority(), now) == quiet  # waits for the lock until it is released
            db.execute("DELETE FROM rate_limit")

    try:
        with pytest.raises(psycopg.Error):
            continue_stopped()
        assert limiter.acquire(1, "GET", Priority(), now) == quiet
    finally:
        stopped.close()
