"""Applies an incident's pending deliveries and due alarms in one transaction, in which nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from app.core import noise_limits
from app.core.clocks import alarms
from app.core.effects import Effect, Mend, SetLabels, ShowBoard
from app.core.escalation import reached
from app.core.events import Opened, Role
from app.core.incident import Incident
from app.core.labels import managed, wanted
from app.core.policy import ON_CALL, Policy
from app.core.replay import order, replay
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
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, park
from app.worker.pipeline.policy_check import answer, proposals

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


def take(desk: Desk, lane: Lane) -> bool:
    """Process the pending deliveries and due alarms of an incident and write the resulting effects to the outbox.

    The key may also be that of a pull request or of the pushes of a repository; then the policy they bring is checked.
    False if some deliveries have to wait because GitHub cannot be asked for permissions now.
    """
    now = desk.clock()
    with desk.database.look() as db:
        repository = incidents.repository(db, lane.repo_id)
        waiting = inbox.of_lane(db, lane)
        known = incidents.load(db, lane)
    if repository is None or not (waiting or known):
        return True
    if found := proposals(lane, waiting):
        return answer(desk, repository, found, now)
    tracker = desk.tracker(repository).urgent(Urgency(known.incident.severity if known else None))
    force = desk.policies.of(desk.database, tracker, repository, now)
    readings = list(_read(desk, tracker, repository, _in_time(waiting, known), force.policy, now))
    try:
        _write(desk, lane, readings, force, now)
    except UNREADABLE_ERRORS:
        # One of them is invalid.  One by one, the others are applied and that one moves to the dead letters.
        log.exception("batch failed, deliveries are processed one by one", incident=str(lane))
        if not readings:
            raise
        for reading in readings:
            _write_alone(desk, lane, reading, force, now)
    return len(readings) == len(waiting)


def _write(desk: Desk, lane: Lane, readings: list[_Reading], force: InForce, now: datetime) -> None:
    with desk.database.transaction() as db:
        before = incidents.locked(db, lane)
        after = _advance(db, lane, before, readings, force, now)
        desk.failpoints.reach("mid_reduce")
        if after is not None and after.incident.rung != (before.incident.rung if before is not None else frozenset()):
            desk.failpoints.reach("timer_fired_before_commit")
        if before is None and after is not None:
            inbox.take_again(db, lane)
        for reading in readings:
            if reading.problem:
                park(db, reading.delivery, reading.problem)
        if taken := [reading.delivery for reading in readings if not reading.problem]:
            inbox.take(db, taken, early=after is None)
        desk.failpoints.reach("before_commit")
    desk.failpoints.reach("after_commit")


def _write_alone(desk: Desk, lane: Lane, reading: _Reading, force: InForce, now: datetime) -> None:
    try:
        _write(desk, lane, [reading], force, now)
    except UNREADABLE_ERRORS as problem:
        _write(desk, lane, [_Reading(reading.delivery, problem=repr(problem))], force, now)


def happened(desk: Desk, lane: Lane, what: Iterable[Happened]) -> None:
    """Apply events that we caused ourselves, such as a pull request that we opened."""
    now = desk.clock()
    with desk.database.look() as db:
        repository = incidents.repository(db, lane.repo_id)
    if repository is None:
        return
    force = desk.policies.of(desk.database, desk.tracker(repository), repository, now)
    with desk.database.transaction() as db:
        advance(db, lane, incidents.locked(db, lane), what, force, now)


def _in_time(waiting: list[Delivery], known: Stored | None) -> list[Delivery]:
    """Make no delivery older than the replayed state, even if the host's clock was set back."""
    if known is None:
        return waiting
    return [replace(one, received_at=max(one.received_at, known.lived_until)) for one in waiting]


def _read(
    desk: Desk, tracker: Tracker, repository: Repository, waiting: list[Delivery], policy: Policy, now: datetime
) -> Iterable[_Reading]:
    """Parse the deliveries in order of arrival, up to the first whose author's permission cannot be asked for now."""
    for delivery in waiting:
        try:
            payload = inbound.payload_of(delivery.body)
            found = inbound.read(delivery.event, payload, policy, delivery.received_at)
            seen, declared = inbound.seen(payload), inbound.declared(payload, policy)
        except UNREADABLE_ERRORS as problem:
            yield _Reading(delivery, problem=repr(problem))
            continue
        try:
            found = _with_authority(desk, tracker, repository, found, policy, now)
        except DeliveryFailed as failed:
            log.warning("rights not known yet", guid=delivery.guid, reason=str(failed))
            return
        original = delivery.event == "issues" and payload.get("action") == "opened"
        yield _Reading(delivery, found, seen, declared, original=original)


def _with_authority(
    desk: Desk,
    tracker: Tracker,
    repository: Repository,
    found: Happened | Touched | None,
    policy: Policy,
    now: datetime,
) -> Happened | Touched | None:
    """Add the author's role to an event that needs it.  Raises DeliveryFailed if it cannot be asked for now."""
    if not isinstance(found, Happened) or not inbound.asks_for_authority(found.event, policy.labels):
        return found
    role: Role = desk.authorities.of(tracker, repository.id, found.event.by, now)
    return replace(found, event=replace(found.event, role=role))


