"""Actions of people in the browser."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from typing import Concatenate, Literal, ParamSpec, TypeVar, cast

from app.sandbox.github.code_changes import Changes
from app.sandbox.github.errors import ApiError, not_found
from app.sandbox.github.issue_changes import UNCHANGED
from app.sandbox.github.world import Account, Actor, Comment, Issue, Repository, Role, require_existing

P = ParamSpec("P")
R = TypeVar("R")


def _with_world_lock(method: Callable[Concatenate[Person, P], R]) -> Callable[Concatenate[Person, P], R]:
    @functools.wraps(method)
    def call_with_lock(self: Person, *args: P.args, **kwargs: P.kwargs) -> R:
        with self._changes.world.lock:
            return method(self, *args, **kwargs)

    return cast("Callable[Concatenate[Person, P], R]", call_with_lock)


class Person:
    """A person using the site. Methods raise ApiError for what GitHub would not allow."""

    def __init__(self, changes: Changes, account: Account) -> None:
        self._changes = changes
        self.account = account
        self.actor = Actor(account)

    @property
    def login(self) -> str:
        """The person's login."""
        return self.account.login

    @_with_world_lock
    def opens(
        self,
        repository: Repository,
        title: str,
        body: str | None = None,
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
    ) -> int:
        """Open an issue, with the labels that its form adds, and return its number."""
        self._require_role(repository, "read")
        return self._changes.open_issue(repository, self.actor, title, body, labels, assignees).number

    @_with_world_lock
    def comments(self, repository: Repository, number: int, body: str) -> Comment:
        """Add a comment to an issue."""
        issue = self._find_issue(repository, number)
        self._require_role(repository, "write" if issue.locked else "read")
        return self._changes.add_comment(issue, self.actor, body)

    @_with_world_lock
    def labels(self, repository: Repository, number: int, *names: str) -> None:
        """Add labels to an issue."""
        self._require_role(repository, "triage")
        self._changes.add_labels(self._find_issue(repository, number), self.actor, names)

    @_with_world_lock
    def unlabels(self, repository: Repository, number: int, *names: str) -> None:
        """Remove labels from an issue."""
        self._require_role(repository, "triage")
        for name in names:
            self._changes.remove_label(self._find_issue(repository, number), self.actor, name)

    @_with_world_lock
    def assigns(self, repository: Repository, number: int, *logins: str) -> None:
        """Assign people to an issue."""
        self._require_role(repository, "triage")
        self._changes.assign(self._find_issue(repository, number), self.actor, logins, strict=True)

    @_with_world_lock
    def unassigns(self, repository: Repository, number: int, *logins: str) -> None:
        """Remove assignees from an issue."""
        self._require_role(repository, "triage")
        self._changes.unassign(self._find_issue(repository, number), self.actor, logins)

    @_with_world_lock
    def closes(
        self,
        repository: Repository,
        number: int,
        reason: Literal["completed", "not_planned", "duplicate"] = "completed",
    ) -> None:
        """Close an issue or pull request."""
        issue = self._find_issue(repository, number)
        self._require_author_or_triage(issue)
        self._changes.close(issue, self.actor, reason)

    @_with_world_lock
    def reopens(self, repository: Repository, number: int) -> None:
        """Reopen an issue or pull request."""
        issue = self._find_issue(repository, number)
        self._require_author_or_triage(issue)
        self._changes.reopen(issue, self.actor)

    @_with_world_lock
    def edits_issue(
        self, repository: Repository, number: int, *, title: str | None = None, body: str | None = UNCHANGED
    ) -> None:
        """Change the title or body of an issue."""
        issue = self._find_issue(repository, number)
        self._require_author_or_triage(issue)
        self._changes.edit_issue(issue, self.actor, title=title, body=body)

    @_with_world_lock
    def edits_comment(self, repository: Repository, comment: Comment | int, body: str) -> None:
        """Change the body of a comment."""
        issue, found = self._find_editable_comment(repository, comment)
        self._changes.edit_comment(issue, found, self.actor, body)

    @_with_world_lock
    def deletes_comment(self, repository: Repository, comment: Comment | int) -> None:
        """Delete a comment."""
        issue, found = self._find_editable_comment(repository, comment)
        self._changes.delete_comment(issue, found, self.actor)

    @_with_world_lock
    def reacts(self, repository: Repository, number: int, content: str, comment: Comment | None = None) -> None:
        """React to an issue, or to `comment`."""
        issue = self._find_issue(repository, number)
        self._require_role(repository, "read")
        self._changes.react(comment or issue, self.actor, content)

    @_with_world_lock
    def locks(self, repository: Repository, number: int, reason: str | None = None) -> None:
        """Lock the conversation of an issue."""
        self._require_role(repository, "write")
        self._changes.lock(self._find_issue(repository, number), self.actor, reason)

    @_with_world_lock
    def unlocks(self, repository: Repository, number: int) -> None:
        """Unlock the conversation of an issue."""
        self._require_role(repository, "write")
        self._changes.unlock(self._find_issue(repository, number), self.actor)

    @_with_world_lock
    def transfers(self, repository: Repository, number: int, target: Repository) -> int:
        """Move an issue to another repository and return its number there."""
        self._require_role(repository, "write")
        self._require_role(target, "write")
        return self._changes.transfer(self._find_issue(repository, number), self.actor, target).number

    @_with_world_lock
    def deletes_issue(self, repository: Repository, number: int) -> None:
        """Delete an issue."""
        self._require_role(repository, "admin")
        self._changes.delete_issue(self._find_issue(repository, number), self.actor)

    @_with_world_lock
    def adds_sub_issue(self, repository: Repository, parent: int, child: int) -> None:
        """Make one issue a sub-issue of another."""
        self._require_role(repository, "triage")
        parent_issue, child_issue = self._find_issue(repository, parent), self._find_issue(repository, child)
        self._changes.add_sub_issue(parent_issue, self.actor, child_issue)

    @_with_world_lock
    def pushes(
        self,
        repository: Repository,
        path: str,
        text: str | bytes | None,
        message: str = "Update",
        branch: str | None = None,
    ) -> str:
        """Commit one file and return the commit's sha.

        `text` None removes the file. A branch that does not exist is created.
        """
        self._require_role(repository, "write")
        git = repository.git
        if branch and git.refs and f"refs/heads/{branch}" not in git.refs:
            self._changes.create_ref(
                repository, self.actor, f"refs/heads/{branch}", git.refs[f"refs/heads/{repository.default_branch}"]
            )
        content = text.encode("utf-8", "replace") if isinstance(text, str) else text
        return self._changes.commit_file(repository, self.actor, path, content, message, branch).sha

    @_with_world_lock
    def opens_pull(
        self, repository: Repository, head: str, title: str, body: str | None = None, base: str | None = None
    ) -> int:
        """Open a pull request and return its number; `head` is a branch, or owner:branch of a fork."""
        self._require_role(repository, "read" if ":" in head else "write")
        target = base or repository.default_branch
        return self._changes.open_pull(repository, self.actor, title, head, target, body).number

    @_with_world_lock
    def forks(self, repository: Repository) -> Repository:
        """Fork a repository; the app is not installed on the fork."""
        self._require_role(repository, "read")
        return self._changes.fork(repository, self.actor)

    @_with_world_lock
    def retargets(self, repository: Repository, number: int, base: str) -> None:
        """Change the base branch of a pull request."""
        issue = self._find_issue(repository, number)
        self._require_author_or_triage(issue)
        self._changes.retarget(issue, self.actor, base)

    @_with_world_lock
    def merges(self, repository: Repository, number: int) -> str:
        """Merge a pull request and return the merge commit's sha."""
        self._require_role(repository, "write")
        return self._changes.merge(self._find_issue(repository, number), self.actor)

    @_with_world_lock
    def requests_review(self, repository: Repository, number: int, *logins: str) -> None:
        """Request reviews of a pull request."""
        self._require_role(repository, "write")
        self._changes.request_reviewers(self._find_issue(repository, number), self.actor, list(logins), [])

    def _require_role(self, repository: Repository, role: Role) -> None:
        if not repository.allows(self.account, "read"):
            raise not_found()
        if not repository.allows(self.account, role):
            actual = repository.role(self.account)
            where = repository.full_name
            raise ApiError(403, f"{self.login} has {actual} on {where}, and this needs {role}")

    def _require_author_or_triage(self, issue: Issue) -> None:
        self._require_role(issue.repository, "read" if issue.author is self.account else "triage")

    def _find_issue(self, repository: Repository, number: int) -> Issue:
        issue = require_existing(repository.issues.get(number))
        if issue.moved_to is not None:
            raise ApiError(301, "Moved Permanently")
        return issue

    def _find_editable_comment(self, repository: Repository, comment: Comment | int) -> tuple[Issue, Comment]:
        found = repository.comments.get(comment if isinstance(comment, int) else comment.id)
        if found is None:
            raise not_found()
        own = found[1].author is self.account
        self._require_role(repository, "read" if own else "write")
        return found
