"""Applies an incident's pending deliveries and due alarms in one transaction, in which nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from app.core import noise_limits
from app.core.clocks import alarms
from app.core.effects import Effect, Mend, SetLabels, ShowBoard
from app.core.escalation import resolve_recipients
from app.core.events import Opened, Role
from app.core.incident import Incident
from app.core.labels import desired_labels, own_labels
from app.core.policy import ON_CALL, Policy
from app.core.replay import log_sort_key, replay
from app.github import inbound
from app.github.inbound import Happened, Seen, Touched
from app.policy_source.active_policy import InForce
from app.ports import DeliveryFailed, Lane, Repository, Tracker
from app.rate_limit import Urgency
from app.store import inbox, incidents, outbox, unconfirmed_reports
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.incidents import Stored
from app.worker.context import Desk
from app.worker.pipeline import channel_messages
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, dead_letter_delivery
from app.worker.pipeline.policy_check import list_policy_deliveries, publish_check

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Reading:
    """A parsed delivery.

    `is_incident`: the payload shows that its issue is an incident.
    `problem`: why the delivery cannot be parsed; empty if it can.
    `is_opening`: it shows the issue as it was opened.
    """

    delivery: Delivery
    found: Happened | Touched | None = None
    seen: Seen | None = None
    declared: bool = False
    problem: str = ""
    original: bool = False


def process_incident(desk: Desk, lane: Lane) -> bool:
    """Process the pending deliveries and due alarms of an incident and write the resulting effects to the outbox.

    The key may also be that of a pull request or of the pushes of a repository; then the policy they bring is checked.
    False if some deliveries have to wait because GitHub cannot be asked for permissions now.
    """
    now = desk.clock()
    with desk.database.autocommit() as db:
        repository = incidents.load_repository(db, lane.repo_id)
        waiting = inbox.list_routed_deliveries(db, lane)
        known = incidents.load_incident(db, lane)
    if repository is None or not (waiting or known):
        return True
    if found := list_policy_deliveries(lane, waiting):
        return publish_check(desk, repository, found, now)
    tracker = desk.tracker(repository).with_priority(Urgency(known.incident.severity if known else None))
    active = desk.policies.load(desk.database, tracker, repository, now)
    parsed = list(_parse_deliveries(desk, tracker, repository, _clamp_received_at(waiting, known), active.policy, now))
    try:
        _apply_deliveries(desk, lane, parsed, active, now)
    except UNREADABLE_ERRORS:
        # One of them is invalid.  One by one, the others are applied and that one moves to the dead letters.
        log.exception("batch failed, deliveries are processed one by one", incident=str(lane))
        if not parsed:
            raise
        for reading in parsed:
            _apply_one(desk, lane, reading, active, now)
    return len(parsed) == len(waiting)


def _apply_deliveries(desk: Desk, lane: Lane, parsed: list[_Reading], active: InForce, now: datetime) -> None:
    with desk.database.transaction() as db:
        before = incidents.lock_incident(db, lane)
        after = _apply_parsed(db, lane, before, parsed, active, now)
        desk.failpoints.reach("mid_reduce")
        if after is not None and after.incident.rung != (before.incident.rung if before is not None else frozenset()):
            desk.failpoints.reach("timer_fired_before_commit")
        if before is None and after is not None:
            inbox.requeue_no_incident_deliveries(db, lane)
        for reading in parsed:
            if reading.problem:
                dead_letter_delivery(db, reading.delivery, reading.problem)
        if processed := [reading.delivery for reading in parsed if not reading.problem]:
            inbox.mark_processed(db, processed, no_incident=after is None)
        desk.failpoints.reach("before_commit")
    desk.failpoints.reach("after_commit")


def _apply_one(desk: Desk, lane: Lane, parsed: _Reading, active: InForce, now: datetime) -> None:
    try:
        _apply_deliveries(desk, lane, [parsed], active, now)
    except UNREADABLE_ERRORS as problem:
        _apply_deliveries(desk, lane, [_Reading(parsed.delivery, problem=repr(problem))], active, now)


def record_event(desk: Desk, lane: Lane, events: Iterable[Happened]) -> None:
    """Apply events that we caused ourselves, such as a pull request that we opened."""
    now = desk.clock()
    with desk.database.autocommit() as db:
        repository = incidents.load_repository(db, lane.repo_id)
    if repository is None:
        return
    active = desk.policies.load(desk.database, desk.tracker(repository), repository, now)
    with desk.database.transaction() as db:
        apply_events(db, lane, incidents.lock_incident(db, lane), events, active, now)


def _clamp_received_at(waiting: list[Delivery], known: Stored | None) -> list[Delivery]:
    """Make no delivery older than the replayed state, even if the host's clock was set back."""
    if known is None:
        return waiting
    return [replace(one, received_at=max(one.received_at, known.lived_until)) for one in waiting]


