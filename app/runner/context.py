"""One run, and what it has at hand: GitHub, the policy, and the words it answers with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeVar

from app.core.events import Role
from app.github.signed_marker import Signer
from app.github.tracker import GitHubTracker
from app.policy_file import PATH
from app.ports import DeliveryFailed, Lane, Repository, Tracker
from app.runner.actions_io import Unusable, Workflow
from app.runner.active_policy import InForce, in_force

_T = TypeVar("_T")

TITLE = "Muster"
BOT = "github-actions[bot]"
"""In whose name the token of a run writes."""
_REFUSED = "not accessible by"
"""What GitHub says where a token lacks a permission."""
_TRIES = 3
_LONGEST = 60.0
"""Seconds that a run waits for a GitHub that is not well; after that the next run catches up."""
AGAIN = 5.0
"""Seconds until GitHub is asked again, unless it asks for more."""
_LATE = 20.0
"""Seconds until what was sent without an answer has arrived, or never will."""


@dataclass
class Run:
    """What every step needs.  `faults`: something is wrong that somebody can mend."""

    workflow: Workflow
    repository: Repository
    tracker: Tracker
    writer: Tracker
    """The same repository, for the postmortem alone: with a token of its own where the step was given one."""
    signer: Signer
    faults: bool = False

    def __post_init__(self) -> None:
        self._roles: dict[str, Role] = {}
        self._force: InForce | None = None

    def clock(self) -> datetime:
        return self.workflow.clock()

    def sleep(self, seconds: float) -> None:
        self.workflow.sleep(seconds)

    def lane(self, number: int) -> Lane:
        return Lane(self.repository.id, number)

    def role(self, login: str) -> Role:
        """What that person may do here, asked once in a run.  Whoever GitHub refuses to tell about may do nothing."""
        if login not in self._roles:
            try:
                self._roles[login] = self.tracker.permission(login)
            except DeliveryFailed as failed:
                if failed.retry_after is not None:
                    raise
                self._roles[login] = Role.NONE
        return self._roles[login]

    def policy(self) -> InForce:
        """The policy that holds, asked for once in a run; what is wrong with it is told."""
        if self._force is None:
            self._force = in_force(self.tracker, self.repository, self.clock())
            self._tell(self._force)
        return self._force

    def _tell(self, force: InForce) -> None:
        tell_wrong(self.workflow, force)
        self.faults |= bool(force.wrong)
        if force.policy.channels:
            told = "The policy names channels: GitHub Actions serve none of them, so notices go out as comments alone."
            self.workflow.say("warning", told, title=TITLE)

    def failed(self, failed: DeliveryFailed) -> int:
        """Say why it did not work, and what would have; the exit code."""
        if _REFUSED in str(failed):
            told = f"{failed}. The job needs these permissions: {_PERMISSIONS}."
        elif failed.retry_after is None:
            told = f"{failed}."
        else:
            told = f"{failed}. Run it again; or else the next run, or the schedule, catches up."
        self.workflow.say("error", told, title=TITLE)
        return 1


def tell_wrong(workflow: Workflow, force: InForce) -> None:
    """Say what is wrong with the policy: an annotation on its spot, where it has one."""
    for fault in force.faults:
        message = f"{fault.found}, {fault.wanted}"
        workflow.say("error", message, file=PATH, line=fault.line, col=fault.column, title=fault.where)
    if not force.faults:
        for sentence in force.wrong:
            workflow.say("error", sentence, title=TITLE)
    if force.concern:
        workflow.say("warning", force.concern, title=TITLE)


_PERMISSIONS = (
    "contents: read, issues: write, and pull-requests: read; for the postmortem contents and pull-requests: write"
)


@contextmanager
def run_of(workflow: Workflow) -> Iterator[tuple[Run, Mapping[str, Any]]]:
    """The run, and the payload of its event.  Raises Unusable outside a workflow, and DeliveryFailed."""
    payload = workflow.payload()
    if not workflow.token:
        raise Unusable("GITHUB_TOKEN is not set: give the step `github.token`.")
    client = workflow.client(workflow.token)
    other = workflow.client(pulls) if (pulls := workflow.pull_request_token) else None
    try:
        repository = workflow.repository(payload)
        if not repository.id:
            there = client.call(0, "GET", f"/repos/{repository.name}").body
            repository = replace(repository, id=there["id"], default_branch=there["default_branch"])
        tracker = GitHubTracker(client, repository)
        writer = GitHubTracker(other, repository) if other else tracker
        signer = Signer((workflow.signing_secret or f"repository {repository.id}",), bot=BOT)
        yield Run(workflow, repository, tracker, writer, signer), payload
    finally:
        client.close()
        if other is not None:
            other.close()


def carried_out(workflow: Workflow, once: Callable[[Run, Mapping[str, Any]], int]) -> int:
    """What `once` gives for this run and the payload of its event; 1, and said why, where GitHub does not let it."""
    try:
        with run_of(workflow) as (run, payload):
            try:
                return persistent(run, lambda: once(run, payload))
            except DeliveryFailed as failed:
                return run.failed(failed)
    except DeliveryFailed as failed:
        workflow.say("error", f"{failed}.", title=TITLE)
        return 1


def persistent(run: Run, look: Callable[[], _T]) -> _T:
    """What `look` gives, begun anew where GitHub was not well: each look sees what the one before it has done.

    Raises DeliveryFailed where that does not help.
    """
    for tried in range(1, _TRIES + 1):
        try:
            return look()
        except DeliveryFailed as failed:
            wait = max(failed.retry_after or 0.0, _LATE if failed.late else AGAIN)
            if failed.retry_after is None or wait > _LONGEST or tried == _TRIES:
                raise
            run.workflow.say("notice", f"{failed}: tried again in {wait:.0f} s.", title=TITLE)
            run.sleep(wait)
    raise AssertionError("the last try has an outcome")
