"""Keep the mapping of repositories to installations and names true: GitHub is asked, a delivery proves nothing.

A signed delivery can be old, or sent again by a person who captured it.  So a delivery that names another installation
for a repository that we know changes nothing by itself: work goes on with the known one, and before the next step of an
incident of that repository GitHub is asked, by the repository's id.
"""

from __future__ import annotations

from datetime import timedelta

import structlog

from app.ports import DeliveryFailed, Repository
from app.store import incidents
from app.store.database import Database
from app.worker.context import WorkerContext
from app.worker.pipeline import uninstall

_RETRY_INTERVAL = timedelta(minutes=1)
"""Wait before GitHub is asked again after it did not answer."""

log = structlog.get_logger()


def confirm_mapping(ctx: WorkerContext, repository: Repository) -> Repository:
    """Ask GitHub where the repository is, if that is in doubt, and return it as it counts from now on.

    Work that was cancelled because the App had been taken off is resumed if the App is installed there.
    """
    now = ctx.clock()
    with ctx.database.autocommit() as db:
        due, claimed = incidents.load_due_claim(db, repository.id, now)
    if not due:
        return repository
    try:
        located = ctx.locate(repository)
    except DeliveryFailed as failed:
        log.warning("repository could not be located", repository=repository.name, reason=str(failed))
        with ctx.database.transaction() as db:
            incidents.locate_later(db, repository.id, now + _RETRY_INTERVAL)
        return repository
    if claimed is not None and (located is None or located.installation != claimed):
        log.warning(
            "security: a delivery named an installation that is not the repository's, which is kept",
            repository=repository.name,
            repository_id=repository.id,
            claimed_installation=claimed,
            installation=located.installation if located else repository.installation,
        )
    with ctx.database.transaction() as db:
        incidents.record_located(db, repository.id, now)
        if located is not None:
            incidents.save_repository(db, located)
            uninstall.resume_repositories(db, [located], now)
            if located.installation != repository.installation:
                uninstall.resume_installation(db, located.installation, now)
    return located or repository


def save_located(database: Database, located: Repository) -> None:
    """Save where GitHub says a repository is, which was found out while calling for it."""
    log.warning("repository has another installation", repository=located.name, installation=located.installation)
    with database.transaction() as db:
        incidents.save_repository(db, located)