def _parse_deliveries(
    desk: Desk, tracker: Tracker, repository: Repository, waiting: list[Delivery], policy: Policy, now: datetime
) -> Iterable[_Reading]:
    """Parse the deliveries in order of arrival, up to the first whose author's permission cannot be asked for now."""
    for delivery in waiting:
        try:
            payload = inbound.parse_payload(delivery.body)
            found = inbound.read_event(delivery.event, payload, policy, delivery.received_at)
            seen, declared = inbound.read_labels(payload), inbound.is_declared(payload, policy)
        except UNREADABLE_ERRORS as problem:
            yield _Reading(delivery, problem=repr(problem))
            continue
        try:
            found = _with_author_role(desk, tracker, repository, found, policy, now)
        except DeliveryFailed as failed:
            log.warning("rights not known yet", guid=delivery.guid, reason=str(failed))
            return
        original = delivery.event == "issues" and payload.get("action") == "opened"
        yield _Reading(delivery, found, seen, declared, original=original)


def _with_author_role(
    desk: Desk,
    tracker: Tracker,
    repository: Repository,
    found: Happened | Touched | None,
    policy: Policy,
    now: datetime,
) -> Happened | Touched | None:
    """Add the author's role to an event that needs it.  Raises DeliveryFailed if it cannot be asked for now."""
    if not isinstance(found, Happened) or not inbound.needs_role(found.event, policy.labels):
        return found
    role: Role = desk.authorities.get_role(tracker, repository.id, found.event.by, now)
    return replace(found, event=replace(found.event, role=role))


def _apply_parsed(
    db: Db, lane: Lane, stored: Stored | None, parsed: list[_Reading], active: InForce, now: datetime
) -> Stored | None:
    # Deliveries before the opening are kept if the issue is an incident: the opening is still to come.
    if stored is None and not any(reading.declared or _is_opening(reading) for reading in parsed):
        return None
    touched = [reading.found for reading in parsed if isinstance(reading.found, Touched)]
    if stored is not None and any(touch.comment == stored.board_id for touch in touched):
        if any(touch.deleted and touch.comment == stored.board_id for touch in touched):
            incidents.record_board(db, lane, None, "")
            stored = replace(stored, board_id=None, board_url="")
        outbox.add_effects(db, lane, (ShowBoard(),), now)
    replay_all = stored is not None and any(
        _restore_original_report(db, lane, reading) for reading in parsed if reading.original
    )
    events = (reading.found for reading in parsed if isinstance(reading.found, Happened))
    stored = apply_events(db, lane, stored, events, active, now, replay_all=replay_all)
    if stored is not None:
        compare_labels(db, lane, stored, [reading.seen for reading in parsed if reading.seen], active.policy, now)
        _queue_policy_fault_notices(db, lane, stored.incident, active, now)
    return stored


def _restore_original_report(db: Db, lane: Lane, parsed: _Reading) -> bool:
    """Replace a logged opening that came from a later look at the issue by the original report.

    True if the log changed.
    """
    found = parsed.found
    if not isinstance(found, Happened) or not isinstance(found.event, Opened) or found.event.adopted:
        return False
    known = incidents.load_opening(db, lane)
    if known is None or known[0] != found.at or known[1].adopted:
        return False
    corrected = replace(known[1], title=found.event.title, report=found.event.report)
    if corrected != known[1]:
        incidents.correct_event(db, lane, corrected)
    return corrected != known[1]


