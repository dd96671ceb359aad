"""A lease on outbox items, checked before every write and lost to a newer holder (fencing token).

A process may be suspended at any point, for minutes, and resume as if nothing had happened.  GitHub knows no fencing
tokens that it could refuse, so the check is made here, immediately before the write.  While the lease is fresh, local
clocks decide, which costs nothing; after that the lease is renewed in the database.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from app.store import outbox
from app.store.database import Db
from app.store.outbox import OutboxItem
from app.worker.context import WorkerContext

_RENEWAL_DIVISOR = 3
"""The lease is trusted for its period divided by this.

The time left then exceeds the duration of a GitHub call.
"""


class Lease:
    """A lease on outbox items, each marked as in flight.  Raises LeaseLost if another worker holds one of them."""

    def __init__(self, ctx: WorkerContext, db: Db, items: Sequence[OutboxItem]) -> None:
        self._ctx = ctx
        self._start_period()
        self.items = outbox.start_attempt(db, items, self._expires_at)

    def check(self) -> None:
        """Raise LeaseLost if another worker has taken over; renew the lease if it is not fresh.

        Afterwards the lease lasts longer than one GitHub call.
        """
        if self._age() < self._ctx.lease_period / _RENEWAL_DIVISOR:
            return
        self._start_period()
        with self._ctx.database.transaction() as db:
            outbox.renew_lease(db, self.items, self._expires_at)

    def _start_period(self) -> None:
        self._started_monotonic, self._started_at = time.monotonic(), self._ctx.clock()
        self._expires_at = self._started_at + self._ctx.lease_period

    def _age(self) -> timedelta:
        """Return the age by wall or monotonic clock, whichever is larger.

        The wall clock may be set back, and the monotonic clock may stop while the machine sleeps.
        """
        return max(timedelta(seconds=time.monotonic() - self._started_monotonic), self._ctx.clock() - self._started_at)
