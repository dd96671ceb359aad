"""The state of the sandbox GitHub: accounts, repositories, issues and everything that belongs to them.

Plain state that sends no webhooks; `issue_changes` and `code_changes` do that. Properties such as `Issue.labels`
are for tests and the demo, which check the outcome.
"""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from app.sandbox.github.errors import ApiError, not_found
from app.sandbox.github.git import Git

Role = Literal["none", "read", "triage", "write", "maintain", "admin"]
ROLES: tuple[Role, ...] = ("none", "read", "triage", "write", "maintain", "admin")


@dataclass(eq=False)
class Account:
    """A person, a bot or an organisation."""

    id: int
    login: str
    kind: Literal["User", "Bot", "Organization"]
    name: str | None
    created_at: datetime
    members: dict[str, Role] = field(default_factory=dict)


ACTIONS_BOT_LOGIN = "github-actions[bot]"
"""The account that runs of GitHub Actions write as."""


class Actor(NamedTuple):
    """The account that makes a change, and whether it does so through the app."""

    account: Account
    via_app: bool = False


@dataclass(eq=False)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str = "ededed"
    description: str | None = None
    default: bool = False


@dataclass(eq=False)
class Milestone:
    """A milestone of a repository."""

    id: int
    number: int
    title: str
    description: str | None
    state: str
    creator: Account
    created_at: datetime
    due_on: str | None = None


@dataclass(eq=False)
class Reaction:
    """An emoji reaction by one account."""

    id: int
    account: Account
    content: str
    created_at: datetime


@dataclass(eq=False)
class Comment:
    """A comment on an issue or pull request."""

    id: int
    author: Account
    body: str
    created_at: datetime
    updated_at: datetime
    via_app: bool = False
    reactions: list[Reaction] = field(default_factory=list)

    @property
    def login(self) -> str:
        """The author's login."""
        return self.author.login


@dataclass(eq=False)
class Event:
    """One entry of an issue's timeline; only the fields of its kind are set."""

    id: int
    event: str
    actor: Account
    at: datetime
    via_app: bool = False
    comment: Comment | None = None
    label: Label | None = None
    assignee: Account | None = None
    renamed: tuple[str, str] | None = None
    milestone: str | None = None
    lock_reason: str | None = None
    state_reason: str | None = None
    source: Issue | None = None
    commit: str | None = None
    reviewer: Account | None = None


@dataclass(eq=False)
class PullRequest:
    """The fields that a pull request has in addition to an issue.

    `fork` is the repository of its head; None: the same repository.
    """

    head: str
    head_sha: str
    base: str
    base_sha: str
    draft: bool = False
    merged_at: datetime | None = None
    merged_by: Account | None = None
    merge_sha: str | None = None
    reviewers: list[Account] = field(default_factory=list)
    team_reviewers: list[Team] = field(default_factory=list)
    maintainer_can_modify: bool = False
    fork: Repository | None = None


@dataclass(eq=False)
class Issue:
    """An issue, or a pull request if `pull` is set."""

    id: int
    number: int
    repository: Repository
    title: str
    body: str | None
    author: Account
    created_at: datetime
    updated_at: datetime
    via_app: bool = False
    state: Literal["open", "closed"] = "open"
    state_reason: str | None = None
    closed_at: datetime | None = None
    closed_by: Account | None = None
    label_list: list[Label] = field(default_factory=list)
    assignees: list[Account] = field(default_factory=list)
    milestone: Milestone | None = None
    locked: bool = False
    lock_reason: str | None = None
    comments_by_id: dict[int, Comment] = field(default_factory=dict)
    timeline: list[Event] = field(default_factory=list)
    reactions: list[Reaction] = field(default_factory=list)
    sub_issues: list[Issue] = field(default_factory=list)
    parent: Issue | None = None
    deleted: bool = False
    moved_to: Issue | None = None
    pull: PullRequest | None = None

    @property
    def labels(self) -> list[str]:
        """The names of its labels, in the order they were added."""
        return [label.name for label in self.label_list]

    @property
    def comments(self) -> list[Comment]:
        """Its comments, oldest first."""
        return list(self.comments_by_id.values())

    @property
    def is_merged(self) -> bool:
        """True for a merged pull request."""
        return self.pull is not None and self.pull.merged_at is not None


