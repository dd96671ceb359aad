"""Make the reviews of proposed policies, one at a time, in a thread that no incident waits for."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from app.store import policy_reviews
from app.worker.context import WorkerContext
from app.worker.pipeline.policy_check import run_next_review

_FAILURE_WAIT_SECONDS = 5.0

log = structlog.get_logger()


class PolicyReviewer:
    """Makes the reviews that are due.

    `is_schema_known`: whether this program knows the schema of the database; nothing is done while it does not.
    `poll_interval_seconds`: time between two polls.
    """

    def __init__(
        self, ctx: WorkerContext, is_schema_known: Callable[[], bool], *, poll_interval_seconds: float = 1.0
    ) -> None:
        self._ctx = ctx
        self._is_schema_known = is_schema_known
        self._poll_interval_seconds = poll_interval_seconds

    def run(self, stop: threading.Event) -> None:
        """Make reviews until `stop` is set; one that is being made then is stopped, and made again later."""
        while not stop.is_set():
            try:
                made_any = self._is_schema_known() and self._run_round(stop)
            except Exception:
                log.exception("policy review failed")
                stop.wait(_FAILURE_WAIT_SECONDS)
                continue
            if not made_any:
                stop.wait(self._poll_interval_seconds)

    def _run_round(self, stop: threading.Event) -> bool:
        """Make one review for each installation, so that none waits for all those of another."""
        with self._ctx.database.autocommit() as db:
            installations = policy_reviews.list_due_installations(db, self._ctx.clock())
        made = [
            run_next_review(self._ctx, installation, lambda: not stop.is_set())
            for installation in installations
            if not stop.is_set()
        ]
        return any(made)
