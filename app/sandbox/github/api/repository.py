"""API routes for repositories, permissions, labels and milestones, and for what belongs to no repository."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint

from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.api.search import search_issues
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.issue_changes import UNCHANGED
from app.sandbox.github.markdown import render
from app.sandbox.github.world import ROLES, Label

LEGACY_PERMISSIONS = {"triage": "read", "maintain": "write"}
COLOR = re.compile(r"[0-9a-fA-F]{6}")


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of repositories and the global ones."""
    part = Blueprint("repository", __name__, url_prefix=PREFIX)
    repo = "/repos/<owner>/<repo>"
    gateway.route(part, "GET", "/rate_limit", rate_limit, "free")
    gateway.route(part, "GET", "/meta", meta)
    gateway.route(part, "GET", "/user", user)
    gateway.route(part, "GET", "/users/<username>", get_user)
    gateway.route(part, "POST", "/markdown", markdown)
    gateway.route(part, "GET", "/search/issues", search_issues)
    gateway.route(part, "GET", "/orgs/<org>/teams/<team>/members", team_members)
    gateway.route(part, "GET", repo, get_repository, "metadata:read")
    gateway.route(part, "GET", f"{repo}/collaborators/<username>/permission", permission, "metadata:read")
    gateway.route(part, "GET", f"{repo}/labels", list_labels, "issues|pull_requests:read")
    gateway.route(part, "POST", f"{repo}/labels", create_label, "issues|pull_requests:write")
    gateway.route(part, "GET", f"{repo}/labels/<path:name>", get_label, "issues|pull_requests:read")
    gateway.route(part, "PATCH", f"{repo}/labels/<path:name>", update_label, "issues|pull_requests:write")
    gateway.route(part, "GET", f"{repo}/milestones", list_milestones, "issues|pull_requests:read")
    gateway.route(part, "POST", f"{repo}/milestones", create_milestone, "issues|pull_requests:write")
    gateway.route(part, "GET", f"{repo}/deployments", list_deployments, "deployments:read")
    return part


def rate_limit(call: Call) -> Reply:
    """Return the caller's rate limits."""
    core = {**call.gateway.meter.status(call.caller.name), "resource": "core"}
    search = {**core, "limit": 30, "used": 0, "remaining": 30, "resource": "search"}
    return Reply({"resources": {"core": core, "search": search}, "rate": core})


def meta(call: Call) -> Reply:
    """Return the version of the sandbox GitHub."""
    return Reply({"verifiable_password_authentication": False, "installed_version": "3.20.0"})


def user(call: Call) -> Reply:
    """Return the authenticated account."""
    if call.caller.installation is not None:
        raise ApiError(403, "Resource not accessible by integration")
    return Reply(call.serializer.profile(call.actor.account))


def get_user(call: Call) -> Reply:
    """Return an account."""
    return Reply(call.serializer.profile(call.world.account(call.path["username"])))


def markdown(call: Call) -> Reply:
    """Render Markdown to HTML."""
    context = call.body_field("context", str, "")
    html = render(call.required_field("text", "Markdown"), call.serializer.url, context or None)
    return Reply(text=html.encode("utf-8", "replace"), content_type="text/html;charset=utf-8")


def team_members(call: Call) -> Reply:
    """List the members of a team."""
    if call.caller.account is None or (
        not call.caller.has_permission("members", "read", None) and call.caller.installation
    ):
        raise not_found()
    team = call.world.teams.get((call.path["org"].lower(), call.path["team"].lower()))
    if team is None:
        raise not_found()
    return call.paginate(team.members, call.serializer.account)


def get_repository(call: Call) -> Reply:
    """Return a repository."""
    repository = call.repository
    shape = {**call.serializer.repository(repository), "network_count": 0, "subscribers_count": 0}
    if repository.owner.kind == "Organization":
        shape["organization"] = call.serializer.account(repository.owner)
    return Reply(shape)


def permission(call: Call) -> Reply:
    """Return a person's permission on a repository."""
    repository = call.repository
    account = call.world.account(call.path["username"])
    if account.kind != "User":
        raise ApiError(404, f"{account.login} is not a user")
    role = repository.role(account)
    rank = ROLES.index(role)
    rights = {
        "admin": rank >= ROLES.index("admin"),
        "maintain": rank >= ROLES.index("maintain"),
        "push": rank >= ROLES.index("write"),
        "triage": rank >= ROLES.index("triage"),
        "pull": rank >= ROLES.index("read"),
    }
    person = {**call.serializer.account(account), "permissions": rights, "role_name": role}
    return Reply({"permission": LEGACY_PERMISSIONS.get(role, role), "role_name": role, "user": person})


def list_labels(call: Call) -> Reply:
    """List the labels of a repository."""
    repository = call.repository
    return call.paginate(repository.labels.values(), lambda label: call.serializer.label(repository, label))


def create_label(call: Call) -> Reply:
    """Create a label."""
    name, color = call.required_field("name", "Label"), _read_color(call)
    description = _read_description(call)
    label = call.changes.add_label(call.repository, call.actor, name, color or "ededed", description)
    return Reply(call.serializer.label(call.repository, label), 201)


def get_label(call: Call) -> Reply:
    """Return a label."""
    return Reply(call.serializer.label(call.repository, _find_label(call)))


def update_label(call: Call) -> Reply:
    """Change a label."""
    label = _find_label(call)
    description = _read_description(call) if "description" in call.body else UNCHANGED
    new_name = call.body_field("new_name", str, "") or None
    call.changes.edit_label(call.repository, call.actor, label, new_name, _read_color(call), description)
    return Reply(call.serializer.label(call.repository, label))


def list_milestones(call: Call) -> Reply:
    """List the milestones of a repository."""
    repository, state = call.repository, call.request.args.get("state", "open")
    found = [m for m in repository.milestones.values() if state in ("all", m.state)]
    return call.paginate(found, lambda milestone: call.serializer.milestone(repository, milestone))


def create_milestone(call: Call) -> Reply:
    """Create a milestone."""
    title = call.required_field("title", "Milestone")
    description = call.body_field("description", str, "") or None
    due = call.body_field("due_on", str, "") or None
    closed = call.body.get("state") == "closed"
    milestone = call.changes.add_milestone(
        call.repository, call.actor, title, description, "closed" if closed else "open", due
    )
    return Reply(call.serializer.milestone(call.repository, milestone), 201)


def list_deployments(call: Call) -> Reply:
    """List the deployments of a repository; there are none."""
    deployments: list[Any] = []
    return call.paginate(deployments, lambda item: item)


def _find_label(call: Call) -> Label:
    label = call.repository.labels.get(call.path["name"].lower())
    if label is None:
        raise not_found()
    return label


def _read_color(call: Call) -> str | None:
    color = call.body_field("color", str, "")
    if color and not COLOR.fullmatch(color):
        raise invalid_field("Label", "color")
    return color or None


def _read_description(call: Call) -> str | None:
    text = call.body_field("description", str, "")
    if len(text) > 100:
        raise invalid_field("Label", "description", "custom", "description is too long (maximum is 100 characters)")
    return text or None
