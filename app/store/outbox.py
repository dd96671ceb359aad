"""Outbox: effects to carry out, kept until they are done.

Most effects are carried out once: a row under the key of its effect is never written twice.  Labels and board display
state: each has one row per incident, which a newer state replaces.  A row is `in_flight` from before the first call
until its outcome is known, so that a crash in between is detected and GitHub is checked before anything is posted
again.  Every attempt has a `fencing_token`; an outcome under an older token is not recorded.  Rows with a `channel`
are not sent to GitHub: see `channel_outbox`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import groupby
from typing import LiteralString

from app.core.effects import Effect, SetLabels, ShowBoard, ShowDigest
from app.ports import IncidentKey
from app.store.database import Db
from app.store.serialization import kind_of, parse_effect, serialize_effect

_DISPLAY_KEY_BY_TYPE: dict[type[Effect], str] = {
    SetLabels: "show/labels",
    ShowBoard: "show/board",
    ShowDigest: "show/digest",
}
"""The fixed key of each effect that displays state, so that a newer one replaces the older."""
DISPLAY_KEYS = tuple(_DISPLAY_KEY_BY_TYPE.values())
"""Keys of effects that display state instead of notifying: they go after notices for incidents of the same severity."""


class LeaseLost(Exception):
    """The lease belongs to a newer holder: no further write is allowed here."""


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """One outbox row for GitHub.

    `outcome_unknown` is True when an earlier attempt may have reached GitHub.  `due`: `not_before` has passed and no
    lease is active.  `lease_until`: an attempt may be running, so no other starts before then; None: none is running.
    `may_arrive_until`: a sent request may still arrive, so GitHub may be checked but nothing is sent again; None: no
    such request.  `refused_since`: GitHub has refused every attempt since then; None: it did not refuse the last one.
    """

    incident_key: IncidentKey
    key: str
    effect: Effect
    outcome_unknown: bool
    attempts: int
    created_at: datetime
    not_before: datetime
    due: bool = True
    lease_until: datetime | None = None
    fencing_token: int = 0
    may_arrive_until: datetime | None = None
    refused_since: datetime | None = None

    @property
    def may_be_in_flight(self) -> bool:
        """Whether an attempt of any worker may be running, or a sent request may still arrive."""
        return self.lease_until is not None or self.may_arrive_until is not None

    @property
    def next_action_at(self) -> datetime:
        """When the next attempt is possible."""
        return max(self.not_before, self.lease_until or self.not_before)


def add_effects(db: Db, incident_key: IncidentKey, effects: Iterable[Effect], now: datetime) -> int:
    """Add effects to the outbox, and return how many rows are new or pending again.

    Effects that were added before are left out.
    """
    effects = list(effects)
    newest_by_key = {
        display_key: effect for effect in effects if (display_key := _DISPLAY_KEY_BY_TYPE.get(type(effect)))
    }
    count = 0
    for display_key, group in groupby(effects, key=lambda effect: _DISPLAY_KEY_BY_TYPE.get(type(effect))):
        if display_key is None:
            count += _add_once(db, incident_key, group, now)
        elif display_key in newest_by_key:
            count += _replace_latest(db, incident_key, display_key, newest_by_key.pop(display_key), now)
    return count


def _add_once(db: Db, incident_key: IncidentKey, effects: Iterable[Effect], now: datetime) -> int:
    """Insert effects that are carried out once."""
    keys, kinds, data = zip(
        *((effect.key, kind_of(effect), serialize_effect(effect)) for effect in effects), strict=True
    )
    return db.execute(
        "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before)"
        " SELECT %(repo_id)s, %(number)s, key, kind, data, %(now)s, %(now)s"
        " FROM unnest(%(keys)s::text[], %(kinds)s::text[], "
        "%(data)s::jsonb[]) WITH ORDINALITY AS added (key, kind, data, nth)"
        " ORDER BY nth ON CONFLICT DO NOTHING",
        {
            "repo_id": incident_key.repo_id,
            "number": incident_key.number,
            "now": now,
            "keys": list(keys),
            "kinds": list(kinds),
            "data": list(data),
        },
    ).rowcount


def _replace_latest(db: Db, incident_key: IncidentKey, display_key: str, effect: Effect, now: datetime) -> int:
    """Replace the state that the row under `display_key` shows.

    A pending row keeps its time: GitHub may have asked us to wait.  A board that may have been posted without our
    knowledge stays `in_flight`, so that it is looked up first.  A worker that is showing the older state loses its
    lease, or the newer state would count as shown.
    """
    return db.execute(
        "INSERT INTO outbox AS o (repo_id, number, key, kind, data, created_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s)"
        " ON CONFLICT (repo_id, number, key) DO UPDATE SET data = excluded.data, fencing_token = o.fencing_token + 1,"
        " (state, attempts, created_at, not_before) ="
        " (SELECT o.state, o.attempts, o.created_at, o.not_before WHERE o.state IN ('pending', 'in_flight')"
        " UNION ALL SELECT 'pending', 0, excluded.created_at, excluded.not_before"
        " WHERE o.state NOT IN ('pending', 'in_flight'))",
        (incident_key.repo_id, incident_key.number, display_key, kind_of(effect), serialize_effect(effect), now, now),
    ).rowcount


def list_unfinished(db: Db, incident_key: IncidentKey, now: datetime) -> list[OutboxItem]:
    """List the unfinished items of an incident: notices first, and the board last, which shows their results."""
    rows = db.execute(
        "SELECT key, kind, data, state, attempts, created_at, not_before, fencing_token, refused_since,"
        " CASE WHEN lease_until > %s THEN lease_until END AS active_lease_until,"
        " CASE WHEN may_arrive_until > %s THEN may_arrive_until END AS pending_arrival_until FROM outbox"
        " WHERE repo_id = %s AND number = %s AND state IN ('pending', 'in_flight') AND channel = ''"
        " ORDER BY key = ANY(%s), key = 'show/board', position",
        (now, now, incident_key.repo_id, incident_key.number, list(DISPLAY_KEYS)),
    ).fetchall()
    return [
        OutboxItem(
            incident_key,
            row["key"],
            parse_effect(row["kind"], row["data"]),
            row["state"] == "in_flight",
            row["attempts"],
            row["created_at"],
            row["not_before"],
            row["not_before"] <= now and row["active_lease_until"] is None,
            row["active_lease_until"],
            row["fencing_token"],
            row["pending_arrival_until"],
            row["refused_since"],
        )
        for row in rows
    ]


def find_known_keys(db: Db, incident_key: IncidentKey, keys: Iterable[str]) -> set[str]:
    """Return the keys among `keys` that are in the outbox, finished or not."""
    rows = db.execute(
        "SELECT key FROM outbox WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
        (incident_key.repo_id, incident_key.number, list(keys)),
    ).fetchall()
    return {row["key"] for row in rows}


def start_attempt(db: Db, items: Iterable[OutboxItem], lease_until: datetime) -> list[OutboxItem]:
    """Start an attempt on each item before the call, and return the items with their new fencing tokens.

    No other attempt starts before `lease_until`.  Raises LeaseLost when an item was taken or changed since it was
    read.
    """
    return [_start_item_attempt(db, item, lease_until) for item in items]


def _start_item_attempt(db: Db, item: OutboxItem, lease_until: datetime) -> OutboxItem:
    changed = _update_item(
        db,
        item,
        "state = 'in_flight', attempts = attempts + 1, fencing_token = fencing_token + 1, lease_until = %s",
        lease_until,
        condition="state IN ('pending', 'in_flight')",
    )
    if not changed:
        raise LeaseLost(item.key)
    return replace(item, fencing_token=item.fencing_token + 1)


def renew_lease(db: Db, items: Sequence[OutboxItem], lease_until: datetime) -> None:
    """Renew the lease on these items; raises LeaseLost when a newer holder has one of them."""
    for item in items:
        if not _update_item(db, item, "lease_until = %s", lease_until, condition="state = 'in_flight'"):
            raise LeaseLost(item.key)


def complete(db: Db, item: OutboxItem, url: str = "", state: str = "done") -> None:
    """Record the outcome of an item: `done`, or `skipped` when it was no longer relevant."""
    _update_item(
        db,
        item,
        "state = %s, url = %s, note = '', lease_until = NULL, may_arrive_until = NULL, refused_since = NULL,"
        " refusal = ''",
        state,
        url,
    )


def skip(db: Db, incident_key: IncidentKey, keys: Iterable[str]) -> None:
    """Skip the items with these keys: they are no longer relevant."""
    db.execute(
        "UPDATE outbox SET state = 'skipped', refusal = '', lease_until = NULL"
        " WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
        (incident_key.repo_id, incident_key.number, list(keys)),
    )


def retry_at(
    db: Db,
    item: OutboxItem,
    not_before: datetime,
    note: str,
    *,
    outcome_unknown: bool,
    may_arrive_until: datetime | None = None,
    refusal: str = "",
    refused_since: datetime | None = None,
) -> None:
    """Retry at that time.

    `outcome_unknown`: check GitHub first, for the attempt may have succeeded; until `may_arrive_until` only check,
    for the request may still arrive.  `refusal`: what GitHub refused and what would help, for people; empty: it did
    not refuse, and `refused_since` is None.
    """
    _update_item(
        db,
        item,
        "state = %s, not_before = %s, note = %s, lease_until = NULL, may_arrive_until = greatest(may_arrive_until, %s),"
        " refusal = %s, refused_since = %s",
        "in_flight" if outcome_unknown else "pending",
        not_before,
        note[:500],
        may_arrive_until,
        refusal[:1000],
        refused_since,
    )


def defer_all(
    db: Db, item: OutboxItem, not_before: datetime, note: str, *, partly_done: bool = False, refusal: str = ""
) -> None:
    """Defer the item and everything queued behind it, without counting an attempt.

    An item that displays state defers only itself: it may have been deferred in favour of all others.
    `partly_done`: some of several steps may have been done, so GitHub is checked first.  `refusal`: why GitHub refuses
    the whole installation; empty: it does not.
    """
    _update_item(
        db,
        item,
        "state = %s, attempts = %s, not_before = %s, note = %s, refusal = %s, lease_until = NULL",
        "in_flight" if partly_done or item.outcome_unknown else "pending",
        item.attempts,
        not_before,
        note[:500],
        refusal[:1000],
    )
    if item.key not in DISPLAY_KEYS:
        db.execute(
            "UPDATE outbox SET not_before = %s WHERE repo_id = %s AND number = %s AND state IN ('pending', 'in_flight')"
            " AND channel = '' AND not_before < %s",
            (not_before, item.incident_key.repo_id, item.incident_key.number, not_before),
        )


def dead_letter(db: Db, item: OutboxItem, note: str, refusal: str = "") -> None:
    """Move an item to the dead letters: it was refused for good and waits for a person."""
    _update_item(
        db,
        item,
        "state = 'dead', note = %s, refusal = %s, refused_since = NULL, lease_until = NULL",
        note[:500],
        refusal[:1000],
    )


def retry_refused(db: Db, incident_key: IncidentKey, now: datetime) -> int:
    """Make everything due that was refused on an incident, given up or not, and return how many items there were.

    The outcome of what was given up counts as unknown, so GitHub is checked before anything is sent again.
    """
    return db.execute(
        "UPDATE outbox SET state = CASE WHEN state <> 'dead' THEN state WHEN channel = '' THEN 'in_flight'"
        " ELSE 'pending' END, attempts = 0, not_before = %s, refused_since = NULL, refusal = ''"
        " WHERE repo_id = %s AND number = %s"
        " AND (state = 'dead' OR (state IN ('pending', 'in_flight') AND refusal <> ''))",
        (now, incident_key.repo_id, incident_key.number),
    ).rowcount


def list_refused_incident_keys(db: Db) -> list[IncidentKey]:
    """List the incidents on which GitHub refuses a part of the work."""
    rows = db.execute(
        "SELECT DISTINCT repo_id, number FROM outbox WHERE refusal <> ''"
        " AND state IN ('pending', 'in_flight') ORDER BY repo_id, number"
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def list_refusals(db: Db, incident_key: IncidentKey) -> list[str]:
    """List what GitHub refuses on an incident, each sentence once, the oldest first."""
    rows = db.execute(
        "SELECT refusal FROM outbox WHERE repo_id = %s AND number = %s AND refusal <> ''"
        " AND state IN ('pending', 'in_flight', 'dead') AND key <> 'postmortem'"
        " GROUP BY refusal ORDER BY min(position)",
        (incident_key.repo_id, incident_key.number),
    ).fetchall()
    return [row["refusal"] for row in rows]


def _update_item(
    db: Db, item: OutboxItem, assignments: LiteralString, *values: object, condition: LiteralString = "true"
) -> bool:
    """Update the row of an item; returns False when it was taken or changed since it was read."""
    changed = db.execute(
        # Both interpolated parts are literals of this file.
        f"UPDATE outbox SET {assignments}"  # noqa: S608
        f" WHERE repo_id = %s AND number = %s AND key = %s AND fencing_token = %s AND {condition}",
        (*values, item.incident_key.repo_id, item.incident_key.number, item.key, item.fencing_token),
    )
    return changed.rowcount == 1


def complete_by_key(db: Db, incident_key: IncidentKey, key: str, url: str) -> None:
    """Mark an item as done, because a rebuild found its result on GitHub."""
    db.execute(
        "UPDATE outbox SET state = 'done', url = %s WHERE repo_id = %s AND number = %s AND key = %s",
        (url, incident_key.repo_id, incident_key.number, key),
    )


def load_links(db: Db, incident_key: IncidentKey) -> dict[str, str]:
    """Load the URLs of posted effects, by key."""
    rows = db.execute(
        "SELECT key, url FROM outbox WHERE repo_id = %s AND number = %s AND url <> ''",
        (incident_key.repo_id, incident_key.number),
    ).fetchall()
    return {row["key"]: row["url"] for row in rows}


def list_due_incident_keys(db: Db, now: datetime) -> list[IncidentKey]:
    """List incidents with an item due by `now`, at most 500."""
    rows = db.execute(
        "SELECT DISTINCT repo_id, number FROM outbox WHERE state IN "
        "('pending', 'in_flight') AND channel = '' AND not_before <= %s"
        " AND (lease_until IS NULL OR lease_until <= %s) LIMIT 500",
        (now, now),
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def list_states(db: Db) -> list[tuple[IncidentKey, str, str]]:
    """List the state of every effect that is carried out once on GitHub."""
    rows = db.execute(
        "SELECT repo_id, number, key, state FROM outbox WHERE key NOT LIKE 'show/%%' AND channel = ''"
        " ORDER BY repo_id, number, key"
    ).fetchall()
    return [(IncidentKey(row["repo_id"], row["number"]), row["key"], row["state"]) for row in rows]


def count_deferred_replies(db: Db, incident_key: IncidentKey, now: datetime) -> int:
    """Count the answers to people on one issue that wait for a later time."""
    row = db.execute(
        "SELECT count(*) AS waiting FROM outbox WHERE repo_id = %s AND number = %s AND channel = ''"
        " AND kind IN ('Reply', 'Help') AND state = 'pending' AND not_before > %s",
        (incident_key.repo_id, incident_key.number, now),
    ).fetchone()
    return int(row["waiting"]) if row else 0


def defer(db: Db, item: OutboxItem, not_before: datetime, note: str) -> None:
    """Defer an item without counting the attempt: nothing was sent."""
    _update_item(
        db,
        item,
        "state = %s, attempts = attempts - 1, not_before = %s, note = %s, lease_until = NULL",
        "in_flight" if item.outcome_unknown else "pending",
        not_before,
        note,
    )
