"""Fire the alarms of all open incidents on a schedule: `muster run sweep`.

GitHub starts scheduled runs late, or not at all.  Everything that fell due since the last run is handled at once, in
one comment per incident, and the summary says how late that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from app.github.board_state import BoardSnapshot, parse_board_state
from app.github.tracker import parse_time
from app.ports import Comment, Deferred, DeliveryFailed, NotFound
from app.render.markdown.markup import Markdown, escape, markdown
from app.render.time_format import format_timedelta, pluralize
from app.runner.actions_io import Workflow
from app.runner.active_policy import RunnerPolicy
from app.runner.app_detection import find_app_comment
from app.runner.context import TITLE, RunContext, run_command, with_retries
from app.runner.gather import Trigger
from app.runner.incident_run import RulesFailed, Skipped, Task, handle_incident
from app.runner.summary import SweptIncident, sweep_summary
from app.runner.triage import report_skipped

_MAX_PAGES = 20
"""Maximum number of pages of the repository's comments, latest edit first, that are searched for boards."""
_COMMENTS_PER_PAGE = 100
_OWN_WRITE_PERIOD = timedelta(seconds=5)
"""A change of the issue this soon after its board was written was made by the same run."""
_MAX_INCIDENTS = 100
"""Maximum number of incidents handled in one run, the longest overdue first.

Each takes a few of the thousand calls that a run has per hour.
"""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _DueIncident:
    """An incident to be handled, and why.

    `due_at`: when its alarm fell due; None: none was due.  `open_postmortem`: its postmortem was refused, so this run
    tries again.
    """

    issue: Json
    reason: str
    due_at: datetime | None = None
    rewrite_board: bool = False
    open_postmortem: bool = False

    @property
    def number(self) -> int:
        return int(self.issue["number"])


def sweep(workflow: Workflow) -> int:
    """Do what is due and not yet done for all incidents; the exit code is that of `triage`."""
    return run_command(workflow, _sweep_once)


def _sweep_once(run: RunContext, payload: Json) -> int:
    active, now = run.active_policy(), run.clock()
    labels = active.policy.labels
    issues = [*run.tracker.open_incidents(labels.incident)]
    issues += run.tracker.closed_incidents((labels.incident, labels.postmortem_due))
    boards = _find_boards(run, issues)
    issues += _load_disputed_issues(run, boards, now)
    due = sorted(
        _list_due_incidents(issues, boards, active, now), key=lambda each: (each.due_at is None, each.due_at or now)
    )
    swept, notes = list[SweptIncident](), list[Markdown]()
    left_to_app = (
        [each for each in due if each.number not in {**boards.boards, **boards.others}] if boards.app_comment else []
    )
    if boards.app_comment is not None and left_to_app:
        skipped = Skipped("The app is at work here", boards.app_comment)
        if len(left_to_app) == len(due):
            report_skipped(run, skipped)
            return 1 if run.has_faults else 0
        notes.append(markdown("{}: {} left to it", escape(skipped.reason), pluralize(len(left_to_app), "incident")))
    own = [each for each in due if each not in left_to_app]
    handled_count = 0
    for each in own[:_MAX_INCIDENTS]:
        if not _handle_due(run, each, active, swept, notes):
            break
        handled_count += 1
    if len(own) > handled_count:
        notes.append(markdown("{} more are due: the next run looks into them", len(own) - handled_count))
    _write_outputs(run, len(issues), swept, notes, active, measure_schedule_delay(payload, now))
    return 1 if run.has_faults else 0


def _handle_due(
    run: RunContext, due: _DueIncident, active: RunnerPolicy, swept: list[SweptIncident], notes: list[Markdown]
) -> bool:
    """Handle one incident; its failure does not stop the others.

    False: GitHub defers calls for longer, so the sweep ends.
    """
    task = Task(due.number, Trigger(due.issue, is_current=True), due.open_postmortem, due.rewrite_board)
    try:
        result = with_retries(run, lambda: handle_incident(run, task, active, newest_comments=[]))
    except DeliveryFailed as failed:
        run.report_failure(failed)
        run.has_faults = True
        if isinstance(failed, Deferred):
            return False
        notes.append(markdown("#{} could not be looked into", due.number))
        return True
    except RulesFailed as failed:
        run.workflow.annotate("error", f"{failed}.", title=TITLE)
        run.has_faults = True
        notes.append(markdown("#{} could not be looked into", due.number))
        return True
    if isinstance(result, Skipped):
        notes.append(escape(result.reason))
        return True
    # An incident without a board has no known alarm; the notices posted now show since when they were due.
    due_times = [*filter(None, (due.due_at,)), *(notice.at for notice in result.outcome.notices)]
    delay = max(run.clock() - min(due_times), timedelta()) if due_times else None
    swept.append(SweptIncident(result.incident, due.reason, delay, result.outcome))
    return True


@dataclass(frozen=True, slots=True)
class _BoardScan:
    """The boards of some issues, by issue number, and a comment of the app's if the newest contain one.

    `others` are the boards of other issues among the newest comments.  `in_doubt` are the issues with several boards
    where no secret signs them, so that any but one may be made up.
    """

    boards: Mapping[int, tuple[Comment, BoardSnapshot]]
    others: Mapping[int, tuple[Comment, BoardSnapshot]]
    app_comment: Comment | None
    in_doubt: frozenset[int] = frozenset()


