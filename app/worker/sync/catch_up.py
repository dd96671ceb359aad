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

from app.core.events import Left, Role
from app.core.labels import own_labels
from app.core.replay import replay
from app.github import inbound
from app.github.inbound import Happened, Seen
from app.github.incident_history import with_roles
from app.github.timeline import detect_edit, is_known_event, read_postmortem_events, read_timeline
from app.github.tracker import labels_of, parse_time
from app.policy_source.active_policy import InForce
from app.ports import Gone, Lane, Repository, Tracker
from app.store import incidents, outbox, policies, sync_state
from app.store.database import Db
from app.store.incidents import Stored
from app.store.policies import Place
from app.worker.context import Desk
from app.worker.pipeline.ingest import apply_events, compare_labels
from app.worker.sync.missed_deliveries import MISSED_TOTAL
from app.worker.sync.rebuild import rebuild_incident

_MAX_CLOCK_SKEW_INTERVAL = timedelta(minutes=5)
"""The largest difference expected between GitHub's clock and ours."""

IssueJson = Mapping[str, Any]

log = structlog.get_logger()


@dataclass
class Caught:
    """Counts of one catch-up: issues listed and examined, incidents opened and events applied."""

    listed: int = 0
    looked: int = 0
    opened: int = 0
    events: int = 0


def catch_up_repository(
    desk: Desk, repository: Repository, since: datetime, tracked_from: datetime, report_progress: Callable[[str], None]
) -> Caught:
    """Apply what happened in the repository since then, open incidents first.

    Incidents declared before `tracked_from` are ignored: they are older than our first delivery.  Raises DeliveryFailed
    when GitHub does not answer; what was applied by then stays.
    """
    tracker, result, fetched_at = desk.tracker(repository), Caught(), desk.clock()
    with desk.database.transaction() as db:
        policies.mark_policy_stale(
            db, Place.repository(repository.id)
        )  # a push to the policy may have been missed, too
        pulls = sync_state.load_postmortem_pulls(db, repository.id)
    active_policy = desk.policies.load(desk.database, tracker, repository, desk.clock())
    rows = list(tracker.updated_since(since - _MAX_CLOCK_SKEW_INTERVAL))
    result.listed = len(rows)
    open_first = sorted(rows, key=lambda row: (row.get("state") != "open", str(row.get("updated_at"))))
    for row in open_first:
        number = pulls.get(int(row["number"])) if "pull_request" in row else int(row["number"])
        if number is None:
            continue
        try:
            issue = row if number == row["number"] else tracker.issue(number)
            _catch_up_issue(
                desk,
                repository,
                active_policy,
                issue,
                _Since(since, tracked_from, fetched_at, own=number == row["number"]),
                result,
            )
        except Gone:
            log.warning("issue not found during sync", issue=f"{repository.name}#{number}")
    if result.opened or result.events:
        report_progress(f"{repository.name}: {result.opened} incidents and {result.events} events had been missed")
    return result


@dataclass(frozen=True, slots=True)
class _Since:
    """The points in time that limit a catch-up.

    Changes after `last_contact` may be missing here; incidents declared before `tracked_from` are not ours.
    `fetched_at` is when GitHub returned the issue; `is_own_row`: the row is the issue's own, not that of its postmortem
    pull request.
    """

    contact: datetime
    begun: datetime
    asked_at: datetime
    own: bool


def _catch_up_issue(
    desk: Desk, repository: Repository, active_policy: InForce, issue: IssueJson, bounds: _Since, result: Caught
) -> None:
    lane = Lane(repository.id, int(issue["number"]))
    with desk.database.transaction() as db:
        stored = incidents.lock_incident(db, lane)
        (known_labels, _), compared_at = incidents.load_labels(db, lane), sync_state.load_compared_at(db, lane)
    if stored is None:
        if inbound.is_declared({"issue": issue}, active_policy.policy) and was_declared_since(
            desk, repository, active_policy, issue, bounds.begun
        ):
            result.looked += 1
            result.opened += bool(restore_missing_incident(desk, repository, lane))
            _record_comparison(desk, lane, bounds.asked_at)
        return
    # An interrupted catch-up resumes: issues that it already compared are not compared again.
    known_until = max(bounds.contact, compared_at - _MAX_CLOCK_SKEW_INTERVAL) if compared_at else bounds.contact
    if (
        bounds.own
        and parse_time(issue["updated_at"]) <= known_until
        and not _state_or_labels_differ(issue, stored, known_labels, active_policy)
    ):
        return
    result.looked += 1
    result.events += sync_issue(desk, repository, active_policy, issue, bounds.asked_at).events
    _record_comparison(desk, lane, bounds.asked_at)


def _record_comparison(desk: Desk, lane: Lane, at: datetime) -> None:
    with desk.database.transaction() as db:
        sync_state.record_comparison(db, lane, at)


def was_declared_since(
    desk: Desk, repository: Repository, active_policy: InForce, issue: IssueJson, tracked_from: datetime
) -> bool:
    """Return True if an unknown incident was declared since `tracked_from`.

    An old issue may have been declared an incident lately, so its timeline decides.
    """
    if parse_time(issue["created_at"]) >= tracked_from:
        return True
    timeline = desk.tracker(repository).timeline(int(issue["number"]))
    return next(read_timeline(issue, timeline, repository.name, active_policy.policy)).at >= tracked_from


