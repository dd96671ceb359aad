"""Inbox: webhook deliveries as received, until each has been processed for its incident."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from app.ports import IncidentKey
from app.store.database import Db, Row

NO_INCIDENT_NOTE = "no incident"
"""Note of a processed delivery whose issue was no incident; the index `delivery_without_incident` repeats it."""
REPEATED_NOTE = "this body was taken before, under another delivery id"
"""Note of a delivery that repeats another one's body."""
_ROUTING_LOCK_ID = 720_221
"""Advisory lock of the worker that routes deliveries."""


class InboxResult(Enum):
    """Outcome of storing a delivery."""

    NEW = "new"
    KNOWN = "known"
    REUSED = "reused"
    """The id is known with another body, so the delivery is not processed."""
    REPEATED = "repeated"
    """The body is known under another id or event, so it was captured and sent again: it is not processed."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """One webhook delivery; the body is as sent."""

    hook: str
    guid: str
    event: str
    body: bytes
    received_at: datetime
    is_repeated: bool = False
    """True: its body was taken before, under another id."""


def store_delivery(db: Db, delivery: Delivery) -> InboxResult:
    """Store a delivery once under its hook and id.

    GitHub signs the body and not the headers, and it delivers a body again under the same id only.  So a body that is
    known under another id was captured and sent again; only that is stored.  A body that came as another event counts
    if it was routed as that: otherwise anyone could send a body first under a wrong name, and the right one would be
    ignored.  Whether it fits its event is checked when it is routed.

    GitHub itself says in the same words that a repository was removed or added a second time, so such a body is
    routed again, marked as repeated.
    """
    digest = hashlib.sha256(delivery.body).digest()
    stored = db.execute(
        "WITH earlier AS (SELECT EXISTS (SELECT 1 FROM delivery WHERE digest = %(digest)s AND event <> 'ping'"
        " AND CASE WHEN event = %(event)s THEN guid <> %(guid)s ELSE state IN ('routed', 'processed') END) AS known),"
        " outcome AS (SELECT known, known AND %(event)s <> 'installation_repositories' AS ends FROM earlier)"
        " INSERT INTO delivery (hook, guid, event, body, digest, received_at, state, note)"
        " SELECT %(hook)s, %(guid)s, %(event)s, CASE WHEN ends THEN '' ELSE %(body)b END, %(digest)s, %(received_at)s,"
        " CASE WHEN ends THEN 'ignored' ELSE 'received' END, CASE WHEN known THEN %(note)s END FROM outcome"
        " ON CONFLICT (hook, guid) DO NOTHING RETURNING note",
        {
            "hook": delivery.hook,
            "guid": delivery.guid,
            "event": delivery.event,
            "body": delivery.body,
            "digest": digest,
            "received_at": delivery.received_at,
            "note": REPEATED_NOTE,
        },
    ).fetchone()
    if stored is not None:
        return InboxResult.REPEATED if stored["note"] else InboxResult.NEW
    known = db.execute(
        "SELECT digest FROM delivery WHERE hook = %s AND guid = %s", (delivery.hook, delivery.guid)
    ).fetchone()
    return InboxResult.KNOWN if known and hmac.compare_digest(bytes(known["digest"]), digest) else InboxResult.REUSED


def acquire_routing_lock(db: Db) -> bool:
    """Try to become the only router until this transaction ends, and return whether that succeeded.

    Two routers would deadlock on the repository rows that both of them write, each in its own order.
    """
    row = db.execute("SELECT pg_try_advisory_xact_lock(%s) AS free", (_ROUTING_LOCK_ID,)).fetchone()
    return row is not None and bool(row["free"])


def lock_received_deliveries(db: Db, limit: int = 200) -> list[Delivery]:
    """Lock the oldest received deliveries for this transaction; rows locked elsewhere are skipped."""
    rows = db.execute(
        "SELECT hook, guid, event, body, received_at, note FROM delivery WHERE state = 'received'"
        " ORDER BY arrival LIMIT %s FOR UPDATE SKIP LOCKED",
        (limit,),
    ).fetchall()
    return [_delivery_from_row(row) for row in rows]


def route_to_incidents(db: Db, routed: Iterable[tuple[Delivery, IncidentKey]], *, processed: bool = False) -> None:
    """Assign each delivery to its incident.

    `processed`: the deliveries carry no new information, so they need no processing.
    """
    rows = [
        (incident_key.repo_id, incident_key.number, delivery.hook, delivery.guid) for delivery, incident_key in routed
    ]
    if not rows:
        return
    repositories, numbers, hooks, guids = zip(*rows, strict=True)
    db.execute(
        "UPDATE delivery SET state = %s, repo_id = to_.repo_id, number = to_.number"
        " FROM unnest(%s::bigint[], %s::bigint[], %s::text[], %s::text[]) AS to_ (repo_id, number, hook, guid)"
        " WHERE (delivery.hook, delivery.guid) = (to_.hook, to_.guid)",
        ("processed" if processed else "routed", list(repositories), list(numbers), list(hooks), list(guids)),
    )


def find_known_guids(db: Db, guids: Iterable[str]) -> set[str]:
    """Return the ids among `guids` under which a delivery is stored, from any hook."""
    rows = db.execute("SELECT guid FROM delivery WHERE guid = ANY(%s)", (list(guids),)).fetchall()
    return {row["guid"] for row in rows}


def mark_processed(db: Db, deliveries: Iterable[Delivery], *, no_incident: bool) -> None:
    """Mark deliveries as processed.

    `no_incident`: they had no effect, because their issue is not known as an incident.
    """
    batch = list(deliveries)
    db.execute(
        "UPDATE delivery SET state = 'processed', note = %s"
        " WHERE (hook, guid) IN (SELECT * FROM unnest(%s::text[], %s::text[]))",
        (NO_INCIDENT_NOTE if no_incident else "", [one.hook for one in batch], [one.guid for one in batch]),
    )


def requeue_no_incident_deliveries(db: Db, incident_key: IncidentKey) -> None:
    """Route again the deliveries that came before the issue was known as an incident."""
    db.execute(
        "UPDATE delivery SET state = 'routed', note = NULL"
        " WHERE note = 'no incident' AND state = 'processed' AND repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    )


def requeue_deliveries_since(db: Db, incident_key: IncidentKey, since: datetime) -> None:
    """Route again the processed deliveries received since then.

    The incident was rebuilt from GitHub's state at that time, so they may hold later changes.
    """
    db.execute(
        "UPDATE delivery SET state = 'routed'"
        " WHERE state = 'processed' AND received_at >= %s AND repo_id = %s AND number = %s",
        (since, incident_key.repo_id, incident_key.number),
    )


def list_routed_deliveries(db: Db, incident_key: IncidentKey, limit: int = 500) -> list[Delivery]:
    """List the oldest deliveries routed to an incident, in order of arrival."""
    rows = db.execute(
        "SELECT hook, guid, event, body, received_at FROM delivery"
        " WHERE state = 'routed' AND repo_id = %s AND number = %s ORDER BY arrival LIMIT %s",
        (incident_key.repo_id, incident_key.number, limit),
    ).fetchall()
    return [_delivery_from_row(row) for row in rows]


def finish_delivery(db: Db, delivery: Delivery, state: str, note: str = "") -> None:
    """Set the final state of a delivery.

    `processed`, `ignored` (not relevant) or `dead` (cannot be parsed), which counts an attempt.
    """
    db.execute(
        "UPDATE delivery SET state = %s, note = %s, attempts = attempts + %s::boolean::integer WHERE hook = %s"
        " AND guid = %s",
        (state, note[:500], state == "dead", delivery.hook, delivery.guid),
    )


def ignore_delivery(db: Db, delivery: Delivery, repo_id: int | None) -> None:
    """Mark a delivery as ignored; `repo_id` is the repository it is about, None where there is none."""
    finish_delivery(db, delivery, "ignored", REPEATED_NOTE if delivery.is_repeated else "")
    db.execute(
        "UPDATE delivery SET repo_id = %s WHERE hook = %s AND guid = %s", (repo_id, delivery.hook, delivery.guid)
    )


def clear_body(db: Db, delivery: Delivery) -> None:
    """Delete the body of a delivery; its id stays known."""
    db.execute("UPDATE delivery SET body = '' WHERE hook = %s AND guid = %s", (delivery.hook, delivery.guid))


def has_received_deliveries(db: Db) -> bool:
    """Return whether a delivery waits to be routed."""
    return db.execute("SELECT 1 FROM delivery WHERE state = 'received' LIMIT 1").fetchone() is not None


def list_routed_incident_keys(db: Db) -> list[IncidentKey]:
    """List incidents with routed deliveries, at most 500, those that have waited longest first."""
    rows = db.execute(
        "SELECT repo_id, number FROM delivery WHERE state = 'routed' GROUP BY repo_id, number"
        " ORDER BY min(arrival) LIMIT 500"
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def _delivery_from_row(row: Row) -> Delivery:
    is_repeated = row.get("note") == REPEATED_NOTE
    return Delivery(row["hook"], row["guid"], row["event"], bytes(row["body"]), row["received_at"], is_repeated)
