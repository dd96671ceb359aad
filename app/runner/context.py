"""The context of one run: GitHub, the active policy, and how failures are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from app.core.events import Role
from app.github.signed_marker import Signer
from app.github.tracker import GitHubTracker
from app.policy_file import POLICY_PATH
from app.ports import DeliveryFailed, IncidentKey, Repository, Tracker
from app.runner.actions_io import Workflow, WorkflowError
from app.runner.active_policy import RunnerPolicy, load_policy

_T = TypeVar("_T")

TITLE = "Muster"
"""Title of the annotations."""
BOT_LOGIN = "github-actions[bot]"
"""The account that the token of a run writes as."""
PERMISSION_ERROR = "not accessible by"
"""Part of GitHub's error message where a token lacks a permission."""
_MAX_ATTEMPTS = 3
_MAX_ROLE_QUESTIONS = 3
"""How often GitHub is asked for a role that it refuses to give."""
_MAX_WAIT_SECONDS = 60.0
"""Maximum wait in seconds for GitHub to recover; after that the next run catches up."""
RETRY_SECONDS = 5.0
"""Seconds until the next attempt, unless GitHub asks for more."""
_LATE_ARRIVAL_SECONDS = 20.0
"""Seconds after which a request with unknown outcome has arrived, or never will."""


@dataclass
class RunContext:
    """Dependencies shared by all steps of a run.  `has_faults`: a person has to correct something."""

    workflow: Workflow
    repository: Repository
    tracker: Tracker
    postmortem_tracker: Tracker
    """The same repository, for the postmortem only: with its own token where the step was given one."""
    signer: Signer
    has_faults: bool = False

    @property
    def has_secret(self) -> bool:
        """Return True if a secret signs our markers, so that what they say is our own word."""
        return bool(self.workflow.signing_secret)

    def __post_init__(self) -> None:
        self._roles: dict[str, Role] = {}
        self._hints: dict[str, None] = {}
        self._policy: RunnerPolicy | None = None

    def clock(self) -> datetime:
        """Return the current time."""
        return self.workflow.clock()

    def sleep(self, seconds: float) -> None:
        """Wait for a number of seconds."""
        self.workflow.sleep(seconds)

    def warn(self, sentence: str) -> None:
        """Print a warning and add it to the summary, once per run."""
        if sentence not in self._hints:
            self.workflow.annotate("warning", sentence, title=TITLE)
        self.add_hint(sentence)

    def add_hint(self, sentence: str) -> None:
        """Add a sentence to the end of the summary, once per run."""
        self._hints[sentence] = None

    def write_hints(self) -> None:
        """Write the hints to the summary."""
        for sentence in self._hints:
            self.workflow.append_summary(f"\n> {sentence}")

    def incident_key(self, number: int) -> IncidentKey:
        """Return the key of an incident in this repository."""
        return IncidentKey(self.repository.id, number)

    def role(self, login: str) -> Role:
        """Return the role of that person here, asked for once per run.

        Where GitHub refuses to answer several times, nothing is known: the next run asks again.
        """
        if login not in self._roles:
            self._roles[login] = self._ask_role(login)
        return self._roles[login]

    def _ask_role(self, login: str) -> Role:
        for _ in range(_MAX_ROLE_QUESTIONS - 1):
            try:
                return self.tracker.permission(login)
            except DeliveryFailed as failed:
                if failed.refusal is None:
                    raise
                self.sleep(RETRY_SECONDS)
        try:
            return self.tracker.permission(login)
        except DeliveryFailed as failed:
            if failed.refusal is None:
                raise
            self.workflow.annotate("warning", f"{failed}: it is not known who may do what.", title=TITLE)
            return Role.UNKNOWN

    def active_policy(self) -> RunnerPolicy:
        """Return the active policy, loaded once per run; its problems are printed then."""
        if self._policy is None:
            self._policy = load_policy(self.tracker, self.repository, self.clock())
            self.report_policy(self._policy)
        return self._policy

    def report_policy(self, active: RunnerPolicy) -> None:
        """Print the problems of a policy."""
        annotate_policy(self.workflow, active)
        self.has_faults |= bool(active.problems)
        if active.policy.channels:
            message = (
                "The policy names channels: GitHub Actions serve none of them, so notices go out as comments alone."
            )
            self.workflow.annotate("warning", message, title=TITLE)

    def report_failure(self, error: DeliveryFailed) -> int:
        """Print why the run failed and what would help; return the exit code."""
        if PERMISSION_ERROR in str(error):
            message = f"{error}. The job needs these permissions: {_PERMISSIONS}."
        elif error.retry_after is None:
            message = f"{error}."
        else:
            message = f"{error}. Run it again; or else the next run, or the schedule, catches up."
        self.workflow.annotate("error", message, title=TITLE)
        return 1


