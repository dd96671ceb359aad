"""Outbox relay: sends pending items once and in order, after a search for what an earlier attempt may have sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import takewhile
from typing import Any

import psycopg
import structlog
from psycopg_pool import PoolTimeout

from app.core.effective_policy import policy_for
from app.core.effects import (
    Assign,
    Effect,
    Help,
    Notice,
    OpenPostmortem,
    PolicyFaultNotice,
    React,
    Reply,
    RetryRefused,
    SetLabels,
    ShowBoard,
    ShowDigest,
)
from app.core.events import PostmortemRefused
from app.core.incident import Incident
from app.core.labels import own_labels
from app.core.notice_relevance import drop_oldest, not_before, still_relevant
from app.core.on_call import reviewers
from app.core.policy import Policy
from app.github import board_state
from app.github.inbound import TimedEvent, event_key
from app.github.timeline import event_links, read_postmortem_events
from app.github.tracker import labels_of, parse_time
from app.policy_source.active_policy import ActivePolicy
from app.ports import (
    Comment,
    ConnectionFailed,
    Deferred,
    DeliveryFailed,
    IncidentKey,
    NotFound,
    Outlook,
    Repository,
    Tracker,
)
from app.rate_limit import Priority
from app.render import render_board, render_help, render_notices, render_postmortem, render_reply
from app.store import incidents, outbox
from app.store.database import Db
from app.store.outbox import LeaseLost, OutboxItem
from app.worker.context import WorkerContext
from app.worker.limits import comment_limit, unconfirmed_reports
from app.worker.limits.comment_limit import Throttled
from app.worker.pipeline import board_warnings, missing_issues
from app.worker.pipeline.fold import follow_next_fallback, policy_of_incident, record_event
from app.worker.pipeline.lease import Lease
from app.worker.pipeline.retry_policy import (
    MAX_RECONNECT_SECONDS,
    MAX_RETRY_SECONDS,
    NextStep,
    backoff_seconds,
    next_step_after_refusal,
    should_give_up,
)

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
_LASTING_EFFECTS = (OpenPostmortem, SetLabels, ShowBoard, ShowDigest)
"""Effects that are still wanted however late they succeed, so they wait for a change of what GitHub forbids."""
_POSTMORTEM_RECHECK_PERIOD = timedelta(days=1)
"""Time between two attempts to open a postmortem that GitHub forbids."""
_RECHECK_PERIOD = timedelta(hours=1)
"""Time between two attempts at the board or the labels while GitHub forbids them."""
_UNSHOWN_REFUSAL_PERIOD = timedelta(minutes=2)
"""How long a refusal that may pass is not shown on the board."""
_MAX_CLOCK_SKEW = timedelta(minutes=5)
"""Allowed difference between GitHub's clock and ours in the search for our own comments."""


@dataclass(frozen=True)
class _RelayContext:
    """An incident and what is needed to relay its outbox items."""

    ctx: WorkerContext
    incident_key: IncidentKey
    tracker: Tracker
    incident: Incident
    policy: Policy
    board_id: int | None
    board_url: str
    fault_notice_keys: frozenset[str]
    """Keys of the notices about the current problems of the policy."""

    def links(self) -> dict[str, str]:
        """Return the URL of each posted effect by its key, and that of the board under `board`."""
        with self.ctx.database.autocommit() as db:
            return {**outbox.load_links(db, self.incident_key), "board": self.board_url}

    def marker(self, content: Mapping[str, Any]) -> str:
        return self.ctx.signer.marker(self.incident_key, content)

    def find_marked_comments(self, items: Sequence[OutboxItem], key: str = "") -> dict[str, Comment]:
        """Find our comments that earlier attempts at these items have posted, by item key.

        `key`: the key to search for in the markers if it is not that of the item.
        """
        uncertain_items = [item for item in items if item.outcome_unknown]
        if not uncertain_items:
            return {}
        keys = {key or item.key for item in uncertain_items}
        since = min(item.created_at for item in uncertain_items) - _MAX_CLOCK_SKEW
        found: dict[str, Comment] = {}
        for comment in self.tracker.comments(self.incident_key.number, since):
            content = self.ctx.signer.read(self.incident_key, comment) or {}
            effect_keys = [str(each) for each in content.get("keys", ())]
            if matching := keys.intersection(effect_keys):
                comment_limit.record_posted_comment(self.ctx, self.incident_key, comment, effect_keys)
                found |= dict.fromkeys(matching, comment)
        return found


