"""Handle uninstallation: cancel pending work at once, resume it when access is given back, and else delete the data."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

import structlog

from app.github.client import Client
from app.github.inbound import InstallationChange
from app.github.installations import list_installed_repositories
from app.ports import DeliveryFailed, IncidentKey, Repository
from app.store import incidents, rate_limits, sync_state, uninstalled
from app.store.database import Db
from app.store.uninstalled import UninstalledRepository
from app.worker.context import WorkerContext

GRACE_PERIOD = timedelta(hours=1)
"""Grace period before deletion: late deliveries arrive, and an accidental uninstall can be undone."""
_FIRST_CHECK_INTERVAL = timedelta(minutes=2)
"""Wait before GitHub is asked for the first time whether the App is gone: the delivery may be an old one."""
_RETRY_INTERVAL = timedelta(minutes=10)
"""Wait before the next request while GitHub does not respond."""
_RECHECK_INTERVAL = timedelta(hours=6)
"""Interval between two deletions of data that arrived late."""
_MAX_UNVERIFIED_AGE = timedelta(hours=20)
"""Age after which the data is deleted even if GitHub could not be asked whether the app is installed."""
_REDELIVERY_PERIOD = timedelta(days=4)
"""Age after which no late delivery is expected: GitHub's delivery list reaches back less far."""

log = structlog.get_logger()


def record_installation_change(
    db: Db, change: InstallationChange, now: datetime, *, is_repeated: bool = False
) -> list[IncidentKey]:
    """Record that the app was uninstalled from repositories or installed on them; return the incidents to process.

    A delivery about an installation may be outdated.  One that takes access away stops all work at once, and GitHub is
    asked a little later; one that gives access only has GitHub asked before the next step of an incident.  What
    another installation than the repository's own loses is no loss.

    `is_repeated`: the same body was taken before.  Either access was taken away a second time, or a captured delivery
    was sent again, so work goes on until GitHub has been asked, which is done at once.
    """
    if change.resumed:
        if change.unsuspended:
            rate_limits.end_pause(db, change.installation)
        resume_installation(db, change.installation, now)
    for repo_id in change.added:
        incidents.claim_installation(db, repo_id, change.installation, now)
        incidents.locate_later(db, repo_id, now)
    if change.whole_installation:
        known = uninstalled.list_installation_repositories(db, change.installation)
    else:
        known = [
            one for one in incidents.list_repositories(db, change.removed) if one.installation == change.installation
        ]
    if known and is_repeated:
        uninstalled.schedule_check(db, known, now, now)
    elif known:
        log.warning("app uninstalled", repositories=[one.name for one in known])
        uninstalled.record_uninstall(db, known, now, now + _FIRST_CHECK_INTERVAL)
    return uninstalled.list_suspended_incident_keys(db, change.added)


def resume_installation(db: Db, installation: int, now: datetime) -> None:
    """Make all that waits for an installation due at once: it works again, or has permissions that it lacked.

    Tokens that other processes keep have the former permissions: each renews its own when GitHub refuses it.
    """
    count = uninstalled.make_pending_work_due(db, installation, now)
    log.info("installation resumed", installation=installation, items=count)


def resume_repositories(db: Db, repositories: Sequence[Repository], now: datetime) -> None:
    """Resume the cancelled work of repositories that are accessible; what happened meanwhile is caught up on.

    Alarms that fell due fire at once, so that each is told of once.
    """
    ids = [one.id for one in repositories]
    if (since := uninstalled.restore_work(db, ids, now)) is not None:
        log.info("access was given back", repositories=[one.name for one in repositories])
        sync_state.mark_for_catch_up(db, since, ids)


def delete_uninstalled(ctx: WorkerContext, client: Client) -> int:
    """Delete the data of uninstalled repositories whose grace period is over; return their number.

    GitHub is asked first whether the app is installed again, because deleted data cannot be restored.
    """
    now, count = ctx.clock(), 0
    with ctx.database.transaction() as db:
        due = uninstalled.list_due_checks(db, now)
    accessible = _list_accessible_repositories(client) if due else None
    for one in due:
        with ctx.database.transaction() as db:
            if accessible is not None and one.repository.id in accessible:
                incidents.save_repository(db, accessible[one.repository.id])
                resume_repositories(db, [accessible[one.repository.id]], now)  # installed again
            elif now - one.uninstalled_at < (_MAX_UNVERIFIED_AGE if accessible is None else GRACE_PERIOD):
                deletable_at = one.uninstalled_at + GRACE_PERIOD
                if accessible is not None:
                    uninstalled.record_uninstall(db, [one.repository], one.uninstalled_at, deletable_at)
                uninstalled.postpone_check(
                    db, one.repository.id, deletable_at if now < deletable_at else now + _RETRY_INTERVAL
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


def _list_accessible_repositories(client: Client) -> dict[int, Repository] | None:
    """List the repositories where the app is installed, by id; None if GitHub does not respond."""
    try:
        return {one.id: one for one in list_installed_repositories(client)}
    except DeliveryFailed as failed:
        log.warning("installations could not be listed", reason=str(failed))
        return None
