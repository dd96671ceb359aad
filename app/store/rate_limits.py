"""GitHub rate limits per installation, shared by all processes, and the order in which incidents are served."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.severity import Severity
from app.ports import IncidentKey
from app.rate_limit import READ_METHODS, UNLIMITED, Budget, Priority, RateLimitState, Rates, rates_for
from app.store.database import Database, Db, Row
from app.store.outbox import DISPLAY_KEYS

_STUCK_AGE = timedelta(minutes=2)
"""An item overdue for this long no longer delays others: its incident may be stuck for other reasons."""
_LOOKAHEAD_TURNS = 2
"""An item of a more severe incident goes first if it is due within this many turns."""
_MAX_COUNTED_ITEMS = 30
"""At most this many items ahead are counted."""
_LOCK_SQL = "SELECT * FROM rate_limit WHERE installation = %s FOR UPDATE"
_LOCK_ASYNC_COMMIT_SQL = (
    "SELECT set_config('synchronous_commit', 'off', true), * FROM rate_limit WHERE installation = %s FOR UPDATE"
)
_MIN_RECORDED_WAIT_SECONDS = 3.0
"""Waits up to this long are not recorded."""


class DatabaseRateLimiter:
    """Implements `app.ports.RateLimiter`; the state row of an installation is locked while it is read and written.

    Where writes are spaced, a write yields to more urgent items in the outbox of the same installation: to items of
    more severe incidents, and, if it only displays state, to all notices for incidents of its own severity.
    """

    def __init__(self, database: Database, rates: Rates = UNLIMITED) -> None:
        self._database = database
        self._rates = rates
        self._written_budgets: dict[int, Budget] = {}

    def acquire(self, installation: int, method: str, priority: Priority, now: datetime) -> float:
        """Ask to make a call now; returns 0 when it may be made, else seconds until it is worth asking again."""
        rates = rates_for(installation, self._rates)
        if rates == UNLIMITED and self._may_proceed(installation, method, priority.severity, now):
            return 0.0
        with self._database.transaction() as db:
            state = _lock_state(db, installation, async_commit=True)
            wait_seconds = state.seconds_until_allowed(rates, method, priority.severity, now)
            if not wait_seconds and method not in READ_METHODS and rates.spacing:
                wait_seconds = rates.spacing * _count_ahead(db, installation, priority, now, rates.spacing)
            if not wait_seconds:
                _save_state(db, installation, state.record_request(rates, method, now))
            elif wait_seconds > _MIN_RECORDED_WAIT_SECONDS:
                _save_state(db, installation, state.record_deferral(wait_seconds, now))
        return state.seconds_until_recheck(wait_seconds, now)

    def record_response(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        """Record the end of a call.

        A budget is written only when it changed significantly: by a hundredth, or with a new hour.
        """
        rates = rates_for(installation, self._rates)
        if method not in READ_METHODS and rates.spacing:
            with self._database.transaction() as db:
                state = _lock_state(db, installation, async_commit=True)
                _save_state(db, installation, state.record_response(rates, method, budget, now))
        elif budget is not None and self._is_significant_change(installation, budget):
            with self._database.autocommit() as db:
                db.execute(
                    "UPDATE rate_limit SET budget_limit = %(limit)s, "
                    "budget_remaining = %(left)s, budget_resets_at = %(reset)s"
                    " WHERE installation = %(installation)s AND (budget_resets_at IS DISTINCT FROM %(reset)s"
                    " OR budget_limit IS DISTINCT FROM %(limit)s OR abs(budget_remaining - %(left)s) * 100 > %(limit)s"
                    " OR budget_remaining > %(left)s)",
                    {
                        "limit": budget.limit,
                        "left": budget.remaining,
                        "reset": budget.resets_at,
                        "installation": installation,
                    },
                )

    def _is_significant_change(self, installation: int, budget: Budget) -> bool:
        """Return whether the budget differs enough from the last one written to tell other processes."""
        written = self._written_budgets.get(installation)
        same = written is not None and (written.limit, written.resets_at) == (budget.limit, budget.resets_at)
        if same and written is not None and 0 <= written.remaining - budget.remaining <= budget.limit // 100:
            return False
        self._written_budgets[installation] = budget
        return True

    def _may_proceed(self, installation: int, method: str, severity: Severity | None, now: datetime) -> bool:
        """Return whether the call may proceed without a write, where no limits are counted."""
        with self._database.autocommit() as db:
            row = db.execute("SELECT * FROM rate_limit WHERE installation = %s", (installation,)).fetchone()
        return row is not None and not _state_from_row(row).seconds_until_allowed(UNLIMITED, method, severity, now)

    def record_limit(self, installation: int, retry_after_seconds: float | None, now: datetime) -> float:
        """Record that GitHub limited an installation, and return for how many seconds it pauses.

        `retry_after_seconds` None: GitHub did not say how long.
        """
        with self._database.transaction() as db:
            state = _lock_state(db, installation).record_limit(retry_after_seconds, now)
            _save_state(db, installation, state)
        assert state.paused_until is not None
        return (state.paused_until - now).total_seconds()


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """The rate limit status of an installation.

    `pending` counts the unfinished items of its outbox; `until` is the end of the current wait, None: there is none.
    """

    installation: int
    pending: int
    until: datetime | None
    budget: Budget | None


def list_rate_limit_statuses(db: Db, now: datetime) -> list[RateLimitStatus]:
    """List the rate limit status of every installation that has called GitHub."""
    rows = db.execute(
        "SELECT p.*, coalesce(w.waiting, 0) AS waiting FROM rate_limit p LEFT JOIN"
        " (SELECT r.installation, count(*) AS waiting FROM outbox o JOIN repository r USING (repo_id)"
        " WHERE o.state IN ('pending', 'in_flight') AND o.channel = '' "
        "GROUP BY r.installation) w USING (installation) ORDER BY installation"
    ).fetchall()
    return [_status_from_row(row, now) for row in rows]


def load_remaining_fractions(db: Db, now: datetime) -> dict[int, float]:
    """Load the fraction of the hourly budget that remains, from 0 to 1, by installation.

    An installation whose hour is over is left out.
    """
    known = ((one.installation, remaining_fraction(one, now)) for one in list_rate_limit_statuses(db, now))
    return {installation: part for installation, part in known if part is not None}


def remaining_fraction(status: RateLimitStatus, now: datetime) -> float | None:
    """Return the fraction of the hourly budget that remains, from 0 to 1; None: unknown, because its hour is over."""
    budget = status.budget
    return budget.remaining / budget.limit if budget is not None and budget.limit and now < budget.resets_at else None


def end_pause(db: Db, installation: int) -> None:
    """End the pause of an installation that was suspended."""
    db.execute(
        "UPDATE rate_limit SET paused_until = NULL, consecutive_limits = 0, deferred_until = NULL"
        " WHERE installation = %s",
        (installation,),
    )


def list_next_incident_keys(
    db: Db, now: datetime, cooling_down: Iterable[IncidentKey], limit_per_installation: int
) -> list[IncidentKey]:
    """List the incidents to serve next: the first `limit_per_installation` of each installation.

    The most severe come first, and among those the ones with notices.  `cooling_down`: incidents to leave out.
    """
    excluded = list(cooling_down)
    rows = db.execute(
        "SELECT repo_id, number FROM (SELECT o.repo_id, o.number, i.severity, min(o.position) AS position,"
        " bool_and(o.key = ANY(%s)) AS shown, row_number() OVER"
        " (PARTITION BY r.installation ORDER BY i.severity, bool_and(o.key = ANY(%s)), min(o.position)) AS place"
        " FROM outbox o LEFT JOIN repository r USING (repo_id) LEFT JOIN incident i USING (repo_id, number)"
        " WHERE o.state IN ('pending', 'in_flight') AND o.channel = '' AND o.not_before <= %s"
        " AND (o.lease_until IS NULL OR o.lease_until <= %s)"
        " AND (o.repo_id, o.number) NOT IN (SELECT * FROM unnest(%s::bigint[], %s::bigint[]))"
        " GROUP BY o.repo_id, o.number, i.severity, r.installation) AS queue"
        " WHERE place <= %s ORDER BY severity, shown, position LIMIT 500",
        (
            list(DISPLAY_KEYS),
            list(DISPLAY_KEYS),
            now,
            now,
            [incident_key.repo_id for incident_key in excluded],
            [incident_key.number for incident_key in excluded],
            limit_per_installation,
        ),
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def _lock_state(db: Db, installation: int, *, async_commit: bool = False) -> RateLimitState:
    """Load the rate limit state of an installation, locked until the transaction ends.

    `async_commit`: the commit does not wait for the disk.  One call too many after a power cut does no harm; losing
    a limit set by GitHub would.
    """
    while True:
        row = db.execute(_LOCK_ASYNC_COMMIT_SQL if async_commit else _LOCK_SQL, (installation,)).fetchone()
        if row is not None:
            return _state_from_row(row)
        db.execute("INSERT INTO rate_limit (installation) VALUES (%s) ON CONFLICT DO NOTHING", (installation,))


def _state_from_row(row: Row) -> RateLimitState:
    return RateLimitState(
        last_write_at=row["last_write_at"],
        creation_times=tuple(row["creation_times"]),
        points_by_second=tuple((second, points) for second, points in row["points_by_second"]),
        paused_until=row["paused_until"],
        consecutive_limits=row["consecutive_limits"],
        deferred_until=row["deferred_until"],
        budget=_budget_from_row(row),
    )


def _save_state(db: Db, installation: int, state: RateLimitState) -> None:
    budget = state.budget
    db.execute(
        "UPDATE rate_limit SET last_write_at = %s, creation_times = %s, "
        "points_by_second = %s::jsonb, paused_until = %s, consecutive_limits = %s, deferred_until = %s,"
        " budget_limit = %s, budget_remaining = %s, budget_resets_at = %s WHERE installation = %s",
        (
            state.last_write_at,
            list(state.creation_times),
            json.dumps(state.points_by_second),
            state.paused_until,
            state.consecutive_limits,
            state.deferred_until,
            budget.limit if budget else None,
            budget.remaining if budget else None,
            budget.resets_at if budget else None,
            installation,
        ),
    )


def _count_ahead(db: Db, installation: int, priority: Priority, now: datetime, spacing_seconds: float) -> int:
    """Count the items of that installation that go before this write in the next turns."""
    severity, display_only = priority.severity, priority.display_only
    if severity is Severity.SEV1 and not display_only:
        return 0
    row = db.execute(
        "SELECT count(*) AS ahead FROM (SELECT 1 FROM outbox o JOIN repository r USING (repo_id)"
        " JOIN incident i USING (repo_id, number) WHERE r.installation = %s AND o.state IN ('pending', 'in_flight')"
        " AND o.channel = '' AND o.not_before > %s AND o.not_before <= %s"
        " AND (i.severity < %s OR (%s AND i.severity = %s AND o.key <> ALL(%s))) LIMIT %s) AS items_ahead",
        (
            installation,
            now - _STUCK_AGE,
            now + timedelta(seconds=_LOOKAHEAD_TURNS * spacing_seconds),
            int(severity or max(Severity) + 1),
            display_only,
            None if severity is None else int(severity),
            list(DISPLAY_KEYS),
            _MAX_COUNTED_ITEMS,
        ),
    ).fetchone()
    return int(row["ahead"]) if row else 0


def _budget_from_row(row: Row) -> Budget | None:
    if row["budget_limit"] is None:
        return None
    return Budget(row["budget_limit"], row["budget_remaining"], row["budget_resets_at"])


def _status_from_row(row: Row, now: datetime) -> RateLimitStatus:
    blocked_until = [at for at in (row["paused_until"], row["deferred_until"]) if at is not None and at > now]
    pending = row["waiting"]
    is_paused = row["paused_until"] is not None and row["paused_until"] > now
    return RateLimitStatus(
        row["installation"],
        pending,
        max(blocked_until, default=None) if pending or is_paused else None,
        _budget_from_row(row),
    )
