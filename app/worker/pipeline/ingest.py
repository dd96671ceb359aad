"""Apply an incident's pending deliveries and due alarms in one transaction, in which nothing is sent."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from app.core import noise_limits
from app.core.clocks import alarms
from app.core.effects import Effect, PolicyFaultNotice, SetLabels, ShowBoard
from app.core.escalation import resolve_recipients
from app.core.events import Opened, Role
from app.core.incident import Incident
from app.core.labels import desired_labels, own_labels
from app.core.policy import ON_CALL, Policy
from app.core.replay import log_sort_key, replay
from app.github import inbound
from app.github.inbound import LabelsSeen, OwnCommentChanged, TimedEvent
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, IncidentKey, Repository, Tracker
from app.rate_limit import Priority
from app.store import inbox, incidents, outbox, tombstones, unconfirmed_reports
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.incidents import StoredIncident
from app.worker.context import WorkerContext
from app.worker.pipeline import channel_messages
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, dead_letter_delivery
from app.worker.pipeline.policy_check import list_policy_deliveries, publish_check
from app.worker.pipeline.repository_mapping import confirm_mapping

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _ParsedDelivery:
    """A parsed delivery.

    `is_incident`: the payload shows that its issue is an incident.
    `problem`: why the delivery cannot be parsed; empty if it can.
    `is_opening`: it is the delivery of the issue's creation, so it holds the original report.
    """

    delivery: Delivery
    change: TimedEvent | OwnCommentChanged | None = None
    labels_seen: LabelsSeen | None = None
    is_incident: bool = False
    problem: str = ""
    is_opening: bool = False


def process_incident(ctx: WorkerContext, incident_key: IncidentKey) -> bool:
    """Process the pending deliveries and due alarms of an incident and write the resulting effects to the outbox.

    The key may also be that of a pull request or of the pushes to a repository; then their policy change is checked.
    False if some deliveries have to wait because GitHub cannot be asked for permissions now.
    """
    now = ctx.clock()
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
        waiting = inbox.list_routed_deliveries(db, incident_key)
        known = incidents.load_incident(db, incident_key)
    if repository is None or not (waiting or known):
        return True
    repository = confirm_mapping(ctx, repository)
    if found := list_policy_deliveries(incident_key, waiting):
        return publish_check(ctx, repository, found, now)
    tracker = ctx.tracker(repository).with_priority(Priority(known.incident.severity if known else None))
    active = ctx.policies.load(ctx.database, tracker, repository, now)
    parsed = list(_parse_deliveries(ctx, tracker, repository, _clamp_received_at(waiting, known), active.policy, now))
    try:
        _apply_deliveries(ctx, incident_key, parsed, active, now)
    except UNREADABLE_ERRORS:
        # One of them is invalid.  One by one, the others are applied and that one moves to the dead letters.
        log.exception("batch failed, deliveries are processed one by one", incident=str(incident_key))
        if not parsed:
            raise
        for each in parsed:
            _apply_one(ctx, incident_key, each, active, now)
    return len(parsed) == len(waiting)


def _apply_deliveries(
    ctx: WorkerContext, incident_key: IncidentKey, parsed: list[_ParsedDelivery], active: ActivePolicy, now: datetime
) -> None:
    with ctx.database.transaction() as db:
        before = incidents.lock_incident(db, incident_key)
        after = _apply_parsed(db, incident_key, before, parsed, active, now)
        ctx.failpoints.reach("mid_reduce")
        if after is not None and after.incident.fired_alarms != (
            before.incident.fired_alarms if before is not None else frozenset()
        ):
            ctx.failpoints.reach("timer_fired_before_commit")
        if before is None and after is not None:
            inbox.requeue_no_incident_deliveries(db, incident_key)
        for each in parsed:
            if each.problem:
                dead_letter_delivery(db, each.delivery, each.problem)
        if processed := [each.delivery for each in parsed if not each.problem]:
            inbox.mark_processed(db, processed, no_incident=after is None)
        ctx.failpoints.reach("before_commit")
    ctx.failpoints.reach("after_commit")


def _apply_one(
    ctx: WorkerContext, incident_key: IncidentKey, parsed: _ParsedDelivery, active: ActivePolicy, now: datetime
) -> None:
    try:
        _apply_deliveries(ctx, incident_key, [parsed], active, now)
    except UNREADABLE_ERRORS as problem:
        _apply_deliveries(ctx, incident_key, [_ParsedDelivery(parsed.delivery, problem=repr(problem))], active, now)


def record_event(ctx: WorkerContext, incident_key: IncidentKey, events: Iterable[TimedEvent]) -> None:
    """Apply events that we caused ourselves, such as a pull request that we opened."""
    now = ctx.clock()
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
    if repository is None:
        return
    active = ctx.policies.load(ctx.database, ctx.tracker(repository), repository, now)
    with ctx.database.transaction() as db:
        apply_events(db, incident_key, incidents.lock_incident(db, incident_key), events, active, now)


def _clamp_received_at(waiting: list[Delivery], known: StoredIncident | None) -> list[Delivery]:
    """Make no delivery older than the replayed state, even if the host's clock was set back."""
    if known is None:
        return waiting
    return [replace(one, received_at=max(one.received_at, known.replayed_until)) for one in waiting]


