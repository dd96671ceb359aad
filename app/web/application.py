"""The Flask application."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flask import Flask

from app.failpoints import Failpoints
from app.store.database import Database
from app.web.health import health_blueprint
from app.web.webhook import WebhookReceiver, webhook_blueprint


def create_app(
    database: Database,
    secrets: Sequence[str],
    clock: Callable[[], datetime],
    *,
    on_delivery: Callable[[], None] = lambda: None,
    readiness_problems: Callable[[], Sequence[str]] = lambda: (),
    update_metrics: Callable[[], None] = lambda: None,
    failpoints: Failpoints | None = None,
) -> Flask:
    """Create the Flask application with all HTTP endpoints."""
    flask = Flask("muster", static_folder=None)
    flask.register_blueprint(
        webhook_blueprint(WebhookReceiver(database, secrets, clock, on_delivery, failpoints or Failpoints()))
    )
    flask.register_blueprint(health_blueprint(database, readiness_problems, update_metrics))
    return flask
