"""The breaker: when it is too much, nothing is lost, but it has to wait (reliability, row 11)."""

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
    """It may not be said before `until`.  `why` can be shown; empty: nobody needs to hear of it."""

    def __init__(self, until: datetime, why: str = "") -> None:
        super().__init__(f"held back until {until:%H:%M:%S} UTC")
        self.until = until
        self.why = why


def comment(desk: Desk, tracker: Tracker, lane: Lane, body: str, effects: Sequence[Effect]) -> Comment:
    """Write one comment for these.  Raises Held while the issue has had enough of ours, and DeliveryFailed."""
    now = desk.clock()
    with desk.database.look() as db:
        said = comment_log.comments(db, lane, now - noise_limits.DAY)
    until = noise_limits.comment_at(said, now, presses=noise_limits.pressing(effects))
    if until > now:
        with desk.database.transaction() as db:
            if comment_log.hold(db, lane, until, now):
                log.error("comments are held back", incident=str(lane), until=until.isoformat(), of_day=len(said))
                outbox.put(db, lane, (ShowBoard(),), now)
        raise Held(until, "held back: the issue has had enough comments for now")
    posted = tracker.comment(lane.number, body)
    now = desk.clock()
    at = min(now, posted.created_at)
    with desk.database.transaction() as db:
        comment_log.note(db, lane, "comment", posted.id, at)
        _counted(db, lane, [*said, at], now)
    return posted


def spoke(desk: Desk, lane: Lane, posted: Comment) -> None:
    """A comment of ours stands there, written by an attempt whose outcome nobody had heard."""
    now = desk.clock()
    with desk.database.transaction() as db:
        comment_log.note(db, lane, "comment", posted.id, min(now, posted.created_at))
        _counted(db, lane, comment_log.comments(db, lane, now - noise_limits.DAY), now)


def _counted(db: Db, lane: Lane, said: Sequence[datetime], now: datetime) -> None:
    if comment_log.spoke(db, lane, noise_limits.comment_at(said, now, presses=False), now):
        outbox.put(db, lane, (ShowBoard(),), now)


def may_set(desk: Desk, lane: Lane, labels: frozenset[str]) -> None:
    """Raises Held where these labels were put back several times in a minute (M29)."""
    now = desk.clock()
    with desk.database.look() as db:
        until = noise_limits.labels_at(comment_log.labels(db, lane, _digest(labels), now - noise_limits.MINUTE), now)
    if until > now:
        raise Held(until)


def has_set(desk: Desk, lane: Lane, labels: frozenset[str]) -> None:
    """These labels were set, or found to be set."""
    with desk.database.transaction() as db:
        comment_log.note(db, lane, "labels", _digest(labels), desk.clock())


def _digest(labels: frozenset[str]) -> int:
    return crc32("\n".join(sorted(labels)).encode())


def put_off(desk: Desk, orders: Sequence[Order], held: Held) -> None:
    """Say it later, together with what comes until then.  An answer to one person is not worth waiting for."""
    with desk.database.transaction() as db:
        for order in orders:
            if isinstance(order.effect, Reply | Help) and not order.tried:
                log.warning("reply dropped", incident=str(order.lane), key=order.key)
                outbox.done(db, order, state="moot")
            else:
                outbox.put_off(db, order, held.until, held.why)
