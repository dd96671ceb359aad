"""The policy files of repositories and organisations as last seen, and the last good ones."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.ports import Lane
from app.store.database import Db

_TOLD = 60
"""So many versions are remembered as told, which is more than anybody mends in a row."""


@dataclass(frozen=True, slots=True)
class Place:
    """Whose file it is: a repository by its id, or an organisation by the id of its installation."""

    kind: Literal["repository", "organisation"]
    id: int

    @classmethod
    def repository(cls, repo_id: int) -> Place:
        return cls("repository", repo_id)

    @classmethod
    def organisation(cls, installation: int) -> Place:
        return cls("organisation", installation)


@dataclass(frozen=True, slots=True)
class Kept:
    """`text` is the file in force (None: there is none); `fault_text` is a newer one that cannot be obeyed.

    `base_text` is the organisation's file that `text` was read with, None where it needs none or there is none; `judged`
    names the newest pair of the two that was weighed.  `checked_at` None: look before the next use.  `doubts` is how many
    pushes have touched the file.
    """

    text: str | None = None
    etag: str = ""
    fault: str = ""
    fault_text: str = ""
    base_text: str | None = None
    judged: str = ""
    checked_at: datetime | None = None
    doubts: int = 0

    @property
    def newest(self) -> str | None:
        """The file as it was last seen, whether or not it can be obeyed."""
        return self.fault_text if self.fault and self.fault_text else self.text


def kept(db: Db, place: Place) -> Kept:
    row = db.execute("SELECT * FROM policy WHERE place = %s AND id = %s", (place.kind, place.id)).fetchone()
    if row is None:
        return Kept()
    return Kept(
        row["text"],
        row["etag"],
        row["fault"],
        row["fault_text"],
        row["base_text"],
        row["judged"],
        row["checked_at"],
        row["doubts"],
    )


def keep(db: Db, place: Place, new: Kept) -> None:
    """Remember what was read, unless a push has touched the file since."""
    db.execute(
        "INSERT INTO policy (place, id, text, etag, fault, fault_text, base_text, judged, checked_at)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (place, id) DO UPDATE SET text = excluded.text, etag = excluded.etag, fault = excluded.fault,"
        " fault_text = excluded.fault_text, base_text = excluded.base_text, judged = excluded.judged,"
        " checked_at = excluded.checked_at WHERE policy.doubts = %s",
        (
            place.kind,
            place.id,
            new.text,
            new.etag,
            new.fault,
            new.fault_text,
            new.base_text,
            new.judged,
            new.checked_at,
            new.doubts,
        ),
    )


def doubt(db: Db, place: Place) -> None:
    """A push touched the file, or a feed beside it: look before the next use."""
    db.execute(
        "INSERT INTO policy AS p (place, id, doubts) VALUES (%s, %s, 1)"
        " ON CONFLICT (place, id) DO UPDATE SET checked_at = NULL, doubts = p.doubts + 1",
        (place.kind, place.id),
    )
    db.execute(
        "UPDATE feed SET checked_at = NULL, doubts = doubts + 1 WHERE place = %s AND id = %s", (place.kind, place.id)
    )


def tell(db: Db, place: Place, version: str) -> bool:
    """Whether that fault has not been told of yet; from now on it has."""
    row = db.execute(
        "SELECT told FROM policy WHERE place = %s AND id = %s FOR UPDATE", (place.kind, place.id)
    ).fetchone()
    told = row["told"].split() if row else []
    if row is None or version in told:
        return False
    db.execute(
        "UPDATE policy SET told = %s WHERE place = %s AND id = %s",
        (" ".join([*told, version][-_TOLD:]), place.kind, place.id),
    )
    return True


def lanes_of_organisation(db: Db, installation: int) -> list[Lane]:
    """The incidents of an organisation whose clocks may run, in any of its repositories."""
    rows = db.execute(
        "SELECT DISTINCT repo_id, number FROM alarm JOIN repository USING (repo_id) WHERE installation = %s"
        " ORDER BY repo_id, number",
        (installation,),
    )
    return [Lane(row["repo_id"], row["number"]) for row in rows]
