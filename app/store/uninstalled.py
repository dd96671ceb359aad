"""Uninstalled repositories: pending work is cancelled at once, their data is deleted after a grace period."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from psycopg.sql import SQL, Identifier

from app.ports import IncidentKey, Repository
from app.store.database import Db

_UNINSTALLED_NOTE = "the App was taken off"
_UNCERTAIN_NOTE = "the App was taken off, and an attempt may have got through"
"""Notes of outbox items that were cancelled, by which they are found when access is given back."""
_REPOSITORY_TABLES: tuple[LiteralString, ...] = (
    *("incident", "event", "alarm", "suspended_alarm", "outbox", "incident_number", "tombstone"),
    *("comment_log", "comment_limit", "unconfirmed_report", "unconfirmed_digest", "unconfirmed_message"),
    *("policy_review", "failed_processing", "repository"),
)


@dataclass(frozen=True, slots=True)
class UninstalledRepository:
    """A repository from which the App was removed, as it was last known."""

    repository: Repository
    uninstalled_at: datetime


def list_installation_repositories(db: Db, installation: int) -> list[Repository]:
    """List the known repositories of an installation."""
    rows = db.execute("SELECT repo_id, name FROM repository WHERE installation = %s", (installation,)).fetchall()
    return [Repository(row["repo_id"], row["name"], installation) for row in rows]


def record_uninstall(db: Db, repositories: Sequence[Repository], uninstalled_at: datetime, check_at: datetime) -> None:
    """Record that the App was removed, cancel pending work and alarms, and schedule the check before deletion."""
    ids = [one.id for one in repositories]
    schedule_check(db, repositories, uninstalled_at, check_at)
    db.execute(
        "UPDATE outbox SET state = 'skipped', note = CASE WHEN state = 'in_flight' THEN %s ELSE %s END,"
        " fencing_token = fencing_token + 1, lease_until = NULL"
        " WHERE repo_id = ANY(%s) AND state IN ('pending', 'in_flight')",
        (_UNCERTAIN_NOTE, _UNINSTALLED_NOTE, ids),
    )
    db.execute(
        "WITH taken AS (DELETE FROM alarm WHERE repo_id = ANY(%s) RETURNING repo_id, number, key, due)"
        " INSERT INTO suspended_alarm (repo_id, number, key, due) SELECT repo_id, number, key, due FROM taken"
        " ON CONFLICT (repo_id, number, key) DO UPDATE SET due = excluded.due",
        (ids,),
    )
    db.execute("DELETE FROM policy_review WHERE repo_id = ANY(%s)", (ids,))


def list_suspended_incident_keys(db: Db, ids: Sequence[int]) -> list[IncidentKey]:
    """List the incidents of these repositories whose alarms or outbox items wait for access to be given back."""
    rows = db.execute(
        "SELECT repo_id, number FROM suspended_alarm WHERE repo_id = ANY(%(ids)s)"
        " UNION SELECT repo_id, number FROM outbox"
        " WHERE repo_id = ANY(%(ids)s) AND state = 'skipped' AND note = ANY(%(notes)s) ORDER BY repo_id, number",
        {"ids": list(ids), "notes": [_UNINSTALLED_NOTE, _UNCERTAIN_NOTE]},
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def restore_work(db: Db, ids: Sequence[int], now: datetime) -> datetime | None:
    """Give back the alarms and outbox items of repositories that are accessible again, all due as they were.

    Returns since when the first of them was inaccessible; None if none of them was.
    """
    rows = db.execute(
        "DELETE FROM uninstalled_repository WHERE repo_id = ANY(%s) RETURNING uninstalled_at", (list(ids),)
    ).fetchall()
    if not rows:
        return None
    db.execute(
        "WITH taken AS (DELETE FROM suspended_alarm WHERE repo_id = ANY(%s) RETURNING repo_id, number, key, due)"
        " INSERT INTO alarm (repo_id, number, key, due) SELECT repo_id, number, key, due FROM taken"
        " ON CONFLICT (repo_id, number, key) DO NOTHING",
        (list(ids),),
    )
    # What may have got through stays uncertain, so it is searched for before it is sent again.
    db.execute(
        "UPDATE outbox SET state = CASE WHEN note = %s THEN 'in_flight' ELSE 'pending' END, note = '', not_before = %s"
        " WHERE repo_id = ANY(%s) AND state = 'skipped' AND note = ANY(%s)",
        (_UNCERTAIN_NOTE, now, list(ids), [_UNINSTALLED_NOTE, _UNCERTAIN_NOTE]),
    )
    since: datetime = min(row["uninstalled_at"] for row in rows)
    return since


def make_pending_work_due(db: Db, installation: int, now: datetime) -> int:
    """Make what waits in the outbox for the repositories of an installation due now; return the number of items."""
    return db.execute(
        "UPDATE outbox SET not_before = %s WHERE state IN ('pending', 'in_flight') AND channel = '' AND not_before > %s"
        " AND repo_id IN (SELECT repo_id FROM repository WHERE installation = %s)",
        (now, now, installation),
    ).rowcount


def schedule_check(db: Db, repositories: Sequence[Repository], uninstalled_at: datetime, check_at: datetime) -> None:
    """Schedule the check whether the App is still installed, unless there is one already."""
    for one in repositories:
        db.execute(
            "INSERT INTO uninstalled_repository (repo_id, installation, "
            "name, uninstalled_at, check_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (repo_id) DO NOTHING",
            (one.id, one.installation, one.name, uninstalled_at, check_at),
        )


def clear_uninstall(db: Db, ids: Sequence[int]) -> None:
    """Remove the uninstall records: the App was installed again, or the data has been deleted."""
    db.execute("DELETE FROM uninstalled_repository WHERE repo_id = ANY(%s)", (list(ids),))


def list_due_checks(db: Db, now: datetime) -> list[UninstalledRepository]:
    """List the uninstalled repositories whose check is due, at most 100."""
    rows = db.execute(
        "SELECT repo_id, installation, name, uninstalled_at FROM uninstalled_repository WHERE check_at <= %s"
        " ORDER BY check_at LIMIT 100",
        (now,),
    ).fetchall()
    return [
        UninstalledRepository(Repository(row["repo_id"], row["name"], row["installation"]), row["uninstalled_at"])
        for row in rows
    ]


def postpone_check(db: Db, repo_id: int, check_at: datetime) -> None:
    """Postpone the check of an uninstalled repository."""
    db.execute("UPDATE uninstalled_repository SET check_at = %s WHERE repo_id = %s", (check_at, repo_id))


def delete_repository_data(db: Db, uninstalled: UninstalledRepository) -> None:
    """Delete everything stored of a repository.

    Of each delivery only the id stays, so that it is not fetched or processed again.
    """
    repo_id = uninstalled.repository.id
    db.execute(
        "UPDATE delivery SET body = '', state = 'ignored', note = NULL, number = NULL"
        " WHERE repo_id = %s AND (body <> '' OR number IS NOT NULL)",
        (repo_id,),
    )
    for table in _REPOSITORY_TABLES:
        db.execute(f"DELETE FROM {table} WHERE repo_id = %s", (repo_id,))  # noqa: S608 - a literal of this file
    for table in ("policy", "feed"):
        db.execute(f"DELETE FROM {table} WHERE scope = 'repository' AND id = %s", (repo_id,))  # noqa: S608 - the same
    _delete_installation_data(db, uninstalled.repository.installation)


def _delete_installation_data(db: Db, installation: int) -> None:
    """Delete the data of an installation once none of its repositories is left."""
    if db.execute("SELECT 1 FROM repository WHERE installation = %s LIMIT 1", (installation,)).fetchone():
        return
    for table in ("policy", "feed"):
        statement = SQL("DELETE FROM {} WHERE scope = 'organisation' AND id = %s").format(Identifier(table))
        db.execute(statement, (installation,))
    db.execute("DELETE FROM rate_limit WHERE installation = %s", (installation,))
