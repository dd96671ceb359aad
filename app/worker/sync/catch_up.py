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
    desk: Desk, repository: Repository, since: datetime, begun: datetime, say: Callable[[str], None]
) -> Caught:
    """Apply what happened in the repository since then, open incidents first.

    Incidents declared before `tracked_from` are ignored: they are older than our first delivery.  Raises DeliveryFailed
    when GitHub does not answer; what was applied by then stays.
    """
    tracker, caught, asked_at = desk.tracker(repository), Caught(), desk.clock()
    with desk.database.transaction() as db:
        policies.mark_policy_stale(
            db, Place.repository(repository.id)
        )  # a push to the policy may have been missed, too
        pulls = sync_state.load_postmortem_pulls(db, repository.id)
    force = desk.policies.load(desk.database, tracker, repository, desk.clock())
    rows = list(tracker.updated_since(since - _MAX_CLOCK_SKEW_INTERVAL))
    caught.listed = len(rows)
    open_first = sorted(rows, key=lambda row: (row.get("state") != "open", str(row.get("updated_at"))))
    for row in open_first:
        number = pulls.get(int(row["number"])) if "pull_request" in row else int(row["number"])
        if number is None:
            continue
        try:
            issue = row if number == row["number"] else tracker.issue(number)
            _catch_up_issue(
                desk, repository, force, issue, _Since(since, begun, asked_at, own=number == row["number"]), caught
            )
        except Gone:
            log.warning("issue not found during sync", issue=f"{repository.name}#{number}")
    if caught.opened or caught.events:
        say(f"{repository.name}: {caught.opened} incidents and {caught.events} events had been missed")
    return caught


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
    desk: Desk, repository: Repository, force: InForce, issue: IssueJson, since: _Since, caught: Caught
) -> None:
    lane = Lane(repository.id, int(issue["number"]))
    with desk.database.transaction() as db:
        stored = incidents.lock_incident(db, lane)
        (carried, _), at = incidents.load_labels(db, lane), sync_state.load_compared_at(db, lane)
    if stored is None:
        if inbound.is_declared({"issue": issue}, force.policy) and was_declared_since(
            desk, repository, force, issue, since.begun
        ):
            caught.looked += 1
            caught.opened += bool(restore_missing_incident(desk, repository, lane))
            _record_comparison(desk, lane, since.asked_at)
        return
    # An interrupted catch-up resumes: issues that it already compared are not compared again.
    known_to = max(since.contact, at - _MAX_CLOCK_SKEW_INTERVAL) if at else since.contact
    if (
        since.own
        and parse_time(issue["updated_at"]) <= known_to
        and not _state_or_labels_differ(issue, stored, carried, force)
    ):
        return
    caught.looked += 1
    caught.events += sync_issue(desk, repository, force, issue, since.asked_at).events
    _record_comparison(desk, lane, since.asked_at)


def _record_comparison(desk: Desk, lane: Lane, at: datetime) -> None:
    with desk.database.transaction() as db:
        sync_state.record_comparison(db, lane, at)


def was_declared_since(desk: Desk, repository: Repository, force: InForce, issue: IssueJson, begun: datetime) -> bool:
    """Return True if an unknown incident was declared since `tracked_from`.

    An old issue may have been declared an incident lately, so its timeline decides.
    """
    if parse_time(issue["created_at"]) >= begun:
        return True
    timeline = desk.tracker(repository).timeline(int(issue["number"]))
    return next(read_timeline(issue, timeline, repository.name, force.policy)).at >= begun


def restore_missing_incident(desk: Desk, repository: Repository, lane: Lane) -> str:
    """Rebuild an incident that is not stored, and return its id."""
    MISSED_TOTAL.labels("issue").inc()
    return rebuild_incident(desk, repository, lane.number, missing=True)


def _state_or_labels_differ(issue: IssueJson, stored: Stored, carried: frozenset[str], force: InForce) -> bool:
    """Return True if the issue's state or labels differ from what is stored, although it was not updated."""
    own = own_labels(force.policy.labels)
    closed = stored.incident.closed_at is not None
    return (issue.get("state") == "closed") is not closed or labels_of(issue) & own != carried & own


