"""GitHub is down for hours or half down: alarms and messages stay in time, and its return causes no flood."""

from __future__ import annotations

import os
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

import httpx
import pytest

from app.bootstrap import build
from app.core.effects import Escalate
from app.github.circuit_breaker import CircuitBreaker
from app.ports import IncidentKey, Repository
from app.render import channel_message
from app.store import channel_outbox
from app.store.database import Database
from app.worker.jobs import Queue
from app.worker.pipeline.retry_policy import MAX_RETRY_SECONDS, backoff_seconds
from tests.figures import Figures
from tests.shell.night import POLICY, SEV1, HandClock, Night, Wire, run_night
from tests.shell.processes import count_rows as rows
from tests.shell.processes import read_log_tail, start_worker, wait_until
from tests.shell.sink import SECRET, ReceivedRequest, Sink, SinkResponse, connect_sink, run_sink
from tests.shell.storm import now
from tests.soak import choose_size

LEVEL_COUNT = 4
FOUR_LEVEL_POLICY = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\n"
    + "severities: {sev1: {acknowledge: 10m, commander: off, respond: off, update: off, resolve: 3h}}\n"
    + "audiences: {executives: off}\n"
    + "channels: {ops: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [chat]}}\n"
    + "escalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "".join(f"    - {{after: {15 * n}m, to: level-{n}, via: chat}}\n" for n in range(1, LEVEL_COUNT + 1))
).replace("  cto: [grace]\n", "  cto: [grace]\n" + "".join(f"  level-{n}: [ada]\n" for n in range(1, LEVEL_COUNT + 1)))
"""A policy with four levels, one every 15 minutes; each goes out by chat, and nothing else does."""


