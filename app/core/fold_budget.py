"""A ceiling for one fold: how many alarms may fire, and how long it may take."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from app.core.errors import FoldTooLong

MAX_ALARMS_PER_FOLD = 5000
"""How many alarms one fold may fire.

A year of a severe incident without an answer takes some dozens: repeats of the past are counted, not fired.
"""
ALARMS_PER_EVENT = 25
"""How many more may fire for each event of the log: an answer starts clocks anew, and an incident can last months."""


class FoldBudget:
    """Counts the alarms of one fold.

    `is_exhausted` says whether the fold has taken too long; the core reads no clock itself.
    """

    def __init__(self, max_alarms: int = MAX_ALARMS_PER_FOLD, is_exhausted: Callable[[], bool] = lambda: False) -> None:
        self._max_alarms = max_alarms
        self._is_exhausted = is_exhausted
        self._alarm_count = 0

    def add_event(self) -> None:
        """Allow the alarms that one event of the log may bring about."""
        self._max_alarms += ALARMS_PER_EVENT

    def spend_alarm(self, due: datetime) -> None:
        """Count one alarm, due at `due`.  Raises FoldTooLong when the budget is spent."""
        self._alarm_count += 1
        if self._alarm_count > self._max_alarms or self._is_exhausted():
            raise FoldTooLong(
                f"it is too long to work out: {self._alarm_count} alarms until {due:%Y-%m-%d %H:%M} UTC are too many"
            )
