"""Repositories that the App was taken off: what is cancelled at once, and what is forgotten a little later."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

from app.ports import Repository
from app.store.database import Db

_OF_REPOSITORY: tuple[LiteralString, ...] = (
    *("incident", "event", "alarm", "outbox", "incident_number"),
    *("spoken", "breaker", "stranger", "digest", "repository"),
)


@dataclass(frozen=True, slots=True)
class Departed:
    """A repository that was left at that time, as it was last known."""

    repository: Repository
    at: datetime


def of_installation(db: Db, installation: int) -> list[Repository]:
    """The repositories that this installation let us into, as far as we know."""
    rows = db.execute("SELECT repo_id, name FROM repository WHERE installation = %s", (installation,)).fetchall()
    return [Repository(row["repo_id"], row["name"], installation) for row in rows]


def leave(db: Db, repositories: Sequence[Repository], at: datetime, look_at: datetime) -> None:
    """Cancel what was still to be done there, and look again then."""
    ids = [one.id for one in repositories]
    for one in repositories:
        db.execute(
            "INSERT INTO departed (repo_id, installation, name, at, look_at) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (repo_id) DO NOTHING",
            (one.id, one.installation, one.name, at, look_at),
        )
    db.execute(
        "UPDATE outbox SET state = 'moot', note = 'the App was taken off', token = token + 1, held_until = NULL"
        " WHERE repo_id = ANY(%s) AND state IN ('waiting', 'trying')",
        (ids,),
    )
    db.execute("DELETE FROM alarm WHERE repo_id = ANY(%s)", (ids,))


def come_back(db: Db, ids: Sequence[int]) -> None:
    """These let us in (again), or are forgotten for good."""
    db.execute("DELETE FROM departed WHERE repo_id = ANY(%s)", (list(ids),))


def to_look_at(db: Db, now: datetime) -> list[Departed]:
    """Those whose time has come."""
    rows = db.execute(
        "SELECT repo_id, installation, name, at FROM departed WHERE look_at <= %s ORDER BY look_at LIMIT 100", (now,)
    ).fetchall()
    return [Departed(Repository(row["repo_id"], row["name"], row["installation"]), row["at"]) for row in rows]


def later(db: Db, repo_id: int, look_at: datetime) -> None:
    db.execute("UPDATE departed SET look_at = %s WHERE repo_id = %s", (look_at, repo_id))


def forget(db: Db, one: Departed) -> None:
    """Delete all that is known of it.  Of a delivery its id stays, so that it is not fetched or taken once more."""
    repo_id = one.repository.id
    db.execute(
        "UPDATE delivery SET body = '', state = 'ignored', note = NULL, number = NULL"
        " WHERE repo_id = %s AND (body <> '' OR number IS NOT NULL)",
        (repo_id,),
    )
    for table in _OF_REPOSITORY:
        db.execute(f"DELETE FROM {table} WHERE repo_id = %s", (repo_id,))  # noqa: S608 - a literal of this file
    for table in ("policy", "feed"):
        db.execute(f"DELETE FROM {table} WHERE place = 'repository' AND id = %s", (repo_id,))  # noqa: S608 - the same
    _forget_installation(db, one.repository.installation)


def _forget_installation(db: Db, installation: int) -> None:
    """What concerns all its repositories, once none of them is left."""
    if db.execute("SELECT 1 FROM repository WHERE installation = %s LIMIT 1", (installation,)).fetchone():
        return
    for table in ("policy", "feed"):
        db.execute(f"DELETE FROM {table} WHERE place = 'organisation' AND id = %s", (installation,))  # noqa: S608 - the same
    db.execute("DELETE FROM pace WHERE installation = %s", (installation,))
