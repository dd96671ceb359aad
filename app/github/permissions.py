"""Permissions of users in repositories, cached for a minute."""

from __future__ import annotations

import threading
from datetime import datetime, timedelta

from app.core.events import Role
from app.ports import DeliveryFailed, Tracker

_MAX_CACHE_AGE = timedelta(seconds=60)
"""Maximum age of a cached role (M26)."""
_MAX_CACHE_ENTRIES = 10_000
_FAIL_FAST_PERIOD = timedelta(seconds=30)
"""Time after a failed request in which callers with `fail_fast` do not ask GitHub again."""


class Permissions:
    """Roles of users in repositories.

    Where GitHub refuses to give the permission, nothing is known: that is neither a right nor its absence.
    """

    def __init__(self) -> None:
        self._roles: dict[tuple[int, str], tuple[datetime, Role]] = {}
        self._failed_at: dict[int, datetime] = {}
        self._lock = threading.Lock()

    def get_role(self, tracker: Tracker, repo_id: int, login: str, now: datetime, *, fail_fast: bool = False) -> Role:
        """Return the role of the user.  Raises DeliveryFailed if GitHub can be asked again later.

        `fail_fast`: raise at once if GitHub failed to respond a moment ago, since each request may take 15 seconds.
        """
        key = (repo_id, login)
        with self._lock:
            cached, failed_at = self._roles.get(key), self._failed_at.get(repo_id)
        if cached is not None and timedelta() <= now - cached[0] < _MAX_CACHE_AGE:
            return cached[1]
        if fail_fast and failed_at is not None and timedelta() <= now - failed_at < _FAIL_FAST_PERIOD:
            raise DeliveryFailed(
                "GitHub did not say a moment ago who may do what", retry_after=_FAIL_FAST_PERIOD.total_seconds()
            )
        try:
            role = tracker.permission(login)
        except DeliveryFailed:
            with self._lock:
                self._failed_at[repo_id] = now
            raise
        with self._lock:
            self._failed_at.pop(repo_id, None)
            if len(self._roles) >= _MAX_CACHE_ENTRIES:
                self._roles.clear()
            self._roles[key] = (now, role)
        return role