def restore_missing_incident(desk: Desk, repository: Repository, lane: Lane) -> str:
    """Rebuild an incident that is not stored, and return its id."""
    MISSED_TOTAL.labels("issue").inc()
    return rebuild_incident(desk, repository, lane.number, only_if_missing=True)


def _state_or_labels_differ(
    issue: IssueJson, stored: Stored, known_labels: frozenset[str], active_policy: InForce
) -> bool:
    """Return True if the issue's state or labels differ from what is stored, although it was not updated."""
    managed_labels = own_labels(active_policy.policy.labels)
    closed = stored.incident.closed_at is not None
    return (issue.get("state") == "closed") is not closed or labels_of(
        issue
    ) & managed_labels != known_labels & managed_labels


@dataclass(frozen=True, slots=True)
class Looked:
    """How many events were missing, and whether the stored incident was replaced by a replay of its log."""

    events: int
    refolded: bool


def sync_issue(
    desk: Desk,
    repository: Repository,
    active_policy: InForce,
    issue: IssueJson,
    fetched_at: datetime,
    *,
    check_log: bool = False,
) -> Looked:
    """Compare an incident with its issue's full history, apply missing events and repair differences.

    `fetched_at` is when GitHub returned the issue.  `check_log`: also compare the stored incident with a replay of its
    log.

    Raises DeliveryFailed, and NotFound when the issue is unavailable; then nothing is changed.
    """
    lane, tracker, now = Lane(repository.id, int(issue["number"])), desk.tracker(repository), desk.clock()
    with desk.database.transaction() as db:
        stored, known_log = incidents.lock_incident(db, lane), incidents.load_log(db, lane)
    if stored is None:
        return Looked(0, refolded=False)
    found = [
        *_load_timeline_events(tracker, issue, repository, active_policy, stored),
        *detect_edit(issue, repository.name, active_policy.policy, stored.incident),
    ]
    missing = [one for one in found if not is_known_event(one, known_log) and one.at <= now + _MAX_CLOCK_SKEW_INTERVAL]
    missing = _with_roles(desk, tracker, repository, missing, active_policy)
    seen = Seen(fetched_at, labels_of(issue))
    with desk.database.transaction() as db:
        stored = apply_events(db, lane, incidents.lock_incident(db, lane), missing, active_policy, now)
        if stored is None:
            return Looked(0, refolded=False)
        stored, repaired = _repair_from_log(db, lane, stored, active_policy, now) if check_log else (stored, False)
        compare_labels(db, lane, stored, [seen], active_policy.policy, now)
    if missing:
        MISSED_TOTAL.labels("issue").inc(len(missing))
    return Looked(len(missing), repaired)


def end_unavailable_incident(desk: Desk, repository: Repository, active_policy: InForce, lane: Lane) -> None:
    """End the incident without notices, because its issue does not exist any more."""
    now = desk.clock()
    with desk.database.transaction() as db:
        event = Happened(now, Left(key="left/gone", how="gone"))
        apply_events(db, lane, incidents.lock_incident(db, lane), [event], active_policy, now)


def _load_timeline_events(
    tracker: Tracker, issue: IssueJson, repository: Repository, active_policy: InForce, stored: Stored
) -> list[Happened]:
    """Return the events of the issue's timeline, without the opening, which is known.

    Includes those of its postmortem pull request where there may be one.
    """
    number, incident = int(issue["number"]), stored.incident
    _, *found = read_timeline(issue, tracker.timeline(number), repository.name, active_policy.policy)
    if issue.get("state") == "closed" or incident.postmortem_wanted or incident.postmortem is not None:
        pull = tracker.pull_of(f"muster/postmortem-{number}")
        if pull is not None:
            found += read_postmortem_events(pull, tracker.timeline(pull.number))
    return found


def _with_roles(
    desk: Desk, tracker: Tracker, repository: Repository, events: list[Happened], active_policy: InForce
) -> list[Happened]:
    def role(login: str, at: datetime) -> Role:
        return desk.authorities.get_role(tracker, repository.id, login, desk.clock())

    return list(with_roles(events, active_policy.policy.labels, role))


def _repair_from_log(db: Db, lane: Lane, stored: Stored, active_policy: InForce, now: datetime) -> tuple[Stored, bool]:
    """Replace the stored incident by a replay of its log, if status, labels or grade differ.

    The three decide which labels the issue should carry.
    """
    decision = replay(incidents.load_log(db, lane), active_policy.policy, now)
    replayed = decision.incident
    if replayed is None or (replayed.labels, replayed.status, replayed.grade) == (
        stored.incident.labels,
        stored.incident.status,
        stored.incident.grade,
    ):
        return stored, False
    log.warning("stored incident differs from a replay of its log", incident=str(lane))
    incidents.save_incident(db, lane, Stored(replayed, now, stored.board_id, stored.board_url))
    outbox.add_effects(db, lane, decision.effects, now)
    saved = incidents.lock_incident(db, lane)
    fixed = apply_events(db, lane, saved, (), active_policy, now)  # updates its alarms
    return fixed or stored, True
