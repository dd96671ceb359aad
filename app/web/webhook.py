"""The receiver of GitHub's webhook deliveries: checks, stores and answers them, and does nothing else."""

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

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no larger payload."""

_MAX_HEADER_CHARS = 100
"""Longest accepted header value; GitHub's ids have 36 characters."""

DELIVERIES = Counter("muster_deliveries", "Webhook deliveries by outcome on receipt", ["outcome"])

log = structlog.get_logger()


@dataclass(frozen=True)
class Door:
    """Receives webhook deliveries.

    `on_delivery` is called after each new delivery has been committed; it may fail, for the periodic sweep finds
    the row.
    """

    database: Database
    secrets: Sequence[str]
    clock: Callable[[], datetime]
    delivered: Callable[[], None]
    failpoints: Failpoints

    def receive(self) -> Response:
        """Check a delivery, store it and answer (interface page, "HTTP")."""
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
                log.exception("enqueue failed")
        self.failpoints.reach("before_202")
        return _answer(202, kept.value)


def webhook(door: Door) -> Blueprint:
    """Create the blueprint of `POST /webhook`."""
    blueprint = Blueprint("webhook", __name__)
    blueprint.post("/webhook")(door.receive)
    return blueprint


def _names() -> tuple[str, str, str] | None:
    """Read the hook, the delivery id and the event from the headers; None if one is missing or too long."""
    hook = request.headers.get("X-GitHub-Hook-ID", "app")
    guid, event = request.headers.get("X-GitHub-Delivery", ""), request.headers.get("X-GitHub-Event", "")
    if not guid or not event or max(len(hook), len(guid), len(event)) > _MAX_HEADER_CHARS:
        return None
    return _stored(hook), _stored(guid), _stored(event)


def _body() -> bytes:
    """Read the raw body, never decoded.

    Raises RequestEntityTooLarge from the declared length alone, before anything is read.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return request.get_data(cache=False)


def _stored(header: str) -> str:
    return header.replace("\0", "")


def _answer(status: int, outcome: str) -> Response:
    DELIVERIES.labels(outcome).inc()
    return Response(outcome + "\n", status=status, mimetype="text/plain")
