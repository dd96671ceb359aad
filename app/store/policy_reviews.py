"""Reviews of proposed policies: what is to be reviewed, what came of it, and how many were made in the last hour."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import LiteralString

from app.ports import Repository
from app.store.database import Db, Row

_LEASE_PERIOD = timedelta(minutes=2)
"""Time after which a review whose process died is made again; longer than any review and its calls to GitHub take."""
_CLAIM_LOCK_ID = 720_222
"""Advisory lock of the worker that claims a review."""
_KEPT_PERIOD = timedelta(days=90)
"""How long it is remembered that a commit was reviewed."""
_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class ReviewRequest:
    """A commit whose policy is to be reviewed.

    `number` is that of its pull request, 0 for a push to the default branch.  Of several requests for a number, the
    one with the newest `proposed_at` counts.
    """

    repo_id: int
    number: int
    head: str
    proposed_at: datetime
    received_at: datetime
    from_fork: bool = False


@dataclass(frozen=True, slots=True)
class StoredReview:
    """A review to be made, or whose `result` is to be published.

    `attempts` is how many processes have begun it, this one included, and did not get to its end.  `announced`: its
    author was told that it has to wait.
    """

    request: ReviewRequest
    repository: Repository
    attempts: int
    announced: bool
    result: str


@dataclass(frozen=True, slots=True)
class PastLog:
    """The event log of a past incident, as JSON: a list of `[at, kind, data]`."""

    number: int
    title: str
    log: str

    def to_json(self) -> str:
        """Return the JSON `[number, title, log]`, on one line."""
        return f"[{self.number}, {json.dumps(self.title)}, {self.log}]"


def request_review(db: Db, request: ReviewRequest) -> None:
    """Request a review, which supersedes the unfinished ones of older commits of the same pull request.

    A commit that was reviewed before is not reviewed again.
    """
    where = (request.repo_id, request.number, request.head)
    db.execute(
        "DELETE FROM policy_review WHERE repo_id = %s AND state = 'done' AND received_at < %s",
        (request.repo_id, request.received_at - _KEPT_PERIOD),
    )
    newer = db.execute(
        "SELECT 1 FROM policy_review WHERE repo_id = %s AND number = %s AND head <> %s AND proposed_at > %s LIMIT 1",
        (*where, request.proposed_at),
    ).fetchone()
    if newer is not None:
        return
    db.execute(
        "UPDATE policy_review SET state = 'done', note = 'superseded', result = ''"
        " WHERE repo_id = %s AND number = %s AND head <> %s AND state <> 'done'",
        where,
    )
    db.execute(
        "INSERT INTO policy_review AS r (repo_id, number, head, from_fork, proposed_at, received_at, not_before)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (repo_id, number, head) DO UPDATE SET"
        " proposed_at = excluded.proposed_at, received_at = excluded.received_at, not_before = excluded.not_before,"
        " state = 'pending', attempts = 0, note = '' WHERE r.reviewed_at IS NULL",
        (*where, request.from_fork, request.proposed_at, request.received_at, request.received_at),
    )


def list_due_installations(db: Db, now: datetime, installation: int | None = None) -> list[int]:
    """List the installations with a review that is due, at most 50, the one that has waited longest first.

    Those of which a review is being made are left out.  `installation`: look for that one only.
    """
    rows = db.execute(
        "SELECT installation FROM policy_review JOIN repository USING (repo_id)"
        " WHERE state <> 'done' AND not_before <= %(now)s AND installation = coalesce(%(only)s, installation)"
        " AND installation NOT IN (SELECT installation FROM policy_review JOIN repository USING (repo_id)"
        "   WHERE lease_until > %(now)s)"
        " GROUP BY installation ORDER BY min(received_at) LIMIT 50",
        {"now": now, "only": installation},
    ).fetchall()
    return [row["installation"] for row in rows]


def is_any_running(db: Db, now: datetime) -> bool:
    """Return whether a process is at work on a review."""
    return db.execute("SELECT 1 FROM policy_review WHERE lease_until > %s LIMIT 1", (now,)).fetchone() is not None


def claim_next_review(db: Db, installation: int, now: datetime) -> StoredReview | None:
    """Claim the next due review of an installation, those of its own branches before those of forks.

    None: none is due, or one of the installation is being made.
    """
    db.execute("SELECT pg_advisory_xact_lock(%s)", (_CLAIM_LOCK_ID,))
    if not list_due_installations(db, now, installation):
        return None
    row = db.execute(
        "SELECT r.*, p.name, p.installation, p.default_branch"
        " FROM policy_review r JOIN repository p USING (repo_id)"
        " WHERE p.installation = %s AND r.state <> 'done' AND r.not_before <= %s"
        " ORDER BY r.state = 'reviewed' DESC, r.from_fork, r.received_at LIMIT 1",
        (installation, now),
    ).fetchone()
    if row is None:
        return None
    claimed = _review_from_row(row)
    _update(db, claimed.request, "attempts = attempts + 1, lease_until = %s", now + _LEASE_PERIOD)
    return claimed


def admit_claim(db: Db, review: StoredReview, now: datetime, limit: int) -> datetime | None:
    """Count a claim that is about to ask GitHub, or return when it may, if it is the limit for forks that is used up.

    At most `limit` commits of forks are looked at an hour for each installation: most of them leave the policy alone,
    but each look is a call out of a budget that incidents need.
    """
    if review.request.from_fork:
        row = db.execute(
            "SELECT claimed_at FROM policy_review JOIN repository USING (repo_id)"
            " WHERE installation = %s AND from_fork AND claimed_at > %s ORDER BY claimed_at DESC OFFSET %s LIMIT 1",
            (review.repository.installation, now - _HOUR, limit - 1),
        ).fetchone()
        if row is not None:
            reset: datetime = row["claimed_at"] + _HOUR
            return reset
    _update(db, review.request, "claimed_at = %s", now)
    return None


def find_budget_reset(db: Db, review: StoredReview, now: datetime, limit: int) -> datetime | None:
    """Return when the installation may start another review; None: now.

    At most `limit` are started an hour for pull requests from forks, and as many for everything else, so that the
    first cannot use up what the others need.
    """
    row = db.execute(
        "SELECT started_at FROM policy_review JOIN repository USING (repo_id)"
        " WHERE installation = %s AND from_fork = %s AND claimed_at > %s AND started_at > %s"
        " ORDER BY started_at DESC OFFSET %s LIMIT 1",
        (review.repository.installation, review.request.from_fork, now - 2 * _HOUR, now - _HOUR, limit - 1),
    ).fetchone()
    return None if row is None else row["started_at"] + _HOUR


def postpone_review(db: Db, review: StoredReview, until: datetime, *, announced: bool = False) -> None:
    """Postpone a review; `announced`: its author was told."""
    assignments: LiteralString = "attempts = 0, lease_until = NULL, not_before = %s, announced = announced OR %s"
    _update(db, review.request, assignments, until, announced)


def record_review_start(db: Db, review: StoredReview, now: datetime) -> None:
    """Record that a process is started for this review, which counts against the budget of its installation."""
    _update(db, review.request, "started_at = %s, lease_until = %s", now, now + _LEASE_PERIOD)


def record_review_result(db: Db, review: StoredReview, result: str, now: datetime) -> None:
    """Record the check run that came of a review; from now on it is published, and the commit not reviewed again."""
    assignments: LiteralString = "state = 'reviewed', reviewed_at = %s, result = %s, attempts = 0, lease_until = %s"
    _update(db, review.request, assignments, now, result, now + _LEASE_PERIOD)


def finish_review(db: Db, review: StoredReview, note: str = "") -> None:
    """Finish a review."""
    _update(db, review.request, "state = 'done', lease_until = NULL, result = '', note = %s", note[:500])


def list_past_logs(
    db: Db, repo_id: int, since: datetime, *, max_incidents: int, max_events: int, max_bytes: int
) -> tuple[list[PastLog], int]:
    """List the event logs of incidents declared since then, the newest first, as far as the limits reach.

    Also return how many of these incidents were left out because their logs are too long.
    """
    rows = db.execute(
        "SELECT number, state->>'title' AS title, count(e.key) AS events,"
        " coalesce(sum(octet_length(e.data::text)), 0) AS bytes"
        " FROM (SELECT repo_id, number, state FROM incident"
        "   WHERE repo_id = %s AND (state->>'declared_at')::timestamptz >= %s ORDER BY number DESC LIMIT %s) AS recent"
        " JOIN event e USING (repo_id, number) GROUP BY number, title ORDER BY number DESC",
        (repo_id, since, max_incidents),
    ).fetchall()
    logs: list[PastLog] = []
    for row in rows:
        max_events -= row["events"]
        max_bytes -= row["bytes"]
        if max_events < 0 or max_bytes < 0:
            break
        log = db.execute(
            "SELECT json_agg(json_build_array(at, kind, data) ORDER BY at, key)::text AS log FROM event"
            " WHERE repo_id = %s AND number = %s",
            (repo_id, row["number"]),
        ).fetchone()
        assert log is not None
        logs.append(PastLog(row["number"], row["title"] or "", log["log"].replace("\n", " ")))
    return logs, len(rows) - len(logs)


def _update(db: Db, request: ReviewRequest, assignments: LiteralString, *values: object) -> None:
    db.execute(
        f"UPDATE policy_review SET {assignments} WHERE repo_id = %s AND number = %s AND head = %s",  # noqa: S608 - literals of this file
        (*values, request.repo_id, request.number, request.head),
    )


def _review_from_row(row: Row) -> StoredReview:
    return StoredReview(
        ReviewRequest(
            row["repo_id"], row["number"], row["head"], row["proposed_at"], row["received_at"], row["from_fork"]
        ),
        Repository(row["repo_id"], row["name"], row["installation"], row["default_branch"]),
        row["attempts"] + 1,
        row["announced"],
        row["result"],
    )
