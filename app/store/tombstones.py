"""Tombstones: which issues' texts are erased, or will be, and what a regulation needs of them afterwards."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal, LiteralString

from psycopg.sql import SQL, Identifier

from app.ports import IncidentKey
from app.store.database import Db

Reason = Literal["deleted", "forgotten"]
"""Why texts are erased: the issue was deleted on GitHub, or the operator has the incident forgotten."""

_INCIDENT_TABLES: tuple[LiteralString, ...] = (
    *("outbox", "alarm", "suspended_alarm", "event", "incident"),
    *("comment_log", "comment_limit", "unconfirmed_report", "unconfirmed_digest"),
)
_LATE_ARRIVAL_PERIOD = timedelta(days=1)
"""How long after an erasure the texts of deliveries that were being processed are looked for once more."""


@dataclass(frozen=True, slots=True)
class RegulatoryRecord:
    """What stays of an erased incident: deadlines that a regulation sets, and salted hashes of its texts."""

    incident_id: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    salt: bytes = b""
    text_hashes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Erased:
    """How many rows were erased: incidents, events of their logs, outbox items, and bodies of deliveries."""

    incidents: int = 0
    events: int = 0
    effects: int = 0
    deliveries: int = 0

    def __add__(self, other: Erased) -> Erased:
        """Return both counts together."""
        return Erased(
            self.incidents + other.incidents,
            self.events + other.events,
            self.effects + other.effects,
            self.deliveries + other.deliveries,
        )


def record_deletion(db: Db, incident_key: IncidentKey, at: datetime, erase_at: datetime) -> None:
    """Record that an issue was deleted on GitHub; the first time counts."""
    db.execute(
        "INSERT INTO tombstone (repo_id, number, reason, recorded_at, erase_at) VALUES (%s, %s, 'deleted', %s, %s)"
        " ON CONFLICT DO NOTHING",
        (incident_key.repo_id, incident_key.number, at, erase_at),
    )


def list_due(db: Db, now: datetime, limit: int) -> list[IncidentKey]:
    """List the issues whose texts are to be erased by now, those first that have waited longest."""
    rows = db.execute(
        "SELECT repo_id, number FROM tombstone WHERE erased_at IS NULL AND erase_at <= %s ORDER BY erase_at LIMIT %s",
        (now, limit),
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def find_erased(db: Db, incident_keys: Iterable[IncidentKey]) -> set[IncidentKey]:
    """Return those among the issues whose texts were erased, so that none may be stored again."""
    keys = list(incident_keys)
    rows = db.execute(
        "SELECT repo_id, number FROM tombstone JOIN unnest(%s::bigint[], %s::bigint[]) AS asked (repo_id, number)"
        " USING (repo_id, number) WHERE erased_at IS NOT NULL",
        ([key.repo_id for key in keys], [key.number for key in keys]),
    ).fetchall()
    return {IncidentKey(row["repo_id"], row["number"]) for row in rows}


def erase(db: Db, incident_key: IncidentKey, reason: Reason, record: RegulatoryRecord, now: datetime) -> Erased:
    """Erase every stored text of an issue, and leave a tombstone with the record.

    The row of the incident has to be locked.  Of each delivery only its id stays, so that it is not taken in again.
    """
    db.execute(
        "INSERT INTO tombstone AS t (repo_id, number, reason, recorded_at, erase_at, erased_at, incident_id,"
        " regulatory, salt, text_hashes)"
        " VALUES (%(repo_id)s, %(number)s, %(reason)s, %(now)s, %(now)s, %(now)s, %(id)s,"
        " %(facts)s::jsonb, %(salt)s, %(hashes)s::jsonb)"
        " ON CONFLICT (repo_id, number) DO UPDATE SET erased_at = excluded.erased_at,"
        " (incident_id, regulatory, salt, text_hashes) ="
        " (SELECT excluded.incident_id, excluded.regulatory, excluded.salt, excluded.text_hashes"
        " WHERE excluded.incident_id <> '' UNION ALL"
        " SELECT t.incident_id, t.regulatory, t.salt, t.text_hashes WHERE excluded.incident_id = '')",
        {
            "repo_id": incident_key.repo_id,
            "number": incident_key.number,
            "reason": reason,
            "now": now,
            "id": record.incident_id,
            "facts": json.dumps(record.facts),
            "salt": record.salt,
            "hashes": json.dumps(record.text_hashes),
        },
    )
    return delete_texts(db, incident_key)


def delete_texts(db: Db, incident_key: IncidentKey) -> Erased:
    """Delete the rows of an issue, and the bodies of its deliveries."""
    place = (incident_key.repo_id, incident_key.number)
    counts = {
        table: db.execute(
            SQL("DELETE FROM {} WHERE repo_id = %s AND number = %s").format(Identifier(table)), place
        ).rowcount
        for table in _INCIDENT_TABLES
    }
    bodies = db.execute(
        "UPDATE delivery SET body = '', state = 'ignored', note = NULL, number = NULL"
        " WHERE repo_id = %s AND number = %s",
        place,
    ).rowcount
    return Erased(counts["incident"], counts["event"], counts["outbox"], bodies)


def erase_late_deliveries(db: Db, now: datetime) -> int:
    """Erase the bodies of deliveries that were being processed while their issue was erased."""
    return db.execute(
        "UPDATE delivery SET body = '', state = 'ignored', note = NULL, number = NULL FROM tombstone"
        " WHERE tombstone.erased_at >= %s AND delivery.repo_id = tombstone.repo_id"
        " AND delivery.number = tombstone.number",
        (now - _LATE_ARRIVAL_PERIOD,),
    ).rowcount


def list_stored_numbers(db: Db, repo_id: int) -> tuple[list[int], list[int]]:
    """Return the numbers of a repository's stored incidents, and of other issues of which deliveries are stored."""
    rows = db.execute(
        "SELECT number, bool_or(known) AS known FROM (SELECT number, true AS known FROM incident WHERE repo_id = %(id)s"
        " UNION ALL SELECT number, false FROM delivery WHERE repo_id = %(id)s AND number IS NOT NULL) AS stored"
        " GROUP BY number ORDER BY number",
        {"id": repo_id},
    ).fetchall()
    return [row["number"] for row in rows if row["known"]], [row["number"] for row in rows if not row["known"]]


