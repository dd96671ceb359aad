"""The receiver of GitHub's webhook deliveries: checks, stores and answers them, and does nothing else."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import psycopg
import structlog
from flask import Blueprint, Response, request
from prometheus_client import Counter
from werkzeug.datastructures import Headers
from werkzeug.exceptions import RequestEntityTooLarge

from app.failpoints import Failpoints
from app.github.signature import is_valid_signature
from app.store import inbox
from app.store.database import Database
from app.store.inbox import Delivery, InboxResult
from app.web.request_head import EarlyAnswer, RequestHead

MAX_BODY_BYTES = 25 * 1024 * 1024
"""GitHub sends no larger payload."""

_MAX_HEADER_CHARS = 100
"""Longest accepted header value; GitHub's ids have 36 characters."""

_SIGNATURE = re.compile(r"sha256=[0-9a-f]{64}")

DELIVERIES = Counter("muster_deliveries", "Webhook deliveries by outcome on receipt", ["outcome"])

log = structlog.get_logger()


@dataclass(frozen=True)
class WebhookReceiver:
    """Receives webhook deliveries.

    `on_delivery` is called after each new delivery has been committed; it may fail, for the periodic sweep finds
    the row.
    """

    database: Database
    secrets: Sequence[str]
    clock: Callable[[], datetime]
    on_delivery: Callable[[], None]
    failpoints: Failpoints

    def receive(self) -> Response:
        """Check a delivery, store it and answer."""
        try:
            body = _read_body()
        except RequestEntityTooLarge:
            return _respond(413, "too large")
        self.failpoints.reach("after_body_read")
        if not is_valid_signature(self.secrets, body, request.headers.get("X-Hub-Signature-256", "")):
            return _respond(401, "bad signature")
        if request.mimetype != "application/json":
            return _respond(415, "not json")
        names = _read_delivery_headers(request.headers)
        if names is None:
            return _respond(400, "no delivery id")
        return self._store(Delivery(*names, body, self.clock()))

    def _store(self, delivery: Delivery) -> Response:
        try:
            with self.database.single_statement() as db:
                result = inbox.store_delivery(db, delivery)
                self.failpoints.reach("after_insert")
        except psycopg.Error as problem:
            log.warning("delivery not stored", guid=delivery.guid, reason=type(problem).__name__)
            return _respond(503, "not stored")
        if result is InboxResult.REUSED:
            log.warning("delivery id reused with another body", hook=delivery.hook, guid=delivery.guid)
        if result is InboxResult.REPEATED:
            log.warning(
                "a body was sent again under another delivery id",
                hook=delivery.hook,
                guid=delivery.guid,
                name=delivery.event,
            )
        if result is InboxResult.NEW:
            try:
                self.on_delivery()
            except Exception:
                log.exception("enqueue failed")
        self.failpoints.reach("before_202")
        return _respond(202, result.value)


def webhook_blueprint(receiver: WebhookReceiver) -> Blueprint:
    """Create the blueprint of `POST /webhook`."""
    blueprint = Blueprint("webhook", __name__)
    blueprint.post("/webhook")(receiver.receive)
    return blueprint


def check_delivery_head(head: RequestHead) -> EarlyAnswer | None:
    """Return why a delivery cannot be valid, as its head shows; None if its body has to be read.

    The answers are those of `WebhookReceiver.receive`, in its order.
    """
    if head.body_bytes is not None and head.body_bytes > MAX_BODY_BYTES:
        return _refuse(413, "too large")
    if not _SIGNATURE.fullmatch(head.headers.get("x-hub-signature-256", "")):
        return _refuse(401, "bad signature")
    if head.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        return _refuse(415, "not json")
    if _read_delivery_headers(head.headers) is None:
        return _refuse(400, "no delivery id")
    return None


def _refuse(status: int, outcome: str) -> EarlyAnswer:
    DELIVERIES.labels(outcome).inc()
    return EarlyAnswer(status, outcome)


def _read_delivery_headers(headers: Mapping[str, str] | Headers) -> tuple[str, str, str] | None:
    """Read the hook, the delivery id and the event from headers; None if one is missing or too long."""
    hook = headers.get("x-github-hook-id", "app")
    guid, event = headers.get("x-github-delivery", ""), headers.get("x-github-event", "")
    if not guid or not event or max(len(hook), len(guid), len(event)) > _MAX_HEADER_CHARS:
        return None
    return _strip_nul(hook), _strip_nul(guid), _strip_nul(event)


def _read_body() -> bytes:
    """Read the raw body, never decoded.

    Raises RequestEntityTooLarge from the declared length alone, before anything is read.
    """
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise RequestEntityTooLarge
    return request.get_data(cache=False)


def _strip_nul(header: str) -> str:
    return header.replace("\0", "")


def _respond(status: int, outcome: str) -> Response:
    DELIVERIES.labels(outcome).inc()
    return Response(outcome + "\n", status=status, mimetype="text/plain")
