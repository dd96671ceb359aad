"""Whoever takes the App off a repository is left alone at once, and nothing of it is kept for longer than a day."""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from app.github.client import Client
from app.github.inbound import Departure
from app.github.installations import repositories
from app.ports import DeliveryFailed
from app.store import incidents, uninstalled
from app.store.database import Db
from app.store.uninstalled import Departed
from app.worker.context import Desk

GRACE = timedelta(hours=1)
"""What was on its way has arrived by then, and whoever clicked by mistake has thought better of it."""
_SOON = timedelta(minutes=10)
"""Between two questions while GitHub does not answer."""
_AGAIN = timedelta(hours=6)
"""Between two looks at what came late."""
_UNASKED = timedelta(hours=20)
"""After so long it is deleted even where GitHub does not say whether we are let in."""
_OVER = timedelta(days=4)
"""GitHub's list of deliveries ends, for all that happened there, soon after."""

log = structlog.get_logger()


def heard(db: Db, departure: Departure, now: datetime) -> None:
    """GitHub says that the App was taken off, or let in; the latter may be old news, so GitHub is asked at once."""
    for repo_id in departure.joined:
        uninstalled.later(db, repo_id, now)
    if departure.everything:
        known = uninstalled.of_installation(db, departure.installation)
    else:
        found = (incidents.repository(db, repo_id) for repo_id in departure.left)
        known = [one for one in found if one is not None]
    if known:
        log.warning("the App was taken off", repositories=[one.name for one in known])
        uninstalled.leave(db, known, now, now + GRACE)


def forget(desk: Desk, client: Client) -> int:
    """Delete what is known of repositories that were left.  Returns how many of them that concerned."""
    now, count = desk.clock(), 0
    with desk.database.transaction() as db:
        found = uninstalled.to_look_at(db, now)
    reached = _reached(client) if found else None
    for one in found:
        with desk.database.transaction() as db:
            if reached is not None and one.repository.id in reached:
                uninstalled.come_back(
                    db, [one.repository.id]
                )  # what is deleted does not come back, so GitHub was asked
            elif now - one.at < (_UNASKED if reached is None else GRACE):
                uninstalled.later(db, one.repository.id, max(now + _SOON, one.at + GRACE))
            else:
                uninstalled.forget(db, one)
                count += 1
                _next(db, one, now)
    return count


def _next(db: Db, one: Departed, now: datetime) -> None:
    log.info("forgotten", repository=one.repository.name, since=one.at.isoformat())
    if now - one.at >= _OVER:
        uninstalled.come_back(db, [one.repository.id])
    else:
        uninstalled.later(db, one.repository.id, now + _AGAIN)


def _reached(client: Client) -> set[int] | None:
    """The repositories that let us in; None: GitHub does not say."""
    try:
        return {one.id for one in repositories(client)}
    except DeliveryFailed as failed:
        log.warning("nobody knows who lets us in", reason=str(failed))
        return None
