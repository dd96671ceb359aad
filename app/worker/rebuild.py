"""The store again, from GitHub alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from app.core.commands.postmortem import wanted
from app.core.effects import Mend, Notice
from app.core.events import Edited, Opened, Role, Said
from app.core.incident import Incident
from app.github.client import Client
from app.github.history import assigned
from app.github.inbound import Happened
from app.github.past import told, with_rights
from app.github.tracker import labels_of
from app.ports import Comment, Lane, Pull, Repository
from app.store import inbox, incidents, messages, outbox, spoken
from app.store.database import Db
from app.worker import memory
from app.worker.desk import Desk
from app.worker.memory import Memory
from app.worker.perform import stands
from app.worker.policies import InForce
from app.worker.take import advance


def rebuild(desk: Desk, repository: Repository, number: int, *, missing: bool = False) -> str:
    """Restore one incident, and return its id.  `missing`: only if nothing is stored of it, whoever was faster.

    What was said on GitHub counts as said; what was not is put in the outbox again.  Raises DeliveryFailed, and Gone
    when the issue is out of reach; then nothing is changed.
    """
    lane, tracker, now = Lane(repository.id, number), desk.tracker(repository), desk.clock()
    force = desk.policies.of(desk.database, tracker, repository, now)
    found, comments = told(tracker, tracker.issue(number), repository.name, force.policy), tracker.comments(number)
    ours = [(comment, marker) for comment in comments if (marker := desk.signer.read(lane, comment))]
    board, recalled = _board(ours)

    def role(login: str, at: datetime) -> Role:
        remembered = _remembered(recalled, login, at)
        return desk.authorities.of(tracker, repository.id, login, desk.clock()) if remembered is None else remembered

    happened = list(_with_grounds(found.happened, recalled))
    happened = list(with_rights(happened, force.policy.labels, role))
    with desk.database.transaction() as db:
        incidents.remember_repository(db, repository)
        if not missing:
            incidents.forget(db, lane)
            inbox.take_again_since(db, lane, now)
        elif (there := incidents.load(db, lane)) is not None:
            return there.incident.id
        if recalled is not None:
            incidents.reserve_id(db, lane.repo_id, recalled.id)
        stored = advance(db, lane, None, _with_id(db, lane, happened, recalled), force, now)
        if stored is None:
            return ""
        incidents.saw_labels(db, lane, labels_of(found.issue), now)
        if board is not None:
            incidents.posted_board(db, lane, board.id, board.url)
            outbox.said(db, lane, "show/board", board.url)
        for comment, marker in ours:
            spoken.note(db, lane, "comment", comment.id, comment.created_at)
            _already_said(db, lane, comment, marker, force)
        _already_done(db, lane, comments, happened, assigned(found.timeline), found.pull)
        _not_worth_saying(db, lane, stored.incident, force, now)
        messages.told_before(db, lane)
        return stored.incident.id


def repositories(client: Client) -> Iterator[Repository]:
    """Every repository in which this App is installed."""
    for installation in client.installations():
        rows = client.pages(installation, "/installation/repositories", key="repositories")
        for row in rows:
            yield Repository(row["id"], row["full_name"], installation, row.get("default_branch") or "main")


def _board(ours: Sequence[tuple[Comment, Mapping[str, Any]]]) -> tuple[Comment | None, Memory | None]:
    """The newest comment that is the board, and what it remembers."""
    for comment, found in reversed(ours):
        if recalled := memory.recalled(found):
            return comment, recalled
    return None, None


def _with_grounds(happened: Sequence[Happened], recalled: Memory | None) -> Iterator[Happened]:
    """The opening with the answers it was graded by, and each later edit that changed them."""
    for one in happened:
        event = one.event
        if recalled is None or not recalled.grounds or not isinstance(event, Opened):
            yield one
            continue
        first, *later = recalled.grounds
        opening = replace(
            event,
            by=first.by,
            report=memory.as_graded(event.report, first, newest=not later),
            labels=recalled.opened_with,
            adopted=event.adopted and first.at == one.at,
        )
        yield Happened(first.at, opening)
        for ground in later:
            report = memory.as_graded(event.report, ground, newest=ground is later[-1])
            yield Happened(
                ground.at, Edited(by=ground.by, key=ground.key, url=ground.url, title=event.title, report=report)
            )


def _remembered(recalled: Memory | None, login: str, at: datetime) -> Role | None:
    """What the board heard of them at that time; None: nothing."""
    known = [a for a in (recalled.authorities if recalled else ()) if a.login == login and a.at <= at]
    return known[-1].role if known else None


def _with_id(db: Db, lane: Lane, happened: Sequence[Happened], recalled: Memory | None) -> Iterator[Happened]:
    for one in happened:
        if recalled is not None and recalled.id and isinstance(one.event, Opened):
            yield Happened(one.at, replace(one.event, id=recalled.id))
        else:
            yield one


def _already_said(db: Db, lane: Lane, comment: Comment, found: Mapping[str, Any], force: InForce) -> None:
    for key in map(str, found.get("keys", ())):
        if key.startswith("policy/"):
            # No event of the incident's own orders this one.
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
        outbox.put(db, lane, (wanted(),), pull.created_at)  # in the order of a rebuild, the log may not ask for it
        outbox.said(db, lane, "postmortem", pull.url)


def _not_worth_saying(db: Db, lane: Lane, incident: Incident, force: InForce, now: datetime) -> None:
    for order in outbox.undone(db, lane, now):
        if isinstance(order.effect, Notice) and (incident.left or not stands(order.effect, incident, force.told_as)):
            outbox.done(db, order, state="moot")
