"""Send channel messages, independently of everything that calls GitHub.

Channels keep working during a GitHub outage; a slow channel delays only itself.  GitHub is asked only for the
permissions of an unconfirmed report's author (M30); if it does not answer, the message is sent.
"""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter, Gauge

from app.core.effects import ChannelFailure
from app.core.notice_relevance import not_before, still_relevant
from app.core.policy import ChannelConfig
from app.ports import DeliveryFailed, Message
from app.rate_limit import Priority
from app.store import channel_outbox, incidents, outbox
from app.store.channel_outbox import ClaimedMessage, Sink
from app.tenancy import Tenant
from app.worker.context import WorkerContext
from app.worker.limits import unconfirmed_reports
from app.worker.limits.comment_limit import Throttled
from app.worker.pipeline.retry_policy import backoff_seconds, should_give_up

MESSAGES = Counter(
    "muster_messages",
    "Attempts to send a channel message, by outcome: done, skipped, retried or dead",
    ["outcome"],
)
OLDEST_MESSAGE_SECONDS = Gauge(
    "muster_oldest_message_seconds", "How long the oldest undelivered message has been waiting"
)

CLAIM_PERIOD = timedelta(seconds=30)
"""Age after which a claimed message without an outcome is claimed again: its sender has died."""
_MAX_IN_FLIGHT_PER_CHANNEL = 8
"""Maximum number of messages being sent to one channel at a time."""
_BATCH_WAIT_SECONDS = 0.02
"""Wait for further free slots, so that one claim fills all of them."""
_FIRST_RETRY_SECONDS = 1.0
"""Wait before the second attempt, unless the receiver asks for more."""

log = structlog.get_logger()


class ChannelSender:
    """Sends the channel messages of all incidents.

    `poll_interval_seconds`: time between two polls.  `concurrency`: how many messages are sent at a time.
    """

    def __init__(self, ctx: WorkerContext, *, poll_interval_seconds: float = 0.25, concurrency: int = 24) -> None:
        self._ctx = ctx
        self._poll_interval_seconds = poll_interval_seconds
        self._concurrency = concurrency
        self._in_flight: Count[Sink] = Count()
        self._lock = threading.Lock()
        self._slot_freed = threading.Event()
        self._idle = True
        """True if the last claim found nothing; the next claim is then preceded by a cheap query."""

    def run(self, stop: threading.Event) -> None:
        """Send messages until `stop` is set; messages being sent then are finished."""
        with ThreadPoolExecutor(self._concurrency, thread_name_prefix="channel-sender") as pool:
            while not stop.is_set():
                try:
                    claimed = self._claim()
                except Exception:
                    log.exception("channel sender failed")
                    stop.wait(1)
                    continue
                for message in claimed:
                    pool.submit(self._send, message)
                if self._slot_freed.wait(self._poll_interval_seconds):  # a slot that becomes free claims at once
                    stop.wait(_BATCH_WAIT_SECONDS)

    def _claim(self) -> Sequence[ClaimedMessage]:
        self._slot_freed.clear()
        with self._lock:
            free = self._concurrency - self._in_flight.total()
            full = [sink for sink, busy in self._in_flight.items() if busy >= _MAX_IN_FLIGHT_PER_CHANNEL]
        if free <= 0:
            return ()
        now = self._ctx.clock()
        if self._idle:
            with self._ctx.database.autocommit() as db:
                oldest_age = channel_outbox.oldest_message_age(db, now)
            OLDEST_MESSAGE_SECONDS.set(oldest_age.total_seconds() if oldest_age is not None else 0)
            if oldest_age is None:
                return ()
        with self._ctx.database.single_statement() as db:
            claimed = channel_outbox.claim_messages(
                db, now, CLAIM_PERIOD, limit=free, limit_per_sink=_MAX_IN_FLIGHT_PER_CHANNEL, full_sinks=full
            )
        self._idle = not claimed
        with self._lock:
            self._in_flight.update(sending.sink for sending in claimed)
        return claimed

    def _send(self, claimed: ClaimedMessage) -> None:
        try:
            send_message(self._ctx, claimed)
        except Exception:
            log.exception("message could not be sent", incident=str(claimed.incident_key), key=claimed.key)
        finally:
            with self._lock:
                self._in_flight -= Count((claimed.sink,))
            self._slot_freed.set()


