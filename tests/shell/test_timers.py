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
from tests.shell.night import POLICY, SEV1, Night, night
from tests.shell.processes import comes
from tests.shell.test_pace import Running, working
from tests.soak import size

MONTH = timedelta(days=30)
STEPS = size(12, 20)
MONTHLY = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\nescalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "".join(
        f"    - {{after: {nth * 700 // STEPS}h, to: {('it-manager', 'cto')[nth % 2]}}}\n" for nth in range(1, STEPS)
    )
)
"""A policy whose escalation takes a month."""
HASTY = (
    POLICY
    + "first-notice: {sev1: {via: off, to: off}}\nescalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n"
    + "    - {after: 3m, to: it-manager}\n"
)
"""A policy that escalates to the manager after three minutes without acknowledgement.

That is after the last incident is opened, and before the sandbox GitHub, whose clock stands still here, would refuse
our times.
"""


def opens(tonight: Night, count: int, apart: timedelta) -> list[int]:
    """Open incidents that stay unacknowledged."""
    numbers = []
    for nth in range(count):
        numbers.append(tonight.github.person("ada").opens(tonight.shop, f"Down {nth}", SEV1, ["incident"]))
        tonight.clock.at += apart
    tonight.github.hooks.settle(120)
    for incident_key in route_deliveries(tonight.application.ctx):
        assert process_incident(tonight.application.ctx, incident_key)
    return numbers


def first_due(tonight: Night) -> datetime | None:
    with tonight.database.transaction() as db:
        row = db.execute("SELECT min(due) AS due FROM alarm").fetchone()
    return row["due"] if row else None


@pytest.mark.timeout(size(300, 1800))
def test_row8_timers_of_a_month_ring_once_each(database: Database, figures: Figures) -> None:
    """Whenever an alarm is due its incident is processed, as by a sweep; in the end each equals one replay."""
    with night(database, MONTHLY) as tonight:
        end = tonight.clock.at + MONTH
        numbers, policy = opens(tonight, size(6, 500), timedelta(seconds=0.3)), read_policy(MONTHLY)
        beats = 0
        while (due := first_due(tonight)) is not None and due <= end:
            tonight.clock.at = max(tonight.clock.at, due)
            with database.transaction() as db:
                incident_keys = incidents.list_due_incident_keys(db, tonight.clock.at)
            for incident_key in incident_keys:
                process_incident(tonight.application.ctx, incident_key)
            beats += 1
        rang = 0
        for number in numbers:
            incident_key = IncidentKey(tonight.shop.id, number)
            with database.transaction() as db:
                stored, log = incidents.load_incident(db, incident_key), incidents.load_log(db, incident_key)
                rows = db.execute("SELECT key, data->>'at' AS at FROM outbox WHERE number = %s", (number,)).fetchall()
            assert stored is not None
            whole = replay(log, policy, stored.replayed_until)
            assert stored.incident == whole.incident, "step by step as in one go: none twice, none left out"
            notices = {effect.key: effect.at for effect in whole.effects if isinstance(effect, Notice)}
            found = {row["key"]: datetime.fromisoformat(row["at"]) for row in rows if row["at"] is not None}
            assert found == notices
            times = Counter(entry.key for entry in stored.incident.timeline)
            assert max(times.values()) == 1
            rang += len(notices)
        assert rang >= size(60, 10_000)
    figures.record(
        "Row 8",
        size=f"{rang:,} timers of {len(numbers)} incidents over 30 simulated days, {beats:,} beats",
        measured="each rang once",
    )


def test_row8_alarms_ring_in_time_and_soon_after_a_restart(database: Database, figures: Figures) -> None:
    """A worker on a running clock gets an alarm every half second; then it stops for a while."""
    count, away, settled = size((10, 1.5, timedelta(seconds=1)), (200, 30.0, timedelta(seconds=10)))
    with night(database, HASTY) as tonight:
        opens(tonight, count, timedelta(seconds=0.5))
        first = min(due_of_the_manager(tonight))
        clock = Running(first - BEFORE)
        application = build(tonight.application.settings, database, clock)
        try:
            with working(Queue(application.ctx)):
                assert comes(lambda: len(told(tonight)) >= count // 2, size(60, 300))
            stopped, before = clock(), len(told(tonight))
            assert before < count
            while clock() < stopped + timedelta(seconds=away):
                time.sleep(0.05)
            assert len(told(tonight)) == before, "no worker is running"
            back = clock()
            with working(Queue(application.ctx)):
                assert comes(lambda: len(told(tonight)) == count, size(60, 300))
        finally:
            application.client.close()
        rows = told(tonight)
    assert sum(at <= back < fired for at, fired in rows), "some were due meanwhile"
    evening, later = ([one for one in rows if (one[1] >= back) is after] for after in (False, True))
    steady = sorted(
        (fired - at).total_seconds()
        for began, part in ((first - BEFORE, evening), (back, later))
        for at, fired in part
        if at >= began + settled
    )
    after = max((fired - max(at, back)).total_seconds() for at, fired in later)
    assert all(fired >= at for at, fired in rows), "none before its time"
    late = steady[len(steady) * 99 // 100]
    assert late <= size(30, 5)
    assert max(steady) <= 30
    assert max((fired - at).total_seconds() for at, fired in evening) <= 60, "after the first start too"
    assert after <= 60
    figures.record(
        "Row 8",
        size=f"{count} alarms, two a second, real time, a worker that goes away for {away:g} s in between",
        measured=f"99 % at most {late:.1f} s late, all at most {max(steady):.1f} s;"
        f" what was due meanwhile within {after:.1f} s of the restart",
    )


def test_row8_an_alarm_does_not_wait_behind_orders(database: Database) -> None:
    """Pages of all incidents wait in the outbox; the job of an alarm that falls due is taken first."""
    with night(database, HASTY) as tonight:
        *_, last = opens(tonight, 5, timedelta(seconds=1))
        queue = Queue(tonight.application.ctx)
        queue.sweep()
        assert len(jobs(tonight)) == 5
        with database.transaction() as db:
            db.execute("UPDATE alarm SET due = %s WHERE number = %s", (tonight.clock.at, last))
        queue.sweep()
        queue.sweep()
        first, *others = jobs(tonight)
        assert first["number"] == last
        assert len(others) == 5, "earlier jobs still wait, and no job is enqueued twice"


def jobs(tonight: Night) -> list[dict[str, int]]:
    """Return the waiting jobs, in the order in which they are taken."""
    with tonight.database.transaction() as db:
        rows = db.execute(
            "SELECT args FROM procrastinate_jobs WHERE task_name = 'wake' AND status = 'todo' ORDER BY priority DESC, id"
        ).fetchall()
    return [row["args"] for row in rows]


BEFORE = timedelta(seconds=1.5)
"""Time between the start of the worker and the first alarm."""


def due_of_the_manager(tonight: Night) -> list[datetime]:
    with tonight.database.transaction() as db:
        return [due for _, key, due in incidents.list_alarms(db) if "it-manager" in key]


def told(tonight: Night) -> list[tuple[datetime, datetime]]:
    """Return when each escalation was due, and when it was decided."""
    with tonight.database.transaction() as db:
        rows = db.execute(
            "SELECT data->>'at' AS at, created_at FROM outbox WHERE kind = 'Escalate' ORDER BY created_at"
        ).fetchall()
    return [(datetime.fromisoformat(row["at"]), row["created_at"]) for row in rows]