class _PolicyReplaced(Exception):
    """The incident follows another policy now, because something failed under the one before."""


def _require_safe_to_send(items: Iterable[OutboxItem]) -> None:
    """Raise Throttled while an earlier attempt at one of the items may still arrive.

    Call it after the search for what that attempt may have posted.
    """
    if until := max((item.may_arrive_until for item in items if item.may_arrive_until), default=None):
        raise Throttled(until, "sent, and neither answered nor seen: it may still arrive")


@dataclass(frozen=True)
class _RepositoryPolicy:
    """The repository of an incident and the policy active there."""

    repository: Repository
    active: ActivePolicy


def _load_repository_policy(ctx: WorkerContext, incident_key: IncidentKey) -> _RepositoryPolicy | None:
    """Load the repository of the incident and its policy; None if the repository is no longer known."""
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
    if repository is None:
        return None
    tracker = ctx.tracker(repository)
    return _RepositoryPolicy(repository, ctx.policies.load(ctx.database, tracker, repository, ctx.clock()))


def relay_outbox(
    ctx: WorkerContext, incident_key: IncidentKey, should_continue: Callable[[], bool] = lambda: True
) -> None:
    """Relay the pending outbox items of the incident while `should_continue` returns True.

    An item that fails is retried later, or becomes a dead letter.
    """
    repository_policy: _RepositoryPolicy | None = None
    try:
        for items in _iter_batches(ctx, incident_key):
            if not should_continue():
                return
            repository_policy = repository_policy or _load_repository_policy(ctx, incident_key)
            try:
                if not _relay_batch(ctx, incident_key, items, repository_policy):
                    return
            except _PolicyReplaced:
                repository_policy = None  # loaded again, with the problem that is reported now
    except LeaseLost as lost:
        # We were suspended for longer than the lease, and another worker has taken over.
        log.warning("lease lost", incident=str(incident_key), key=str(lost))


def _iter_batches(ctx: WorkerContext, incident_key: IncidentKey) -> Iterator[Sequence[OutboxItem]]:
    """Yield the batches to relay in turn; each is read after the one before it is complete.

    Consecutive idempotent effects, on which nothing else depends, are read together.
    """
    while batch := _next_batch(items := _defer_notices_in_flight(ctx, _list_relevant_items(ctx, incident_key))):
        yield batch
        if isinstance(batch[0].effect, _IDEMPOTENT_EFFECTS):
            following = items[items.index(batch[0]) + 1 :]
            yield from (
                [each]
                for each in takewhile(lambda each: each.due and isinstance(each.effect, _IDEMPOTENT_EFFECTS), following)
            )


def _next_batch(items: Sequence[OutboxItem]) -> Sequence[OutboxItem]:
    """Return the next batch: one item, or all pending notices, due or not, which become one comment."""
    first = next((item for item in items if item.due), None)
    if first is None:
        return ()
    if not isinstance(first.effect, Notice):
        return [first]
    return [item for item in items if isinstance(item.effect, Notice)]


def _list_relevant_items(ctx: WorkerContext, incident_key: IncidentKey) -> Sequence[OutboxItem]:
    """List the pending items without stale notices, which are dropped from the outbox."""
    with ctx.database.autocommit() as db:
        waiting = outbox.list_unfinished(db, incident_key, ctx.clock())
    if stale := drop_oldest(item.effect for item in waiting if isinstance(item.effect, Notice)):
        with ctx.database.transaction() as db:
            outbox.skip(db, incident_key, stale)
    return [item for item in waiting if item.key not in stale]


