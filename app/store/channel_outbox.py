"""Notices on their way to a channel: outbox rows that do not involve GitHub.

A row is claimed for the length of a lease.  If its holder dies, the message is sent again under the same key
and with the same text, so that a receiver can detect the duplicate.  Only the latest holder records the
outcome.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from pydantic import TypeAdapter

from app.core.effects import Notice
from app.ports import IncidentKey, Message
from app.store.database import Db
from app.store.serialization import kind_of, parse_effect, serialize_effect

_MESSAGE_ADAPTER = TypeAdapter(Message)
_MAX_CANDIDATES_PER_SINK = 100
"""Number of the longest-waiting messages of one sink that are considered at a time."""
_UNSENT_SQL: LiteralString = "channel <> '' AND state IN ('pending', 'in_flight')"
"""Condition for unsent messages, the same as that of the partial indexes."""

Sink = tuple[int, str]
"""One channel of one repository: the repository's id and the channel's name."""


@dataclass(frozen=True, slots=True)
class ClaimedMessage:
    """A claimed message; `attempts` includes the current one."""

    incident_key: IncidentKey
    key: str
    channel: str
    notice: Notice
    message: Message
    attempts: int
    created_at: datetime

    @property
    def sink(self) -> Sink:
        """The sink this message goes to."""
        return self.incident_key.repo_id, self.channel


def add_message(
    db: Db, incident_key: IncidentKey, notice: Notice, channel: str, message: Message, now: datetime
) -> int:
    """Add a message for a channel, once, and return 1 if it is new."""
    return db.execute(
        "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before, channel, message)"
        " VALUES (%s, %s, %s, %s, %s::jsonb, %s, %s, %s, %s::jsonb) ON CONFLICT DO NOTHING",
        (
            incident_key.repo_id,
            incident_key.number,
            f"{notice.key}>{channel}",
            kind_of(notice),
            serialize_effect(notice),
            now,
            now,
            channel,
            _MESSAGE_ADAPTER.dump_json(message).decode(),
        ),
    ).rowcount


def claim_messages(
    db: Db, now: datetime, lease: timedelta, *, limit: int, limit_per_sink: int, full_sinks: Collection[Sink] = ()
) -> list[ClaimedMessage]:
    """Claim up to `limit` due messages, at most `limit_per_sink` of one sink, and none of `full_sinks`.

    Sinks take turns, and within a sink first attempts go before retries, so a slow sink delays only itself.
    """
    rows = db.execute(
        # Step from sink to sink by the index: most rows may belong to a full sink.
        f"WITH RECURSIVE sink AS ("  # noqa: S608 -- a literal of this file
        f" (SELECT repo_id, channel FROM outbox WHERE {_UNSENT_SQL} ORDER BY repo_id, channel LIMIT 1)"
        f" UNION ALL SELECT next.repo_id, next.channel FROM sink, LATERAL ("
        f"  SELECT repo_id, channel FROM outbox WHERE "
        f"{_UNSENT_SQL} AND (repo_id, channel) > (sink.repo_id, sink.channel)"
        f"  ORDER BY repo_id, channel LIMIT 1) AS next)"
        # Find the rows by ctid: any other key would scan all pending rows.
        f" UPDATE outbox SET state = 'in_flight', attempts = "
        f"attempts + 1, not_before = %(until)s WHERE ctid = ANY(ARRAY("
        f" SELECT place FROM ("
        f"  SELECT place, position, not_before, row_number() OVER ("
        f"   PARTITION BY sink.repo_id, sink.channel ORDER BY attempts > 0, not_before, position) AS turn"
        f"  FROM sink, LATERAL (SELECT ctid AS place, position, attempts, not_before FROM outbox"
        f"   WHERE {_UNSENT_SQL} AND repo_id = sink.repo_id AND channel = sink.channel AND not_before <= %(now)s"
        f"   ORDER BY not_before, position LIMIT %(max_candidates)s) AS due"
        f"  WHERE NOT sink.repo_id || ' ' || sink.channel = ANY(%(full)s)) AS turns"
        f" WHERE turn <= %(limit_per_sink)s ORDER BY turn, not_before, position LIMIT %(limit)s))"
        f" AND {_UNSENT_SQL} AND not_before <= %(now)s"
        f" RETURNING repo_id, number, key, kind, data, channel, message, attempts, created_at",
        {
            "now": now,
            "until": now + lease,
            "limit": limit,
            "limit_per_sink": limit_per_sink,
            "full": [f"{repo_id} {channel}" for repo_id, channel in full_sinks],
            "max_candidates": _MAX_CANDIDATES_PER_SINK,
        },
    ).fetchall()
    found = []
    for row in rows:
        notice = parse_effect(row["kind"], row["data"])
        assert isinstance(notice, Notice)
        message = _MESSAGE_ADAPTER.validate_python(row["message"])
        incident_key = IncidentKey(row["repo_id"], row["number"])
        found.append(
            ClaimedMessage(
                incident_key, row["key"], row["channel"], notice, message, row["attempts"], row["created_at"]
            )
        )
    return found


def finish_message(db: Db, claimed: ClaimedMessage, state: str, note: str = "") -> bool:
    """Record the outcome: `done`, `skipped` (no longer relevant) or `dead`.

    Returns False when a later attempt holds the message.
    """
    return _record_outcome(db, claimed, state, note, None)


def retry_message_at(db: Db, claimed: ClaimedMessage, not_before: datetime, note: str) -> bool:
    """Retry at that time; returns False when a later attempt holds the message."""
    return _record_outcome(db, claimed, "pending", note, not_before)


def defer_message(db: Db, claimed: ClaimedMessage, not_before: datetime, note: str) -> bool:
    """Defer without counting an attempt; returns False when a later attempt holds the message."""
    return _record_outcome(db, claimed, "pending", note, not_before, attempts=claimed.attempts - 1)


def _record_outcome(
    db: Db, claimed: ClaimedMessage, state: str, note: str, not_before: datetime | None, *, attempts: int | None = None
) -> bool:
    """Write the outcome of an attempt, unless a later one holds the message."""
    return bool(
        db.execute(
            "UPDATE outbox SET state = %s, note = %s, not_before = coalesce(%s, not_before), attempts = %s"
            " WHERE repo_id = %s AND number = %s AND key = %s AND attempts = %s AND state = 'in_flight'",
            (
                state,
                note[:500],
                not_before,
                claimed.attempts if attempts is None else attempts,
                claimed.incident_key.repo_id,
                claimed.incident_key.number,
                claimed.key,
                claimed.attempts,
            ),
        ).rowcount
    )


def skip_messages_of_finished_notices(db: Db, incident_key: IncidentKey) -> None:
    """Skip the messages of notices that a rebuild found on GitHub: presumably they were sent as well."""
    db.execute(
        "UPDATE outbox AS message SET state = 'skipped' FROM outbox AS notice"
        " WHERE message.repo_id = %s AND message.number = %s AND message.channel <> ''"
        " AND message.state IN ('pending', 'in_flight')"
        " AND (notice.repo_id, notice.number) = (message.repo_id, message.number) AND notice.channel = ''"
        " AND message.key = notice.key || '>' || message.channel AND notice.state NOT IN ('pending', 'in_flight')",
        (incident_key.repo_id, incident_key.number),
    )


def oldest_message_age(db: Db, now: datetime) -> timedelta | None:
    """Return the age of the oldest unsent message; None: there is none."""
    row = db.execute(
        f"SELECT min(created_at) AS first FROM outbox WHERE {_UNSENT_SQL}"  # noqa: S608 -- a literal of this file
    ).fetchone()
    return now - row["first"] if row and row["first"] else None
