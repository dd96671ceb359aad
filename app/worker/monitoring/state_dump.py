"""Dump the whole stored state as plain data; equal states give equal dumps."""

from __future__ import annotations

from typing import Any

from app.store import incidents, outbox
from app.store.database import Database
from app.store.serialization import comparable_incident


def dump_state(database: Database) -> dict[str, Any]:
    """Return incidents, alarms and effects, sorted, without row ids and receive times."""
    with database.transaction() as db:
        names = {repository.id: repository.name for repository in incidents.list_repositories(db)}
        return {
            "incidents": [
                {
                    "repo": names[incident_key.repo_id],
                    "number": incident_key.number,
                    "board": stored.board_url,
                    "labels": sorted(incidents.load_labels(db, incident_key)[0]),
                    "incident": comparable_incident(stored.incident),
                }
                for incident_key, stored in incidents.list_incidents(db)
            ],
            "alarms": [
                {"repo": names[incident_key.repo_id], "number": incident_key.number, "key": key, "due": due.isoformat()}
                for incident_key, key, due in incidents.list_alarms(db)
            ],
            "effects": [
                {"repo": names[incident_key.repo_id], "number": incident_key.number, "key": key, "state": state}
                for incident_key, key, state in outbox.list_states(db)
            ],
        }
