"""Count the installations of the App: a channel or feed without a list of tenants serves the only one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

import structlog

from app.ports import DeliveryFailed
from app.store import incidents, sync_state
from app.store.database import Database
from app.tenancy import Tenant

_RETRY_INTERVAL = timedelta(minutes=1)
"""Wait before GitHub is asked again after it did not answer."""

log = structlog.get_logger()


class InstallationCounter:
    """Counts installations by what is stored; GitHub is asked here only while its answer was never stored.

    Channels have to work while GitHub is away, so an old answer is refreshed by the reconciler alone.
    """

    def __init__(
        self,
        database: Database,
        list_installations: Callable[[], Iterable[int]],
        clock: Callable[[], datetime],
    ) -> None:
        self._database = database
        self._list_installations = list_installations
        self._clock = clock
        self._asking = threading.Lock()
        self._not_before: datetime | None = None

    def find_tenant(self, name: str, installation: int) -> Tenant:
        """Return the repository of that full name and installation as a tenant."""
        with self._database.autocommit() as db:
            count, is_listed = incidents.count_installations(db, installation)
        if count <= 1 and not is_listed and self._ask_once():
            with self._database.autocommit() as db:
                count, _ = incidents.count_installations(db, installation)
        return Tenant(name, count)

    def refresh(self) -> None:
        """Store how many installations GitHub lists.  Raises DeliveryFailed."""
        count = sum(1 for _ in self._list_installations())
        with self._database.transaction() as db:
            sync_state.save_checkpoint(db, incidents.INSTALLATION_CHECKPOINT, self._clock(), etag=str(count))

    def _ask_once(self) -> bool:
        """Ask GitHub, unless another thread does or it has just failed; return whether it answered."""
        if not self._asking.acquire(blocking=False):
            return False
        try:
            now = self._clock()
            if self._not_before is not None and now < self._not_before:
                return False
            self._not_before = now + _RETRY_INTERVAL
            self.refresh()
        except DeliveryFailed as failed:
            log.warning("installations could not be listed", reason=str(failed))
            return False
        finally:
            self._asking.release()
        return True
