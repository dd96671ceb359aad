"""How the pace of each installation stands, for whoever watches."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from app.pacing import ITSELF
from app.store import pace
from app.worker.desk import Desk

WAITING = Gauge("muster_orders_waiting", "Orders that are still to be carried out", ["installation"])
UNTIL = Gauge(
    "muster_pace_held_until_seconds",
    "When the installation may be called again, or its orders have their turn, in seconds since 1970; 0: it is not held",
    ["installation"],
)
LEFT = Gauge("muster_budget_remaining", "What GitHub says is left of the hourly budget", ["installation"])
LIMIT = Gauge("muster_budget_limit", "What GitHub says the hourly budget is", ["installation"])


def watch_pace(desk: Desk, now: datetime) -> None:
    """Write down how every installation stands.  The App's own calls have the name `app`."""
    with desk.database.transaction() as db:
        found = pace.standings(db, now)
    for one in found:
        name = "app" if one.installation == ITSELF else str(one.installation)
        WAITING.labels(name).set(one.waiting)
        UNTIL.labels(name).set(one.until.timestamp() if one.until else 0)
        if one.budget is not None:
            LEFT.labels(name).set(one.budget.limit if one.budget.reset <= now else one.budget.left)
            LIMIT.labels(name).set(one.budget.limit)
