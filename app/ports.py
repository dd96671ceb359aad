"""What floor 1 offers to the floors above, and how it may fail."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, Protocol

from app.core.events import Role
from app.rate_limit import Budget, Urgency


class DeliveryFailed(Exception):
    """The other side did not take it.  `retry_after` is in seconds, 0 where the other side asked for no wait; None means
    never: a person has to look.

    `uncertain` is True when the other side may have taken it all the same: nothing may be said again before a look.
    `late`: there was no answer, so it may even take it later, also when a look has not found it.
    """

    def __init__(self, message: str, *, retry_after: float | None, uncertain: bool = False, late: bool = False) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.uncertain = uncertain
        self.late = late


class Gone(DeliveryFailed):
    """What was asked for is not there (any more): deleted, transferred, or out of our reach."""

    def __init__(self, message: str) -> None:
        super().__init__(message, retry_after=None)


class NotYet(DeliveryFailed):
    """The other side takes nothing from us until then: nothing was tried, and it counts as no attempt."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class Unreached(DeliveryFailed):
    """There was no connection, so nothing was sent; a try costs little."""

    def __init__(self, message: str, *, retry_after: float) -> None:
        super().__init__(message, retry_after=retry_after)


class Pace(Protocol):
    """How fast each installation may call GitHub.  Every method may be called from any thread."""

    def ask(self, installation: int, method: str, urgency: Urgency, now: datetime) -> float:
        """0: that call may be made now, and is counted.  Else the seconds after which it is worth asking again."""

    def ended(self, installation: int, method: str, budget: Budget | None, now: datetime) -> None:
        """That call has ended, so that the next one has its turn.  `budget` is what GitHub says is left; None: nothing."""

    def limited(self, installation: int, told: float | None, now: datetime) -> float:
        """GitHub wants quiet for so many seconds; None: it did not say.  Returns how many it will be."""


@dataclass(frozen=True, slots=True)
class Lane:
    """Which incident something belongs to.  The key is GitHub's id of the repository, for names change."""

    repo_id: int
    number: int

    def __str__(self) -> str:
        return f"{self.repo_id}#{self.number}"


@dataclass(frozen=True, slots=True)
class Repository:
    """A repository as the last delivery described it, and the installation that lets us in."""

    id: int
    name: str
    installation: int
    default_branch: str = "main"

    @property
    def is_organisations(self) -> bool:
        """Whether it is where an organisation keeps what holds for all its repositories."""
        return self.name.partition("/")[2].lower() == ".github"


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment as GitHub has it.  `app_id` is the GitHub App that wrote it; None: a person did.

    `issue` is the number of its issue, 0 where GitHub was asked about one issue alone.
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
class Claim:
    """A mark of ours on an issue, of which there is one at a time.  `ours`: we set it now, nobody else did before."""

    id: int
    at: datetime
    ours: bool


@dataclass(frozen=True, slots=True)
class Pull:
    number: int
    url: str
    state: str
    """`open`, `merged` or `dropped`."""
    created_at: datetime
    by: str = ""


@dataclass(frozen=True, slots=True)
class PolicyText:
    """The policy file of a repository; `text` None: there is none.  `unchanged`: the etag still stands."""

    text: str | None
    etag: str
    unchanged: bool = False


Change = Literal["none", "written", "removed"]


@dataclass(frozen=True, slots=True)
class Annotation:
    """What a check has to say of one spot of a file; lines and columns count from 1."""

    path: str
    line: int
    column: int
    title: str
    message: str


@dataclass(frozen=True, slots=True)
class Check:
    """A check run on a commit.  `summary` is Markdown; every annotation is a failure."""

    name: str
    sha: str
    success: bool
    title: str
    summary: str
    annotations: tuple[Annotation, ...] = ()


@dataclass(frozen=True, slots=True)
class FeedFile:
    """A calendar in a repository; `content` None: there is none.  `unchanged`: the etag still stands."""

    content: bytes | None
    etag: str
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class Labelled:
    """All labels of an issue, and when it carried them by GitHub's clock."""

    labels: frozenset[str]
    at: datetime


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that is to be proposed in a pull request of its own."""

    branch: str
    path: str
    text: str
    message: str
    title: str
    body: str


@dataclass(frozen=True, slots=True)
class Message:
    """A notice for people who do not look at GitHub: plain text, in which nobody's words do anything.

    `kind` is `page`, `escalate`, `remind`, `announce` or `ask`; `severity` is `sev1` to `sev4`.  `subject` is what a lock
    screen shows, and the first line of `text`.  `to` are the logins it is for, `at` is when it became due.  `key` is
    the same on every try, and no other message of ours has it.
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


