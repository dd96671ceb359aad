"""The pace of each installation, one ledger for all processes, and who is first in line."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.severity import Severity
from app.ports import Lane
from app.rate_limit import FREE, READS, Budget, Ledger, Rates, Urgency, rates_of
from app.store.database import Database, Db, Row
from app.store.outbox import SHOWN

_OVERDUE = timedelta(minutes=2)
"""An order that nobody got to for so long holds up no other one: its incident may be stuck for reasons of its own."""
_SOON = 2
"""A more severe order goes first if it is due within so many turns."""
_MOST = 30
"""How many of them are counted."""
_LOCKED = "SELECT * FROM pace WHERE installation = %s FOR UPDATE"
_HURRIED = "SELECT set_config('synchronous_commit', 'off', true), * FROM pace WHERE installation = %s FOR UPDATE"
_LONG = 3.0
"""Seconds of waiting that are worth writing down."""


class DatabasePace:
    """Implements `app.ports.Pace`: whoever asks holds the ledger of that installation while it is read and written.

    Where writes are spaced, a write gives way to what is worse and waits in the outbox of the same installation: orders of
    more severe incidents, and for what only shows how things are whatever is to be said for incidents as severe as its own.
    """

    def __init__(self, database: Database, rates: Rates = FREE) -> None:
        self._database = database
        self._rates = rates
        self._told: dict[int, Budget] = {}

    def ask(self, installation: int, method: str, urgency: Urgency, now: datetime) -> float:
        rates = rates_of(installation, self._rates)
        if rates == FREE and self._nothing_forbids(installation, method, urgency.severity, now):
            return 0.0
        with self._database.transaction() as db:
            ledger = _ledger(db, installation, hurried=True)
            wait = ledger.wait(rates, method, urgency.severity, now)
            if not wait and method not in READS and rates.spacing:
                wait = rates.spacing * _ahead(db, installation, urgency, now, rates.spacing)
            if not wait:
                _keep(db, installation, ledger.charged(rates, method, now))
            elif wait > _LONG:
                _keep(db, installation, ledger.held(wait, now))
        return ledger.asks_again(wait, now)

    def ended(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        """A budget is written only where it is news: a hundredth of it, or another hour."""
        rates = rates_of(installation, self._rates)
        if method not in READS and rates.spacing:
            with self._database.transaction() as db:
                ledger = _ledger(db, installation, hurried=True)
                _keep(db, installation, ledger.ended(rates, method, budget, now))
        elif budget is not None and self._is_news(installation, budget):
            with self._database.look() as db:
                db.execute(
                    "UPDATE pace SET budget_limit = %(limit)s, budget_left = %(left)s, budget_reset = %(reset)s"
                    " WHERE installation = %(installation)s AND (budget_reset IS DISTINCT FROM %(reset)s"
                    " OR budget_limit IS DISTINCT FROM %(limit)s OR abs(budget_left - %(left)s) * 100 > %(limit)s"
                    " OR budget_left > %(left)s)",
                    {
                        "limit": budget.limit,
                        "left": budget.left,
                        "reset": budget.reset,
                        "installation": installation,
                    },
                )

    def _is_news(self, installation: int, budget: Budget) -> bool:
        """Whether it differs from what was written last, from here: the other processes know that, too."""
        told = self._told.get(installation)
        same = told is not None and (told.limit, told.reset) == (budget.limit, budget.reset)
        if same and told is not None and 0 <= told.left - budget.left <= budget.limit // 100:
            return False
        self._told[installation] = budget
        return True

    def _nothing_forbids(self, installation: int, method: str, severity: Severity | None, now: datetime) -> bool:
        """Where nobody counts there is nothing to write down either."""
        with self._database.look() as db:
            row = db.execute("SELECT * FROM pace WHERE installation = %s", (installation,)).fetchone()
        return row is not None and not _read(row).wait(FREE, method, severity, now)

    def limited(self, installation: int, told: float | None, now: datetime) -> float:
        with self._database.transaction() as db:
            ledger = _ledger(db, installation).limited(told, now)
            _keep(db, installation, ledger)
        assert ledger.quiet_until is not None
        return (ledger.quiet_until - now).total_seconds()


@dataclass(frozen=True, slots=True)
class Standing:
    """How one installation stands.  `waiting` are orders whose time has come, or that are held back until `until`."""

    installation: int
    waiting: int
    until: datetime | None
    budget: Budget | None


def standings(db: Db, now: datetime) -> list[Standing]:
    """How every installation stands that GitHub has been asked for."""
    rows = db.execute(
        "SELECT p.*, coalesce(w.waiting, 0) AS waiting FROM pace p LEFT JOIN"
        " (SELECT r.installation, count(*) AS waiting FROM outbox o JOIN repository r USING (repo_id)"
        " WHERE o.state IN ('waiting', 'trying') AND o.channel = '' GROUP BY r.installation) w USING (installation) ORDER BY installation"
    ).fetchall()
    return [_standing(row, now) for row in rows]


def left(db: Db, now: datetime) -> dict[int, float]:
    """The part of GitHub's hourly budget that is left, from 0 to 1, by installation; one whose hour is over is not known."""
    known = ((one.installation, part_left(one, now)) for one in standings(db, now))
    return {installation: part for installation, part in known if part is not None}


