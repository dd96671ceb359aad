"""Apply an incident's pending deliveries and due alarms: folded without a lock, saved in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from app.core.effects import SetLabels, ShowBoard
from app.core.events import Opened, Role
from app.core.labels import desired_labels, own_labels
from app.core.policy import Policy
from app.github import inbound
from app.github.inbound import LabelsSeen, OwnCommentChanged, TimedEvent
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, IncidentKey, Repository, Tracker
from app.rate_limit import Priority
from app.store import inbox, incidents, outbox
from app.store.database import Db
from app.store.inbox import Delivery
from app.store.incidents import StoredIncident
from app.worker.context import WorkerContext
from app.worker.pipeline import fold, missing_issues
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS, dead_letter_delivery
from app.worker.pipeline.fold import Folded, FoldFailed
from app.worker.pipeline.repository_mapping import confirm_mapping

log = structlog.get_logger()

_RIGHTS_QUESTION_PERIOD = timedelta(minutes=5)
"""How long an event waits for its author's role while GitHub refuses to give it; then the role counts as unknown."""


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
    tracker = ctx.tracker(repository).with_priority(Priority(known.incident.severity if known else None))
    active = ctx.policies.load(ctx.database, tracker, repository, now)
    parsed = list(_parse_deliveries(ctx, tracker, repository, _clamp_received_at(waiting, known), active.policy, now))
    batch = _Batch(ctx, incident_key, active, now)
    if known is not None and waiting and missing_issues.may_return(known.incident):
        _bring_back(batch, repository, known, parsed)
    try:
        batch.apply(parsed, known)
    except (FoldFailed, *UNREADABLE_ERRORS):
        # One of them is invalid.  One by one, the others are applied and that one moves to the dead letters.
        log.exception("batch failed, deliveries are processed one by one", incident=str(incident_key))
        if not parsed:
            raise
        for each in parsed:
            batch.apply_one(each)
    return len(parsed) == len(waiting)


def _bring_back(
    batch: _Batch, repository: Repository, known: StoredIncident, parsed: Sequence[_ParsedDelivery]
) -> None:
    """Ask GitHub for an issue that was given up, since a delivery says that it is there, and resume its incident."""
    event_times = [each.change.at for each in parsed if isinstance(each.change, TimedEvent)]
    earliest = min(event_times, default=batch.now) - timedelta(seconds=1)
    try:
        missing_issues.resume_if_found(
            batch.ctx, repository, batch.incident_key, batch.active, max(earliest, known.replayed_until)
        )
    except DeliveryFailed as failed:
        log.warning("issue not looked for", incident=str(batch.incident_key), reason=str(failed))


@dataclass(frozen=True)
class _Batch:
    """What is needed to apply deliveries to one incident."""

    ctx: WorkerContext
    incident_key: IncidentKey
    active: ActivePolicy
    now: datetime

    def apply(self, parsed: Sequence[_ParsedDelivery], known: StoredIncident | None) -> None:
        """Apply the deliveries and the due alarms; `known` is the incident as it was read before."""
        fold.repeat_while_stale(
            self.ctx, self.incident_key, lambda before: _fold_and_save(self, before, parsed), first=known
        )
        self.ctx.failpoints.reach("after_commit")

    def apply_one(self, each: _ParsedDelivery) -> None:
        """Apply one delivery, or move it to the dead letters if that fails."""
        try:
            self.apply([each], self._load())
        except (FoldFailed, *UNREADABLE_ERRORS) as problem:
            self.apply([_ParsedDelivery(each.delivery, problem=repr(problem))], self._load())

    def _load(self) -> StoredIncident | None:
        with self.ctx.database.autocommit() as db:
            return incidents.load_incident(db, self.incident_key)


def _fold_and_save(
    batch: _Batch, before: StoredIncident | None, parsed: Sequence[_ParsedDelivery]
) -> StoredIncident | None:
    ctx, incident_key, active, now = batch.ctx, batch.incident_key, batch.active, batch.now
    folded, corrected = None, None
    # Deliveries before the opening are kept if the issue is an incident: the opening is still to come.
    if before is not None or any(each.is_incident or _is_opening(each) for each in parsed):
        corrected = _find_corrected_opening(ctx, incident_key, before, parsed)
        events = (each.change for each in parsed if isinstance(each.change, TimedEvent))
        folded = fold.fold_events(ctx, incident_key, before, events, active, now, corrected_opening=corrected)
    with ctx.database.transaction() as db:
        fold.require_unchanged(db, incident_key, before)
        if corrected is not None:
            incidents.correct_event(db, incident_key, corrected)
        after = _save_parsed(db, incident_key, folded, parsed, now) if folded is not None else None
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
    return after


