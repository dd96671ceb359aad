"""Handle one incident: the part that `triage`, `postmortem` and each row of a `sweep` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.events import Unlabeled
from app.core.incident import Incident
from app.core.labels import own_labels
from app.github import inbound
from app.github.inbound import TimedEvent
from app.github.tracker import labels_of
from app.ports import Comment, DeliveryFailed, NotFound
from app.runner.actions_io import WorkflowError
from app.runner.active_policy import RunnerPolicy, load_fallbacks
from app.runner.app_detection import find_app_comment
from app.runner.apply import Outcome, apply_effects
from app.runner.context import RunContext
from app.runner.gather import IncidentView, Trigger, gather_incident, load_timeline
from app.runner.lock import LOCK_TIMEOUT, issue_lock
from app.text import make_visible

_MAX_EXTRA_PASSES = 2
"""Maximum number of extra passes after a slow run, to pick up events of runs that timed out waiting."""

Json = Mapping[str, Any]


class RulesFailed(Exception):
    """The rules failed with what GitHub has of an issue, under every policy."""

    def __init__(self, number: int, problem: Exception) -> None:
        reason = make_visible(f"{type(problem).__name__}: {problem}")[:200]
        super().__init__(
            f"#{number}: Muster's rules fail with it ({reason}), under the profile too. Please report this as a bug of"
            " Muster; until then look after the incident by hand"
        )


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was done for the issue.

    `reason` can be shown; `app_comment` is the comment that shows that the app manages the repository.
    """

    reason: str
    app_comment: Comment | None = None


@dataclass(frozen=True, slots=True)
class Handled:
    """An incident, and what was done for it."""

    incident: Incident
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Task:
    """What a run has to do for one issue.

    `open_postmortem`, `rewrite_board`: see `apply_effects`.  `is_declared`: the issue itself shows that it is an
    incident; otherwise only a board of ours does.
    """

    number: int
    trigger: Trigger
    open_postmortem: bool = False
    rewrite_board: bool = False
    is_declared: bool = True


def handle_incident(
    run: RunContext, task: Task, active: RunnerPolicy, newest_comments: list[Comment] | None = None
) -> Handled | Skipped:
    """Do what is not yet done for the issue, holding its lock.

    `newest_comments` are the newest comments of the repository; None: they are fetched.  Where the rules fail under the
    active policy, the next best one is followed, and that is told.  Raises DeliveryFailed, and RulesFailed if they fail
    under each.
    """
    if newest_comments is None:
        newest_comments = run.tracker.newest_comments()
    try:
        return _handle_under_policy(run, task, active, newest_comments)
    except (DeliveryFailed, WorkflowError):
        raise
    except Exception as problem:  # noqa: BLE001 - whatever fails in the rules, the report is handled
        first_problem = problem
    for fallback in load_fallbacks(run.tracker, run.repository, active, first_problem, run.clock()):
        try:
            result = _handle_under_policy(run, task, fallback, newest_comments)
        except (DeliveryFailed, WorkflowError):
            raise
        except Exception as problem:  # noqa: BLE001 - the same
            first_problem.add_note(f"and under the next policy: {problem!r}")
            continue
        run.report_policy(fallback)
        return result
    raise RulesFailed(task.number, first_problem) from first_problem


def _handle_under_policy(
    run: RunContext, task: Task, active: RunnerPolicy, newest_comments: list[Comment]
) -> Handled | Skipped:
    number = task.number
    app_comment = find_app_comment(run, newest_comments)
    if app_comment is not None and (app_comment.issue == number or load_timeline(run, number).board is None):
        return Skipped("The app is at work here", app_comment)
    try:
        with issue_lock(run.tracker, number, run.clock, run.sleep) as acquired:
            if not acquired:
                return Skipped(f"Another run has had #{number} in hand all the while: it sees what happened here.")
            started_at, result = run.clock(), _run_pass(run, task, active)
            for _ in range(_MAX_EXTRA_PASSES):
                if isinstance(result, Skipped) or run.clock() - started_at < LOCK_TIMEOUT:
                    break
                started_at, result = run.clock(), _run_extra_pass(run, task, active, result)
            return result
    except NotFound:
        return Skipped(f"#{number} is out of reach: it was deleted, or moved to another repository.")


def _run_pass(run: RunContext, task: Task, active: RunnerPolicy) -> Handled | Skipped:
    view = _load_view(run, task, active)
    if isinstance(view, Skipped):
        return view
    view, outcome = apply_effects(
        run, view, active, open_postmortem=task.open_postmortem, rewrite_board=task.rewrite_board
    )
    return Handled(view.incident, outcome)


def _run_extra_pass(run: RunContext, task: Task, active: RunnerPolicy, previous: Handled) -> Handled:
    """Run one more pass for events that arrived meanwhile; return its result if it changed anything."""
    result = _run_pass(run, Task(task.number, Trigger(), task.open_postmortem), active)
    return result if isinstance(result, Handled) and result.outcome.has_changes else previous


def _load_view(run: RunContext, task: Task, active: RunnerPolicy) -> IncidentView | Skipped:
    timeline = load_timeline(run, task.number)
    if (app_comment := find_app_comment(run, timeline.comments)) is not None:
        return Skipped("The app is at work here", app_comment)
    if not task.is_declared and timeline.board is None:
        return Skipped(f"#{task.number} is no incident: it has neither the label nor the filled-in form.")
    return gather_incident(run, task.number, timeline, active, task.trigger)


def task_for_event(
    run: RunContext, event_name: str, payload: Json, active: RunnerPolicy, *, open_postmortem: bool
) -> Task | Skipped:
    """Return the task that the event of the run asks for.

    Raises Unreadable for an unexpected payload, and DeliveryFailed.
    """
    number = run.workflow.requested_issue()
    if number is None and event_name in ("pull_request", "pull_request_target"):
        number = inbound.postmortem_of(payload, run.repository)
        if number is None:
            return Skipped("This pull request holds no postmortem of this repository.")
    if number is not None:
        issue = run.tracker.issue(number)
        if issue.get("pull_request"):
            return Skipped(f"#{number} is a pull request: name the issue of an incident.")
        return _task_for_issue(number, Trigger(issue, is_current=True), active, open_postmortem=open_postmortem)
    if event_name not in ("issues", "issue_comment"):
        return Skipped(f"An event of the kind '{event_name[:40]}' concerns no issue: set MUSTER_ISSUE to say which.")
    issue = inbound.issue_of(payload)
    if issue.get("pull_request"):
        return Skipped("A comment on a pull request concerns no incident.")
    event = inbound.read_event(event_name, payload, active.policy, run.clock())
    events = (event,) if isinstance(event, TimedEvent) else ()
    return _task_for_issue(
        int(issue["number"]),
        Trigger(issue, events, inbound.commands_before_edit(event_name, payload)),
        active,
        open_postmortem=open_postmortem,
    )


def _task_for_issue(number: int, trigger: Trigger, active: RunnerPolicy, *, open_postmortem: bool) -> Task | Skipped:
    assert trigger.issue is not None
    is_declared = inbound.is_declared({"issue": trigger.issue}, active.policy)
    label_removed = any(isinstance(one.event, Unlabeled) for one in trigger.events)
    if not is_declared and not label_removed and not labels_of(trigger.issue) & own_labels(active.policy.labels):
        return Skipped(f"#{number} is no incident: it has neither the label nor the filled-in form.")
    return Task(number, trigger, open_postmortem=open_postmortem, is_declared=is_declared)
