"""Erase the stored texts of issues that were deleted on GitHub, or that the operator has forgotten.

What a regulation needs stays, without a text: the deadlines with their times, and a salted hash of each text, by which
a person who still has it can show that it is the one.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import structlog

from app.core.clocks import regulatory
from app.core.incident import Incident
from app.core.policy import Policy
from app.ports import IncidentKey
from app.store import incidents, tombstones
from app.store.database import Db
from app.store.tombstones import Erased, Reason, RegulatoryRecord
from app.worker.context import WorkerContext

_SALT_BYTES = 16
_MAX_ERASURES = 50
"""Maximum number of issues erased in one pass."""

log = structlog.get_logger()


def erase_deleted_issues(ctx: WorkerContext, now: datetime) -> bool:
    """Erase the texts of issues that were deleted on GitHub long enough ago; return True if none is left."""
    with ctx.database.transaction() as db:
        due = tombstones.list_due(db, now, _MAX_ERASURES)
        tombstones.erase_late_deliveries(db, now)
    for incident_key in due:
        erased = erase_issue(ctx, incident_key, "deleted", now)
        log.info("deleted issue erased", incident=str(incident_key), deliveries=erased.deliveries, events=erased.events)
    return len(due) < _MAX_ERASURES


def erase_issue(ctx: WorkerContext, incident_key: IncidentKey, reason: Reason, now: datetime) -> Erased:
    """Erase everything stored of an issue but what a regulation needs, and leave a tombstone."""
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
    policy = ctx.policies.load_cached(ctx.database, repository) if repository is not None else None
    with ctx.database.transaction() as db:
        stored = incidents.lock_incident(db, incident_key)
        record = RegulatoryRecord()
        if stored is not None:
            record = _build_record(db, incident_key, stored.incident, policy)
        return tombstones.erase(db, incident_key, reason, record, now)


def _build_record(db: Db, incident_key: IncidentKey, incident: Incident, policy: Policy | None) -> RegulatoryRecord:
    deadlines = list(regulatory.deadlines(incident, policy)) if policy is not None else []
    if not deadlines:
        return RegulatoryRecord(incident.id)
    facts: dict[str, Any] = {
        "severity": str(incident.severity),
        "detected_at": _format_time(incident.report.detected_at),
        "declared_at": _format_time(incident.declared_at),
        "resolved_at": _format_time(incident.resolved_at),
        "closed_at": _format_time(incident.closed_at),
        "deadlines": [
            {
                "regulation": one.about,
                "start": _format_time(one.start),
                "due": _format_time(one.due),
                "met_at": _format_time(one.met_at),
            }
            for one in deadlines
        ],
        "entries": [
            {"at": _format_time(entry.at), "kind": entry.kind.value, "key": entry.key} for entry in incident.timeline
        ],
    }
    salt = secrets.token_bytes(_SALT_BYTES)
    hashes = {name: hashlib.sha256(salt + text).hexdigest() for name, text in _list_texts(db, incident_key, incident)}
    return RegulatoryRecord(incident.id, facts, salt, hashes)


def _list_texts(db: Db, incident_key: IncidentKey, incident: Incident) -> Iterator[tuple[str, bytes]]:
    """Yield each text with its name: the title, the timeline entries by position, the deliveries by their ids."""
    yield "title", incident.title.encode()
    for position, entry in enumerate(incident.timeline):
        yield f"entry/{position}", f"{entry.text}\n{entry.detail}".encode()
    for guid, body in tombstones.list_delivery_bodies(db, incident_key):
        yield f"delivery/{guid}", body


def _format_time(at: datetime | None) -> str | None:
    return at.isoformat() if at is not None else None
