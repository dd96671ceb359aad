"""What is to be done, kept until it is done.

*Say once*: a row with the key of its effect, which is never written twice.  *Show latest*: one row for the labels and
one for the board of an incident, which a newer state takes over.  A row is `trying` from before the first call until
its outcome is known, so that a crash in between is seen and looked into before anything is said again.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from app.core.effects import Effect, SetLabels, ShowBoard, ShowDigest
from app.ports import Lane
from app.store.codec import effect_from, effect_json, kind_of
from app.store.database import Db

_SLOTS: dict[type[Effect], str] = {SetLabels: "show/labels", ShowBoard: "show/board", ShowDigest: "show/digest"}


@dataclass(frozen=True, slots=True)
class Order:
    """One row.  `tried` is True when an earlier attempt may have reached the other side; `due`: its time has come."""

    lane: Lane
    key: str
    effect: Effect
    tried: bool
    attempts: int
    created_at: datetime
    due: bool = True


def put(db: Db, lane: Lane, effects: Iterable[Effect], now: datetime) -> int:
    """Add what is to be done; what was said already is left out.  Returns how many rows are new or newly to do."""
    count = 0
    for effect in effects:
        if slot := _SLOTS.get(type(effect)):
            count += _show(db, lane, slot, effect, now)
        else:
            count += _say(db, lane, effect, now)
    return count


def _say(db: Db, lane: Lane, effect: Effect, now: datetime) -> int:
    return db.execute(
        "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s) ON CONFLICT DO NOTHING",
        (lane.repo_id, lane.number, effect.key, kind_of(effect), effect_json(effect), now, now),
    ).rowcount


def _show(db: Db, lane: Lane, slot: str, effect: Effect, now: datetime) -> int:
    """A row that waits shows the newer state when its time comes, no sooner: the other side may have asked for patience.

    A board that may have been posted without our knowing stays `trying`, so that it is looked for first.
    """
    return db.execute(
        "INSERT INTO outbox AS o (repo_id, number, key, kind, data, created_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s)"
        " ON CONFLICT (repo_id, number, key) DO UPDATE SET data = excluded.data,"
        " (state, attempts, created_at, not_before) ="
        " (SELECT o.state, o.attempts, o.created_at, o.not_before WHERE o.state IN ('waiting', 'trying')"
        " UNION ALL SELECT 'waiting', 0, excluded.created_at, excluded.not_before"
        " WHERE o.state NOT IN ('waiting', 'trying'))",
        (lane.repo_id, lane.number, slot, kind_of(effect), effect_json(effect), now, now),
    ).rowcount


def undone(db: Db, lane: Lane, now: datetime) -> list[Order]:
    """What is to be done for that incident, in order, the board last: it shows what the others did."""
    rows = db.execute(
        "SELECT key, kind, data, state, attempts, created_at, not_before FROM outbox"
        " WHERE repo_id = %s AND number = %s AND state IN ('waiting', 'trying') ORDER BY key = 'show/board', position",
        (lane.repo_id, lane.number),
    ).fetchall()
    return [
        Order(
            lane,
            row["key"],
            effect_from(row["kind"], row["data"]),
            row["state"] == "trying",
            row["attempts"],
            row["created_at"],
            row["not_before"] <= now,
        )
        for row in rows
    ]


def trying(db: Db, orders: Iterable[Order]) -> None:
    """Say, before the call, that there will be one."""
    for order in orders:
        db.execute(
            "UPDATE outbox SET state = 'trying', attempts = attempts + 1 WHERE repo_id = %s AND number = %s AND key = %s",
            (order.lane.repo_id, order.lane.number, order.key),
        )


def done(db: Db, order: Order, url: str = "", state: str = "done") -> None:
    """The outcome is known: `done`, or `moot` when there was nothing left to say."""
    db.execute(
        "UPDATE outbox SET state = %s, url = %s, note = '' WHERE repo_id = %s AND number = %s AND key = %s",
        (state, url, order.lane.repo_id, order.lane.number, order.key),
    )


def later(db: Db, order: Order, not_before: datetime, note: str, *, uncertain: bool) -> None:
    """Try again then.  `uncertain`: look first whether it was done after all."""
    db.execute(
        "UPDATE outbox SET state = %s, not_before = %s, note = %s WHERE repo_id = %s AND number = %s AND key = %s",
        (
            "trying" if uncertain else "waiting",
            not_before,
            note[:500],
            order.lane.repo_id,
            order.lane.number,
            order.key,
        ),
    )


def dead(db: Db, order: Order, note: str) -> None:
    """The other side says never: set aside for a person to look at."""
    db.execute(
        "UPDATE outbox SET state = 'dead', note = %s WHERE repo_id = %s AND number = %s AND key = %s",
        (note[:500], order.lane.repo_id, order.lane.number, order.key),
    )


def said(db: Db, lane: Lane, key: str, url: str) -> None:
    """A rebuild found that it was done."""
    db.execute(
        "UPDATE outbox SET state = 'done', url = %s WHERE repo_id = %s AND number = %s AND key = %s",
        (url, lane.repo_id, lane.number, key),
    )


def links(db: Db, lane: Lane) -> dict[str, str]:
    """Where each thing that was said can be seen, by its key."""
    rows = db.execute(
        "SELECT key, url FROM outbox WHERE repo_id = %s AND number = %s AND url <> ''", (lane.repo_id, lane.number)
    ).fetchall()
    return {row["key"]: row["url"] for row in rows}


def lanes_waiting(db: Db, now: datetime) -> list[Lane]:
    """The incidents with something to do by `now`."""
    rows = db.execute(
        "SELECT DISTINCT repo_id, number FROM outbox WHERE state IN ('waiting', 'trying') AND not_before <= %s LIMIT 500",
        (now,),
    ).fetchall()
    return [Lane(row["repo_id"], row["number"]) for row in rows]


def states(db: Db) -> list[tuple[Lane, str, str]]:
    """Every effect that is said once, and how far it is."""
    rows = db.execute(
        "SELECT repo_id, number, key, state FROM outbox WHERE key NOT LIKE 'show/%%' ORDER BY repo_id, number, key"
    ).fetchall()
    return [(Lane(row["repo_id"], row["number"]), row["key"], row["state"]) for row in rows]


def put_off(db: Db, order: Order, not_before: datetime, note: str) -> None:
    """It was not tried after all: nothing was sent, and it waits until then."""
    db.execute(
        "UPDATE outbox SET state = %s, attempts = attempts - 1, not_before = %s, note = %s"
        " WHERE repo_id = %s AND number = %s AND key = %s",
        (
            "trying" if order.tried else "waiting",
            not_before,
            note,
            order.lane.repo_id,
            order.lane.number,
            order.key,
        ),
    )