def _parse_deliveries(
    ctx: WorkerContext, tracker: Tracker, repository: Repository, waiting: list[Delivery], policy: Policy, now: datetime
) -> Iterable[_ParsedDelivery]:
    """Parse the deliveries in order of arrival, up to the first whose author's permission cannot be asked for now."""
    for delivery in waiting:
        try:
            payload = inbound.parse_payload(delivery.body)
            found = inbound.read_event(delivery.event, payload, policy, delivery.received_at)
            seen, is_incident = inbound.read_labels(payload), inbound.is_declared(payload, policy)
        except UNREADABLE_ERRORS as problem:
            yield _ParsedDelivery(delivery, problem=repr(problem))
            continue
        try:
            found = _with_author_role(ctx, tracker, repository, found, policy, now)
        except DeliveryFailed as failed:
            log.warning("rights not known yet", guid=delivery.guid, reason=str(failed))
            return
        is_opening = delivery.event == "issues" and payload.get("action") == "opened"
        yield _ParsedDelivery(delivery, found, seen, is_incident, is_opening=is_opening)


def _with_author_role(
    ctx: WorkerContext,
    tracker: Tracker,
    repository: Repository,
    found: TimedEvent | OwnCommentChanged | None,
    policy: Policy,
    now: datetime,
) -> TimedEvent | OwnCommentChanged | None:
    """Add the author's role to an event that needs it.  Raises DeliveryFailed if it cannot be asked for now."""
    if not isinstance(found, TimedEvent) or not inbound.needs_role(found.event, policy.labels):
        return found
    role: Role = ctx.permissions.get_role(tracker, repository.id, found.event.by, now)
    return replace(found, event=replace(found.event, role=role))


def _apply_parsed(
    db: Db,
    incident_key: IncidentKey,
    stored: StoredIncident | None,
    parsed: list[_ParsedDelivery],
    active: ActivePolicy,
    now: datetime,
) -> StoredIncident | None:
    # Deliveries before the opening are kept if the issue is an incident: the opening is still to come.
    if stored is None and not any(each.is_incident or _is_opening(each) for each in parsed):
        return None
    own_comment_changes = [each.change for each in parsed if isinstance(each.change, OwnCommentChanged)]
    if stored is not None and any(change.comment_id == stored.board_id for change in own_comment_changes):
        if any(change.deleted and change.comment_id == stored.board_id for change in own_comment_changes):
            incidents.record_board(db, incident_key, None, "")
            stored = replace(stored, board_id=None, board_url="")
        outbox.add_effects(db, incident_key, (ShowBoard(),), now)
    replay_all = stored is not None and any(
        _restore_original_report(db, incident_key, each) for each in parsed if each.is_opening
    )
    events = (each.change for each in parsed if isinstance(each.change, TimedEvent))
    stored = apply_events(db, incident_key, stored, events, active, now, replay_all=replay_all)
    if stored is not None:
        queue_label_update(
            db,
            incident_key,
            stored,
            [each.labels_seen for each in parsed if each.labels_seen],
            active.policy,
            now,
        )
        _queue_policy_fault_notices(db, incident_key, stored.incident, active, now)
    return stored


def _restore_original_report(db: Db, incident_key: IncidentKey, parsed: _ParsedDelivery) -> bool:
    """Replace a logged opening that was built from a later state of the issue by the original report.

    True if the log changed.
    """
    found = parsed.change
    if not isinstance(found, TimedEvent) or not isinstance(found.event, Opened) or found.event.adopted:
        return False
    known = incidents.load_opening(db, incident_key)
    if known is None or known[0] != found.at or known[1].adopted:
        return False
    corrected = replace(known[1], title=found.event.title, report=found.event.report)
    if corrected != known[1]:
        incidents.correct_event(db, incident_key, corrected)
    return corrected != known[1]


