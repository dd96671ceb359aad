"""Incidents, the event log each is replayed from, and their alarms."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import LiteralString

from psycopg.sql import SQL, Identifier

from app.core.events import Alarm, Event, Opened
from app.core.incident import Incident
from app.ports import IncidentKey, Repository
from app.store.database import Db, Row
from app.store.serialization import kind_of, parse_event, parse_incident, serialize_event, serialize_incident


@dataclass(frozen=True, slots=True)
class StoredIncident:
    """One incident as stored.

    `replayed_until`: alarms due up to then have fired, so an earlier event requires a replay from the beginning.
    `board_id` None: no board has been posted.  `version` changes with every change of the row.  `policy_failure` is
    `version:nth` where the rules failed with that version of the policy, so that the nth fallback applies; else empty.
    """

    incident: Incident
    replayed_until: datetime
    board_id: int | None = None
    board_url: str = ""
    version: int = field(default=0, compare=False)
    policy_failure: str = ""


_LOAD_INCIDENT_SQL: LiteralString = (
    "SELECT state, replayed_until, board_id, board_url, policy_failure, xmin::text::bigint AS version FROM incident"
    " WHERE repo_id = %s AND number = %s"
)


def load_incident(db: Db, incident_key: IncidentKey) -> StoredIncident | None:
    """Load an incident; None where it is unknown."""
    row = db.execute(_LOAD_INCIDENT_SQL, (incident_key.repo_id, incident_key.number)).fetchone()
    return _stored_from_row(row) if row else None


def lock_incident(db: Db, incident_key: IncidentKey) -> StoredIncident | None:
    """Load an incident and lock its row until the transaction has been committed to disk."""
    row = db.execute(_LOAD_INCIDENT_SQL + " FOR UPDATE", (incident_key.repo_id, incident_key.number)).fetchone()
    return _stored_from_row(row) if row else None


def lock_version(db: Db, incident_key: IncidentKey) -> int | None:
    """Lock an incident until the transaction ends, and return its version; None where it is unknown."""
    row = db.execute(
        "SELECT xmin::text::bigint AS version FROM incident WHERE repo_id = %s AND number = %s FOR UPDATE",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return row["version"] if row else None


def save_incident(db: Db, incident_key: IncidentKey, stored: StoredIncident) -> None:
    """Insert or update an incident."""
    db.execute(
        "INSERT INTO incident (repo_id, number, state, replayed_until, policy_failure)"
        " VALUES (%s, %s, %s::jsonb, %s, %s) ON CONFLICT (repo_id, number) DO UPDATE"
        " SET state = excluded.state, replayed_until = excluded.replayed_until,"
        " policy_failure = excluded.policy_failure",
        (
            incident_key.repo_id,
            incident_key.number,
            serialize_incident(stored.incident),
            stored.replayed_until,
            stored.policy_failure,
        ),
    )


def record_labels(db: Db, incident_key: IncidentKey, labels: Iterable[str], at: datetime) -> None:
    """Record the labels the issue carried at that time, unless newer ones are known."""
    db.execute(
        "UPDATE incident SET labels = %s, labels_at = %s WHERE repo_id = %s AND number = %s"
        " AND (labels_at IS NULL OR labels_at <= %s)",
        (sorted(labels), at, incident_key.repo_id, incident_key.number, at),
    )


def mark_labels_stale(db: Db, incident_key: IncidentKey) -> None:
    """Mark the labels as stale, so that they are read from GitHub before they are set."""
    db.execute(
        "UPDATE incident SET labels_at = NULL WHERE repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    )


def load_labels(db: Db, incident_key: IncidentKey) -> tuple[frozenset[str], bool]:
    """Load the labels last seen on the issue, and whether they are stale."""
    row = db.execute(
        "SELECT labels, labels_at FROM incident WHERE repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return (frozenset(row["labels"]), row["labels_at"] is None) if row else (frozenset(), True)


def load_fresh_labels(
    db: Db, incident_keys: Iterable[IncidentKey]
) -> dict[IncidentKey, tuple[datetime, frozenset[str]]]:
    """Load the labels of known incidents, and when they were seen; incidents with stale labels are left out."""
    requested_keys = list(incident_keys)
    rows = db.execute(
        "SELECT repo_id, number, labels, labels_at FROM incident JOIN unnest(%s::bigint[], %s::bigint[])"
        " AS requested (repo_id, number) USING (repo_id, number) WHERE labels_at IS NOT NULL",
        (
            [incident_key.repo_id for incident_key in requested_keys],
            [incident_key.number for incident_key in requested_keys],
        ),
    ).fetchall()
    return {IncidentKey(row["repo_id"], row["number"]): (row["labels_at"], frozenset(row["labels"])) for row in rows}


def record_policy_failure(db: Db, incident_key: IncidentKey, policy_failure: str) -> None:
    """Record under which policy something failed for an incident, and which fallback it follows: `version:nth`."""
    db.execute(
        "UPDATE incident SET policy_failure = %s WHERE repo_id = %s AND number = %s",
        (policy_failure, incident_key.repo_id, incident_key.number),
    )


@dataclass(frozen=True, slots=True)
class Absence:
    """How long GitHub has not found an issue, and how often it was looked for since."""

    since: datetime
    looks: int


def record_absence(db: Db, incident_key: IncidentKey, now: datetime, max_interval: timedelta) -> Absence | None:
    """Count a look in which GitHub did not find the issue; None where its incident is unknown or has ended.

    A look more than `max_interval` after the last one begins a new absence.
    """
    row = db.execute(
        "UPDATE incident SET missing_looked_at = %(now)s, (missing_since, missing_looks) ="
        " (SELECT missing_since, missing_looks + 1 WHERE missing_looked_at >= %(earliest)s"
        " UNION ALL SELECT %(now)s, 1 WHERE missing_looked_at IS NULL OR missing_looked_at < %(earliest)s)"
        " WHERE repo_id = %(repo_id)s AND number = %(number)s"
        " AND coalesce(state->>'unavailable', state->>'left', '') IN ('', 'locked')"
        " RETURNING missing_since, missing_looks",
        {
            "now": now,
            "earliest": now - max_interval,
            "repo_id": incident_key.repo_id,
            "number": incident_key.number,
        },
    ).fetchone()
    return Absence(row["missing_since"], row["missing_looks"]) if row else None


def clear_absence(db: Db, incident_key: IncidentKey) -> None:
    """Record that GitHub shows the issue."""
    db.execute(
        "UPDATE incident SET missing_since = NULL, missing_looked_at = NULL, missing_looks = 0"
        " WHERE repo_id = %s AND number = %s AND missing_since IS NOT NULL",
        (incident_key.repo_id, incident_key.number),
    )


def record_board(db: Db, incident_key: IncidentKey, comment_id: int | None, url: str) -> None:
    """Record the comment that holds the board; `comment_id` None: it was deleted."""
    db.execute(
        "UPDATE incident SET board_id = %s, board_url = %s WHERE repo_id = %s AND number = %s",
        (comment_id, url, incident_key.repo_id, incident_key.number),
    )


def list_incidents(db: Db) -> list[tuple[IncidentKey, StoredIncident]]:
    """List all incidents, ordered by key."""
    rows = db.execute("SELECT * FROM incident ORDER BY repo_id, number").fetchall()
    return [(IncidentKey(row["repo_id"], row["number"]), _stored_from_row(row)) for row in rows]


def list_incidents_declared_since(
    db: Db, repo_id: int, since: datetime, limit: int
) -> list[tuple[IncidentKey, StoredIncident]]:
    """List the newest incidents of a repository declared since then, oldest first, at most `limit`."""
    rows = db.execute(
        "SELECT * FROM incident WHERE repo_id = %s AND (state->>'declared_at')::timestamptz >= %s"
        " ORDER BY number DESC LIMIT %s",
        (repo_id, since, limit),
    ).fetchall()
    return [(IncidentKey(row["repo_id"], row["number"]), _stored_from_row(row)) for row in reversed(rows)]


def delete_incident(db: Db, incident_key: IncidentKey) -> None:
    """Delete everything stored of an incident; a rebuild writes it anew."""
    for table in ("outbox", "alarm", "event", "incident"):
        db.execute(
            SQL("DELETE FROM {} WHERE repo_id = %s AND number = %s").format(Identifier(table)),
            (incident_key.repo_id, incident_key.number),
        )


def append_events(db: Db, incident_key: IncidentKey, timed_events: Iterable[tuple[datetime, Event]]) -> set[str]:
    """Append events to the log, each key once, and return the keys that were new."""
    rows = [(event.key, at, kind_of(event), serialize_event(event)) for at, event in timed_events]
    if not rows:
        return set()
    keys, times, kinds, data = zip(*rows, strict=True)
    stored = db.execute(
        "INSERT INTO event (repo_id, number, key, at, kind, data)"
        " SELECT %s, %s, * FROM unnest(%s::text[], %s::timestamptz[], %s::text[], %s::jsonb[])"
        " ON CONFLICT DO NOTHING RETURNING key",
        (incident_key.repo_id, incident_key.number, list(keys), list(times), list(kinds), list(data)),
    ).fetchall()
    return {row["key"] for row in stored}


def find_known_event_keys(db: Db, incident_key: IncidentKey, keys: Iterable[str]) -> set[str]:
    """Return the keys among `keys` that are in the log of an incident."""
    rows = db.execute(
        "SELECT key FROM event WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
        (incident_key.repo_id, incident_key.number, list(keys)),
    ).fetchall()
    return {row["key"] for row in rows}


def load_opening(db: Db, incident_key: IncidentKey) -> tuple[datetime, Opened] | None:
    """Load the event that opened an incident, and its time; None if the log has none."""
    row = db.execute(
        "SELECT at, kind, data FROM event WHERE repo_id = %s AND number = %s AND kind = 'Opened' ORDER BY at LIMIT 1",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    found = parse_event(row["kind"], row["data"]) if row else None
    return (row["at"], found) if row and isinstance(found, Opened) else None


def correct_event(db: Db, incident_key: IncidentKey, event: Event) -> None:
    """Replace a logged event by a more complete version of it."""
    db.execute(
        "UPDATE event SET data = %s::jsonb WHERE repo_id = %s AND number = %s AND key = %s",
        (serialize_event(event), incident_key.repo_id, incident_key.number, event.key),
    )


def load_log(db: Db, incident_key: IncidentKey) -> list[tuple[datetime, Event]]:
    """Load the event log of an incident, oldest first."""
    rows = db.execute(
        "SELECT at, kind, data FROM event WHERE repo_id = %s AND number = %s ORDER BY at, key",
        (incident_key.repo_id, incident_key.number),
    ).fetchall()
    return [(row["at"], parse_event(row["kind"], row["data"])) for row in rows]


def sync_alarms(db: Db, incident_key: IncidentKey, alarms: Iterable[Alarm]) -> bool:
    """Make the stored alarms of an incident equal to these, and return whether any of them changed."""
    wanted = {alarm.key: alarm.due for alarm in alarms}
    stored_alarms = {
        row["key"]: row["due"]
        for row in db.execute(
            "SELECT key, due FROM alarm WHERE repo_id = %s AND number = %s", (incident_key.repo_id, incident_key.number)
        )
    }
    if removed := [key for key in stored_alarms if key not in wanted]:
        db.execute(
            "DELETE FROM alarm WHERE repo_id = %s AND number = %s AND key = ANY(%s)",
            (incident_key.repo_id, incident_key.number, removed),
        )
    if changed := [key for key, due in wanted.items() if stored_alarms.get(key) != due]:
        db.execute(
            "INSERT INTO alarm (repo_id, number, key, due) SELECT %s, %s, * FROM unnest(%s::text[], %s::timestamptz[])"
            " ON CONFLICT (repo_id, number, key) DO UPDATE SET due = excluded.due",
            (incident_key.repo_id, incident_key.number, changed, [wanted[key] for key in changed]),
        )
    return wanted != stored_alarms


def list_due_incident_keys(db: Db, now: datetime) -> list[IncidentKey]:
    """List incidents with an alarm due by `now`, the longest overdue first, at most 500."""
    rows = db.execute(
        "SELECT repo_id, number, min(due) AS due FROM alarm WHERE due <= %s GROUP BY repo_id, number ORDER BY min(due)"
        " LIMIT 500",
        (now,),
    ).fetchall()
    return [IncidentKey(row["repo_id"], row["number"]) for row in rows]


def max_alarm_delay(db: Db, now: datetime) -> timedelta:
    """Return how long the most overdue alarm has been due; zero when none is."""
    row = db.execute("SELECT min(due) AS due FROM alarm WHERE due < %s", (now,)).fetchone()
    return now - row["due"] if row and row["due"] else timedelta()


def list_alarms(db: Db) -> list[tuple[IncidentKey, str, datetime]]:
    """List all alarms: incident, key, due time."""
    rows = db.execute("SELECT repo_id, number, key, due FROM alarm ORDER BY repo_id, number, due, key").fetchall()
    return [(IncidentKey(row["repo_id"], row["number"]), row["key"], row["due"]) for row in rows]


def next_incident_id(db: Db, repo_id: int, day: date) -> str:
    """Return the incident id that `allocate_incident_id` would allocate now, without taking it."""
    row = db.execute("SELECT last FROM incident_number WHERE repo_id = %s AND day = %s", (repo_id, day)).fetchone()
    return format_incident_id(day, (row["last"] if row else 0) + 1)


def format_incident_id(day: date, number: int) -> str:
    """Format an incident id from its day and its number on that day."""
    return f"INC-{day:%Y}-{day:%m%d}-{number:03d}"


def allocate_incident_id(db: Db, repo_id: int, day: date) -> str:
    """Allocate a new incident id, `INC-2026-0314-001`: unique in the repository and never reused (A8)."""
    row = db.execute(
        "INSERT INTO incident_number AS n (repo_id, day, last) VALUES (%s, %s, 1)"
        " ON CONFLICT (repo_id, day) DO UPDATE SET last = n.last + 1 RETURNING last",
        (repo_id, day),
    ).fetchone()
    assert row is not None
    return format_incident_id(day, row["last"])


def reserve_incident_id(db: Db, repo_id: int, incident_id: str) -> None:
    """Reserve an incident id that a rebuild found in use, so that it is never allocated again."""
    _, year, month_day, number = incident_id.split("-")
    day = date(int(year), int(month_day[:2]), int(month_day[2:]))
    db.execute(
        "INSERT INTO incident_number AS n (repo_id, day, last) VALUES (%s, %s, %s)"
        " ON CONFLICT (repo_id, day) DO UPDATE SET last = greatest(n.last, excluded.last)",
        (repo_id, day, int(number)),
    )


def save_repository(db: Db, repository: Repository) -> None:
    """Insert or update a repository; nothing is written when nothing changed."""
    db.execute(
        "INSERT INTO repository (repo_id, name, installation, default_branch) VALUES (%s, %s, %s, %s)"
        " ON CONFLICT (repo_id) DO UPDATE SET name = excluded.name, installation = excluded.installation,"
        " default_branch = excluded.default_branch"
        " WHERE (repository.name, repository.installation, repository.default_branch)"
        " IS DISTINCT FROM (excluded.name, excluded.installation, excluded.default_branch)",
        (repository.id, repository.name, repository.installation, repository.default_branch),
    )


def save_seen_repository(db: Db, known: Repository | None, seen: Repository, now: datetime) -> Repository:
    """Record a repository as a delivery shows it, and return it as it counts from now on.

    What a delivery says is no proof of an installation: one that differs from the known one is only noted, and GitHub
    is asked.  The name of a delivery like that does not count either.
    """
    if known is None or known.installation == seen.installation:
        if known != seen:
            save_repository(db, seen)
            mark_same_names(db, seen, now)
        return seen
    claim_installation(db, known.id, seen.installation, now)
    return known


def claim_installation(db: Db, repo_id: int, installation: int, now: datetime) -> None:
    """Note which installation a delivery named for a repository, so that GitHub is asked.

    The same claim is asked about once in ten minutes.
    """
    db.execute(
        "UPDATE repository SET claimed_installation = %(claim)s, locate_at = %(now)s"
        " WHERE repo_id = %(repo_id)s AND installation <> %(claim)s"
        " AND (claimed_installation IS DISTINCT FROM %(claim)s"
        " OR locate_at IS NULL AND located_at NOT BETWEEN %(now)s - interval '10 minutes' AND %(now)s)",
        {"claim": installation, "now": now, "repo_id": repo_id},
    )


def mark_same_names(db: Db, repository: Repository, now: datetime) -> None:
    """Have GitHub asked for the names of other repositories that are known by the same name: theirs are outdated."""
    db.execute(
        "UPDATE repository SET locate_at = %s WHERE lower(name) = lower(%s) AND repo_id <> %s AND locate_at IS NULL",
        (now, repository.name, repository.id),
    )


def locate_later(db: Db, repo_id: int, at: datetime) -> None:
    """Have GitHub asked, from then on, where the repository is."""
    db.execute("UPDATE repository SET locate_at = %s WHERE repo_id = %s", (at, repo_id))


def record_located(db: Db, repo_id: int, at: datetime) -> None:
    """Record that GitHub was asked where the repository is, so that there is nothing to ask any more."""
    db.execute("UPDATE repository SET locate_at = NULL, located_at = %s WHERE repo_id = %s", (at, repo_id))


def load_due_claim(db: Db, repo_id: int, now: datetime) -> tuple[bool, int | None]:
    """Return whether GitHub is to be asked now where the repository is, and the installation that was claimed."""
    row = db.execute(
        "SELECT claimed_installation FROM repository WHERE repo_id = %s AND locate_at <= %s", (repo_id, now)
    ).fetchone()
    return row is not None, row["claimed_installation"] if row else None


def load_repository(db: Db, repo_id: int) -> Repository | None:
    """Load a repository; None where it is unknown."""
    row = db.execute("SELECT * FROM repository WHERE repo_id = %s", (repo_id,)).fetchone()
    return Repository(row["repo_id"], row["name"], row["installation"], row["default_branch"]) if row else None


def list_repositories(db: Db, ids: Iterable[int] | None = None) -> list[Repository]:
    """List the repositories with these ids, or all of them, by name."""
    rows = db.execute(
        "SELECT * FROM repository WHERE %(all)s OR repo_id = ANY(%(ids)s) ORDER BY name",
        {"all": ids is None, "ids": list(ids or ())},
    ).fetchall()
    return [Repository(row["repo_id"], row["name"], row["installation"], row["default_branch"]) for row in rows]


INSTALLATION_CHECKPOINT = "installations"
"""The name of the checkpoint that holds how many installations GitHub last listed."""


def count_installations(db: Db, installation: int) -> tuple[int, bool]:
    """Return how many installations the App has, `installation` among them, and whether GitHub has ever listed them.

    Counts those whose repositories are known, or as many as GitHub last listed, if those are more.
    """
    row = db.execute(
        "SELECT (SELECT count(DISTINCT installation) FROM repository"
        " WHERE installation = %s OR repo_id NOT IN (SELECT repo_id FROM uninstalled_repository)) AS known,"
        " (SELECT etag::bigint FROM sync_checkpoint WHERE name = %s) AS listed",
        (installation, INSTALLATION_CHECKPOINT),
    ).fetchone()
    assert row is not None
    return max(int(row["known"]), int(row["listed"] or 0)), row["listed"] is not None


def list_incident_keys_with_alarms(db: Db, repo_id: int) -> list[IncidentKey]:
    """List the incidents of a repository that have alarms: only their clocks run."""
    rows = db.execute("SELECT DISTINCT number FROM alarm WHERE repo_id = %s ORDER BY number", (repo_id,)).fetchall()
    return [IncidentKey(repo_id, row["number"]) for row in rows]


def _stored_from_row(row: Row) -> StoredIncident:
    return StoredIncident(
        parse_incident(row["state"]),
        row["replayed_until"],
        row["board_id"],
        row["board_url"] or "",
        row.get("version", 0),
        row.get("policy_failure", ""),
    )