def _defer_notices_in_flight(ctx: WorkerContext, items: Sequence[OutboxItem]) -> Sequence[OutboxItem]:
    """Defer the notices that are due while another may still be in flight, until that one was searched for.

    Returns the items that remain.
    """
    notices = [item for item in items if isinstance(item.effect, Notice)]
    in_flight = [item for item in notices if item.may_be_in_flight]
    if not in_flight:
        return items
    until = max(item.next_action_at for item in in_flight)
    with ctx.database.transaction() as db:
        for item in notices:
            if item.due and item not in in_flight:
                outbox.retry_at(db, item, until, "another may be on its way", outcome_unknown=item.outcome_unknown)
    return [item for item in items if item not in notices or (item in in_flight and item.due)]


def _relay_batch(
    ctx: WorkerContext,
    incident_key: IncidentKey,
    items: Sequence[OutboxItem],
    repository_policy: _RepositoryPolicy | None,
) -> bool:
    """Relay one batch; False if the rest has to wait."""
    with _connect_for_batch(ctx, items) as db:
        lease = Lease(ctx, db, items)
        # After the lease is acquired, so that every earlier decision is visible.
        stored = incidents.load_incident(db, incident_key)
    items = lease.items
    off_issue = isinstance(items[0].effect, OpenPostmortem)
    if stored is None or repository_policy is None or (stored.incident.unavailable and not off_issue):
        # The issue is unavailable, so nothing can be posted on it.  The postmortem is not posted there.
        with _connect_for_batch(ctx, items) as db:
            for item in items:
                outbox.complete(db, item, state="skipped")
        return True
    display_only = all(item.key in outbox.DISPLAY_KEYS for item in items)
    prioritized = ctx.tracker(repository_policy.repository).with_priority(
        Priority(stored.incident.severity, display_only)
    )
    tracker = prioritized.with_guard(lease.check)
    active = policy_of_incident(ctx, incident_key, stored, repository_policy.active)
    policy = policy_for(active.policy, stored.incident)
    relay = _RelayContext(
        ctx,
        incident_key,
        tracker,
        stored.incident,
        policy,
        stored.board_id,
        stored.board_url,
        active.notice_keys,
    )
    ctx.failpoints.reach("before_post")
    try:
        urls = _execute_batch(relay, items)
    except Deferred as deferred:
        return _defer_batch(ctx, items, deferred)
    except Throttled as throttled:
        comment_limit.defer_throttled(ctx, items, throttled)
        return True
    except DeliveryFailed as failed:
        return _handle_failure(ctx, incident_key, items, failed)
    except (LeaseLost, psycopg.Error, PoolTimeout):
        raise
    except Exception as problem:
        # Such as a date of the policy that leads out of the calendar, met only when the board is rendered.
        _release_items(ctx, items)
        if not follow_next_fallback(ctx, incident_key, stored, repository_policy.active, problem):
            raise
        log.exception("effects failed under the policy, the next best one is taken", incident=str(incident_key))
        raise _PolicyReplaced from problem
    ctx.failpoints.reach("after_post_before_mark")
    _complete_items(ctx, incident_key, items, urls)
    ctx.failpoints.reach("after_mark")
    return True


def _release_items(ctx: WorkerContext, items: Sequence[OutboxItem]) -> None:
    """Make the items due again, at once."""
    with ctx.database.transaction() as db:
        for item in items:
            outbox.retry_at(db, item, ctx.clock(), "tried again under another policy", outcome_unknown=True)


def _connect_for_batch(ctx: WorkerContext, items: Sequence[OutboxItem]) -> AbstractContextManager[Db]:
    """Open a transaction for several items, so that all change or none, or a single-statement connection for one."""
    return ctx.database.transaction() if len(items) > 1 else ctx.database.single_statement()


