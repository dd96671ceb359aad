"""Show the effect of a proposed policy change as a check run on the newest commit of its pull request.

Pull requests that do not touch the policy get no check.  A push of a faulty file to the default branch gets one: that
file never takes effect, and its author should see that on the commit.

A proposal may come from anyone.  So routing only records it, its reviews have a queue of their own, one at a time for
an installation and so many an hour, and the file itself is read in a process of its own (`review_child`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from app.core.severity import Severity
from app.github.incident_history import BACKTEST_PERIOD, MAX_INCIDENTS
from app.policy_file import POLICY_PATH
from app.policy_file.yaml_tree import MAX_FILE_BYTES
from app.ports import Annotation, CheckRun, DeliveryFailed, Repository, Tracker
from app.rate_limit import Priority
from app.store import policies, policy_reviews
from app.store.policies import PolicyScope, StoredPolicy
from app.store.policy_reviews import StoredReview
from app.worker.context import WorkerContext
from app.worker.pipeline.review_child import ReviewInput, ReviewLimits
from app.worker.pipeline.review_failure import describe_failure
from app.worker.pipeline.review_process import ReviewAnswer, ReviewFailure, run_review

log = structlog.get_logger()

_ReviewStarter = Callable[[ReviewInput], ReviewAnswer | None]
"""Makes a review; None: it was interrupted."""

CHECK_NAME = "Muster policy"
MAX_REVIEWS_PER_HOUR = 30
"""How many reviews an installation starts an hour for pull requests from forks, and how many for all others."""
MAX_FORK_LOOKS_PER_HOUR = 1000
"""How many commits of forks an installation looks at an hour, to see whether they change the policy."""
_MAX_ATTEMPTS = 3
"""After so many attempts that did not come to their end, a review is given up, and its author told."""
_MAX_EVENTS = 20_000
_MAX_LOG_BYTES = 8 * 1024 * 1024
"""How much of the past a review is given, the newest incidents first."""
_RETRY_PERIOD = timedelta(days=1)
"""Period after which failed attempts are given up: the author can push again."""
_RETRY_INTERVAL = timedelta(seconds=10)
_FILE_LAG_PERIOD = timedelta(minutes=1)
"""Time for which GitHub may announce a commit whose files cannot be read yet."""
_LOWEST_PRIORITY = Priority(Severity.SEV4, display_only=True)
"""Priority of all calls for a review: they come after those for incidents."""
_PUSHED_FAULT_NOTE = (
    "This file is on the default branch and never takes effect: the last good one does, until this one is mended. "
    "Muster says so once, on an open incident."
)


def run_next_review(
    ctx: WorkerContext,
    installation: int,
    should_continue: Callable[[], bool] = lambda: True,
    limits: ReviewLimits | None = None,
) -> bool:
    """Make the next due review of an installation, and publish its check run; False: none was due.

    A running review is stopped, and made again later, once `should_continue` returns False.
    """
    now = ctx.clock()
    with ctx.database.transaction() as db:
        review = policy_reviews.claim_next_review(db, installation, now)
    if review is None:
        return False
    tracker = ctx.tracker(review.repository).with_priority(_LOWEST_PRIORITY)
    start = partial(run_review, should_continue=should_continue, limits=limits or ReviewLimits())
    try:
        check = _load_check(review) if review.result else _review(ctx, tracker, review, start, now)
        if check is not None:
            ctx.failpoints.reach("before_post")
            tracker.check(check)
            ctx.failpoints.reach("after_post_before_mark")
            _finish(ctx, review)
    except DeliveryFailed as failed:
        waited = now - review.request.received_at
        period = _RETRY_PERIOD if failed.refusal is None else min(_RETRY_PERIOD, failed.refusal.retry_period)
        permanent = failed.retry_after is None or waited >= period
        log.warning("policy not checked", repository=review.repository.name, never=permanent, reason=str(failed))
        if permanent:
            _finish(ctx, review, str(failed))
        else:
            _postpone(ctx, review, now + max(timedelta(seconds=failed.retry_after or 0), _RETRY_INTERVAL, waited / 2))
    return True


def _review(
    ctx: WorkerContext, tracker: Tracker, review: StoredReview, start: _ReviewStarter, now: datetime
) -> CheckRun | None:
    """Review the proposal and record its check run.

    None: there is nothing to publish now, and that is recorded too.  Raises DeliveryFailed if a file cannot be read
    yet.
    """
    if review.attempts > _MAX_ATTEMPTS:
        return _record_answer(ctx, review, ReviewAnswer(failure=ReviewFailure.BROKEN))
    proposal = _load_admitted_proposal(ctx, tracker, review, now)
    if proposal is None:
        return None
    answer = _answer_proposal(ctx, tracker, review, proposal, start)
    if answer is None:
        _postpone(ctx, review, now)
        return None
    if proposal.faults_only and answer.failure is None and not answer.faults:
        _finish(ctx, review, "nothing to show")
        return None
    return _record_answer(ctx, review, answer)


def _load_admitted_proposal(
    ctx: WorkerContext, tracker: Tracker, review: StoredReview, now: datetime
) -> ReviewInput | None:
    """Load what a review needs, as far as the budgets of its installation allow it.

    None: they do not, or there is nothing to show, and that is recorded.  Raises DeliveryFailed.
    """
    with ctx.database.transaction() as db:
        next_look = policy_reviews.admit_claim(db, review, now, MAX_FORK_LOOKS_PER_HOUR)
    if next_look is not None:
        _postpone(ctx, review, next_look)
        return None
    proposal = _load_proposal(ctx, tracker, review, now)
    if proposal is None:
        _finish(ctx, review, "nothing to show")
        return None
    with ctx.database.transaction() as db:
        reset = policy_reviews.find_budget_reset(db, review, now, MAX_REVIEWS_PER_HOUR)
        if reset is None:
            policy_reviews.record_review_start(db, review, ctx.clock())
    if reset is not None:
        _announce_wait(ctx, tracker, review, reset)
        return None
    return proposal


def _load_proposal(ctx: WorkerContext, tracker: Tracker, review: StoredReview, now: datetime) -> ReviewInput | None:
    """Load what a review needs; None if there is nothing to show.  Raises DeliveryFailed."""
    repository, request = review.repository, review.request
    text = tracker.file(POLICY_PATH, request.head)
    if text is None and not request.number:
        return None
    active = ctx.policies.load(ctx.database, tracker, repository, now).policy
    with ctx.database.transaction() as db:
        stored = policies.load_stored_policy(db, PolicyScope.repository(repository.id))
    if not _may_change_policy(tracker, review, stored, text, now):
        return None
    past, skipped = _load_past_lines(ctx, repository, now) if request.number else ([], 0)
    return ReviewInput(
        repo=repository.name,
        now=now,
        old=(stored.text, stored.base_text),
        # One byte more than is read, so that the reader says that the file is too large.
        new=(text if text is None else text[: MAX_FILE_BYTES + 1], None),
        base_is_known=False,
        shifts={name: one.shifts for name, one in active.rotations.items() if one.shifts},
        faults_only=not request.number,
        past=past,
        skipped_incidents=skipped,
    )


def _may_change_policy(
    tracker: Tracker, review: StoredReview, stored: StoredPolicy, text: str | None, now: datetime
) -> bool:
    """Return False if the proposal leaves the policy alone.  Raises DeliveryFailed."""
    request = review.request
    if not request.number:
        return stored.text != text or bool(stored.fault)  # or else it is the active policy already
    if stored.checked_at is None:
        raise DeliveryFailed("the policy in force is not known now", retry_after=5)
    if text == stored.newest_text or (change := tracker.file_change(request.number, POLICY_PATH)) == "none":
        return False
    if text is None and change == "written" and now - request.received_at < _FILE_LAG_PERIOD:
        raise DeliveryFailed("the file cannot be seen yet", retry_after=5)
    return True


def _load_past_lines(ctx: WorkerContext, repository: Repository, now: datetime) -> tuple[list[str], int]:
    """Load the incidents of the last months from our own log, as lines of a ReviewInput, and count those left out."""
    with ctx.database.transaction() as db:
        logs, skipped = policy_reviews.list_past_logs(
            db,
            repository.id,
            now - BACKTEST_PERIOD,
            max_incidents=MAX_INCIDENTS,
            max_events=_MAX_EVENTS,
            max_bytes=_MAX_LOG_BYTES,
        )
    return [each.to_json() for each in logs], skipped


def _answer_proposal(
    ctx: WorkerContext, tracker: Tracker, review: StoredReview, proposal: ReviewInput, start: _ReviewStarter
) -> ReviewAnswer | None:
    """Review the proposal, once more with the organisation's file if it builds on that; None: interrupted.

    Only the separate process finds out whether it does, since this one does not read what it says.
    """
    answer = None
    if proposal.new[0] is not None:
        answer = start(proposal)
        if answer is None or not answer.needs_organisation:
            return answer
    base = ctx.policies.load_base_text(ctx.database, tracker, review.repository, proposal.new[0], proposal.now)
    proposal = replace(proposal, new=(proposal.new[0], base), base_is_known=True)
    return start(proposal)


def _record_answer(ctx: WorkerContext, review: StoredReview, answer: ReviewAnswer) -> CheckRun:
    """Record the check run that the answer makes, so that this commit is never reviewed again."""
    if answer.failure is not None:
        title, summary = describe_failure(answer.failure, answer.pages_per_hour, review.repository.name)
    else:
        title, summary = answer.title, answer.summary
    preamble = "" if review.request.number else f"{_PUSHED_FAULT_NOTE}\n\n"
    check = CheckRun(
        name=CHECK_NAME,
        sha=review.request.head,
        success=not answer.faults and answer.failure is None,
        title=title,
        summary=preamble + summary,
        annotations=answer.faults,
    )
    with ctx.database.transaction() as db:
        policy_reviews.record_review_result(db, review, json.dumps(asdict(check)), ctx.clock())
    return check


def _load_check(review: StoredReview) -> CheckRun:
    """Load the check run that was recorded for this review."""
    fields = json.loads(review.result)
    annotations = tuple(Annotation(**each) for each in fields.pop("annotations"))
    return CheckRun(**fields, annotations=annotations)


def _announce_wait(ctx: WorkerContext, tracker: Tracker, review: StoredReview, until: datetime) -> None:
    """Postpone the review until the budget of its installation allows it, and say so once on the commit."""
    sentence = (
        f"{MAX_REVIEWS_PER_HOUR} proposals were reviewed here in the last hour, and no more are until"
        f" {until:%H:%M} UTC. This one is in line: nothing has to be done for it."
    )
    title = f"Too many proposals at once: reviewed again at {until:%H:%M} UTC"
    if not review.announced:
        tracker.check(CheckRun(CHECK_NAME, review.request.head, False, title, sentence, is_waiting=True))
    _postpone(ctx, review, until, announced=True)


def _postpone(ctx: WorkerContext, review: StoredReview, until: datetime, *, announced: bool = False) -> None:
    with ctx.database.transaction() as db:
        policy_reviews.postpone_review(db, review, until, announced=announced)


def _finish(ctx: WorkerContext, review: StoredReview, note: str = "") -> None:
    with ctx.database.transaction() as db:
        policy_reviews.finish_review(db, review, note)
