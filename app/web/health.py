"""Health endpoints: liveness, readiness and metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.store.database import Database


def health_blueprint(
    database: Database, readiness_problems: Callable[[], Sequence[str]], update_metrics: Callable[[], None]
) -> Blueprint:
    """Create the blueprint of `/healthz`, `/readyz` and `/metrics`.

    `readiness_problems` returns why no work is done, a sentence each; empty: all is well.  `update_metrics` brings
    the gauges up to date.
    """
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def liveness() -> Response:
        return jsonify(status="alive")

    @blueprint.get("/readyz")
    def readiness() -> tuple[Response, int]:
        try:
            with database.transaction() as db:
                db.execute("SELECT 1")
            reasons = readiness_problems()
        except psycopg.Error:
            reasons = ["the database does not answer"]
        if not reasons:
            return jsonify(status="ready"), 200
        return jsonify(status="not ready", reason="; ".join(reasons)), 503

    @blueprint.get("/metrics")
    def metrics() -> Response:
        update_metrics()
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
