"""How the pace of each installation stands, for whoever watches."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from app.rate_limit import ITSELF
from app.store import rate_limits
from app.worker.context import Desk

WAITING = Gauge("muster_orders_waiting", "Orders that are still to be carried out", ["installation"])
UNTIL = Gauge(
    "muster_pace_held_until_seconds",
    "When the installation may be called again, or its orders have their turn, in seconds since 1970; 0: it is not held",
    ["installation"],
)
BUDGET = Gauge("muster_github_budget", "What is left of GitHub's hourly budget, from 0 to 1", ["installation"])


def watch_pace(desk: Desk, now: datetime) -> None:
    """Write down how every installation stands.  The App's own calls have the name `app`.  Raises psycopg.Error.

    A budget whose hour is over is not known, so nothing is said of it.
    """
    with desk.database.transaction() as db:
        found = rate_limits.standings(db, now)
    for gauge in (WAITING, UNTIL, BUDGET):
        gauge.clear()
    for one in found:
        name = "app" if one.installation == ITSELF else str(one.installation)
        WAITING.labels(name).set(one.waiting)
        UNTIL.labels(name).set(one.until.timestamp() if one.until else 0)
        if (part := rate_limits.part_left(one, now)) is not None:
            BUDGET.labels(name).set(part)
