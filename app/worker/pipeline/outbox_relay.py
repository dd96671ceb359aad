"""Outbox relay: sends pending items once and in order, after a search for what an earlier attempt may have sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import structlog

from app.core.effective_policy import policy_for
from app.core.effects import (
    Assign,
    Effect,
    Help,
    Mend,
    Notice,
    OpenPostmortem,
    React,
    Reply,
    SetLabels,
    ShowBoard,
    ShowDigest,
)
from app.core.events import Left
from app.core.incident import Incident
from app.core.labels import own_labels
from app.core.notice_relevance import drop_oldest, still_relevant
from app.core.on_call import reviewers
from app.core.policy import Policy
from app.github import board_state
from app.github.inbound import Happened
from app.github.timeline import event_links, read_postmortem_events
from app.github.tracker import labels_of, parse_time
from app.policy_source.active_policy import InForce
from app.ports import Comment, DeliveryFailed, Gone, Lane, NotYet, Repository, Tracker, Unreached
from app.rate_limit import Urgency
from app.render import render_board, render_help, render_notices, render_postmortem, render_reply
from app.store import incidents, outbox
from app.store.database import Db
from app.store.outbox import Order, Overtaken
from app.worker.context import Desk
from app.worker.limits import comment_limit, unconfirmed_reports
from app.worker.limits.comment_limit import Held
from app.worker.pipeline import board_warnings
from app.worker.pipeline.ingest import record_event
from app.worker.pipeline.lease import Fence
from app.worker.pipeline.retry_policy import MAX_RECONNECT_SECONDS, MAX_RETRY_SECONDS, backoff_seconds, should_give_up

log = structlog.get_logger()

_FIRST_RETRY_SECONDS = 5.0
"""Wait before the second attempt, unless GitHub asks for more.

The second attempt first searches for the result of the first, and GitHub's lists may lag by some seconds (B5).
"""
_FIRST_IDEMPOTENT_RETRY_SECONDS = 2.0
"""Wait before the second attempt of an idempotent effect, which needs no search."""
_ARRIVAL_LEASE_DIVISOR = 2
"""A request without a response may still arrive within a lease period divided by this: 15 s.