def apply_events(
    db: Db,
    incident_key: IncidentKey,
    stored: StoredIncident | None,
    events: Iterable[TimedEvent],
    active: ActivePolicy,
    now: datetime,
    *,
    replay_all: bool = False,
) -> StoredIncident | None:
    """Apply events to the incident, save it, update its alarms and write the effects to the outbox.

    Events in order continue from the stored state.  If one is late, or precedes an alarm that has fired, or
    `replay_all` is set, the whole log is replayed.  What was erased is not stored again.
    """
    if stored is None and tombstones.find_erased(db, (incident_key,)):
        return None
    new_events = sorted(
        _append_new_events(db, incident_key, stored, events), key=lambda one: log_sort_key(one.at, one.event)
    )
    until = max([now, *(one.at for one in new_events)])
    if stored is not None and not replay_all and (not new_events or new_events[0].at > stored.replayed_until):
        decision = replay([(one.at, one.event) for one in new_events], active.policy, until, initial=stored.incident)
    else:
        decision = replay(incidents.load_log(db, incident_key), active.policy, until)
    if decision.incident is None:
        return None
    new = _save_incident(db, incident_key, stored, decision.incident, new_events, until)
    effects: tuple[Effect, ...] = decision.effects
    alarms_changed = incidents.sync_alarms(db, incident_key, alarms(new.incident, active.policy))
    if alarms_changed and not effects and not new.incident.unavailable:
        effects = (ShowBoard(),)  # another policy is active, and the board shows its deadlines
    if noise_limits.is_confirmed(new.incident) and (stored is None or not noise_limits.is_confirmed(stored.incident)):
        unconfirmed_reports.release_confirmed(db, incident_key, now)
    channel_messages.queue_messages(db, incident_key, new.incident, effects, active.policy, now)
    outbox.add_effects(db, incident_key, effects, now)
    return new


def _save_incident(
    db: Db,
    incident_key: IncidentKey,
    stored: StoredIncident | None,
    incident: Incident,
    new_events: list[TimedEvent],
    until: datetime,
) -> StoredIncident:
    alarms_fired = stored is None or incident.fired_alarms != stored.incident.fired_alarms
    last_event_at = max((one.at for one in new_events), default=None)
    replayed_before = stored.replayed_until if stored else incident.declared_at
    replayed_until = until if alarms_fired else max(filter(None, (replayed_before, last_event_at)))
    new = (
        replace(stored, incident=incident, replayed_until=replayed_until)
        if stored
        else StoredIncident(incident, replayed_until)
    )
    if stored is None or new != stored:
        incidents.save_incident(db, incident_key, new)
    return new


def _append_new_events(
    db: Db, incident_key: IncidentKey, stored: StoredIncident | None, events: Iterable[TimedEvent]
) -> list[TimedEvent]:
    """Log each event once and return the new ones.

    An opening without an incident id gets one here, the only place where ids are assigned.
    """
    known, found = stored is not None, dict[str, TimedEvent]()
    for one in events:
        event = one.event
        if isinstance(event, Opened):
            if known:
                continue
            known = True
            event = (
                event
                if event.id
                else replace(event, id=incidents.allocate_incident_id(db, incident_key.repo_id, one.at.date()))
            )
        found.setdefault(event.key, TimedEvent(one.at, event))
    new = incidents.append_events(db, incident_key, ((one.at, one.event) for one in found.values()))
    return [one for key, one in found.items() if key in new]


def queue_label_update(
    db: Db,
    incident_key: IncidentKey,
    stored: StoredIncident,
    labels_seen: list[LabelsSeen],
    policy: Policy,
    now: datetime,
) -> None:
    """Queue a label update if the labels of the issue differ from the desired ones, whatever the cause.

    GitHub's times are in whole seconds.  If two label sets of the same second differ, the issue itself has to be read.
    """
    if labels_seen:
        at = max(one.at for one in labels_seen)
        newest = {one.labels for one in labels_seen if one.at == at}
        if len(newest) == 1:
            incidents.record_labels(db, incident_key, newest.pop(), at)
        else:
            incidents.mark_labels_stale(db, incident_key)
    if stored.incident.unavailable:
        return
    current, uncertain = incidents.load_labels(db, incident_key)
    desired = desired_labels(stored.incident, policy)
    if uncertain or current & own_labels(policy.labels) != desired:
        outbox.add_effects(db, incident_key, (SetLabels(labels=desired),), now)


def _queue_policy_fault_notices(
    db: Db, incident_key: IncidentKey, incident: Incident, active: ActivePolicy, now: datetime
) -> None:
    """Queue a notice for each policy problem, once per version, on the first open incident that is processed."""
    if not active.problems or incident.unavailable or not incident.status.open:
        return
    recipients = resolve_recipients(incident, active.policy, (ON_CALL,), now)
    for problem in active.problems:
        if problem.mark_reported(db):
            fault_notice = PolicyFaultNotice(
                key=problem.notice_key,
                to=recipients.people,
                unstaffed=recipients.unstaffed,
                at=now,
                faults=problem.faults,
            )
            outbox.add_effects(db, incident_key, (fault_notice,), now)


def _is_opening(parsed: _ParsedDelivery) -> bool:
    return isinstance(parsed.change, TimedEvent) and isinstance(parsed.change.event, Opened)
