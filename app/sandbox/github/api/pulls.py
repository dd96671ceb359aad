"""API routes for pull requests."""

from __future__ import annotations

from flask import Blueprint

from app.sandbox.github.api.gateway import PREFIX, Call, Gateway, Reply
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.issue_changes import UNCHANGED
from app.sandbox.github.world import ACTIONS_BOT_LOGIN, Issue, PullRequest, require_existing

READ, WRITE = "pull_requests:read", "pull_requests:write"


def blueprint(gateway: Gateway) -> Blueprint:
    """Register the routes of pull requests."""
    part = Blueprint("pulls", __name__, url_prefix=PREFIX)
    collection = "/repos/<owner>/<repo>/pulls"
    item = f"{collection}/<int:number>"
    gateway.route(part, "GET", collection, list_pulls, READ)
    gateway.route(part, "POST", collection, create_pull, WRITE)
    gateway.route(part, "GET", item, get_pull, READ)
    gateway.route(part, "PATCH", item, update_pull, WRITE)
    gateway.route(part, "GET", f"{item}/files", list_files, READ)
    gateway.route(part, "POST", f"{item}/requested_reviewers", request_reviewers, WRITE)
    return part


def list_pulls(call: Call) -> Reply:
    """List the pull requests of a repository."""
    args, repository = call.request.args, call.repository
    state, head, base = args.get("state", "open"), args.get("head", ""), args.get("base", "")
    owner, _, branch = head.rpartition(":")
    candidates = repository.open_pulls if state == "open" else repository.pulls_by_number
    found = [
        issue
        for issue in reversed(candidates.values())
        if issue.pull
        and state in ("all", issue.state)
        # A head without an owner is ignored, as on GitHub.
        and (not owner or (owner.lower(), branch) == (_head_owner(issue, issue.pull), issue.pull.head))
        and base in ("", issue.pull.base)
    ]
    if args.get("sort") == "updated":
        found.sort(key=lambda issue: issue.updated_at, reverse=args.get("direction") != "asc")
    elif args.get("direction") == "asc":
        found.reverse()
    return call.paginate(found, call.serializer.pull_brief)


def create_pull(call: Call) -> Reply:
    """Open a pull request."""
    if call.actor.account.login == ACTIONS_BOT_LOGIN and not call.repository.actions_may_open_pulls:
        raise ApiError(403, "GitHub Actions is not permitted to create or approve pull requests.")
    head, base = call.required_field("head", "PullRequest"), call.required_field("base", "PullRequest")
    issue = call.changes.open_pull(
        call.repository,
        call.actor,
        call.required_field("title", "PullRequest"),
        head,
        base,
        call.body_field("body", str, "") or None,
        call.body_field("draft", bool, False),
        call.body_field("maintainer_can_modify", bool, False),
    )
    shape = call.serializer.pull(issue)
    return Reply(shape, 201, {"Location": shape["url"]})


def get_pull(call: Call) -> Reply:
    """Return a pull request."""
    return Reply(call.serializer.pull(_find_pull(call)))


def update_pull(call: Call) -> Reply:
    """Change the title, body, base or state of a pull request."""
    issue, actor, changes = _find_pull(call), call.actor, call.changes
    state = call.body_field("state", str, "")
    if state not in ("", "open", "closed"):
        raise invalid_field("PullRequest", "state")
    title = call.body_field("title", str, "") or None
    body = (call.body_field("body", str, "") or None) if "body" in call.body else UNCHANGED
    changes.edit_issue(issue, actor, title=title, body=body)
    base = call.body_field("base", str, "")
    if base:
        changes.retarget(issue, actor, base)
    if state == "closed":
        changes.close(issue, actor)
    elif state == "open":
        changes.reopen(issue, actor)
    return Reply(call.serializer.pull(issue))


def list_files(call: Call) -> Reply:
    """List the changed files of a pull request."""
    return call.paginate(call.serializer.pull_files(_find_pull(call)), lambda file: file)


def request_reviewers(call: Call) -> Reply:
    """Request reviews from people and teams."""
    issue = _find_pull(call)
    reviewers = call.parse_names(call.body_field("reviewers", list, []), "login")
    teams = call.parse_names(call.body_field("team_reviewers", list, []), "slug")
    if not reviewers and not teams:
        raise ApiError(422, "At least one reviewer or team reviewer is needed.")
    call.changes.request_reviewers(issue, call.actor, reviewers, teams)
    return Reply(call.serializer.pull_brief(issue), 201)


def _head_owner(issue: Issue, pull: PullRequest) -> str:
    return (pull.fork or issue.repository).owner.login.lower()


def _find_pull(call: Call) -> Issue:
    issue = require_existing(call.repository.pulls_by_number.get(call.path["number"]))
    if issue.pull is None:
        raise not_found()
    return issue