def _clamp_received_at(waiting: list[Delivery], known: StoredIncident | None) -> list[Delivery]:
    """Make no delivery older than the replayed state, even if the host's clock was set back."""
    if known is None:
        return waiting
    return [replace(one, received_at=max(one.received_at, known.replayed_until)) for one in waiting]


def _parse_deliveries(
    ctx: WorkerContext, tracker: Tracker, repository: Repository, waiting: list[Delivery], policy: Policy, now: datetime
) -> Iterator[_ParsedDelivery]:
    """Parse the deliveries in order of arrival, without those whose author's role is not known yet.

    While GitHub cannot be reached, the ones behind such a delivery wait with it.  Where GitHub refuses to give the
    role, only that delivery waits, for some minutes; then the role counts as unknown.
    """
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
            if failed.refusal is None:
                return
            if now - delivery.received_at < _RIGHTS_QUESTION_PERIOD:
                continue
            assert isinstance(found, TimedEvent)
            found = replace(found, event=replace(found.event, role=Role.UNKNOWN))
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
    return replace(found, event=inbound.with_author_role(found.event, role))


def _save_parsed(
    db: Db,
    incident_key: IncidentKey,
    folded: Folded,
    parsed: Sequence[_ParsedDelivery],
    now: datetime,
) -> StoredIncident:
    """Save the folded incident, and what the deliveries show beside their events."""
    own_comment_changes = [each.change for each in parsed if isinstance(each.change, OwnCommentChanged)]
    stored, board_deleted = folded.base, False
    if stored is not None and any(change.comment_id == stored.board_id for change in own_comment_changes):
        board_deleted = any(change.deleted for change in own_comment_changes if change.comment_id == stored.board_id)
        if board_deleted:
            incidents.record_board(db, incident_key, None, "")
        outbox.add_effects(db, incident_key, (ShowBoard(),), now)
    after = fold.save_fold(db, incident_key, folded, now)
    after = replace(after, board_id=None, board_url="") if board_deleted else after
    labels_seen = [each.labels_seen for each in parsed if each.labels_seen]
    queue_label_update(db, incident_key, after, labels_seen, folded.active.policy, now)
    fold.queue_policy_fault_notices(db, incident_key, after.incident, folded.active, now)
    return after


def _find_corrected_opening(
    ctx: WorkerContext, incident_key: IncidentKey, stored: StoredIncident | None, parsed: Sequence[_ParsedDelivery]
) -> Opened | None:
    """Return the logged opening with its original report, if it was built from a later state of the issue."""
    openings = [each.change for each in parsed if each.is_opening and isinstance(each.change, TimedEvent)]
    if stored is None or not openings:
        return None
    with ctx.database.autocommit() as db:
        known = incidents.load_opening(db, incident_key)
    for found in openings:
        if (
            known is None
            or not isinstance(found.event, Opened)
            or found.event.adopted
            or known[0] != found.at
            or known[1].adopted
        ):
            continue
        corrected = replace(known[1], title=found.event.title, report=found.event.report)
        return corrected if corrected != known[1] else None
    return None


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
    if stored.incident.unavailable:
        return
    if labels_seen:
        at = max(one.at for one in labels_seen)
        newest = {one.labels for one in labels_seen if one.at == at}
        if len(newest) == 1:
            incidents.record_labels(db, incident_key, newest.pop(), at)
        else:
            incidents.mark_labels_stale(db, incident_key)
    current, uncertain = incidents.load_labels(db, incident_key)
    desired = desired_labels(stored.incident, policy)
    if uncertain or current & own_labels(policy.labels) != desired:
        outbox.add_effects(db, incident_key, (SetLabels(labels=desired),), now)


def _is_opening(parsed: _ParsedDelivery) -> bool:
    return isinstance(parsed.change, TimedEvent) and isinstance(parsed.change.event, Opened)
