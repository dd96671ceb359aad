"""Find deliveries that we never received in GitHub's delivery list, and store them in the inbox.

They are identified by their GUID alone: the status in GitHub's list is that of the HTTP response, not of what was
stored, and ids are not ordered.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from prometheus_client import Counter

from app.github.deliveries import Deliveries, DeliveryAttempt
from app.ports import NotFound
from app.store import inbox
from app.store.inbox import Delivery, InboxResult
from app.worker.context import WorkerContext

DELIVERY_LIST_PERIOD = timedelta(hours=72)
"""How long GitHub keeps deliveries in its list."""
_OVERLAP_PERIOD = timedelta(minutes=2)
"""How far an incremental scan reaches back beyond the previous one: GitHub lists an attempt shortly after it.

An attempt that is listed later is found by the hourly scan of the whole list.
"""
IN_TRANSIT_AGE = timedelta(seconds=15)
"""A delivery younger than this may still be arriving at the web receiver: GitHub gives up after 10 seconds."""
_MAX_SMALL_SCAN_DELIVERIES = 20
"""Number of missed deliveries above which a scan leaves part of the App's rate limit to other calls."""

MISSED_TOTAL = Counter("muster_missed_total", "Missed deliveries and issue events that reconciliation found", ["found"])

log = structlog.get_logger()


@dataclass
class DeliveryScan:
    """The result of one scan of the delivery list.

    Of the `missed` deliveries, `fetched` are in the inbox now, and GitHub no longer has `expired`.  `in_transit` were
    skipped as too recent.  `etag` is that of the newest page, empty if that page has to be read again; `oldest_at` is
    the oldest attempt that was examined.
    """

    pages: int = 0
    listed: int = 0
    missed: int = 0
    fetched: int = 0
    expired: int = 0
    in_transit: int = 0
    etag: str = ""
    oldest_at: datetime | None = None
    missing: list[DeliveryAttempt] = field(default_factory=list)


@dataclass(frozen=True)
class ScanOptions:
    """How to scan the list.

    `since`: everything older was compared before; None: scan the whole list.  `skip_recent` ignores deliveries that may
    still be arriving at the web receiver; `repo_id` restricts the scan to one repository.
    """

    since: datetime | None = None
    etag: str = ""
    skip_recent: bool = True
    repo_id: int | None = None


def fetch_missed_deliveries(
    ctx: WorkerContext, deliveries: Deliveries, options: ScanOptions, report_progress: Callable[[str], None]
) -> DeliveryScan:
    """Store every delivery that we do not have in the inbox, oldest first.

    Raises DeliveryFailed when GitHub does not answer; what was stored before that is kept.
    """
    scan = _scan_delivery_list(ctx, deliveries, options, report_progress)
    scan.missed = len(scan.missing)
    for nth, attempt in enumerate(sorted(scan.missing, key=lambda one: (one.at, one.id)), 1):
        if scan.missed > _MAX_SMALL_SCAN_DELIVERIES:
            deliveries.check_budget()
        _fetch_delivery(ctx, deliveries, attempt, scan)
        if nth % 100 == 0:
            report_progress(f"{nth} of {scan.missed} missed deliveries fetched")
    return scan


def _fetch_delivery(ctx: WorkerContext, deliveries: Deliveries, attempt: DeliveryAttempt, scan: DeliveryScan) -> None:
    try:
        delivery = deliveries.fetch_content(attempt)
    except NotFound as gone:
        log.warning("missed delivery has expired on GitHub", guid=attempt.guid, reason=str(gone))
        scan.expired += 1
        return
    with ctx.database.transaction() as db:
        result = inbox.store_delivery(
            db, Delivery(delivery.hook, attempt.guid, attempt.event, delivery.body, ctx.clock())
        )
    if result is InboxResult.NEW:
        MISSED_TOTAL.labels("delivery").inc()
        scan.fetched += 1


def _scan_delivery_list(
    ctx: WorkerContext, deliveries: Deliveries, options: ScanOptions, report_progress: Callable[[str], None]
) -> DeliveryScan:
    now, scan, cursor, seen_guids = ctx.clock(), DeliveryScan(), "", set[str]()
    while True:
        if scan.pages >= 2:
            deliveries.check_budget()
        page = deliveries.fetch_page(cursor, options.etag if not cursor else "")
        if page.unchanged:
            scan.etag = options.etag
            return scan
        scan.pages += 1
        scan.listed += len(page.rows)
        rows = [row for row in page.rows if row.at > now - DELIVERY_LIST_PERIOD - _OVERLAP_PERIOD]
        with ctx.database.transaction() as db:
            stored_guids = inbox.find_known_guids(db, (row.guid for row in rows))
        new = [row for row in rows if row.guid not in stored_guids and row.guid not in seen_guids]
        wanted = [row for row in new if options.repo_id in (None, row.repo_id)]
        ready = [row for row in wanted if not options.skip_recent or row.at <= now - IN_TRANSIT_AGE]
        scan.in_transit += len(wanted) - len(ready)
        for row in ready:  # the list may hold one GUID twice
            if row.guid not in seen_guids:
                seen_guids.add(row.guid)
                scan.missing.append(row)
        if not cursor:
            scan.etag = page.etag
        scan.oldest_at = min((row.at for row in rows), default=scan.oldest_at)
        if scan.pages % 10 == 0:
            report_progress(f"{scan.listed} deliveries listed, {len(scan.missing)} of them missing")
        cursor = page.next_cursor
        if not cursor or len(rows) < len(page.rows) or _has_reached_known_deliveries(rows, new, options.since):
            scan.etag = "" if scan.in_transit or options.repo_id is not None else scan.etag
            return scan


def _has_reached_known_deliveries(
    rows: list[DeliveryAttempt], new: list[DeliveryAttempt], since: datetime | None
) -> bool:
    """Return True if the page shows that older pages hold nothing new.

    Attempts are not strictly ordered, so every row of the page has to be old.
    """
    return since is not None and not new and all(row.at < since - _OVERLAP_PERIOD for row in rows)
