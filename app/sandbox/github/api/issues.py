"""API routes for issues: labels, assignees, lock, timeline and sub-issues."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from flask import Blueprint

from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.errors import ApiError, invalid_field
from app.sandbox.github.issue_changes import UNCHANGED
from app.sandbox.github.world import Issue, Milestone

READ, WRITE = "issues|pull_requests:read", "issues|pull_requests:write"
LOCK_REASONS = ("off-topic", "too heated", "resolved", "spam")
TIMELINE_ONLY_EVENTS = ("commented", "cross-referenced")


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of issues."""
    part = Blueprint("issues", __name__, url_prefix=PREFIX)
    collection = "/repos/<owner>/<repo>/issues"
    item = f"{collection}/<int:number>"
    gateway.route(part, "GET", collection, list_issues, READ)
    # Read access is enough for a person to open an issue.
    gateway.route(part, "POST", collection, create_issue)
    gateway.route(part, "GET", item, get_issue, READ)
    gateway.route(part, "PATCH", item, update_issue)
    gateway.route(part, "POST", f"{item}/assignees", add_assignees, WRITE)
    gateway.route(part, "DELETE", f"{item}/assignees", remove_assignees, WRITE)
    gateway.route(part, "GET", f"{item}/labels", list_labels, READ)
    gateway.route(part, "POST", f"{item}/labels", add_labels, WRITE)
    gateway.route(part, "PUT", f"{item}/labels", set_labels, WRITE)
    gateway.route(part, "DELETE", f"{item}/labels/<path:name>", remove_label, WRITE)
    gateway.route(part, "PUT", f"{item}/lock", lock, WRITE)
    gateway.route(part, "DELETE", f"{item}/lock", unlock, WRITE)
    gateway.route(part, "GET", f"{item}/timeline", timeline, READ)
    gateway.route(part, "GET", f"{item}/events", events, READ)
    gateway.route(part, "GET", f"{item}/sub_issues", list_sub_issues, READ)
    gateway.route(part, "POST", f"{item}/sub_issues", add_sub_issue, WRITE)
    return part


def parse_since(call: Call) -> datetime | None:
    """Read the `since` parameter. Raises ApiError 422 if it is not a time."""
    text = call.request.args.get("since")
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise invalid_field("Issue", "since") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def list_issues(call: Call) -> Reply:
    """List the issues and pull requests of a repository."""
    args, repository = call.request.args, call.repository
    state = args.get("state", "open")
    if state not in ("open", "closed", "all"):
        raise invalid_field("Issue", "state")
    wanted = {name.strip().lower() for name in args.get("labels", "").split(",") if name.strip()}
    after, creator, assignee = parse_since(call), args.get("creator", "").lower(), args.get("assignee", "").lower()
    found = [
        issue
        for issue in reversed(repository.issues.values())
        if not issue.deleted
        and issue.moved_to is None
        and state in ("all", issue.state)
        and (not wanted or wanted <= {name.lower() for name in issue.labels})
        and (after is None or issue.updated_at.replace(microsecond=0) >= after)
        and (not creator or issue.author.login.lower() == creator)
        and (assignee in ("", "*") or assignee in [account.login.lower() for account in issue.assignees])
    ]
    by = {"updated": "updated_at", "comments": "comments"}.get(args.get("sort", ""))
    if by == "updated_at":
        found.sort(key=lambda issue: issue.updated_at, reverse=True)
    elif by == "comments":
        found.sort(key=lambda issue: len(issue.comments_by_id), reverse=True)
    if args.get("direction") == "asc":
        found.reverse()
    return call.paginate(found, call.serializer.issue)


def create_issue(call: Call) -> Reply:
    """Open an issue."""
    repository, caller = call.repository, call.caller
    if caller.installation is not None:
        call.require_permission("issues", "write")
    title = call.body.get("title")
    if title is None:
        raise invalid_field("Issue", "title", "missing_field")
    body = call.body_field("body", str, "")
    labels = call.parse_names(call.body_field("labels", list, []))
    assignees = [*call.body_field("assignees", list, []), *filter(None, [call.body.get("assignee")])]
    milestone = _find_milestone(call) if call.body.get("milestone") is not None else None
    if not caller.has_permission("issues", "write", repository):
        # GitHub drops these silently for a caller without push access.
        labels, assignees, milestone = [], [], None
    issue = call.changes.open_issue(
        repository, call.actor, str(title), body or None, labels, call.parse_names(assignees, "login"), milestone
    )
    return Reply(
        call.serializer.issue_in_full(issue),
        201,
        {"Location": f"{call.serializer.repo_url(repository)}/issues/{issue.number}"},
    )


def get_issue(call: Call) -> Reply:
    """Return an issue."""
    return Reply(call.serializer.issue_in_full(call.issue))


