"""Apply the decision: compare what should be on the issue with what is there, and send only the difference.

The rule of this module: the board is written last.  It records until when everything due was done, so a run that dies
before that leaves no record, and the next run does what is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from app.core import noise_limits
from app.core.clocks import alarms
from app.core.effective_policy import policy_for
from app.core.effects import (
    Announce,
    Assign,
    Effect,
    Escalate,
    Help,
    Notice,
    OpenPostmortem,
    Page,
    React,
    Remind,
    Reply,
)
from app.core.events import Commented
from app.core.labels import desired_labels, own_labels
from app.core.notice_relevance import drop_oldest, not_before, still_relevant
from app.core.on_call import reviewers
from app.github import board_state
from app.github.board_state import BoardSnapshot
from app.github.timeline import event_links, read_postmortem_events
from app.ports import Comment, Deferred, DeliveryFailed, NotFound, Outlook, PullRequest
from app.render import render_board, render_help, render_notices, render_postmortem, render_reply
from app.render.markdown.phrases import comment_limit_warning
from app.runner.active_policy import RunnerPolicy
from app.runner.context import PERMISSION_ERROR, TITLE, RunContext
from app.runner.gather import IncidentView, replay_log
from app.runner.refusals import describe_refusal
from app.text import replace_unstorable

_PAST_NOTICE_AGE = timedelta(minutes=10)
"""A notice due this long before the board was written was posted then, or is no longer relevant."""


@dataclass
class Outcome:
    """What a run did, for its summary.

    `notices` were posted together in one comment; `board_action` is `posted`, `edited` or empty.  `throttled_until`:
    comments were deferred until then by the comment limit; None: none was.  `postmortem_refusal` says why the pull
    request of the postmortem is not there, as far as GitHub has refused it, now or in an earlier run.  `refusal`: what
    else GitHub refused, and what would help; empty: nothing.
    """

    added_labels: frozenset[str] = frozenset()
    removed_labels: frozenset[str] = frozenset()
    notices: tuple[Notice, ...] = ()
    reply_count: int = 0
    reaction_count: int = 0
    assigned_logins: list[str] = field(default_factory=list)
    board_action: str = ""
    board_url: str = ""
    pull_request: PullRequest | None = None
    postmortem_refusal: str = ""
    throttled_until: datetime | None = None
    refusal: str = ""

    @property
    def has_changes(self) -> bool:
        """True if the run changed anything."""
        changes = (
            self.added_labels,
            self.removed_labels,
            self.notices,
            self.reply_count,
            self.reaction_count,
            self.assigned_logins,
            self.board_action,
        )
        return any(changes) or self.pull_request is not None


def apply_effects(
    run: RunContext, view: IncidentView, active: RunnerPolicy, *, open_postmortem: bool, rewrite_board: bool = False
) -> tuple[IncidentView, Outcome]:
    """Carry out what is not done yet; return the incident as it is then, and what was done.

    `open_postmortem`: also open the pull request of the postmortem.  `rewrite_board`: write the board even if its
    content is unchanged, so that it is newer than the latest change of the issue.  Raises DeliveryFailed.
    """
    outcome = Outcome()
    snapshot = view.timeline.snapshot
    if snapshot is not None and view.incident.postmortem_wanted and view.pull_request is None:
        outcome.postmortem_refusal = snapshot.postmortem_refusal
    if open_postmortem:
        view = _open_postmortem(run, view, active, outcome)
    if not view.incident.unavailable:
        writer = _IssueWriter(run, view, active, outcome)
        writer.update_labels()
        writer.post_comments()
        writer.update_board(rewrite_board=rewrite_board)
    return view, outcome


@dataclass
class _IssueWriter:
    """Writes labels, comments and the board of one issue."""

    run: RunContext
    view: IncidentView
    active: RunnerPolicy
    outcome: Outcome

    def __post_init__(self) -> None:
        self.incident = self.view.incident
        self.number = self.incident.number
        self.policy = policy_for(self.active.policy, self.incident)
        self.timeline = self.view.timeline
        self.comment_urls = self.view.comment_urls
        self.posted_comments = self.timeline.posted_comments

    def signed_marker(self, content: Mapping[str, object]) -> str:
        return self.run.signer.marker(self.run.incident_key(self.number), content)

    def update_labels(self) -> None:
        desired, own = desired_labels(self.incident, self.active.policy), own_labels(self.policy.labels)
        current = self.view.labels
        self.outcome.added_labels, self.outcome.removed_labels = desired - current, (current & own) - desired
        self.run.tracker.set_labels(self.number, self.outcome.added_labels, self.outcome.removed_labels)

    def post_comments(self) -> None:
        """Post what is posted only once, in order; notices that are pending together become one comment."""
        comments = {comment.id: comment for comment in self.timeline.comments}
        notices = list(self._due_notices())
        for effect in self.view.decision.effects:
            if isinstance(effect, Assign) and effect.login not in (
                *self.timeline.assignees,
                *self.outcome.assigned_logins,
            ):
                self.run.tracker.assign(self.number, effect.login)
                self.outcome.assigned_logins.append(effect.login)
            elif isinstance(effect, React):
                target_comment = comments.get(effect.comment)  # None: too new for the timeline to show it
                if (
                    not target_comment.reactions
                    if target_comment is not None
                    else effect.comment not in self.timeline.processed_comments
                ):
                    self._add_reaction(effect)
            elif isinstance(effect, Reply | Help) and effect.key not in self.comment_urls:
                self._post_reply(effect)
            elif isinstance(effect, Notice) and notices and effect is notices[0]:
                self._post_notices(notices)

    def _due_notices(self) -> Iterator[Notice]:
        """Yield the notices still to be posted; of more than fit into a comment, the newest."""
        effects = [each for each in self.view.decision.effects if isinstance(each, Notice)]
        due = [each for each in dict.fromkeys(effects) if self._is_due(each)]
        if due and not_before(due, self.policy, self.run.clock()) > self.run.clock():
            return iter(())
        dropped = drop_oldest(due)
        return (each for each in due if each.key not in dropped)

    def _is_due(self, effect: Notice) -> bool:
        if effect.key in self.comment_urls or not still_relevant(effect, self.incident, frozenset(), self.run.clock()):
            return False
        snapshot = self.timeline.snapshot
        if snapshot is None:
            return True
        if isinstance(effect, Page | Remind):
            # Its key can be new although the notice is not: under another policy, or with more due than fits a comment.
            return snapshot.has_deferred_notices or effect.at >= snapshot.at - _PAST_NOTICE_AGE
        if isinstance(effect, Escalate | Announce) and snapshot.policy_version != self.active.version:
            return not any(_address_same_recipients(effect.key, key) for key in self.comment_urls)
        return True

    def _add_reaction(self, effect: React) -> None:
        try:
            self.run.tracker.react(effect.comment)
        except NotFound:
            return  # the comment was deleted, and its reaction with it
        self.outcome.reaction_count += 1

    def _post_reply(self, effect: Reply | Help) -> None:
        footer = self.signed_marker({"keys": [effect.key]})
        if isinstance(effect, Help):
            body = render_help(effect, self.incident, self.policy, footer=footer)
        else:
            body = render_reply(effect, footer=footer)
        if self._post_comment(effect.key, body, [effect]):
            self.outcome.reply_count += 1

    def _post_notices(self, notices: Sequence[Notice]) -> None:
        body = render_notices(
            notices,
            self.incident,
            self.policy,
            self.run.clock(),
            comment_urls=self.comment_urls,
            footer=self.signed_marker({"keys": [each.key for each in notices]}),
        )
        if url := self._post_comment(notices[0].key, body, notices):
            self.comment_urls |= dict.fromkeys((each.key for each in notices), url)
            self.outcome.notices = tuple(notices)

    def _post_comment(self, key: str, body: str, effects: Sequence[Effect]) -> str:
        """Post a comment and return its URL; empty where the comment limit of the issue is reached."""
        now, budget = self.run.clock(), noise_limits.comment_budget(effects)
        recent = [each for each in self.posted_comments if each.at > now - noise_limits.DAY]
        until = noise_limits.next_comment_at(recent, now, budget, repeats=noise_limits.only_repeats(effects))
        if until > now and budget is noise_limits.CommentBudget.OUTSIDERS:
            return ""  # nothing waits for it: the board needs no word of it, and no run has to come back
        if until > now:
            self.outcome.throttled_until = max(until, self.outcome.throttled_until or until)
            return ""
        posted = self._comment_unless_locked(body)
        if posted is None:
            return ""
        self.posted_comments.append(noise_limits.PostedComment(min(now, posted.created_at), budget))
        self.comment_urls[key] = posted.url
        return posted.url

    def _comment_unless_locked(self, body: str) -> Comment | None:
        """Post a comment; None where the conversation is locked: a run after the unlock posts it."""
        try:
            return self.run.tracker.comment(self.number, body)
        except DeliveryFailed as failed:
            if failed.refusal is None or failed.refusal.outlook is not Outlook.LOCKED:
                raise
            self.outcome.refusal = failed.refusal.sentence
            return None

    def update_board(self, *, rewrite_board: bool) -> None:
        """Edit the board in place; post a new one only if there is none, or it was deleted."""
        now, comment, snapshot = self.run.clock(), self.timeline.board, self.timeline.snapshot
        if comment is not None and snapshot is not None and not rewrite_board:
            unchanged_body = self._render_board(snapshot.at, snapshot.processed_comments)
            if replace_unstorable(unchanged_body).rstrip() == comment.body.rstrip():
                self.outcome.board_url = comment.url
                return
        # A newly processed comment alone is no reason to write the board: a change that it caused is.
        processed_comments = frozenset(one.event.comment for one in self.view.log if isinstance(one.event, Commented))
        body = self._render_board(now, processed_comments)
        if comment is not None:
            try:
                self.run.tracker.edit_comment(comment.id, body)
            except NotFound:
                pass  # deleted a moment ago: post a new one
            else:
                self.outcome.board_action, self.outcome.board_url = "edited", comment.url
                return
        posted = self._comment_unless_locked(body)
        if posted is not None:
            self.outcome.board_action, self.outcome.board_url = "posted", posted.url

    def _render_board(self, now: datetime, processed_comments: frozenset[int]) -> str:
        throttled_until = self.outcome.throttled_until
        preserved_keys = {one.event.key for one in self.view.preserved_commands}
        next_times = [alarm.due for alarm in alarms(self.incident, self.active.policy)][:1] + (
            [throttled_until] if throttled_until else []
        )
        snapshot = BoardSnapshot(
            now,
            min(next_times, default=None),
            self.active.version,
            throttled_until is not None,
            processed_comments,
            tuple(
                (one.at, one.event)
                for one in self.view.log
                if one.event.key in preserved_keys and isinstance(one.event, Commented)
            ),
            self.outcome.postmortem_refusal,
        )
        warnings = [self.active.warning] if self.active.warning else []
        if self.outcome.postmortem_refusal:
            warnings.append(self.outcome.postmortem_refusal)
        if throttled_until is not None:
            warnings.append(comment_limit_warning(throttled_until))
        return render_board(
            self.incident,
            self.policy,
            now,
            comment_urls=self.comment_urls,
            footer=self.signed_marker({**board_state.marker_content(self.incident), **snapshot.marker_content()}),
            warnings=warnings,
        )


def _address_same_recipients(key: str, posted_key: str) -> bool:
    """Return whether both keys address the same people between the same two reopenings.

    Both have to be escalation steps or announcements.
    """
    return key.startswith(("escalate/", "announce/")) and _recipients_and_reopening(key) == _recipients_and_reopening(
        posted_key
    )


def _recipients_and_reopening(key: str) -> tuple[str, str]:
    """Split a key such as `escalate/cto@1h#2` into its recipients and the number of the reopening."""
    return key.partition("@")[0].partition("#")[0], key.partition("#")[2]


def _open_postmortem(run: RunContext, view: IncidentView, active: RunnerPolicy, outcome: Outcome) -> IncidentView:
    """Return the incident with its postmortem pull request, opened now if requested and never opened before."""
    is_requested = any(isinstance(effect, OpenPostmortem) for effect in view.decision.effects)
    if not is_requested or view.pull_request is not None:
        return view
    incident, policy, now = view.incident, policy_for(active.policy, view.incident), run.clock()
    comment_urls = {**event_links(view.timeline.rows, incident), **view.comment_urls}
    file = render_postmortem(incident, policy, comment_urls=comment_urls, now=now)
    try:
        pull_request = run.postmortem_tracker.open_pull_request(file)
    except DeliveryFailed as failed:
        if failed.refusal is None or isinstance(failed, Deferred):
            raise
        _record_refusal(run, failed, outcome, incident.number)
        return view
    outcome.postmortem_refusal = ""
    if pull_request.state == "open":
        run.postmortem_tracker.ask_review(pull_request.number, reviewers(incident, policy, now))
    outcome.pull_request = pull_request
    log = (*view.log, *read_postmortem_events(pull_request, ()))
    decision = replay_log(log, active, run.clock())
    return replace(view, log=log, decision=decision, pull_request=pull_request)


def _record_refusal(run: RunContext, failed: DeliveryFailed, outcome: Outcome, number: int) -> None:
    """Record that GitHub refused the postmortem: everything else of the incident is done all the same.

    Raises the error where the job lacks a permission, which its workflow gives; but not in a run that only tries again,
    such as a sweep, whose job need not have it.
    """
    assert failed.refusal is not None
    if PERMISSION_ERROR in str(failed):
        if outcome.postmortem_refusal:
            return
        raise failed
    if failed.refusal.outlook is Outlook.TRANSIENT and not outcome.postmortem_refusal:
        raise failed  # tried again in a moment
    outcome.postmortem_refusal = describe_refusal(failed.refusal)
    run.workflow.annotate("warning", f"#{number}: {outcome.postmortem_refusal}", title=TITLE)
