"""On-call feeds as last read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class Feed:
    """Which feed: a path in that repository, in the organisation's one, or an address, which is the same everywhere.

    `id` is that of the repository or the installation, 0 for an address.
    """

    place: Literal["repository", "organisation", "anywhere"]
    id: int
    source: str


@dataclass(frozen=True, slots=True)
class Kept:
    """`digest` names what was last read, at `read_at`; empty: nothing yet.  `fault` is what is wrong with it since
    `failing_since`, empty while that may pass by itself.  `checked_at` None: look before the next use.
    """

    digest: str = ""
    etag: str = ""
    read_at: datetime | None = None
    checked_at: datetime | None = None
    fault: str = ""
    failing_since: datetime | None = None
    doubts: int = 0


def kept(db: Db, feed: Feed) -> Kept:
    row = db.execute(
        "SELECT digest, etag, read_at, checked_at, fault, failing_since, doubts FROM feed"
        " WHERE place = %s AND id = %s AND source = %s",
        (feed.place, feed.id, feed.source),
    ).fetchone()
    return Kept(**row) if row else Kept()


def body(db: Db, feed: Feed) -> bytes | None:
    """The last good text."""
    found = _column(db, feed, "body")
    return bytes(found) if found is not None else None


def shifts(db: Db, feed: Feed) -> list[Any]:
    """What was read from it, as it was kept."""
    return list(_column(db, feed, "shifts") or [])


def keep(db: Db, feed: Feed, new: Kept, *, body: bytes | None = None, shifts: list[Any] | None = None) -> None:
    """Remember what was found out, unless a push has touched the feed since.  None: as it was."""
    db.execute(
        "INSERT INTO feed (place, id, source, body, digest, etag, shifts, read_at, checked_at, fault, failing_since)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (place, id, source) DO UPDATE SET body = coalesce(excluded.body, feed.body),"
        " digest = excluded.digest, etag = excluded.etag, shifts = coalesce(excluded.shifts, feed.shifts),"
        " read_at = excluded.read_at, checked_at = excluded.checked_at, fault = excluded.fault,"
        " failing_since = excluded.failing_since WHERE feed.doubts = %s",
        (
            feed.place,
            feed.id,
            feed.source,
            body,
            new.digest,
            new.etag,
            Jsonb(shifts) if shifts is not None else None,
            new.read_at,
            new.checked_at,
            new.fault,
            new.failing_since,
            new.doubts,
        ),
    )


def _column(db: Db, feed: Feed, name: Literal["body", "shifts"]) -> Any:
    row = db.execute(
        "SELECT body, shifts FROM feed WHERE place = %s AND id = %s AND source = %s", (feed.place, feed.id, feed.source)
    ).fetchone()
    return row[name] if row else None