def apply_events(
    db: Db,
    lane: Lane,
    stored: Stored | None,
    events: Iterable[Happened],
    active: InForce,
    now: datetime,
    *,
    replay_all: bool = False,
) -> Stored | None:
    """Apply events to the incident, save it, update its alarms and write the effects to the outbox.

    Events in order continue from the stored state.  If one is late, or precedes an alarm that has fired, or
    `replay_all` is set, the whole log is replayed.
    """
    new_events = sorted(_append_new_events(db, lane, stored, events), key=lambda one: log_sort_key(one.at, one.event))
    until = max([now, *(one.at for one in new_events)])
    if stored is not None and not replay_all and (not new_events or new_events[0].at > stored.lived_until):
        decision = replay([(one.at, one.event) for one in new_events], active.policy, until, initial=stored.incident)
    else:
        decision = replay(incidents.load_log(db, lane), active.policy, until)
    if decision.incident is None:
        return None
    new = _save_incident(db, lane, stored, decision.incident, new_events, until)
    effects: tuple[Effect, ...] = decision.effects
    alarms_changed = incidents.sync_alarms(db, lane, alarms(new.incident, active.policy))
    if alarms_changed and not effects and not new.incident.left:
        effects = (ShowBoard(),)  # another policy is active, and the board shows its deadlines
    if noise_limits.is_confirmed(new.incident) and (stored is None or not noise_limits.is_confirmed(stored.incident)):
        unconfirmed_reports.release_confirmed(db, lane, now)
    channel_messages.queue_messages(db, lane, new.incident, effects, active.policy, now)
    outbox.add_effects(db, lane, effects, now)
    return new


def _save_incident(
    db: Db, lane: Lane, stored: Stored | None, incident: Incident, new_events: list[Happened], until: datetime
) -> Stored:
    alarms_fired = stored is None or incident.rung != stored.incident.rung
    last = max((one.at for one in new_events), default=None)
    before = stored.lived_until if stored else incident.declared_at
    lived_until = until if alarms_fired else max(filter(None, (before, last)))
    new = replace(stored, incident=incident, lived_until=lived_until) if stored else Stored(incident, lived_until)
    if stored is None or new != stored:
        incidents.save_incident(db, lane, new)
    return new


def _append_new_events(db: Db, lane: Lane, stored: Stored | None, events: Iterable[Happened]) -> list[Happened]:
    """Log each event once and return the new ones.

    An opening without an incident id gets one here, the only place where ids are assigned.
    """
    known, found = stored is not None, dict[str, Happened]()
    for one in events:
        event = one.event
        if isinstance(event, Opened):
            if known:
                continue
            known = True
            event = (
                event
                if event.id
                else replace(event, id=incidents.allocate_incident_id(db, lane.repo_id, one.at.date()))
            )
        found.setdefault(event.key, Happened(one.at, event))
    new = incidents.append_events(db, lane, ((one.at, one.event) for one in found.values()))
    return [one for key, one in found.items() if key in new]


def compare_labels(db: Db, lane: Lane, stored: Stored, labels_seen: list[Seen], policy: Policy, now: datetime) -> None:
    """Queue a label update if the labels of the issue differ from the desired ones, whatever the cause.

    GitHub's times are in whole seconds.  If two label sets of the same second differ, the issue itself has to be read.
    """
    if labels_seen:
        at = max(one.at for one in labels_seen)
        newest = {one.labels for one in labels_seen if one.at == at}
        if len(newest) == 1:
            incidents.record_labels(db, lane, newest.pop(), at)
        else:
            incidents.mark_labels_stale(db, lane)
    if stored.incident.left:
        return
    current, uncertain = incidents.load_labels(db, lane)
    desired = desired_labels(stored.incident, policy)
    if uncertain or current & own_labels(policy.labels) != desired:
        outbox.add_effects(db, lane, (SetLabels(labels=desired),), now)


def _queue_policy_fault_notices(db: Db, lane: Lane, incident: Incident, active: InForce, now: datetime) -> None:
    """Queue a notice for each policy problem, once per version, on the first open incident that is processed."""
    if not active.troubles or incident.left or not incident.status.open:
        return
    recipients = resolve_recipients(incident, active.policy, (ON_CALL,), now)
    for trouble in active.troubles:
        if trouble.mark_reported(db):
            fault_notice = Mend(
                key=trouble.notice_key, to=recipients.people, missing=recipients.missing, at=now, faults=trouble.faults
            )
            outbox.add_effects(db, lane, (fault_notice,), now)


def _is_opening(parsed: _Reading) -> bool:
    return isinstance(parsed.found, Happened) and isinstance(parsed.found.event, Opened)