def annotate_policy(workflow: Workflow, active: RunnerPolicy) -> None:
    """Print the problems of the policy, as annotations on their lines where they have one."""
    for fault in active.faults:
        message = f"{fault.found}, {fault.wanted}"
        workflow.annotate("error", message, file=POLICY_PATH, line=fault.line, col=fault.column, title=fault.where)
    if not active.faults:
        for sentence in active.problems:
            workflow.annotate("error", sentence, title=TITLE)
    if active.warning:
        workflow.annotate("warning", active.warning, title=TITLE)


_PERMISSIONS = (
    "contents: read, issues: write, and pull-requests: read; for the postmortem contents and pull-requests: write"
)


@contextmanager
def open_run(workflow: Workflow) -> Iterator[tuple[RunContext, Mapping[str, Any]]]:
    """Open the run; yield it with the payload of its event.

    Raises WorkflowError outside a workflow, and DeliveryFailed.
    """
    payload = workflow.load_payload()
    if not workflow.token:
        raise WorkflowError("GITHUB_TOKEN is not set: give the step `github.token`.")
    client = workflow.create_client(workflow.token)
    postmortem_client = (
        workflow.create_client(postmortem_token) if (postmortem_token := workflow.pull_request_token) else None
    )
    try:
        repository = workflow.repository(payload)
        if not repository.id:
            details = client.call(0, "GET", f"/repos/{repository.name}").body
            repository = replace(repository, id=details["id"], default_branch=details["default_branch"])
        tracker = GitHubTracker(client, repository)
        postmortem_tracker = GitHubTracker(postmortem_client, repository) if postmortem_client else tracker
        signer = Signer((workflow.signing_secret or f"repository {repository.id}",), bot_login=BOT_LOGIN)
        yield RunContext(workflow, repository, tracker, postmortem_tracker, signer), payload
    finally:
        client.close()
        if postmortem_client is not None:
            postmortem_client.close()


def run_command(workflow: Workflow, command: Callable[[RunContext, Mapping[str, Any]], int]) -> int:
    """Run `command` with the run and the payload of its event; return its exit code.

    1 where GitHub does not allow it, and the reason has been printed.
    """
    try:
        with open_run(workflow) as (run, payload):
            try:
                return with_retries(run, lambda: command(run, payload))
            except DeliveryFailed as failed:
                return run.report_failure(failed)
            finally:
                run.write_hints()
    except DeliveryFailed as failed:
        workflow.annotate("error", f"{failed}.", title=TITLE)
        return 1


def with_retries(run: RunContext, attempt: Callable[[], _T]) -> _T:
    """Call `attempt`, again after a wait where GitHub failed: each attempt sees what the previous one has done.

    Raises DeliveryFailed when the attempts are used up, or waiting does not help.
    """
    for number in range(1, _MAX_ATTEMPTS + 1):
        try:
            return attempt()
        except DeliveryFailed as failed:
            wait = max(failed.retry_after or 0.0, _LATE_ARRIVAL_SECONDS if failed.may_still_arrive else RETRY_SECONDS)
            if failed.retry_after is None or wait > _MAX_WAIT_SECONDS or number == _MAX_ATTEMPTS:
                raise
            run.workflow.annotate("notice", f"{failed}: tried again in {wait:.0f} s.", title=TITLE)
            run.sleep(wait)
    raise AssertionError("the last try has an outcome")
