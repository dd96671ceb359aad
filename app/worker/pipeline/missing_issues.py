"""Look again for an issue that GitHub did not find, before its incident ends.

Absence is not an end: it looks the same when GitHub fails for a moment or access was taken away.  The incident goes on
meanwhile, with its alarms and messages.  It ends when GitHub says that the issue was deleted or transferred, or after
many looks over an hour, and it goes on when the issue is seen again.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from app.core.events import IssueAvailable, IssueUnavailable
from app.core.incident import Incident
from app.github.inbound import TimedEvent, event_key
from app.policy_source.active_policy import ActivePolicy
from app.ports import DeliveryFailed, IncidentKey, NotFound, Repository
from app.store import incidents
from app.worker.context import WorkerContext
from app.worker.pipeline.fold import apply_events, record_event

log = structlog.get_logger()

NOT_FOUND_REASON = "gone"
"""The reason of an incident whose issue was not found for long, without a word of GitHub that says why."""
_SEARCH_PERIOD = timedelta(hours=1)
"""How long an issue is looked for before its incident ends."""
_MIN_LOOKS = 5
"""How often it is looked for in that time, at least."""
_MAX_LOOK_INTERVAL = timedelta(hours=2)
"""Two looks further apart than this belong to different absences."""


def look_for_issue(ctx: WorkerContext, incident_key: IncidentKey) -> None:
    """Ask GitHub for the issue, after a write on it was answered with "not found"."""
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
    if repository is None:
        return
    try:
        ctx.tracker(repository).issue(incident_key.number)
    except NotFound as absent:
        record_absence(ctx, incident_key, absent.proof)
    except DeliveryFailed:
        return
    else:
        with ctx.database.single_statement() as db:
            incidents.clear_absence(db, incident_key)


def record_absence(ctx: WorkerContext, incident_key: IncidentKey, proof: str) -> bool:
    """Record that GitHub did not find the issue; return True if that ended the incident.

    `proof` is GitHub's own word, `deleted` or `transferred`; empty: it only did not find the issue.
    """
    now = ctx.clock()
    with ctx.database.single_statement() as db:
        absence = incidents.record_absence(db, incident_key, now, _MAX_LOOK_INTERVAL)
    if absence is None:
        return False  # the incident has ended already
    if not proof and (absence.looks < _MIN_LOOKS or now - absence.since < _SEARCH_PERIOD):
        log.warning("issue not found", incident=str(incident_key), looks=absence.looks, since=absence.since.isoformat())
        return False
    reason = proof or NOT_FOUND_REASON
    log.error("issue unavailable", incident=str(incident_key), reason=reason)
    unavailable = IssueUnavailable(key=event_key(f"left/{reason}", now), reason=reason)
    record_event(ctx, incident_key, (TimedEvent(now, unavailable),))
    with ctx.database.single_statement() as db:
        incidents.mark_labels_stale(db, incident_key)  # so that any delivery counts as a sign of the issue
    return True


def may_return(incident: Incident) -> bool:
    """Return True if the incident ended because its issue was not found, so a sign of the issue brings it back."""
    return incident.unavailable == NOT_FOUND_REASON


def resume_if_found(
    ctx: WorkerContext, repository: Repository, incident_key: IncidentKey, active: ActivePolicy, at: datetime
) -> None:
    """Ask GitHub for an issue that was given up, and let its incident go on from `at` if it is there.

    Raises DeliveryFailed if GitHub cannot be asked now.
    """
    try:
        ctx.tracker(repository).issue(incident_key.number)
    except NotFound:
        return
    resume(ctx, incident_key, active, at)


def resume(ctx: WorkerContext, incident_key: IncidentKey, active: ActivePolicy, at: datetime) -> None:
    """Let an incident go on from `at`, because its issue was seen again."""
    log.info("issue seen again", incident=str(incident_key))
    with ctx.database.single_statement() as db:
        incidents.clear_absence(db, incident_key)
    returned = TimedEvent(at, IssueAvailable(key=event_key("returned/seen", at)))
    apply_events(ctx, incident_key, (returned,), active, ctx.clock())