class CuttableWire(Wire):
    """A wire that can be cut; connections are then refused by the operating system."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False
        self.requested_paths: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._closed_port = probe.getsockname()[1]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requested_paths.append(request.url.path)
        if self.cut:
            request.url = request.url.copy_with(port=self._closed_port)
        return super().handle_request(request)


@contextmanager
def night_on_cuttable_wire(
    database: Database, policy: str = FOUR_LEVEL_POLICY
) -> Iterator[tuple[Night, CuttableWire, Sink]]:
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as ours:
        line = CuttableWire()
        tonight.wire = line
        connect_sink(tonight, ours)
        try:
            yield tonight, line, ours
        finally:
            line.end()


def open_incidents(tonight: Night, count: int) -> list[int]:
    person = tonight.github.person("ada")  # reports of people without rights page only once in ten minutes
    numbers = [person.opens(tonight.shop, f"Checkout {n} is down", SEV1, ["incident"]) for n in range(count)]
    tonight.settle()
    return numbers


def load_alarms(tonight: Night, number: int) -> dict[str, datetime]:
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT key, due FROM alarm WHERE number = %s", (number,)).fetchall()
    return {row["key"]: row["due"] for row in rows}


def count_unfinished(tonight: Night) -> int:
    with tonight.database.transaction() as db:
        row = db.execute("SELECT count(*) AS n FROM outbox WHERE state IN ('pending', 'in_flight')").fetchone()
    assert row is not None
    found: int = row["n"]
    return found


@pytest.mark.timeout(choose_size(300, 3600))
def test_c1_two_hours_without_github_and_fifty_open_incidents(
    database: Database, elsewhere: Night, figures: Figures
) -> None:
    with night_on_cuttable_wire(database) as (tonight, line, ours):
        count = choose_size(4, 50)
        numbers = open_incidents(tonight, count)
        tonight.clock.at += timedelta(seconds=30)
        tonight.settle()
        before = {number: len(tonight.shop.issue(number).comments) for number in numbers}
        mark = tonight.github.call_log_position()
        line.cut = True
        declared = HandClock.at_default_start().at
        step = timedelta(minutes=5)
        tonight.clock.at = declared
        while tonight.clock.at < declared + timedelta(hours=2):
            tonight.clock.at += step
            tonight.settle()

        assert tonight.github.calls_since(mark) == [], "not one call got through, so not one comment"
        assert len(ours.requests) == count * LEVEL_COUNT == choose_size(16, 200)
        assert Counter((one.payload["incident"]["number"], one.payload["at"]) for one in ours.requests) == {
            (number, f"{declared + timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%SZ}"): 1
            for number in numbers
            for n in range(1, LEVEL_COUNT + 1)
        }
        assert {one.at - datetime.fromisoformat(one.payload["at"]) for one in ours.requests} == {timedelta()}, (
            "all on time"
        )

        line.cut = False
        back = tonight.clock.at
        throttle_writes(tonight)
        while count_unfinished(tonight) and tonight.clock.at < back + timedelta(minutes=5):
            tonight.clock.at += timedelta(seconds=1)
            tonight.settle()
        drained_seconds = (tonight.clock.at - back).total_seconds()
        last = max(tonight.shop.issue(number).comments[-1].created_at for number in numbers)
        last_comment_seconds = (last - back).total_seconds()
        assert last_comment_seconds <= 60, "every comment within a minute"
        assert drained_seconds <= 60 + 3 * count + 10, "and labels and boards, which give way to them, a second each"
        for number in numbers:
            (comment,) = tonight.shop.issue(number).comments[before[number] :]
            assert f"escalated to level-{LEVEL_COUNT}" in comment.body.splitlines()[0], "the level that was reached"
        assert len(ours.requests) == count * LEVEL_COUNT, "and nothing is sent again"

        undisturbed = load_alarms_without_outage(elsewhere, tonight.clock.at)
        assert undisturbed
        for number in numbers:
            assert load_alarms(tonight, number) == undisturbed
        figures.record(
            "C1",
            size=f"{count} open incidents, 2 h without connections, {LEVEL_COUNT} levels, simulated clock, one write a second",
            measured=f"0 comments, {len(ours.requests)} messages, max 0 s late; {count} comments, one per incident, after"
            f" {last_comment_seconds:g} s; labels and boards too, a write a second, after {drained_seconds:g} s",
        )
        tonight.restart()
        warning_at = declared + timedelta(minutes=144)  # 80 % of three hours
        tonight.clock.at = warning_at - timedelta(minutes=1)
        tonight.settle()
        notice_count = len(tonight.notices(numbers[0]))
        tonight.clock.at = warning_at
        tonight.settle()
        assert len(tonight.notices(numbers[0])) == notice_count + 1, "the next deadline as if nothing had been"


def throttle_writes(tonight: Night) -> None:
    """Enforce one write a second from here on, as on github.com; only the hand clock passes the time."""
    tonight.application.client.close()
    settings = replace(tonight.application.settings, enforce_rate_limits=True)
    tonight.application = build(
        settings,
        tonight.database,
        tonight.clock,
        transport=tonight.wire,
        http_client=tonight.http_client,
        wait=lambda _: None,
    )


def load_alarms_without_outage(elsewhere: Night, until: datetime) -> dict[str, datetime]:
    """Return the alarms of the same incident where GitHub was never down."""
    elsewhere.github.person("ada").pushes(elsewhere.shop, ".github/incidents.yml", FOUR_LEVEL_POLICY)
    elsewhere.settle()
    (number,) = open_incidents(elsewhere, 1)
    while elsewhere.clock.at < until:
        elsewhere.clock.at = min(until, elsewhere.clock.at + timedelta(minutes=5))
        elsewhere.settle()
    return load_alarms(elsewhere, number)


class FlakyWire(Wire):
    """A wire that answers some calls with 502, a third of those after GitHub has carried them out."""

    def __init__(self, failure_share: float) -> None:
        super().__init__()
        self.failure_share = failure_share
        self.calls = self.failed = 0
        self._dice = random.Random(20260314)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self._dice.random() >= self.failure_share:
            return super().handle_request(request)
        self.failed += 1
        if self._dice.random() < 1 / 3:
            super().handle_request(request)
        return httpx.Response(502, request=request, text="<html>Bad Gateway</html>")


@pytest.mark.timeout(choose_size(300, 3600))
def test_c2_three_calls_in_ten_fail_for_an_hour(database: Database, figures: Figures) -> None:
    with run_night(database, FOUR_LEVEL_POLICY) as tonight, run_sink(tonight.clock) as ours:
        wire = tonight.wire = FlakyWire(0.3)
        connect_sink(tonight, ours)
        mona = tonight.github.person("mona")
        began, numbers, turn = tonight.clock.at, list[int](), 0
        commands = (
            "/ack",
            "/update it is the cache",
            "/severity sev2 fewer are affected",
            "/nonsense",
            "/resolve restarted",
        )
        while tonight.clock.at < began + timedelta(hours=1):
            minute = (tonight.clock.at - began) // timedelta(minutes=1)
            if len(numbers) < choose_size(5, 30) and minute >= len(numbers):
                numbers += [tonight.github.person("stranger").opens(tonight.shop, "It is down", SEV1, ["incident"])]
            elif minute >= 20 + 5 * turn and turn < len(commands):
                for number in numbers:
                    mona.comments(tonight.shop, number, commands[turn])
                turn += 1
            tonight.clock.at += timedelta(seconds=10)
            tonight.settle()
        assert turn == len(commands)
        assert 0.25 < wire.failed / wire.calls < 0.35
        wire.failure_share = 0
        tonight.run_for(minutes=2)
        assert count_unfinished(tonight) == 0
        with database.transaction() as db:
            found = db.execute("SELECT key, state, attempts FROM outbox WHERE channel = ''").fetchall()
        assert {row["state"] for row in found} <= {"done", "skipped"}, "all effects done"
        assert max(row["attempts"] for row in found) <= 8
        assert sum(row["attempts"] > 1 for row in found) > len(numbers), "it was no easy hour"
        for number in numbers:
            tonight.board(number)
            keys = tonight.list_posted_keys(number)
            assert len(keys) == len(set(keys)), "and none of them twice"
            assert {"incident", "sev2", "resolved"} <= tonight.labels(number)
        assert len({one.key for one in ours.requests}) == len(ours.requests)
        figures.record(
            "C2",
            size=f"an hour with {len(numbers)} incidents, {wire.failed:,} of {wire.calls:,} calls failed",
            measured=f"{len(found):,} effects done, none twice, at most {max(row['attempts'] for row in found)} tries",
        )
        wire.end()


def test_c2_waits_double_and_no_two_are_alike() -> None:
    keys = [f"1#{n} page/0m.1" for n in range(1000)]
    firsts = sorted(backoff_seconds(1, key, 5.0) for key in keys)
    assert 5.0 <= firsts[0] < 5.1
    assert 6.15 < firsts[-1] <= 6.25
    assert len(set(firsts)) == 1000
    for key in keys:
        waits = [backoff_seconds(n, key, 5.0) for n in range(1, 30)]
        assert all(later == 2 * sooner for sooner, later in pairwise(waits[:4]))
        assert max(waits) <= MAX_RETRY_SECONDS
        assert waits == sorted(waits)


def test_c2_each_wait_is_twice_the_one_before(database: Database, figures: Figures) -> None:
    with night_on_cuttable_wire(database) as (tonight, line, _):
        (number,) = open_incidents(tonight, 1)
        tonight.advance_and_settle()
        tonight.github.faults.add("status", status=502, path="/reactions", times=7)
        tonight.github.person("mona").comments(tonight.shop, number, "/ack")
        tries = list[datetime]()
        for _ in range(300):
            line.requested_paths.clear()
            tonight.settle()
            if any("/reactions" in path for path in line.requested_paths):
                tries.append(tonight.clock.at)
            tonight.clock.at += timedelta(seconds=1)
        waits = [(b - a).total_seconds() for a, b in pairwise(tries)]
        assert len(waits) == 7
        assert 2 <= waits[0] <= 4
        assert all(later >= 2 * sooner - 2 for sooner, later in pairwise(waits[:4])), (
            waits
        )  # the clock ticks in seconds
        assert max(waits) <= 61
        assert count_unfinished(tonight) == 0
        figures.record(
            "C2",
            size="seven failures in a row, simulated clock",
            measured=f"waits of {', '.join(f'{wait:g}' for wait in waits)} s",
        )


class RunningClock:
    """A clock that starts at a given time, runs like the wall clock, and can be advanced."""

    def __init__(self, at: datetime) -> None:
        self._at = at
        self._began = time.monotonic()

    def __call__(self) -> datetime:
        return self._at + timedelta(seconds=time.monotonic() - self._began)

    def advance(self, length: timedelta) -> None:
        self._at += length


@pytest.mark.timeout(choose_size(300, 3600))
def test_row12_notifications_are_tried_in_time_while_one_in_a_hundred_goes_wrong(
    database: Database, tmp_path: Path, figures: Figures
) -> None:
    """Real workers in real time, one per core; at the quick size one worker, and one fault in forty."""
    count, spread, workers = choose_size((300, 1.5, 1), (100_000, 700.0, os.cpu_count() or 1))
    with run_night(database, FOUR_LEVEL_POLICY) as tonight, run_sink(now) as ours, ExitStack() as stack:
        connect_sink(tonight, ours)
        tonight.clock.at = now().replace(microsecond=0)
        numbers = open_incidents(tonight, 5)
        due = add_notifications(tonight, numbers, count, timedelta(seconds=spread / count))
        app = tonight.github.app
        environment = {
            "DATABASE_URL": database.url,
            "GITHUB_API_URL": tonight.github.api_url,
            "GITHUB_APP_ID": str(app.app_id),
            "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": app.webhook_secret,
            "CHANNEL_OPS_SECRET": SECRET,
            "SINK": f"http://127.0.0.1:{ours.port}/",
        }
        ours.choose_response = answer_with_faults(one_in=choose_size(40, 100))
        for _ in range(workers):
            stack.enter_context(start_worker(environment, tmp_path, lease=30.0, dead_after=10.0))
        assert wait_until(lambda: rows(database, "FROM procrastinate_workers") == workers), read_log_tail(tmp_path)
        begins = make_due_from(database, now() + timedelta(seconds=1))
        ends = begins + timedelta(seconds=spread + 120)
        time.sleep(spread)  # counting the unsent ones would cost time that the workers need
        assert wait_until(lambda: not rows(database, UNSENT_NOTIFICATIONS) or now() > ends, 180)
        first = dict[str, datetime]()
        for one in ours.requests:
            first.setdefault(one.key, one.at)
        late = [(first.get(key, ends) - begins - after).total_seconds() for key, after in due.items()]
        in_time = sum(seconds <= 60 for seconds in late)
        assert min(late) >= 0, "and none before its time"
        assert in_time >= 0.9999 * count
        assert {one.key for one in ours.accepted} == due.keys(), "in the end, every one"
        assert len(ours.requests) > count, "something did go wrong"
        doubled = Counter(one.key for one in ours.accepted)
        assert max(doubled.values()) == 1
        figures.record(
            "Row 12",
            size=f"{count:,} notifications due evenly over {spread:g} s, one try in {choose_size(40, 100)} goes wrong, real time,"
            f" {workers} {'worker' if workers == 1 else 'workers'}",
            measured=f"{100 * in_time / count:.3f} % attempted within 60 s, median {sorted(late)[count // 2]:.3f} s,"
            f" max {max(late):.1f} s; {len(doubled):,} delivered, none twice",
        )


UNSENT_NOTIFICATIONS = "FROM outbox WHERE key LIKE 'simulated/%' AND state IN ('pending', 'in_flight')"


def answer_with_faults(one_in: int) -> Callable[[ReceivedRequest], SinkResponse]:
    """Answer the first try of every `one_in`th message with a fault.

    In turn: an error, a rate limit, a broken connection, and one that hangs.
    """
    seen, lock = Counter[str](), threading.Lock()
    faults: list[SinkResponse] = [(500, {}), (429, {"Retry-After": "1"}), (0, {}), (-1, {})]

    def answer(heard: ReceivedRequest) -> SinkResponse:
        with lock:
            new = heard.key not in seen
            seen[heard.key] += 1
            bad = new and len(seen) % one_in == 0
            fault = faults[len(seen) // one_in % len(faults)]
        if not bad:
            return 204, {}
        if fault[0] < 0:
            time.sleep(6)
            return 0, {}
        return fault

    return answer


FAR_FUTURE_OFFSET = timedelta(days=365)


def add_notifications(tonight: Night, numbers: list[int], count: int, interval: timedelta) -> dict[str, timedelta]:
    """Add `count` messages, one each `interval`, none of them due within a year.

    Return how long after the first each is due, by its key.
    """
    ctx, at = tonight.application.ctx, tonight.clock() + FAR_FUTURE_OFFSET
    repository = Repository(tonight.shop.id, "octo/shop", tonight.installation)
    policy = ctx.policies.load_cached(ctx.database, repository)
    notice = Escalate(key="simulated", to=("ada",), at=at, contacts=("level-1",), because="nobody answered")
    with ctx.database.transaction() as db:
        for number in numbers:
            text = channel_message(notice, tonight.incident(number), policy, at, key="simulated")
            assert channel_outbox.add_message(db, IncidentKey(tonight.shop.id, number), notice, "ops", text, at)
        # Copy these in SQL: inserting a hundred thousand one by one takes a minute.
        made = db.execute(
            "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before, channel, message)"
            " SELECT repo_id, number, 'simulated/' || nth, kind, jsonb_set(data, '{key}', to_jsonb('simulated/' || nth)),"
            " created_at, not_before + %(apart)s * nth, channel, jsonb_set(message, '{key}', to_jsonb('simulated/' || nth))"
            " FROM outbox, generate_series(0, %(last)s) AS nth"
            " WHERE key = 'simulated>ops' AND number = (%(numbers)s::bigint[])[1 + nth %% %(many)s]",
            {"apart": interval, "last": count - 1, "numbers": numbers, "many": len(numbers)},
        )
        assert made.rowcount == count
        db.execute("DELETE FROM outbox WHERE key = 'simulated>ops'")
    return {f"simulated/{nth}": interval * nth for nth in range(count)}


def make_due_from(database: Database, begins: datetime) -> datetime:
    """Move the messages so that the first is due at `begins`, once the workers are there; keep their distances."""
    with database.transaction() as db:
        db.execute(
            "UPDATE outbox SET not_before = %(begins)s + (not_before - first), created_at = %(begins)s + (not_before - first)"
            " FROM (SELECT min(not_before) AS first FROM outbox WHERE key LIKE 'simulated/%%') AS row"
            " WHERE key LIKE 'simulated/%%'",
            {"begins": begins},
        )
    return begins


class HangingWire(Wire):
    """A wire that, from a moment on, accepts every call and never answers."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__()
        self.hanging = False
        self.calls = 0
        self._timeout_seconds = timeout_seconds

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.hanging:
            return super().handle_request(request)
        self.calls += 1
        time.sleep(self._timeout_seconds)
        raise httpx.ReadTimeout("nothing came", request=request)


