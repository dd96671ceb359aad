"""Interfaces and data types that the adapters offer to the layers above, and their errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Literal, Protocol

from app.core.events import Role
from app.rate_limit import Budget, Priority


class Outlook(Enum):
    """What a refusal of GitHub means for the request that was refused."""

    FINAL = "final"
    """GitHub refuses what we sent, and will refuse it again: a person or a new release has to change it."""
    TRANSIENT = "transient"
    """The same request may be accepted in a moment; it is tried again for the refusal's `retry_period`."""
    UNTIL_CHANGED = "until changed"
    """A setting of the repository forbids it; once a person has changed that, the same request is accepted."""
    LOCKED = "locked"
    """The conversation is locked: comments wait for the unlock, everything else goes on."""
    PARKS = "parks"
    """The whole installation is refused: its work waits, and resumes by itself."""
    UNKNOWN = "unknown"
    """GitHub did not answer the question, so nothing follows from it."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A refusal of GitHub, as the table in `app.github.refusals` reads it.

    `retry_period` is how long the request is tried again, `max_wait` the longest wait in between.  `reason` is in
    GitHub's own words, `advice` a sentence that says what would help; empty: there is nothing that a person can do.
    """

    outlook: Outlook
    reason: str = ""
    advice: str = ""
    retry_period: timedelta = timedelta()
    max_wait: timedelta = timedelta(minutes=1)

    @property
    def sentence(self) -> str:
        """What GitHub refused and what would help, for people."""
        return f"GitHub says “{self.reason}”. {self.advice}".rstrip()


class DeliveryFailed(Exception):
    """GitHub or a channel did not accept a request or message.

    `retry_after` is in seconds, 0 where no wait was asked for; None means never: a person has to look.

    `outcome_unknown`: it may have been accepted all the same, so check before sending again.  `may_still_arrive`: there
    was no response, so it may even be accepted later, after a check has not found it.  `refusal`: GitHub answered and
    refused; None: there was no answer, or it did not come from GitHub.
    """

    def __init__(
        self,
        message: str,
        *,
        retry_after: float | None,
        outcome_unknown: bool = False,
        may_still_arrive: bool = False,
        refusal: Refusal | None = None,
    ) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.outcome_unknown = outcome_unknown
        self.may_still_arrive = may_still_arrive
        self.refusal = refusal


class NotFound(DeliveryFailed):
    """The resource was not found: deleted, transferred, not accessible to us, or not visible for a moment.

    `proof` is GitHub's own word that the issue is gone, `deleted` or `transferred`; empty: it did not say so, and
    absence alone proves nothing.
    """

    def __init__(
        self, message: str, *, proof: str = "", retry_after: float | None = None, refusal: Refusal | None = None
    ) -> None:
        super().__init__(message, retry_after=retry_after, refusal=refusal)
        self.proof = proof


class Deferred(DeliveryFailed):
    """Rate-limited or paused: nothing was sent, and it does not count as an attempt; retry after `retry_after`."""

    def __init__(self, message: str, *, retry_after: float, refusal: Refusal | None = None) -> None:
        super().__init__(message, retry_after=retry_after, refusal=refusal)


class ConnectionFailed(DeliveryFailed):
    """There was no connection, so nothing was sent; retrying is cheap."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class RateLimiter(Protocol):
    """Limits how fast each installation calls GitHub.  Every method may be called from any thread."""

    def acquire(self, installation: int, method: str, priority: Priority, now: datetime) -> float:
        """Count that call and return 0 if it may be made now; else return the seconds after which to ask again."""

    def record_response(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        """Record the end of that call, which lets the next one go.

        `budget` is what GitHub reported; None: it reported nothing.
        """

    def record_limit(self, installation: int, retry_after_seconds: float | None, now: datetime) -> float:
        """Record a rate limit, and return the seconds of the pause.

        `retry_after_seconds` None: GitHub did not say how long.
        """


@dataclass(frozen=True, slots=True)
class IncidentKey:
    """Identifies an incident by repository id and issue number; the id, because repository names change."""

    repo_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.repo_id}#{self.number}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as described by the last delivery, and the installation that gives access to it."""

    id: int
    name: str
    installation: int
    default_branch: str = "main"

    @property
    def is_organisation_config(self) -> bool:
        """True for the repository `.github`, where an organisation keeps settings for all its repositories."""
        return self.name.partition("/")[2].lower() == ".github"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment on GitHub.

    `app_id` is the GitHub App that wrote it; None: a person did.  `issue` is the number of its issue, 0 where the
    request was for the comments of a single issue.
    """

    id: int
    url: str
    author: str
    bot: bool
    app_id: int | None
    body: str
    created_at: datetime
    reactions: int = 0
    updated_at: datetime | None = None
    issue: int = 0


@dataclass(frozen=True, slots=True)
class IssueLock:
    """Our lock on an issue, at most one at a time.  `acquired`: this call set it; False: it existed before."""

    id: int
    created_at: datetime
    acquired: bool


@dataclass(frozen=True, slots=True)
class PullRequest:
    """A pull request."""

    number: int
    url: str
    state: str
    """`open`, `merged` or `dropped`."""
    created_at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """A repository's policy file; `text` None: it does not exist.  `unchanged`: the etag still matches."""

    text: str | None
    etag: str
    unchanged: bool = False