def _find_boards(run: RunContext, issues: Sequence[Json]) -> _BoardScan:
    """Find the boards of the issues, latest edit first, reading no more pages than needed.

    Without a secret all comments since the oldest issue are read: a second board shows that one of them is made up.
    """
    numbers = {int(issue["number"]) for issue in issues}
    oldest = min((parse_time(issue["created_at"]) for issue in issues), default=None)
    found: dict[int, tuple[Comment, BoardSnapshot]] = {}
    newest: list[Comment] = []
    in_doubt: set[int] = set()
    for nth, comment in enumerate(islice(run.tracker.comments_by_update(), _MAX_PAGES * _COMMENTS_PER_PAGE), 1):
        is_new = nth <= _COMMENTS_PER_PAGE
        if is_new:
            newest.append(comment)
        elif not run.has_secret and oldest is not None and (comment.updated_at or comment.created_at) < oldest:
            break
        if (is_new or comment.issue in numbers) and not (run.has_secret and comment.issue in found):
            content = run.signer.read(run.incident_key(comment.issue), comment)
            board_state = parse_board_state(content) if content else None
            if board_state is not None and board_state.snapshot is not None:
                if comment.issue in found:
                    in_doubt.add(comment.issue)
                found[comment.issue] = comment, board_state.snapshot
        if run.has_secret and nth >= _COMMENTS_PER_PAGE and numbers <= found.keys():
            break
    boards = {number: board for number, board in found.items() if number in numbers}
    others = {number: board for number, board in found.items() if number not in numbers}
    return _BoardScan(boards, others, find_app_comment(run, newest), frozenset(in_doubt))


def _load_disputed_issues(run: RunContext, scan: _BoardScan, now: datetime) -> Iterator[Json]:
    """Yield the closed issues whose incidents go on, because people without rights closed them, and are due.

    Their boards have alarms, and are among the comments edited last.
    """
    for number, (_, snapshot) in scan.others.items():
        if snapshot.next_alarm_at is not None and snapshot.next_alarm_at <= now:
            try:
                yield run.tracker.issue(number)
            except NotFound:
                continue


def _list_due_incidents(
    issues: Iterable[Json], boards: _BoardScan, active: RunnerPolicy, now: datetime
) -> Iterator[_DueIncident]:
    for issue in issues:
        number = int(issue["number"])
        board = boards.boards.get(number) or boards.others.get(number)
        if board is None:
            yield _DueIncident(issue, "it has no board")
            continue
        if int(issue["number"]) in boards.in_doubt:
            yield _DueIncident(issue, "it has several boards")
            continue
        comment, snapshot = board
        written = comment.updated_at or comment.created_at
        refused = bool(snapshot.postmortem_refusal)
        if snapshot.next_alarm_at is not None and snapshot.next_alarm_at <= now:
            yield _DueIncident(issue, "an alarm was due", snapshot.next_alarm_at, open_postmortem=refused)
        elif snapshot.policy_version != active.version:
            yield _DueIncident(issue, "another policy holds", open_postmortem=refused)
        elif parse_time(issue["updated_at"]) > written + _OWN_WRITE_PERIOD:
            reason = "something happened since its board was written"
            yield _DueIncident(issue, reason, rewrite_board=True, open_postmortem=refused)
        elif refused:
            yield _DueIncident(issue, "its postmortem was refused", open_postmortem=True)


def measure_schedule_delay(payload: Json, now: datetime) -> timedelta | None:
    """Return the time since the schedule's last occurrence; None where it does not run every hour of every day.

    The run may have been meant for an earlier occurrence, which GitHub does not say.
    """
    minute, *other_fields = str(payload.get("schedule") or "none").split()
    minutes = _parse_minutes(minute)
    if other_fields != ["*"] * 4 or not minutes:
        return None
    at = now.replace(second=0, microsecond=0)
    while at.minute not in minutes:
        at -= timedelta(minutes=1)
    return now - at


def _parse_minutes(field: str) -> set[int]:
    """Parse the minutes of a cron schedule, such as `*/5` or `7,37`; empty for any other form."""
    every, slash, step = field.partition("/")
    if every == "*":
        steps = int(step) if step.isascii() and step.isdigit() and 0 < int(step) < 60 else 1
        return set(range(0, 60, steps)) if not slash or step else set()
    parts = field.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) < 60 for part in parts):
        return set()
    return {int(part) for part in parts}


def _choose_due_postmortem(swept: Sequence[SweptIncident], now: datetime) -> str:
    """Return the number of an incident whose postmortem is still to be opened; empty: there is none.

    Of several another one each minute, so that one that stays refused does not keep the others waiting.
    """
    due = sorted(
        each.incident.number for each in swept if each.incident.postmortem_wanted and each.incident.postmortem is None
    )
    return str(due[int(now.timestamp()) // 60 % len(due)]) if due else ""


def _write_outputs(
    run: RunContext,
    total: int,
    swept: list[SweptIncident],
    notes: list[Markdown],
    active: RunnerPolicy,
    schedule_delay: timedelta | None,
) -> None:
    workflow = run.workflow
    workflow.append_summary(sweep_summary(total, swept, notes, active, schedule_delay))
    max_delay = max((each.delay for each in swept if each.delay is not None), default=timedelta())
    workflow.set_output("skipped", "false")
    workflow.set_output("open", total)
    workflow.set_output("due", len(swept))
    workflow.set_output("postmortem-due", _choose_due_postmortem(swept, run.clock()))
    workflow.set_output("notices", sum(len(each.outcome.notices) for each in swept))
    workflow.set_output("lag", int(max_delay.total_seconds()))
    delay_text = f"; the latest alarm was {format_timedelta(max_delay)} late" if max_delay else ""
    workflow.annotate(
        "notice", f"{pluralize(total, 'incident')} looked after, {len(swept)} due{delay_text}.", title=TITLE
    )
