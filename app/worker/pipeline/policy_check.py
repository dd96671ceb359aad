"""Show the effect of a proposed policy change as a check run on the newest commit of its pull request.

Pull requests that do not touch the policy get no check.  A push of a faulty file to the default branch gets one: that
file never takes effect, and its author should see that on the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from app.core.backtest import PastIncident, backtest
from app.core.policy import Policy
from app.github import inbound
from app.github.inbound import PolicyProposal, PolicyPush
from app.github.incident_history import BACKTEST_PERIOD, MAX_INCIDENTS
from app.policy_file import DEFAULT_PROFILE, POLICY_PATH, PolicyFault, PolicyFaults, load_profile
from app.ports import Annotation, CheckRun, DeliveryFailed, IncidentKey, Repository, Tracker
from app.render.markdown.policy_review import PolicyReview, review_faulty_policy, review_policy
from app.store import inbox, incidents, policies
from app.store.inbox import Delivery
from app.store.policies import PolicyScope
from app.worker.context import WorkerContext
from app.worker.pipeline.dead_letters import UNREADABLE_ERRORS

log = structlog.get_logger()

CHECK_NAME = "Muster policy"
_RETRY_PERIOD = timedelta(days=1)
"""Period after which failed attempts are given up: the author can push again."""
_FILE_LAG_PERIOD = timedelta(minutes=1)
"""Time for which GitHub may announce a commit whose files cannot be read yet."""
_PUSHED_FAULT_NOTE = (
    "This file is on the default branch and never takes effect: the last good one does, until this one is mended. "
    "Muster says so once, on an open incident."
)


@dataclass(frozen=True, slots=True)
class PolicyDelivery:
    """A parsed delivery that may change the policy."""

    delivery: Delivery
    change: PolicyProposal | PolicyPush


def list_policy_deliveries(incident_key: IncidentKey, waiting: Sequence[Delivery]) -> list[PolicyDelivery]:
    """List the pending deliveries under this key that are about the policy rather than an incident."""
    found = (
        (delivery, _parse_policy_change(incident_key, delivery))
        for delivery in waiting
        if delivery.event in ("pull_request", "push")
    )
    return [PolicyDelivery(delivery, what) for delivery, what in found if what is not None]


def _parse_policy_change(incident_key: IncidentKey, delivery: Delivery) -> PolicyProposal | PolicyPush | None:
    try:
        return inbound.policy_change_of(
            delivery.event, inbound.parse_payload(delivery.body), incident_key, delivery.received_at
        )
    except UNREADABLE_ERRORS:
        return None  # reported by the next parser


def publish_check(ctx: WorkerContext, repository: Repository, waiting: Sequence[PolicyDelivery], now: datetime) -> bool:
    """Publish the check run for the newest of these deliveries; it supersedes the older ones.

    False if it has to wait because GitHub is not available now.
    """
    *_, newest = sorted(waiting, key=_sort_time)
    outcome = "processed", ""
    try:
        check = _build_check(ctx, ctx.tracker(repository), repository, newest, now)
        if check is not None:
            ctx.failpoints.reach("before_post")
            ctx.tracker(repository).check(check)
            ctx.failpoints.reach("after_post_before_mark")
    except DeliveryFailed as failed:
        permanent = failed.retry_after is None or now - newest.delivery.received_at >= _RETRY_PERIOD
        log.warning("policy not checked", repository=repository.name, never=permanent, reason=str(failed))
        if not permanent:
            return False
        outcome = "ignored", str(failed)
    with ctx.database.transaction() as db:
        for proposal in waiting:
            inbox.finish_delivery(
                db, proposal.delivery, *(outcome if proposal is newest else ("ignored", "superseded"))
            )
    return True


def _sort_time(policy_delivery: PolicyDelivery) -> datetime:
    """Return the time by which policy changes are ordered.

    GitHub's times are in whole seconds; within one second deliveries keep the order of arrival.
    """
    return (
        policy_delivery.change.at
        if isinstance(policy_delivery.change, PolicyProposal)
        else policy_delivery.delivery.received_at
    )


def _build_check(
    ctx: WorkerContext, tracker: Tracker, repository: Repository, policy_delivery: PolicyDelivery, now: datetime
) -> CheckRun | None:
    """Build the check run; None if there is nothing to show.  Raises DeliveryFailed if a file cannot be read yet."""
    policy_change = policy_delivery.change
    text = tracker.file(POLICY_PATH, policy_change.head)
    if isinstance(policy_change, PolicyPush):
        return _build_push_check(ctx, tracker, repository, policy_change.head, text, now)
    active_policy = ctx.policies.load(ctx.database, tracker, repository, now).policy
    with ctx.database.transaction() as db:
        stored = policies.load_stored_policy(db, PolicyScope.repository(repository.id))
    if stored.checked_at is None:
        raise DeliveryFailed("the policy in force is not known now", retry_after=5)
    if text == stored.newest_text or (change := tracker.file_change(policy_change.pull, POLICY_PATH)) == "none":
        return None
    if text is None and change == "written" and now - policy_delivery.delivery.received_at < _FILE_LAG_PERIOD:
        raise DeliveryFailed("the file cannot be seen yet", retry_after=5)
    try:
        new = ctx.policies.read_proposed(ctx.database, tracker, repository, text, now)
    except PolicyFaults as faults:
        return make_check(policy_change.head, review_faulty_policy(faults.errors), faults.errors)
    new = with_known_shifts(new, active_policy)
    policy_review = review_policy(
        active_policy, new, backtest(load_past_incidents(ctx, repository, now), active_policy, new), now
    )
    return make_check(policy_change.head, policy_review, (), "" if text is not None else _removal_note(new))


def _build_push_check(
    ctx: WorkerContext, tracker: Tracker, repository: Repository, head: str, text: str | None, now: datetime
) -> CheckRun | None:
    if text is None:
        return None
    try:
        ctx.policies.read_proposed(ctx.database, tracker, repository, text, now)
    except PolicyFaults as faults:
        return make_check(head, review_faulty_policy(faults.errors), faults.errors, _PUSHED_FAULT_NOTE)
    return None


def with_known_shifts(new: Policy, old: Policy) -> Policy:
    """Copy the shifts of the feeds that both policies name from the old policy into the new one.

    Feeds that only the new policy names are read after the merge.
    """
    known = {
        name: replace(rotation, shifts=old.rotations[name].shifts)
        for name, rotation in new.rotations.items()
        if rotation.feed and name in old.rotations and old.rotations[name].feed == rotation.feed
    }
    return replace(new, rotations={**new.rotations, **known}) if known else new


def _removal_note(new: Policy) -> str:
    below = f"the profile `{DEFAULT_PROFILE}`" if new is load_profile(DEFAULT_PROFILE) else "the organisation's policy"
    return f"`{POLICY_PATH}` is taken away: {below} would hold instead."


def make_check(sha: str, content: PolicyReview, faults: Sequence[PolicyFault], preamble: str = "") -> CheckRun:
    """Make the check run for that commit; `preamble` precedes the summary."""
    return CheckRun(
        name=CHECK_NAME,
        sha=sha,
        success=not faults,
        title=content.title,
        summary=f"{preamble}\n\n{content.summary}" if preamble else content.summary,
        annotations=tuple(
            Annotation(POLICY_PATH, one.line, one.column, one.where, f"{one.found}, {one.wanted}") for one in faults
        ),
    )


def load_past_incidents(ctx: WorkerContext, repository: Repository, now: datetime) -> list[PastIncident]:
    """Load the incidents of the last months of that repository from our own log."""
    with ctx.database.transaction() as db:
        return [
            PastIncident(
                f"{repository.name}#{incident_key.number}",
                stored.incident.title,
                incidents.load_log(db, incident_key),
                now,
            )
            for incident_key, stored in incidents.list_incidents_declared_since(
                db, repository.id, now - BACKTEST_PERIOD, MAX_INCIDENTS
            )
        ]