def test_messages_are_in_time_while_github_hangs(database: Database) -> None:
    with run_night(database, FOUR_LEVEL_POLICY) as tonight, run_sink(tonight.clock) as ours:
        wire = tonight.wire = HangingWire(timeout_seconds=3.0)
        connect_sink(tonight, ours)
        numbers = open_incidents(tonight, 24)
        tonight.advance_and_settle()
        wire.hanging = True
        clock = RunningClock(tonight.clock.at + timedelta(minutes=14, seconds=38))
        ours.clock = clock
        queue = Queue(replace(tonight.application.ctx, clock=clock))
        working = threading.Thread(target=queue.run)
        working.start()
        try:
            give_up_at = time.monotonic() + 30
            while len(ours.requests) < len(numbers) and time.monotonic() < give_up_at:
                time.sleep(0.05)
        finally:
            queue.stop()
            working.join()
        assert len(ours.requests) == len(numbers)
        late = [(one.at - datetime.fromisoformat(one.payload["at"])).total_seconds() for one in ours.requests]
        print(f"24 messages while GitHub hangs for {wire.calls} calls: max {max(late):.2f} s late")
        assert max(late) < 10, "otherwise each of 24 jobs would wait 3 seconds for GitHub, four at a time"
        wire.end()


def test_a_github_that_hangs_is_left_alone_and_asked_again() -> None:
    class Silent(httpx.BaseTransport):
        def __init__(self) -> None:
            self.calls, self.silent = 0, True

        def handle_request(self, request: httpx.Request) -> httpx.Response:
            self.calls += 1
            if self.silent:
                raise httpx.ReadTimeout("nothing came")
            return httpx.Response(200)

    clock, inner = HandClock.at_default_start(), Silent()
    breaker, request = CircuitBreaker(inner, clock), httpx.Request("GET", "https://api.github.example/")
    for _ in range(3):
        with pytest.raises(httpx.ReadTimeout):
            breaker.handle_request(request)
    for _ in range(10):
        with pytest.raises(httpx.ConnectError):
            breaker.handle_request(request)
    assert inner.calls == 3
    clock.at += timedelta(seconds=21)
    with pytest.raises(httpx.ReadTimeout):
        breaker.handle_request(request)
    with pytest.raises(httpx.ConnectError):
        breaker.handle_request(request)
    assert inner.calls == 4, "one call probes GitHub, the others fail fast"
    inner.silent = False
    clock.at += timedelta(seconds=21)
    assert [breaker.handle_request(request).status_code for _ in range(3)] == [200] * 3
