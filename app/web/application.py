"""The Flask applications of the public port and of the admin port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flask import Flask
from werkzeug.exceptions import HTTPException, MethodNotAllowed
from werkzeug.routing import RequestRedirect

from app.failpoints import Failpoints
from app.store.database import Database
from app.web.health import admin_blueprint, public_health_blueprint
from app.web.request_head import EarlyAnswer, HeadCheck, RequestHead
from app.web.webhook import WebhookReceiver, check_delivery_head, webhook_blueprint

_MAX_BODY_BYTES = 1024 * 1024
"""Largest body of a request to any other address than that of the webhook."""


def create_app(
    database: Database,
    secrets: Sequence[str],
    clock: Callable[[], datetime],
    *,
    on_delivery: Callable[[], None] = lambda: None,
    readiness_problems: Callable[[], Sequence[str]] = lambda: (),
    failpoints: Failpoints | None = None,
) -> Flask:
    """Create the Flask application of the public port."""
    flask = Flask("muster", static_folder=None)
    flask.register_blueprint(
        webhook_blueprint(WebhookReceiver(database, secrets, clock, on_delivery, failpoints or Failpoints()))
    )
    flask.register_blueprint(public_health_blueprint(database, readiness_problems))
    return flask


def create_admin_app(
    database: Database, readiness_problems: Callable[[], Sequence[str]], update_metrics: Callable[[], None]
) -> Flask:
    """Create the Flask application of the admin port, which only operators reach."""
    flask = Flask("muster-admin", static_folder=None)
    flask.register_blueprint(admin_blueprint(database, readiness_problems, update_metrics))
    return flask


def create_head_check(flask: Flask) -> HeadCheck:
    """Return the check that refuses requests to this application by their heads alone.

    A body is read only where one is expected: at an address and with a method that exist.
    """

    def check(head: RequestHead) -> EarlyAnswer | None:
        try:
            flask.url_map.bind("").match(head.path, head.method)
        except MethodNotAllowed as refused:
            return EarlyAnswer(405, "method not allowed", (("Allow", ", ".join(sorted(refused.valid_methods or ()))),))
        except RequestRedirect:
            pass
        except HTTPException:
            return EarlyAnswer(404, "not found")
        if head.path == "/webhook":
            return check_delivery_head(head)
        return EarlyAnswer(413, "too large") if (head.body_bytes or 0) > _MAX_BODY_BYTES else None

    return check
