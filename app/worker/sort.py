"""Which incident a delivery is for."""

from __future__ import annotations

import structlog

from app.github import inbound
from app.github.inbound import Unreadable
from app.ports import Lane
from app.store import inbox, incidents, policies
from app.store.database import Db
from app.store.inbox import Delivery
from app.worker.desk import Desk

log = structlog.get_logger()


def sort(desk: Desk) -> list[Lane]:
    """Sort what has come in, and return the incidents that should be woken."""
    lanes: dict[Lane, None] = {}
    while True:
        with desk.database.transaction() as db:
            deliveries = inbox.unsorted(db)
            for delivery in deliveries:
                lanes.update(dict.fromkeys(_sort(db, delivery)))
            desk.failpoints.reach("after_claim")
        if not deliveries:
            return list(lanes)


def _sort(db: Db, delivery: Delivery) -> list[Lane]:
    try:
        payload = inbound.payload_of(delivery.body)
        lane = inbound.lane_of(delivery.event, payload)
        repository = inbound.repository_of(payload)
    except (Unreadable, KeyError, TypeError, ValueError, AttributeError) as problem:
        log.warning("delivery parked", guid=delivery.guid, event=delivery.event, reason=repr(problem)[:200])
        inbox.settle(db, delivery, "parked", repr(problem))
        return []
    if repository is not None:
        incidents.remember_repository(db, repository)
    if lane is not None:
        inbox.sort_into(db, delivery, lane)
        return [lane]
    inbox.settle(db, delivery, "ignored")
    if repository is not None and inbound.changes_policy(delivery.event, payload):
        policies.doubt(db, repository.id)
        return incidents.open_lanes(db, repository.id)
    return []
