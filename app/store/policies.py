"""The policy file of each repository as last seen, and the last good one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class Kept:
    """`text` is the file in force (None: the repository has none); `fault_text` is a newer one that cannot be obeyed.

    `checked_at` None: look before the next use.
    """

    text: str | None = None
    etag: str = ""
    fault: str = ""
    fault_text: str = ""
    checked_at: datetime | None = None


def kept(db: Db, repo_id: int) -> Kept:
    row = db.execute("SELECT * FROM policy WHERE repo_id = %s", (repo_id,)).fetchone()
    return Kept(row["text"], row["etag"], row["fault"], row["fault_text"], row["checked_at"]) if row else Kept()


def keep(db: Db, repo_id: int, new: Kept) -> None:
    db.execute(
        "INSERT INTO policy (repo_id, text, etag, fault, fault_text, checked_at) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (repo_id) DO UPDATE SET text = excluded.text, etag = excluded.etag, fault = excluded.fault,"
        " fault_text = excluded.fault_text, checked_at = excluded.checked_at",
        (repo_id, new.text, new.etag, new.fault, new.fault_text, new.checked_at),
    )


def doubt(db: Db, repo_id: int) -> None:
    """A push touched the file: look before the next use."""
    db.execute("UPDATE policy SET checked_at = NULL WHERE repo_id = %s", (repo_id,))
