"""Reports that no user with rights has confirmed: which of them notified people, and which are throttled."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.incident import Incident
from app.core.noise_limits import UnconfirmedReport
from app.ports import IncidentKey
from app.store.database import Db
from app.store.serialization import parse_incident

_MAX_THROTTLED_AGE = timedelta(hours=1)
"""A throttled report without a request to notify for this long is dropped: it was closed or became unreachable."""
_MAX_MESSAGE_AGE = timedelta(hours=1)
"""How long it is recorded which notices of unconfirmed incidents went to a channel."""


UNCONFIRMED_NOTE = "waits until somebody with rights has confirmed the incident, or few others wait"
"""Note of a deferred outbox item of a throttled report; users may see it."""


@dataclass(frozen=True, slots=True)
class UnconfirmedDigest:
    """The comment that lists throttled reports, on the issue of `incident_key`; `comment_id` None: not posted yet."""

    incident_key: IncidentKey
    started_at: datetime
    comment_id: int | None


def lock_repository(db: Db, repo_id: int) -> None:
    """Lock a repository until the transaction ends, so that two workers cannot both be the last admitted."""
    db.execute("SELECT 1 FROM repository WHERE repo_id = %s FOR UPDATE", (repo_id,))


def list_recent(db: Db, repo_id: int, since: datetime, now: datetime) -> list[UnconfirmedReport]:
    """List the reports that requested or sent a notification after `since`, or are still throttled."""
    rows = db.execute(
        "SELECT number, login, notified_at FROM unconfirmed_report"
        " WHERE repo_id = %s AND (requested_at > %s OR notified_at "
        "> %s OR (throttled AND requested_at > %s)) ORDER BY number",
        (repo_id, since, since, now - _MAX_THROTTLED_AGE),
    ).fetchall()
    return [UnconfirmedReport(row["number"], row["login"], row["notified_at"]) for row in rows]


def last_admitted_key(db: Db, incident_key: IncidentKey) -> str:
    """Return the notice for which the report was last admitted; empty: none."""
    row = db.execute(
        "SELECT last_admitted_key FROM unconfirmed_report WHERE repo_id = %s AND number = %s",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return row["last_admitted_key"] if row else ""


def admit(db: Db, incident_key: IncidentKey, login: str, notice_key: str, now: datetime) -> None:
    """Admit a report: it may notify people for that notice.  The time of the first one is kept."""
    db.execute(
        "INSERT INTO unconfirmed_report"
        " (repo_id, number, login, requested_at, notified_at, last_admitted_key, throttled)"
        " VALUES (%s, %s, %s, %s, %s, %s, false) ON CONFLICT (repo_id, number) DO UPDATE SET"
        " requested_at = excluded.requested_at,"
        " notified_at = coalesce(unconfirmed_report.notified_at, excluded.notified_at),"
        " last_admitted_key = excluded.last_admitted_key, throttled = false",
        (incident_key.repo_id, incident_key.number, login, now, now, notice_key),
    )


def throttle(db: Db, incident_key: IncidentKey, login: str, now: datetime) -> bool:
    """Throttle a report, and return whether it was not throttled before."""
    before = is_throttled(db, incident_key)
    db.execute(
        "INSERT INTO unconfirmed_report (repo_id, number, login, requested_at, throttled) VALUES (%s, %s, %s, %s, true)"
        " ON CONFLICT (repo_id, number) DO UPDATE SET requested_at = excluded.requested_at, throttled = true",
        (incident_key.repo_id, incident_key.number, login, now),
    )
    return not before


def is_throttled(db: Db, incident_key: IncidentKey) -> bool:
    """Return whether the report is throttled."""
    row = db.execute(
        "SELECT 1 FROM unconfirmed_report WHERE repo_id = %s AND number = %s AND throttled",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return row is not None


def never_notified(db: Db, incident_key: IncidentKey) -> bool:
    """Return whether the report is throttled and has never notified people."""
    row = db.execute(
        "SELECT 1 FROM unconfirmed_report WHERE repo_id = %s AND number = %s AND throttled AND notified_at IS NULL",
        (incident_key.repo_id, incident_key.number),
    ).fetchone()
    return row is not None


def list_throttled_incidents(db: Db, repo_id: int, since: datetime, now: datetime) -> list[Incident]:
    """List throttled incidents that have not notified people after `since`, oldest first."""
    rows = db.execute(
        "SELECT i.state FROM unconfirmed_report s JOIN incident i USING (repo_id, number)"
        " WHERE s.repo_id = %s AND s.throttled AND s.requested_at "
        "> %s AND coalesce(s.notified_at <= %s, true) ORDER BY number",
        (repo_id, now - _MAX_THROTTLED_AGE, since),
    ).fetchall()
    return [parse_incident(row["state"]) for row in rows]


def release_confirmed(db: Db, incident_key: IncidentKey, now: datetime) -> None:
    """Release a report that a person with rights confirmed: its deferred items are due at once."""
    db.execute(
        "DELETE FROM unconfirmed_report WHERE repo_id = %s AND number = %s AND throttled",
        (incident_key.repo_id, incident_key.number),
    )
    db.execute(
        "UPDATE outbox SET not_before = %s WHERE repo_id = %s AND number = %s AND state IN ('pending', 'in_flight')"
        " AND not_before > %s AND note = %s",
        (now, incident_key.repo_id, incident_key.number, now, UNCONFIRMED_NOTE),
    )


def list_message_times(db: Db, repo_id: int, channel: str, since: datetime) -> list[datetime]:
    """List when unconfirmed incidents of a repository notified people through a channel after then."""
    rows = db.execute(
        "SELECT at FROM unconfirmed_message WHERE repo_id = %s AND channel = %s AND at > %s ORDER BY at",
        (repo_id, channel, since),
    ).fetchall()
    return [row["at"] for row in rows]


def list_message_keys(db: Db, incident_key: IncidentKey, channel: str) -> set[str]:
    """List the recent notices of an unconfirmed incident that went, or were admitted, to a channel."""
    rows = db.execute(
        "SELECT key FROM unconfirmed_message WHERE repo_id = %s AND number = %s AND channel = %s",
        (incident_key.repo_id, incident_key.number, channel),
    ).fetchall()
    return {row["key"] for row in rows}


def record_message(db: Db, incident_key: IncidentKey, channel: str, notice_key: str, now: datetime) -> None:
    """Record that a notice may go to a channel, and delete the old records of the repository."""
    db.execute(
        "DELETE FROM unconfirmed_message WHERE repo_id = %s AND at < %s", (incident_key.repo_id, now - _MAX_MESSAGE_AGE)
    )
    db.execute(
        "INSERT INTO unconfirmed_message (repo_id, number, channel, key, at) VALUES (%s, %s, %s, %s, %s)"
        " ON CONFLICT DO NOTHING",
        (incident_key.repo_id, incident_key.number, channel, notice_key, now),
    )


def load_digest(db: Db, repo_id: int) -> UnconfirmedDigest | None:
    """Load the current digest of a repository; None: there is none."""
    row = db.execute(
        "SELECT number, started_at, comment_id FROM unconfirmed_digest WHERE repo_id = %s", (repo_id,)
    ).fetchone()
    return UnconfirmedDigest(IncidentKey(repo_id, row["number"]), row["started_at"], row["comment_id"]) if row else None


def start_digest(db: Db, incident_key: IncidentKey, now: datetime) -> None:
    """Start a new digest on that issue."""
    db.execute(
        "INSERT INTO unconfirmed_digest (repo_id, number, started_at) VALUES (%s, %s, %s) ON CONFLICT (repo_id)"
        " DO UPDATE SET number = excluded.number, started_at = excluded.started_at, comment_id = NULL",
        (incident_key.repo_id, incident_key.number, now),
    )


def record_digest_comment(db: Db, incident_key: IncidentKey, started_at: datetime, comment_id: int | None) -> None:
    """Record the comment that holds the digest; None: it was deleted."""
    db.execute(
        "UPDATE unconfirmed_digest SET comment_id = %s WHERE repo_id = %s AND number = %s AND started_at = %s",
        (comment_id, incident_key.repo_id, incident_key.number, started_at),
    )