def part_left(one: Standing, now: datetime) -> float | None:
    """The part of its hourly budget that is left, from 0 to 1; None: not known, for its hour is over."""
    at = one.budget
    return at.left / at.limit if at is not None and at.limit and now < at.reset else None


def first_in_line(db: Db, now: datetime, resting: Iterable[Lane], most: int) -> list[Lane]:
    """The incidents with something to do by `now`: of each installation the first `most`.

    The most severe come first, and of those the ones with something to say.

    `resting`: those that are to be left alone.
    """
    left_alone = list(resting)
    rows = db.execute(
        "SELECT repo_id, number FROM (SELECT o.repo_id, o.number, i.severity, min(o.position) AS position,"
        " bool_and(o.key = ANY(%s)) AS shown, row_number() OVER"
        " (PARTITION BY r.installation ORDER BY i.severity, bool_and(o.key = ANY(%s)), min(o.position)) AS place"
        " FROM outbox o LEFT JOIN repository r USING (repo_id) LEFT JOIN incident i USING (repo_id, number)"
        " WHERE o.state IN ('waiting', 'trying') AND o.channel = '' AND o.not_before <= %s"
        " AND (o.held_until IS NULL OR o.held_until <= %s)"
        " AND (o.repo_id, o.number) NOT IN (SELECT * FROM unnest(%s::bigint[], %s::bigint[]))"
        " GROUP BY o.repo_id, o.number, i.severity, r.installation) AS line"
        " WHERE place <= %s ORDER BY severity, shown, position LIMIT 500",
        (
            list(SHOWN),
            list(SHOWN),
            now,
            now,
            [lane.repo_id for lane in left_alone],
            [lane.number for lane in left_alone],
            most,
        ),
    ).fetchall()
    return [Lane(row["repo_id"], row["number"]) for row in rows]


def _ledger(db: Db, installation: int, *, hurried: bool = False) -> Ledger:
    """The ledger of that installation, locked until the transaction ends.

    `hurried`: that end waits for no disk.  A call more or less after a power cut harms nobody; quiet is another matter.
    """
    while True:
        row = db.execute(_HURRIED if hurried else _LOCKED, (installation,)).fetchone()
        if row is not None:
            return _read(row)
        db.execute("INSERT INTO pace (installation) VALUES (%s) ON CONFLICT DO NOTHING", (installation,))


def _read(row: Row) -> Ledger:
    return Ledger(
        wrote_at=row["wrote_at"],
        created=tuple(row["created"]),
        spent=tuple((second, points) for second, points in row["spent"]),
        quiet_until=row["quiet_until"],
        strikes=row["strikes"],
        held_until=row["held_until"],
        budget=_budget(row),
    )


def _keep(db: Db, installation: int, ledger: Ledger) -> None:
    budget = ledger.budget
    db.execute(
        "UPDATE pace SET wrote_at = %s, created = %s, spent = %s::jsonb, quiet_until = %s, strikes = %s, held_until = %s,"
        " budget_limit = %s, budget_left = %s, budget_reset = %s WHERE installation = %s",
        (
            ledger.wrote_at,
            list(ledger.created),
            json.dumps(ledger.spent),
            ledger.quiet_until,
            ledger.strikes,
            ledger.held_until,
            budget.limit if budget else None,
            budget.left if budget else None,
            budget.reset if budget else None,
            installation,
        ),
    )


def _ahead(db: Db, installation: int, urgency: Urgency, now: datetime, spacing: float) -> int:
    """How many orders of that installation go before that write in the next turns."""
    severity, shows = urgency.severity, urgency.shows
    if severity is Severity.SEV1 and not shows:
        return 0
    row = db.execute(
        "SELECT count(*) AS ahead FROM (SELECT 1 FROM outbox o JOIN repository r USING (repo_id)"
        " JOIN incident i USING (repo_id, number) WHERE r.installation = %s AND o.state IN ('waiting', 'trying')"
        " AND o.channel = '' AND o.not_before > %s AND o.not_before <= %s"
        " AND (i.severity < %s OR (%s AND i.severity = %s AND o.key <> ALL(%s))) LIMIT %s) AS those",
        (
            installation,
            now - _OVERDUE,
            now + timedelta(seconds=_SOON * spacing),
            int(severity or max(Severity) + 1),
            shows,
            None if severity is None else int(severity),
            list(SHOWN),
            _MOST,
        ),
    ).fetchone()
    return int(row["ahead"]) if row else 0


def _budget(row: Row) -> Budget | None:
    if row["budget_limit"] is None:
        return None
    return Budget(row["budget_limit"], row["budget_left"], row["budget_reset"])


def _standing(row: Row, now: datetime) -> Standing:
    later = [at for at in (row["quiet_until"], row["held_until"]) if at is not None and at > now]
    waiting = row["waiting"]
    quiet = row["quiet_until"] is not None and row["quiet_until"] > now
    return Standing(row["installation"], waiting, max(later, default=None) if waiting or quiet else None, _budget(row))