def _complete_items(
    ctx: WorkerContext, incident_key: IncidentKey, items: Sequence[OutboxItem], urls: Mapping[str, str]
) -> None:
    """Mark the items as done, or as skipped if they have no URL in `urls`."""
    # The board was updated without waiting for retried items, so it lacks their links.
    board_needs_links = any(item.attempts and urls.get(item.key) for item in items)
    with ctx.database.transaction() if board_needs_links else _connect_for_batch(ctx, items) as db:
        for item in items:
            url = urls.get(item.key)
            outbox.complete(db, item, url or "", state="skipped" if url is None else "done")
        if board_needs_links:
            outbox.add_effects(db, incident_key, (ShowBoard(),), ctx.clock())


def _execute_batch(relay: _RelayContext, items: Sequence[OutboxItem]) -> Mapping[str, str]:
    """Execute the batch; return the URL of each posted effect by its key.

    The URL is empty if the effect has none.  Effects that are no longer relevant are left out.
    """
    if isinstance(items[0].effect, Notice):
        return _post_notices(relay, items)
    return {items[0].key: _HANDLERS[type(items[0].effect)](relay, items[0])}


def _post_notices(relay: _RelayContext, items: Sequence[OutboxItem]) -> Mapping[str, str]:
    """Post one comment for all notices that are still relevant.

    Questions answered in the meantime are not asked again.
    """
    now = relay.ctx.clock()
    posted = {key: comment.url for key, comment in relay.find_marked_comments(items).items()}
    waiting = {
        item.key: item.effect
        for item in items
        if item.key not in posted
        and isinstance(item.effect, Notice)
        and still_relevant(item.effect, relay.incident, relay.fault_notice_keys, now)
    }
    if not waiting:
        return posted
    if (until := not_before(waiting.values(), relay.policy, now)) > now:
        raise Throttled(until, "it waits for working hours")
    _require_safe_to_send(item for item in items if item.key in waiting)
    body = render_notices(
        list(waiting.values()),
        relay.incident,
        relay.policy,
        now,
        comment_urls=relay.links(),
        footer=relay.marker({"keys": list(waiting)}),
    )
    if not any(
        isinstance(effect, PolicyFaultNotice) for effect in waiting.values()
    ):  # a policy fault is no user's report, so it is never throttled
        unconfirmed_reports.admit_or_throttle(
            relay.ctx, relay.tracker, relay.incident_key, relay.incident, next(iter(waiting))
        )
    url = _post_comment(relay, body, list(waiting.values())).url
    return {**posted, **dict.fromkeys(waiting, url)}


def _post_comment(relay: _RelayContext, body: str, effects: Sequence[Effect]) -> Comment:
    return comment_limit.post_comment(relay.ctx, relay.tracker, relay.incident_key, body, effects)


def _post_reply(relay: _RelayContext, item: OutboxItem) -> str:
    if existing := relay.find_marked_comments([item]).get(item.key):
        return existing.url
    _require_safe_to_send([item])
    footer = relay.marker({"keys": [item.key]})
    effect = item.effect
    if isinstance(effect, Help):
        body = render_help(effect, relay.incident, relay.policy, footer=footer)
    else:
        assert isinstance(effect, Reply)
        body = render_reply(effect, footer=footer)
    return _post_comment(relay, body, [effect]).url


def _set_labels(relay: _RelayContext, item: OutboxItem) -> str:
    assert isinstance(item.effect, SetLabels)
    comment_limit.check_label_limit(relay.ctx, relay.incident_key, item.effect.labels)
    with relay.ctx.database.autocommit() as db:
        current, uncertain = incidents.load_labels(db, relay.incident_key)
    known_at = None
    if uncertain or item.may_arrive_until:
        issue = relay.tracker.issue(relay.incident_key.number)
        current, known_at = labels_of(issue), parse_time(issue["updated_at"])
    desired, managed_labels = item.effect.labels, own_labels(relay.policy.labels)
    if current & managed_labels != desired:
        _require_safe_to_send([item])
    for _ in range(2):  # GitHub's response may show a label that no delivery has mentioned yet
        shown = relay.tracker.set_labels(
            relay.incident_key.number, add=desired - current, remove=(current & managed_labels) - desired
        )
        if shown is None:
            break
        current, known_at = shown.labels, shown.at
    if known_at is not None:
        comment_limit.record_label_write(relay.ctx, relay.incident_key, item.effect.labels)
        with relay.ctx.database.single_statement() as db:
            # A delivery about our own change, in the same second, is older than this state.
            incidents.record_labels(db, relay.incident_key, current, known_at + timedelta(seconds=1))
    return ""


