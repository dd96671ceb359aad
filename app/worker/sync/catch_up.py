"""Catch up on issue changes that happened while no worker was running.

One list call returns 100 issues updated since then; only those that may differ are examined.  Missing events are
applied at the time when they happened, so that only notices which are still relevant are sent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog

from app.core.events import Role
from app.core.labels import own_labels
from app.github import inbound
from app.github.inbound import LabelsSeen, TimedEvent
from app.github.incident_history import with_roles
from app.github.timeline import detect_edit, is_known_event, read_postmortem_events, read_timeline
from app.github.tracker import labels_of, parse_time
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, IncidentKey, NotFound, Repository, Tracker, postmortem_branches
from app.store import incidents, policies, sync_state
from app.store.incidents import StoredIncident
from app.store.policies import PolicyScope
from app.worker.context import WorkerContext
from app.worker.pipeline import fold, missing_issues
from app.worker.pipeline.fold import apply_events
from app.worker.pipeline.ingest import queue_label_update
from app.worker.sync.missed_deliveries import MISSED_TOTAL
from app.worker.sync.rebuild import rebuild_incident

_MAX_CLOCK_SKEW = timedelta(minutes=5)
"""The largest difference expected between GitHub's clock and ours."""

IssueJson = Mapping[str, Any]

log = structlog.get_logger()


@dataclass
class CatchUp:
    """Counts of one catch-up: issues listed and examined, incidents opened and events applied."""

    listed: int = 0
    looked: int = 0
    opened: int = 0
    events: int = 0


def catch_up_repository(
    ctx: WorkerContext,
    repository: Repository,
    since: datetime,
    tracked_from: datetime,
    report_progress: Callable[[str], None],
) -> CatchUp:
    """Apply what happened in the repository since then, open incidents first.

    Incidents declared before `tracked_from` are ignored: they are older than our first delivery.  Raises DeliveryFailed
    when GitHub does not answer; what was applied before that is kept.
    """
    tracker, result, fetched_at = ctx.tracker(repository), CatchUp(), ctx.clock()
    with ctx.database.transaction() as db:
        # A push to the policy may have been missed, too.
        policies.mark_policy_stale(db, PolicyScope.repository(repository.id))
        pulls = sync_state.load_postmortem_pulls(db, repository.id)
    active_policy = ctx.policies.load(ctx.database, tracker, repository, ctx.clock())
    rows = list(tracker.updated_since(since - _MAX_CLOCK_SKEW))
    result.listed = len(rows)
    open_first = sorted(rows, key=lambda row: (row.get("state") != "open", str(row.get("updated_at"))))
    for row in open_first:
        number = pulls.get(int(row["number"])) if "pull_request" in row else int(row["number"])
        if number is None:
            continue
        try:
            issue = row if number == row["number"] else tracker.issue(number)
            _catch_up_issue(
                ctx,
                repository,
                active_policy,
                issue,
                _CatchUpBounds(since, tracked_from, fetched_at, is_own_row=number == row["number"]),
                result,
            )
        except NotFound:
            log.warning("issue not found during sync", issue=f"{repository.name}#{number}")
    if result.opened or result.events:
        report_progress(f"{repository.name}: {result.opened} incidents and {result.events} events had been missed")
    return result


@dataclass(frozen=True, slots=True)
class _CatchUpBounds:
    """The points in time that limit a catch-up.

    Changes after `last_contact` may be missing here; incidents declared before `tracked_from` are not ours.
    `fetched_at` is when GitHub returned the issue; `is_own_row`: the row is the issue's own, not that of its postmortem
    pull request.
    """

    last_contact: datetime
    tracked_from: datetime
    fetched_at: datetime
    is_own_row: bool


def _catch_up_issue(
    ctx: WorkerContext,
    repository: Repository,
    active_policy: ActivePolicy,
    issue: IssueJson,
    bounds: _CatchUpBounds,
    result: CatchUp,
) -> None:
    incident_key = IncidentKey(repository.id, int(issue["number"]))
    with ctx.database.transaction() as db:
        stored = incidents.lock_incident(db, incident_key)
        (known_labels, _) = incidents.load_labels(db, incident_key)
        compared_at = sync_state.load_compared_at(db, incident_key)
    if stored is None:
        if inbound.is_declared({"issue": issue}, active_policy.policy) and was_declared_since(
            ctx, repository, active_policy, issue, bounds.tracked_from
        ):
            result.looked += 1
            result.opened += bool(restore_missing_incident(ctx, repository, incident_key))
            _record_comparison(ctx, incident_key, bounds.fetched_at)
        return
    # An interrupted catch-up resumes: issues that it already compared are not compared again.
    known_until = max(bounds.last_contact, compared_at - _MAX_CLOCK_SKEW) if compared_at else bounds.last_contact
    if (
        bounds.is_own_row
        and not missing_issues.may_return(stored.incident)
        and parse_time(issue["updated_at"]) <= known_until
        and not _state_or_labels_differ(issue, stored, known_labels, active_policy)
    ):
        return
    result.looked += 1
    result.events += sync_issue(ctx, repository, active_policy, issue, bounds.fetched_at).missing_events
    _record_comparison(ctx, incident_key, bounds.fetched_at)


def _record_comparison(ctx: WorkerContext, incident_key: IncidentKey, at: datetime) -> None:
    with ctx.database.transaction() as db:
        sync_state.record_comparison(db, incident_key, at)


def was_declared_since(
    ctx: WorkerContext, repository: Repository, active_policy: ActivePolicy, issue: IssueJson, tracked_from: datetime
) -> bool:
    """Return True if an unknown incident was declared since `tracked_from`.

    An old issue may have been declared an incident lately, so its timeline decides.
    """
    if parse_time(issue["created_at"]) >= tracked_from:
        return True
    timeline = ctx.tracker(repository).timeline(int(issue["number"]))
    return next(read_timeline(issue, timeline, repository.name, active_policy.policy)).at >= tracked_from


