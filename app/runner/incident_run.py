"""Looking after one incident: what `triage`, `postmortem` and each row of a `sweep` have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.core.events import Unlabeled
from app.core.incident import Incident
from app.core.labels import managed
from app.github import inbound
from app.github.inbound import Happened
from app.github.tracker import labels_of
from app.ports import Comment, DeliveryFailed, Gone
from app.runner.active_policy import InForce
from app.runner.app_detection import of_app
from app.runner.apply import Done, apply
from app.runner.context import Run
from app.runner.gather import Known, News, gather, read
from app.runner.lock import PATIENCE, held, locked

_ONCE_MORE = 2
"""So often whoever was slow looks again for what others gave up waiting to tell."""

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Left:
    """Nothing was done for that issue.  `why` can be shown; `app`: the comment by which the app was found."""

    why: str
    app: Comment | None = None


@dataclass(frozen=True, slots=True)
class Looked:
    """An incident, and what was done for it."""

    incident: Incident
    done: Done


@dataclass(frozen=True, slots=True)
class Errand:
    """What one look is for.  `opens`: the postmortem too; `touched`: see `apply`; `declared`: the issue is an incident by
    what it shows, or else only by a board of ours."""

    number: int
    news: News
    opens: bool = False
    touched: bool = False
    declared: bool = True


def look_after(run: Run, errand: Errand, force: InForce, newest: list[Comment] | None = None) -> Looked | Left:
    """Do for that issue what is not yet done, while nobody else does.

    `newest` are the newest comments of the repository, None: they are asked for.  Raises DeliveryFailed.
    """
    number = errand.number
    if newest is None:
        newest = run.tracker.newest_comments()
    app = of_app(newest)
    if app is not None and (app.issue == number or read(run, number).board is None):
        return Left("The app is at work here", app)
    try:
        with held(run.tracker, number, run.clock, run.sleep) as lock:
            if not lock:
                return Left(f"Another run has had #{number} in hand all the while: it sees what happened here.")
            since, found = run.clock(), _look(run, errand, force)
            for _ in range(_ONCE_MORE):
                if isinstance(found, Left) or run.clock() - since < PATIENCE:
                    break
                since, found = run.clock(), _again(run, errand, force, found)
            return found
    except Gone:
        return Left(f"#{number} is out of reach: it was deleted, or moved to another repository.")
    except DeliveryFailed as failed:
        if not locked(failed):
            raise
    if errand.opens:
        return _look(run, errand, force)
    return Left(f"#{number} is locked, so nothing is said there.")


def _look(run: Run, errand: Errand, force: InForce) -> Looked | Left:
    known = _known(run, errand, force)
    if isinstance(known, Left):
        return known
    known, done = apply(run, known, force, opens=errand.opens, touched=errand.touched)
    return Looked(known.incident, done)


def _again(run: Run, errand: Errand, force: InForce, found: Looked) -> Looked:
    """The same once more, for whatever happened meanwhile."""
    again = _look(run, Errand(errand.number, News(), errand.opens), force)
    return again if isinstance(again, Looked) and again.done.anything else found


def _known(run: Run, errand: Errand, force: InForce) -> Known | Left:
    reading = read(run, errand.number)
    if (app := of_app(reading.comments)) is not None:
        return Left("The app is at work here", app)
    if not errand.declared and reading.board is None:
        return Left(f"#{errand.number} is no incident: it has neither the label nor the filled-in form.")
    return gather(run, errand.number, reading, force, errand.news)


def errand_of(run: Run, name: str, payload: Json, force: InForce, *, opens: bool) -> Errand | Left:
    """What the event of a run asks for.  Raises Unreadable for what GitHub does not send, and DeliveryFailed."""
    number = run.workflow.asked_for()
    if number is None and name in ("pull_request", "pull_request_target"):
        number = inbound.postmortem_of(payload, run.repository)
        if number is None:
            return Left("This pull request holds no postmortem of this repository.")
    if number is not None:
        issue = run.tracker.issue(number)
        if issue.get("pull_request"):
            return Left(f"#{number} is a pull request: name the issue of an incident.")
        return _errand(number, News(issue, newest=True), force, opens=opens)
    if name not in ("issues", "issue_comment"):
        return Left(f"An event of the kind '{name[:40]}' concerns no issue: set MUSTER_ISSUE to say which.")
    issue = inbound.issue_of(payload)
    if issue.get("pull_request"):
        return Left("A comment on a pull request concerns no incident.")
    happened = inbound.read(name, payload, force.policy, run.clock())
    news = (happened,) if isinstance(happened, Happened) else ()
    return _errand(int(issue["number"]), News(issue, news, inbound.before(name, payload)), force, opens=opens)


def _errand(number: int, news: News, force: InForce, *, opens: bool) -> Errand | Left:
    assert news.issue is not None
    declared = inbound.declared({"issue": news.issue}, force.policy)
    lost = any(isinstance(one.event, Unlabeled) for one in news.happened)
    if not declared and not lost and not labels_of(news.issue) & managed(force.policy.labels):
        return Left(f"#{number} is no incident: it has neither the label nor the filled-in form.")
    return Errand(number, news, opens=opens, declared=declared)
