"""Deliveries as they came, until each has been taken by its incident."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from app.ports import Lane
from app.store.database import Db, Row

EARLY = "no incident"
"""The note of a delivery about an issue that is no incident; the index `delivery_early` knows it too."""
_SORTING = 720_221
"""Who has this lock of the database sorts."""


class Kept(Enum):
    """What became of a delivery at the door."""

    NEW = "new"
    KNOWN = "known"
    REUSED = "reused"
    """The id is known with another body: nothing of it is processed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook delivery, body as sent."""

    hook: str
    guid: str
    event: str
    body: bytes
    received_at: datetime


def keep(db: Db, delivery: Delivery) -> Kept:
    """Store a delivery once under its hook and id."""
    digest = hashlib.sha256(delivery.body).digest()
    stored = db.execute(
        "INSERT INTO delivery (hook, guid, event, body, digest, received_at) VALUES (%s, %s, %s, %b, %s, %s)"
        " ON CONFLICT (hook, guid) DO NOTHING",
        (delivery.hook, delivery.guid, delivery.event, delivery.body, digest, delivery.received_at),
    )
    if stored.rowcount:
        return Kept.NEW
    known = db.execute(
        "SELECT digest FROM delivery WHERE hook = %s AND guid = %s", (delivery.hook, delivery.guid)
    ).fetchone()
    return Kept.KNOWN if known and hmac.compare_digest(bytes(known["digest"]), digest) else Kept.REUSED


def alone(db: Db) -> bool:
    """Whether nobody else sorts until this transaction ends.

    Two at once would wait for each other at the repositories that both of them write, each in its own order.
    """
    row = db.execute("SELECT pg_try_advisory_xact_lock(%s) AS free", (_SORTING,)).fetchone()
    return row is not None and bool(row["free"])


def unsorted(db: Db, limit: int = 200) -> list[Delivery]:
    """The oldest deliveries that nobody has looked at, locked for this transaction; those locked elsewhere are skipped."""
    rows = db.execute(
        "SELECT hook, guid, event, body, received_at FROM delivery WHERE state = 'new'"
        " ORDER BY arrival LIMIT %s FOR UPDATE SKIP LOCKED",
        (limit,),
    ).fetchall()
    return [_delivery(row) for row in rows]


def sort_into(db: Db, sorted_: Iterable[tuple[Delivery, Lane]], *, taken: bool = False) -> None:
    """Each delivery is for its incident, and waits there; `taken`: it says nothing that is not known."""
    rows = [(lane.repo_id, lane.number, delivery.hook, delivery.guid) for delivery, lane in sorted_]
    if not rows:
        return
    repositories, numbers, hooks, guids = zip(*rows, strict=True)
    db.execute(
        "UPDATE delivery SET state = %s, repo_id = to_.repo_id, number = to_.number"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) AS to_ (repo_id, number, hook, guid)"
        " WHERE (delivery.hook, delivery.guid) = (to_.hook, to_.guid)",
        ("taken" if taken else "sorted", list(repositories), list(numbers), list(hooks), list(guids)),
    )


def known(db: Db, guids: Iterable[str]) -> set[str]:
    """Those of these ids under which a delivery has come, by whichever hook."""
    rows = db.execute("SELECT guid FROM delivery WHERE guid = ANY(%s)", (list(guids),)).fetchall()
    return {row["guid"] for row in rows}


def take(db: Db, deliveries: Iterable[Delivery], *, early: bool) -> None:
    """They have been taken in; `early`: into nothing, for their issue is no incident as far as we know."""
    those = list(deliveries)
    db.execute(
        "UPDATE delivery SET state = 'taken', note = %s"
        " WHERE (hook, guid) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        (EARLY if early else "", [one.hook for one in those], [one.guid for one in those]),
    )


def take_again(db: Db, lane: Lane) -> None:
    """The issue turned out to be an incident: what came before we knew waits for it again."""
    db.execute(
        "UPDATE delivery SET state = 'sorted', note = NULL"
        " WHERE note = 'no incident' AND state = 'taken' AND repo_id = %s AND number = %s",
        (lane.repo_id, lane.number),
    )


def take_again_since(db: Db, lane: Lane, since: datetime) -> None:
    """The incident is made anew from what GitHub said at that time: what came since waits for it again."""
    db.execute(
        "UPDATE delivery SET state = 'sorted'"
        " WHERE state = 'taken' AND received_at >= %s AND repo_id = %s AND number = %s",
        (since, lane.repo_id, lane.number),
    )


def of_lane(db: Db, lane: Lane, most: int = 500) -> list[Delivery]:
    """The oldest deliveries that wait for this incident, in the order of their arrival."""
    rows = db.execute(
        "SELECT hook, guid, event, body, received_at FROM delivery"
        " WHERE state = 'sorted' AND repo_id = %s AND number = %s ORDER BY arrival LIMIT %s",
        (lane.repo_id, lane.number, most),
    ).fetchall()
    return [_delivery(row) for row in rows]


def settle(db: Db, delivery: Delivery, state: str, note: str = "") -> None:
    """The end of a delivery: `taken`, `ignored` (nothing for us) or `parked` (nobody can read it)."""
    db.execute(
        "UPDATE delivery SET state = %s, note = %s, tries = tries + %s::boolean::integer WHERE hook = %s AND guid = %s",
        (state, note[:500], state == "parked", delivery.hook, delivery.guid),
    )


def ignore(db: Db, delivery: Delivery, repo_id: int | None) -> None:
    """The end of a delivery with nothing for us, about that repository or none."""
    settle(db, delivery, "ignored")
    db.execute(
        "UPDATE delivery SET repo_id = %s WHERE hook = %s AND guid = %s", (repo_id, delivery.hook, delivery.guid)
    )


def empty(db: Db, delivery: Delivery) -> None:
    """What it said is not kept; its id is."""
    db.execute("UPDATE delivery SET body = '' WHERE hook = %s AND guid = %s", (delivery.hook, delivery.guid))


def any_new(db: Db) -> bool:
    """Whether a delivery waits that nobody has sorted."""
    return db.execute("SELECT 1 FROM delivery WHERE state = 'new' LIMIT 1").fetchone() is not None


def waiting_lanes(db: Db) -> list[Lane]:
    """The incidents for which a sorted delivery waits, five hundred at most: those for which one has waited longest."""
    rows = db.execute(
        "SELECT repo_id, number FROM delivery WHERE state = 'sorted' GROUP BY repo_id, number"
        " ORDER BY min(arrival) LIMIT 500"
    ).fetchall()
    return [Lane(row["repo_id"], row["number"]) for row in rows]


def _delivery(row: Row) -> Delivery:
    return Delivery(row["hook"], row["guid"], row["event"], bytes(row["body"]), row["received_at"])