def restore_missing_incident(ctx: WorkerContext, repository: Repository, incident_key: IncidentKey) -> str:
    """Rebuild an incident that is not stored, and return its id."""
    MISSED_TOTAL.labels("issue").inc()
    return rebuild_incident(ctx, repository, incident_key.number, only_if_missing=True)


def _state_or_labels_differ(
    issue: IssueJson, stored: StoredIncident, known_labels: frozenset[str], active_policy: ActivePolicy
) -> bool:
    """Return True if the issue's state or labels differ from what is stored, although it was not updated."""
    managed_labels = own_labels(active_policy.policy.labels)
    closed = stored.incident.closed_at is not None or stored.incident.disputed_closing is not None
    return (issue.get("state") == "closed") is not closed or labels_of(
        issue
    ) & managed_labels != known_labels & managed_labels


@dataclass(frozen=True, slots=True)
class IssueSyncResult:
    """How many events were missing, and whether the stored incident was replaced by a replay of its log."""

    missing_events: int
    repaired_from_log: bool


def sync_issue(
    ctx: WorkerContext,
    repository: Repository,
    active_policy: ActivePolicy,
    issue: IssueJson,
    fetched_at: datetime,
    *,
    check_log: bool = False,
) -> IssueSyncResult:
    """Compare an incident with its issue's full history, apply missing events and repair differences.

    `fetched_at` is when GitHub returned the issue.  `check_log`: also compare the stored incident with a replay of its
    log.

    Raises DeliveryFailed, and NotFound when the issue is unavailable; then nothing is changed.
    """
    incident_key, tracker, now = IncidentKey(repository.id, int(issue["number"])), ctx.tracker(repository), ctx.clock()
    with ctx.database.autocommit() as db:
        stored, known_log = incidents.load_incident(db, incident_key), incidents.load_log(db, incident_key)
    if stored is None:
        return IssueSyncResult(0, repaired_from_log=False)
    is_back = missing_issues.may_return(stored.incident)
    if is_back:
        missing_issues.resume(ctx, incident_key, active_policy, max(now, stored.replayed_until))
    found = [
        *_load_timeline_events(tracker, issue, repository, active_policy, stored),
        *detect_edit(issue, repository.name, active_policy.policy, stored.incident),
    ]
    missing = [one for one in found if not is_known_event(one, known_log) and one.at <= now + _MAX_CLOCK_SKEW]
    missing = _with_roles(ctx, tracker, repository, missing, active_policy)
    labels_seen = LabelsSeen(fetched_at, labels_of(issue))
    stored = apply_events(ctx, incident_key, missing, active_policy, now)
    if stored is None:
        return IssueSyncResult(0, repaired_from_log=False)
    repaired = check_log and _repair_from_log(ctx, incident_key, stored, active_policy, now)
    with ctx.database.transaction() as db:
        current = incidents.lock_incident(db, incident_key) or stored
        policy = fold.policy_of_incident(ctx, incident_key, current, active_policy).policy
        queue_label_update(db, incident_key, current, [labels_seen], policy, now)
    if missing:
        MISSED_TOTAL.labels("issue").inc(len(missing))
    return IssueSyncResult(len(missing) + is_back, repaired)


def _load_timeline_events(
    tracker: Tracker, issue: IssueJson, repository: Repository, active_policy: ActivePolicy, stored: StoredIncident
) -> list[TimedEvent]:
    """Return the events of the issue's timeline, without the opening, which is known.

    Includes those of its postmortem pull request where there may be one.
    """
    number, incident = int(issue["number"]), stored.incident
    _, *found = read_timeline(issue, tracker.timeline(number), repository.name, active_policy.policy)
    if issue.get("state") == "closed" or incident.postmortem_wanted or incident.postmortem is not None:
        pull = tracker.pull_of(postmortem_branches(number))
        if pull is not None:
            found += read_postmortem_events(pull, tracker.timeline(pull.number))
    return found


def _with_roles(
    ctx: WorkerContext, tracker: Tracker, repository: Repository, events: list[TimedEvent], active_policy: ActivePolicy
) -> list[TimedEvent]:
    """Return the events with the roles of their authors.

    An event whose author's role GitHub refuses to give is left out, to be found again by the next comparison.
    """

    def role(login: str, at: datetime) -> Role:
        return ctx.permissions.get_role(tracker, repository.id, login, ctx.clock())

    found: list[TimedEvent] = []
    for one in events:
        try:
            found += with_roles([one], active_policy.policy.labels, role)
        except DeliveryFailed as failed:
            if failed.refusal is None:
                raise
            log.warning("rights not known yet", key=one.event.key, reason=str(failed))
    return found


def _repair_from_log(
    ctx: WorkerContext, incident_key: IncidentKey, stored: StoredIncident, active_policy: ActivePolicy, now: datetime
) -> bool:
    """Replace the stored incident by a replay of its log, and return whether status, labels or grade differed.

    The three decide which labels the issue should carry.
    """
    folded = fold.fold_events(ctx, incident_key, stored, (), active_policy, now, replay_all=True)
    if folded is None or (folded.incident.labels, folded.incident.status, folded.incident.grade) == (
        stored.incident.labels,
        stored.incident.status,
        stored.incident.grade,
    ):
        return False
    log.warning("stored incident differs from a replay of its log", incident=str(incident_key))
    with ctx.database.transaction() as db:
        if incidents.lock_version(db, incident_key) != stored.version:
            return False  # it was changed meanwhile, and is compared again later
        fold.save_fold(db, incident_key, folded, now)
    return True
