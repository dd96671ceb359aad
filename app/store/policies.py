"""Policy files of repositories and organisations: the newest version seen and the last valid one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from app.ports import IncidentKey
from app.store.database import Db

_MAX_REPORTED_VERSIONS = 60
"""Number of faulty versions that are remembered as reported; the oldest are dropped."""


@dataclass(frozen=True, slots=True)
class PolicyScope:
    """The owner of a policy file: a repository by its id, or an organisation by the id of its installation."""

    kind: Literal["repository", "organisation"]
    id: int

    @classmethod
    def repository(cls, repo_id: int) -> PolicyScope:
        """Return the scope of a repository's own file."""
        return cls("repository", repo_id)

    @classmethod
    def organisation(cls, installation: int) -> PolicyScope:
        """Return the scope of an organisation's file."""
        return cls("organisation", installation)


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy file as stored.

    `text` is the active file (None: there is none); `fault_text` is a newer, invalid one.  `base_text` is the
    organisation's file that `text` was read with, None where it needs none or there is none; `evaluated_versions`
    identifies the newest pair of the two that was evaluated.  `checked_at` None: check before the next use.
    `push_count` is how many pushes have touched the file.  `previous_text` and `previous_base_text` were active before
    the present ones.  `failure` says how the rules failed under the active file, `failure_version` identifies that.
    """

    text: str | None = None
    etag: str = ""
    fault: str = ""
    fault_text: str = ""
    base_text: str | None = None
    evaluated_versions: str = ""
    checked_at: datetime | None = None
    push_count: int = 0
    previous_text: str | None = None
    previous_base_text: str | None = None
    failure: str = ""
    failure_version: str = ""

    @property
    def newest_text(self) -> str | None:
        """The newest version of the file, valid or not."""
        return self.fault_text if self.fault and self.fault_text else self.text


def load_stored_policy(db: Db, scope: PolicyScope) -> StoredPolicy:
    """Load what is stored of a policy file; empty where nothing is."""
    row = db.execute("SELECT * FROM policy WHERE scope = %s AND id = %s", (scope.kind, scope.id)).fetchone()
    if row is None:
        return StoredPolicy()
    return StoredPolicy(
        row["text"],
        row["etag"],
        row["fault"],
        row["fault_text"],
        row["base_text"],
        row["evaluated_versions"],
        row["checked_at"],
        row["push_count"],
        row["previous_text"],
        row["previous_base_text"],
        row["failure"],
        row["failure_version"],
    )


def save_stored_policy(db: Db, scope: PolicyScope, stored: StoredPolicy) -> None:
    """Save what was read of a policy file, unless a push has touched it since it was loaded."""
    db.execute(
        "INSERT INTO policy (scope, id, text, etag, fault, fault_text, base_text, evaluated_versions, checked_at,"
        " previous_text, previous_base_text) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)"
        " ON CONFLICT (scope, id) DO UPDATE SET text = excluded.text, etag = excluded.etag, fault = excluded.fault,"
        " fault_text = excluded.fault_text, base_text = "
        "excluded.base_text, evaluated_versions = excluded.evaluated_versions,"
        " checked_at = excluded.checked_at, previous_text = excluded.previous_text,"
        " previous_base_text = excluded.previous_base_text,"
        " failure = CASE WHEN (policy.text, policy.base_text) IS DISTINCT FROM (excluded.text, excluded.base_text)"
        " THEN '' ELSE policy.failure END WHERE policy.push_count = %s",
        (
            scope.kind,
            scope.id,
            stored.text,
            stored.etag,
            stored.fault,
            stored.fault_text,
            stored.base_text,
            stored.evaluated_versions,
            stored.checked_at,
            stored.previous_text,
            stored.previous_base_text,
            stored.push_count,
        ),
    )


def record_failure(db: Db, scope: PolicyScope, failure: str, version: str) -> None:
    """Record that the rules failed under the active file; it is forgotten when another file becomes active."""
    db.execute(
        "INSERT INTO policy AS p (scope, id, failure, failure_version) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (scope, id) DO UPDATE SET failure = excluded.failure, failure_version = excluded.failure_version"
        " WHERE p.failure_version <> excluded.failure_version OR p.failure = ''",
        (scope.kind, scope.id, failure[:500], version),
    )


def count_failures(db: Db) -> int:
    """Count the repositories in which the rules fail under the active file."""
    row = db.execute("SELECT count(*) AS many FROM policy WHERE failure <> ''").fetchone()
    return int(row["many"]) if row else 0


def mark_policy_stale(db: Db, scope: PolicyScope) -> None:
    """Mark a policy file and the feeds beside it as stale after a push, so that they are read before the next use."""
    db.execute(
        "INSERT INTO policy AS p (scope, id, push_count) VALUES (%s, %s, 1)"
        " ON CONFLICT (scope, id) DO UPDATE SET checked_at = NULL, push_count = p.push_count + 1",
        (scope.kind, scope.id),
    )
    db.execute(
        "UPDATE feed SET checked_at = NULL, push_count = push_count + 1 WHERE scope = %s AND id = %s",
        (scope.kind, scope.id),
    )


def claim_fault_report(db: Db, scope: PolicyScope, version: str) -> bool:
    """Claim the report of a faulty version, and return whether it had not been reported before."""
    row = db.execute(
        "SELECT reported_faults FROM policy WHERE scope = %s AND id = %s FOR UPDATE", (scope.kind, scope.id)
    ).fetchone()
    reported = row["reported_faults"].split() if row else []
    if row is None or version in reported:
        return False
    db.execute(
        "UPDATE policy SET reported_faults = %s WHERE scope = %s AND id = %s",
        (" ".join([*reported, version][-_MAX_REPORTED_VERSIONS:]), scope.kind, scope.id),
    )
    return True


def list_organisation_incident_keys(db: Db, installation: int) -> list[IncidentKey]:
    """List the incidents with alarms in all repositories of an organisation."""
    rows = db.execute(
        "SELECT DISTINCT repo_id, number FROM alarm JOIN repository USING (repo_id) WHERE installation = %s"
        " ORDER BY repo_id, number",
        (installation,),
    )
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]
