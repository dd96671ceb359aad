"""Check a policy file inside GitHub Actions, for teams that run no server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from app.core.policy import Policy
from app.github import inbound
from app.github.incident_history import BACKTEST_PERIOD, load_past_incidents
from app.github.tracker import GitHubTracker
from app.policy_file import DEFAULT_PROFILE, POLICY_PATH, PolicyFault, PolicyFaults, load_profile, read_policy
from app.ports import DeliveryFailed, Repository, Tracker
from app.runner.actions_io import Workflow, WorkflowError

if TYPE_CHECKING:
    from app.core.backtest import PastIncident

_TITLE = "Muster policy"
_PARSE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError, inbound.Unreadable)
"""Errors from a past incident that is not as expected: the policy is checked all the same."""
_INCIDENTS_PER_PROGRESS_LINE = 25
"""Number of past incidents between two progress lines; each takes GitHub about a second."""
_PULL_REQUEST_EVENTS = ("pull_request", "pull_request_target")


@dataclass(frozen=True, slots=True)
class _PolicyRevisions:
    """The commits or branches between which the policy changes; `old` empty: there was none before."""

    old: str
    new: str
    in_workspace: bool
    """True if the workspace holds the checked commit; after `pull_request_target` it holds the base."""
    from_fork: bool = False
    """True if the checked commit lies in another repository, so its author may be anyone."""


@dataclass(frozen=True, slots=True)
class _PolicyTexts:
    """The texts of the policy files.  None: there is no such file."""

    old: str | None
    new: str | None
    organisation: str | None
    old_is_known: bool = True
    """True if the old file could be read."""


def check_policy(workflow: Workflow) -> int:
    """Check the policy file that this run is about; return 1 when it has faults, 0 otherwise.

    Raises WorkflowError outside a workflow.
    """
    payload = workflow.load_payload()
    repository = workflow.repository(payload)
    revisions = _find_revisions(workflow, payload, repository)
    if revisions is None:
        return 0
    client = workflow.create_client(workflow.token)
    try:
        tracker = GitHubTracker(client, repository)
        texts = _load_texts(workflow, tracker, revisions)
        return 0 if texts is None else _check_texts(workflow, tracker, repository, texts, from_fork=revisions.from_fork)
    finally:
        client.close()


def _find_revisions(workflow: Workflow, payload: Mapping[str, Any], repository: Repository) -> _PolicyRevisions | None:
    """Find the revisions to compare; None: there is nothing to check, which has been printed."""
    branch, event = repository.default_branch, workflow.event
    if event in _PULL_REQUEST_EVENTS:
        pull_request = payload.get("pull_request") or {}
        if payload.get("action") == "closed" or pull_request.get("state") == "closed":
            workflow.annotate("notice", "The pull request is closed: there is nothing to check.", title=_TITLE)
            return None
        head = pull_request.get("head") or {}
        return _PolicyRevisions(
            branch,
            _checked_commit(head.get("sha")),
            event == "pull_request",
            from_fork=not _is_own_branch(head, payload),
        )
    if event == "push":
        if payload.get("deleted"):
            workflow.annotate("notice", "The branch was deleted: there is nothing to check.", title=_TITLE)
            return None
        before = str(payload.get("before") or "") if payload.get("ref") == f"refs/heads/{branch}" else branch
        return _PolicyRevisions(
            before if before.strip("0") else "", _checked_commit(payload.get("after")), in_workspace=True
        )
    return _PolicyRevisions(branch, workflow.environment.get("GITHUB_SHA") or branch, in_workspace=True)


def _is_own_branch(head: Mapping[str, Any], payload: Mapping[str, Any]) -> bool:
    """Return True if the head of a pull request is certain to be a branch of this repository."""
    head_repository, own_repository = head.get("repo") or {}, payload.get("repository") or {}
    return head_repository.get("id") is not None and head_repository["id"] == own_repository.get("id")


def _checked_commit(sha: object) -> str:
    """Return the commit to check.

    Raises WorkflowError where there is none: without it GitHub would return another version of the file.
    """
    if not isinstance(sha, str) or not sha:
        raise WorkflowError("the event of this run names no commit.")
    return sha


def _load_texts(workflow: Workflow, tracker: Tracker, revisions: _PolicyRevisions) -> _PolicyTexts | None:
    """Load the files; None: the new one cannot be read, which has been printed.

    Without the old one, only faults are reported.
    """
    checked_out = workflow.read_workspace_file(POLICY_PATH) if revisions.in_workspace else None
    try:
        # A pull request is checked out merged with its base, but the lines have to be those of its own commit.
        new = (
            tracker.file(POLICY_PATH, revisions.new)
            if workflow.event in _PULL_REQUEST_EVENTS or checked_out is None
            else None
        )
        old = tracker.file(POLICY_PATH, revisions.old) if revisions.old else None
        return _PolicyTexts(old, checked_out if new is None else new, tracker.organisation_policy("").text)
    except DeliveryFailed as failed:
        if checked_out is None:
            workflow.annotate(
                "warning",
                f"{POLICY_PATH} could not be read, so it was not checked. {_with_required_permissions(failed)}",
                title=_TITLE,
            )
            return None
        workflow.annotate(
            "warning",
            f"The policy in force could not be read to compare. {_with_required_permissions(failed)}",
            title=_TITLE,
        )
        return _PolicyTexts(None, checked_out, None, old_is_known=False)


def _with_required_permissions(error: DeliveryFailed) -> str:
    return (
        f"{error}. The step needs GITHUB_TOKEN, and its job the permissions"
        " contents: read, issues: read and pull-requests: read."
    )


def _check_texts(
    workflow: Workflow, tracker: Tracker, repository: Repository, texts: _PolicyTexts, *, from_fork: bool
) -> int:
    # Imported here: only this run compares policies, and loading takes a while.
    from app.core.backtest import backtest  # noqa: PLC0415
    from app.render.markdown.policy_review import review_faulty_policy, review_policy  # noqa: PLC0415

    faults = _find_faults(texts.new, texts.organisation)
    workflow.set_output("valid", "false" if faults else "true")
    workflow.set_output("faults", len(faults))
    if faults:
        policy_review = review_faulty_policy(faults)
        for fault in faults:
            message = f"{fault.found}, {fault.wanted}"
            workflow.annotate("error", message, file=POLICY_PATH, line=fault.line, col=fault.column, title=fault.where)
        if texts.organisation is None and any(_lacks_organisation(fault) for fault in faults):
            owner = repository.name.partition("/")[0]
            sentence = (
                f"The token of a run may not read {owner}/.github where that is private: give the step one that may."
            )
            workflow.annotate("notice", sentence, title=_TITLE)
        workflow.append_summary(f"## {_TITLE}\n\n{policy_review.summary}")
        return 1
    if not texts.old_is_known or texts.new == texts.old:
        sentence = f"{POLICY_PATH} can be obeyed" + (", and stays what it is." if texts.old_is_known else ".")
        workflow.annotate(
            "notice",
            sentence if texts.new is not None else f"{_fallback_name(texts)} holds: no {POLICY_PATH}.",
            title=_TITLE,
        )
        return 0
    old, new, now = _old_policy(workflow, texts), _policy_from_texts(texts.new, texts.organisation), workflow.clock()
    past = None if from_fork else _load_past_incidents(workflow, tracker, repository, old, now)
    policy_review = review_policy(old, new, None if past is None else backtest(past, old, new), now)
    preface = (
        [] if texts.new is not None else [f"`{POLICY_PATH}` is taken away: {_fallback_name(texts)} would hold instead."]
    )
    appendix = [_describe_missing_replay(repository)] if past is None else []
    workflow.append_summary("\n\n".join([f"## {_TITLE}", *preface, policy_review.summary, *appendix]))
    workflow.annotate("notice", policy_review.title, title=_TITLE)
    return 0


def _describe_missing_replay(repository: Repository) -> str:
    """Say why a fork's policy is not tried on past incidents, and how a maintainer gets that.

    Each past incident takes two or three of the thousand calls an hour that all runs of a repository share, and anyone
    may open a pull request from a fork as often as they like.
    """
    return (
        "### Past incidents\n\n"
        "Not tried on past incidents: this branch is in a fork, and reading them takes hundreds of the calls to GitHub"
        " that all runs of this repository share. A maintainer gets it with the file of this branch at hand:"
        f" `muster policy replay {POLICY_PATH} --repo {repository.name} --since 90d`,"
        " or by pushing the branch to this repository."
    )


def _find_faults(text: str | None, organisation: str | None) -> Sequence[PolicyFault]:
    """Find the faults of a repository's own file; faults of its organisation's file are not reported by this run."""
    try:
        if text is not None:
            read_policy(text, org=organisation)
    except PolicyFaults as found:
        return found.errors
    return ()


def _lacks_organisation(fault: PolicyFault) -> bool:
    return fault.where == "extends" and "organisation" in fault.found


def _policy_from_texts(text: str | None, organisation: str | None) -> Policy:
    """Build the policy of that file, or the one that applies without it.  Raises PolicyFaults."""
    if text is not None:
        return read_policy(text, org=organisation)
    return (
        load_profile(DEFAULT_PROFILE)
        if organisation is None or _find_faults(organisation, None)
        else read_policy(organisation)
    )


def _old_policy(workflow: Workflow, texts: _PolicyTexts) -> Policy:
    try:
        return _policy_from_texts(texts.old, texts.organisation)
    except PolicyFaults:
        message = (
            f"The file before has faults and is not in force: compared with the profile {DEFAULT_PROFILE} instead."
        )
        workflow.annotate("notice", message, title=_TITLE)
        return load_profile(DEFAULT_PROFILE)


def _fallback_name(texts: _PolicyTexts) -> str:
    """Name the policy that applies where a repository has no file."""
    return f"the profile `{DEFAULT_PROFILE}`" if texts.organisation is None else "the organisation's policy"


def _load_past_incidents(
    workflow: Workflow, tracker: Tracker, repository: Repository, policy: Policy, now: datetime
) -> Sequence[PastIncident]:
    """Load the incidents of the last months, as many as this run may read, the oldest first."""
    found: list[PastIncident] = []
    try:
        label = policy.labels.incident
        for past in load_past_incidents(tracker, label, now - BACKTEST_PERIOD, policy, repo=repository.name, now=now):
            found.append(past)
            if len(found) % _INCIDENTS_PER_PROGRESS_LINE == 0:
                workflow.print_line(f"{len(found)} past incidents read")
    except DeliveryFailed as failed:
        message = (
            f"Not all past incidents could be read, so the policy was tried on {len(found)}. "
            f"{_with_required_permissions(failed)}"
        )
        workflow.annotate("warning", message, title=_TITLE)
    except _PARSE_ERRORS as problem:
        message = (
            f"A past incident is not what it should be, so the policy was tried on {len(found)} ({problem!r:.200})."
        )
        workflow.annotate("warning", message, title=_TITLE)
    return found[::-1]
