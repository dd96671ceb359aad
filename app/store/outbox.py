"""What is to be done, kept until it is done.

*Say once*: a row with the key of its effect, which is never written twice.  *Show latest*: one row for the labels and
one for the board of an incident, which a newer state takes over.  A row is `trying` from before the first call until
its outcome is known, so that a crash in between is seen and looked into before anything is said again.  Every attempt
has a `token`; what is written down under an older one is not taken.
Rows with a `channel` are no business of GitHub's: see `messages`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import LiteralString

from app.core.effects import Effect, SetLabels, ShowBoard, ShowDigest
from app.ports import Lane
from app.store.database import Db
from app.store.serialization import effect_from, effect_json, kind_of

_SLOTS: dict[type[Effect], str] = {SetLabels: "show/labels", ShowBoard: "show/board", ShowDigest: "show/digest"}
SHOWN = tuple(_SLOTS.values())
"""What shows how things are, rather than to say something: it goes after what is to be said for incidents as severe."""


class Overtaken(Exception):
    """Somebody else carries this out now: nothing more may be done about it here."""


@dataclass(frozen=True, slots=True)
class Order:
    """One row.  `tried` is True when an earlier attempt may have reached the other side; `due`: its time has come, which was
    not before `not_before`.

    `held_until`: an attempt may still be under way, so nobody begins another before that; None: there is none.
    `unseen_until`: what was sent may still arrive, so it may be looked for but is not sent again; None: nothing may.
    """

    lane: Lane
    key: str
    effect: Effect
    tried: bool
    attempts: int
    created_at: datetime
    not_before: datetime
    due: bool = True
    held_until: datetime | None = None
    token: int = 0
    unseen_until: datetime | None = None

    @property
    def under_way(self) -> bool:
        """Whether it may be about to be said, by whoever."""
        return self.held_until is not None or self.unseen_until is not None

    @property
    def next_at(self) -> datetime:
        """When there is something to be done about it."""
        return max(self.not_before, self.held_until or self.not_before)


def put(db: Db, lane: Lane, effects: Iterable[Effect], now: datetime) -> int:
    """Add what is to be done; what was said already is left out.  Returns how many rows are new or newly to do."""
    effects = list(effects)
    newest = {slot: effect for effect in effects if (slot := _SLOTS.get(type(effect)))}
    count = 0
    for slot, those in groupby(effects, key=lambda effect: _SLOTS.get(type(effect))):
        if slot is None:
            count += _say(db, lane, those, now)
        elif slot in newest:
            count += _show(db, lane, slot, newest.pop(slot), now)
    return count


def _say(db: Db, lane: Lane, effects: Iterable[Effect], now: datetime) -> int:
    keys, kinds, data = zip(*((each.key, kind_of(each), effect_json(each)) for each in effects), strict=True)
    return db.execute(
        "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before)"
        " SELECT %(repo_id)s, %(number)s, key, kind, data, %(now)s, %(now)s"
        " FROM unnest(%(keys)s::text[], %(kinds)s::text[], %(data)s::jsonb[]) WITH ORDINALITY AS said (key, kind, data, nth)"
        " ORDER BY nth ON CONFLICT DO NOTHING",
        {
            "repo_id": lane.repo_id,
            "number": lane.number,
            "now": now,
            "keys": list(keys),
            "kinds": list(kinds),
            "data": list(data),
        },
    ).rowcount


def _show(db: Db, lane: Lane, slot: str, effect: Effect, now: datetime) -> int:
    """A row that waits shows the newer state when its time comes, no sooner: the other side may have asked for patience.

    A board that may have been posted without our knowing stays `trying`, so that it is looked for first.  Whoever shows the
    older state at this moment is overtaken, or the newer one would count as shown.
    """
    return db.execute(
        "INSERT INTO outbox AS o (repo_id, number, key, kind, data, created_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s)"
        " ON CONFLICT (repo_id, number, key) DO UPDATE SET data = excluded.data, token = o.token + 1,"
        " (state, attempts, created_at, not_before) ="
        " (SELECT o.state, o.attempts, o.created_at, o.not_before WHERE o.state IN ('waiting', 'trying')"
        " UNION ALL SELECT 'waiting', 0, excluded.created_at, excluded.not_before"
        " WHERE o.state NOT IN ('waiting', 'trying'))",
        (lane.repo_id, lane.number, slot, kind_of(effect), effect_json(effect), now, now),
    ).rowcount


def undone(db: Db, lane: Lane, now: datetime) -> list[Order]:
    """What is to be done for that incident, in order: people first, and the board last, which shows what the others did."""
    rows = db.execute(
        "SELECT key, kind, data, state, attempts, created_at, not_before, token,"
        " CASE WHEN held_until > %s THEN held_until END AS held,"
        " CASE WHEN unseen_until > %s THEN unseen_until END AS unseen FROM outbox"
        " WHERE repo_id = %s AND number = %s AND state IN ('waiting', 'trying') AND channel = ''"
        " ORDER BY key = ANY(%s), key = 'show/board', position",
        (now, now, lane.repo_id, lane.number, list(SHOWN)),
    ).fetchall()
    return [
        Order(
            lane,
            row["key"],
            effect_from(row["kind"], row["data"]),
            row["state"] == "trying",
            row["attempts"],
            row["created_at"],
            row["not_before"],
            row["not_before"] <= now and row["held"] is None,
            row["held"],
            row["token"],
            row["unseen"],
        )
        for row in rows
    ]


def known(db: Db, lane: Lane, keys: Iterable[str]) -> set[str]:
    """Those of `keys` that are in the outbox already, done or not."""
    rows = db.execute(
        "SELECT key FROM outbox WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
        (lane.repo_id, lane.number, list(keys)),
    ).fetchall()
    return {row["key"] for row in rows}


def trying(db: Db, orders: Iterable[Order], until: datetime) -> list[Order]:
    """Say, before the call, that there will be one; nobody else begins before `until`.  The orders with their new token.

    Raises Overtaken when one of them has been taken up, or changed, since it was read.
    """
    return [_taken(db, order, until) for order in orders]


def _taken(db: Db, order: Order, until: datetime) -> Order:
    changed = _change(
        db,
        order,
        "state = 'trying', attempts = attempts + 1, token = token + 1, held_until = %s",
        until,
        only="state IN ('waiting', 'trying')",
    )
    if not changed:
        raise Overtaken(order.key)
    return replace(order, token=order.token + 1)


def hold(db: Db, orders: Sequence[Order], until: datetime) -> None:
    """Keep the right to carry them out until then.  Raises Overtaken when it is not ours any more."""
    for order in orders:
        if not _change(db, order, "held_until = %s", until, only="state = 'trying'"):
            raise Overtaken(order.key)


def done(db: Db, order: Order, url: str = "", state: str = "done") -> None:
    """The outcome is known: `done`, or `moot` when there was nothing left to say."""
    _change(db, order, "state = %s, url = %s, note = '', held_until = NULL, unseen_until = NULL", state, url)


def drop(db: Db, lane: Lane, keys: Iterable[str]) -> None:
    """Nobody has to hear these any more."""
    db.execute(
        "UPDATE outbox SET state = 'moot', held_until = NULL WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
        (lane.repo_id, lane.number, list(keys)),
    )


def later(
    db: Db, order: Order, not_before: datetime, note: str, *, uncertain: bool, unseen_until: datetime | None = None
) -> None:
    """Try again then.  `uncertain`: look first whether it was done after all; until `unseen_until` only look, for what was
    sent may still arrive."""
    _change(
        db,
        order,
        "state = %s, not_before = %s, note = %s, held_until = NULL, unseen_until = greatest(unseen_until, %s)",
        "trying" if uncertain else "waiting",
        not_before,
        note[:500],
        unseen_until,
    )


def held(db: Db, order: Order, not_before: datetime, note: str, *, begun: bool = False) -> None:
    """It counts as no attempt, and what is to be done for that incident waits with it, in its order; but nothing waits for
    what only shows how things are, which may have given way to all others.

    `begun`: of several steps some may have been done, so look first.
    """
    _change(
        db,
        order,
        "state = %s, attempts = %s, not_before = %s, note = %s, held_until = NULL",
        "trying" if begun or order.tried else "waiting",
        order.attempts,
        not_before,
        note[:500],
    )
    if order.key not in SHOWN:
        db.execute(
            "UPDATE outbox SET not_before = %s WHERE repo_id = %s AND number = %s AND state IN ('waiting', 'trying')"
            " AND channel = '' AND not_before < %s",
            (not_before, order.lane.repo_id, order.lane.number, not_before),
        )


def dead(db: Db, order: Order, note: str) -> None:
    """The other side says never: set aside for a person to look at."""
    _change(db, order, "state = 'dead', note = %s, held_until = NULL", note[:500])


def _change(db: Db, order: Order, what: LiteralString, *values: object, only: LiteralString = "true") -> bool:
    """Change the row of that order; False when somebody else has taken it up since, or changed it."""
    changed = db.execute(
        # Both parts are literals of this file.
        f"UPDATE outbox SET {what} WHERE repo_id = %s AND number = %s AND key = %s AND token = %s AND {only}",  # noqa: S608
        (*values, order.lane.repo_id, order.lane.number, order.key, order.token),
    )
    return changed.rowcount == 1


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
        "SELECT DISTINCT repo_id, number FROM outbox WHERE state IN ('waiting', 'trying') AND channel = '' AND not_before <= %s"
        " AND (held_until IS NULL OR held_until <= %s) LIMIT 500",
        (now, now),
    ).fetchall()
    return [Lane(row["repo_id"], row["number"]) for row in rows]


def states(db: Db) -> list[tuple[Lane, str, str]]:
    """Every effect that is said once on GitHub, and how far it is."""
    rows = db.execute(
        "SELECT repo_id, number, key, state FROM outbox WHERE key NOT LIKE 'show/%%' AND channel = '' ORDER BY repo_id, number, key"
    ).fetchall()
    return [(Lane(row["repo_id"], row["number"]), row["key"], row["state"]) for row in rows]


def put_off(db: Db, order: Order, not_before: datetime, note: str) -> None:
    """It was not tried after all: nothing was sent, and it waits until then."""
    _change(
        db,
        order,
        "state = %s, attempts = attempts - 1, not_before = %s, note = %s, held_until = NULL",
        "trying" if order.tried else "waiting",
        not_before,
        note,
    )
