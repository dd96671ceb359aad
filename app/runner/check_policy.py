"""Checks a policy file inside GitHub Actions, for teams that run no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.core.policy import Policy
from app.github import inbound
from app.github.incident_history import BACKTEST_PERIOD, past_incidents
from app.github.tracker import GitHubTracker
from app.policy_file import DEFAULT_PROFILE, POLICY_PATH, Fault, PolicyFaults, read, shipped
from app.ports import DeliveryFailed, Repository, Tracker
from app.runner.actions_io import Unusable, Workflow

if TYPE_CHECKING:
    from app.core.backtest import Past

_TITLE = "Muster policy"
_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, inbound.Unreadable)
"""Errors from a past incident that is not as expected: the policy is checked all the same."""
_INCIDENTS_PER_PROGRESS_LINE = 25
"""Number of past incidents between two progress lines; each takes GitHub about a second."""
_PULL_REQUEST_EVENTS = ("pull_request", "pull_request_target")


@dataclass(frozen=True, slots=True)
class _Step:
    """The commits or branches between which the policy changes; `old` empty: there was none before."""

    old: str
    new: str
    workspace: bool
    """True if the workspace holds the checked commit; after `pull_request_target` it holds the base."""


@dataclass(frozen=True, slots=True)
class _Texts:
    """The texts of the policy files.  None: there is no such file."""

    old: str | None
    new: str | None
    organisation: str | None
    compared: bool = True
    """True if the old file could be read."""


def check_policy(workflow: Workflow) -> int:
    """Check the policy file that this run is about; return 1 when it has faults, 0 otherwise.

    Raises WorkflowError outside a workflow.
    """
    payload = workflow.payload()
    repository = workflow.repository(payload)
    step = _step(workflow, payload, repository)
    if step is None:
        return 0
    client = workflow.client(workflow.token)
    try:
        tracker = GitHubTracker(client, repository)
        texts = _texts(workflow, tracker, step)
        return 0 if texts is None else _judge(workflow, tracker, repository, texts, workflow.clock())
    finally:
        client.close()


def _step(workflow: Workflow, payload: Mapping[str, Any], repository: Repository) -> _Step | None:
    """Find the revisions to compare; None: there is nothing to check, which has been printed."""
    branch, event = repository.default_branch, workflow.event
    if event in _PULL_REQUEST_EVENTS:
        pull = payload.get("pull_request") or {}
        if payload.get("action") == "closed" or pull.get("state") == "closed":
            workflow.say("notice", "The pull request is closed: there is nothing to check.", title=_TITLE)
            return None
        return _Step(branch, _commit((pull.get("head") or {}).get("sha")), event == "pull_request")
    if event == "push":
        if payload.get("deleted"):
            workflow.say("notice", "The branch was deleted: there is nothing to check.", title=_TITLE)
            return None
        before = str(payload.get("before") or "") if payload.get("ref") == f"refs/heads/{branch}" else branch
        return _Step(before if before.strip("0") else "", _commit(payload.get("after")), workspace=True)
    return _Step(branch, workflow.environment.get("GITHUB_SHA") or branch, workspace=True)


def _commit(sha: object) -> str:
    """Return the commit to check.

    Raises WorkflowError where there is none: without it GitHub would return another version of the file.
    """
    if not isinstance(sha, str) or not sha:
        raise Unusable("the event of this run names no commit.")
    return sha


def _texts(workflow: Workflow, tracker: Tracker, step: _Step) -> _Texts | None:
    """Load the files; None: the new one cannot be read, which has been printed.

    Without the old one, only faults are reported.
    """
    checked_out = workflow.checked_out(POLICY_PATH) if step.workspace else None
    try:
        # A pull request is checked out merged with its base, but the lines have to be those of its own commit.
        new = (
            tracker.file(POLICY_PATH, step.new)
            if workflow.event in _PULL_REQUEST_EVENTS or checked_out is None
            else None
        )
        old = tracker.file(POLICY_PATH, step.old) if step.old else None
        return _Texts(old, checked_out if new is None else new, tracker.organisation_policy("").text)
    except DeliveryFailed as failed:
        if checked_out is None:
            workflow.say(
                "warning", f"{POLICY_PATH} could not be read, so it was not checked. {_help(failed)}", title=_TITLE
            )
            return None
        workflow.say("warning", f"The policy in force could not be read to compare. {_help(failed)}", title=_TITLE)
        return _Texts(None, checked_out, None, compared=False)


def _help(failed: DeliveryFailed) -> str:
    return (
        f"{failed}. The step needs GITHUB_TOKEN, and its job the permissions"
        " contents: read, issues: read and pull-requests: read."
    )


def _judge(workflow: Workflow, tracker: Tracker, repository: Repository, texts: _Texts, now: datetime) -> int:
    # Imported here: only this run compares policies, and loading takes a while.
    from app.core.backtest import backtest  # noqa: PLC0415
    from app.render.markdown.policy_review import faulty, review  # noqa: PLC0415

    faults = _faults(texts.new, texts.organisation)
    workflow.output("valid", "false" if faults else "true")
    workflow.output("faults", len(faults))
    if faults:
        found = faulty(faults)
        for fault in faults:
            message = f"{fault.found}, {fault.wanted}"
            workflow.say("error", message, file=POLICY_PATH, line=fault.line, col=fault.column, title=fault.where)
        if texts.organisation is None and any(_lacks_organisation(fault) for fault in faults):
            owner = repository.name.partition("/")[0]
            told = f"The token of a run may not read {owner}/.github where that is private: give the step one that may."
            workflow.say("notice", told, title=_TITLE)
        workflow.summarize(f"## {_TITLE}\n\n{found.summary}")
        return 1
    if not texts.compared or texts.new == texts.old:
        told = f"{POLICY_PATH} can be obeyed" + (", and stays what it is." if texts.compared else ".")
        workflow.say(
            "notice", told if texts.new is not None else f"{_instead(texts)} holds: no {POLICY_PATH}.", title=_TITLE
        )
        return 0
    old, new = _in_force(workflow, texts), _meant(texts.new, texts.organisation)
    found = review(old, new, backtest(_past(workflow, tracker, repository, old, now), old, new), now)
    besides = [] if texts.new is not None else [f"`{POLICY_PATH}` is taken away: {_instead(texts)} would hold instead."]
    workflow.summarize("\n\n".join([f"## {_TITLE}", *besides, found.summary]))
    workflow.say("notice", found.title, title=_TITLE)
    return 0


def _faults(text: str | None, organisation: str | None) -> Sequence[Fault]:
    """Find the faults of a repository's own file; those of its organisation's file are not for this run to report."""
    try:
        if text is not None:
            read(text, org=organisation)
    except PolicyFaults as found:
        return found.faults
    return ()


def _lacks_organisation(fault: Fault) -> bool:
    return fault.where == "extends" and "organisation" in fault.found


def _meant(text: str | None, organisation: str | None) -> Policy:
    """Build the policy of that file, or the one that applies without it.  Raises PolicyFaults."""
    if text is not None:
        return read(text, org=organisation)
    return shipped(DEFAULT_PROFILE) if organisation is None or _faults(organisation, None) else read(organisation)


def _in_force(workflow: Workflow, texts: _Texts) -> Policy:
    try:
        return _meant(texts.old, texts.organisation)
    except PolicyFaults:
        told = f"The file before has faults and is not in force: compared with the profile {DEFAULT_PROFILE} instead."
        workflow.say("notice", told, title=_TITLE)
        return shipped(DEFAULT_PROFILE)


def _instead(texts: _Texts) -> str:
    """Name the policy that applies where a repository has no file."""
    return f"the profile `{DEFAULT_PROFILE}`" if texts.organisation is None else "the organisation's policy"


def _past(
    workflow: Workflow, tracker: Tracker, repository: Repository, policy: Policy, now: datetime
) -> Sequence[Past]:
    """Load the incidents of the last months, as many as this run may read, the oldest first."""
    found: list[Past] = []
    try:
        label = policy.labels.incident
        for past in past_incidents(tracker, label, now - BACKTEST_PERIOD, policy, repo=repository.name, now=now):
            found.append(past)
            if len(found) % _INCIDENTS_PER_PROGRESS_LINE == 0:
                workflow.tell(f"{len(found)} past incidents read")
    except DeliveryFailed as failed:
        told = f"Not all past incidents could be read, so the policy was tried on {len(found)}. {_help(failed)}"
        workflow.say("warning", told, title=_TITLE)
    except _PARSE_ERRORS as problem:
        told = f"A past incident is not what it should be, so the policy was tried on {len(found)} ({problem!r:.200})."
        workflow.say("warning", told, title=_TITLE)
    return found[::-1]
