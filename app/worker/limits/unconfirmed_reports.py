"""Limit how many unconfirmed reports may notify people (M30): 200 reports must not page 200 times.

A single report is trusted, regardless of its author: its page is sent at once.  When a repository has many reports that
no user with triage rights has confirmed, the first ones page and one digest comment lists all others.  Rights are the
role that GitHub's permission endpoint reports.
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
from app.ports import Comment, DeliveryFailed, IncidentKey, NotFound, Tracker
from app.render import render_digest
from app.store import incidents, outbox, unconfirmed_reports
from app.store.database import Db
from app.worker.context import WorkerContext
from app.worker.limits import comment_limit
from app.worker.limits.comment_limit import Throttled

log = structlog.get_logger()


def admit_or_throttle(
    ctx: WorkerContext, tracker: Tracker, incident_key: IncidentKey, incident: Incident, key: str, channel: str = ""
) -> None:
    """Return if the incident may notify people, else raise Throttled: too many unconfirmed reports did lately.

    `key` is that of the first notice, `channel` the name of the channel that carries it; empty: a comment.  What one
    channel gets about unconfirmed incidents is limited, too, but for the first notice of each.
    """
    if noise_limits.is_confirmed(incident) or not incident.opened_by:
        return
    if _admit_report(ctx, tracker, incident_key, incident.opened_by, key):
        _admit_message(ctx, tracker, incident_key, incident.opened_by, key, channel)


def _admit_message(
    ctx: WorkerContext, tracker: Tracker, incident_key: IncidentKey, login: str, key: str, channel: str
) -> None:
    """Return if the channel may carry one more notice of an unconfirmed incident, else raise Throttled."""
    now = ctx.clock()
    with ctx.database.autocommit() as db:  # the common path: without the lock, as below
        known = unconfirmed_reports.list_message_keys(db, incident_key, channel)
        if not known or key in known:
            unconfirmed_reports.record_message(db, incident_key, channel, key, now)
            return
    with ctx.database.transaction() as db:
        unconfirmed_reports.lock_repository(db, incident_key.repo_id)
        since = now - noise_limits.UNCONFIRMED_PERIOD
        times = unconfirmed_reports.list_message_times(db, incident_key.repo_id, channel, since)
        until = noise_limits.next_message_at(times, now)
        if until <= now:
            unconfirmed_reports.record_message(db, incident_key, channel, key, now)
            return
    if not _has_rights(ctx, tracker, incident_key, login, now):
        raise Throttled(until, unconfirmed_reports.UNCONFIRMED_NOTE)


def _admit_report(ctx: WorkerContext, tracker: Tracker, incident_key: IncidentKey, login: str, key: str) -> bool:
    """Return if the incident may notify people, else raise Throttled; False: its author is known to have rights.

    Permissions are looked up only when another unconfirmed incident is close in time.  If GitHub does not return them,
    the incident is admitted: one page too many is better than an incident that is never noticed.
    """
    now, rights = ctx.clock(), dict[str, bool]()
    with (
        ctx.database.autocommit() as db
    ):  # the common path: without the lock, so that incidents do not wait for each other
        if unconfirmed_reports.last_admitted_key(db, incident_key) == key:
            return True  # admitted before, but posting failed afterwards
        unknown = _logins_to_check(
            incident_key,
            login,
            unconfirmed_reports.list_recent(db, incident_key.repo_id, now - noise_limits.UNCONFIRMED_PERIOD, now),
            rights,
        )
    while True:
        rights |= {each: _has_rights(ctx, tracker, incident_key, each, now) for each in unknown}
        if rights.get(login, False):
            return False
        with ctx.database.transaction() as db:
            unconfirmed_reports.lock_repository(db, incident_key.repo_id)
            if unconfirmed_reports.last_admitted_key(db, incident_key) == key:
                return True
            recent = unconfirmed_reports.list_recent(
                db, incident_key.repo_id, now - noise_limits.UNCONFIRMED_PERIOD, now
            )
            if not (unknown := _logins_to_check(incident_key, login, recent, rights)):
                unconfirmed = [each for each in recent if not rights.get(each.login, False)]
                until = _next_notification_at(db, incident_key, login, unconfirmed, key, now)
                break
    if until > now:
        raise Throttled(until, unconfirmed_reports.UNCONFIRMED_NOTE)
    return True


def _logins_to_check(
    incident_key: IncidentKey, login: str, recent: Iterable[noise_limits.UnconfirmedReport], rights: Mapping[str, bool]
) -> set[str]:
    """Return the logins whose rights have to be looked up; none while no other incident is close in time."""
    others = {each.login for each in recent if each.number != incident_key.number}
    return ({login, *others} if others else set()) - rights.keys()


def _next_notification_at(
    db: Db, incident_key: IncidentKey, login: str, recent: list[noise_limits.UnconfirmedReport], key: str, now: datetime
) -> datetime:
    """Return when the incident may notify people: now, or later, in which case the digest lists it."""
    until = noise_limits.next_notification_at(incident_key.number, login, recent, now)
    if until <= now:
        unconfirmed_reports.admit(db, incident_key, login, key, now)
    elif _is_confirmed_now(db, incident_key):
        return now
    elif unconfirmed_reports.throttle(db, incident_key, login, now):
        log.warning("notifications throttled", incident=str(incident_key), until=until.isoformat())
        _queue_digest(db, incident_key, recent, now)
    return until


def _is_confirmed_now(db: Db, incident_key: IncidentKey) -> bool:
    """Return True if the incident was confirmed since it was read.

    Throttling it after that would never be undone, because a confirmation releases only what was throttled before it.
    """
    stored = incidents.lock_incident(db, incident_key)
    return stored is not None and noise_limits.is_confirmed(stored.incident)


def _has_rights(ctx: WorkerContext, tracker: Tracker, incident_key: IncidentKey, login: str, now: datetime) -> bool:
    """Return True if that user may use commands, or if GitHub does not return the permission."""
    try:
        return ctx.permissions.get_role(tracker, incident_key.repo_id, login, now, fail_fast=True) >= RESPONDER
    except DeliveryFailed:
        return True


def is_awaiting_first_notification(ctx: WorkerContext, incident_key: IncidentKey) -> bool:
    """Return True if the incident is throttled and has never notified anyone."""
    with ctx.database.autocommit() as db:
        return unconfirmed_reports.never_notified(db, incident_key)


def digest_key(started_at: datetime) -> str:
    """Return the effect key that the signed marker of a digest carries."""
    return f"digest/{started_at:%Y-%m-%dT%H:%M:%S.%fZ}"


def find_digest(ctx: WorkerContext, incident_key: IncidentKey) -> unconfirmed_reports.UnconfirmedDigest | None:
    """Return the digest that is, or will be, posted on this issue.

    None: the repository has no digest, or has it on another issue.
    """
    with ctx.database.transaction() as db:
        found = unconfirmed_reports.load_digest(db, incident_key.repo_id)
    return found if found is not None and found.incident_key == incident_key else None


def post_or_edit_digest(
    ctx: WorkerContext,
    tracker: Tracker,
    current: unconfirmed_reports.UnconfirmedDigest,
    incident: Incident,
    policy: Policy,
    footer: str,
) -> Comment | None:
    """Post the digest, which notifies the person on call, or edit the posted one to show the newest list.

    Returns the comment if one was posted, None if an existing one was edited.
    """
    now, incident_key = ctx.clock(), current.incident_key
    with ctx.database.transaction() as db:
        throttled_incidents = unconfirmed_reports.list_throttled_incidents(
            db, incident_key.repo_id, current.started_at - noise_limits.UNCONFIRMED_PERIOD, now
        )
    recipients = resolve_recipients(incident, policy, (ON_CALL,), now)
    body = render_digest(throttled_incidents, recipients.people, policy, now, footer=footer)
    if current.comment_id is not None:
        try:
            tracker.edit_comment(current.comment_id, body)
        except NotFound:
            log.warning("digest comment was deleted", incident=str(incident_key))
        return None
    comment = comment_limit.post_comment(ctx, tracker, incident_key, body, (ShowDigest(),))
    record_posted_digest(ctx, current, comment)
    return comment


def record_posted_digest(ctx: WorkerContext, current: unconfirmed_reports.UnconfirmedDigest, comment: Comment) -> None:
    """Record the posted digest comment."""
    with ctx.database.transaction() as db:
        unconfirmed_reports.record_digest_comment(db, current.incident_key, current.started_at, comment.id)


def _queue_digest(
    db: Db, incident_key: IncidentKey, recent: list[noise_limits.UnconfirmedReport], now: datetime
) -> None:
    """Queue an update of the current digest, or start a new one on the incident that notified people last."""
    current = unconfirmed_reports.load_digest(db, incident_key.repo_id)
    if current is None or current.started_at <= now - noise_limits.UNCONFIRMED_PERIOD:
        notifications = [(each.notified_at, each.number) for each in recent if each.notified_at is not None]
        current = unconfirmed_reports.UnconfirmedDigest(
            IncidentKey(incident_key.repo_id, max(notifications)[1]), now, None
        )
        unconfirmed_reports.start_digest(db, current.incident_key, now)
    outbox.add_effects(db, current.incident_key, (ShowDigest(),), now)
