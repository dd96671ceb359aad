"""Webhook deliveries: signed, sent once and in order, and listed for three days.

As on GitHub, a failed delivery is not retried; a redelivery has to be requested.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic, perf_counter
from typing import Any

from urllib3 import BaseHTTPResponse, PoolManager, exceptions

from app.sandbox.github.registration import AppRegistration

RETENTION_PERIOD = timedelta(hours=72)
TIMEOUT_SECONDS = 10.0
_STRIDE, _MODULUS = 618_033_989, 1_000_000_007
"""Both are prime, so that a billion deliveries get distinct ids in no visible order."""
GUID_NAMESPACE = uuid.UUID("6f6e2d63-616c-4c70-8a67-657321010203")


def signature(secret: str, body: bytes) -> str:
    """Return the value of the X-Hub-Signature-256 header."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(eq=False)
class Delivery:
    """One webhook delivery and, after the attempt, its result."""

    guid: str
    event: str
    action: str | None
    body: bytes
    headers: dict[str, str]
    installation_id: int | None
    repository_id: int | None
    redelivery: bool = False
    id: int = 0
    delivered_at: datetime | None = None
    duration: float = 0.0
    status: str = "pending"
    status_code: int = 0
    response_headers: dict[str, str] = field(default_factory=dict)
    response_body: str = ""
    listed_from: datetime | None = None
    """When the list starts to show it; None: at once."""

    @property
    def payload(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def ok(self) -> bool:
        """True if the receiver accepted it."""
        return 200 <= self.status_code < 400


class Hooks:
    """The app's webhook: its URL, the queue of deliveries and their log.

    With `url=None` there is no receiver, and deliveries are recorded as failed.
    """

    def __init__(self, app: AppRegistration, clock: Callable[[], datetime]) -> None:
        self.url: str | None = None
        self.app = app
        self._clock = clock
        self._lock = threading.RLock()
        self._work_available = threading.Condition(self._lock)
        """Notified when a delivery was queued or the senders have to stop."""
        self._idle = threading.Condition(self._lock)
        """Notified when the queue is empty and no delivery is in flight."""
        self._queue: deque[Delivery] = deque()
        self._held_back: list[Delivery] | None = None
        self._in_flight = 0
        self._drop_count = 0
        self._emitted_count = 0
        self._attempt_count = 0
        self._log: OrderedDict[int, Delivery] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.scattered_ids = False
        """True if delivery ids are in no order."""

    # Controls for tests and the demo.

    def settle(self, timeout: float = 10.0) -> None:
        """Wait until every queued delivery was sent, except those held back.

        Raises TimeoutError after `timeout` seconds.
        """
        end = monotonic() + timeout
        with self._lock:
            while self._queue or self._in_flight:
                left = end - monotonic()
                if left <= 0 or not self._idle.wait(left):
                    raise TimeoutError(f"{len(self._queue)} deliveries still wait after {timeout} s")

    def hold(self) -> None:
        """Hold new deliveries back until `release`."""
        with self._lock:
            if self._held_back is None:
                self._held_back = []

    @property
    def held_deliveries(self) -> list[Delivery]:
        """The deliveries held back, oldest first."""
        with self._lock:
            return list(self._held_back or ())

    def release(self, order: Sequence[Delivery] | None = None) -> None:
        """Queue the deliveries held back.

        With `order`, exactly these are sent, in that order: one listed twice is sent twice, one left out is recorded as
        failed.
        """
        with self._lock:
            held, self._held_back = self._held_back or [], None
            chosen = held if order is None else list(order)
            self._queue.extend(chosen)
            released = set(chosen)
            for lost in held:
                if lost not in released:
                    self._record(lost, "failed to connect to host", 502)
            self._work_available.notify_all()

    def take_held_deliveries(self) -> list[Delivery]:
        """Return the deliveries held back, oldest first, for a caller that sends them itself.

        They do not appear in the list of deliveries.
        """
        with self._lock:
            held, self._held_back = self._held_back or [], None
            return held

    def ensure_senders(self, count: int) -> None:
        """Start senders until there are `count`.

        More than one send concurrently and so out of order, as GitHub does.
        """
        while len(self._threads) < count:
            self._threads.append(threading.Thread(target=self._run, name="sandbox-github-hooks", daemon=True))
            self._threads[-1].start()

    def drop_next(self, count: int = 1) -> None:
        """Let the next `count` deliveries fail without being sent."""
        with self._lock:
            self._drop_count += count

    def delay_listing(self, deliveries: Sequence[Delivery], delay: timedelta) -> None:
        """Hide these deliveries from the list for `delay` after they were made.

        Later they appear at the place that their time gives them.
        """
        with self._lock:
            for delivery in deliveries:
                assert delivery.delivered_at is not None
                delivery.listed_from = delivery.delivered_at + delay

    # Used by the world and the API.

    def emit(
        self, event: str, payload: dict[str, Any], installation_id: int | None, repository_id: int | None
    ) -> Delivery:
        """Sign a payload and queue its delivery."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        with self._lock:
            self._emitted_count += 1
            guid = str(uuid.uuid5(GUID_NAMESPACE, str(self._emitted_count)))
            delivery = Delivery(
                guid,
                event,
                payload.get("action"),
                body,
                self._headers(event, guid, body),
                installation_id,
                repository_id,
            )
            self._enqueue(delivery)
        return delivery

    def redeliver(self, delivery: Delivery) -> None:
        """Queue the same body under the same GUID again."""
        with self._lock:
            self._enqueue(
                Delivery(
                    delivery.guid,
                    delivery.event,
                    delivery.action,
                    delivery.body,
                    # Sign again: the secret may have been rotated since.
                    self._headers(delivery.event, delivery.guid, delivery.body),
                    delivery.installation_id,
                    delivery.repository_id,
                    redelivery=True,
                )
            )

    def delivery(self, delivery_id: int) -> Delivery | None:
        """Return a delivery of the last three days, or None."""
        with self._lock:
            self._drop_expired()
            return self._log.get(delivery_id)

    def deliveries(self, before: int | None = None) -> Iterator[Delivery]:
        """Return the deliveries of the last three days, newest first.

        `before` is the cursor: the id of the last delivery of the page before.
        """
        with self._lock:
            self._drop_expired()
            listed = list(reversed(self._log.values()))
        start = (
            0 if before is None else next((nth + 1 for nth, one in enumerate(listed) if one.id == before), len(listed))
        )
        now = self._clock()
        return (one for one in listed[start:] if one.listed_from is None or one.listed_from <= now)

    def start(self) -> None:
        """Start one sender, so that deliveries arrive in order."""
        self._stopping = False
        self.ensure_senders(1)

    def stop(self) -> None:
        """Stop the senders; queued deliveries are not sent."""
        with self._lock:
            self._stopping = True
            self._work_available.notify_all()
        while self._threads:
            self._threads.pop().join(TIMEOUT_SECONDS + 1)

    def _headers(self, event: str, guid: str, body: bytes) -> dict[str, str]:
        return {
            "Accept": "*/*",
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/0a1b2c3",
            "X-GitHub-Delivery": guid,
            "X-GitHub-Event": event,
            "X-GitHub-Hook-ID": str(self.app.hook_id),
            "X-GitHub-Hook-Installation-Target-ID": str(self.app.app_id),
            "X-GitHub-Hook-Installation-Target-Type": "integration",
            "X-Hub-Signature-256": signature(self.app.webhook_secret, body),
        }

    def _enqueue(self, delivery: Delivery) -> None:
        if self._held_back is not None:
            self._held_back.append(delivery)
            return
        self._queue.append(delivery)
        self._work_available.notify()

    def _run(self) -> None:
        with PoolManager(timeout=TIMEOUT_SECONDS, retries=False) as client:
            while True:
                with self._lock:
                    while not self._queue and not self._stopping:
                        self._work_available.wait()
                    if self._stopping:
                        return
                    delivery = self._queue.popleft()
                    self._in_flight += 1
                    drop = self._drop_count > 0
                    self._drop_count -= drop
                try:
                    self._send(client, delivery, drop)
                finally:
                    with self._lock:
                        self._in_flight -= 1
                        if not self._queue and not self._in_flight:
                            self._idle.notify_all()

    def _send(self, client: PoolManager, delivery: Delivery, drop: bool) -> None:
        if drop or self.url is None:
            with self._lock:
                self._record(delivery, "failed to connect to host", 502)
            return
        started = perf_counter()
        response: BaseHTTPResponse | None = None
        try:
            response = client.request("POST", self.url, body=delivery.body, headers=delivery.headers)
            code = response.status
            status = "OK" if 200 <= code < 300 else f"Invalid HTTP Response: {code}"
        except exceptions.TimeoutError:
            status, code = "timed out", 504
        except exceptions.HTTPError:
            status, code = "failed to connect to host", 502
        with self._lock:
            self._record(delivery, status, code, perf_counter() - started, response)

    def _record(
        self, delivery: Delivery, status: str, code: int, seconds: float = 0.0, response: BaseHTTPResponse | None = None
    ) -> None:
        if delivery.id:
            # It was released twice: record the second attempt separately.
            origin = (delivery.installation_id, delivery.repository_id, delivery.redelivery)
            delivery = Delivery(
                delivery.guid, delivery.event, delivery.action, delivery.body, delivery.headers, *origin
            )
        self._attempt_count += 1
        delivery.id = 700_000_000_000 + (
            self._attempt_count * _STRIDE % _MODULUS if self.scattered_ids else self._attempt_count
        )
        delivery.delivered_at = self._clock()
        delivery.duration = round(seconds, 2)
        delivery.status, delivery.status_code = status, code
        if response is not None:
            delivery.response_headers = dict(response.headers)
            delivery.response_body = response.data.decode(errors="replace")[:10_000]
        self._log[delivery.id] = delivery
        self._drop_expired()

    def _drop_expired(self) -> None:
        horizon = self._clock() - RETENTION_PERIOD
        while self._log:
            at = self._log[next(iter(self._log))].delivered_at
            if at is not None and at >= horizon:
                return
            self._log.popitem(last=False)
