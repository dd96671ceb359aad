"""What was set aside for a person: deliveries that nobody could read, and orders that the other side refused."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class Parked:
    """One delivery.  `tries` is how often it was tried, `bytes` how long it is."""

    hook: str
    guid: str
    event: str
    received_at: datetime
    tries: int
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class Dead:
    """One order.  `number` is its own; `repo` is empty where the repository is not known any more."""

    number: int
    repo: str
    issue: int
    key: str
    kind: str
    created_at: datetime
    tries: int
    why: str


def parked(db: Db, guid: str | None = None) -> list[Parked]:
    """The deliveries that wait, the oldest first; all, or those of that id, which several hooks may share."""
    rows = db.execute(
        "SELECT hook, guid, event, received_at, tries, length(body) AS bytes, coalesce(note, '') AS why FROM delivery"
        " WHERE state = 'parked' AND guid = coalesce(%s, guid) ORDER BY arrival",
        (guid,),
    ).fetchall()
    return [Parked(**row) for row in rows]


def body(db: Db, one: Parked) -> bytes:
    """The delivery as it was sent."""
    row = db.execute("SELECT body FROM delivery WHERE hook = %s AND guid = %s", (one.hook, one.guid)).fetchone()
    return bytes(row["body"]) if row else b""


def put_back(db: Db, guid: str) -> int:
    """Have it tried again, as if it had just come.  How many there were."""
    return db.execute(
        "UPDATE delivery SET state = 'new', repo_id = NULL, number = NULL WHERE state = 'parked' AND guid = %s", (guid,)
    ).rowcount


def drop(db: Db, guid: str, note: str) -> int:
    """Nothing is to be done about it, for the reason in `note`.  How many there were."""
    return db.execute(
        "UPDATE delivery SET state = 'ignored', note = %s WHERE state = 'parked' AND guid = %s", (note[:500], guid)
    ).rowcount


def dead(db: Db) -> list[Dead]:
    """The orders that wait, the oldest first."""
    rows = db.execute(
        "SELECT o.position AS number, coalesce(r.name, '') AS repo, o.number AS issue, o.key, o.kind, o.created_at,"
        " o.attempts AS tries, o.note AS why FROM outbox o LEFT JOIN repository r USING (repo_id)"
        " WHERE o.state = 'dead' ORDER BY o.position"
    ).fetchall()
    return [Dead(**row) for row in rows]


def try_again(db: Db, number: int, now: datetime) -> bool:
    """Carry it out after all, after a look whether it was done; whether there was such an order."""
    changed = db.execute(
        "UPDATE outbox SET state = 'trying', attempts = 0, not_before = %s WHERE state = 'dead' AND position = %s",
        (now, number),
    )
    return changed.rowcount > 0


def leave(db: Db, number: int, note: str) -> bool:
    """It is not to be carried out, for the reason in `note`; whether there was such an order."""
    changed = db.execute(
        "UPDATE outbox SET state = 'moot', note = %s WHERE state = 'dead' AND position = %s", (note[:500], number)
    )
    return changed.rowcount > 0
