"""The door for GitHub's deliveries: checked, stored, answered.  Nothing else happens here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog
from flask import Blueprint, Response, request
from prometheus_client import Counter
from werkzeug.exceptions import RequestEntityTooLarge

from app.failpoints import Failpoints
from app.github.signature import genuine
from app.store import inbox
from app.store.database import Database
from app.store.inbox import Delivery, Kept

LARGEST = 25 * 1024 * 1024
"""Bytes; GitHub sends no larger payload."""

_LONGEST_NAME = 100
"""Characters; GitHub's ids have 36."""

DELIVERIES = Counter("muster_deliveries", "Webhook deliveries by what became of them at the door", ["outcome"])

log = structlog.get_logger()


@dataclass(frozen=True)
class Door:
    """What the door needs.  `delivered` is called after each new delivery has been committed; it may fail, for the beat
    finds the row."""

    database: Database
    secrets: Sequence[str]
    clock: Callable[[], datetime]
    delivered: Callable[[], None]
    failpoints: Failpoints

    def receive(self) -> Response:
        """Check, store, answer (interface page, "HTTP")."""
        try:
            body = _body()
        except RequestEntityTooLarge:
            return _answer(413, "too large")
        self.failpoints.reach("after_body_read")
        if not genuine(self.secrets, body, request.headers.get("X-Hub-Signature-256", "")):
            return _answer(401, "bad signature")
        if request.mimetype != "application/json":
            return _answer(415, "not json")
        names = _names()
        if names is None:
            return _answer(400, "no delivery id")
        return self._keep(Delivery(*names, body, self.clock()))

    def _keep(self, delivery: Delivery) -> Response:
        try:
            with self.database.single() as db:
                kept = inbox.keep(db, delivery)
                self.failpoints.reach("after_insert")
        except psycopg.Error as problem:
            log.warning("delivery not stored", guid=delivery.guid, reason=type(problem).__name__)
            return _answer(503, "not stored")
        if kept is Kept.REUSED:
            log.warning("delivery id reused with another body", hook=delivery.hook, guid=delivery.guid)
        if kept is Kept.NEW:
            try:
                self.delivered()
            except Exception:
                log.exception("nobody woken")
        self.failpoints.reach("before_202")
        return _answer(202, kept.value)


def webhook(door: Door) -> Blueprint:
    """`POST /webhook`."""
    blueprint = Blueprint("webhook", __name__)
    blueprint.post("/webhook")(door.receive)
    return blueprint


def _names() -> tuple[str, str, str] | None:
    """The hook, the delivery's id and its event, as the headers say; None without the last two, or with absurd ones."""
    hook = request.headers.get("X-GitHub-Hook-ID", "app")
    guid, event = request.headers.get("X-GitHub-Delivery", ""), request.headers.get("X-GitHub-Event", "")
    if not guid or not event or max(len(hook), len(guid), len(event)) > _LONGEST_NAME:
        return None
    return _stored(hook), _stored(guid), _stored(event)


def _body() -> bytes:
    """The raw bytes, never decoded.  Raises RequestEntityTooLarge from the length alone, before anything is read."""
    if (request.content_length or 0) > LARGEST:
        raise RequestEntityTooLarge
    return request.get_data(cache=False)


def _stored(header: str) -> str:
    return header.replace("\0", "")


def _answer(status: int, outcome: str) -> Response:
    DELIVERIES.labels(outcome).inc()
    return Response(outcome + "\n", status=status, mimetype="text/plain")