class Channel(Protocol):
    """A way out beside GitHub, such as a webhook or a chat."""

    def send(self, address: str, message: Message) -> None:
        """Deliver it once.

        The receiver is given the key of the message, so that it can refuse a double.  Waits at most 5 seconds.  Raises
        DeliveryFailed, and nothing else.
        """


class Tracker(Protocol):
    """One repository on GitHub.  Every method may raise DeliveryFailed, and nothing else."""

    def urgent(self, urgency: Urgency) -> Tracker:
        """The same repository, asked with that urgency."""

    def guarded(self, guard: Callable[[], None]) -> Tracker:
        """The same, asking `guard` immediately before each write, which does not happen when that raises."""

    def issue(self, number: int) -> Mapping[str, Any]: ...
    def timeline(self, number: int) -> list[Mapping[str, Any]]: ...
    def comments(self, number: int, since: datetime | None = None) -> list[Comment]: ...
    def incidents(self, label: str) -> list[int]:
        """The numbers of all issues with the incident label, open or closed."""

    def incidents_since(self, label: str, updated: datetime) -> list[Mapping[str, Any]]:
        """The issues with the incident label that were updated since then, as GitHub shows them, the newest first."""

    def updated_since(self, since: datetime) -> Iterator[Mapping[str, Any]]:
        """All issues that were updated since then, pull requests among them, the longest ago first; 100 for each call."""

    def open_incidents(self, label: str) -> list[Mapping[str, Any]]:
        """The open issues with the incident label, as GitHub shows them; 100 for each call."""

    def closed_incidents(self, labels: tuple[str, ...]) -> list[Mapping[str, Any]]:
        """The closed issues with all those labels, as GitHub shows them; 100 for each call."""

    def newest_comments(self) -> list[Comment]:
        """The hundred comments of the repository that were written last, the newest first, on whichever issue."""

    def comments_by_update(self) -> Iterator[Comment]:
        """The comments of the repository, the last edited first, 100 for each call, as long as they are taken."""

    def claim(self, number: int) -> Claim:
        """Mark that issue as in our hands, by a reaction, or find our mark on it."""

    def release(self, number: int, claim: int) -> None:
        """Take that mark away; nothing happens where it is not there any more."""

    def versions(self, path: str) -> list[str]:
        """The newest commits of the default branch that changed that file, the newest first, thirty of them."""

    def permission(self, login: str) -> Role: ...
    def policy(self, etag: str) -> PolicyText: ...
    def organisation_policy(self, etag: str) -> PolicyText:
        """The file in the repository `.github` of the same owner; one that we may not read is none."""

    def feed(self, path: str, etag: str, *, organisation: bool) -> FeedFile:
        """A calendar in this repository, or in `.github` of the same owner; at most a mebibyte."""

    def file(self, path: str, ref: str) -> str | None:
        """The text of that file at that commit or branch, in a fork's too; None: there is none."""

    def change(self, pull: int, path: str) -> Change:
        """What that pull request does to that file; one that is renamed is removed from its old place."""

    def check(self, check: Check) -> None:
        """Show it on its commit, once: where ours of that name is there already, only what it lacks is added."""

    def set_labels(self, number: int, add: frozenset[str], remove: frozenset[str]) -> Labelled | None:
        """Returns what the issue carries then; None where nobody was asked, since there was nothing to change."""

    def comment(self, number: int, body: str) -> Comment: ...
    def edit_comment(self, comment: int, body: str) -> None:
        """Raises Gone when the comment was deleted."""

    def react(self, comment: int) -> None: ...
    def assign(self, number: int, login: str) -> None: ...
    def pull_of(self, branch: str) -> Pull | None:
        """The newest pull request from that branch, in any state."""

    def propose(self, file: NewFile) -> Pull:
        """Branch, file and pull request: each step looks first, so doing it again does nothing twice."""

    def ask_review(self, pull: int, reviewers: tuple[str, ...]) -> None:
        """Ask those of them who can review; nobody is owed an answer, so this raises NotYet and nothing else."""
