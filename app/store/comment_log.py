"""Log of our recent comments and label writes per issue, and the comment limit."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Literal

from app.core.noise_limits import CommentBudget, PostedComment
from app.ports import IncidentKey
from app.store.database import Db

WriteKind = Literal["comment", "labels"]

_RETENTION_PERIOD = timedelta(days=1)


def list_comments(db: Db, incident_key: IncidentKey, since: datetime) -> list[PostedComment]:
    """List our comments that were written after then, earliest first."""
    rows = db.execute(
        "SELECT at, budget FROM comment_log"
        " WHERE repo_id = %s AND number = %s AND kind = 'comment' AND at > %s ORDER BY at",
        (incident_key.repo_id, incident_key.number, since),
    ).fetchall()
    return [PostedComment(row["at"], CommentBudget(row["budget"])) for row in rows]


def list_label_write_times(db: Db, incident_key: IncidentKey, labels_digest: int, since: datetime) -> list[datetime]:
    """List when the same labels were set after then, earliest first."""
    rows = db.execute(
        "SELECT at FROM comment_log"
        " WHERE repo_id = %s AND number = %s AND kind = 'labels' AND item_id = %s AND at > %s ORDER BY at",
        (incident_key.repo_id, incident_key.number, labels_digest, since),
    ).fetchall()
    return [row["at"] for row in rows]


def record_write(
    db: Db,
    incident_key: IncidentKey,
    kind: WriteKind,
    item_id: int,
    at: datetime,
    budget: CommentBudget = CommentBudget.ORDINARY,
) -> None:
    """Record a write, and delete the records of that issue that are older than a day.

    `item_id` is the id of the comment, which counts once, or a digest of the labels.  `budget` is the one that a
    comment used.
    """
    db.execute(
        "WITH old AS (DELETE FROM comment_log WHERE "
        "repo_id = %(repo_id)s AND number = %(number)s AND at < %(kept)s)"
        " INSERT INTO comment_log (repo_id, number, kind, item_id, at, budget)"
        " VALUES (%(repo_id)s, %(number)s, %(kind)s, %(item_id)s, %(at)s, %(budget)s) ON CONFLICT DO NOTHING",
        {
            "repo_id": incident_key.repo_id,
            "number": incident_key.number,
            "kind": kind,
            "item_id": item_id,
            "at": at,
            "budget": budget.value,
            "kept": at - _RETENTION_PERIOD,
        },
    )


def limit_comments(db: Db, incident_key: IncidentKey, until: datetime, now: datetime) -> bool:
    """Limit comments on an issue until then, and return whether they were not limited before."""
    known = limited_until(db, incident_key, now)
    db.execute(
        "INSERT INTO comment_limit (repo_id, number, until) VALUES (%s, %s, %s)"
        " ON CONFLICT (repo_id, number) DO UPDATE SET until = excluded.until",
        (incident_key.repo_id, incident_key.number, until),
    )
    return known is None


def update_limit_after_comment(db: Db, incident_key: IncidentKey, next_comment_at: datetime, now: datetime) -> bool:
    """Move or lift the comment limit after a comment, and return whether one was in effect."""
    if next_comment_at > now:
        changed = db.execute(
            "UPDATE comment_limit SET until = %s WHERE repo_id = %s AND number = %s",
            (next_comment_at, incident_key.repo_id, incident_key.number),
        )
    else:
        changed = db.execute(
            "DELETE FROM comment_limit WHERE repo_id = %s AND number = %s", (incident_key.repo_id, incident_key.number)
        )
    return changed.rowcount > 0


def limited_until(db: Db, incident_key: IncidentKey, now: datetime) -> datetime | None:
    """Return until when comments are limited on an issue; None: they are not."""
    row = db.execute(
        "SELECT until FROM comment_limit WHERE repo_id = %s AND number = %s AND until > %s",
        (incident_key.repo_id, incident_key.number, now),
    ).fetchone()
    return row["until"] if row else None


def list_limited_incident_keys(db: Db, now: datetime) -> list[IncidentKey]:
    """List the incidents on which comments are limited."""
    rows = db.execute("SELECT repo_id, number FROM comment_limit WHERE until > %s ORDER BY 1, 2", (now,)).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]
