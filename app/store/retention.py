"""Delete finished deliveries after their retention period."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.store.database import Db


def load_retention_policies(db: Db) -> dict[int, tuple[str | None, str | None]]:
    """Load the active policy files that mention retention, by repository: its own and its organisation's."""
    rows = db.execute(
        "SELECT id, text, base_text FROM policy WHERE scope = 'repository'"
        " AND strpos(coalesce(text, '') || coalesce(base_text, ''), 'retention') > 0"
    ).fetchall()
    return {row["id"]: (row["text"], row["base_text"]) for row in rows}


def delete_old_deliveries(
    db: Db, before: datetime, repos: Iterable[int], *, others: bool = False, limit: int = 500
) -> int:
    """Delete the oldest finished deliveries of these repositories, or of all `others`, received before then.

    Returns how many: if that equals `limit`, there may be more.  Dead letters are kept: they wait for a person.
    """
    return db.execute(
        "DELETE FROM delivery WHERE (hook, guid) IN (SELECT hook, guid FROM delivery"
        " WHERE state IN ('processed', 'ignored') AND received_at < %s AND coalesce(repo_id = ANY(%s), false) <> %s"
        " ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED)",
        (before, list(repos), others, limit),
    ).rowcount