def _show_board(relay: _RelayContext, item: OutboxItem) -> str:
    """Edit the board in place; post a new one only if there is none, or it was deleted."""
    now, quiet = relay.ctx.clock(), unconfirmed_reports.is_awaiting_first_notification(relay.ctx, relay.incident_key)
    body = render_board(
        relay.incident,
        relay.policy,
        now,
        comment_urls=relay.links(),
        footer=relay.marker(board_state.marker_content(relay.incident)),
        warnings=board_warnings.list_warnings(relay.ctx, relay.incident_key, now, notices_deferred=quiet),
        quiet=quiet,
    )
    comment_id = relay.board_id
    if comment_id is None and (
        existing := relay.find_marked_comments([item], board_state.BOARD_KEY).get(board_state.BOARD_KEY)
    ):
        comment_id = existing.id
        _record_board_comment(relay, existing)
    else:
        _require_safe_to_send([item])
    if comment_id is not None:
        try:
            relay.tracker.edit_comment(comment_id, body)
        except NotFound:
            if any(comment.id == comment_id for comment in relay.tracker.comments(relay.incident_key.number)):
                raise  # the issue still shows the board, so it was not found for a moment only
            _record_board_comment(relay, None)
        else:
            return ""
    posted = _post_comment(relay, body, [item.effect])
    _record_board_comment(relay, posted)
    return posted.url


def _record_board_comment(relay: _RelayContext, comment: Comment | None) -> None:
    with relay.ctx.database.single_statement() as db:
        incidents.record_board(db, relay.incident_key, comment.id if comment else None, comment.url if comment else "")


def _show_digest(relay: _RelayContext, item: OutboxItem) -> str:
    """Post the digest once per window; edit it after that."""
    found = unconfirmed_reports.find_digest(relay.ctx, relay.incident_key)
    if found is None:
        return ""  # the digest is on another issue by now
    key = unconfirmed_reports.digest_key(found.started_at)
    if found.comment_id is None and (existing := relay.find_marked_comments([item], key).get(key)):
        unconfirmed_reports.record_posted_digest(relay.ctx, found, existing)
        found = replace(found, comment_id=existing.id)
    else:
        _require_safe_to_send([item])
    footer = relay.marker({"keys": [key]})
    posted = unconfirmed_reports.post_or_edit_digest(
        relay.ctx, relay.tracker, found, relay.incident, relay.policy, footer
    )
    return posted.url if posted else ""


def _react(relay: _RelayContext, item: OutboxItem) -> str:
    assert isinstance(item.effect, React)
    relay.tracker.react(item.effect.comment)
    return ""


def _assign(relay: _RelayContext, item: OutboxItem) -> str:
    assert isinstance(item.effect, Assign)
    relay.tracker.assign(relay.incident_key.number, item.effect.login)
    return ""


def _open_postmortem(relay: _RelayContext, item: OutboxItem) -> str:
    """Open the postmortem pull request, or go on from where an earlier attempt stopped."""
    links = {**event_links(_load_timeline(relay), relay.incident), **relay.links()}
    document = render_postmortem(relay.incident, relay.policy, comment_urls=links, now=relay.ctx.clock())
    pull = relay.tracker.pull_of(document.branches) if item.outcome_unknown else None
    if pull is None:
        _require_safe_to_send([item])
        pull = relay.tracker.open_pull_request(document)
    if pull.state == "open":
        relay.tracker.ask_review(pull.number, reviewers(relay.incident, relay.policy, relay.ctx.clock()))
    record_event(relay.ctx, relay.incident_key, list(read_postmortem_events(pull, ())))
    return pull.url


