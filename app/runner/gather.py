"""Gather everything known of one incident from GitHub alone, in as few calls as possible, mostly one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from app.core.decide import Decision
from app.core.effective_policy import policy_for
from app.core.effects import Notice
from app.core.events import Commented, Edited, Opened, Role
from app.core.incident import Incident
from app.core.noise_limits import PostedComment, comment_budget_of_keys
from app.core.policy import Policy
from app.core.replay import replay
from app.github.board_state import (
    PROPAGATION_PERIOD,
    BoardSnapshot,
    BoardState,
    MarkedComment,
    find_board,
    restore_events,
    role_at,
    trusts_transition,
)
from app.github.inbound import TimedEvent
from app.github.incident_history import with_roles
from app.github.timeline import detect_edit, is_known_event, list_past_assignees, read_postmortem_events, read_timeline
from app.github.tracker import comment_from, labels_of
from app.ports import Comment, PullRequest, postmortem_branches
from app.render import render_notices
from app.runner.active_policy import RunnerPolicy
from app.runner.context import RunContext
from app.runner.unsigned_markers import HINT, drop_unfounded_keys, find_first_board

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class IssueTimeline:
    """The timeline of one issue.

    `comments` are all comments, `own_comments` those that carry a marker of ours; `board` and `board_state` are None
    where there is no board.
    """

    rows: Sequence[Json]
    comments: tuple[Comment, ...]
    own_comments: tuple[MarkedComment, ...]
    board: Comment | None
    board_state: BoardState | None
    is_signed: bool = True
    """False where no secret signs the markers, so that they give no right: see `unsigned_markers`."""

    @property
    def snapshot(self) -> BoardSnapshot | None:
        """What the board records of itself."""
        return self.board_state.snapshot if self.board_state else None

    @property
    def processed_comments(self) -> frozenset[int]:
        """The ids of the comments whose commands were processed."""
        return self.snapshot.processed_comments if self.snapshot else frozenset()

    @property
    def assignees(self) -> frozenset[str]:
        """The logins of all past and present assignees of the issue."""
        return list_past_assignees(self.rows)

    @property
    def posted_comments(self) -> list[PostedComment]:
        """Our comments: when each was written, and the budget it used."""
        return [
            PostedComment(comment.created_at, comment_budget_of_keys([str(key) for key in content.get("keys", ())]))
            for comment, content in self.own_comments
        ]

    @property
    def comment_urls(self) -> dict[str, str]:
        """The URLs of our comments by the keys of the effects that they carry.

        The board's URL is under `board`; it is empty where there is no board.
        """
        urls = {str(key): comment.url for comment, content in self.own_comments for key in content.get("keys", ())}
        return {**urls, "board": self.board.url if self.board else ""}


@dataclass(frozen=True, slots=True)
class IncidentView:
    """One issue as GitHub shows it, and the incident that results from it.

    `log` holds the events with the rights of their authors at that time.  `preserved_commands` is the part of it that
    GitHub no longer shows: commands of comments that were changed afterwards.  `decision` is the incident after the
    log, with all effects up to now.
    """

    issue: Json
    timeline: IssueTimeline
    pull_request: PullRequest | None
    log: tuple[TimedEvent, ...]
    preserved_commands: tuple[TimedEvent, ...]
    decision: Decision

    @property
    def incident(self) -> Incident:
        """The incident after the log."""
        assert self.decision.incident is not None, "the log of an incident begins with its opening"
        return self.decision.incident

    @property
    def labels(self) -> frozenset[str]:
        """The labels on the issue."""
        return labels_of(self.issue)

    @property
    def comment_urls(self) -> dict[str, str]:
        """The URLs of what has been posted, by key; see IssueTimeline."""
        return self.timeline.comment_urls | ({"postmortem": self.pull_request.url} if self.pull_request else {})


@dataclass(frozen=True, slots=True)
class Trigger:
    """What the run learned from its event: the issue as it was then, and what happened.

    `previous_text` holds the commands of a comment before it was edited or deleted.  `is_current`: the issue was read
    in this run, so it needs no further call.
    """

    issue: Json | None = None
    events: tuple[TimedEvent, ...] = ()
    previous_text: TimedEvent | None = None
    is_current: bool = False


def load_timeline(run: RunContext, number: int) -> IssueTimeline:
    """Read the timeline of the issue: one call for each hundred rows.

    Raises DeliveryFailed, and NotFound.
    """
    if not run.has_secret:
        run.add_hint(HINT)
    rows = run.tracker.timeline(number)
    comment_rows = (row for row in rows if _is_comment(row))
    comments = tuple(comment_from({**row, "user": row.get("user") or row.get("actor")}) for row in comment_rows)
    markers = ((comment, run.signer.read(run.incident_key(number), comment)) for comment in comments)
    own_comments = tuple((comment, found) for comment, found in markers if found is not None)
    board, board_state = find_board(own_comments)
    return IssueTimeline(rows, comments, own_comments, board, board_state, is_signed=run.has_secret)


def gather_incident(
    run: RunContext, number: int, timeline: IssueTimeline, active: RunnerPolicy, trigger: Trigger
) -> IncidentView:
    """Gather the incident.

    Raises DeliveryFailed, and NotFound when the issue is unavailable.
    """
    issue = _current_issue(run, number, timeline, trigger)
    policy = active.policy
    if not timeline.is_signed:
        timeline = _with_first_board(timeline, issue, run.repository.name, policy)
    board_state, snapshot = timeline.board_state, timeline.snapshot
    preserved = _preserved_commands(timeline, trigger)
    # Without a secret nothing proves that the commands of an edited comment were there before the edit.
    processed_comments = timeline.processed_comments if timeline.is_signed else frozenset()
    rows = [row for row in timeline.rows if not _is_superseded(row, processed_comments, preserved)]
    from_timeline = (_with_incident_id(one, number) for one in read_timeline(issue, rows, run.repository.name, policy))
    events = [*_restore_events(from_timeline, timeline), *preserved.values()]
    known_events = [(one.at, one.event) for one in events]
    events += [
        one for one in trigger.events if not isinstance(one.event, Opened) and not is_known_event(one, known_events)
    ]

    def role(login: str, at: datetime) -> Role:
        if timeline.is_signed and snapshot is not None and at <= snapshot.at:
            recorded_role = role_at(board_state, login, at)
            if recorded_role is not None or at < snapshot.at - PROPAGATION_PERIOD:
                return recorded_role or Role.NONE  # the board records every role that mattered
        return run.role(login)

    def is_trusted(timed_event: TimedEvent) -> bool:
        written_at = snapshot.at if snapshot else None
        return trusts_transition(board_state, written_at, timed_event, is_signed=timeline.is_signed)

    log = list(with_roles(events, policy.labels, role, is_trusted=is_trusted))
    decision = replay_log(log, active, run.clock())
    assert decision.incident is not None, "the log of an incident begins with its opening"
    if edits := detect_edit(issue, run.repository.name, policy, decision.incident):
        log += with_roles(_newest_edits(edits, log), policy.labels, role)
        decision = replay_log(log, active, run.clock())
    pull_request = None
    if decision.incident is not None and decision.incident.postmortem_wanted:
        pull_request = run.tracker.pull_of(postmortem_branches(number))
    if pull_request is not None:
        log += read_postmortem_events(pull_request, run.tracker.timeline(pull_request.number))
        decision = replay_log(log, active, run.clock())
    if not timeline.is_signed:
        timeline = _with_founded_keys(timeline, decision, policy, run)
    return IncidentView(issue, timeline, pull_request, tuple(log), tuple(preserved.values()), decision)


def _with_first_board(timeline: IssueTimeline, issue: Json, repository: str, policy: Policy) -> IssueTimeline:
    """Return the timeline with the oldest board since the incident was declared."""
    opening = next(iter(read_timeline(issue, timeline.rows, repository, policy)))
    board, board_state = find_first_board(timeline.own_comments, timeline.comments, opening.at)
    return replace(timeline, board=board, board_state=board_state)


def _restore_events(events: Iterable[TimedEvent], timeline: IssueTimeline) -> Iterator[TimedEvent]:
    """Add what only the board knows; without a secret the author of the report is the one that GitHub names."""
    known = list(events)
    author = next((one.event.by for one in known if isinstance(one.event, Opened)), "")
    for one in restore_events(known, timeline.board_state):
        is_unproven = not timeline.is_signed and isinstance(one.event, Opened)
        yield replace(one, event=replace(one.event, by=author)) if is_unproven else one


def _with_founded_keys(timeline: IssueTimeline, decision: Decision, policy: Policy, run: RunContext) -> IssueTimeline:
    incident = decision.incident
    if incident is None:
        return timeline

    def render(notice: Notice) -> str:
        return render_notices([notice], incident, policy_for(policy, incident), run.clock(), comment_urls={}, footer="")

    return replace(timeline, own_comments=drop_unfounded_keys(timeline.own_comments, decision.effects, render))


def _preserved_commands(timeline: IssueTimeline, trigger: Trigger) -> dict[int, TimedEvent]:
    """Return the original commands of comments that were edited or deleted, by comment id.

    The text before an edit counts only if the comment was processed: only a new comment gives commands (M27).
    """
    snapshot, processed_comments = timeline.snapshot, timeline.processed_comments
    unedited = {row["id"] for row in timeline.rows if _is_comment(row) and not _is_edited(row)}
    preserved = {
        previous.comment: TimedEvent(at, previous) for at, previous in (snapshot.changed_commands if snapshot else ())
    }
    for one in trigger.events:
        if isinstance(one.event, Commented) and one.event.comment not in unedited:
            preserved.setdefault(one.event.comment, one)
    original = trigger.previous_text.event if trigger.previous_text else None
    if trigger.previous_text is not None and isinstance(original, Commented) and original.comment in processed_comments:
        preserved.setdefault(original.comment, trigger.previous_text)
    return preserved


def _is_superseded(row: Json, processed_comments: frozenset[int], preserved: Mapping[int, TimedEvent]) -> bool:
    """Return whether the current text of a comment must be ignored.

    That is so where it was edited, and its original commands are preserved or it was never processed.
    """
    if not _is_comment(row) or not _is_edited(row):
        return False
    return row["id"] in preserved or row["id"] not in processed_comments


def _is_comment(row: Json) -> bool:
    return row.get("event") == "commented"


def _is_edited(row: Json) -> bool:
    return row.get("updated_at") not in (None, row.get("created_at"))


def replay_log(log: Sequence[TimedEvent], active: RunnerPolicy, now: datetime) -> Decision:
    """Replay the log to the incident, with all effects up to now.

    It replays to the last event where that is later than `now`: GitHub's clock may be ahead of ours.
    """
    until = max([now, *(one.at for one in log)])
    return replay([(one.at, one.event) for one in log], active.policy, until)


def _current_issue(run: RunContext, number: int, timeline: IssueTimeline, trigger: Trigger) -> Json:
    """Return the current issue.

    Where there is no board of ours yet, the issue in the event is recent enough; only its labels are taken from the
    timeline.
    """
    if trigger.issue is not None and (trigger.is_current or timeline.board_state is None):
        issue = trigger.issue
        return (
            issue
            if trigger.is_current
            else {**issue, "labels": [{"name": one} for one in _current_labels(issue, timeline.rows)]}
        )
    return run.tracker.issue(number)


def _current_labels(issue: Json, rows: Sequence[Json]) -> list[str]:
    """Return the labels according to the timeline, which may be newer than the event."""
    names = dict.fromkeys(labels_of(issue))
    for row in rows:
        name = str((row.get("label") or {}).get("name") or "")
        if row.get("event") == "labeled":
            names[name] = None
        elif row.get("event") == "unlabeled":
            names.pop(name, None)
    return list(names)


def _with_incident_id(one: TimedEvent, number: int) -> TimedEvent:
    """Set the incident id, which is unique because it contains the issue number."""
    if not isinstance(one.event, Opened):
        return one
    return TimedEvent(one.at, replace(one.event, id=f"INC-{one.at:%Y}-{one.at:%m%d}-{number:03d}"))


def _newest_edits(edits: Sequence[TimedEvent], log: Sequence[TimedEvent]) -> list[TimedEvent]:
    """Date the edits after all known ones: the text that the issue shows now is the newest."""
    last = max((one.at for one in log if isinstance(one.event, (Edited, Opened))), default=None)
    return [TimedEvent(max(one.at, last) if last else one.at, one.event) for one in edits]
