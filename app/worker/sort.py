"""Which incident a delivery is for."""

from __future__ import annotations

from dataclasses import dataclass

from app.github import inbound
from app.github.inbound import Departure
from app.ports import Lane, Repository
from app.store import inbox, incidents, policies
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.policies import Place
from app.worker import departed
from app.worker.desk import Desk
from app.worker.parked import UNREADABLE, park


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a delivery goes.  `policy`: it may have changed the policy file."""

    repository: Repository | None
    lane: Lane | None
    policy: bool
    departure: Departure | None


def sort(desk: Desk) -> list[Lane]:
    """Sort what has come in, and return the incidents that should be woken."""
    lanes: dict[Lane, None] = {}
    while True:
        with desk.database.transaction() as db:
            deliveries, remembered = inbox.unsorted(db), dict[int, Repository]()
            found = list[tuple[Delivery, Lane]]()
            for delivery in deliveries:
                lanes.update(dict.fromkeys(_sort(db, delivery, remembered, found)))
            inbox.sort_into(db, found)
            desk.failpoints.reach("after_claim")
        if not deliveries:
            return list(lanes)


def _sort(
    db: Db, delivery: Delivery, remembered: dict[int, Repository], found: list[tuple[Delivery, Lane]]
) -> list[Lane]:
    """The incidents to be woken; what is for one of them goes into `found`.

    `remembered`: the repositories as this transaction has them already.
    """
    try:
        address = _address(delivery)
    except UNREADABLE as problem:
        park(db, delivery, repr(problem))
        return []
    woken: list[Lane] = []
    if address.repository is not None:
        if remembered.get(address.repository.id) != address.repository:
            incidents.remember_repository(db, address.repository)
            remembered[address.repository.id] = address.repository
        if address.policy:
            woken += _doubt(db, address.repository)
    if address.departure is not None:
        departed.heard(db, address.departure, delivery.received_at)
    if address.lane is None:
        inbox.ignore(db, delivery, address.repository.id if address.repository else None)
        if delivery.event in inbound.ABOUT_US:
            inbox.empty(db, delivery)
        return woken
    found.append((delivery, address.lane))
    return [*woken, address.lane]


def _doubt(db: Db, repository: Repository) -> list[Lane]:
    """Look at the files of a repository before the next use, and wake whoever they may concern."""
    policies.doubt(db, Place.repository(repository.id))
    if repository.name.partition("/")[2].lower() != ".github":
        return incidents.open_lanes(db, repository.id)
    policies.doubt(db, Place.organisation(repository.installation))
    return policies.lanes_of_organisation(db, repository.installation)


def _address(delivery: Delivery) -> _Address:
    payload = inbound.payload_of(delivery.body)
    return _Address(
        inbound.repository_of(payload),
        inbound.lane_of(delivery.event, payload),
        inbound.changes_policy(delivery.event, payload) or inbound.changes_feeds(delivery.event, payload),
        inbound.departure_of(delivery.event, payload),
    )
