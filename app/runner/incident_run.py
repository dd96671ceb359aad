"""Handles one incident: the part that `triage`, `postmortem` and each row of a `sweep` share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.events import Unlabeled
from app.core.incident import Incident
from app.core.labels import own_labels
from app.github import inbound
from app.github.inbound import Happened
from app.github.tracker import labels_of
from app.ports import Comment, DeliveryFailed, Gone
from app.runner.active_policy import InForce
from app.runner.app_detection import find_app_comment
from app.runner.apply import Done, apply_effects
from app.runner.context import Run
from app.runner.gather import Known, News, gather_incident, load_timeline
from app.runner.lock import LOCK_TIMEOUT, is_conversation_locked, issue_lock

_MAX_EXTRA_PASSES = 2
"""Maximum number of extra passes after a slow run, to pick up events of runs that timed out waiting."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing was done for the issue.

    `reason` can be shown; `app_comment` is the comment that shows that the app manages the repository.
    """

    why: str
    app: Comment | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """An incident, and what was done for it."""

    incident: Incident
    done: Done


@dataclass(frozen=True, slots=True)
class Errand:
    """What a run has to do for one issue.

    `open_postmortem`, `rewrite_board`: see `apply_effects`.  `is_declared`: the issue itself shows that it is an
    incident; otherwise only a board of ours does.
    """

    number: int
    news: News
    opens: bool = False
    touched: bool = False
    declared: bool = True


def handle_incident(run: Run, errand: Errand, force: InForce, newest: list[Comment] | None = None) -> Looked | Left:
    """Do what is not yet done for the issue, holding its lock.

    `newest_comments` are the newest comments of the repository; None: they are fetched.  Raises DeliveryFailed.
    """
    number = errand.number
    if newest is None:
        newest = run.tracker.newest_comments()
    app = find_app_comment(newest)
    if app is not None and (app.issue == number or load_timeline(run, number).board is None):
        return Left("The app is at work here", app)
    try:
        with issue_lock(run.tracker, number, run.clock, run.sleep) as lock:
            if not lock:
                return Left(f"Another run has had #{number} in hand all the while: it sees what happened here.")
            since, found = run.clock(), _run_pass(run, errand, force)
            for _ in range(_MAX_EXTRA_PASSES):
                if isinstance(found, Left) or run.clock() - since < LOCK_TIMEOUT:
                    break
                since, found = run.clock(), _run_extra_pass(run, errand, force, found)
            return found
    except Gone:
        return Left(f"#{number} is out of reach: it was deleted, or moved to another repository.")
    except DeliveryFailed as failed:
        if not is_conversation_locked(failed):
            raise
    if errand.opens:
        return _run_pass(run, errand, force)
    return Left(f"#{number} is locked, so nothing is said there.")


def _run_pass(run: Run, errand: Errand, force: InForce) -> Looked | Left:
    known = _load_view(run, errand, force)
    if isinstance(known, Left):
        return known
    known, done = apply_effects(run, known, force, opens=errand.opens, touched=errand.touched)
    return Looked(known.incident, done)


def _run_extra_pass(run: Run, errand: Errand, force: InForce, found: Looked) -> Looked:
    """Run one more pass for events that arrived meanwhile; return its result if it changed anything."""
    again = _run_pass(run, Errand(errand.number, News(), errand.opens), force)
    return again if isinstance(again, Looked) and again.done.has_changes else found


def _load_view(run: Run, errand: Errand, force: InForce) -> Known | Left:
    reading = load_timeline(run, errand.number)
    if (app := find_app_comment(reading.comments)) is not None:
        return Left("The app is at work here", app)
    if not errand.declared and reading.board is None:
        return Left(f"#{errand.number} is no incident: it has neither the label nor the filled-in form.")
    return gather_incident(run, errand.number, reading, force, errand.news)


def task_for_event(run: Run, name: str, payload: Json, force: InForce, *, opens: bool) -> Errand | Left:
    """Return the task that the event of the run asks for.

    Raises Unreadable for an unexpected payload, and DeliveryFailed.
    """
    number = run.workflow.requested_issue()
    if number is None and name in ("pull_request", "pull_request_target"):
        number = inbound.postmortem_of(payload, run.repository)
        if number is None:
            return Left("This pull request holds no postmortem of this repository.")
    if number is not None:
        issue = run.tracker.issue(number)
        if issue.get("pull_request"):
            return Left(f"#{number} is a pull request: name the issue of an incident.")
        return _task_for_issue(number, News(issue, newest=True), force, opens=opens)
    if name not in ("issues", "issue_comment"):
        return Left(f"An event of the kind '{name[:40]}' concerns no issue: set MUSTER_ISSUE to say which.")
    issue = inbound.issue_of(payload)
    if issue.get("pull_request"):
        return Left("A comment on a pull request concerns no incident.")
    happened = inbound.read_event(name, payload, force.policy, run.clock())
    news = (happened,) if isinstance(happened, Happened) else ()
    return _task_for_issue(
        int(issue["number"]), News(issue, news, inbound.commands_before_edit(name, payload)), force, opens=opens
    )


def _task_for_issue(number: int, news: News, force: InForce, *, opens: bool) -> Errand | Left:
    assert news.issue is not None
    declared = inbound.is_declared({"issue": news.issue}, force.policy)
    lost = any(isinstance(one.event, Unlabeled) for one in news.happened)
    if not declared and not lost and not labels_of(news.issue) & own_labels(force.policy.labels):
        return Left(f"#{number} is no incident: it has neither the label nor the filled-in form.")
    return Errand(number, news, opens=opens, declared=declared)
