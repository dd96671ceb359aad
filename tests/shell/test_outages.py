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
from tests.shell.night import POLICY, SEV1, HandClock, Night, Wire, night
from tests.shell.processes import comes, log_of, worker
from tests.shell.processes import count as rows
from tests.shell.sink import SECRET, Answer, Heard, Sink, listens, sink
from tests.shell.storm import now
from tests.soak import size

LEVELS = 4
LADDER = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\n"
    + "severities: {sev1: {acknowledge: 10m, commander: off, respond: off, update: off, resolve: 3h}}\n"
    + "audiences: {executives: off}\n"
    + "channels: {ops: {url: env:OPS_URL, secret: env:OPS_SECRET, for: [chat]}}\n"
    + "escalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "".join(f"    - {{after: {15 * n}m, to: level-{n}, via: chat}}\n" for n in range(1, LEVELS + 1))
).replace("  cto: [grace]\n", "  cto: [grace]\n" + "".join(f"  level-{n}: [ada]\n" for n in range(1, LEVELS + 1)))
"""A policy with four levels, one every 15 minutes; each goes out by chat, and nothing else does."""


class Line(Wire):
    """A wire that can be cut; connections are then refused by the operating system."""

    def __init__(self) -> None:
        super().__init__()
        self.cut = False
        self.asked: list[str] = []
        with socket.create_server(("127.0.0.1", 0)) as taken:
            self._nobody = taken.getsockname()[1]

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        if self.cut:
            request.url = request.url.copy_with(port=self._nobody)
        return super().handle_request(request)


@contextmanager
def on_a_line(database: Database, policy: str = LADDER) -> Iterator[tuple[Night, Line, Sink]]:
    with night(database, policy) as tonight, sink(tonight.clock) as ours:
        line = Line()
        tonight.wire = line
        listens(tonight, ours)
        try:
            yield tonight, line, ours
        finally:
            line.end()


def opens(tonight: Night, count: int) -> list[int]:
    person = tonight.github.person("ada")  # reports of people without rights page only once in ten minutes
    numbers = [person.opens(tonight.shop, f"Checkout {n} is down", SEV1, ["incident"]) for n in range(count)]
    tonight.settle()
    return numbers


def alarms(tonight: Night, number: int) -> dict[str, datetime]:
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT key, due FROM alarm WHERE number = %s", (number,)).fetchall()
    return {row["key"]: row["due"] for row in rows}


def waiting(tonight: Night) -> int:
    with tonight.database.transaction() as db:
        row = db.execute("SELECT count(*) AS n FROM outbox WHERE state IN ('pending', 'in_flight')").fetchone()
    assert row is not None
    found: int = row["n"]
    return found


