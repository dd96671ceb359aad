"""Route each stored delivery to the incident it belongs to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.github import inbound
from app.github.inbound import InstallationChange, LabelsSeen, PolicyProposal, PolicyPush
from app.github.payload_shape import find_misfit
from app.ports import IncidentKey, Repository
from app.store import inbox, incidents, policies, policy_reviews, tombstones
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.policies import PolicyScope
from app.store.policy_reviews import ReviewRequest
from app.worker.context import WorkerContext
from app.worker.pipeline import uninstall
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, dead_letter_delivery

DELETED_ISSUE_PERIOD = timedelta(days=7)
"""How long the texts of an issue stay stored that was deleted on GitHub."""


@dataclass(frozen=True, slots=True)
class _DeliveryRoute:
    """Where a delivery belongs.

    `may_change_policy`: it may have changed the policy file or a feed.
    `labels_seen`: the labels of its issue, if it says nothing else about an incident that is known.  `is_deletion`: its
    issue was deleted.
    `policy_change`: a change to the policy that is to be reviewed; then it says nothing about an incident.
    """

    repository: Repository | None
    incident_key: IncidentKey | None
    may_change_policy: bool
    installation_change: InstallationChange | None
    labels_seen: LabelsSeen | None
    policy_change: PolicyProposal | PolicyPush | None
    is_deletion: bool = False


def route_deliveries(ctx: WorkerContext, should_continue: Callable[[], bool] = lambda: True) -> list[IncidentKey]:
    """Route the new deliveries and return the incidents to process.

    Stops early when `should_continue` returns False.  If another worker is routing, return at once: that worker routes
    all deliveries stored until then.
    """
    incident_keys: dict[IncidentKey, None] = {}
    while should_continue() and _has_new_deliveries(ctx):
        with ctx.database.transaction() as db:
            deliveries = inbox.lock_received_deliveries(db) if inbox.acquire_routing_lock(db) else []
            incident_keys.update(dict.fromkeys(_route(db, deliveries)))
            ctx.failpoints.reach("after_claim")
        if not deliveries:
            break
    return list(incident_keys)


def _has_new_deliveries(ctx: WorkerContext) -> bool:
    with ctx.database.autocommit() as db:
        return inbox.has_received_deliveries(db)


def _route(db: Db, deliveries: Iterable[Delivery]) -> list[IncidentKey]:
    """Route these deliveries and return the incidents to process."""
    routes = list(_parse_routes(db, deliveries))
    known_labels = incidents.load_fresh_labels(
        db, {route.incident_key for _, route in routes if route.incident_key and route.labels_seen}
    )
    repository_ids = {route.repository.id for _, route in routes if route.repository is not None}
    known_repositories = {one.id: one for one in incidents.list_repositories(db, repository_ids)}
    to_process, redundant = list[IncidentKey](), list[tuple[Delivery, IncidentKey]]()
    informative = list[tuple[Delivery, IncidentKey]]()
    erased = tombstones.find_erased(db, {route.incident_key for _, route in routes if route.incident_key})
    for delivery, route in routes:
        if route.incident_key in erased:
            inbox.ignore_delivery(db, delivery, route.incident_key.repo_id if route.incident_key else None)
            inbox.clear_body(db, delivery)
            continue
        if route.is_deletion and route.incident_key is not None:
            at = delivery.received_at
            tombstones.record_deletion(db, route.incident_key, at, at + DELETED_ISSUE_PERIOD)
        if route.repository is not None:
            repository = incidents.save_seen_repository(
                db, known_repositories.get(route.repository.id), route.repository, delivery.received_at
            )
            known_repositories[repository.id] = repository
            if route.may_change_policy:
                to_process += _invalidate_policy(db, repository)
        if route.installation_change is not None:
            to_process += uninstall.record_installation_change(
                db, route.installation_change, delivery.received_at, is_repeated=delivery.is_repeated
            )
        if route.incident_key is not None and route.policy_change is not None:
            _request_review(db, delivery, route.incident_key, route.policy_change)
            redundant.append((delivery, route.incident_key))
            continue
        if route.incident_key is not None:
            bucket = (
                redundant if _is_redundant(route.labels_seen, known_labels.get(route.incident_key)) else informative
            )
            bucket.append((delivery, route.incident_key))
            continue
        inbox.ignore_delivery(db, delivery, route.repository.id if route.repository else None)
        if delivery.event in inbound.INSTALLATION_EVENTS:
            inbox.clear_body(db, delivery)
    inbox.route_to_incidents(db, informative)
    inbox.route_to_incidents(db, redundant, processed=True)
    return to_process + [incident_key for _, incident_key in informative]


def _request_review(
    db: Db, delivery: Delivery, incident_key: IncidentKey, policy_change: PolicyProposal | PolicyPush
) -> None:
    """Request the review of a policy change; its own queue makes it, so that no incident waits for it."""
    proposal = policy_change if isinstance(policy_change, PolicyProposal) else None
    policy_reviews.request_review(
        db,
        ReviewRequest(
            incident_key.repo_id,
            incident_key.number,
            policy_change.head,
            # GitHub's times are in whole seconds; within one second requests keep the order of arrival.
            proposal.at if proposal else delivery.received_at,
            delivery.received_at,
            from_fork=proposal is not None and proposal.from_fork,
        ),
    )


def _is_redundant(labels_seen: LabelsSeen | None, known_labels: tuple[datetime, frozenset[str]] | None) -> bool:
    """Return True if the delivery carries no new information, so the incident need not be processed.

    This keeps conversations on an issue, and the echoes of our own writes, nearly free.
    """
    if labels_seen is None or known_labels is None:
        return False
    at, labels = known_labels
    return labels_seen.at < at or labels_seen.labels == labels


def _parse_routes(db: Db, deliveries: Iterable[Delivery]) -> Iterator[tuple[Delivery, _DeliveryRoute]]:
    """Yield each delivery with its route; move an unparseable one to the dead letters."""
    for delivery in deliveries:
        try:
            yield delivery, _parse_route(delivery)
        except UNREADABLE_ERRORS as problem:
            dead_letter_delivery(db, delivery, repr(problem))


def _invalidate_policy(db: Db, repository: Repository) -> list[IncidentKey]:
    """Re-read the policy files of the repository before their next use; return the incidents they may affect."""
    policies.mark_policy_stale(db, PolicyScope.repository(repository.id))
    if repository.name.partition("/")[2].lower() != ".github":
        return incidents.list_incident_keys_with_alarms(db, repository.id)
    policies.mark_policy_stale(db, PolicyScope.organisation(repository.installation))
    return policies.list_organisation_incident_keys(db, repository.installation)


def _parse_route(delivery: Delivery) -> _DeliveryRoute:
    payload = inbound.parse_payload(delivery.body)
    if misfit := find_misfit(delivery.event, payload):
        raise inbound.Unreadable(f"security: {misfit}")
    incident_key = inbound.incident_key_of(delivery.event, payload)
    return _DeliveryRoute(
        inbound.repository_of(payload),
        incident_key,
        inbound.changes_policy(delivery.event, payload) or inbound.changes_feeds(delivery.event, payload),
        inbound.installation_change_of(delivery.event, payload),
        inbound.read_labels_only(delivery.event, payload, delivery.received_at) if incident_key else None,
        inbound.policy_change_of(delivery.event, payload, incident_key, delivery.received_at) if incident_key else None,
        is_deletion=inbound.is_issue_deletion(delivery.event, payload),
    )
