"""Warnings shown on an incident's board."""

from __future__ import annotations

from datetime import datetime

from app.ports import Lane
from app.render.markdown.phrases import held_back
from app.store import audit, comment_log
from app.worker.context import Desk

OVERDUE_FINDING = "overdue"
"""Name of the audit finding about overdue alarms."""


def of_lane(desk: Desk, lane: Lane, now: datetime, *, waits: bool) -> tuple[str, ...]:
    """List the warnings for the readers of the issue, a sentence each.

    `notices_deferred`: notices wait because the report is unconfirmed.
    """
    with desk.database.look() as db:
        until, dead = comment_log.held_until(db, lane, now), audit.dead_of(db, lane)
        named = audit.about(db, lane)
    return tuple(_sentences(until, dead, late=OVERDUE_FINDING in named, waits=waits))


def _sentences(until: datetime | None, dead: int, *, late: bool, waits: bool) -> list[str]:
    found = []
    if until is not None:
        found.append(held_back(until))
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
