"""Incidents whose processing failed or killed its worker, so that they are set aside for a growing time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.ports import IncidentKey
from app.store.database import Db, Row

MAX_FAILURES_IN_A_ROW = 3
"""After this many failures in a row an incident is set aside, and shown."""
_FIRST_WAIT = timedelta(minutes=1)
_MAX_WAIT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ProcessingFailure:
    """How often processing an incident failed in a row, why it did last, and when it is tried again."""

    incident_key: IncidentKey
    failures: int
    reason: str
    next_try_at: datetime

    @property
    def is_set_aside(self) -> bool:
        """True if it failed too often to be tried again soon."""
        return self.failures >= MAX_FAILURES_IN_A_ROW


def record_failure(db: Db, incident_key: IncidentKey, reason: str, now: datetime) -> int:
    """Count a failure and return the number of failures in a row.

    From the third on the next attempt is put off: for a minute, then twice as long each time, up to an hour.
    """
    row = db.execute(
        "INSERT INTO failed_processing AS f (repo_id, number, failures, reason, failed_at, next_try_at)"
        " VALUES (%(repo_id)s, %(number)s, 1, %(reason)s, %(now)s, %(now)s)"
        " ON CONFLICT (repo_id, number) DO UPDATE SET failures = f.failures + 1, reason = excluded.reason,"
        " failed_at = excluded.failed_at,"
        " next_try_at = %(now)s + CASE WHEN f.failures + 1 < %(set_aside)s THEN interval '0'"
        " ELSE least(%(first)s * (2 ^ least(f.failures + 1 - %(set_aside)s, 16)), %(max)s) END"
        " RETURNING failures",
        {
            "repo_id": incident_key.repo_id,
            "number": incident_key.number,
            "reason": reason[:300],
            "now": now,
            "set_aside": MAX_FAILURES_IN_A_ROW,
            "first": _FIRST_WAIT,
            "max": _MAX_WAIT,
        },
    ).fetchone()
    assert row is not None
    return int(row["failures"])


def clear_failure(db: Db, incident_key: IncidentKey) -> None:
    """Forget the failures of an incident, because processing it succeeded or a person asks for another attempt."""
    db.execute(
        "DELETE FROM failed_processing WHERE repo_id = %s AND number = %s", (incident_key.repo_id, incident_key.number)
    )


def load_failure(db: Db, incident_key: IncidentKey) -> ProcessingFailure | None:
    """Load the failures of an incident; None if its processing succeeded last."""
    row = db.execute(
        "SELECT * FROM failed_processing WHERE repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return _failure_from(row) if row else None


def list_failures(db: Db) -> list[ProcessingFailure]:
    """List all incidents whose processing failed last."""
    rows = db.execute("SELECT * FROM failed_processing ORDER BY repo_id, number").fetchall()
    return [_failure_from(row) for row in rows]


def _failure_from(row: Row) -> ProcessingFailure:
    return ProcessingFailure(
        IncidentKey(row["repo_id"], row["number"]), row["failures"], row["reason"], row["next_try_at"]
    )