FileChange = Literal["none", "written", "removed"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """A check's remark on one place in a file; lines and columns count from 1."""

    path: str
    line: int
    column: int
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class CheckRun:
    """A check run on a commit.  `summary` is Markdown; every annotation is a failure.

    `is_waiting`: it has no result yet, and its title says why.
    """

    name: str
    sha: str
    success: bool
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()
    is_waiting: bool = False


@dataclass(frozen=True, slots=True)
class CalendarFile:
    """A calendar file in a repository; `content` None: it does not exist.  `unchanged`: the etag still matches."""

    content: bytes | None
    etag: str
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class LabelState:
    """All labels of an issue, and when it carried them by GitHub's clock."""

    labels: frozenset[str]
    at: datetime


def postmortem_branches(number: int) -> tuple[str, ...]:
    """Return the branches that the postmortem of that issue may be on, the preferred one first.

    A repository with a branch `muster` cannot have one below it.
    """
    return f"muster/postmortem-{number}", f"muster-postmortem-{number}"


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file to be proposed in a pull request of its own.

    `branches` are the names that its branch may have, the preferred one first: another branch may be in the way.
    """

    branches: tuple[str, ...]
    path: str
    text: str
    message: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Message:
    """A notice for people outside GitHub: plain text, in which nothing a user wrote has any effect.

    `kind` is `page`, `escalate`, `remind`, `announce` or `ask`; `severity` is `sev1` to `sev4`.  `subject` is what a
    lock screen shows, and the first line of `text`.  `to` are the logins it is for, `at` is when it became due.  `key`
    is the same on every attempt and unique among our messages.
    """

    key: str
    kind: str
    severity: str
    subject: str
    text: str
    link: str
    to: tuple[str, ...]
    at: datetime
    incident: str
    repository: str
    number: int


class NotificationChannel(Protocol):
    """A notification channel beside GitHub, such as a webhook or a chat."""

    def send(self, address: str, message: Message) -> None:
        """Deliver `message` once.

        The receiver is given its key, so that it can refuse duplicates.  Waits at most 5 seconds.  Raises
        DeliveryFailed, and nothing else.
        """


class Tracker(Protocol):
    """One repository on GitHub.  Every method may raise DeliveryFailed, and nothing else."""

    def with_priority(self, priority: Priority) -> Tracker:
        """Return a tracker of the same repository whose calls have that priority."""

    def with_guard(self, guard: Callable[[], None]) -> Tracker:
        """Return a tracker that calls `guard` immediately before each write; if it raises, nothing is written."""

    def issue(self, number: int) -> Mapping[str, Any]:
        """Return the issue, as GitHub's JSON."""

    def timeline(self, number: int) -> list[Mapping[str, Any]]:
        """Return the issue's timeline, as GitHub's JSON, oldest first."""

    def comments(self, number: int, since: datetime | None = None) -> list[Comment]:
        """Return the issue's comments, only those updated since then if given."""

    def incidents(self, label: str) -> list[int]:
        """Return the numbers of all issues with the incident label, open or closed."""

    def incidents_since(self, label: str, since: datetime) -> list[Mapping[str, Any]]:
        """Return the issues with the incident label updated since then, as GitHub's JSON, newest first."""

    def updated_since(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """Yield all issues and pull requests updated since then, oldest update first; 100 per call."""

    def open_incidents(self, label: str) -> list[Mapping[str, Any]]:
        """Return the open issues with the incident label, as GitHub's JSON; 100 per call."""

    def closed_incidents(self, labels: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """Return the closed issues with all those labels, as GitHub's JSON; 100 per call."""

    def newest_comments(self) -> list[Comment]:
        """Return the 100 newest comments of the repository, newest first, on any issue."""

    def comments_by_update(self) -> Iterator[Comment]:
        """Yield the repository's comments, last edited first; 100 per call, as long as they are consumed."""

    def lock(self, number: int) -> IssueLock:
        """Acquire the per-issue lock (a reaction of ours), or return the existing one."""

    def unlock(self, number: int, lock_id: int) -> None:
        """Release that lock; do nothing if it no longer exists."""

    def commits_of(self, path: str) -> list[str]:
        """Return the newest commits of the default branch that changed that file, newest first, at most 30."""

    def permission(self, login: str) -> Role:
        """Return that user's role in the repository."""

    def policy(self, etag: str) -> PolicyFile:
        """Return the repository's policy file, without its text if it still has that etag."""

    def organisation_policy(self, etag: str) -> PolicyFile:
        """Return the policy file of the owner's `.github` repository; one that we may not read does not exist."""

    def feed(self, path: str, etag: str, *, organisation: bool) -> CalendarFile:
        """Return a calendar file of this repository, or of the owner's `.github`; at most 1 MiB."""

    def file(self, path: str, ref: str) -> str | None:
        """Return the text of that file at that commit or branch, also in a fork; None: it does not exist."""

    def file_change(self, pull: int, path: str) -> FileChange:
        """Return what that pull request does to that file; a renamed file is removed from its old path."""

    def check(self, check: CheckRun) -> None:
        """Create the check run on its commit once; if ours exists already, add only what is missing."""

    def set_labels(self, number: int, add: frozenset[str], remove: frozenset[str]) -> LabelState | None:
        """Change the labels, and return the issue's labels afterwards.

        None: there was nothing to change, so GitHub was not called.
        """

    def comment(self, number: int, body: str) -> Comment:
        """Post a comment on the issue."""

    def edit_comment(self, comment: int, body: str) -> None:
        """Replace the comment's body.  Raises NotFound when it was deleted."""

    def react(self, comment: int) -> None:
        """Add our reaction to a comment."""

    def assign(self, number: int, login: str) -> None:
        """Assign that user to the issue."""

    def pull_of(self, branches: tuple[str, ...]) -> PullRequest | None:
        """Return a pull request of the first branch that has any: the first one merged, else the newest."""

    def open_pull_request(self, file: NewFile) -> PullRequest:
        """Create branch, file and pull request; each step checks first, so repeating it is harmless."""

    def ask_review(self, pull: int, reviewers: tuple[str, ...]) -> None:
        """Request a review from those who can give one.

        Not being able to is no failure, so this raises Deferred and nothing else.
        """
