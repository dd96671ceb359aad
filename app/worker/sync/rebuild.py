"""Rebuild an incident's stored state from GitHub alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.core.commands.postmortem import wanted
from app.core.effects import Effect, Help, Mend, Notice, Reply
from app.core.events import Role, Said
from app.core.incident import Incident
from app.core.notice_relevance import stands
from app.github.board_state import board_of, recollected, remembered
from app.github.inbound import Happened
from app.github.incident_history import told, with_rights
from app.github.timeline import assigned
from app.github.tracker import labels_of
from app.policy_source.active_policy import InForce
from app.ports import Comment, Lane, Pull, Repository
from app.store import channel_outbox, comment_log, inbox, incidents, outbox
from app.store.database import Db
from app.worker.context import Desk
from app.worker.pipeline.ingest import advance

MAX_REPLY_AGE = timedelta(minutes=10)
"""Commands older than this get no reply after a rebuild.

Their reply may have been dropped on purpose: when an issue has reached its comment limit, a reply to one person is
not deferred.  GitHub does not show which case it was.
"""


def rebuild(desk: Desk, repository: Repository, number: int, *, missing: bool = False) -> str:
    """Restore one incident and return its id; empty if the issue is no incident.

    `only_if_missing`: do nothing if it is stored by now, even if another process was faster.  Notices found on GitHub
    count as posted; the others are queued in the outbox again.  Raises DeliveryFailed, and NotFound when the issue is
    unavailable; then nothing is changed.
    """
    lane, tracker, now = Lane(repository.id, number), desk.tracker(repository), desk.clock()
    force = desk.policies.of(desk.database, tracker, repository, now)
    found, comments = told(tracker, tracker.issue(number), repository.name, force.policy), tracker.comments(number)
    ours = [(comment, marker) for comment in comments if (marker := desk.signer.read(lane, comment))]
    board, recalled = board_of(ours)

    def role(login: str, at: datetime) -> Role:
        known = remembered(recalled, login, at)
        return desk.authorities.of(tracker, repository.id, login, desk.clock()) if known is None else known

    happened = list(with_rights(recollected(found.happened, recalled), force.policy.labels, role))
    with desk.database.transaction() as db:
        incidents.remember_repository(db, repository)
        if not missing:
            incidents.forget(db, lane)
            inbox.take_again_since(db, lane, now)
        elif (there := incidents.locked(db, lane)) is not None:
            return there.incident.id
        if recalled is not None:
            incidents.reserve_id(db, lane.repo_id, recalled.id)
        stored = advance(db, lane, None, happened, force, now)
        if stored is None:
            return ""
        incidents.saw_labels(db, lane, labels_of(found.issue), now)
        if board is not None:
            incidents.posted_board(db, lane, board.id, board.url)
            outbox.said(db, lane, "show/board", board.url)
        for comment, marker in ours:
            comment_log.note(db, lane, "comment", comment.id, comment.created_at)
            _already_said(db, lane, comment, marker, force)
        _already_done(db, lane, comments, happened, assigned(found.timeline), found.pull)
        asked = [one for one in happened if isinstance(one.event, Said) and one.at < now - MAX_REPLY_AGE]
        _not_worth_saying(db, lane, stored.incident, force, asked, now)
        channel_outbox.told_before(db, lane)
        return stored.incident.id


def _already_said(db: Db, lane: Lane, comment: Comment, found: Mapping[str, Any], force: InForce) -> None:
    for key in map(str, found.get("keys", ())):
        if key.startswith("policy/"):
            # No event of the incident creates this effect, so it has to be queued here.
            outbox.put(db, lane, (Mend(key=key, to=(), at=comment.created_at, faults=()),), comment.created_at)
            for trouble in force.troubles:
                if trouble.told_as == key:
                    trouble.tell(db)
        outbox.said(db, lane, key, comment.url)


def _already_done(
    db: Db,
    lane: Lane,
    comments: Sequence[Comment],
    happened: Sequence[Happened],
    assignees: frozenset[str],
    pull: Pull | None,
) -> None:
    reacted = {comment.id for comment in comments if comment.reactions}
    for one in happened:
        if isinstance(one.event, Said) and one.event.comment in reacted:
            outbox.said(db, lane, f"react/{one.event.key}", "")
        if one.event.by in assignees:
            outbox.said(db, lane, f"assign/{one.event.key}", "")
    if pull is not None:
        outbox.put(db, lane, (wanted(),), pull.created_at)  # the replay may not request it in this order
        outbox.said(db, lane, "postmortem", pull.url)


def _not_worth_saying(
    db: Db, lane: Lane, incident: Incident, force: InForce, asked: Sequence[Happened], now: datetime
) -> None:
    """Skip queued effects that are no longer relevant.

    `expired_commands`: commands so old that their authors expect no reply any more.
    """
    late = {f"{kind}/{one.event.key}" for one in asked for kind in ("reply", "help")}
    late |= {f"reply/rights/{one.event.by}" for one in asked}

    def worth(effect: Effect) -> bool:
        if isinstance(effect, Reply | Help):
            return effect.key not in late
        return not isinstance(effect, Notice) or (not incident.left and stands(effect, incident, force.told_as))

    for order in outbox.undone(db, lane, now):
        if not worth(order.effect):
            outbox.done(db, order, state="skipped")
