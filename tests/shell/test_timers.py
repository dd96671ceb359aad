"""Alarms fire once each, and in time (row 8)."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime, timedelta

import pytest

from app.bootstrap import build
from app.core.effects import Notice
from app.core.replay import replay
from app.policy_file import read_policy
from app.ports import IncidentKey
from app.store import incidents
from app.store.database import Database
from app.worker.jobs import Queue
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.routing import route_deliveries
from tests.figures import Figures
from tests.shell.night import POLICY, SEV1, Night, run_night
from tests.shell.processes import wait_until
from tests.shell.test_rate_limiter import RunningClock, run_queue
from tests.soak import choose_size

MONTH = timedelta(days=30)
STEP_COUNT = choose_size(12, 20)
MONTH_LONG_POLICY = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\nescalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "".join(
        f"    - {{after: {nth * 700 // STEP_COUNT}h, to: {('it-manager', 'cto')[nth % 2]}}}\n"
        for nth in range(1, STEP_COUNT)
    )
)
"""A policy whose escalation takes a month."""
FAST_ESCALATION_POLICY = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\nescalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "    - {after: 3m, to: it-manager}\n"
)
"""A policy that escalates to the manager after three minutes without acknowledgement.

That is after the last incident is opened, and before the sandbox GitHub, whose clock stands still here, would refuse
our times.
"""


def open_incidents(tonight: Night, count: int, interval: timedelta) -> list[int]:
    """Open incidents that stay unacknowledged."""
    numbers = []
    for nth in range(count):
        numbers.append(tonight.github.person("ada").opens(tonight.shop, f"Down {nth}", SEV1, ["incident"]))
        tonight.clock.at += interval
    tonight.github.hooks.settle(120)
    for incident_key in route_deliveries(tonight.application.ctx):
        assert process_incident(tonight.application.ctx, incident_key)
    return numbers


def load_first_due(tonight: Night) -> datetime | None:
    with tonight.database.transaction() as db:
        row = db.execute("SELECT min(due) AS due FROM alarm").fetchone()
    return row["due"] if row else None


@pytest.mark.timeout(choose_size(300, 1800))
def test_row8_timers_of_a_month_ring_once_each(database: Database, figures: Figures) -> None:
    """Whenever an alarm is due its incident is processed, as by a sweep; in the end each equals one replay."""
    with run_night(database, MONTH_LONG_POLICY) as tonight:
        end = tonight.clock.at + MONTH
        numbers = open_incidents(tonight, choose_size(6, 500), timedelta(seconds=0.3))
        policy = read_policy(MONTH_LONG_POLICY)
        sweep_count = 0
        while (due := load_first_due(tonight)) is not None and due <= end:
            tonight.clock.at = max(tonight.clock.at, due)
            with database.transaction() as db:
                incident_keys = incidents.list_due_incident_keys(db, tonight.clock.at)
            for incident_key in incident_keys:
                process_incident(tonight.application.ctx, incident_key)
            sweep_count += 1
        fired_count = 0
        for number in numbers:
            incident_key = IncidentKey(tonight.shop.id, number)
            with database.transaction() as db:
                stored, log = incidents.load_incident(db, incident_key), incidents.load_log(db, incident_key)
                rows = db.execute("SELECT key, data->>'at' AS at FROM outbox WHERE number = %s", (number,)).fetchall()
            assert stored is not None
            replayed = replay(log, policy, stored.replayed_until)
            assert stored.incident == replayed.incident, "step by step as in one go: none twice, none left out"
            notices = {effect.key: effect.at for effect in replayed.effects if isinstance(effect, Notice)}
            found = {row["key"]: datetime.fromisoformat(row["at"]) for row in rows if row["at"] is not None}
            assert found == notices
            times = Counter(entry.key for entry in stored.incident.timeline)
            assert max(times.values()) == 1
            fired_count += len(notices)
        assert fired_count >= choose_size(60, 10_000)
    figures.record(
        "Row 8",
        size=f"{fired_count:,} timers of {len(numbers)} incidents over 30 simulated days, {sweep_count:,} beats",
        measured="each rang once",
    )


def test_row8_alarms_ring_in_time_and_soon_after_a_restart(database: Database, figures: Figures) -> None:
    """A worker on a running clock gets an alarm every half second; then it stops for a while."""
    count, away, settled = choose_size((10, 1.5, timedelta(seconds=1)), (200, 30.0, timedelta(seconds=10)))
    with run_night(database, FAST_ESCALATION_POLICY) as tonight:
        open_incidents(tonight, count, timedelta(seconds=0.5))
        first = min(list_manager_due_times(tonight))
        clock = RunningClock(first - LEAD_PERIOD)
        application = build(tonight.application.settings, database, clock)
        try:
            with run_queue(Queue(application.ctx)):
                assert wait_until(lambda: len(list_escalation_times(tonight)) >= count // 2, choose_size(60, 300))
            stopped, before = clock(), len(list_escalation_times(tonight))
            assert before < count
            while clock() < stopped + timedelta(seconds=away):
                time.sleep(0.05)
            assert len(list_escalation_times(tonight)) == before, "no worker is running"
            back = clock()
            with run_queue(Queue(application.ctx)):
                assert wait_until(lambda: len(list_escalation_times(tonight)) == count, choose_size(60, 300))
        finally:
            application.client.close()
        rows = list_escalation_times(tonight)
    assert sum(at <= back < fired for at, fired in rows), "some were due meanwhile"
    before_pause, later = ([one for one in rows if (one[1] >= back) is after] for after in (False, True))
    steady = sorted(
        (fired - at).total_seconds()
        for began, part in ((first - LEAD_PERIOD, before_pause), (back, later))
        for at, fired in part
        if at >= began + settled
    )
    after = max((fired - max(at, back)).total_seconds() for at, fired in later)
    assert all(fired >= at for at, fired in rows), "none before its time"
    late = steady[len(steady) * 99 // 100]
    assert late <= choose_size(30, 5)
    assert max(steady) <= 30
    assert max((fired - at).total_seconds() for at, fired in before_pause) <= 60, "after the first start too"
    assert after <= 60
    figures.record(
        "Row 8",
        size=f"{count} alarms, two a second, real time, a worker that goes away for {away:g} s in between",
        measured=f"99 % at most {late:.1f} s late, all at most {max(steady):.1f} s;"
        f" what was due meanwhile within {after:.1f} s of the restart",
    )


def test_row8_an_alarm_does_not_wait_behind_orders(database: Database) -> None:
    """Pages of all incidents wait in the outbox; the job of an alarm that falls due is taken first."""
    with run_night(database, FAST_ESCALATION_POLICY) as tonight:
        *_, last = open_incidents(tonight, 5, timedelta(seconds=1))
        queue = Queue(tonight.application.ctx)
        queue.sweep()
        assert len(list_jobs(tonight)) == 5
        with database.transaction() as db:
            db.execute("UPDATE alarm SET due = %s WHERE number = %s", (tonight.clock.at, last))
        queue.sweep()
        queue.sweep()
        first, *others = list_jobs(tonight)
        assert first["number"] == last
        assert len(others) == 5, "earlier jobs still wait, and no job is enqueued twice"


def list_jobs(tonight: Night) -> list[dict[str, int]]:
    """Return the waiting jobs, in the order in which they are taken."""
    with tonight.database.transaction() as db:
        rows = db.execute(
            "SELECT args FROM procrastinate_jobs WHERE task_name = 'wake' AND status = 'todo' ORDER BY priority DESC, id"
        ).fetchall()
    return [row["args"] for row in rows]


LEAD_PERIOD = timedelta(seconds=1.5)
"""Time between the start of the worker and the first alarm."""


def list_manager_due_times(tonight: Night) -> list[datetime]:
    with tonight.database.transaction() as db:
        return [due for _, key, due in incidents.list_alarms(db) if "it-manager" in key]


def list_escalation_times(tonight: Night) -> list[tuple[datetime, datetime]]:
    """Return when each escalation was due, and when it was decided."""
    with tonight.database.transaction() as db:
        rows = db.execute(
            "SELECT data->>'at' AS at, created_at FROM outbox WHERE kind = 'Escalate' ORDER BY created_at"
        ).fetchall()
    return [(datetime.fromisoformat(row["at"]), row["created_at"]) for row in rows]
