"""Routes each stored delivery to the incident it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from app.github import inbound
from app.github.inbound import Departure, Seen
from app.ports import Lane, Repository
from app.store import inbox, incidents, policies
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.policies import Place
from app.worker.context import Desk
from app.worker.pipeline import uninstall
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, park


@dataclass(frozen=True, slots=True)
class _Address:
    """Where a delivery belongs.

    `may_change_policy`: it may have changed the policy file or a feed.
    `labels_seen`: the labels of its issue, if it says nothing else about an incident that is known.
    """

    repository: Repository | None
    lane: Lane | None
    policy: bool
    departure: Departure | None
    shown: Seen | None


def sort(desk: Desk, going: Callable[[], bool] = lambda: True) -> list[Lane]:
    """Route the new deliveries and return the incidents to process.

    Stops early when `should_continue` returns False.  If another worker is routing, return at once: that worker routes
    all deliveries stored until then.
    """
    lanes: dict[Lane, None] = {}
    while going() and _any_new(desk):
        with desk.database.transaction() as db:
            deliveries = inbox.unsorted(db) if inbox.alone(db) else []
            lanes.update(dict.fromkeys(_sort(db, deliveries)))
            desk.failpoints.reach("after_claim")
        if not deliveries:
            break
    return list(lanes)


def _any_new(desk: Desk) -> bool:
    with desk.database.look() as db:
        return inbox.any_new(db)


def _sort(db: Db, deliveries: Iterable[Delivery]) -> list[Lane]:
    """Route these deliveries and return the incidents to process."""
    found = list(_addressed(db, deliveries))
    carried = incidents.labels_of(db, {address.lane for _, address in found if address.lane and address.shown})
    named = {address.repository.id for _, address in found if address.repository is not None}
    remembered = {one.id: one for one in incidents.repositories(db, named)}
    woken, known = list[Lane](), list[tuple[Delivery, Lane]]()
    news = list[tuple[Delivery, Lane]]()
    for delivery, address in found:
        if address.repository is not None:
            if remembered.get(address.repository.id) != address.repository:
                incidents.remember_repository(db, address.repository)
                remembered[address.repository.id] = address.repository
            if address.policy:
                woken += _doubt(db, address.repository)
        if address.departure is not None:
            uninstall.heard(db, address.departure, delivery.received_at)
        if address.lane is not None:
            there = known if _is_known(address.shown, carried.get(address.lane)) else news
            there.append((delivery, address.lane))
            continue
        inbox.ignore(db, delivery, address.repository.id if address.repository else None)
        if delivery.event in inbound.INSTALLATION_EVENTS:
            inbox.empty(db, delivery)
    inbox.sort_into(db, news)
    inbox.sort_into(db, known, taken=True)
    return woken + [lane for _, lane in news]


def _is_known(shown: Seen | None, carried: tuple[datetime, frozenset[str]] | None) -> bool:
    """Return True if the delivery carries no new information, so the incident need not be processed.

    This keeps conversations on an issue, and the echoes of our own writes, nearly free.
    """
    if shown is None or carried is None:
        return False
    at, labels = carried
    return shown.at < at or shown.labels == labels


def _addressed(db: Db, deliveries: Iterable[Delivery]) -> Iterator[tuple[Delivery, _Address]]:
    """Yield each delivery with its route; move an unparseable one to the dead letters."""
    for delivery in deliveries:
        try:
            yield delivery, _address(delivery)
        except UNREADABLE_ERRORS as problem:
            park(db, delivery, repr(problem))


def _doubt(db: Db, repository: Repository) -> list[Lane]:
    """Re-read the policy files of the repository before their next use; return the incidents they may affect."""
    policies.doubt(db, Place.repository(repository.id))
    if repository.name.partition("/")[2].lower() != ".github":
        return incidents.open_lanes(db, repository.id)
    policies.doubt(db, Place.organisation(repository.installation))
    return policies.lanes_of_organisation(db, repository.installation)


def _address(delivery: Delivery) -> _Address:
    payload = inbound.payload_of(delivery.body)
    lane = inbound.lane_of(delivery.event, payload)
    return _Address(
        inbound.repository_of(payload),
        lane,
        inbound.changes_policy(delivery.event, payload) or inbound.changes_feeds(delivery.event, payload),
        inbound.departure_of(delivery.event, payload),
        inbound.only_shown(delivery.event, payload, delivery.received_at) if lane else None,
    )
