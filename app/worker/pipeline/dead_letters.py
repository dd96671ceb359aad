"""Move unparseable deliveries to the dead-letter state after one attempt, so that they never block others."""

from __future__ import annotations

import psycopg
import structlog
from prometheus_client import Counter

from app.github.inbound import Unreadable
from app.store import inbox
from app.store.database import Db
from app.store.inbox import Delivery

DEAD_DELIVERIES = Counter(
    "muster_deliveries_dead_lettered",
    "Deliveries moved to the dead letters because they could not be parsed",
    ["event"],
)

UNREADABLE_ERRORS = (
    Unreadable,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    psycopg.DataError,
)
"""Errors caused by invalid data.

All others are a bug of ours or a failure of the database, and propagate.
"""

log = structlog.get_logger()


def dead_letter_delivery(db: Db, delivery: Delivery, reason: str) -> None:
    """Move the delivery to the dead letters, with the reason for the operator."""
    log.warning("delivery moved to dead letters", guid=delivery.guid, name=delivery.event, reason=reason[:200])
    DEAD_DELIVERIES.labels(delivery.event).inc()
    inbox.finish_delivery(db, delivery, "dead", reason)
