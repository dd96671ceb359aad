"""Sends what channels carry, apart from everything that concerns GitHub, and needs GitHub for nothing.

So a night without GitHub is a night with messages, and a receiver that is away holds up nobody but itself.  GitHub is
asked for one thing, who has reported what nobody has confirmed (M30), and where it does not say, the message goes out.
"""

from __future__ import annotations

import threading
from collections import Counter as Count
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter, Gauge

from app.core.effects import Undelivered
from app.core.notice_relevance import stands
from app.core.policy import Channel
from app.ports import DeliveryFailed
from app.rate_limit import Urgency
from app.store import channel_outbox, incidents, outbox
from app.store.channel_outbox import Sending, Sink
from app.worker.context import Desk
from app.worker.limits import unconfirmed_reports
from app.worker.limits.comment_limit import Held
from app.worker.pipeline.retry_policy import backoff, exhausted

MESSAGES = Counter(
    "muster_messages",
    "Tries to send a message by a channel: done, moot, later, or dead for a person to see",
    ["outcome"],
)
WAITED = Gauge("muster_oldest_message_seconds", "How long the oldest message that is not delivered has been waiting")

LEASE = timedelta(seconds=30)
"""A message that was claimed so long ago, and still has no outcome, was claimed by somebody who died."""
_EACH = 8
"""Messages on their way to one channel at a time."""
_GATHERS = 0.02
"""Seconds in which other hands may be free too: one claim serves all of them."""
_FIRST = 1.0
"""Seconds until the second try, unless the receiver asks for more."""

log = structlog.get_logger()


class Messenger:
    """Works off the messages of all incidents.  `poll`: seconds between two looks; `hands`: how many are sent at a time."""

    def __init__(self, desk: Desk, *, poll: float = 0.25, hands: int = 24) -> None:
        self._desk = desk
        self._poll = poll
        self._hands = hands
        self._busy: Count[Sink] = Count()
        self._lock = threading.Lock()
        self._freed = threading.Event()
        self._idle = True
        """Nothing was found when somebody looked last, so a look that costs little comes first."""

    def run(self, stopped: threading.Event) -> None:
        """Work until `stopped`; what is being sent then is ended in peace."""
        with ThreadPoolExecutor(self._hands, thread_name_prefix="messenger") as pool:
            while not stopped.is_set():
                try:
                    found = self._claim()
                except Exception:
                    log.exception("the messenger stumbled")
                    stopped.wait(1)
                    continue
                for sending in found:
                    pool.submit(self._send, sending)
                if self._freed.wait(self._poll):  # a hand that is free again has a look at once
                    stopped.wait(_GATHERS)

    def _claim(self) -> Sequence[Sending]:
        self._freed.clear()
        with self._lock:
            free = self._hands - self._busy.total()
            full = [sink for sink, busy in self._busy.items() if busy >= _EACH]
        if free <= 0:
            return ()
        now = self._desk.clock()
        if self._idle:
            with self._desk.database.look() as db:
                waited = channel_outbox.waited(db, now)
            WAITED.set(waited.total_seconds() if waited is not None else 0)
            if waited is None:
                return ()
        with self._desk.database.single() as db:
            found = channel_outbox.claim(db, now, LEASE, most=free, each=_EACH, full=full)
        self._idle = not found
        with self._lock:
            self._busy.update(sending.sink for sending in found)
        return found

    def _send(self, sending: Sending) -> None:
        try:
            send(self._desk, sending)
        except Exception:
            log.exception("not sent", incident=str(sending.lane), key=sending.key)
        finally:
            with self._lock:
                self._busy -= Count((sending.sink,))
            self._freed.set()


def send(desk: Desk, sending: Sending) -> None:
    """Send one message that was claimed, and write down what became of it."""
    try:
        channel = _worth_sending(desk, sending)
    except Held as held:
        with desk.database.single() as db:
            channel_outbox.put_off(db, sending, held.until, held.why)
        return
    if channel is None:
        with desk.database.single() as db:
            channel_outbox.settle(db, sending, "moot")
        MESSAGES.labels("moot").inc()
        return
    desk.failpoints.reach("before_post")
    try:
        desk.channels.send(channel, sending.message)
    except DeliveryFailed as failed:
        _failed(desk, sending, failed)
        return
    desk.failpoints.reach("after_post_before_mark")
    with desk.database.single() as db:
        channel_outbox.settle(db, sending, "done")
    desk.failpoints.reach("after_mark")
    MESSAGES.labels("done").inc()


def _worth_sending(desk: Desk, sending: Sending) -> Channel | None:
    """The channel, as the policy has it now; None where it has none, or nobody has to hear of it any more.

    Raises Held where too many reports that nobody has confirmed would notify people.
    """
    with desk.database.look() as db:
        stored = incidents.load(db, sending.lane)
        repository = incidents.repository(db, sending.lane.repo_id)
    if stored is None or repository is None or stored.incident.left:
        return None
    if not stands(sending.notice, stored.incident, frozenset()):
        return None
    tracker = desk.tracker(repository).urgent(Urgency(stored.incident.severity))
    unconfirmed_reports.let_through(desk, tracker, sending.lane, stored.incident, sending.notice.key)
    return desk.policies.at_hand(desk.database, repository).channels.get(sending.channel)


def _failed(desk: Desk, sending: Sending, failed: DeliveryFailed) -> None:
    """Later, or never: then a person is told, on the incident itself."""
    now = desk.clock()
    never = failed.retry_after is None or exhausted(sending.attempts, sending.created_at, now)
    log.warning(
        "message not delivered",
        incident=str(sending.lane),
        key=sending.key,
        attempts=sending.attempts,
        never=never,
        reason=str(failed),
    )
    with desk.database.transaction() as db:
        if not never:
            wait = max(failed.retry_after or 0.0, backoff(sending.attempts, sending.message.key, _FIRST))
            channel_outbox.later(db, sending, now + timedelta(seconds=wait), str(failed))
        elif channel_outbox.settle(db, sending, "dead", str(failed)):
            outbox.put(db, sending.lane, (_alarm(sending, failed, now),), now)
    MESSAGES.labels("dead" if never else "later").inc()


def _alarm(sending: Sending, failed: DeliveryFailed, now: datetime) -> Undelivered:
    """Once for an incident and a channel: whoever mends it, mends it for all that follow."""
    return Undelivered(
        key=f"undelivered/{sending.channel}",
        to=sending.notice.to,
        at=now,
        channel=sending.channel,
        what=sending.message.kind,
        why=str(failed),
    )