def update_issue(call: Call) -> Reply:
    """Change the fields given in the body."""
    issue, actor, changes, body = call.issue, call.actor, call.changes, call.body
    if call.caller.account is not issue.author or call.caller.installation is not None:
        call.require_permission("issues|pull_requests", "write")
    state = call.body_field("state", str, "")
    if state not in ("", "open", "closed"):
        raise invalid_field("Issue", "state")
    reason = body.get("state_reason")
    if reason not in (None, "completed", "not_planned", "duplicate", "reopened"):
        raise invalid_field("Issue", "state_reason")
    title = str(body["title"]) if body.get("title") is not None else None
    text: Any = UNCHANGED
    if "body" in body:
        text = call.body_field("body", str, "") or None
    milestone: Any = UNCHANGED
    if "milestone" in body:
        milestone = _find_milestone(call) if body["milestone"] is not None else None
    labels = call.parse_names(body["labels"]) if body.get("labels") is not None else None
    changes.edit_issue(issue, actor, title=title, body=text, milestone=milestone)
    if labels is not None:
        changes.set_labels(issue, actor, labels)
    if body.get("assignees") is not None or "assignee" in body:
        logins = body["assignees"] if body.get("assignees") is not None else [body["assignee"]]
        wanted = call.parse_names([login for login in logins if login], "login")
        removed = [account.login for account in issue.assignees if account.login.lower() not in map(str.lower, wanted)]
        changes.unassign(issue, actor, removed)
        changes.assign(issue, actor, wanted, strict=True)
    if state == "closed":
        changes.close(issue, actor, reason)
    elif state == "open":
        changes.reopen(issue, actor)
    return Reply(call.serializer.issue_in_full(issue))


def add_assignees(call: Call) -> Reply:
    """Assign accounts to an issue."""
    call.changes.assign(call.issue, call.actor, call.parse_names(call.body_field("assignees", list, []), "login"))
    return Reply(call.serializer.issue(call.issue), 201)


def remove_assignees(call: Call) -> Reply:
    """Remove assignees from an issue."""
    call.changes.unassign(call.issue, call.actor, call.parse_names(call.body_field("assignees", list, []), "login"))
    return Reply(call.serializer.issue(call.issue))


def list_labels(call: Call) -> Reply:
    """List the labels of an issue."""
    issue = call.issue
    return call.paginate(issue.label_list, lambda label: call.serializer.label(issue.repository, label))


def add_labels(call: Call) -> Reply:
    """Add labels to an issue."""
    call.changes.add_labels(call.issue, call.actor, _read_label_names(call))
    return _labels_reply(call)


def set_labels(call: Call) -> Reply:
    """Replace the labels of an issue."""
    call.changes.set_labels(call.issue, call.actor, _read_label_names(call))
    return _labels_reply(call)


def remove_label(call: Call) -> Reply:
    """Remove a label from an issue."""
    call.changes.remove_label(call.issue, call.actor, call.path["name"])
    return _labels_reply(call)


def lock(call: Call) -> Reply:
    """Lock the conversation of an issue."""
    reason = call.body_field("lock_reason", str, "") or None
    if reason is not None and reason not in LOCK_REASONS:
        raise invalid_field("Issue", "lock_reason")
    call.changes.lock(call.issue, call.actor, reason)
    return Reply(status=204)


def unlock(call: Call) -> Reply:
    """Unlock the conversation of an issue."""
    call.changes.unlock(call.issue, call.actor)
    return Reply(status=204)


def timeline(call: Call) -> Reply:
    """List the timeline of an issue."""
    issue = call.issue
    return call.paginate(issue.timeline, lambda entry: call.serializer.event(issue, entry))


def events(call: Call) -> Reply:
    """List the events of an issue: its timeline without comments and cross-references."""
    issue = call.issue
    found = [entry for entry in issue.timeline if entry.event not in TIMELINE_ONLY_EVENTS]
    return call.paginate(found, lambda entry: call.serializer.event(issue, entry))


def list_sub_issues(call: Call) -> Reply:
    """List the sub-issues of an issue."""
    return call.paginate([sub for sub in call.issue.sub_issues if not sub.deleted], call.serializer.issue)


def add_sub_issue(call: Call) -> Reply:
    """Make an issue a sub-issue of another."""
    issue, child_id = call.issue, call.body_field("sub_issue_id", int, 0)
    owner = issue.repository.owner
    repositories = [r for r in call.world.repositories.values() if r.owner is owner and call.caller.can_see(r)]
    child: Issue | None = next((i for r in repositories for i in r.issues.values() if i.id == child_id), None)
    if child is None or child.deleted or child.moved_to:
        raise ApiError(404, "The provided sub-issue does not exist")
    call.changes.add_sub_issue(issue, call.actor, child, call.body_field("replace_parent", bool, False))
    return Reply(call.serializer.issue(issue), 201)


def _labels_reply(call: Call) -> Reply:
    issue = call.issue
    return Reply([call.serializer.label(issue.repository, label) for label in issue.label_list])


def _read_label_names(call: Call) -> list[str]:
    value = call.json
    if isinstance(value, dict):
        value = value.get("labels", [])
    if isinstance(value, str):
        value = [value]
    return call.parse_names([] if value is None else value)


def _find_milestone(call: Call) -> Milestone:
    number = call.body["milestone"]
    found = (
        call.repository.milestones.get(int(number)) if isinstance(number, int | str) and str(number).isdigit() else None
    )
    if found is None:
        raise invalid_field("Issue", "milestone")
    return found
