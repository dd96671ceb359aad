"""GitHub's JSON for issues, comments, labels and timeline events."""

from __future__ import annotations

from collections import Counter
from urllib.parse import quote

from app.sandbox.github.account_json import AccountSerializer, Json, format_optional_time, format_time, node_id
from app.sandbox.github.world import Account, Comment, Event, Issue, Label, Milestone, Reaction, Repository

REACTIONS = ("+1", "-1", "laugh", "confused", "heart", "hooray", "rocket", "eyes")


class IssueSerializer(AccountSerializer):
    """Serializes issues and their conversation."""

    def label(self, repository: Repository, label: Label) -> Json:
        """Return the JSON of a label."""
        return {
            "id": label.id,
            "node_id": node_id("LA", label.id),
            "url": f"{self.repo_url(repository)}/labels/{_quote_segment(label.name)}",
            "name": label.name,
            "color": label.color,
            "default": label.default,
            "description": label.description,
        }

    def milestone(self, repository: Repository, milestone: Milestone) -> Json:
        """Return the JSON of a milestone."""
        api = f"{self.repo_url(repository)}/milestones/{milestone.number}"
        created = format_time(milestone.created_at)
        return {
            "url": api,
            "html_url": f"{self.repo_page(repository)}/milestone/{milestone.number}",
            "labels_url": f"{api}/labels",
            "id": milestone.id,
            "node_id": node_id("MI", milestone.id),
            "number": milestone.number,
            "title": milestone.title,
            "description": milestone.description,
            "creator": self.account(milestone.creator),
            "open_issues": 0,
            "closed_issues": 0,
            "state": milestone.state,
            "created_at": created,
            "updated_at": created,
            "due_on": milestone.due_on,
            "closed_at": created if milestone.state == "closed" else None,
        }

    def association(self, repository: Repository, account: Account) -> str:
        """Return the author association.

        As on GitHub it says little about permissions; the collaborator permission endpoint gives those.
        """
        if account is repository.owner:
            return "OWNER"
        if account.login.lower() in repository.owner.members:
            return "MEMBER"
        known = repository.roles.get(account.login.lower(), "none") != "none"
        return "COLLABORATOR" if known else "NONE"

    def reaction_rollup(self, url: str, reactions: list[Reaction]) -> Json:
        """Return the JSON that counts the reactions."""
        counts = Counter(reaction.content for reaction in reactions)
        return {"url": url, "total_count": len(reactions), **{content: counts[content] for content in REACTIONS}}

    def reaction(self, reaction: Reaction) -> Json:
        """Return the JSON of a reaction."""
        return {
            "id": reaction.id,
            "node_id": node_id("REA", reaction.id),
            "user": self.account(reaction.account),
            "content": reaction.content,
            "created_at": format_time(reaction.created_at),
        }

    def issue_page(self, issue: Issue) -> str:
        """Return the URL of the page of an issue or pull request."""
        return f"{self.repo_page(issue.repository)}/{'pull' if issue.pull else 'issues'}/{issue.number}"

    def issue(self, issue: Issue) -> Json:
        """Return the JSON of an issue as lists contain it."""
        repository = issue.repository
        repo_url = self.repo_url(repository)
        api = f"{repo_url}/issues/{issue.number}"
        assignees = [self.account(account) for account in issue.assignees]
        done = sum(1 for sub in issue.sub_issues if sub.state == "closed")
        total = len(issue.sub_issues)
        shape = {
            "url": api,
            "repository_url": repo_url,
            "labels_url": f"{api}/labels{{/name}}",
            "comments_url": f"{api}/comments",
            "events_url": f"{api}/events",
            "html_url": self.issue_page(issue),
            "id": issue.id,
            "node_id": node_id("PR" if issue.pull else "I", issue.id),
            "number": issue.number,
            "title": issue.title,
            "user": self.account(issue.author),
            "labels": [self.label(repository, label) for label in issue.label_list],
            "state": issue.state,
            "locked": issue.locked,
            "assignee": assignees[0] if assignees else None,
            "assignees": assignees,
            "milestone": self.milestone(repository, issue.milestone) if issue.milestone else None,
            "comments": len(issue.comments_by_id),
            "created_at": format_time(issue.created_at),
            "updated_at": format_time(issue.updated_at),
            "closed_at": format_optional_time(issue.closed_at),
            "author_association": self.association(repository, issue.author),
            "active_lock_reason": issue.lock_reason,
            "sub_issues_summary": {
                "total": total,
                "completed": done,
                "percent_completed": 100 * done // total if total else 0,
            },
            "body": issue.body,
            "reactions": self.reaction_rollup(f"{api}/reactions", issue.reactions),
            "timeline_url": f"{api}/timeline",
            "performed_via_github_app": self.performed_via_github_app(issue.via_app),
            "state_reason": issue.state_reason,
            "draft": issue.pull is not None and issue.pull.draft,
        }
        if issue.pull:
            page = self.issue_page(issue)
            shape["pull_request"] = {
                "url": f"{repo_url}/pulls/{issue.number}",
                "html_url": page,
                "diff_url": f"{page}.diff",
                "patch_url": f"{page}.patch",
                "merged_at": format_optional_time(issue.pull.merged_at),
            }
        return shape

    def issue_in_full(self, issue: Issue) -> Json:
        """Return the JSON of a single issue, which also has the account that closed it."""
        return {**self.issue(issue), "closed_by": self.account(issue.closed_by) if issue.closed_by else None}

    def comment(self, issue: Issue, comment: Comment) -> Json:
        """Return the JSON of a comment."""
        api = f"{self.repo_url(issue.repository)}/issues"
        return {
            "url": f"{api}/comments/{comment.id}",
            "html_url": f"{self.issue_page(issue)}#issuecomment-{comment.id}",
            "issue_url": f"{api}/{issue.number}",
            "id": comment.id,
            "node_id": node_id("IC", comment.id),
            "user": self.account(comment.author),
            "created_at": format_time(comment.created_at),
            "updated_at": format_time(comment.updated_at),
            "body": comment.body,
            "author_association": self.association(issue.repository, comment.author),
            "reactions": self.reaction_rollup(f"{api}/comments/{comment.id}/reactions", comment.reactions),
            "performed_via_github_app": self.performed_via_github_app(comment.via_app),
        }

    def event(self, issue: Issue, event: Event) -> Json:
        """Return the JSON of a timeline event; comments and cross-references have their own format."""
        if event.comment:
            actor = self.account(event.actor)
            return {**self.comment(issue, event.comment), "event": "commented", "actor": actor}
        if event.source:
            at = format_time(event.at)
            source = {
                "type": "issue",
                "issue": {**self.issue(event.source), "repository": self.repository(event.source.repository)},
            }
            return {
                "event": "cross-referenced",
                "actor": self.account(event.actor),
                "created_at": at,
                "updated_at": at,
                "source": source,
            }
        repo_url = self.repo_url(issue.repository)
        shape: Json = {
            "id": event.id,
            "node_id": node_id("EV", event.id),
            "url": f"{repo_url}/issues/events/{event.id}",
            "actor": self.account(event.actor),
            "event": event.event,
            "commit_id": event.commit,
            "commit_url": f"{repo_url}/commits/{event.commit}" if event.commit else None,
            "created_at": format_time(event.at),
            "performed_via_github_app": self.performed_via_github_app(event.via_app),
        }
        if event.label:
            shape["label"] = {"name": event.label.name, "color": event.label.color}
        if event.assignee:
            shape["assignee"] = self.account(event.assignee)
            shape["assigner"] = self.account(event.actor)
        if event.renamed:
            shape["rename"] = {"from": event.renamed[0], "to": event.renamed[1]}
        if event.milestone:
            shape["milestone"] = {"title": event.milestone}
        if event.event == "locked":
            shape["lock_reason"] = event.lock_reason
        if event.event in ("closed", "reopened"):
            shape["state_reason"] = event.state_reason
        if event.reviewer:
            shape["review_requester"] = self.account(event.actor)
            shape["requested_reviewer"] = self.account(event.reviewer)
        return shape


def _quote_segment(text: str) -> str:
    return quote(text.encode("utf-8", "replace"), safe="")