GitHub ends requests that take more than 10 s (GitHub's troubleshooting of its REST API, timeouts).
"""
_IDEMPOTENT_EFFECTS = (React, Assign)
"""Idempotent effects: safe to repeat without checking whether an earlier attempt got through."""
_MAX_CLOCK_SKEW = timedelta(minutes=5)
"""Allowed difference between GitHub's clock and ours in the search for our own comments."""


@dataclass(frozen=True)
class _Work:
    """An incident and what is needed to relay its outbox items."""

    desk: Desk
    lane: Lane
    tracker: Tracker
    incident: Incident
    policy: Policy
    board_id: int | None
    board_url: str
    told_as: frozenset[str]
    """Keys of the notices about the current problems of the policy."""

    def links(self) -> dict[str, str]:
        """Return the URL of each posted effect by its key, and that of the board under `board`."""
        with self.desk.database.autocommit() as db:
            return {**outbox.load_links(db, self.lane), "board": self.board_url}

    def marker(self, content: Mapping[str, Any]) -> str:
        return self.desk.signer.marker(self.lane, content)

    def find_marked_comments(self, items: Sequence[Order], key: str = "") -> dict[str, Comment]:
        """Find our comments that earlier attempts at these items have posted, by item key.

        `key`: the key to search for in the markers if it is not that of the item.
        """
        tried = [order for order in items if order.tried]
        if not tried:
            return {}
        keys = {key or order.key for order in tried}
        since = min(order.created_at for order in tried) - _MAX_CLOCK_SKEW
        found: dict[str, Comment] = {}
        for comment in self.tracker.comments(self.lane.number, since):
            content = self.desk.signer.read(self.lane, comment) or {}
            if matching := keys.intersection(content.get("keys", ())):
                comment_limit.record_posted_comment(self.desk, self.lane, comment)
                found |= dict.fromkeys(matching, comment)
        return found


def _require_safe_to_send(items: Iterable[Order]) -> None:
    """Raise Throttled while an earlier attempt at one of the items may still arrive.

    Call it after the search for what that attempt may have posted.
    """
    if until := max((order.unseen_until for order in items if order.unseen_until), default=None):
        raise Held(until, "sent, and neither answered nor seen: it may still arrive")


@dataclass(frozen=True)
class _Place:
    """The repository of an incident and the policy active there."""

    repository: Repository
    force: InForce


def _load_repository_policy(desk: Desk, lane: Lane) -> _Place | None:
    """Load the repository of the incident and its policy; None if the repository is no longer known."""
    with desk.database.autocommit() as db:
        repository = incidents.load_repository(db, lane.repo_id)
    if repository is None:
        return None
    tracker = desk.tracker(repository)
    return _Place(repository, desk.policies.load(desk.database, tracker, repository, desk.clock()))


def relay_outbox(desk: Desk, lane: Lane, should_continue: Callable[[], bool] = lambda: True) -> None:
    """Relay the pending outbox items of the incident while `should_continue` returns True.

    An item that fails is retried later, or becomes a dead letter.
    """
    repository_policy: _Place | None = None
    try:
        for orders in _iter_batches(desk, lane):
            if not should_continue():
                return
            repository_policy = repository_policy or _load_repository_policy(desk, lane)
            if not _relay_batch(desk, lane, orders, repository_policy):
                return
    except Overtaken as order:
        # We were suspended for longer than the lease, and another worker has taken over.
        log.warning("lease lost", incident=str(lane), key=str(order))


def _iter_batches(desk: Desk, lane: Lane) -> Iterator[Sequence[Order]]:
    """Yield the batches to relay in turn; each is read after the one before it is complete.

    Consecutive idempotent effects, on which nothing else depends, are read together.
    """
    while batch := _next_batch(orders := _defer_notices_in_flight(desk, _list_relevant_items(desk, lane))):
        yield batch
        if isinstance(batch[0].effect, _IDEMPOTENT_EFFECTS):
            following = orders[orders.index(batch[0]) + 1 :]
            yield from (
                [each]
                for each in takewhile(lambda each: each.due and isinstance(each.effect, _IDEMPOTENT_EFFECTS), following)
            )


def _next_batch(items: Sequence[Order]) -> Sequence[Order]:
    """Return the next batch: one item, or all pending notices, due or not, which become one comment."""
    first = next((order for order in items if order.due), None)
    if first is None:
        return ()
    if not isinstance(first.effect, Notice):
        return [first]
    return [order for order in items if isinstance(order.effect, Notice)]


def _list_relevant_items(desk: Desk, lane: Lane) -> Sequence[Order]:
    """List the pending items without stale notices, which are dropped from the outbox."""
    with desk.database.autocommit() as db:
        waiting = outbox.list_unfinished(db, lane, desk.clock())
    if stale := drop_oldest(order.effect for order in waiting if isinstance(order.effect, Notice)):
        with desk.database.transaction() as db:
            outbox.skip(db, lane, stale)
    return [order for order in waiting if order.key not in stale]


def _defer_notices_in_flight(desk: Desk, items: Sequence[Order]) -> Sequence[Order]:
    """Defer the notices that are due while another may still be in flight, until that one was searched for.

    Returns the items that remain.
    """
    notices = [order for order in items if isinstance(order.effect, Notice)]
    in_flight = [order for order in notices if order.may_be_in_flight]
    if not in_flight:
        return items
    until = max(order.next_action_at for order in in_flight)
    with desk.database.transaction() as db:
        for order in notices:
            if order.due and order not in in_flight:
                outbox.retry_at(db, order, until, "another may be on its way", outcome_unknown=order.tried)
    return [order for order in items if order not in notices or (order in in_flight and order.due)]


def _relay_batch(desk: Desk, lane: Lane, items: Sequence[Order], repository_policy: _Place | None) -> bool:
    """Relay one batch; False if the rest has to wait."""
    with _connect_for_batch(desk, items) as db:
        lease = Fence(desk, db, items)
        stored = incidents.load_incident(
            db, lane
        )  # after the lease is acquired, so that every earlier decision is visible
    items = lease.orders
    off_issue = isinstance(items[0].effect, OpenPostmortem)
    if stored is None or repository_policy is None or (stored.incident.left and not off_issue):
        # The issue is unavailable, so nothing can be posted on it.  The postmortem is not posted there.
        with _connect_for_batch(desk, items) as db:
            for order in items:
                outbox.complete(db, order, state="skipped")
        return True
    display_only = all(order.key in outbox.DISPLAY_KEYS for order in items)
    prioritized = desk.tracker(repository_policy.repository).with_priority(
        Urgency(stored.incident.severity, display_only)
    )
    tracker = prioritized.with_guard(lease.check)
    policy = policy_for(repository_policy.force.policy, stored.incident)
    work = _Work(
        desk,
        lane,
        tracker,
        stored.incident,
        policy,
        stored.board_id,
        stored.board_url,
        repository_policy.force.notice_keys,
    )
    desk.failpoints.reach("before_post")
    try:
        urls = _execute_batch(work, items)
    except NotYet as yet:
        return _defer_batch(desk, items, yet)
    except Held as until:
        comment_limit.defer_throttled(desk, items, until)
        return True
    except DeliveryFailed as failed:
        return _handle_failure(desk, lane, items, failed)
    desk.failpoints.reach("after_post_before_mark")
    _complete_items(desk, lane, items, urls)
    desk.failpoints.reach("after_mark")
    return True


def _connect_for_batch(desk: Desk, items: Sequence[Order]) -> AbstractContextManager[Db]:
    """Open a transaction for several items, so that all change or none, or a single-statement connection for one."""
    return desk.database.transaction() if len(items) > 1 else desk.database.single_statement()


def _complete_items(desk: Desk, lane: Lane, items: Sequence[Order], urls: Mapping[str, str]) -> None:
    """Mark the items as done, or as skipped if they have no URL in `urls`."""
    # The board was updated without waiting for retried items, so it lacks their links.
    board_needs_links = any(order.attempts and urls.get(order.key) for order in items)
    with desk.database.transaction() if board_needs_links else _connect_for_batch(desk, items) as db:
        for order in items:
            url = urls.get(order.key)
            outbox.complete(db, order, url or "", state="skipped" if url is None else "done")
        if board_needs_links:
            outbox.add_effects(db, lane, (ShowBoard(),), desk.clock())


def _execute_batch(work: _Work, items: Sequence[Order]) -> Mapping[str, str]:
    """Execute the batch; return the URL of each posted effect by its key.

    The URL is empty if the effect has none.  Effects that are no longer relevant are left out.
    """
    if isinstance(items[0].effect, Notice):
        return _post_notices(work, items)
    return {items[0].key: _HANDLERS[type(items[0].effect)](work, items[0])}


def _post_notices(work: _Work, items: Sequence[Order]) -> Mapping[str, str]:
    """Post one comment for all notices that are still relevant.

    Questions answered in the meantime are not asked again.
    """
    posted = {key: comment.url for key, comment in work.find_marked_comments(items).items()}
    waiting = {
        order.key: order.effect
        for order in items
        if order.key not in posted
        and isinstance(order.effect, Notice)
        and still_relevant(order.effect, work.incident, work.told_as)
    }
    if not waiting:
        return posted
    _require_safe_to_send(order for order in items if order.key in waiting)
    body = render_notices(
        list(waiting.values()),
        work.incident,
        work.policy,
        work.desk.clock(),
        comment_urls=work.links(),
        footer=work.marker({"keys": list(waiting)}),
    )
    if not any(isinstance(effect, Mend) for effect in waiting.values()):  # no user reported the policy fault
        unconfirmed_reports.admit_or_throttle(work.desk, work.tracker, work.lane, work.incident, next(iter(waiting)))
    url = _post_comment(work, body, list(waiting.values())).url
    return {**posted, **dict.fromkeys(waiting, url)}


def _post_comment(work: _Work, body: str, effects: Sequence[Effect]) -> Comment:
    return comment_limit.post_comment(work.desk, work.tracker, work.lane, body, effects)


def _post_reply(work: _Work, item: Order) -> str:
    if existing := work.find_marked_comments([item]).get(item.key):
        return existing.url
    _require_safe_to_send([item])
    footer = work.marker({"keys": [item.key]})
    effect = item.effect
    if isinstance(effect, Help):
        body = render_help(effect, work.incident, work.policy, footer=footer)
    else:
        assert isinstance(effect, Reply)
        body = render_reply(effect, footer=footer)
    return _post_comment(work, body, [effect]).url


def _set_labels(work: _Work, item: Order) -> str:
    assert isinstance(item.effect, SetLabels)
    comment_limit.check_label_limit(work.desk, work.lane, item.effect.labels)
    with work.desk.database.autocommit() as db:
        current, uncertain = incidents.load_labels(db, work.lane)
    known_at = None
    if uncertain or item.unseen_until:
        issue = work.tracker.issue(work.lane.number)
        current, known_at = labels_of(issue), parse_time(issue["updated_at"])
    desired, managed_labels = item.effect.labels, own_labels(work.policy.labels)
    if current & managed_labels != desired:
        _require_safe_to_send([item])
    for _ in range(2):  # GitHub's response may show a label that no delivery has mentioned yet
        shown = work.tracker.set_labels(
            work.lane.number, add=desired - current, remove=(current & managed_labels) - desired
        )
        if shown is None:
            break
        current, known_at = shown.labels, shown.at
    if known_at is not None:
        comment_limit.record_label_write(work.desk, work.lane, item.effect.labels)
        with work.desk.database.single_statement() as db:
            # A delivery about our own change, in the same second, is older than this state.
            incidents.record_labels(db, work.lane, current, known_at + timedelta(seconds=1))
    return ""


def _show_board(work: _Work, item: Order) -> str:
    """Edit the board in place; post a new one only if there is none, or it was deleted."""
    now, quiet = work.desk.clock(), unconfirmed_reports.is_awaiting_first_notification(work.desk, work.lane)
    body = render_board(
        work.incident,
        work.policy,
        now,
        comment_urls=work.links(),
        footer=work.marker(board_state.marker_content(work.incident)),
        warnings=board_warnings.list_warnings(work.desk, work.lane, now, notices_deferred=quiet),
        quiet=quiet,
    )
    comment = work.board_id
    if comment is None and (
        existing := work.find_marked_comments([item], board_state.BOARD_KEY).get(board_state.BOARD_KEY)
    ):
        comment = existing.id
        _record_board_comment(work, existing)
    else:
        _require_safe_to_send([item])
    if comment is not None:
        try:
            work.tracker.edit_comment(comment, body)
        except Gone:
            _record_board_comment(work, None)
        else:
            return ""
    posted = _post_comment(work, body, [item.effect])
    _record_board_comment(work, posted)
    return posted.url


def _record_board_comment(work: _Work, comment: Comment | None) -> None:
    with work.desk.database.single_statement() as db:
        incidents.record_board(db, work.lane, comment.id if comment else None, comment.url if comment else "")


def _show_digest(work: _Work, item: Order) -> str:
    """Post the digest once per window; edit it after that."""
    found = unconfirmed_reports.find_digest(work.desk, work.lane)
    if found is None:
        return ""  # the digest is on another issue by now
    key = unconfirmed_reports.digest_key(found.began_at)
    if found.comment is None and (existing := work.find_marked_comments([item], key).get(key)):
        unconfirmed_reports.record_posted_digest(work.desk, found, existing)
        found = replace(found, comment=existing.id)
    else:
        _require_safe_to_send([item])
    footer = work.marker({"keys": [key]})
    posted = unconfirmed_reports.post_or_edit_digest(work.desk, work.tracker, found, work.incident, work.policy, footer)
    return posted.url if posted else ""


def _react(work: _Work, item: Order) -> str:
    assert isinstance(item.effect, React)
    work.tracker.react(item.effect.comment)
    return ""


def _assign(work: _Work, item: Order) -> str:
    assert isinstance(item.effect, Assign)
    work.tracker.assign(work.lane.number, item.effect.login)
    return ""


def _open_postmortem(work: _Work, item: Order) -> str:
    """Open the postmortem pull request, or go on from where an earlier attempt stopped."""
    links = {**event_links(_load_timeline(work), work.incident), **work.links()}
    document = render_postmortem(work.incident, work.policy, comment_urls=links, now=work.desk.clock())
    pull = work.tracker.pull_of(document.branch) if item.tried else None
    if pull is None:
        _require_safe_to_send([item])
        pull = work.tracker.open_pull_request(document)
    if pull.state == "open":
        work.tracker.ask_review(pull.number, reviewers(work.incident, work.policy, work.desk.clock()))
    record_event(work.desk, work.lane, read_postmortem_events(pull, ()))
    return pull.url


def _load_timeline(work: _Work) -> Sequence[Mapping[str, Any]]:
    try:
        return work.tracker.timeline(work.lane.number)
    except Gone:
        return ()


_HANDLERS: dict[type[Effect], Callable[[_Work, Order], str]] = {
    Reply: _post_reply,
    Help: _post_reply,
    SetLabels: _set_labels,
    ShowBoard: _show_board,
    ShowDigest: _show_digest,
    React: _react,
    Assign: _assign,
    OpenPostmortem: _open_postmortem,
}


def _defer_batch(desk: Desk, items: Sequence[Order], deferred: NotYet) -> bool:
    """Defer the batch because of a rate limit, without counting an attempt."""
    until = desk.clock() + timedelta(seconds=deferred.retry_after or 0.0)
    log.debug("deferred", incident=str(items[0].lane), keys=[order.key for order in items], reason=str(deferred))
    with desk.database.transaction() as db:
        for order in items:
            outbox.defer_all(db, order, until, str(deferred), partly_done=isinstance(order.effect, OpenPostmortem))
    return False


def _handle_failure(desk: Desk, lane: Lane, items: Sequence[Order], failed: DeliveryFailed) -> bool:
    """Schedule a retry of the failed items, or move them to the dead letters.

    True if they are not retried.  A retry makes the other items of the incident wait, so that comments keep their
    order.
    """
    now, first = desk.clock(), min(items, key=lambda order: order.created_at)
    never = failed.retry_after is None or should_give_up(first.attempts + 1, first.created_at, now)
    log.warning(
        "not delivered", incident=str(lane), keys=[order.key for order in items], never=never, reason=str(failed)
    )
    with desk.database.transaction() as db:
        for order in items:
            if isinstance(failed, Gone) and isinstance(order.effect, React):
                outbox.complete(db, order, state="skipped")  # the comment was deleted, so the reaction is not needed
            elif never:
                outbox.dead_letter(db, order, str(failed))
                log.error("moved to dead letters", incident=str(lane), key=order.key, reason=str(failed))
            else:
                longest = MAX_RECONNECT_SECONDS if isinstance(failed, Unreached) else MAX_RETRY_SECONDS
                first_wait = (
                    _FIRST_IDEMPOTENT_RETRY_SECONDS
                    if isinstance(order.effect, _IDEMPOTENT_EFFECTS)
                    else _FIRST_RETRY_SECONDS
                )
                wait = backoff_seconds(order.attempts + 1, f"{lane} {order.key}", first_wait, longest)
                outbox.retry_at(
                    db,
                    order,
                    now + timedelta(seconds=max(failed.retry_after or 0.0, wait)),
                    str(failed),
                    outcome_unknown=failed.uncertain or order.tried,
                    may_arrive_until=_may_arrive_until(order, failed, now, desk.lease),
                )
    if isinstance(failed, Gone) and not isinstance(items[0].effect, _IDEMPOTENT_EFFECTS):
        _check_issue_exists(desk, lane)
    return never


def _may_arrive_until(item: Order, failed: DeliveryFailed, now: datetime, lease: timedelta) -> datetime | None:
    """Return until when the sent request may still arrive; None if it cannot, or does no harm."""
    return (
        now + lease / _ARRIVAL_LEASE_DIVISOR
        if failed.late and not isinstance(item.effect, _IDEMPOTENT_EFFECTS)
        else None
    )


def _check_issue_exists(desk: Desk, lane: Lane) -> None:
    """End the incident if its issue was deleted or transferred, of which GitHub may not have notified us."""
    with desk.database.transaction() as db:
        repository = incidents.load_repository(db, lane.repo_id)
    if repository is None:
        return
    try:
        desk.tracker(repository).issue(lane.number)
    except Gone:
        now = desk.clock()
        record_event(desk, lane, (Happened(now, Left(key="left/gone", how="gone")),))
    except DeliveryFailed:
        return
