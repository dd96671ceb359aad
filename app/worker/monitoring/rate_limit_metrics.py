"""Export the rate limit state of each installation as metrics."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import Gauge

from app.rate_limit import APP
from app.store import rate_limits
from app.worker.context import WorkerContext

OUTBOX_PENDING = Gauge("muster_outbox_pending", "Outbox items that are not done yet", ["installation"])
DEFERRED_UNTIL_SECONDS = Gauge(
    "muster_rate_limit_deferred_until_seconds",
    "When calls to GitHub or outbox items are due again, in seconds since 1970; 0: not deferred",
    ["installation"],
)
GITHUB_BUDGET = Gauge("muster_github_budget", "What is left of GitHub's hourly budget, from 0 to 1", ["installation"])


def update_rate_limit_gauges(ctx: WorkerContext, now: datetime) -> None:
    """Set the gauges of every installation; those of the App's own calls are labelled `app`.

    The budget gauge is absent once its hour is over, because the new budget is unknown.  Raises psycopg.Error.
    """
    with ctx.database.transaction() as db:
        states = rate_limits.list_rate_limit_statuses(db, now)
    for gauge in (OUTBOX_PENDING, DEFERRED_UNTIL_SECONDS, GITHUB_BUDGET):
        gauge.clear()
    for state in states:
        name = "app" if state.installation == APP else str(state.installation)
        OUTBOX_PENDING.labels(name).set(state.pending)
        DEFERRED_UNTIL_SECONDS.labels(name).set(state.until.timestamp() if state.until else 0)
        if (fraction_left := rate_limits.remaining_fraction(state, now)) is not None:
            GITHUB_BUDGET.labels(name).set(fraction_left)
