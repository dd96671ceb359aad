"""Carrying out what was decided: once, in order, and with a look first where an earlier attempt may have got through."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import structlog

from app.core.effects import (
    Assign,
    Effect,
    Help,
    Notice,
    OpenPostmortem,
    Page,
    React,
    Remind,
    Reply,
    SetLabels,
    ShowBoard,
)
from app.core.events import Left, PostmortemOpened
from app.core.incident import Incident
from app.core.labels import managed
from app.core.policy import Policy
from app.github.history import event_links
from app.github.inbound import Happened, pull_key
from app.ports import Comment, DeliveryFailed, Gone, Lane, NewFile, Tracker
from app.render import board, help_reply, notice, postmortem, reply
from app.store import incidents, outbox
from app.store.outbox import Order
from app.worker import memory
from app.worker.desk import Desk
from app.worker.take import happened

log = structlog.get_logger()

_MOST_TRIES = 8
_LONGEST_WAIT = 900.0
"""Seconds between two tries at most; each wait is twice the one before."""
_CLOCKS_APART = timedelta(minutes=5)
"""How far GitHub's clock and ours may differ when a comment of ours is looked for."""


@dataclass(frozen=True)
class _Work:
    """One incident whose orders are carried out."""

    desk: Desk
    lane: Lane
    tracker: Tracker
    incident: Incident
    policy: Policy
    board_id: int | None
    board_url: str

    def links(self) -> dict[str, str]:
        """Where things that were said can be seen, by their keys; the board by the name `board`."""
        with self.desk.database.transaction() as db:
            return {**outbox.links(db, self.lane), "board": self.board_url}

    def marker(self, content: Mapping[str, Any]) -> str:
        return self.desk.signer.marker(self.lane, content)

    def marked(self, keys: Sequence[str], since: Order) -> Comment | None:
        """A comment of ours that carries one of those keys already."""
        for comment in self.tracker.comments(self.lane.number, since.created_at - _CLOCKS_APART):
            content = self.desk.signer.read(self.lane, comment)
            if content is not None and set(keys) & set(content.get("keys", ())):
                return comment
        return None


def perform(desk: Desk, lane: Lane) -> None:
    """Carry out what waits for this incident.  What fails is tried later, or set aside for a person."""
    while True:
        with desk.database.transaction() as db:
            orders = outbox.undone(db, lane, desk.clock())
        if not orders or not _next(desk, lane, _bundle(orders)):
            return


def _bundle(orders: Sequence[Order]) -> Sequence[Order]:
    """What is carried out next: one order, or all notices that wait, which become one comment."""
    first = orders[0]
    if not isinstance(first.effect, Notice):
        return orders[:1]
    return [order for order in orders if isinstance(order.effect, Notice) and order.tried == first.tried]


def _next(desk: Desk, lane: Lane, orders: Sequence[Order]) -> bool:
    """Carry out one bundle; False when the rest has to wait."""
    with desk.database.transaction() as db:
        stored = incidents.load(db, lane)
        repository = incidents.repository(db, lane.repo_id)
        if stored is None or repository is None or stored.incident.left:
            for order in orders:
                outbox.done(db, order, state="moot")
            return True
        outbox.trying(db, orders)
    tracker = desk.tracker(repository)
    policy = desk.policies.of(desk.database, tracker, repository, desk.clock()).policy
    work = _Work(desk, lane, tracker, stored.incident, policy, stored.board_id, stored.board_url)
    desk.failpoints.reach("before_post")
    try:
        url = _carry_out(work, orders)
    except DeliveryFailed as failed:
        return _failed(desk, lane, orders, failed)
    desk.failpoints.reach("after_post_before_mark")
    with desk.database.transaction() as db:
        for order in orders:
            outbox.done(db, order, url or "", state="moot" if url is None else "done")
    desk.failpoints.reach("after_mark")
    return True


def _carry_out(work: _Work, orders: Sequence[Order]) -> str | None:
    """Do it; the URL of what was said, empty where there is none, None where nothing was left to say."""
    if isinstance(orders[0].effect, Notice):
        return _notify(work, orders)
    return _WAYS[type(orders[0].effect)](work, orders[0])


def _notify(work: _Work, orders: Sequence[Order]) -> str | None:
    """One comment for everybody who has to act now; what has been answered in the meantime is not asked again."""
    keys = [order.key for order in orders]
    if orders[0].tried and (there := work.marked(keys, orders[0])):
        return there.url
    waiting = [
        order.effect for order in orders if isinstance(order.effect, Notice) and _stands(order.effect, work.incident)
    ]
    if not waiting:
        return None
    footer = work.marker({"keys": keys})
    body = notice(waiting, work.incident, work.policy, work.desk.clock(), links=work.links(), footer=footer)
    return work.tracker.comment(work.lane.number, body).url


def _stands(effect: Notice, incident: Incident) -> bool:
    """Whether it still has to be asked."""
    if isinstance(effect, Page):
        return incident.paging
    if isinstance(effect, Remind):
        return incident.status.open and not (
            effect.clock == "update" and (incident.updated_at or effect.at) > effect.at
        )
    return incident.status.open


