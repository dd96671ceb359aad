"""Web pages of the sandbox GitHub: repositories, issues, pull requests and files.

User text reaches a page only escaped or through `markdown.render`, and the content security policy allows no script
and nothing from other hosts.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from html import escape
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from flask import Blueprint, Response, request
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from app.sandbox.github.code_changes import Changes
from app.sandbox.github.code_json import quote_path
from app.sandbox.github.colors import avatar_svg, label_css
from app.sandbox.github.errors import ApiError, not_found
from app.sandbox.github.markdown import render
from app.sandbox.github.timeline_page import timeline_items
from app.sandbox.github.world import Account, Issue, Repository

CSP = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'none'; frame-ancestors 'none'; "
    "base-uri 'none'"
)
HEX_COLOR = re.compile(r"[0-9a-f]{6}")
STYLESHEET = resources.files("app.sandbox.github").joinpath("static/style.css")
TIME_UNITS = ((60, "second"), (60, "minute"), (24, "hour"), (30, "day"), (12, "month"), (1000, "year"))
MAX_ISSUES_PER_PAGE = 50


def add_security_headers(response: Response) -> Response:
    """Add the security headers that every page has."""
    response.headers["Content-Security-Policy"] = CSP
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers.setdefault("Cache-Control", "no-store")
    return response


def relative_time(at: datetime, now: datetime) -> str:
    """Return how long ago a time was, such as `3 minutes ago`."""
    count = int((now - at).total_seconds())
    if count < 10:
        return "just now"
    for size, unit in TIME_UNITS:
        if count < size:
            return f"{count} {unit}{'' if count == 1 else 's'} ago"
        count //= size
    return "long ago"


def blueprint(changes: Changes, refresh: int | None = None) -> Blueprint:
    """Register the pages; `refresh` makes them reload themselves every so many seconds."""
    part = Blueprint("pages", __name__)
    pages = Pages(changes, refresh)
    views: dict[str, Callable[..., Response]] = {
        "/": pages.home,
        "/assets/style.css": pages.style,
        "/assets/labels.css": pages.label_colors,
        "/avatars/u/<int:number>": pages.avatar,
        "/<owner>": pages.owner,
        "/<owner>/<repo>": pages.repository,
        "/<owner>/<repo>/issues": pages.issues,
        "/<owner>/<repo>/pulls": pages.pulls,
        "/<owner>/<repo>/issues/<int:number>": pages.issue,
        "/<owner>/<repo>/pull/<int:number>": pages.issue,
        "/<owner>/<repo>/runs/<int:number>": pages.check,
        "/<owner>/<repo>/blob/<path:ref_and_path>": pages.blob,
        "/<owner>/<repo>/tree/<path:ref_and_path>": pages.blob,
    }
    for rule, view in views.items():
        part.add_url_rule(rule, rule.replace(".", "_"), pages.wrap_view(view), methods=["GET"])
    return part


class Pages:
    """The views, one method for each page."""

    def __init__(self, changes: Changes, refresh: int | None) -> None:
        self._changes = changes
        self._world = changes.world
        self._refresh = refresh
        self._style = STYLESHEET.read_bytes()
        self._templates = Environment(
            loader=PackageLoader("app.sandbox.github"),
            autoescape=select_autoescape(default=True),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(avatar=self._avatar, when=self._time_element, address=quote_path)

    def wrap_view(self, view: Callable[..., Response]) -> Callable[..., Response]:
        """Wrap a view: hold the world's lock, add the security headers and render an ApiError as a page."""

        def page(**path: Any) -> Response:
            with self._world.lock:
                try:
                    return add_security_headers(view(**path))
                except ApiError as no:
                    return add_security_headers(self._render_page("lost.html", no.status, title=no.message, where=[]))

        return page

    def home(self) -> Response:
        """List all repositories."""
        return self._render_repositories(self._world.repositories.values(), None)

    def owner(self, owner: str) -> Response:
        """List the repositories of an account."""
        account = self._world.account(owner)
        found = [repository for repository in self._world.repositories.values() if repository.owner is account]
        return self._render_repositories(found, account)

    def repository(self, owner: str, repo: str) -> Response:
        """Show the root folder of a repository."""
        repository = self._find_repository(owner, repo)
        return self._render_folder(repository, repository.default_branch, "")

    def issues(self, owner: str, repo: str) -> Response:
        """List the issues of a repository."""
        repository = self._find_repository(owner, repo)
        return self._render_issues(
            repository, [issue for issue in repository.issues.values() if not issue.pull], "issues"
        )

    def pulls(self, owner: str, repo: str) -> Response:
        """List the pull requests of a repository."""
        repository = self._find_repository(owner, repo)
        return self._render_issues(repository, repository.pulls, "pulls")

    def issue(self, owner: str, repo: str, number: int) -> Response:
        """Show an issue or pull request; redirect when it has another address."""
        repository = self._find_repository(owner, repo)
        issue = repository.issues.get(number)
        if issue is None or issue.deleted:
            raise not_found()
        page = self._changes.serializer.issue_page(issue.moved_to or issue)
        if issue.moved_to or request.path != page.removeprefix(self._changes.serializer.url):
            return Response("", 302, {"Location": page})
        files = self._changes.serializer.pull_files(issue) if issue.pull else []
        runs = repository.checks_by_sha.get(issue.pull.head_sha, []) if issue.pull else []
        return self._render_page(
            "issue.html",
            title=f"{issue.title} · #{number}",
            where=_breadcrumbs(repository),
            tab="pulls" if issue.pull else "issues",
            repository=repository,
            issue=issue,
            participants=_participants(issue),
            items=timeline_items(issue),
            files=files,
            # Show only the newest run of each name; older ones have their own pages.
            checks=list({run.name: run for run in runs}.values()),
            labels=_label_color_query(issue),
            association=self._changes.serializer.association,
            body=lambda text: self._markdown(text, repository),
        )

    def check(self, owner: str, repo: str, number: int) -> Response:
        """Show a check run."""
        repository = self._find_repository(owner, repo)
        run = repository.check_runs.get(number)
        if run is None:
            raise not_found()
        return self._render_page(
            "check.html",
            title=run.name,
            where=_breadcrumbs(repository),
            tab="pulls",
            repository=repository,
            run=run,
            pulls=[pull for pull in repository.pulls if pull.pull and pull.pull.head_sha == run.head_sha],
            body=lambda text: self._markdown(text, repository),
        )

    def blob(self, owner: str, repo: str, ref_and_path: str) -> Response:
        """Show a file or folder."""
        repository = self._find_repository(owner, repo)
        git, parts = repository.git, ref_and_path.split("/")
        # A branch name may contain slashes: the shortest prefix that is a ref is taken.
        for cut in range(1, len(parts) + 1):
            ref, path = "/".join(parts[:cut]), "/".join(parts[cut:])
            commit = git.resolve(repository.default_branch if ref == "HEAD" else ref)
            if commit is None:
                continue
            entry = git.find_entry(commit.tree, path)
            if entry is None:
                raise not_found()
            if entry.is_folder:
                return self._render_folder(repository, ref, path)
            text = git.blobs[entry.sha].decode("utf-8", "replace")
            prose = self._markdown(text, repository) if path.lower().endswith((".md", ".markdown")) else None
            return self._render_page(
                "blob.html",
                title=path,
                where=_breadcrumbs(repository),
                tab="code",
                repository=repository,
                ref=ref,
                path=path,
                trail=_path_breadcrumbs(path),
                text=text,
                prose=prose,
                commit=commit,
            )
        raise not_found()

    def style(self) -> Response:
        """Return the style sheet."""
        return Response(self._style, content_type="text/css; charset=utf-8")

    def label_colors(self) -> Response:
        """Return the style sheet for the label colours in the query."""
        given = request.args.get("c", "").split(",")
        return Response(
            label_css(color for color in given if HEX_COLOR.fullmatch(color)),
            content_type="text/css; charset=utf-8",
        )

    def avatar(self, number: int) -> Response:
        """Return the avatar of an account as SVG."""
        account = next((account for account in self._world.accounts.values() if account.id == number), None)
        if account is None:
            raise not_found()
        return Response(avatar_svg(account, standalone=True), content_type="image/svg+xml")

    def _render_repositories(self, found: Iterable[Repository], account: Account | None) -> Response:
        crumbs = [(account.login, f"/{account.login}")] if account else []
        return self._render_page(
            "home.html",
            title=account.login if account else "Home",
            where=crumbs,
            repositories=list(found),
            account=account,
        )

    def _render_issues(self, repository: Repository, found: list[Issue], tab: str) -> Response:
        here = [issue for issue in reversed(found) if not issue.deleted and issue.moved_to is None]
        state = "closed" if "is:closed" in request.args.get("q", "") else "open"
        counts = {name: sum(issue.state == name for issue in here) for name in ("open", "closed")}
        shown = [issue for issue in here if issue.state == state][:MAX_ISSUES_PER_PAGE]
        return self._render_page(
            "issues.html",
            title=f"{tab.capitalize()} · {repository.full_name}",
            where=_breadcrumbs(repository),
            tab=tab,
            repository=repository,
            issues=shown,
            state=state,
            counts=counts,
            labels=_label_color_query(*shown),
        )

    def _render_folder(self, repository: Repository, ref: str, path: str) -> Response:
        git = repository.git
        commit = git.resolve(repository.default_branch if ref == "HEAD" else ref)
        entry = git.find_entry(commit.tree, path) if commit else None
        lines = sorted(git.trees[entry.sha].items(), key=lambda line: not line[1].is_folder) if entry else []
        readme = next((below for name, below in lines if name.lower() == "readme.md"), None)
        return self._render_page(
            "repository.html",
            title=repository.full_name,
            where=_breadcrumbs(repository),
            tab="code",
            repository=repository,
            ref=ref,
            path=path,
            trail=_path_breadcrumbs(path),
            lines=lines,
            commit=commit,
            readme=self._markdown(git.blobs[readme.sha].decode("utf-8", "replace"), repository) if readme else None,
        )

    def _find_repository(self, owner: str, repo: str) -> Repository:
        former = self._world.former_names.get(f"{owner}/{repo}".lower())
        return former or self._world.repository(owner, repo)

    def _render_page(self, template: str, status: int = 200, **values: Any) -> Response:
        html = self._templates.get_template(template).render(
            {"refresh": self._refresh, "labels": "", "tab": "", **values, "app": self._changes.serializer.registration}
        )
        # A lone surrogate cannot be encoded as UTF-8.
        return Response(html.encode("utf-8", "replace"), status, content_type="text/html; charset=utf-8")

    def _markdown(self, text: str | None, repository: Repository) -> Markup:
        if not (text or "").strip():
            return Markup('<p class="quiet"><em>No description provided.</em></p>')
        # `render` is the only function that turns user text into HTML, and its result is safe.
        return Markup(render(text or "", "", repository.full_name))  # noqa: S704

    def _avatar(self, account: Account, size: str = "m") -> Markup:
        return Markup(avatar_svg(account, size))  # noqa: S704

    def _time_element(self, at: datetime) -> Markup:
        full = at.strftime("%Y-%m-%d %H:%M:%S UTC")
        age = relative_time(at, self._changes.now())
        return Markup(f'<time datetime="{escape(at.isoformat())}" title="{full}">{age}</time>')  # noqa: S704


def _breadcrumbs(repository: Repository) -> list[tuple[str, str]]:
    owner = repository.owner.login
    return [(owner, f"/{owner}"), (repository.name, f"/{owner}/{repository.name}")]


def _path_breadcrumbs(path: str) -> list[tuple[str, str]]:
    """Return each parent folder and the path itself, as name and path."""
    parts = [part for part in path.split("/") if part]
    return [(part, "/".join(parts[: place + 1])) for place, part in enumerate(parts)]


def _participants(issue: Issue) -> list[Account]:
    accounts = [issue.author, *(comment.author for comment in issue.comments_by_id.values())]
    return list(dict.fromkeys(accounts))


def _label_color_query(*issues: Issue) -> str:
    """Return the query that requests the label colours of these issues from the style sheet."""
    colors = {label.color.lower() for issue in issues for label in issue.label_list}
    for issue in issues:
        colors |= {entry.label.color.lower() for entry in issue.timeline if entry.label}
    return urlencode({"c": ",".join(sorted(colors))}) if colors else ""
