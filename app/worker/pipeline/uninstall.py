"""Handle uninstallation: cancel pending work at once and delete the data within a day."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from app.github.client import Client
from app.github.inbound import InstallationChange
from app.github.installations import list_installed_repositories
from app.ports import DeliveryFailed
from app.store import incidents, uninstalled
from app.store.database import Db
from app.store.uninstalled import UninstalledRepository
from app.worker.context import WorkerContext

GRACE_PERIOD = timedelta(hours=1)
"""Grace period before deletion: late deliveries arrive, and an accidental uninstall can be undone."""
_RETRY_INTERVAL = timedelta(minutes=10)
"""Wait before the next request while GitHub does not respond."""
_RECHECK_INTERVAL = timedelta(hours=6)
"""Interval between two deletions of data that arrived late."""
_MAX_UNVERIFIED_AGE = timedelta(hours=20)
"""Age after which the data is deleted even if GitHub could not be asked whether the app is installed."""
_REDELIVERY_PERIOD = timedelta(days=4)
"""Age after which no late delivery is expected: GitHub's delivery list reaches back less far."""

log = structlog.get_logger()


def record_installation_change(db: Db, change: InstallationChange, now: datetime) -> None:
    """Record that the app was uninstalled from repositories or installed on them.

    A delivery about an installation may be outdated, so it only makes the check of a repository due, which asks GitHub.
    """
    for repo_id in change.added:
        uninstalled.postpone_check(db, repo_id, now)
    if change.whole_installation:
        known = uninstalled.list_installation_repositories(db, change.installation)
    else:
        found = (incidents.load_repository(db, repo_id) for repo_id in change.removed)
        known = [one for one in found if one is not None]
    if known:
        log.warning("app uninstalled", repositories=[one.name for one in known])
        uninstalled.record_uninstall(db, known, now, now + GRACE_PERIOD)


def check_installation_change(db: Db, change: InstallationChange, now: datetime) -> None:
    """Have GitHub asked about the repositories that a repeated delivery names; until then all work goes on.

    Either a repository was removed or added a second time, or a captured delivery was sent again.
    """
    for repo_id in change.added:
        uninstalled.postpone_check(db, repo_id, now)
    known = incidents.list_repositories(db, change.removed)
    uninstalled.schedule_check(db, [one for one in known if one.installation == change.installation], now, now)


def delete_uninstalled(ctx: WorkerContext, client: Client) -> int:
    """Delete the data of uninstalled repositories whose grace period is over; return their number.

    GitHub is asked first whether the app is installed again, because deleted data cannot be restored.
    """
    now, count = ctx.clock(), 0
    with ctx.database.transaction() as db:
        due = uninstalled.list_due_checks(db, now)
    accessible = _list_accessible_repository_ids(client) if due else None
    for one in due:
        with ctx.database.transaction() as db:
            if accessible is not None and one.repository.id in accessible:
                uninstalled.clear_uninstall(db, [one.repository.id])  # installed again, so nothing is deleted
            elif now - one.uninstalled_at < (_MAX_UNVERIFIED_AGE if accessible is None else GRACE_PERIOD):
                uninstalled.postpone_check(
                    db, one.repository.id, max(now + _RETRY_INTERVAL, one.uninstalled_at + GRACE_PERIOD)
                )
            else:
                uninstalled.delete_repository_data(db, one)
                count += 1
                _schedule_recheck(db, one, now)
    return count


def _schedule_recheck(db: Db, uninstalled_repository: UninstalledRepository, now: datetime) -> None:
    log.info(
        "data of uninstalled repository deleted",
        repository=uninstalled_repository.repository.name,
        since=uninstalled_repository.uninstalled_at.isoformat(),
    )
    if now - uninstalled_repository.uninstalled_at >= _REDELIVERY_PERIOD:
        uninstalled.clear_uninstall(db, [uninstalled_repository.repository.id])
    else:
        uninstalled.postpone_check(db, uninstalled_repository.repository.id, now + _RECHECK_INTERVAL)


def _list_accessible_repository_ids(client: Client) -> set[int] | None:
    """List the ids of the repositories where the app is installed; None if GitHub does not respond."""
    try:
        return {one.id for one in list_installed_repositories(client)}
    except DeliveryFailed as failed:
        log.warning("installations could not be listed", reason=str(failed))
        return None
