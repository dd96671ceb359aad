"""The Flask applications of the public port and of the admin port."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from flask import Flask

from app.failpoints import Failpoints
from app.store.database import Database
from app.web.health import admin_blueprint, public_health_blueprint
from app.web.webhook import WebhookReceiver, webhook_blueprint


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
