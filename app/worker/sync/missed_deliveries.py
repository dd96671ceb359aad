"""Deliveries that never reached the door: found in GitHub's own list, and put into the inbox as if they had come in.

They are known by their GUID in our table and by nothing else: GitHub's status says what was answered, not what was
kept, and ids are in no order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from app.github.deliveries import Deliveries, Listed
from app.ports import Gone
from app.store import inbox
from app.store.inbox import Delivery, Kept
from app.worker.context import Desk

LOOK_BACK = timedelta(hours=72)
"""GitHub lists deliveries for so long."""
_OVERLAP = timedelta(minutes=2)
"""How far an incremental pass looks beyond the last one: attempts are listed a little after they were made, and what is
listed later than that is for the hourly pass over all of them.
"""
ON_ITS_WAY = timedelta(seconds=15)
"""A delivery that was sent so lately may be at the door just now: GitHub gives up after ten seconds."""
_MANY = 20
"""More than so many in one pass is catching up, which leaves some of the App's calls for others."""

MISSED = Counter("muster_missed", "What had not come in and was found by comparing with GitHub", ["found"])

log = structlog.get_logger()


@dataclass
class Look:
    """What a pass over the delivery list found.  `taken` of the `missed` are in the inbox now; `lost` ones GitHub has forgotten.

    `etag` is that of the newest page, where nothing of it is left to do; `reaches` is the oldest attempt that was looked at.
    """

    pages: int = 0
    listed: int = 0
    missed: int = 0
    taken: int = 0
    lost: int = 0
    left: int = 0
    etag: str = ""
    reaches: datetime | None = None
    missing: list[Listed] = field(default_factory=list)


@dataclass(frozen=True)
class Search:
    """How to go through the list.  `since`: everything before was compared already; None: look at all of it.

    `patient` leaves alone what may be at the door just now; `repo_id` only looks at what belongs to that repository.
    """

    since: datetime | None = None
    etag: str = ""
    patient: bool = True
    repo_id: int | None = None


def fetch_missed(desk: Desk, deliveries: Deliveries, search: Search, say: Callable[[str], None]) -> Look:
    """Put every delivery that we do not have into the inbox, the oldest first.

    Raises DeliveryFailed when GitHub cannot be asked; what is in the inbox by then stays there.
    """
    look = _listed(desk, deliveries, search, say)
    look.missed = len(look.missing)
    for nth, one in enumerate(sorted(look.missing, key=lambda one: (one.at, one.id)), 1):
        if look.missed > _MANY:
            deliveries.spare()
        _fetch(desk, deliveries, one, look)
        if nth % 100 == 0:
            say(f"{nth} of {look.missed} missed deliveries fetched")
    return look


def _fetch(desk: Desk, deliveries: Deliveries, one: Listed, look: Look) -> None:
    try:
        sent = deliveries.sent(one)
    except Gone as gone:
        log.warning("a missed delivery is gone", guid=one.guid, reason=str(gone))
        look.lost += 1
        return
    with desk.database.transaction() as db:
        kept = inbox.keep(db, Delivery(sent.hook, one.guid, one.event, sent.body, desk.clock()))
    if kept is Kept.NEW:
        MISSED.labels("delivery").inc()
        look.taken += 1


def _listed(desk: Desk, deliveries: Deliveries, search: Search, say: Callable[[str], None]) -> Look:
    now, look, cursor, found = desk.clock(), Look(), "", set[str]()
    while True:
        if look.pages >= 2:
            deliveries.spare()
        page = deliveries.page(cursor, search.etag if not cursor else "")
        if page.unchanged:
            look.etag = search.etag
            return look
        look.pages += 1
        look.listed += len(page.rows)
        rows = [row for row in page.rows if row.at > now - LOOK_BACK - _OVERLAP]
        with desk.database.transaction() as db:
            known = inbox.known(db, (row.guid for row in rows))
        new = [row for row in rows if row.guid not in known and row.guid not in found]
        wanted = [row for row in new if search.repo_id in (None, row.repo_id)]
        ready = [row for row in wanted if not search.patient or row.at <= now - ON_ITS_WAY]
        look.left += len(wanted) - len(ready)
        for row in ready:  # one GUID may be listed twice
            if row.guid not in found:
                found.add(row.guid)
                look.missing.append(row)
        if not cursor:
            look.etag = page.etag
        look.reaches = min((row.at for row in rows), default=look.reaches)
        if look.pages % 10 == 0:
            say(f"{look.listed} deliveries listed, {len(look.missing)} of them missing")
        cursor = page.following
        if not cursor or len(rows) < len(page.rows) or _far_enough(rows, new, search.since):
            look.etag = "" if look.left or search.repo_id is not None else look.etag
            return look


def _far_enough(rows: list[Listed], new: list[Listed], since: datetime | None) -> bool:
    """Whether a page shows that older ones hold nothing new.  Attempts are in no strict order, so all of it has to be old."""
    return since is not None and not new and all(row.at < since - _OVERLAP for row in rows)