def send_message(ctx: WorkerContext, claimed: ClaimedMessage) -> None:
    """Send one claimed message and store the outcome."""
    try:
        found = _find_channel(ctx, claimed)
    except Throttled as throttled:
        with ctx.database.single_statement() as db:
            channel_outbox.defer_message(db, claimed, throttled.until, throttled.reason)
        return
    if found is None:
        with ctx.database.single_statement() as db:
            channel_outbox.finish_message(db, claimed, "skipped")
        MESSAGES.labels("skipped").inc()
        return
    ctx.failpoints.reach("before_post")
    try:
        ctx.channels.send(*found)
    except DeliveryFailed as failed:
        _handle_failure(ctx, claimed, failed)
        return
    ctx.failpoints.reach("after_post_before_mark")
    with ctx.database.single_statement() as db:
        channel_outbox.finish_message(db, claimed, "done")
    ctx.failpoints.reach("after_mark")
    MESSAGES.labels("done").inc()


def _find_channel(ctx: WorkerContext, claimed: ClaimedMessage) -> tuple[ChannelConfig, Message, Tenant] | None:
    """Find the channel in the current policy, and its tenant; None if there is none, or the notice is not relevant.

    Raises Throttled if too many unconfirmed reports would notify people.
    """
    with ctx.database.autocommit() as db:
        stored = incidents.load_incident(db, claimed.incident_key)
        repository = incidents.load_repository(db, claimed.incident_key.repo_id)
    if stored is None or repository is None or stored.incident.unavailable:
        return None
    now = ctx.clock()
    if not still_relevant(claimed.notice, stored.incident, frozenset(), now):
        return None
    policy = ctx.policies.load_cached(ctx.database, repository)
    if (until := not_before([claimed.notice], policy, now)) > now:
        raise Throttled(until, "it waits for working hours")
    tracker = ctx.tracker(repository).with_priority(Priority(stored.incident.severity))
    unconfirmed_reports.admit_or_throttle(
        ctx, tracker, claimed.incident_key, stored.incident, claimed.notice.key, claimed.channel
    )
    channel = policy.channels.get(claimed.channel)
    if channel is None:
        return None
    return channel, claimed.message, ctx.installations.find_tenant(repository.name, repository.installation)


def _handle_failure(ctx: WorkerContext, claimed: ClaimedMessage, failed: DeliveryFailed) -> None:
    """Schedule a retry, or give up and report the failure on the incident."""
    now = ctx.clock()
    permanent = failed.retry_after is None or should_give_up(claimed.attempts, claimed.created_at, now)
    log.warning(
        "message not delivered",
        incident=str(claimed.incident_key),
        key=claimed.key,
        attempts=claimed.attempts,
        never=permanent,
        reason=str(failed),
    )
    with ctx.database.transaction() as db:
        if not permanent:
            wait_seconds = max(
                failed.retry_after or 0.0, backoff_seconds(claimed.attempts, claimed.message.key, _FIRST_RETRY_SECONDS)
            )
            channel_outbox.retry_message_at(db, claimed, now + timedelta(seconds=wait_seconds), str(failed))
        elif channel_outbox.finish_message(db, claimed, "dead", str(failed)):
            outbox.add_effects(db, claimed.incident_key, (_channel_failure(claimed, failed, now),), now)
    MESSAGES.labels("dead" if permanent else "retried").inc()


def _channel_failure(claimed: ClaimedMessage, failed: DeliveryFailed, now: datetime) -> ChannelFailure:
    """Make the failure notice, once per incident and channel: one repair fixes all messages that follow."""
    return ChannelFailure(
        key=f"undelivered/{claimed.channel}",
        to=claimed.notice.to,
        at=now,
        channel=claimed.channel,
        notice_kind=claimed.message.kind,
        reason=str(failed),
    )
