"""Sync checkpoints and the sync lock."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

import psycopg

from app.ports import IncidentKey, Repository
from app.store.audit import parse_incident_key
from app.store.database import Database, Db
from app.store.incidents import StoredIncident
from app.store.serialization import parse_incident

_SYNC_LOCK_ID = 720220
"""Advisory lock of the syncing process: released with its connection, however the process ends."""


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """When a part of the sync was last done; `incident_keys` are the incidents that differed from GitHub then."""

    at: datetime
    etag: str = ""
    incident_keys: tuple[IncidentKey, ...] = ()


@dataclass(frozen=True, slots=True)
class SyncCandidate:
    """An open incident as stored, to be compared with GitHub."""

    incident_key: IncidentKey
    stored: StoredIncident
    alarms: dict[str, datetime]
    has_pending_work: bool
    """Whether deliveries, labels or the board are pending, so that GitHub may rightly show an older state.

    Pending comments do not count: where the comment limit is reached, they wait for hours.
    """


@contextmanager
def acquire_sync_lock(database: Database, *, wait: bool = False) -> Iterator[bool]:
    """Hold the sync lock, and yield whether it was acquired; with `wait`, block until the others are done."""
    with psycopg.connect(database.url, autocommit=True) as connection:
        if wait:
            connection.execute("SELECT pg_advisory_lock(%s)", (_SYNC_LOCK_ID,))
        row = connection.execute("SELECT %s OR pg_try_advisory_lock(%s)", (wait, _SYNC_LOCK_ID)).fetchone()
        acquired = bool(row and row[0])
        try:
            yield acquired
        finally:
            if acquired:  # unlock here: the server notices the end of a connection a moment late
                connection.execute("SELECT pg_advisory_unlock(%s)", (_SYNC_LOCK_ID,))


def load_checkpoints(db: Db) -> dict[str, Checkpoint]:
    """Load all checkpoints by name."""
    rows = db.execute("SELECT name, at, etag, incident_keys FROM sync_checkpoint").fetchall()
    return {
        row["name"]: Checkpoint(row["at"], row["etag"], tuple(map(parse_incident_key, row["incident_keys"])))
        for row in rows
    }


def save_checkpoint(db: Db, name: str, at: datetime, etag: str = "", incident_keys: Iterable[IncidentKey] = ()) -> None:
    """Save the time at which a part of the sync was done."""
    db.execute(
        "INSERT INTO sync_checkpoint (name, at, etag, incident_keys) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (name) DO UPDATE SET at = excluded.at, "
        "etag = excluded.etag, incident_keys = excluded.incident_keys",
        (name, at, etag, [str(incident_key) for incident_key in incident_keys]),
    )


def oldest_delivery_at(db: Db) -> datetime | None:
    """Return when the oldest stored delivery was received; None: there is none."""
    row = db.execute("SELECT min(received_at) AS at FROM delivery").fetchone()
    return row["at"] if row else None


def newest_delivery_at(db: Db) -> datetime | None:
    """Return when the newest delivery was received; None: there is none."""
    row = db.execute("SELECT max(received_at) AS at FROM delivery").fetchone()
    return row["at"] if row else None


def mark_for_catch_up(db: Db, since: datetime, repos: Iterable[int]) -> None:
    """Record that changes in these repositories may have been missed since then."""
    db.execute(
        "UPDATE repository SET catch_up_since = least(catch_up_since, %s) WHERE repo_id = ANY(%s)", (since, list(repos))
    )


def list_repositories_to_catch_up(db: Db) -> list[tuple[Repository, datetime]]:
    """List the repositories that need a catch-up, and from which time on."""
    rows = db.execute("SELECT * FROM repository WHERE catch_up_since IS NOT NULL ORDER BY name").fetchall()
    return [
        (Repository(row["repo_id"], row["name"], row["installation"], row["default_branch"]), row["catch_up_since"])
        for row in rows
    ]


def clear_catch_up(db: Db, repo_id: int, since: datetime) -> None:
    """Record the catch-up of a repository from that time on; an earlier missed time stays recorded."""
    db.execute(
        "UPDATE repository SET catch_up_since = NULL WHERE repo_id = %s AND catch_up_since >= %s", (repo_id, since)
    )


def list_sync_candidates(db: Db, repo_id: int) -> list[SyncCandidate]:
    """List the open, reachable incidents of a repository, the longest not compared first."""
    rows = db.execute(
        "SELECT i.*, (EXISTS (SELECT 1 FROM outbox o WHERE o.repo_id = i.repo_id AND o.number = i.number"
        " AND o.state IN ('pending', 'in_flight') AND o.key IN ('show/labels', 'show/board')) OR EXISTS"
        " (SELECT 1 FROM delivery d WHERE d.repo_id = i.repo_id "
        "AND d.number = i.number AND d.state = 'routed')) AS busy,"
        " (SELECT coalesce(jsonb_object_agg(a.key, a.due), '{}') FROM alarm a"
        " WHERE a.repo_id = i.repo_id AND a.number = i.number) AS alarms"
        " FROM incident i WHERE i.repo_id = %s AND i.state->>'closed_at' IS NULL"
        " AND coalesce(i.state->>'unavailable', "
        "i.state->>'left', '') IN ('', 'locked') ORDER BY i.compared_at NULLS FIRST, i.number",
        (repo_id,),
    ).fetchall()
    return [
        SyncCandidate(
            IncidentKey(row["repo_id"], row["number"]),
            StoredIncident(
                parse_incident(row["state"]),
                row["replayed_until"],
                row["board_id"],
                row["board_url"] or "",
                policy_failure=row["policy_failure"],
            ),
            {key: datetime.fromisoformat(due) for key, due in row["alarms"].items()},
            row["busy"],
        )
        for row in rows
    ]


def load_compared_at(db: Db, incident_key: IncidentKey) -> datetime | None:
    """Load when an incident was last fully compared with GitHub; None: never."""
    row = db.execute(
        "SELECT compared_at FROM incident WHERE repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return row["compared_at"] if row else None


def record_comparison(db: Db, incident_key: IncidentKey, at: datetime) -> None:
    """Record that an incident was fully compared with GitHub."""
    db.execute(
        "UPDATE incident SET compared_at = %s WHERE repo_id = %s AND number = %s",
        (at, incident_key.repo_id, incident_key.number),
    )


def load_postmortem_pulls(db: Db, repo_id: int) -> dict[int, int]:
    """Load the postmortem pull requests of a repository: the incident number by pull request number."""
    rows = db.execute(
        "SELECT number, (state->'postmortem'->>'number')::bigint AS pull FROM incident"
        " WHERE repo_id = %s AND state->'postmortem'->>'number' IS NOT NULL",
        (repo_id,),
    ).fetchall()
    return {row["pull"]: row["number"] for row in rows}
