"""The policy file of each repository as last seen, and the last good one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from app.store.database import Db


@dataclass(frozen=True, slots=True)
class Kept:
    """`text` is the file in force (None: the repository has none); `fault_text` is a newer one that cannot be obeyed.

    `checked_at` None: look before the next use.  `doubts` is how many pushes have touched the file.
    """

    text: str | None = None
    etag: str = ""
    fault: str = ""
    fault_text: str = ""
    checked_at: datetime | None = None
    doubts: int = 0


def kept(db: Db, repo_id: int) -> Kept:
    row = db.execute("SELECT * FROM policy WHERE repo_id = %s", (repo_id,)).fetchone()
    if row is None:
        return Kept()
    return Kept(row["text"], row["etag"], row["fault"], row["fault_text"], row["checked_at"], row["doubts"])


def keep(db: Db, repo_id: int, new: Kept) -> None:
    """Remember what was read, unless a push has touched the file since."""
    db.execute(
        "INSERT INTO policy (repo_id, text, etag, fault, fault_text, checked_at) VALUES (%s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (repo_id) DO UPDATE SET text = excluded.text, etag = excluded.etag, fault = excluded.fault,"
        " fault_text = excluded.fault_text, checked_at = excluded.checked_at WHERE policy.doubts = %s",
        (repo_id, new.text, new.etag, new.fault, new.fault_text, new.checked_at, new.doubts),
    )


def doubt(db: Db, repo_id: int) -> None:
    """A push touched the file: look before the next use."""
    db.execute(
        "INSERT INTO policy AS p (repo_id, doubts) VALUES (%s, 1)"
        " ON CONFLICT (repo_id) DO UPDATE SET checked_at = NULL, doubts = p.doubts + 1",
        (repo_id,),
    )


def tell(db: Db, repo_id: int, version: str) -> bool:
    """Whether that faulty version has not been told of yet; from now on it has."""
    told = db.execute("UPDATE policy SET told = %s WHERE repo_id = %s AND told <> %s", (version, repo_id, version))
    return told.rowcount > 0
