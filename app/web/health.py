"""Whether we are alive, ready, and how it goes."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
from flask import Blueprint, Response, jsonify
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from app.store.database import Database


def health(database: Database, ready: Callable[[], str]) -> Blueprint:
    """`ready` says in words why no work is done; empty: all is well."""
    blueprint = Blueprint("health", __name__)

    @blueprint.get("/healthz")
    def alive() -> Response:
        return jsonify(status="alive")

    @blueprint.get("/readyz")
    def able() -> tuple[Response, int]:
        try:
            with database.transaction() as db:
                db.execute("SELECT 1")
        except psycopg.Error:
            return jsonify(status="not ready", reason="the database does not answer"), 503
        reason = ready()
        return (jsonify(status="not ready", reason=reason), 503) if reason else (jsonify(status="ready"), 200)

    @blueprint.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)

    return blueprint