def list_delivery_bodies(db: Db, incident_key: IncidentKey) -> list[tuple[str, bytes]]:
    """List the deliveries about an issue whose bodies are stored: id and body."""
    rows = db.execute(
        "SELECT guid, body FROM delivery WHERE repo_id = %s AND number = %s AND body <> '' ORDER BY arrival",
        (incident_key.repo_id, incident_key.number),
    ).fetchall()
    return [(row["guid"], bytes(row["body"])) for row in rows]


def forget_repository(db: Db, repo_id: int) -> int:
    """Delete what is stored of a repository apart from its issues; return how many bodies of deliveries that were.

    The numbers of its incidents stay taken, so that none is given twice.
    """
    bodies = db.execute(
        "UPDATE delivery SET body = '', state = 'ignored', note = NULL WHERE repo_id = %s AND body <> ''", (repo_id,)
    ).rowcount
    for table in ("unconfirmed_digest", "uninstalled_repository", "repository"):
        db.execute(SQL("DELETE FROM {} WHERE repo_id = %s").format(Identifier(table)), (repo_id,))
    for table in ("policy", "feed"):
        db.execute(SQL("DELETE FROM {} WHERE scope = 'repository' AND id = %s").format(Identifier(table)), (repo_id,))
    return bodies


def find_repositories(db: Db, name: str) -> list[tuple[int, str]]:
    """Find the stored repositories by name, or by id: those known now, and those that the App was taken off."""
    number = int(name) if name.isascii() and name.isdigit() and len(name) < 19 else 0
    rows = db.execute(
        "SELECT repo_id, name FROM repository WHERE lower(name) = lower(%(name)s) OR repo_id = %(id)s"
        " UNION SELECT repo_id, name FROM uninstalled_repository WHERE lower(name) = lower(%(name)s)"
        " OR repo_id = %(id)s ORDER BY repo_id",
        {"name": name, "id": number},
    ).fetchall()
    return [(row["repo_id"], row["name"]) for row in rows]
