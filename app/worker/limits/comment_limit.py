"""Limit our comments and label writes per issue; excess notices are deferred, never lost (reliability, row 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zlib import crc32

import structlog

from app.core import noise_limits
from app.core.effects import Effect, Help, Reply, ShowBoard
from app.ports import Comment, Lane, Tracker
from app.store import comment_log, outbox
from app.store.database import Db
from app.store.outbox import Order
from app.worker.context import Desk

log = structlog.get_logger()


class Held(Exception):
    """Raised when a limit is reached; retry after `until`.

    `reason` can be shown to users; empty: it need not be shown.
    """

    def __init__(self, until: datetime, reason: str = "") -> None:
        super().__init__(f"held back until {until:%H:%M:%S} UTC")
        self.until = until
        self.why = reason


def post_comment(desk: Desk, tracker: Tracker, lane: Lane, body: str, effects: Sequence[Effect]) -> Comment:
    """Post one comment that carries these effects.

    Raises Throttled while the issue has reached its comment limit, and DeliveryFailed.
    """
    now = desk.clock()
    with desk.database.autocommit() as db:
        comment_times = comment_log.list_comment_times(db, lane, now - noise_limits.DAY)
    until = noise_limits.next_comment_at(comment_times, now, urgent=noise_limits.is_urgent(effects))
    if until > now:
        with desk.database.transaction() as db:
            if comment_log.limit_comments(db, lane, until, now):
                log.error(
                    "comment limit reached", incident=str(lane), until=until.isoformat(), last_day=len(comment_times)
                )
                outbox.add_effects(db, lane, (ShowBoard(),), now)
        raise Held(until, "held back: the issue has had enough comments for now")
    posted = tracker.comment(lane.number, body)
    now = desk.clock()
    at = min(now, posted.created_at)
    with desk.database.transaction() as db:
        comment_log.record_write(db, lane, "comment", posted.id, at)
        _update_comment_limit(db, lane, [*comment_times, at], now)
    return posted


def record_posted_comment(desk: Desk, lane: Lane, posted: Comment) -> None:
    """Record our comment that was found on the issue after an attempt with unknown outcome."""
    now = desk.clock()
    with desk.database.transaction() as db:
        comment_log.record_write(db, lane, "comment", posted.id, min(now, posted.created_at))
        _update_comment_limit(db, lane, comment_log.list_comment_times(db, lane, now - noise_limits.DAY), now)


def _update_comment_limit(db: Db, lane: Lane, comment_times: Sequence[datetime], now: datetime) -> None:
    if comment_log.update_limit_after_comment(
        db, lane, noise_limits.next_comment_at(comment_times, now, urgent=False), now
    ):
        outbox.add_effects(db, lane, (ShowBoard(),), now)


def check_label_limit(desk: Desk, lane: Lane, labels: frozenset[str]) -> None:
    """Raise Throttled if these labels were restored several times within a minute (M29)."""
    now = desk.clock()
    with desk.database.autocommit() as db:
        until = noise_limits.next_label_write_at(
            comment_log.list_label_write_times(db, lane, _labels_hash(labels), now - noise_limits.MINUTE), now
        )
    if until > now:
        raise Held(until)


def record_label_write(desk: Desk, lane: Lane, labels: frozenset[str]) -> None:
    """Record that these labels were set, or were found to be set already."""
    with desk.database.transaction() as db:
        comment_log.record_write(db, lane, "labels", _labels_hash(labels), desk.clock())


def _labels_hash(labels: frozenset[str]) -> int:
    return crc32("\n".join(sorted(labels)).encode())


def defer_throttled(desk: Desk, items: Sequence[Order], throttled: Held) -> None:
    """Defer the items until the limit allows them, to be combined with later ones.

    A reply to one person that was not attempted yet is dropped instead: a late answer is of no use.
    """
    with desk.database.transaction() as db:
        for item in items:
            if isinstance(item.effect, Reply | Help) and not item.tried:
                log.warning("reply dropped", incident=str(item.lane), key=item.key)
                outbox.complete(db, item, state="skipped")
            else:
                outbox.defer(db, item, throttled.until, throttled.why)
