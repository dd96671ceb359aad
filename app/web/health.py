"""Health endpoints: for load balancers on the public port, with reasons and metrics on the admin port."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import psycopg
from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.store.database import Database, is_schema_known

Answer = tuple[Response, int]


def public_health_blueprint(database: Database, readiness_problems: Callable[[], Sequence[str]]) -> Blueprint:
    """Create the blueprint of the health endpoints that anyone may ask, which say no reasons.

    `/healthz`: the process answers.  `/healthz/door`: a delivery can be stored now.  `/readyz`: all is well.
    """
    blueprint = Blueprint("health", __name__)
    blueprint.get("/healthz")(_answer_alive)

    @blueprint.get("/healthz/door")
    def check_door() -> Answer:
        try:
            with database.autocommit() as db:
                is_open = is_schema_known(db)
        except psycopg.Error:
            is_open = False
        return (jsonify(status="open"), 200) if is_open else (jsonify(status="closed"), 503)

    @blueprint.get("/readyz")
    def check_readiness() -> Answer:
        reasons = _list_reasons(database, readiness_problems)
        return (jsonify(status="not ready"), 503) if reasons else (jsonify(status="ready"), 200)

    return blueprint


def admin_blueprint(
    database: Database, readiness_problems: Callable[[], Sequence[str]], update_metrics: Callable[[], None]
) -> Blueprint:
    """Create the blueprint of the admin port: `/healthz`, `/readyz` with each reason, and `/metrics`.

    `readiness_problems` returns why no work is done, a sentence each; empty: all is well.  `update_metrics` brings
    the gauges up to date.
    """
    blueprint = Blueprint("admin", __name__)
    blueprint.get("/healthz")(_answer_alive)

    @blueprint.get("/readyz")
    def explain_readiness() -> Answer:
        reasons = _list_reasons(database, readiness_problems)
        if not reasons:
            return jsonify(status="ready"), 200
        return jsonify(status="not ready", reason="; ".join(reasons), reasons=list(reasons)), 503

    @blueprint.get("/metrics")
    def expose_metrics() -> Response:
        update_metrics()
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return blueprint


def _answer_alive() -> Response:
    return jsonify(status="alive")


def _list_reasons(database: Database, readiness_problems: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        with database.autocommit() as db:
            db.execute("SELECT 1")
        return readiness_problems()
    except psycopg.Error:
        return ["the database does not answer"]