def _advance(
    db: Db, lane: Lane, stored: Stored | None, readings: list[_Reading], force: InForce, now: datetime
) -> Stored | None:
    # Deliveries before the opening are kept if the issue is an incident: the opening is still to come.
    if stored is None and not any(reading.declared or _opens(reading) for reading in readings):
        return None
    touched = [reading.found for reading in readings if isinstance(reading.found, Touched)]
    if stored is not None and any(touch.comment == stored.board_id for touch in touched):
        if any(touch.deleted and touch.comment == stored.board_id for touch in touched):
            incidents.posted_board(db, lane, None, "")
            stored = replace(stored, board_id=None, board_url="")
        outbox.put(db, lane, (ShowBoard(),), now)
    anew = stored is not None and any(_as_reported(db, lane, reading) for reading in readings if reading.original)
    happened = (reading.found for reading in readings if isinstance(reading.found, Happened))
    stored = advance(db, lane, stored, happened, force, now, anew=anew)
    if stored is not None:
        compare_labels(db, lane, stored, [reading.seen for reading in readings if reading.seen], force.policy, now)
        _tell_faults(db, lane, stored.incident, force, now)
    return stored


def _as_reported(db: Db, lane: Lane, reading: _Reading) -> bool:
    """Replace a logged opening that came from a later look at the issue by the original report.

    True if the log changed.
    """
    found = reading.found
    if not isinstance(found, Happened) or not isinstance(found.event, Opened) or found.event.adopted:
        return False
    known = incidents.opening(db, lane)
    if known is None or known[0] != found.at or known[1].adopted:
        return False
    true = replace(known[1], title=found.event.title, report=found.event.report)
    if true != known[1]:
        incidents.amend(db, lane, true)
    return true != known[1]


def advance(
    db: Db,
    lane: Lane,
    stored: Stored | None,
    what: Iterable[Happened],
    force: InForce,
    now: datetime,
    *,
    anew: bool = False,
) -> Stored | None:
    """Apply events to the incident, save it, update its alarms and write the effects to the outbox.

    Events in order continue from the stored state.  If one is late, or precedes an alarm that has fired, or
    `replay_all` is set, the whole log is replayed.
    """
    fresh = sorted(_append(db, lane, stored, what), key=lambda one: order(one.at, one.event))
    until = max([now, *(one.at for one in fresh)])
    if stored is not None and not anew and (not fresh or fresh[0].at > stored.lived_until):
        decision = replay([(one.at, one.event) for one in fresh], force.policy, until, since=stored.incident)
    else:
        decision = replay(incidents.log(db, lane), force.policy, until)
    if decision.incident is None:
        return None
    new = _saved(db, lane, stored, decision.incident, fresh, until)
    effects: tuple[Effect, ...] = decision.effects
    moved = incidents.set_alarms(db, lane, alarms(new.incident, force.policy))
    if moved and not effects and not new.incident.left:
        effects = (ShowBoard(),)  # another policy is active, and the board shows its deadlines
    if noise_limits.confirmed(new.incident) and (stored is None or not noise_limits.confirmed(stored.incident)):
        unconfirmed_reports.confirm(db, lane, now)
    channel_messages.write(db, lane, new.incident, effects, force.policy, now)
    outbox.put(db, lane, effects, now)
    return new


def _saved(
    db: Db, lane: Lane, stored: Stored | None, incident: Incident, fresh: list[Happened], until: datetime
) -> Stored:
    rang = stored is None or incident.rung != stored.incident.rung
    last = max((one.at for one in fresh), default=None)
    before = stored.lived_until if stored else incident.declared_at
    lived_until = until if rang else max(filter(None, (before, last)))
    new = replace(stored, incident=incident, lived_until=lived_until) if stored else Stored(incident, lived_until)
    if stored is None or new != stored:
        incidents.save(db, lane, new)
    return new


def _append(db: Db, lane: Lane, stored: Stored | None, what: Iterable[Happened]) -> list[Happened]:
    """Log each event once and return the new ones.

    An opening without an incident id gets one here, the only place where ids are assigned.
    """
    known, found = stored is not None, dict[str, Happened]()
    for one in what:
        event = one.event
        if isinstance(event, Opened):
            if known:
                continue
            known = True
            event = event if event.id else replace(event, id=incidents.next_id(db, lane.repo_id, one.at.date()))
        found.setdefault(event.key, Happened(one.at, event))
    new = incidents.append(db, lane, ((one.at, one.event) for one in found.values()))
    return [one for key, one in found.items() if key in new]


def compare_labels(db: Db, lane: Lane, stored: Stored, seen: list[Seen], policy: Policy, now: datetime) -> None:
    """Queue a label update if the labels of the issue differ from the desired ones, whatever the cause.

    GitHub's times are in whole seconds.  If two label sets of the same second differ, the issue itself has to be read.
    """
    if seen:
        at = max(one.at for one in seen)
        newest = {one.labels for one in seen if one.at == at}
        if len(newest) == 1:
            incidents.saw_labels(db, lane, newest.pop(), at)
        else:
            incidents.doubt_labels(db, lane)
    if stored.incident.left:
        return
    carried, doubted = incidents.labels(db, lane)
    should = wanted(stored.incident, policy)
    if doubted or carried & managed(policy.labels) != should:
        outbox.put(db, lane, (SetLabels(labels=should),), now)


def _tell_faults(db: Db, lane: Lane, incident: Incident, force: InForce, now: datetime) -> None:
    """Queue a notice for each policy problem, once per version, on the first open incident that is processed."""
    if not force.troubles or incident.left or not incident.status.open:
        return
    asked = reached(incident, force.policy, (ON_CALL,), now)
    for trouble in force.troubles:
        if trouble.tell(db):
            mend = Mend(key=trouble.told_as, to=asked.people, missing=asked.missing, at=now, faults=trouble.faults)
            outbox.put(db, lane, (mend,), now)


def _opens(reading: _Reading) -> bool:
    return isinstance(reading.found, Happened) and isinstance(reading.found.event, Opened)
