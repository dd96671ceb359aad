"""Webhook deliveries: signed, sent in order, each once, and kept for three days.

As on GitHub a delivery that fails is not sent again by itself.  Who wants it asks for a redelivery.
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

KEPT = timedelta(hours=72)
TIMEOUT_S = 10.0
_STRIDE, _MODULUS = 618_033_989, 1_000_000_007
"""Both prime, so that a billion deliveries have ids of their own in no visible order."""
NAMESPACE = uuid.UUID("6f6e2d63-616c-4c70-8a67-657321010203")


def signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


@dataclass(eq=False)
class Delivery:
    """One event on its way, and after the attempt what became of it."""

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
    """Until then the list does not show it; None: at once."""

    @property
    def payload(self) -> Any:
        return json.loads(self.body)

    @property
    def ok(self) -> bool:
        return 200 <= self.status_code < 400


class Hooks:
    """The app's webhook: where it goes, what waits, what was sent.

    `url=None` means nobody listens: deliveries are recorded as failed.
    """

    def __init__(self, app: AppRegistration, clock: Callable[[], datetime]) -> None:
        self.url: str | None = None
        self.app = app
        self._clock = clock
        self._turn = threading.RLock()
        self._more = threading.Condition(self._turn)
        """Something waits to be sent, or nothing will any more."""
        self._quiet = threading.Condition(self._turn)
        """Nothing waits, and nothing is under way."""
        self._waiting: deque[Delivery] = deque()
        self._held: list[Delivery] | None = None
        self._in_flight = 0
        self._to_drop = 0
        self._made = 0
        self._sent = 0
        self._log: OrderedDict[int, Delivery] = OrderedDict()
        self._threads: list[threading.Thread] = []
        self._stopping = False
        self.scattered_ids = False
        """Whether the ids of deliveries are in no order."""

    # What a test or a demo controls.

    def settle(self, timeout: float = 10.0) -> None:
        """Waits until everything waiting was sent; held deliveries do not count.  Raises TimeoutError."""
        end = monotonic() + timeout
        with self._turn:
            while self._waiting or self._in_flight:
                left = end - monotonic()
                if left <= 0 or not self._quiet.wait(left):
                    raise TimeoutError(f"{len(self._waiting)} deliveries still wait after {timeout} s")

    def hold(self) -> None:
        """Keeps new deliveries back until `release`."""
        with self._turn:
            if self._held is None:
                self._held = []

    @property
    def held(self) -> list[Delivery]:
        """The deliveries kept back, oldest first."""
        with self._turn:
            return list(self._held or ())

    def release(self, order: Sequence[Delivery] | None = None) -> None:
        """Lets the held ones go, in `order` if given: one named twice goes twice, one left out is lost."""
        with self._turn:
            held, self._held = self._held or [], None
            chosen = held if order is None else list(order)
            self._waiting.extend(chosen)
            let_go = set(chosen)
            for lost in held:
                if lost not in let_go:
                    self._record(lost, "failed to connect to host", 502)
            self._more.notify_all()

    def hand_over(self) -> list[Delivery]:
        """The ones kept back, oldest first, for somebody who carries them himself: they are in no list."""
        with self._turn:
            held, self._held = self._held or [], None
            return held

    def hurry(self, at_once: int) -> None:
        """From now on so many are under way at a time, as GitHub does it, and arrive in no order."""
        while len(self._threads) < at_once:
            self._threads.append(threading.Thread(target=self._run, name="pretend-github-hooks", daemon=True))
            self._threads[-1].start()

    def drop_next(self, count: int = 1) -> None:
        """The next `count` deliveries fail without being sent."""
        with self._turn:
            self._to_drop += count

    def list_late(self, deliveries: Sequence[Delivery], late: timedelta) -> None:
        """Those appear in the list only so long after they were made, in the place that is theirs by their time."""
        with self._turn:
            for delivery in deliveries:
                assert delivery.delivered_at is not None
                delivery.listed_from = delivery.delivered_at + late

    # What the world and the API use.

    def emit(
        self, event: str, payload: dict[str, Any], installation_id: int | None, repository_id: int | None
    ) -> Delivery:
        """Signs a payload and puts it in the queue."""
        body = json.dumps(payload, separators=(",", ":")).encode()
        with self._turn:
            self._made += 1
            guid = str(uuid.uuid5(NAMESPACE, str(self._made)))
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

    def redeliver(self, old: Delivery) -> None:
        """Sends the same bytes under the same GUID again."""
        with self._turn:
            self._enqueue(
                Delivery(
                    old.guid,
                    old.event,
                    old.action,
                    old.body,
                    # Signed anew: the secret may have been rotated since.
                    self._headers(old.event, old.guid, old.body),
                    old.installation_id,
                    old.repository_id,
                    redelivery=True,
                )
            )

    def delivery(self, delivery_id: int) -> Delivery | None:
        with self._turn:
            self._forget()
            return self._log.get(delivery_id)

    def deliveries(self, before: int | None = None) -> Iterator[Delivery]:
        """Newest first, from the last three days; `before` is the cursor, the id of the last one seen."""
        with self._turn:
            self._forget()
            kept = list(reversed(self._log.values()))
        start = 0 if before is None else next((nth + 1 for nth, one in enumerate(kept) if one.id == before), len(kept))
        now = self._clock()
        return (one for one in kept[start:] if one.listed_from is None or one.listed_from <= now)

    def start(self) -> None:
        """One sender, so that what is delivered arrives in order."""
        self._stopping = False
        self.hurry(1)

    def stop(self) -> None:
        """Ends the senders; what still waits is not sent."""
        with self._turn:
            self._stopping = True
            self._more.notify_all()
        while self._threads:
            self._threads.pop().join(TIMEOUT_S + 1)

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
        if self._held is not None:
            self._held.append(delivery)
            return
        self._waiting.append(delivery)
        self._more.notify()

    def _run(self) -> None:
        with PoolManager(timeout=TIMEOUT_S, retries=False) as client:
            while True:
                with self._turn:
                    while not self._waiting and not self._stopping:
                        self._more.wait()
                    if self._stopping:
                        return
                    delivery = self._waiting.popleft()
                    self._in_flight += 1
                    drop = self._to_drop > 0
                    self._to_drop -= drop
                try:
                    self._attempt(client, delivery, drop)
                finally:
                    with self._turn:
                        self._in_flight -= 1
                        if not self._waiting and not self._in_flight:
                            self._quiet.notify_all()

    def _attempt(self, client: PoolManager, delivery: Delivery, drop: bool) -> None:
        if drop or self.url is None:
            with self._turn:
                self._record(delivery, "failed to connect to host", 502)
            return
        began = perf_counter()
        answer: BaseHTTPResponse | None = None
        try:
            answer = client.request("POST", self.url, body=delivery.body, headers=delivery.headers)
            code = answer.status
            status = "OK" if 200 <= code < 300 else f"Invalid HTTP Response: {code}"
        except exceptions.TimeoutError:
            status, code = "timed out", 504
        except exceptions.HTTPError:
            status, code = "failed to connect to host", 502
        with self._turn:
            self._record(delivery, status, code, perf_counter() - began, answer)

    def _record(
        self, delivery: Delivery, status: str, code: int, took: float = 0.0, answer: BaseHTTPResponse | None = None
    ) -> None:
        if delivery.id:
            # Released twice: the second attempt is a row of its own.
            again = (delivery.installation_id, delivery.repository_id, delivery.redelivery)
            delivery = Delivery(delivery.guid, delivery.event, delivery.action, delivery.body, delivery.headers, *again)
        self._sent += 1
        delivery.id = 700_000_000_000 + (self._sent * _STRIDE % _MODULUS if self.scattered_ids else self._sent)
        delivery.delivered_at = self._clock()
        delivery.duration = round(took, 2)
        delivery.status, delivery.status_code = status, code
        if answer is not None:
            delivery.response_headers = dict(answer.headers)
            delivery.response_body = answer.data.decode(errors="replace")[:10_000]
        self._log[delivery.id] = delivery
        self._forget()

    def _forget(self) -> None:
        horizon = self._clock() - KEPT
        while self._log:
            at = self._log[next(iter(self._log))].delivered_at
            if at is not None and at >= horizon:
                return
            self._log.popitem(last=False)
