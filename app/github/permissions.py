"""Who may command: GitHub's answer, remembered for a minute."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from app.core.events import Role
from app.ports import DeliveryFailed, Tracker

_KEPT = timedelta(seconds=60)
"""How long an answer may be used (hostile input M26)."""
_MOST = 10_000
_AWAY = timedelta(seconds=30)
"""So long whoever is in a hurry does not ask again, after a question that was not answered."""


class Authorities:
    """The roles of people in repositories.  Whoever GitHub refuses to tell about may do nothing."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], tuple[datetime, Role]] = {}
        self._unanswered: dict[int, datetime] = {}
        self._lock = threading.Lock()

    def of(self, tracker: Tracker, repo_id: int, login: str, now: datetime, *, briefly: bool = False) -> Role:
        """The role of that person.  Raises DeliveryFailed when it will be known later.

        `briefly`: a GitHub that was silent a moment ago is not asked again, since each question may take 15 seconds.
        """
        key = (repo_id, login)
        with self._lock:
            known, unanswered = self._known.get(key), self._unanswered.get(repo_id)
        if known is not None and timedelta() <= now - known[0] < _KEPT:
            return known[1]
        if briefly and unanswered is not None and timedelta() <= now - unanswered < _AWAY:
            raise DeliveryFailed("GitHub did not say a moment ago who may do what", retry_after=_AWAY.total_seconds())
        try:
            role = tracker.permission(login)
        except DeliveryFailed as failed:
            if failed.retry_after is not None:
                with self._lock:
                    self._unanswered[repo_id] = now
                raise
            role = Role.NONE
        with self._lock:
            self._unanswered.pop(repo_id, None)
            if len(self._known) >= _MOST:
                self._known.clear()
            self._known[key] = (now, role)
        return role
