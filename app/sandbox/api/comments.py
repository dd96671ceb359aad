"""Comments and reactions."""

from __future__ import annotations

from datetime import timedelta

from flask import Blueprint

from app.sandbox.api.door import PREFIX, Call, Door, Reply
from app.sandbox.api.issues import READ, WRITE, since
from app.sandbox.declined import Declined, not_found
from app.sandbox.world import Comment, Issue


def blueprint(door: Door) -> Blueprint:
    part = Blueprint("comments", __name__, url_prefix=PREFIX)
    issues = "/repos/<owner>/<repo>/issues"
    door.route(part, "GET", f"{issues}/<int:number>/comments", list_comments, READ)
    door.route(part, "POST", f"{issues}/<int:number>/comments", create_comment)
    door.route(part, "GET", f"{issues}/comments/<int:comment_id>", get_comment, READ)
    door.route(part, "PATCH", f"{issues}/comments/<int:comment_id>", update_comment)
    door.route(part, "DELETE", f"{issues}/comments/<int:comment_id>", delete_comment)
    door.route(part, "POST", f"{issues}/comments/<int:comment_id>/reactions", react_to_comment)
    door.route(part, "POST", f"{issues}/<int:number>/reactions", react_to_issue)
    return part


def list_comments(call: Call) -> Reply:
    issue, after = call.issue, since(call)
    listed = call.door.clock() - timedelta(seconds=call.door.faults.lag)
    found = [
        c
        for c in issue.comments
        if c.created_at <= listed and (after is None or c.updated_at.replace(microsecond=0) >= after)
    ]
    return call.page(found, lambda comment: call.shapes.comment(issue, comment))


def create_comment(call: Call) -> Reply:
    issue = call.issue
    _may_take_part(call, issue)
    comment = call.changes.comment(issue, call.actor, call.required("body", "IssueComment"))
    shape = call.shapes.comment(issue, comment)
    return Reply(shape, 201, {"Location": shape["url"]})


def get_comment(call: Call) -> Reply:
    issue, comment = _comment(call)
    return Reply(call.shapes.comment(issue, comment))


def update_comment(call: Call) -> Reply:
    issue, comment = _comment(call)
    _own_or_write(call, comment)
    call.changes.edit_comment(issue, comment, call.actor, call.required("body", "IssueComment"))
    return Reply(call.shapes.comment(issue, comment))


def delete_comment(call: Call) -> Reply:
    issue, comment = _comment(call)
    _own_or_write(call, comment)
    call.changes.delete_comment(issue, comment, call.actor)
    return Reply(status=204)


def react_to_comment(call: Call) -> Reply:
    issue, comment = _comment(call)
    return _react(call, issue, comment)


def react_to_issue(call: Call) -> Reply:
    return _react(call, call.issue, call.issue)


def _react(call: Call, issue: Issue, to: Issue | Comment) -> Reply:
    _may_take_part(call, issue)
    reaction, new = call.changes.react(to, call.actor, call.required("content", "Reaction"))
    return Reply(call.shapes.reaction(reaction), 201 if new else 200)


def _comment(call: Call) -> tuple[Issue, Comment]:
    found = call.repository.comments.get(call.path["comment_id"])
    if found is None:
        raise not_found()
    return found


def _may_take_part(call: Call, issue: Issue) -> None:
    """Everybody may who sees the repository; on a locked issue only those who may write to it.

    An app counts as such only when it administers the repository, so a plain one meets the refusal.
    """
    if call.caller.installation is not None:
        call.need("issues|pull_requests", "write")
    if issue.locked:
        permission, level = ("administration", "write") if call.caller.installation else ("issues", "write")
        if not call.caller.may(permission, level, issue.repository):
            raise Declined(403, "Unable to create comment because issue is locked.")


def _own_or_write(call: Call, comment: Comment) -> None:
    if call.caller.installation is not None or call.caller.account is not comment.author:
        _, _, level = WRITE.partition(":")
        call.need("issues|pull_requests", level)
