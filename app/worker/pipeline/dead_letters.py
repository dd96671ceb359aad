"""What nobody can read is set aside after one try, so that it never holds up what can be read."""

from __future__ import annotations

import psycopg
import structlog
from prometheus_client import Counter

from app.github.inbound import Unreadable
from app.store import inbox
from app.store.database import Db
from app.store.inbox import Delivery

PARKED = Counter("muster_deliveries_parked", "Deliveries set aside because nobody could read them", ["event"])

UNREADABLE = (
    Unreadable,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
    psycopg.DataError,
)
"""What comes of data that is not what it should be.  All else is our bug, or the database's bad day, and rises."""

log = structlog.get_logger()


def park(db: Db, delivery: Delivery, problem: str) -> None:
    """Set this delivery aside for a person to look at; `problem` says why."""
    log.warning("delivery parked", guid=delivery.guid, name=delivery.event, reason=problem[:200])
    PARKED.labels(delivery.event).inc()
    inbox.settle(db, delivery, "parked", problem)
