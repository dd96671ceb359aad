"""The right to carry out orders: held for a while, shown again before each write, and lost to whoever came after.

A process may be stopped anywhere, for minutes, and go on as if nothing had been.  GitHub knows no tokens that it could
refuse, so the look is taken here, immediately before the write: by our own watch while the right is fresh, which costs
nothing, and in the database, where it is renewed, once it is not.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from app.store import outbox
from app.store.database import Db
from app.store.outbox import Order
from app.worker.context import Desk

_FRESH = 3
"""The right is believed for this part of its time.  What is left then is longer than a call to GitHub may take."""


class Fence:
    """The right to carry out `orders`, each marked as being tried.  Raises Overtaken when somebody else is at it."""

    def __init__(self, desk: Desk, db: Db, orders: Sequence[Order]) -> None:
        self._desk = desk
        self._begin()
        self.orders = outbox.trying(db, orders, self._until)

    def check(self) -> None:
        """Raises Overtaken when the right is somebody else's now.  Otherwise it lasts for longer than one call does."""
        if self._age() < self._desk.lease / _FRESH:
            return
        self._begin()
        with self._desk.database.transaction() as db:
            outbox.hold(db, self.orders, self._until)

    def _begin(self) -> None:
        self._watch, self._at = time.monotonic(), self._desk.clock()
        self._until = self._at + self._desk.lease

    def _age(self) -> timedelta:
        """By the clock or by the watch, whichever says more: a clock may be set back, a watch may sleep with its machine."""
        return max(timedelta(seconds=time.monotonic() - self._watch), self._desk.clock() - self._at)
