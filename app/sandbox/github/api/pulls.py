"""API routes for pull requests."""

from __future__ import annotations

from flask import Blueprint

from app.sandbox.github.api.gateway import PREFIX, Call, Door, Reply
from app.sandbox.github.errors import Declined, invalid, not_found
from app.sandbox.github.issue_changes import UNCHANGED
from app.sandbox.github.world import Issue, Pull, live

READ, WRITE = "pull_requests:read", "pull_requests:write"


def blueprint(door: Door) -> Blueprint:
    """Register the routes of pull requests."""
    part = Blueprint("pulls", __name__, url_prefix=PREFIX)
    many = "/repos/<owner>/<repo>/pulls"
    one = f"{many}/<int:number>"
    door.route(part, "GET", many, list_pulls, READ)
    door.route(part, "POST", many, create_pull, WRITE)
    door.route(part, "GET", one, get_pull, READ)
    door.route(part, "PATCH", one, update_pull, WRITE)
    door.route(part, "GET", f"{one}/files", list_files, READ)
    door.route(part, "POST", f"{one}/requested_reviewers", request_reviewers, WRITE)
    return part


def list_pulls(call: Call) -> Reply:
    """List the pull requests of a repository."""
    args, repository = call.request.args, call.repository
    state, head, base = args.get("state", "open"), args.get("head", ""), args.get("base", "")
    owner, _, branch = head.rpartition(":")
    among = repository.open_pulls if state == "open" else repository.pulls_by_number
    found = [
        issue
        for issue in reversed(among.values())
        if issue.pull
        and state in ("all", issue.state)
        # A head without an owner is ignored, as on GitHub.
        and (not owner or (owner.lower(), branch) == (_from(issue, issue.pull), issue.pull.head))
        and base in ("", issue.pull.base)
    ]
    if args.get("sort") == "updated":
        found.sort(key=lambda issue: issue.updated_at, reverse=args.get("direction") != "asc")
    elif args.get("direction") == "asc":
        found.reverse()
    return call.page(found, call.shapes.pull_brief)


def create_pull(call: Call) -> Reply:
    """Open a pull request."""
    head, base = call.required("head", "PullRequest"), call.required("base", "PullRequest")
    issue = call.changes.open_pull(
        call.repository,
        call.actor,
        call.required("title", "PullRequest"),
        head,
        base,
        call.take("body", str, "") or None,
        call.take("draft", bool, False),
        call.take("maintainer_can_modify", bool, False),
    )
    shape = call.shapes.pull(issue)
    return Reply(shape, 201, {"Location": shape["url"]})


def get_pull(call: Call) -> Reply:
    """Return a pull request."""
    return Reply(call.shapes.pull(_pull(call)))


def update_pull(call: Call) -> Reply:
    """Change the title, body, base or state of a pull request."""
    issue, actor, changes = _pull(call), call.actor, call.changes
    state = call.take("state", str, "")
    if state not in ("", "open", "closed"):
        raise invalid("PullRequest", "state")
    title = call.take("title", str, "") or None
    body = (call.take("body", str, "") or None) if "body" in call.body else UNCHANGED
    changes.edit_issue(issue, actor, title=title, body=body)
    base = call.take("base", str, "")
    if base:
        changes.retarget(issue, actor, base)
    if state == "closed":
        changes.close(issue, actor)
    elif state == "open":
        changes.reopen(issue, actor)
    return Reply(call.shapes.pull(issue))


def list_files(call: Call) -> Reply:
    """List the changed files of a pull request."""
    return call.page(call.shapes.pull_files(_pull(call)), lambda file: file)


def request_reviewers(call: Call) -> Reply:
    """Request reviews from people and teams."""
    issue = _pull(call)
    reviewers = call.names(call.take("reviewers", list, []), "login")
    teams = call.names(call.take("team_reviewers", list, []), "slug")
    if not reviewers and not teams:
        raise Declined(422, "At least one reviewer or team reviewer is needed.")
    call.changes.request_reviewers(issue, call.actor, reviewers, teams)
    return Reply(call.shapes.pull_brief(issue), 201)


def _from(issue: Issue, pull: Pull) -> str:
    return (pull.fork or issue.repository).owner.login.lower()


def _pull(call: Call) -> Issue:
    issue = live(call.repository.pulls_by_number.get(call.path["number"]))
    if issue.pull is None:
        raise not_found()
    return issue
