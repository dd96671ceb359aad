"""Which policy is in force in a repository.

The file is read when it is first needed, when a push touched it, and every few hours beside.  A file with a fault
changes nothing: the last good one stays in force, and the fault is told once.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from app.core.policy import Policy
from app.policy_file import PolicyFaults, read, shipped
from app.ports import DeliveryFailed, PolicyText, Repository, Tracker
from app.store import policies
from app.store.database import Database

_FRESH = timedelta(hours=2)
"""A push says when the file changed; this is for a push that was lost."""
_SHIPPED = "guide"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class InForce:
    """The policy that holds.  `faults` are those of a newer file, `version` names that file; both empty: there is none."""

    policy: Policy
    faults: tuple[str, ...] = ()
    version: str = ""


class Policies:
    """The policies of all repositories: in the database, and read ones in memory."""

    def __init__(self) -> None:
        self._read: dict[str, Policy] = {}
        self._lock = threading.Lock()

    def of(self, database: Database, tracker: Tracker, repository: Repository, now: datetime) -> InForce:
        """The policy of that repository at `now`.  When GitHub cannot be asked, what was last known holds."""
        with database.transaction() as db:
            kept = policies.kept(db, repository.id)
        if kept.checked_at is None or now - kept.checked_at >= _FRESH:
            try:
                found = tracker.policy(kept.etag)
            except DeliveryFailed as failed:
                log.warning("policy not read", repository=repository.name, reason=str(failed))
            else:
                kept = self._take(database, repository, kept, found, now)
        return InForce(self._policy(kept.text), tuple(kept.fault.splitlines()), _version(kept.fault_text))

    def _take(
        self, database: Database, repository: Repository, kept: policies.Kept, found: PolicyText, now: datetime
    ) -> policies.Kept:
        if found.unchanged:
            new = policies.Kept(kept.text, kept.etag, kept.fault, kept.fault_text, now)
        else:
            text, fault = found.text, ""
            if text is not None:
                try:
                    read(text)
                except PolicyFaults as faults:
                    fault = "\n".join(str(one) for one in faults.faults)
            new = (
                policies.Kept(kept.text, found.etag, fault, text or "", now)
                if fault
                else policies.Kept(text, found.etag, "", "", now)
            )
        with database.transaction() as db:
            policies.keep(db, repository.id, new)
        return new

    def _policy(self, text: str | None) -> Policy:
        if text is None:
            return shipped(_SHIPPED)
        with self._lock:
            if text not in self._read:
                if len(self._read) > 500:
                    self._read.clear()
                self._read[text] = read(text)
            return self._read[text]


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""
