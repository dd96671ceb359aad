"""Which policy is in force in a repository.

The file is read when it is first needed, when a push touched it, and every few hours beside.  A file with a fault
changes nothing: the last good one stays in force, and the fault is told once.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, replace
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

    @property
    def told_as(self) -> str:
        """The key of the notice that tells of the faults."""
        return f"policy/{self.version}"


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
            new = replace(kept, checked_at=now)
        else:
            text, fault = found.text, ""
            if text is not None:
                try:
                    read(text)
                except PolicyFaults as faults:
                    fault = "\n".join(str(one) for one in faults.faults)
            new = (
                replace(kept, etag=found.etag, fault=fault, fault_text=text or "", checked_at=now)
                if fault
                else replace(kept, text=text, etag=found.etag, fault="", fault_text="", checked_at=now)
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
                self._read[text] = _obeyed(text)
            return self._read[text]


def _obeyed(text: str) -> Policy:
    """A file that was good when it came into force.  Where a later release cannot read it, the clocks run all the same."""
    try:
        return read(text)
    except PolicyFaults as faults:
        log.error("the policy in force cannot be read any more", reason=str(faults))
        return shipped(_SHIPPED)


def _version(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12] if text else ""