def _retry_refused(relay: _RelayContext, item: OutboxItem) -> str:
    with relay.ctx.database.single_statement() as db:
        outbox.retry_refused(db, relay.incident_key, relay.ctx.clock())
    return ""


def _load_timeline(relay: _RelayContext) -> Sequence[Mapping[str, Any]]:
    try:
        return relay.tracker.timeline(relay.incident_key.number)
    except NotFound:
        return ()


_HANDLERS: dict[type[Effect], Callable[[_RelayContext, OutboxItem], str]] = {
    Reply: _post_reply,
    Help: _post_reply,
    SetLabels: _set_labels,
    ShowBoard: _show_board,
    ShowDigest: _show_digest,
    React: _react,
    Assign: _assign,
    OpenPostmortem: _open_postmortem,
    RetryRefused: _retry_refused,
}


def _defer_batch(ctx: WorkerContext, items: Sequence[OutboxItem], deferred: Deferred) -> bool:
    """Defer the batch without counting an attempt: a rate limit, or GitHub refuses the whole installation."""
    until = ctx.clock() + timedelta(seconds=deferred.retry_after or 0.0)
    log.debug("deferred", incident=str(items[0].incident_key), keys=[item.key for item in items], reason=str(deferred))
    with ctx.database.transaction() as db:
        for item in items:
            outbox.defer_all(
                db,
                item,
                until,
                str(deferred),
                partly_done=isinstance(item.effect, OpenPostmortem),
                refusal=deferred.refusal.sentence if deferred.refusal else "",
            )
    return False


def _handle_failure(
    ctx: WorkerContext, incident_key: IncidentKey, items: Sequence[OutboxItem], failed: DeliveryFailed
) -> bool:
    """Schedule a retry of the failed items, or move them to the dead letters.

    False if the rest of the incident has to wait, so that comments keep their order: GitHub cannot be reached.  What
    it refuses keeps nothing else from being done.
    """
    now = ctx.clock()
    steps = [_next_step(item, items, failed, now) for item in items]
    log.warning(
        "not delivered",
        incident=str(incident_key),
        keys=[item.key for item in items],
        next_step=steps[0].name,
        reason=str(failed),
    )
    with ctx.database.transaction() as db:
        for item, step in zip(items, steps, strict=True):
            _record_failure(ctx, db, item, items, step, failed, now)
    if failed.refusal is not None and any(
        isinstance(item.effect, OpenPostmortem) and step in (NextStep.WAIT_FOR_CHANGE, NextStep.GIVE_UP)
        for item, step in zip(items, steps, strict=True)
    ):
        refused = PostmortemRefused(
            key=event_key("pull/refused", now), reason=failed.refusal.reason, advice=failed.refusal.advice
        )
        record_event(ctx, incident_key, (TimedEvent(now, refused),))
    if isinstance(failed, NotFound) and not isinstance(items[0].effect, (*_IDEMPOTENT_EFFECTS, OpenPostmortem)):
        missing_issues.look_for_issue(ctx, incident_key)
    return failed.refusal is not None or NextStep.RETRY not in steps


def _next_step(item: OutboxItem, items: Sequence[OutboxItem], failed: DeliveryFailed, now: datetime) -> NextStep:
    if isinstance(item.effect, React) and isinstance(failed, NotFound) and item.refused_since is not None:
        return NextStep.DROP  # the comment was deleted, so the reaction is not needed
    if (
        failed.refusal is not None
        and failed.refusal.outlook is Outlook.LOCKED
        and isinstance(item.effect, Reply | Help)
    ):
        return NextStep.DROP  # an answer after the unlock would come too late
    if failed.refusal is not None:
        return next_step_after_refusal(
            failed.refusal,
            item.refused_since,
            now,
            waits_for_change=isinstance(item.effect, _LASTING_EFFECTS),
        )
    oldest = min(items, key=lambda each: each.created_at)
    permanent = failed.retry_after is None or should_give_up(oldest.attempts + 1, oldest.created_at, now)
    return NextStep.GIVE_UP if permanent else NextStep.RETRY


