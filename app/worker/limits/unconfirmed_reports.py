"""Limit how many unconfirmed reports may notify people (M30): 200 reports must not page 200 times.

A single report is trusted, regardless of its author: its page is sent at once.  When a repository has many reports that
no user with triage rights has confirmed, the first ones page and one digest comment lists all others.  Rights are those
of GitHub's permission endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime

import structlog

from app.core import noise_limits
from app.core.effects import ShowDigest
from app.core.escalation import resolve_recipients
from app.core.events import RESPONDER
from app.core.incident import Incident
from app.core.policy import ON_CALL, Policy
from app.ports import Comment, DeliveryFailed, Gone, Lane, Tracker
from app.render import render_digest
from app.store import incidents, outbox, unconfirmed_reports
from app.store.database import Db
from app.worker.context import Desk
from app.worker.limits import comment_limit
from app.worker.limits.comment_limit import Held

log = structlog.get_logger()


def admit_or_throttle(desk: Desk, tracker: Tracker, lane: Lane, incident: Incident, key: str) -> None:
    """Return if the incident may notify people, else raise Throttled: too many unconfirmed reports did lately.

    `key` is that of the first notice.  Permissions are looked up only when another unconfirmed incident is close in
    time.  If GitHub does not tell them, the incident is admitted: one page too many is better than an incident that is
    never noticed.
    """
    if noise_limits.is_confirmed(incident) or not incident.opened_by:
        return
    now, login, rights = desk.clock(), incident.opened_by, dict[str, bool]()
    with (
        desk.database.autocommit() as db
    ):  # the common path: without the lock, so that incidents do not wait for each other
        if unconfirmed_reports.last_admitted_key(db, lane) == key:
            return  # admitted before, but posting failed afterwards
        unknown = _logins_to_check(
            lane,
            login,
            unconfirmed_reports.list_recent(db, lane.repo_id, now - noise_limits.UNCONFIRMED_PERIOD, now),
            rights,
        )
    while True:
        rights |= {each: _has_rights(desk, tracker, lane, each, now) for each in unknown}
        if rights.get(login, False):
            return
        with desk.database.transaction() as db:
            unconfirmed_reports.lock_repository(db, lane.repo_id)
            if unconfirmed_reports.last_admitted_key(db, lane) == key:
                return
            recent = unconfirmed_reports.list_recent(db, lane.repo_id, now - noise_limits.UNCONFIRMED_PERIOD, now)
            if not (unknown := _logins_to_check(lane, login, recent, rights)):
                unconfirmed = [each for each in recent if not rights.get(each.login, False)]
                until = _next_notification_at(db, lane, login, unconfirmed, key, now)
                break
    if until > now:
        raise Held(until, unconfirmed_reports.UNCONFIRMED_NOTE)


def _logins_to_check(
    lane: Lane, login: str, recent: Iterable[noise_limits.Asking], rights: Mapping[str, bool]
) -> set[str]:
    """Return the logins whose rights have to be looked up; none while no other incident is close in time."""
    others = {each.login for each in recent if each.number != lane.number}
    return ({login, *others} if others else set()) - rights.keys()


def _next_notification_at(
    db: Db, lane: Lane, login: str, recent: list[noise_limits.Asking], key: str, now: datetime
) -> datetime:
    """Return when the incident may notify people: now, or later, in which case the digest lists it."""
    until = noise_limits.next_notification_at(lane.number, login, recent, now)
    if until <= now:
        unconfirmed_reports.admit(db, lane, login, key, now)
    elif _is_confirmed_now(db, lane):
        return now
    elif unconfirmed_reports.throttle(db, lane, login, now):
        log.warning("notifications throttled", incident=str(lane), until=until.isoformat())
        _queue_digest(db, lane, recent, now)
    return until


def _is_confirmed_now(db: Db, lane: Lane) -> bool:
    """Return True if the incident was confirmed since it was read.

    Throttling it after that would never be undone, because a confirmation releases only what was throttled before it.
    """
    stored = incidents.lock_incident(db, lane)
    return stored is not None and noise_limits.is_confirmed(stored.incident)


def _has_rights(desk: Desk, tracker: Tracker, lane: Lane, login: str, now: datetime) -> bool:
    """Return True if that user may use commands, or if GitHub does not tell."""
    try:
        return desk.authorities.get_role(tracker, lane.repo_id, login, now, fail_fast=True) >= RESPONDER
    except DeliveryFailed:
        return True


def is_awaiting_first_notification(desk: Desk, lane: Lane) -> bool:
    """Return True if the incident is throttled and has never notified anyone."""
    with desk.database.autocommit() as db:
        return unconfirmed_reports.never_notified(db, lane)


def digest_key(started_at: datetime) -> str:
    """Return the effect key that the signed marker of a digest carries."""
    return f"digest/{started_at:%Y-%m-%dT%H:%M:%S.%fZ}"


def find_digest(desk: Desk, lane: Lane) -> unconfirmed_reports.Digest | None:
    """Return the digest that is, or will be, posted on this issue.

    None: the repository has no digest, or has it on another issue.
    """
    with desk.database.transaction() as db:
        found = unconfirmed_reports.load_digest(db, lane.repo_id)
    return found if found is not None and found.lane == lane else None


def post_or_edit_digest(
    desk: Desk, tracker: Tracker, current: unconfirmed_reports.Digest, incident: Incident, policy: Policy, footer: str
) -> Comment | None:
    """Post the digest, which notifies the person on call, or edit the posted one to show the newest list.

    Returns the comment if one was posted, None if an existing one was edited.
    """
    now, lane = desk.clock(), current.lane
    with desk.database.transaction() as db:
        waiting = unconfirmed_reports.list_throttled_incidents(
            db, lane.repo_id, current.began_at - noise_limits.UNCONFIRMED_PERIOD, now
        )
    recipients = resolve_recipients(incident, policy, (ON_CALL,), now)
    body = render_digest(waiting, recipients.people, policy, now, footer=footer)
    if current.comment is not None:
        try:
            tracker.edit_comment(current.comment, body)
        except Gone:
            log.warning("digest comment was deleted", incident=str(lane))
        return None
    comment = comment_limit.post_comment(desk, tracker, lane, body, (ShowDigest(),))
    record_posted_digest(desk, current, comment)
    return comment


def record_posted_digest(desk: Desk, current: unconfirmed_reports.Digest, comment: Comment) -> None:
    """Record the posted digest comment."""
    with desk.database.transaction() as db:
        unconfirmed_reports.record_digest_comment(db, current.lane, current.began_at, comment.id)


def _queue_digest(db: Db, lane: Lane, recent: list[noise_limits.Asking], now: datetime) -> None:
    """Queue an update of the current digest, or start one on the issue that notified people last."""
    current = unconfirmed_reports.load_digest(db, lane.repo_id)
    if current is None or current.began_at <= now - noise_limits.UNCONFIRMED_PERIOD:
        notifications = [(each.said_at, each.number) for each in recent if each.said_at is not None]
        current = unconfirmed_reports.Digest(Lane(lane.repo_id, max(notifications)[1]), now, None)
        unconfirmed_reports.start_digest(db, current.lane, now)
    outbox.add_effects(db, current.lane, (ShowDigest(),), now)
