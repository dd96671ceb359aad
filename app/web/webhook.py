"""The door for GitHub's deliveries: checked, stored, answered.  Nothing else happens here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import psycopg
import structlog
from flask import Blueprint, Response, request
from prometheus_client import Counter
from werkzeug.exceptions import RequestEntityTooLarge

from app.failpoint import Failpoints
from app.github.signature import genuine
from app.store import inbox
from app.store.database import Database
from app.store.inbox import Delivery, Kept

LARGEST = 25 * 1024 * 1024
"""Bytes; GitHub sends no larger payload."""

DELIVERIES = Counter("muster_deliveries", "Webhook deliveries by what became of them at the door", ["outcome"])

log = structlog.get_logger()


def webhook(
    database: Database,
    secrets: Sequence[str],
    clock: Callable[[], datetime],
    delivered: Callable[[], None],
    failpoints: Failpoints,
) -> Blueprint:
    """`delivered` is called after each new delivery has been committed; it may fail, the beat finds the row."""
    blueprint = Blueprint("webhook", __name__)

    @blueprint.post("/webhook")
    def receive() -> Response:
        try:
            body = _body()
        except RequestEntityTooLarge:
            return _answer(413, "too large")
        failpoints.reach("after_body_read")
        if not genuine(secrets, body, request.headers.get("X-Hub-Signature-256", "")):
            return _answer(401, "bad signature")
        if request.mimetype != "application/json":
            return _answer(415, "not json")
        hook, guid = request.headers.get("X-GitHub-Hook-ID", "app"), request.headers.get("X-GitHub-Delivery", "")
        event = request.headers.get("X-GitHub-Event", "")
        if not guid or not event or len(guid) > 100 or len(event) > 100 or len(hook) > 100:
            return _answer(400, "no delivery id")
        return _keep(Delivery(_stored(hook), _stored(guid), _stored(event), body, clock()))

    def _keep(delivery: Delivery) -> Response:
        try:
            with database.transaction() as db:
                kept = inbox.keep(db, delivery)
                failpoints.reach("after_insert")
        except psycopg.Error as problem:
            log.warning("delivery not stored", guid=delivery.guid, reason=type(problem).__name__)
            return _answer(503, "not stored")
        if kept is Kept.REUSED:
            log.warning("delivery id reused with another body", hook=delivery.hook, guid=delivery.guid)
        if kept is Kept.NEW:
            try:
                delivered()
            except Exception:
                log.exception("nobody woken")
        failpoints.reach("before_202")
        return _answer(202, kept.value)

    return blueprint


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
