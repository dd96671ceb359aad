"""Health figures and audit findings."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.incident import Incident
from app.ports import IncidentKey
from app.store import comment_log
from app.store.database import Db, is_schema_known
from app.store.serialization import parse_incident

_BATCH_ROWS = 500


@dataclass(frozen=True, slots=True)
class HealthFigures:
    """Health figures.

    `lost_reports` are the dead deliveries that could be parsed, and with which the rules failed.
    `worker_silence` is the time since the last heartbeat of any worker; None: no worker is registered.
    """

    oldest_unprocessed: timedelta
    overdue_alarms: int
    max_alarm_delay: timedelta
    dead_deliveries: int
    lost_reports: int
    dead_items: int
    limited_issues: int
    worker_silence: timedelta | None


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """A problem found by the audit; `message` can be shown, `incident_keys` are the incidents it concerns."""

    name: str
    message: str
    incident_keys: tuple[IncidentKey, ...] = ()


def load_health_figures(db: Db, now: datetime) -> HealthFigures:
    """Load the current health figures."""
    row = db.execute(
        "SELECT (SELECT min(received_at) FROM delivery WHERE state IN ('received', 'routed')) AS oldest,"
        " (SELECT count(*) FROM delivery WHERE state = 'dead') AS dead_deliveries,"
        " (SELECT count(*) FROM delivery WHERE state = 'dead' AND note LIKE 'FoldFailed%%') AS lost_reports,"
        " (SELECT count(*) FROM alarm WHERE due < %(now)s) AS overdue,"
        " (SELECT min(due) FROM alarm WHERE due < %(now)s) AS most_overdue,"
        " (SELECT max(last_heartbeat) FROM procrastinate_workers) AS last_heartbeat",
        {"now": now},
    ).fetchone()
    assert row is not None
    return HealthFigures(
        oldest_unprocessed=_age(row["oldest"], now),
        overdue_alarms=row["overdue"],
        max_alarm_delay=_age(row["most_overdue"], now),
        dead_deliveries=row["dead_deliveries"],
        lost_reports=row["lost_reports"],
        dead_items=len(list_dead_incident_keys(db)),
        limited_issues=len(comment_log.list_limited_incident_keys(db, now)),
        worker_silence=_age(row["last_heartbeat"], now) if row["last_heartbeat"] else None,
    )


def list_dead_incident_keys(db: Db) -> list[IncidentKey]:
    """List the incident of each dead outbox item, without unavailable issues, on which nothing can be done."""
    rows = db.execute(
        "SELECT o.repo_id, o.number FROM outbox o LEFT JOIN incident i USING (repo_id, number)"
        " WHERE o.state = 'dead' AND coalesce(i.state->>'unavailable', i.state->>'left', '') IN ('', 'locked')"
        " ORDER BY o.position"
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def count_dead_items(db: Db, incident_key: IncidentKey) -> int:
    """Count the dead outbox items of an incident."""
    row = db.execute(
        "SELECT count(*) AS many FROM outbox WHERE repo_id = %s AND number = %s AND state = 'dead'",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return int(row["many"]) if row else 0


def is_schema_newer(db: Db) -> bool:
    """Return whether a newer version of the code has migrated the schema."""
    return not is_schema_known(db)


def list_stuck_jobs(db: Db, before: datetime) -> list[int]:
    """List the jobs that have been queued or running since before then."""
    rows = db.execute(
        "SELECT j.id FROM procrastinate_jobs j JOIN procrastinate_events e ON e.job_id = j.id"
        " WHERE (j.status, e.type) IN (('todo', 'deferred'), ('doing', 'started')) AND e.at < %s ORDER BY j.id",
        (before,),
    ).fetchall()
    return [row["id"] for row in rows]


def iterate_open_incidents(db: Db) -> Iterator[tuple[IncidentKey, Incident]]:
    """Iterate over all open, reachable incidents, in batches."""
    last = (0, 0)
    while True:
        rows = db.execute(
            "SELECT repo_id, number, state FROM incident WHERE (repo_id, number) > (%s, %s)"
            " AND state->>'status' <> 'closed'"
            " AND coalesce(state->>'unavailable', state->>'left', '') IN ('', 'locked')"
            " AND repo_id NOT IN (SELECT repo_id FROM uninstalled_repository) ORDER BY repo_id, number LIMIT %s",
            (*last, _BATCH_ROWS),
        ).fetchall()
        for row in rows:
            last = (row["repo_id"], row["number"])
            yield IncidentKey(*last), parse_incident(row["state"])
        if len(rows) < _BATCH_ROWS:
            return


def load_findings(db: Db) -> dict[str, AuditFinding]:
    """Load the findings of the last audit, by name."""
    rows = db.execute("SELECT name, message, incident_keys FROM audit_finding").fetchall()
    return {
        row["name"]: AuditFinding(row["name"], row["message"], tuple(map(parse_incident_key, row["incident_keys"])))
        for row in rows
    }


def sync_findings(
    db: Db, found: dict[str, AuditFinding], now: datetime
) -> tuple[list[AuditFinding], list[AuditFinding]]:
    """Make the stored findings equal to `found`; return the new ones and the resolved ones.

    With concurrent audits, each new finding is new for exactly one of them.
    """
    db.execute("LOCK TABLE audit_finding IN EXCLUSIVE MODE")
    known = load_findings(db)
    resolved = [finding for name, finding in known.items() if name not in found]
    db.execute("DELETE FROM audit_finding WHERE name = ANY(%s)", ([finding.name for finding in resolved],))
    for finding in found.values():
        db.execute(
            "INSERT INTO audit_finding (name, message, since, incident_keys) VALUES (%s, %s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET message = excluded.message, incident_keys = excluded.incident_keys",
            (finding.name, finding.message, now, [str(incident_key) for incident_key in finding.incident_keys]),
        )
    return [finding for name, finding in found.items() if name not in known], resolved


def list_finding_names(db: Db, incident_key: IncidentKey) -> list[str]:
    """List the names of the findings that concern an incident."""
    rows = db.execute(
        "SELECT name FROM audit_finding WHERE %s = ANY(incident_keys) ORDER BY name", (str(incident_key),)
    ).fetchall()
    return [row["name"] for row in rows]


def parse_incident_key(text: str) -> IncidentKey:
    """Parse an incident key written as `repo_id#number`."""
    repo_id, _, number = text.partition("#")
    return IncidentKey(int(repo_id), int(number))


def _age(at: datetime | None, now: datetime) -> timedelta:
    return max(now - at, timedelta()) if at else timedelta()