def _record_failure(
    ctx: WorkerContext,
    db: Db,
    item: OutboxItem,
    items: Sequence[OutboxItem],
    step: NextStep,
    failed: DeliveryFailed,
    now: datetime,
) -> None:
    refusal = failed.refusal
    sentence = refusal.sentence if refusal is not None else ""
    if step is NextStep.DROP:
        outbox.complete(db, item, state="skipped")
    elif step is NextStep.GIVE_UP:
        outbox.dead_letter(db, item, str(failed), sentence)
        log.error("moved to dead letters", incident=str(item.incident_key), key=item.key, reason=str(failed))
    else:
        outbox.retry_at(
            db,
            item,
            now + timedelta(seconds=_retry_seconds(item, items, step, failed)),
            str(failed),
            outcome_unknown=failed.outcome_unknown or item.outcome_unknown or _is_vague(failed),
            may_arrive_until=_may_arrive_until(item, failed, now, ctx.lease_period),
            refusal=sentence if _is_worth_showing(item, step, failed, now) else "",
            refused_since=(item.refused_since or now) if refusal is not None else None,
        )


def _retry_seconds(item: OutboxItem, items: Sequence[OutboxItem], step: NextStep, failed: DeliveryFailed) -> float:
    """Return the seconds until the next attempt at an item of a batch."""
    if step is NextStep.WAIT_FOR_CHANGE:
        wait = _POSTMORTEM_RECHECK_PERIOD if isinstance(item.effect, OpenPostmortem) else _RECHECK_PERIOD
        return wait.total_seconds()
    attempts = item.attempts
    if failed.refusal is not None:
        attempts = max(each.attempts for each in items)  # a newer notice does not shorten the wait of an older one
        max_seconds = failed.refusal.max_wait.total_seconds()
    else:
        max_seconds = MAX_RECONNECT_SECONDS if isinstance(failed, ConnectionFailed) else MAX_RETRY_SECONDS
    first_seconds = (
        _FIRST_IDEMPOTENT_RETRY_SECONDS if isinstance(item.effect, _IDEMPOTENT_EFFECTS) else _FIRST_RETRY_SECONDS
    )
    return max(
        failed.retry_after or 0.0,
        backoff_seconds(attempts + 1, f"{item.incident_key} {item.key}", first_seconds, max_seconds),
    )


def _is_vague(failed: DeliveryFailed) -> bool:
    """Return True for a refusal that does not say why: what was sent may be there all the same, so look first."""
    return failed.refusal is not None and failed.refusal.outlook is Outlook.TRANSIENT


def _is_worth_showing(item: OutboxItem, step: NextStep, failed: DeliveryFailed, now: datetime) -> bool:
    """Return True if people should read of the refusal: not of one that may be over before they have."""
    if failed.refusal is None or failed.refusal.outlook is Outlook.LOCKED:
        return failed.refusal is not None
    return step is NextStep.WAIT_FOR_CHANGE or (
        item.refused_since is not None and now - item.refused_since >= _UNSHOWN_REFUSAL_PERIOD
    )


def _may_arrive_until(
    item: OutboxItem, failed: DeliveryFailed, now: datetime, lease_period: timedelta
) -> datetime | None:
    """Return until when the sent request may still arrive; None if it cannot, or does no harm."""
    return (
        now + lease_period / _ARRIVAL_LEASE_DIVISOR
        if failed.may_still_arrive and not isinstance(item.effect, _IDEMPOTENT_EFFECTS)
        else None
    )