@dataclass(frozen=True, slots=True)
class Looked:
    """How many events were missing, and whether the stored incident was replaced by a replay of its log."""

    events: int
    refolded: bool


def sync_issue(
    desk: Desk, repository: Repository, force: InForce, issue: IssueJson, asked_at: datetime, *, refold: bool = False
) -> Looked:
    """Compare an incident with its issue's full history, apply missing events and repair differences.

    `fetched_at` is when GitHub returned the issue.  `check_log`: also compare the stored incident with a replay of its
    log.

    Raises DeliveryFailed, and NotFound when the issue is unavailable; then nothing is changed.
    """
    lane, tracker, now = Lane(repository.id, int(issue["number"])), desk.tracker(repository), desk.clock()
    with desk.database.transaction() as db:
        stored, log_of = incidents.lock_incident(db, lane), incidents.load_log(db, lane)
    if stored is None:
        return Looked(0, refolded=False)
    found = [
        *_load_timeline_events(tracker, issue, repository, force, stored),
        *detect_edit(issue, repository.name, force.policy, stored.incident),
    ]
    fresh = [one for one in found if not is_known_event(one, log_of) and one.at <= now + _MAX_CLOCK_SKEW_INTERVAL]
    fresh = _with_roles(desk, tracker, repository, fresh, force)
    seen = Seen(asked_at, labels_of(issue))
    with desk.database.transaction() as db:
        stored = apply_events(db, lane, incidents.lock_incident(db, lane), fresh, force, now)
        if stored is None:
            return Looked(0, refolded=False)
        stored, refolded = _repair_from_log(db, lane, stored, force, now) if refold else (stored, False)
        compare_labels(db, lane, stored, [seen], force.policy, now)
    if fresh:
        MISSED_TOTAL.labels("issue").inc(len(fresh))
    return Looked(len(fresh), refolded)


def end_unavailable_incident(desk: Desk, repository: Repository, force: InForce, lane: Lane) -> None:
    """End the incident without notices, because its issue does not exist any more."""
    now = desk.clock()
    with desk.database.transaction() as db:
        left = Happened(now, Left(key="left/gone", how="gone"))
        apply_events(db, lane, incidents.lock_incident(db, lane), [left], force, now)


def _load_timeline_events(
    tracker: Tracker, issue: IssueJson, repository: Repository, force: InForce, stored: Stored
) -> list[Happened]:
    """Return the events of the issue's timeline, without the opening, which is known.

    Includes those of its postmortem pull request where there may be one.
    """
    number, incident = int(issue["number"]), stored.incident
    _, *found = read_timeline(issue, tracker.timeline(number), repository.name, force.policy)
    if issue.get("state") == "closed" or incident.postmortem_wanted or incident.postmortem is not None:
        pull = tracker.pull_of(f"muster/postmortem-{number}")
        if pull is not None:
            found += read_postmortem_events(pull, tracker.timeline(pull.number))
    return found


def _with_roles(
    desk: Desk, tracker: Tracker, repository: Repository, fresh: list[Happened], force: InForce
) -> list[Happened]:
    def role(login: str, at: datetime) -> Role:
        return desk.authorities.get_role(tracker, repository.id, login, desk.clock())

    return list(with_roles(fresh, force.policy.labels, role))


def _repair_from_log(db: Db, lane: Lane, stored: Stored, force: InForce, now: datetime) -> tuple[Stored, bool]:
    """Replace the stored incident by a replay of its log, if status, labels or grade differ.

    The three decide which labels the issue should carry.
    """
    decision = replay(incidents.load_log(db, lane), force.policy, now)
    again = decision.incident
    if again is None or (again.labels, again.status, again.grade) == (
        stored.incident.labels,
        stored.incident.status,
        stored.incident.grade,
    ):
        return stored, False
    log.warning("stored incident differs from a replay of its log", incident=str(lane))
    incidents.save_incident(db, lane, Stored(again, now, stored.board_id, stored.board_url))
    outbox.add_effects(db, lane, decision.effects, now)
    kept = incidents.lock_incident(db, lane)
    fixed = apply_events(db, lane, kept, (), force, now)  # updates its alarms
    return fixed or stored, True