@pytest.mark.timeout(size(300, 3600))
def test_c1_two_hours_without_github_and_fifty_open_incidents(
    database: Database, elsewhere: Night, figures: Figures
) -> None:
    with on_a_line(database) as (tonight, line, ours):
        count = size(4, 50)
        numbers = opens(tonight, count)
        tonight.clock.at += timedelta(seconds=30)
        tonight.settle()
        before = {number: len(tonight.shop.issue(number).comments) for number in numbers}
        mark = tonight.github.call_log_position()
        line.cut = True
        declared = HandClock.tonight().at
        step = timedelta(minutes=5)
        tonight.clock.at = declared
        while tonight.clock.at < declared + timedelta(hours=2):
            tonight.clock.at += step
            tonight.settle()

        assert tonight.github.calls_since(mark) == [], "not one call got through, so not one comment"
        assert len(ours.heard) == count * LEVELS == size(16, 200)
        assert Counter((one.told["incident"]["number"], one.told["at"]) for one in ours.heard) == {
            (number, f"{declared + timedelta(minutes=15 * n):%Y-%m-%dT%H:%M:%SZ}"): 1
            for number in numbers
            for n in range(1, LEVELS + 1)
        }
        assert {one.at - datetime.fromisoformat(one.told["at"]) for one in ours.heard} == {timedelta()}, "all on time"

        line.cut = False
        back = tonight.clock.at
        writes_a_second_apart(tonight)
        while waiting(tonight) and tonight.clock.at < back + timedelta(minutes=5):
            tonight.clock.at += timedelta(seconds=1)
            tonight.settle()
        drained = (tonight.clock.at - back).total_seconds()
        last = max(tonight.shop.issue(number).comments[-1].created_at for number in numbers)
        told = (last - back).total_seconds()
        assert told <= 60, "every comment within a minute"
        assert drained <= 60 + 3 * count + 10, "and labels and boards, which give way to them, a second each"
        for number in numbers:
            (said,) = tonight.shop.issue(number).comments[before[number] :]
            assert f"escalated to level-{LEVELS}" in said.body.splitlines()[0], "the level that was reached"
        assert len(ours.heard) == count * LEVELS, "and nothing is sent again"

        undisturbed = alarms_without_outage(elsewhere, tonight.clock.at)
        assert undisturbed
        for number in numbers:
            assert alarms(tonight, number) == undisturbed
        figures.record(
            "C1",
            size=f"{count} open incidents, 2 h without connections, {LEVELS} levels, simulated clock, one write a second",
            measured=f"0 comments, {len(ours.heard)} messages, max 0 s late; {count} comments, one per incident, after"
            f" {told:g} s; labels and boards too, a write a second, after {drained:g} s",
        )
        tonight.move_in()
        nearly = declared + timedelta(minutes=144)  # 80 % of three hours
        tonight.clock.at = nearly - timedelta(minutes=1)
        tonight.settle()
        quiet = len(tonight.notices(numbers[0]))
        tonight.clock.at = nearly
        tonight.settle()
        assert len(tonight.notices(numbers[0])) == quiet + 1, "the next deadline as if nothing had been"


def writes_a_second_apart(tonight: Night) -> None:
    """Enforce one write a second from here on, as on github.com; only the hand clock passes the time."""
    tonight.application.client.close()
    settings = replace(tonight.application.settings, enforce_rate_limits=True)
    tonight.application = build(
        settings,
        tonight.database,
        tonight.clock,
        transport=tonight.wire,
        http_client=tonight.outbound,
        wait=lambda _: None,
    )


def alarms_without_outage(elsewhere: Night, until: datetime) -> dict[str, datetime]:
    """Return the alarms of the same incident where GitHub was never down."""
    elsewhere.github.person("ada").pushes(elsewhere.shop, ".github/incidents.yml", LADDER)
    elsewhere.settle()
    (number,) = opens(elsewhere, 1)
    while elsewhere.clock.at < until:
        elsewhere.clock.at = min(until, elsewhere.clock.at + timedelta(minutes=5))
        elsewhere.settle()
    return alarms(elsewhere, number)


