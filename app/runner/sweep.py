"""Fires the alarms of all open incidents on a schedule: `muster run sweep`.

GitHub starts scheduled runs late, or not at all.  Everything that fell due since the last run is handled at once, in
one comment per incident, and the summary says how late that was.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from app.github.board_state import AsShown, parse_board_state
from app.github.tracker import parse_time
from app.ports import Comment, DeliveryFailed, NotYet
from app.render.markdown.markup import Markdown, escape, markdown
from app.render.time_format import format_timedelta, pluralize
from app.runner.actions_io import Workflow
from app.runner.active_policy import InForce
from app.runner.app_detection import find_app_comment
from app.runner.context import TITLE, Run, run_command, with_retries
from app.runner.gather import News
from app.runner.incident_run import Errand, Left, handle_incident
from app.runner.summary import Swept, sweep_summary
from app.runner.triage import report_skipped

_MAX_PAGES = 20
"""Maximum number of pages of the repository's comments, latest edit first, that are searched for boards."""
_OWN_WRITE_PERIOD = timedelta(seconds=5)
"""A change of the issue this soon after its board was written was made by the same run."""
_MAX_INCIDENTS = 100
"""Maximum number of incidents handled in one run, the longest overdue first.

Each takes a few of the thousand calls that a run has per hour.
"""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Due:
    """An incident to be handled, and why.  `due_at`: when its alarm fell due; None: none was due."""

    issue: Json
    why: str
    at: datetime | None = None
    touched: bool = False

    @property
    def number(self) -> int:
        return int(self.issue["number"])


def sweep(workflow: Workflow) -> int:
    """Do what is due and not yet done for all incidents; the exit code is that of `triage`."""
    return run_command(workflow, _sweep_once)


def _sweep_once(run: Run, payload: Json) -> int:
    force, now = run.active_policy(), run.clock()
    labels = force.policy.labels
    issues = [*run.tracker.open_incidents(labels.incident)]
    issues += run.tracker.closed_incidents((labels.incident, labels.postmortem_due))
    boards = _find_boards(run, {int(issue["number"]) for issue in issues})
    due = sorted(_list_due_incidents(issues, boards, force, now), key=lambda each: (each.at is None, each.at or now))
    swept, others = list[Swept](), list[Markdown]()
    theirs = [each for each in due if each.number not in boards.found] if boards.app else []
    if boards.app is not None and theirs:
        found = Left("The app is at work here", boards.app)
        if len(theirs) == len(due):
            report_skipped(run, found)
            return 1 if run.faults else 0
        others.append(markdown("{}: {} left to it", escape(found.why), pluralize(len(theirs), "incident")))
    ours = [each for each in due if each not in theirs]
    done = 0
    for each in ours[:_MAX_INCIDENTS]:
        if not _handle_due(run, each, force, swept, others):
            break
        done += 1
    if len(ours) > done:
        others.append(markdown("{} more are due: the next run looks into them", len(ours) - done))
    _write_outputs(run, len(issues), swept, others, force, measure_schedule_delay(payload, now))
    return 1 if run.faults else 0


def _handle_due(run: Run, each: _Due, force: InForce, swept: list[Swept], others: list[Markdown]) -> bool:
    """Handle one incident; its failure does not stop the others.

    False: GitHub defers calls for longer, so the sweep ends.
    """
    errand = Errand(each.number, News(each.issue, newest=True), touched=each.touched)
    try:
        found = with_retries(run, lambda: handle_incident(run, errand, force, newest=[]))
    except DeliveryFailed as failed:
        run.report_failure(failed)
        run.faults = True
        if isinstance(failed, NotYet):
            return False
        others.append(markdown("#{} could not be looked into", each.number))
        return True
    if isinstance(found, Left):
        others.append(escape(found.why))
        return True
    # An incident without a board has no known alarm; the notices posted now show since when they were due.
    owed = [*filter(None, (each.at,)), *(notice.at for notice in found.done.said)]
    late = max(run.clock() - min(owed), timedelta()) if owed else None
    swept.append(Swept(found.incident, each.why, late, found.done))
    return True


@dataclass(frozen=True, slots=True)
class _Boards:
    """The boards of some issues, by issue number, and a comment of the app's if the newest contain one."""

    found: Mapping[int, tuple[Comment, AsShown]]
    app: Comment | None


def _find_boards(run: Run, wanted: set[int]) -> _Boards:
    """Find the boards of the issues, latest edit first, reading no more pages than needed."""
    found: dict[int, tuple[Comment, AsShown]] = {}
    newest: list[Comment] = []
    for comment in islice(run.tracker.comments_by_update(), _MAX_PAGES * 100):
        if len(newest) < 100:
            newest.append(comment)
        if comment.issue in wanted and comment.issue not in found:
            content = run.signer.read(run.incident_key(comment.issue), comment)
            memory = parse_board_state(content) if content else None
            if memory is not None and memory.shown is not None:
                found[comment.issue] = comment, memory.shown
        if len(found) == len(wanted):
            break
    return _Boards(found, find_app_comment(newest))


def _list_due_incidents(issues: Iterable[Json], boards: _Boards, force: InForce, now: datetime) -> Iterator[_Due]:
    for issue in issues:
        there = boards.found.get(int(issue["number"]))
        if there is None:
            yield _Due(issue, "it has no board")
            continue
        comment, shown = there
        written = comment.updated_at or comment.created_at
        if shown.next is not None and shown.next <= now:
            yield _Due(issue, "an alarm was due", shown.next)
        elif shown.policy != force.version:
            yield _Due(issue, "another policy holds")
        elif parse_time(issue["updated_at"]) > written + _OWN_WRITE_PERIOD:
            yield _Due(issue, "something happened since its board was written", touched=True)


def measure_schedule_delay(payload: Json, now: datetime) -> timedelta | None:
    """Return the time since the schedule's last occurrence; None where it does not run every hour of every day.

    The run may have been meant for an earlier occurrence, which GitHub does not say.
    """
    minute, *others = str(payload.get("schedule") or "none").split()
    wanted = _parse_minutes(minute)
    if others != ["*"] * 4 or not wanted:
        return None
    at = now.replace(second=0, microsecond=0)
    while at.minute not in wanted:
        at -= timedelta(minutes=1)
    return now - at


def _parse_minutes(spoken: str) -> set[int]:
    """Parse the minutes of a cron schedule, such as `*/5` or `7,37`; empty for any other form."""
    every, slash, step = spoken.partition("/")
    if every == "*":
        steps = int(step) if step.isascii() and step.isdigit() and 0 < int(step) < 60 else 1
        return set(range(0, 60, steps)) if not slash or step else set()
    parts = spoken.split(",")
    if not all(part.isascii() and part.isdigit() and int(part) < 60 for part in parts):
        return set()
    return {int(part) for part in parts}


def _write_outputs(
    run: Run, looked: int, swept: list[Swept], others: list[Markdown], force: InForce, slot: timedelta | None
) -> None:
    workflow = run.workflow
    workflow.append_summary(sweep_summary(looked, swept, others, force, slot))
    late = max((each.late for each in swept if each.late is not None), default=timedelta())
    workflow.set_output("skipped", "false")
    workflow.set_output("open", looked)
    workflow.set_output("due", len(swept))
    workflow.set_output("notices", sum(len(each.done.said) for each in swept))
    workflow.set_output("lag", int(late.total_seconds()))
    told = f"; the latest alarm was {format_timedelta(late)} late" if late else ""
    workflow.annotate("notice", f"{pluralize(looked, 'incident')} looked after, {len(swept)} due{told}.", title=TITLE)
