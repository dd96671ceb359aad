"""Dead letters of the inbox and the outbox: deliveries that cannot be parsed, and effects refused for good."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class DeadDelivery:
    """A delivery in state `dead`.

    `tries` is how often it was processed, `bytes` the length of its body.  The field names are keys of the JSON
    that `muster inbox list --json` prints.
    """

    hook: str
    guid: str
    event: str
    received_at: datetime
    tries: int
    bytes: int
    why: str


@dataclass(frozen=True, slots=True)
class DeadOutboxItem:
    """An outbox item in state `dead`.

    `number` is its position in the outbox; `repo` is empty where the repository is unknown.  The field names are
    keys of the JSON that `muster outbox list --json` prints.
    """

    number: int
    repo: str
    issue: int
    key: str
    kind: str
    created_at: datetime
    tries: int
    why: str


def list_dead_deliveries(db: Db, guid: str | None = None) -> list[DeadDelivery]:
    """List dead deliveries, oldest first.

    `guid` None: all of them; otherwise those with that id, which several hooks may share.
    """
    rows = db.execute(
        "SELECT hook, guid, event, received_at, attempts AS tries, "
        "length(body) AS bytes, coalesce(note, '') AS why FROM delivery"
        " WHERE state = 'dead' AND guid = coalesce(%s, guid) ORDER BY arrival",
        (guid,),
    ).fetchall()
    return [DeadDelivery(**row) for row in rows]


def load_body(db: Db, delivery: DeadDelivery) -> bytes:
    """Load the raw body of a delivery, as it was sent."""
    row = db.execute(
        "SELECT body FROM delivery WHERE hook = %s AND guid = %s", (delivery.hook, delivery.guid)
    ).fetchone()
    return bytes(row["body"]) if row else b""


def retry_delivery(db: Db, guid: str) -> int:
    """Put the dead deliveries with that id back to `received`, and return how many there were."""
    return db.execute(
        "UPDATE delivery SET state = 'received', repo_id = NULL, number = NULL WHERE state = 'dead' AND guid = %s",
        (guid,),
    ).rowcount


def drop_delivery(db: Db, guid: str, note: str) -> int:
    """Mark the dead deliveries with that id as ignored, for the reason in `note`, and return how many there were."""
    return db.execute(
        "UPDATE delivery SET state = 'ignored', note = %s WHERE state = 'dead' AND guid = %s", (note[:500], guid)
    ).rowcount


def list_dead_outbox_items(db: Db) -> list[DeadOutboxItem]:
    """List dead outbox items, oldest first."""
    rows = db.execute(
        "SELECT o.position AS number, coalesce(r.name, '') AS repo, o.number AS issue, o.key, o.kind, o.created_at,"
        " o.attempts AS tries, o.note AS why FROM outbox o LEFT JOIN repository r USING (repo_id)"
        " WHERE o.state = 'dead' ORDER BY o.position"
    ).fetchall()
    return [DeadOutboxItem(**row) for row in rows]


def retry_outbox_item(db: Db, number: int, now: datetime) -> bool:
    """Retry a dead outbox item, and return whether there was one.

    Its outcome counts as unknown, so GitHub is checked before anything is sent again.
    """
    changed = db.execute(
        "UPDATE outbox SET state = 'in_flight', attempts = 0, not_before = %s WHERE state = 'dead' AND position = %s",
        (now, number),
    )
    return changed.rowcount > 0


def drop_outbox_item(db: Db, number: int, note: str) -> bool:
    """Mark a dead outbox item as skipped, for the reason in `note`, and return whether there was one."""
    changed = db.execute(
        "UPDATE outbox SET state = 'skipped', note = %s WHERE state = 'dead' AND position = %s", (note[:500], number)
    )
    return changed.rowcount > 0