class Flaky(Wire):
    """A wire that answers some calls with 502, a third of those after GitHub has carried them out."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        self.calls = self.failed = 0
        self._dice = random.Random(20260314)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.calls += 1
        if self._dice.random() >= self.share:
            return super().handle_request(request)
        self.failed += 1
        if self._dice.random() < 1 / 3:
            super().handle_request(request)
        return httpx.Response(502, request=request, text="<html>Bad Gateway</html>")


@pytest.mark.timeout(size(300, 3600))
def test_c2_three_calls_in_ten_fail_for_an_hour(database: Database, figures: Figures) -> None:
    with night(database, LADDER) as tonight, sink(tonight.clock) as ours:
        wire = tonight.wire = Flaky(0.3)
        listens(tonight, ours)
        mona = tonight.github.person("mona")
        began, numbers, turn = tonight.clock.at, list[int](), 0
        says = (
            "/ack",
            "/update it is the cache",
            "/severity sev2 fewer are affected",
            "/nonsense",
            "/resolve restarted",
        )
        while tonight.clock.at < began + timedelta(hours=1):
            minute = (tonight.clock.at - began) // timedelta(minutes=1)
            if len(numbers) < size(5, 30) and minute >= len(numbers):
                numbers += [tonight.github.person("stranger").opens(tonight.shop, "It is down", SEV1, ["incident"])]
            elif minute >= 20 + 5 * turn and turn < len(says):
                for number in numbers:
                    mona.comments(tonight.shop, number, says[turn])
                turn += 1
            tonight.clock.at += timedelta(seconds=10)
            tonight.settle()
        assert turn == len(says)
        assert 0.25 < wire.failed / wire.calls < 0.35
        wire.share = 0
        tonight.passes(minutes=2)
        assert waiting(tonight) == 0
        with database.transaction() as db:
            found = db.execute("SELECT key, state, attempts FROM outbox WHERE channel = ''").fetchall()
        assert {row["state"] for row in found} <= {"done", "skipped"}, "all effects done"
        assert max(row["attempts"] for row in found) <= 8
        assert sum(row["attempts"] > 1 for row in found) > len(numbers), "it was no easy hour"
        for number in numbers:
            tonight.board(number)
            said = tonight.said(number)
            assert len(said) == len(set(said)), "and none of them twice"
            assert {"incident", "sev2", "resolved"} <= tonight.labels(number)
        assert len({one.key for one in ours.heard}) == len(ours.heard)
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
    with on_a_line(database) as (tonight, line, _):
        (number,) = opens(tonight, 1)
        tonight.later()
        tonight.github.faults.add("status", status=502, path="/reactions", times=7)
        tonight.github.person("mona").comments(tonight.shop, number, "/ack")
        tries = list[datetime]()
        for _ in range(300):
            line.asked.clear()
            tonight.settle()
            if any("/reactions" in path for path in line.asked):
                tries.append(tonight.clock.at)
            tonight.clock.at += timedelta(seconds=1)
        waits = [(b - a).total_seconds() for a, b in pairwise(tries)]
        assert len(waits) == 7
        assert 2 <= waits[0] <= 4
        assert all(later >= 2 * sooner - 2 for sooner, later in pairwise(waits[:4])), (
            waits
        )  # the clock ticks in seconds
        assert max(waits) <= 61
        assert waiting(tonight) == 0
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

    def forward(self, length: timedelta) -> None:
        self._at += length


@pytest.mark.timeout(size(300, 3600))
def test_row12_notifications_are_tried_in_time_while_one_in_a_hundred_goes_wrong(
    database: Database, tmp_path: Path, figures: Figures
) -> None:
    """Real workers in real time, one per core; at the quick size one worker, and one fault in forty."""
    count, spread, workers = size((300, 1.5, 1), (100_000, 700.0, os.cpu_count() or 1))
    with night(database, LADDER) as tonight, sink(now) as ours, ExitStack() as stack:
        listens(tonight, ours)
        tonight.clock.at = now().replace(microsecond=0)
        numbers = opens(tonight, 5)
        due = notifications(tonight, numbers, count, timedelta(seconds=spread / count))
        app = tonight.github.app
        environment = {
            "DATABASE_URL": database.url,
            "GITHUB_API_URL": tonight.github.api_url,
            "GITHUB_APP_ID": str(app.app_id),
            "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": app.webhook_secret,
            "OPS_SECRET": SECRET,
            "SINK": f"http://127.0.0.1:{ours.port}/",
        }
        ours.answers = bad_days(one_in=size(40, 100))
        for _ in range(workers):
            stack.enter_context(worker(environment, tmp_path, lease=30.0, dead=10.0))
        assert comes(lambda: rows(database, "FROM procrastinate_workers") == workers), log_of(tmp_path)
        begins = due_from(database, now() + timedelta(seconds=1))
        ends = begins + timedelta(seconds=spread + 120)
        time.sleep(spread)  # counting the unsent ones would cost time that the workers need
        assert comes(lambda: not rows(database, UNSENT) or now() > ends, 180)
        first = dict[str, datetime]()
        for one in ours.heard:
            first.setdefault(one.key, one.at)
        late = [(first.get(key, ends) - begins - after).total_seconds() for key, after in due.items()]
        in_time = sum(seconds <= 60 for seconds in late)
        assert min(late) >= 0, "and none before its time"
        assert in_time >= 0.9999 * count
        assert {one.key for one in ours.taken} == due.keys(), "in the end, every one"
        assert len(ours.heard) > count, "something did go wrong"
        doubled = Counter(one.key for one in ours.taken)
        assert max(doubled.values()) == 1
        figures.record(
            "Row 12",
            size=f"{count:,} notifications due evenly over {spread:g} s, one try in {size(40, 100)} goes wrong, real time,"
            f" {workers} {'worker' if workers == 1 else 'workers'}",
            measured=f"{100 * in_time / count:.3f} % attempted within 60 s, median {sorted(late)[count // 2]:.3f} s,"
            f" max {max(late):.1f} s; {len(doubled):,} delivered, none twice",
        )


UNSENT = "FROM outbox WHERE key LIKE 'simulated/%' AND state IN ('pending', 'in_flight')"


def bad_days(one_in: int) -> Callable[[Heard], Answer]:
    """Answer the first try of every `one_in`th message with a fault.

    In turn: an error, a rate limit, a broken connection, and one that hangs.
    """
    seen, lock = Counter[str](), threading.Lock()
    faults: list[Answer] = [(500, {}), (429, {"Retry-After": "1"}), (0, {}), (-1, {})]

    def answer(heard: Heard) -> Answer:
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


FAR_OFF = timedelta(days=365)


def notifications(tonight: Night, numbers: list[int], count: int, apart: timedelta) -> dict[str, timedelta]:
    """Add `count` messages, one each `interval`, none of them due within a year.

    Return how long after the first each is due, by its key.
    """
    ctx, at = tonight.application.ctx, tonight.clock() + FAR_OFF
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
            {"apart": apart, "last": count - 1, "numbers": numbers, "many": len(numbers)},
        )
        assert made.rowcount == count
        db.execute("DELETE FROM outbox WHERE key = 'simulated>ops'")
    return {f"simulated/{nth}": apart * nth for nth in range(count)}


def due_from(database: Database, begins: datetime) -> datetime:
    """Move the messages so that the first is due at `begins`, once the workers are there; keep their distances."""
    with database.transaction() as db:
        db.execute(
            "UPDATE outbox SET not_before = %(begins)s + (not_before - first), created_at = %(begins)s + (not_before - first)"
            " FROM (SELECT min(not_before) AS first FROM outbox WHERE key LIKE 'simulated/%%') AS row"
            " WHERE key LIKE 'simulated/%%'",
            {"begins": begins},
        )
    return begins


class Hangs(Wire):
    """A wire that, from a moment on, accepts every call and never answers."""

    def __init__(self, patience: float) -> None:
        super().__init__()
        self.hangs = False
        self.calls = 0
        self._patience = patience

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if not self.hangs:
            return super().handle_request(request)
        self.calls += 1
        time.sleep(self._patience)
        raise httpx.ReadTimeout("nothing came", request=request)


def test_messages_are_in_time_while_github_hangs(database: Database) -> None:
    with night(database, LADDER) as tonight, sink(tonight.clock) as ours:
        wire = tonight.wire = Hangs(patience=3.0)
        listens(tonight, ours)
        numbers = opens(tonight, 24)
        tonight.later()
        wire.hangs = True
        clock = RunningClock(tonight.clock.at + timedelta(minutes=14, seconds=38))
        ours.clock = clock
        queue = Queue(replace(tonight.application.ctx, clock=clock))
        working = threading.Thread(target=queue.run)
        working.start()
        try:
            patience = time.monotonic() + 30
            while len(ours.heard) < len(numbers) and time.monotonic() < patience:
                time.sleep(0.05)
        finally:
            queue.stop()
            working.join()
        assert len(ours.heard) == len(numbers)
        late = [(one.at - datetime.fromisoformat(one.told["at"])).total_seconds() for one in ours.heard]
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

    clock, inner = HandClock.tonight(), Silent()
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
