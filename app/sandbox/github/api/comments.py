"""API routes for comments and reactions."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint

from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.api.issues import READ, WRITE, parse_since
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.world import Comment, Issue


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of comments and reactions."""
    part = Blueprint("comments", __name__, url_prefix=PREFIX)
    issues = "/repos/<owner>/<repo>/issues"
    gateway.route(part, "GET", f"{issues}/<int:number>/comments", list_comments, READ)
    gateway.route(part, "POST", f"{issues}/<int:number>/comments", create_comment)
    gateway.route(part, "GET", f"{issues}/comments", list_repository_comments, READ)
    gateway.route(part, "GET", f"{issues}/comments/<int:comment_id>", get_comment, READ)
    gateway.route(part, "PATCH", f"{issues}/comments/<int:comment_id>", update_comment)
    gateway.route(part, "DELETE", f"{issues}/comments/<int:comment_id>", delete_comment)
    gateway.route(part, "POST", f"{issues}/comments/<int:comment_id>/reactions", react_to_comment)
    gateway.route(part, "POST", f"{issues}/<int:number>/reactions", react_to_issue)
    gateway.route(part, "DELETE", f"{issues}/<int:number>/reactions/<int:reaction_id>", delete_issue_reaction, WRITE)
    return part


def list_comments(call: Call) -> Reply:
    """List the comments of an issue."""
    issue, after = call.issue, parse_since(call)
    visible_before = call.gateway.clock() - timedelta(seconds=call.gateway.faults.comment_lag_seconds)
    found = [
        c
        for c in issue.comments
        if c.created_at <= visible_before and (after is None or c.updated_at.replace(microsecond=0) >= after)
    ]
    return call.paginate(found, lambda comment: call.serializer.comment(issue, comment))


def list_repository_comments(call: Call) -> Reply:
    """List the comments of all issues and pull requests; without `sort` they are in the order of their ids."""
    args, after = call.request.args, parse_since(call)
    visible_before = call.gateway.clock() - timedelta(seconds=call.gateway.faults.comment_lag_seconds)
    found = [
        (issue, comment)
        for issue, comment in call.repository.comments.values()
        if comment.created_at <= visible_before
        and (after is None or comment.updated_at.replace(microsecond=0) >= after)
    ]
    by = args.get("sort")
    if by not in (None, "created", "updated"):
        raise invalid_field("IssueComment", "sort")
    found.sort(key=lambda each: (getattr(each[1], f"{by}_at") if by else 0, each[1].id))
    if by and args.get("direction", "desc") == "desc":
        found.reverse()
    return call.paginate(found, lambda each: call.serializer.comment(*each))


def create_comment(call: Call) -> Reply:
    """Add a comment to an issue."""
    issue = call.issue
    _require_may_comment(call, issue)
    comment = call.changes.add_comment(issue, call.actor, call.required_field("body", "IssueComment"))
    shape = call.serializer.comment(issue, comment)
    return Reply(shape, 201, {"Location": shape["url"]})


def get_comment(call: Call) -> Reply:
    """Return a comment."""
    issue, comment = _find_comment(call)
    return Reply(call.serializer.comment(issue, comment))


def update_comment(call: Call) -> Reply:
    """Change the body of a comment."""
    issue, comment = _find_comment(call)
    _require_author_or_write(call, comment)
    call.changes.edit_comment(issue, comment, call.actor, call.required_field("body", "IssueComment"))
    return Reply(call.serializer.comment(issue, comment))


def delete_comment(call: Call) -> Reply:
    """Delete a comment."""
    issue, comment = _find_comment(call)
    _require_author_or_write(call, comment)
    call.changes.delete_comment(issue, comment, call.actor)
    return Reply(status=204)


def react_to_comment(call: Call) -> Reply:
    """Add a reaction to a comment."""
    issue, comment = _find_comment(call)
    return _add_reaction(call, issue, comment)


def react_to_issue(call: Call) -> Reply:
    """Add a reaction to an issue."""
    return _add_reaction(call, call.issue, call.issue)


def delete_issue_reaction(call: Call) -> Reply:
    """Delete the caller's reaction to an issue."""
    issue = call.issue
    reaction = next((each for each in issue.reactions if each.id == call.path["reaction_id"]), None)
    if reaction is None:
        raise not_found()
    if reaction.account is not call.actor.account:
        raise ApiError(403, "You can only delete your own reactions.")
    issue.reactions.remove(reaction)
    return Reply(status=204)


def _add_reaction(call: Call, issue: Issue, target: Issue | Comment) -> Reply:
    if call.caller.installation is None:
        _require_may_comment(call, issue)
    else:  # an App may react to a locked issue, on which it cannot comment
        call.require_permission("issues|pull_requests", "write")
    reaction, new = call.changes.react(target, call.actor, call.required_field("content", "Reaction"))
    return Reply(call.serializer.reaction(reaction), 201 if new else 200)


def _find_comment(call: Call) -> tuple[Issue, Comment]:
    found = call.repository.comments.get(call.path["comment_id"])
    if found is None:
        raise not_found()
    return found


def _require_may_comment(call: Call, issue: Issue) -> None:
    """Require that the caller may comment on the issue. Raises ApiError 403.

    All who can see the repository may; on a locked issue only those with write access.
    An app has such access only if it administers the repository, so an ordinary app is refused.
    """
    if call.caller.installation is not None:
        call.require_permission("issues|pull_requests", "write")
    if issue.locked:
        permission, level = ("administration", "write") if call.caller.installation else ("issues", "write")
        if not call.caller.has_permission(permission, level, issue.repository):
            raise ApiError(403, "Unable to create comment because issue is locked.")


def _require_author_or_write(call: Call, comment: Comment) -> None:
    if call.caller.installation is not None or call.caller.account is not comment.author:
        _, _, level = WRITE.partition(":")
        call.require_permission("issues|pull_requests", level)