@dataclass(eq=False)
class CheckRun:
    """A check run of the app on a commit.

    `output` is the last one sent, `annotations` are all that were ever sent.
    """

    id: int
    name: str
    head_sha: str
    status: str
    conclusion: str | None
    started_at: str | None
    completed_at: str | None
    details_url: str | None
    external_id: str | None
    output: dict[str, Any]
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(eq=False)
class Repository:
    """A repository with its contents."""

    id: int
    owner: Account
    name: str
    private: bool
    description: str | None
    created_at: datetime
    default_branch: str = "main"
    pushed_at: datetime | None = None
    git: Git = field(default_factory=Git)
    roles: dict[str, Role] = field(default_factory=dict)
    labels: dict[str, Label] = field(default_factory=dict)
    milestones: dict[int, Milestone] = field(default_factory=dict)
    issues: dict[int, Issue] = field(default_factory=dict)
    open_pulls: dict[int, Issue] = field(default_factory=dict)
    pulls_by_number: dict[int, Issue] = field(default_factory=dict)
    comments: dict[int, tuple[Issue, Comment]] = field(default_factory=dict)
    check_runs: dict[int, CheckRun] = field(default_factory=dict)
    checks_by_sha: dict[str, list[CheckRun]] = field(default_factory=dict)
    installation: Installation | None = None
    archived: bool = False
    actions_may_open_pulls: bool = True
    """The box "Allow GitHub Actions to create and approve pull requests" of its settings."""
    open_count: int = 0
    last_number: int = 0
    parent: Repository | None = None
    """The repository it was forked from."""

    @property
    def full_name(self) -> str:
        """The name as owner/name."""
        return f"{self.owner.login}/{self.name}"

    @property
    def pulls(self) -> list[Issue]:
        """Its pull requests, oldest first."""
        return list(self.pulls_by_number.values())

    def permit(self, login: str, role: Role) -> None:
        """Give a person a role: read, triage, write, maintain or admin; `none` removes it.

        Raises ValueError for another role.
        """
        if role not in ROLES:
            raise ValueError(f"{role!r} is not a role, such as {', '.join(ROLES)}")
        self.roles[login.lower()] = role

    def role(self, account: Account) -> Role:
        """Return a person's role, from the repository, the organisation and the visibility."""
        login = account.login.lower()
        if account is self.owner or self.owner.members.get(login) == "admin":
            return "admin"
        direct = self.roles.get(login, "none")
        base: Role = self.owner.members.get(login, "none") if self.private else "read"
        return max(direct, base, key=ROLES.index)

    def allows(self, account: Account, role: Role) -> bool:
        """Return True if the account has at least that role."""
        return ROLES.index(self.role(account)) >= ROLES.index(role)

    def issue(self, number: int) -> Issue:
        """Return the issue or pull request of that number. Raises KeyError."""
        return self.issues[number]

    def file(self, path: str, ref: str | None = None) -> str:
        """Return the text of a file on a branch or at a commit. Raises KeyError."""
        return self.read(path, ref).decode()

    def read(self, path: str, ref: str | None = None) -> bytes:
        """Return the bytes of a file on a branch or at a commit. Raises KeyError."""
        commit = self.git.resolve(ref or self.default_branch)
        entry = self.git.find_entry(commit.tree, path) if commit else None
        if entry is None or entry.is_folder:
            raise KeyError(f"{self.full_name} has no file {path} on {ref or self.default_branch}")
        return self.git.blobs[entry.sha]


@dataclass(eq=False)
class Installation:
    """An installation of the app on one account."""

    id: int
    account: Account
    created_at: datetime
    permissions: dict[str, str]
    events: list[str]
    repositories: dict[int, Repository] = field(default_factory=dict)
    suspended_at: datetime | None = None
    suspended_by: Account | None = None
    removed: bool = False


@dataclass(eq=False)
class Team:
    """A team of an organisation."""

    id: int
    organization: Account
    slug: str
    members: list[Account] = field(default_factory=list)


class World:
    """All state, behind one lock. Ids come from one counter, so that equal runs are equal."""

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.accounts: dict[str, Account] = {}
        self.repositories: dict[str, Repository] = {}
        self.former_names: dict[str, Repository] = {}
        self.installations: dict[int, Installation] = {}
        self.teams: dict[tuple[str, str], Team] = {}
        self._ids = itertools.count(1_000_001)

    def new_id(self) -> int:
        """Return an id that no other object has."""
        return next(self._ids)

    def account(self, login: str) -> Account:
        """Return an account. Raises ApiError 404."""
        try:
            return self.accounts[login.lower()]
        except KeyError:
            raise not_found() from None

    def repository(self, owner: str, name: str) -> Repository:
        """Return a repository. Raises ApiError 404."""
        try:
            return self.repositories[f"{owner}/{name}".lower()]
        except KeyError:
            raise not_found() from None

    def installation_of(self, account: Account) -> Installation | None:
        """Return the current installation on an account, if any."""
        return next((i for i in self.installations.values() if i.account is account and not i.removed), None)


def require_existing(issue: Issue | None) -> Issue:
    """Return the issue unless it is missing or deleted. Raises ApiError 404 or 410.

    The caller has to follow an issue that was transferred.
    """
    if issue is None:
        raise not_found()
    if issue.deleted:
        raise ApiError(410, "This issue was deleted")
    return issue