def _reply(work: _Work, order: Order) -> str:
    if order.tried and (there := work.marked([order.key], order)):
        return there.url
    footer = work.marker({"keys": [order.key]})
    effect = order.effect
    if isinstance(effect, Help):
        body = help_reply(effect, work.incident, work.policy, footer=footer)
    else:
        assert isinstance(effect, Reply)
        body = reply(effect, footer=footer)
    return work.tracker.comment(work.lane.number, body).url


def _set_labels(work: _Work, order: Order) -> str:
    assert isinstance(order.effect, SetLabels)
    with work.desk.database.transaction() as db:
        carried = incidents.labels(db, work.lane)
    should, own = order.effect.labels, managed(work.policy.labels)
    work.tracker.set_labels(work.lane.number, add=should - carried, remove=(carried & own) - should)
    with work.desk.database.transaction() as db:
        # What GitHub tells of our own change, in the same second, is older than what we know.
        incidents.saw_labels(db, work.lane, (carried - own) | should, work.desk.clock() + timedelta(seconds=1))
    return ""


def _show_board(work: _Work, order: Order) -> str:
    """Edited in place; posted anew only where there is none (any more)."""
    footer = work.marker(memory.content(work.incident))
    body = board(work.incident, work.policy, work.desk.clock(), links=work.links(), footer=footer)
    comment = work.board_id
    if comment is None and order.tried:
        there = work.marked([memory.BOARD], order)
        comment = there.id if there else None
        _found_board(work, there)
    if comment is not None:
        try:
            work.tracker.edit_comment(comment, body)
        except Gone:
            _found_board(work, None)
        else:
            return ""
    posted = work.tracker.comment(work.lane.number, body)
    _found_board(work, posted)
    return posted.url


def _found_board(work: _Work, comment: Comment | None) -> None:
    with work.desk.database.transaction() as db:
        incidents.posted_board(db, work.lane, comment.id if comment else None, comment.url if comment else "")


def _react(work: _Work, order: Order) -> str:
    assert isinstance(order.effect, React)
    work.tracker.react(order.effect.comment)
    return ""


def _assign(work: _Work, order: Order) -> str:
    assert isinstance(order.effect, Assign)
    work.tracker.assign(work.lane.number, order.effect.login)
    return ""


def _open_postmortem(work: _Work, order: Order) -> str:
    """The pull request, wherever an earlier attempt got stuck."""
    anywhere = {entry.key: work.incident.url for entry in work.incident.timeline}
    links = {**anywhere, **event_links(work.tracker.timeline(work.lane.number), work.incident.url), **work.links()}
    document = postmortem(work.incident, work.policy, links=links, now=work.desk.clock())
    pull = work.tracker.pull_of(document.branch) if order.tried else None
    if pull is None:
        reviewers = tuple(
            dict.fromkeys(
                (*work.policy.people_of(work.policy.postmortem.reviewers), *filter(None, (work.incident.commander,)))
            )
        )
        file = NewFile(
            branch=document.branch,
            path=document.path,
            text=document.text,
            message=document.commit_message,
            title=document.pull_title,
            body=document.pull_body,
        )
        pull = work.tracker.propose(file, reviewers)
    event = PostmortemOpened(by=pull.by, key=pull_key(pull.number, "opened"), url=pull.url, pull=pull.number)
    happened(work.desk, work.lane, (Happened(pull.created_at, event),))
    return pull.url


_WAYS: dict[type[Effect], Callable[[_Work, Order], str | None]] = {
    Reply: _reply,
    Help: _reply,
    SetLabels: _set_labels,
    ShowBoard: _show_board,
    React: _react,
    Assign: _assign,
    OpenPostmortem: _open_postmortem,
}


def _failed(desk: Desk, lane: Lane, orders: Sequence[Order], failed: DeliveryFailed) -> bool:
    """Later, or never.  A later one holds back the rest of the incident, so that things are said in their order."""
    now = desk.clock()
    never = failed.retry_after is None or orders[0].attempts + 1 >= _MOST_TRIES
    log.warning(
        "not delivered", incident=str(lane), keys=[order.key for order in orders], never=never, reason=str(failed)
    )
    with desk.database.transaction() as db:
        for order in orders:
            if never:
                outbox.dead(db, order, str(failed))
            else:
                wait = min(_LONGEST_WAIT, max(failed.retry_after or 0.0, 2.0**order.attempts))
                outbox.later(
                    db, order, now + timedelta(seconds=wait), str(failed), uncertain=failed.uncertain or order.tried
                )
    if isinstance(failed, Gone) and not isinstance(orders[0].effect, (React, Assign)):
        _look_for_issue(desk, lane)
    return never


def _look_for_issue(desk: Desk, lane: Lane) -> None:
    """The issue may have been deleted or transferred without a word to us: then the incident ends quietly."""
    with desk.database.transaction() as db:
        repository = incidents.repository(db, lane.repo_id)
    if repository is None:
        return
    try:
        desk.tracker(repository).issue(lane.number)
    except Gone:
        now = desk.clock()
        happened(desk, lane, (Happened(now, Left(key="left/gone", how="gone")),))
    except DeliveryFailed:
        return
