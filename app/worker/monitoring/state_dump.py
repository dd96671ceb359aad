"""Dump the whole stored state as plain data; equal states give equal dumps."""

from __future__ import annotations

from typing import Any

from app.store import incidents, outbox
from app.store.database import Database
from app.store.serialization import incident_facts


def dump(database: Database) -> dict[str, Any]:
    """Return incidents, alarms and effects, sorted, without row ids and receive times."""
    with database.transaction() as db:
        names = {repository.id: repository.name for repository in incidents.repositories(db)}
        return {
            "incidents": [
                {
                    "repo": names[lane.repo_id],
                    "number": lane.number,
                    "board": stored.board_url,
                    "labels": sorted(incidents.labels(db, lane)[0]),
                    "incident": incident_facts(stored.incident),
                }
                for lane, stored in incidents.every(db)
            ],
            "alarms": [
                {"repo": names[lane.repo_id], "number": lane.number, "key": key, "due": due.isoformat()}
                for lane, key, due in incidents.alarms_of(db)
            ],
            "effects": [
                {"repo": names[lane.repo_id], "number": lane.number, "key": key, "state": state}
                for lane, key, state in outbox.states(db)
            ],
        }
