"""Warnings shown on an incident's board."""

from __future__ import annotations

from datetime import datetime

from app.ports import Lane
from app.render.markdown.phrases import comment_limit_warning
from app.store import audit, comment_log
from app.worker.context import Desk

OVERDUE_FINDING = "overdue"
"""Name of the audit finding about overdue alarms."""


def list_warnings(desk: Desk, lane: Lane, now: datetime, *, waits: bool) -> tuple[str, ...]:
    """List the warnings for the readers of the issue, a sentence each.

    `notices_deferred`: notices wait because the report is unconfirmed.
    """
    with desk.database.autocommit() as db:
        until, dead = comment_log.limited_until(db, lane, now), audit.count_dead_items(db, lane)
        named = audit.list_finding_names(db, lane)
    return tuple(_format_warnings(until, dead, late=OVERDUE_FINDING in named, waits=waits))


def _format_warnings(until: datetime | None, dead: int, *, late: bool, waits: bool) -> list[str]:
    found = []
    if until is not None:
        found.append(comment_limit_warning(until))
    if waits:
        found.append(
            "Nobody is paged for this yet: there are several reports like it. Somebody with rights here can confirm it"
            " with /ack or /severity."
        )
    if dead:
        found.append(
            f"{dead} of our messages could not be delivered here. Whoever runs Muster finds them with: muster outbox list"
        )
    if late:
        found.append("An alarm of this incident was late. Whoever runs Muster has been told.")
    return found
