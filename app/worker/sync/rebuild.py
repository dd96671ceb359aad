"""Rebuild an incident's stored state from GitHub alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.core.commands.postmortem import open_postmortem
from app.core.effects import Effect, Help, Notice, PolicyFaultNotice, Reply, RetryRefused
from app.core.events import Commented, Role
from app.core.incident import Incident
from app.core.noise_limits import comment_budget_of_keys
from app.core.notice_relevance import still_relevant
from app.github.board_state import find_board, restore_events, role_at, trusts_transition
from app.github.inbound import TimedEvent
from app.github.incident_history import load_history, with_roles
from app.github.timeline import list_past_assignees
from app.github.tracker import labels_of
from app.policy_source.active_policy import ActivePolicy
from app.ports import Comment, IncidentKey, PullRequest, Repository
from app.store import channel_outbox, comment_log, inbox, incidents, outbox
from app.store.database import Db
from app.worker.context import WorkerContext
from app.worker.pipeline import fold

MAX_REPLY_AGE = timedelta(minutes=10)
"""Commands older than this get no reply after a rebuild.

Their reply may have been dropped on purpose: when an issue has reached its comment limit, a reply to one person is
not deferred.  GitHub does not show which case it was.
"""


def rebuild_incident(ctx: WorkerContext, repository: Repository, number: int, *, only_if_missing: bool = False) -> str:
    """Restore one incident and return its id; empty if the issue is no incident.

    `only_if_missing`: do nothing if it is stored already, even if another process stored it meanwhile.  Notices found
    on GitHub count as posted; the others are queued in the outbox again.  Raises DeliveryFailed, and NotFound when the
    issue is unavailable; then nothing is changed.
    """
    incident_key, tracker, now = IncidentKey(repository.id, number), ctx.tracker(repository), ctx.clock()
    active_policy = ctx.policies.load(ctx.database, tracker, repository, now)
    history = load_history(tracker, tracker.issue(number), repository.name, active_policy.policy)
    comments = tracker.comments(number)
    own_comments = [(comment, marker) for comment in comments if (marker := ctx.signer.read(incident_key, comment))]
    board, board_state = find_board(own_comments)
    board_written_at = (board.updated_at or board.created_at) if board is not None else None

    def role(login: str, at: datetime) -> Role:
        known = role_at(board_state, login, at)
        return ctx.permissions.get_role(tracker, repository.id, login, ctx.clock()) if known is None else known

    def is_trusted(timed_event: TimedEvent) -> bool:
        return trusts_transition(board_state, board_written_at, timed_event)

    restored = restore_events(history.events, board_state)
    events = list(with_roles(restored, active_policy.policy.labels, role, is_trusted=is_trusted))
    folded = fold.fold_events(ctx, incident_key, None, events, active_policy, now)
    with ctx.database.transaction() as db:
        incidents.save_repository(db, repository)
        if not only_if_missing:
            incidents.delete_incident(db, incident_key)
            inbox.requeue_deliveries_since(db, incident_key, now)
        elif (existing := incidents.lock_incident(db, incident_key)) is not None:
            return existing.incident.id
        if board_state is not None:
            incidents.reserve_incident_id(db, incident_key.repo_id, board_state.id)
        if folded is None:
            return ""
        stored = fold.save_fold(db, incident_key, folded, now)
        incidents.record_labels(db, incident_key, labels_of(history.issue), now)
        if board is not None:
            incidents.record_board(db, incident_key, board.id, board.url)
            outbox.complete_by_key(db, incident_key, "show/board", board.url)
        for comment, marker in own_comments:
            budget = comment_budget_of_keys([str(key) for key in marker.get("keys", ())])
            comment_log.record_write(db, incident_key, "comment", comment.id, comment.created_at, budget)
            _mark_posted_effects(db, incident_key, comment, marker, active_policy)
        _mark_completed_effects(db, incident_key, comments, events, list_past_assignees(history.timeline), history.pull)
        expired_commands = [one for one in events if isinstance(one.event, Commented) and one.at < now - MAX_REPLY_AGE]
        _skip_stale_effects(db, incident_key, stored.incident, active_policy, expired_commands, now)
        channel_outbox.skip_messages_of_finished_notices(db, incident_key)
        return stored.incident.id


def _mark_posted_effects(
    db: Db, incident_key: IncidentKey, comment: Comment, marker: Mapping[str, Any], active_policy: ActivePolicy
) -> None:
    for key in map(str, marker.get("keys", ())):
        if key.startswith("policy/"):
            # No event of the incident creates this effect, so it has to be queued here.
            outbox.add_effects(
                db,
                incident_key,
                (PolicyFaultNotice(key=key, to=(), at=comment.created_at, faults=()),),
                comment.created_at,
            )
            for problem in active_policy.problems:
                if problem.notice_key == key:
                    problem.mark_reported(db)
        outbox.complete_by_key(db, incident_key, key, comment.url)


def _mark_completed_effects(
    db: Db,
    incident_key: IncidentKey,
    comments: Sequence[Comment],
    events: Sequence[TimedEvent],
    assignees: frozenset[str],
    pull: PullRequest | None,
) -> None:
    reacted = {comment.id for comment in comments if comment.reactions}
    for one in events:
        if isinstance(one.event, Commented) and one.event.comment in reacted:
            outbox.complete_by_key(db, incident_key, f"react/{one.event.key}", "")
        if one.event.by in assignees:
            outbox.complete_by_key(db, incident_key, f"assign/{one.event.key}", "")
    if pull is not None:
        # A rebuild replays in another order, in which the log may not request it.
        outbox.add_effects(db, incident_key, (open_postmortem(),), pull.created_at)
        outbox.complete_by_key(db, incident_key, "postmortem", pull.url)


def _skip_stale_effects(
    db: Db,
    incident_key: IncidentKey,
    incident: Incident,
    active_policy: ActivePolicy,
    expired_commands: Sequence[TimedEvent],
    now: datetime,
) -> None:
    """Skip queued effects that are no longer relevant.

    `expired_commands`: commands so old that their authors expect no reply any more.
    """
    expired_keys = {f"{kind}/{one.event.key}" for one in expired_commands for kind in ("reply", "help")}
    expired_keys |= {f"reply/rights/{one.event.by}" for one in expired_commands}

    def is_relevant(effect: Effect) -> bool:
        if isinstance(effect, Reply | Help):
            return effect.key not in expired_keys
        return not isinstance(effect, Notice) or (
            not incident.unavailable and still_relevant(effect, incident, active_policy.notice_keys, now)
        )

    for item in outbox.list_unfinished(db, incident_key, now):
        if isinstance(item.effect, RetryRefused):
            outbox.complete(db, item)  # nothing has been refused since the rebuild
        elif not is_relevant(item.effect):
            outbox.complete(db, item, state="skipped")
