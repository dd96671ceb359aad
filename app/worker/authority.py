"""Who may command: GitHub's answer, remembered for a minute."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from app.core.events import Role
from app.ports import DeliveryFailed, Tracker

_KEPT = timedelta(seconds=60)
"""How long an answer may be used (hostile input M26)."""
_MOST = 10_000


class Authorities:
    """The roles of people in repositories.  Whoever GitHub refuses to tell about may do nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[datetime, Role]] = {}
        self._lock = threading.Lock()

    def of(self, tracker: Tracker, repo_id: int, login: str, now: datetime) -> Role:
        """The role of that person.  Raises DeliveryFailed when it will be known later."""
        key = (repo_id, login)
        with self._lock:
            known = self._known.get(key)
        if known is not None and timedelta() <= now - known[0] < _KEPT:
            return known[1]
        try:
            role = tracker.permission(login)
        except DeliveryFailed as failed:
            if failed.retry_after is not None:
                raise
            role = Role.NONE
        with self._lock:
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = (now, role)
        return role
