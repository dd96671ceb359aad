"""Changes to issues, comments and labels: state, timeline and webhook, in GitHub's order.

Permissions are checked by the caller; the checks here hold for all callers.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, Literal

from app.sandbox.github.context import ChangeContext, check_body, check_label, check_title
from app.sandbox.github.errors import ApiError, invalid_field
from app.sandbox.github.issue_json import REACTIONS
from app.sandbox.github.world import Account, Actor, Comment, Issue, Label, Milestone, Reaction, Repository

UNCHANGED: Any = object()
MAX_ASSIGNEES = 10


class IssueChanges(ChangeContext):
    """Changes to issues and to the conversation of pull requests."""

    def open_issue(
        self,
        repository: Repository,
        actor: Actor,
        title: str,
        body: str | None = None,
        labels: Iterable[str] = (),
        assignees: Iterable[str] = (),
        milestone: Milestone | None = None,
    ) -> Issue:
        """Open an issue.

        As on GitHub, `opened` is sent with all labels on it, then `labeled` for each of them.
        """
        check_title(title)
        check_body(body)
        issue = self._create_issue(repository, actor, title, body)
        issue.label_list = self._find_or_create_labels(repository, labels)
        issue.assignees = self._assignable_accounts(repository, assignees)
        issue.milestone = milestone
        self.send_issue_event(issue, "opened", actor)
        for label in issue.label_list:
            self._record_label_added(issue, label, actor)
        for account in issue.assignees:
            self.add_timeline_event(issue, "assigned", actor, assignee=account)
            self.send_issue_event(issue, "assigned", actor, assignee=self.serializer.account(account))
        if milestone is not None:
            self._record_milestone_set(issue, milestone, actor)
        self.add_cross_references(issue, body, actor)
        return issue

    def edit_issue(
        self,
        issue: Issue,
        actor: Actor,
        *,
        title: str | None = None,
        body: str | None = UNCHANGED,
        milestone: Milestone | None = UNCHANGED,
    ) -> None:
        """Change the title, body or milestone; what is not given stays."""
        changes: dict[str, Any] = {}
        if title is not None and title != issue.title:
            check_title(title, "PullRequest" if issue.pull else "Issue")
            changes["title"] = {"from": issue.title}
        if body is not UNCHANGED and body != issue.body:
            check_body(body)
            changes["body"] = {"from": issue.body or ""}
        if "title" in changes and title is not None:
            self.add_timeline_event(issue, "renamed", actor, renamed=(issue.title, title))
            issue.title = title
        if "body" in changes:
            issue.body = body
            issue.updated_at = self.now()
            self.add_cross_references(issue, body, actor)
        if changes:
            self.send_issue_event(issue, "edited", actor, changes=changes)
        if milestone is not UNCHANGED and milestone is not issue.milestone:
            if issue.milestone is not None:
                self.add_timeline_event(issue, "demilestoned", actor, milestone=issue.milestone.title)
                self.send_issue_event(issue, "demilestoned", actor)
            issue.milestone = milestone
            if milestone is not None:
                self._record_milestone_set(issue, milestone, actor)

    def close(self, issue: Issue, actor: Actor, reason: str | None = None, commit: str | None = None) -> None:
        """Close an issue; closing it again changes only the reason."""
        if issue.state == "closed":
            issue.state_reason = reason or issue.state_reason
            return
        issue.state = "closed"
        issue.state_reason = None if issue.pull else (reason or "completed")
        issue.closed_at, issue.closed_by = self.now(), actor.account
        issue.repository.open_count -= 1
        issue.repository.open_pulls.pop(issue.number, None)
        self.add_timeline_event(issue, "closed", actor, state_reason=issue.state_reason, commit=commit)
        self.send_issue_event(issue, "closed", actor)

    def reopen(self, issue: Issue, actor: Actor) -> None:
        """Reopen an issue. Raises ApiError 422 for a merged pull request."""
        if issue.state == "open":
            return
        if issue.is_merged:
            raise invalid_field("PullRequest", "state", "custom", "A merged pull request cannot be reopened.")
        issue.state = "open"
        issue.state_reason = None if issue.pull else "reopened"
        issue.closed_at = issue.closed_by = None
        issue.repository.open_count += 1
        if issue.pull:
            issue.repository.open_pulls[issue.number] = issue
        self.add_timeline_event(issue, "reopened", actor)
        self.send_issue_event(issue, "reopened", actor)

    def add_labels(self, issue: Issue, actor: Actor, names: Iterable[str]) -> None:
        """Add the labels that the issue does not have yet."""
        for label in self._find_or_create_labels(issue.repository, names):
            if label not in issue.label_list:
                issue.label_list.append(label)
                self._record_label_added(issue, label, actor)

    def remove_label(self, issue: Issue, actor: Actor, name: str) -> None:
        """Remove a label. Raises ApiError 404 if the issue does not have it."""
        label = next((label for label in issue.label_list if label.name.lower() == name.lower()), None)
        if label is None:
            raise ApiError(404, "Label does not exist")
        issue.label_list.remove(label)
        self.add_timeline_event(issue, "unlabeled", actor, label=copy.copy(label))
        self.send_issue_event(issue, "unlabeled", actor, label=self.serializer.label(issue.repository, label))

    def set_labels(self, issue: Issue, actor: Actor, names: Iterable[str]) -> None:
        """Replace the labels of an issue; only the difference is changed and sent."""
        wanted = self._find_or_create_labels(issue.repository, names)
        for label in [label for label in issue.label_list if label not in wanted]:
            self.remove_label(issue, actor, label.name)
        self.add_labels(issue, actor, [label.name for label in wanted])

    def assign(self, issue: Issue, actor: Actor, logins: Iterable[str], strict: bool = False) -> None:
        """Assign accounts to an issue.

        As on GitHub, those who cannot be assigned are skipped; with `strict` this raises ApiError 422.
        """
        for account in self._assignable_accounts(issue.repository, logins, strict):
            if account not in issue.assignees and len(issue.assignees) < MAX_ASSIGNEES:
                issue.assignees.append(account)
                self.add_timeline_event(issue, "assigned", actor, assignee=account)
                self.send_issue_event(issue, "assigned", actor, assignee=self.serializer.account(account))

    def unassign(self, issue: Issue, actor: Actor, logins: Iterable[str]) -> None:
        """Remove assignees from an issue."""
        names = {login.lower() for login in logins}
        for account in [account for account in issue.assignees if account.login.lower() in names]:
            issue.assignees.remove(account)
            self.add_timeline_event(issue, "unassigned", actor, assignee=account)
            self.send_issue_event(issue, "unassigned", actor, assignee=self.serializer.account(account))

    def lock(self, issue: Issue, actor: Actor, reason: str | None = None) -> None:
        """Lock the conversation of an issue."""
        if not issue.locked:
            issue.locked, issue.lock_reason = True, reason
            self.add_timeline_event(issue, "locked", actor, lock_reason=reason)
            self.send_issue_event(issue, "locked", actor)

    def unlock(self, issue: Issue, actor: Actor) -> None:
        """Unlock the conversation of an issue."""
        if issue.locked:
            issue.locked, issue.lock_reason = False, None
            self.add_timeline_event(issue, "unlocked", actor)
            self.send_issue_event(issue, "unlocked", actor)

    def add_comment(self, issue: Issue, actor: Actor, body: str) -> Comment:
        """Add a comment to an issue."""
        check_body(body, "IssueComment", required=True)
        now = self.now()
        comment = Comment(self.world.new_id(), actor.account, body, now, now, actor.via_app)
        issue.comments_by_id[comment.id] = comment
        issue.repository.comments[comment.id] = (issue, comment)
        self.add_timeline_comment(issue, comment)
        self._send_comment_event(issue, comment, "created", actor)
        self.add_cross_references(issue, body, actor)
        return comment

    def edit_comment(self, issue: Issue, comment: Comment, actor: Actor, body: str) -> None:
        """Change the body of a comment."""
        check_body(body, "IssueComment", required=True)
        if body == comment.body:
            return
        before, comment.body = comment.body, body
        comment.updated_at = issue.updated_at = self.now()
        self._send_comment_event(issue, comment, "edited", actor, changes={"body": {"from": before}})

    def delete_comment(self, issue: Issue, comment: Comment, actor: Actor) -> None:
        """Delete a comment."""
        del issue.comments_by_id[comment.id]
        del issue.repository.comments[comment.id]
        issue.timeline = [entry for entry in issue.timeline if entry.comment is not comment]
        self.add_timeline_event(issue, "comment_deleted", actor)
        self._send_comment_event(issue, comment, "deleted", actor)

    def react(self, target: Issue | Comment, actor: Actor, content: str) -> tuple[Reaction, bool]:
        """Add a reaction; return it and whether it is new."""
        if content not in REACTIONS:
            raise invalid_field("Reaction", "content")
        for reaction in target.reactions:
            if reaction.account is actor.account and reaction.content == content:
                return reaction, False
        reaction = Reaction(self.world.new_id(), actor.account, content, self.now())
        target.reactions.append(reaction)
        return reaction, True

    def add_sub_issue(self, parent: Issue, actor: Actor, child: Issue, replace_parent: bool = False) -> None:
        """Make one issue a sub-issue of another. Raises ApiError 422 for a cycle or a second parent."""
        ancestor: Issue | None = parent
        while ancestor is not None:
            if ancestor is child:
                raise ApiError(422, "Sub issue may not create a circular dependency")
            ancestor = ancestor.parent
        if child.parent is not None:
            if not replace_parent:
                raise ApiError(422, "Issue may not contain duplicate sub-issues and Sub issue may only have one parent")
            child.parent.sub_issues.remove(child)
        child.parent = parent
        parent.sub_issues.append(child)
        self.add_timeline_event(parent, "sub_issue_added", actor)
        self.add_timeline_event(child, "parent_issue_added", actor)

    def transfer(self, issue: Issue, actor: Actor, target: Repository) -> Issue:
        """Move an issue to another repository; labels are kept if the target has them."""
        if issue.pull:
            raise ApiError(422, "Pull requests cannot be transferred")
        moved = self._create_issue(target, Actor(issue.author, issue.via_app), issue.title, issue.body)
        for name in ("created_at", "state", "state_reason", "closed_at", "closed_by", "locked", "lock_reason"):
            setattr(moved, name, getattr(issue, name))
        moved.label_list = [target.labels[name.lower()] for name in issue.labels if name.lower() in target.labels]
        moved.assignees = list(issue.assignees)
        moved.comments_by_id = dict(issue.comments_by_id)
        moved.timeline = list(issue.timeline)
        moved.reactions = list(issue.reactions)
        for comment in issue.comments:
            del issue.repository.comments[comment.id]
            target.comments[comment.id] = (moved, comment)
        if issue.state == "closed":
            target.open_count -= 1
        else:
            issue.repository.open_count -= 1
        self.add_timeline_event(moved, "transferred", actor)
        issue.moved_to = moved
        target_changes = {
            "new_issue": self.serializer.issue(moved),
            "new_repository": self.serializer.repository(target),
        }
        self.send_issue_event(issue, "transferred", actor, changes=target_changes)
        source_changes = {
            "old_issue": self.serializer.issue(issue),
            "old_repository": self.serializer.repository(issue.repository),
        }
        self.send_issue_event(moved, "opened", actor, changes=source_changes)
        return moved

    def delete_issue(self, issue: Issue, actor: Actor) -> None:
        """Delete an issue with its comments."""
        issue.deleted = True
        if issue.state == "open":
            issue.repository.open_count -= 1
        for comment in issue.comments_by_id:
            del issue.repository.comments[comment]
        self.send_issue_event(issue, "deleted", actor)

    def add_label(
        self,
        repository: Repository,
        actor: Actor,
        name: str,
        color: str = "ededed",
        description: str | None = None,
    ) -> Label:
        """Add a label to the repository. Raises ApiError 422 if the name is taken."""
        check_label(name)
        if name.lower() in repository.labels:
            raise invalid_field("Label", "name", "already_exists")
        label = Label(self.world.new_id(), name, color.lower(), description)
        repository.labels[name.lower()] = label
        self.send_event(repository, "label", actor, action="created", label=self.serializer.label(repository, label))
        return label

    def edit_label(
        self, repository: Repository, actor: Actor, label: Label, name: str | None, color: str | None, description: Any
    ) -> None:
        """Change the name, colour or description of a label; None and UNCHANGED keep the old value."""
        changes: dict[str, Any] = {}
        if name is not None and name != label.name:
            check_label(name)
            if repository.labels.get(name.lower(), label) is not label:
                raise invalid_field("Label", "name", "already_exists")
            changes["name"] = {"from": label.name}
            del repository.labels[label.name.lower()]
            repository.labels[name.lower()] = label
            label.name = name
        if color is not None and color.lower() != label.color:
            changes["color"] = {"from": label.color}
            label.color = color.lower()
        if description is not UNCHANGED and description != label.description:
            changes["description"] = {"from": label.description or ""}
            label.description = description
        if changes:
            shape = self.serializer.label(repository, label)
            self.send_event(repository, "label", actor, action="edited", label=shape, changes=changes)

    def add_milestone(
        self,
        repository: Repository,
        actor: Actor,
        title: str,
        description: str | None = None,
        state: Literal["open", "closed"] = "open",
        due_on: str | None = None,
    ) -> Milestone:
        """Add a milestone to the repository. Raises ApiError 422 if the title is taken."""
        if any(milestone.title == title for milestone in repository.milestones.values()):
            raise invalid_field("Milestone", "title", "already_exists")
        number = len(repository.milestones) + 1
        milestone = Milestone(self.world.new_id(), number, title, description, state, actor.account, self.now(), due_on)
        repository.milestones[number] = milestone
        shape = self.serializer.milestone(repository, milestone)
        self.send_event(repository, "milestone", actor, action="created", milestone=shape)
        return milestone

    def send_issue_event(self, issue: Issue, action: str, actor: Actor, **parts: Any) -> None:
        """Send an `issues` event, or `pull_request` for a pull request."""
        if issue.pull:
            shape = self.serializer.pull(issue)
            self.send_event(
                issue.repository,
                "pull_request",
                actor,
                action=action,
                number=issue.number,
                pull_request=shape,
                **parts,
            )
        else:
            self.send_event(
                issue.repository, "issues", actor, action=action, issue=self.serializer.issue(issue), **parts
            )

    def _send_comment_event(self, issue: Issue, comment: Comment, action: str, actor: Actor, **parts: Any) -> None:
        self.send_event(
            issue.repository,
            "issue_comment",
            actor,
            action=action,
            issue=self.serializer.issue(issue),
            comment=self.serializer.comment(issue, comment),
            **parts,
        )

    def _create_issue(self, repository: Repository, actor: Actor, title: str, body: str | None) -> Issue:
        now = self.now()
        repository.last_number += 1
        issue = Issue(
            self.world.new_id(),
            repository.last_number,
            repository,
            title,
            body,
            actor.account,
            now,
            now,
            actor.via_app,
        )
        repository.issues[issue.number] = issue
        repository.open_count += 1
        return issue

    def _find_or_create_labels(self, repository: Repository, names: Iterable[str]) -> list[Label]:
        names = list(dict.fromkeys(names))
        # Check all names before the first label is created.
        for name in names:
            check_label(name)
        return list(dict.fromkeys(self.find_or_create_label(repository, name) for name in names))

    def _assignable_accounts(
        self, repository: Repository, logins: Iterable[str], strict: bool = False
    ) -> list[Account]:
        found: list[Account] = []
        for login in logins:
            account = self.world.accounts.get(login.lower())
            own = repository.roles.get(login.lower(), "none") != "none"
            if account and (own or account is repository.owner or login.lower() in repository.owner.members):
                found.append(account)
            elif strict:
                raise invalid_field("Issue", "assignees")
        return found[:MAX_ASSIGNEES]

    def _record_label_added(self, issue: Issue, label: Label, actor: Actor) -> None:
        self.add_timeline_event(issue, "labeled", actor, label=copy.copy(label))
        self.send_issue_event(issue, "labeled", actor, label=self.serializer.label(issue.repository, label))

    def _record_milestone_set(self, issue: Issue, milestone: Milestone, actor: Actor) -> None:
        self.add_timeline_event(issue, "milestoned", actor, milestone=milestone.title)
        shape = self.serializer.milestone(issue.repository, milestone)
        self.send_issue_event(issue, "milestoned", actor, milestone=shape)
