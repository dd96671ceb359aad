"""On-call feeds as last read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from psycopg.types.json import Jsonb

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class FeedKey:
    """The identity of a feed: a path in a repository, a path in the organisation's repository, or an address.

    `id` is that of the repository or the installation; 0 for an address, which is the same everywhere.
    """

    scope: Literal["repository", "organisation", "anywhere"]
    id: int
    source: str


@dataclass(frozen=True, slots=True)
class StoredFeed:
    """A feed as last read, and its current fault.

    `digest` identifies the content read at `read_at`; empty: nothing was read yet.  `fault` is the error since
    `failing_since`; empty while the failure may be temporary.  `checked_at` None: check before the next use.
    `push_count` is how many pushes have touched the feed.
    """

    digest: str = ""
    etag: str = ""
    read_at: datetime | None = None
    checked_at: datetime | None = None
    fault: str = ""
    failing_since: datetime | None = None
    push_count: int = 0


def load_stored_feed(db: Db, feed: FeedKey) -> StoredFeed:
    """Load the stored state of a feed; empty where it is unknown."""
    row = db.execute(
        "SELECT digest, etag, read_at, checked_at, fault, failing_since, push_count FROM feed"
        " WHERE scope = %s AND id = %s AND source = %s",
        (feed.scope, feed.id, feed.source),
    ).fetchone()
    return StoredFeed(**row) if row else StoredFeed()


def load_feed_body(db: Db, feed: FeedKey) -> bytes | None:
    """Load the last valid content of a feed; None where there is none."""
    found = _load_column(db, feed, "body")
    return bytes(found) if found is not None else None


def load_feed_shifts(db: Db, feed: FeedKey) -> list[Any]:
    """Load the shifts parsed from a feed, as JSON."""
    return list(_load_column(db, feed, "shifts") or [])


def save_stored_feed(
    db: Db, feed: FeedKey, stored: StoredFeed, *, body: bytes | None = None, shifts: list[Any] | None = None
) -> None:
    """Save the state of a feed, unless a push has touched it since it was loaded.

    `body` and `shifts` None: unchanged.
    """
    db.execute(
        "INSERT INTO feed (scope, id, source, body, digest, etag, shifts, read_at, checked_at, fault, failing_since)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (scope, id, source) DO UPDATE SET body = coalesce(excluded.body, feed.body),"
        " digest = excluded.digest, etag = excluded.etag, shifts = coalesce(excluded.shifts, feed.shifts),"
        " read_at = excluded.read_at, checked_at = excluded.checked_at, fault = excluded.fault,"
        " failing_since = excluded.failing_since WHERE feed.push_count = %s",
        (
            feed.scope,
            feed.id,
            feed.source,
            body,
            stored.digest,
            stored.etag,
            Jsonb(shifts) if shifts is not None else None,
            stored.read_at,
            stored.checked_at,
            stored.fault,
            stored.failing_since,
            stored.push_count,
        ),
    )


def _load_column(db: Db, feed: FeedKey, name: Literal["body", "shifts"]) -> Any:
    row = db.execute(
        "SELECT body, shifts FROM feed WHERE scope = %s AND id = %s AND source = %s", (feed.scope, feed.id, feed.source)
    ).fetchone()
    return row[name] if row else None
