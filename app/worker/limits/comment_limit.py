"""Limit our comments and label writes per issue; excess notices are deferred, never lost (reliability, row 11)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zlib import crc32

import structlog

from app.core import noise_limits
from app.core.effects import Effect, Help, Reply, ShowBoard
from app.core.noise_limits import CommentBudget, PostedComment
from app.ports import Comment, IncidentKey, Tracker
from app.store import comment_log, outbox
from app.store.database import Db
from app.store.outbox import OutboxItem
from app.worker.context import WorkerContext

log = structlog.get_logger()

_MAX_DEFERRED_REPLIES = 10
"""The most answers to responders that wait on one issue while its comments are limited."""


class Throttled(Exception):
    """Raised when a limit is reached; retry after `until`.

    `reason` can be shown to users; empty: it need not be shown.
    """

    def __init__(self, until: datetime, reason: str = "") -> None:
        super().__init__(f"held back until {until:%H:%M:%S} UTC")
        self.until = until
        self.reason = reason


def post_comment(
    ctx: WorkerContext, tracker: Tracker, incident_key: IncidentKey, body: str, effects: Sequence[Effect]
) -> Comment:
    """Post one comment that carries these effects.

    Raises Throttled while the issue has reached its comment limit, and DeliveryFailed.
    """
    now, budget = ctx.clock(), noise_limits.comment_budget(effects)
    with ctx.database.autocommit() as db:
        recent = comment_log.list_comments(db, incident_key, now - noise_limits.DAY)
    until = noise_limits.next_comment_at(recent, now, budget, repeats=noise_limits.only_repeats(effects))
    if until > now:
        _report_limit(ctx, incident_key, budget, until, len(recent))
        raise Throttled(until, "held back: the issue has had enough comments for now")
    posted = tracker.comment(incident_key.number, body)
    now = ctx.clock()
    at = min(now, posted.created_at)
    with ctx.database.transaction() as db:
        comment_log.record_write(db, incident_key, "comment", posted.id, at, budget)
        _update_comment_limit(db, incident_key, [*recent, PostedComment(at, budget)], now)
    return posted


def _report_limit(
    ctx: WorkerContext, incident_key: IncidentKey, budget: CommentBudget, until: datetime, last_day: int
) -> None:
    """Show on the board that comments are held back, and log it once.

    Answers to people without rights are left out: otherwise they could make the board say so.
    """
    if budget is CommentBudget.OUTSIDERS:
        return
    now = ctx.clock()
    with ctx.database.transaction() as db:
        if comment_log.limit_comments(db, incident_key, until, now):
            log.error(
                "comment limit reached",
                incident=str(incident_key),
                until=until.isoformat(),
                last_day=last_day,
            )
            outbox.add_effects(db, incident_key, (ShowBoard(),), now)


def record_posted_comment(
    ctx: WorkerContext, incident_key: IncidentKey, posted: Comment, effect_keys: Sequence[str]
) -> None:
    """Record our comment that was found on the issue after an attempt with unknown outcome."""
    now = ctx.clock()
    with ctx.database.transaction() as db:
        comment_log.record_write(
            db,
            incident_key,
            "comment",
            posted.id,
            min(now, posted.created_at),
            noise_limits.comment_budget_of_keys(effect_keys),
        )
        _update_comment_limit(
            db, incident_key, comment_log.list_comments(db, incident_key, now - noise_limits.DAY), now
        )


def _update_comment_limit(db: Db, incident_key: IncidentKey, recent: Sequence[PostedComment], now: datetime) -> None:
    next_time = max(
        noise_limits.next_comment_at(recent, now, CommentBudget.ORDINARY),
        noise_limits.next_comment_at(recent, now, CommentBudget.URGENT, repeats=True),
    )
    if comment_log.update_limit_after_comment(db, incident_key, next_time, now):
        outbox.add_effects(db, incident_key, (ShowBoard(),), now)


def check_label_limit(ctx: WorkerContext, incident_key: IncidentKey, labels: frozenset[str]) -> None:
    """Raise Throttled if these labels were restored several times within a minute (M29)."""
    now = ctx.clock()
    with ctx.database.autocommit() as db:
        until = noise_limits.next_label_write_at(
            comment_log.list_label_write_times(db, incident_key, _labels_hash(labels), now - noise_limits.MINUTE), now
        )
    if until > now:
        raise Throttled(until)


def record_label_write(ctx: WorkerContext, incident_key: IncidentKey, labels: frozenset[str]) -> None:
    """Record that these labels were set, or were found to be set already."""
    with ctx.database.transaction() as db:
        comment_log.record_write(db, incident_key, "labels", _labels_hash(labels), ctx.clock())


def _labels_hash(labels: frozenset[str]) -> int:
    return crc32("\n".join(sorted(labels)).encode())


def defer_throttled(ctx: WorkerContext, items: Sequence[OutboxItem], throttled: Throttled) -> None:
    """Defer the items until the limit allows them, to be combined with later ones.

    Dropped instead are answers to people without rights, and answers to responders where many wait already: a program
    that answers each of our answers would otherwise be answered for days.
    """
    with ctx.database.transaction() as db:
        for item in items:
            is_reply = isinstance(item.effect, Reply | Help) and not item.outcome_unknown
            if is_reply and (
                noise_limits.comment_budget((item.effect,)) is CommentBudget.OUTSIDERS
                or outbox.count_deferred_replies(db, item.incident_key, ctx.clock()) >= _MAX_DEFERRED_REPLIES
            ):
                log.warning("reply dropped", incident=str(item.incident_key), key=item.key)
                outbox.complete(db, item, state="skipped")
            else:
                outbox.defer(db, item, throttled.until, throttled.reason)
