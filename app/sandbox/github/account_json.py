"""GitHub's JSON for accounts, installations and repositories."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any
from urllib.parse import quote

from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.world import (
    Account,
    Installation,
    Repository,
    Team,
)

Json = dict[str, Any]

# The URLs in a repository's JSON, relative to its API URL.
REPOSITORY_LINKS = {
    "archive_url": "/{archive_format}{/ref}",
    "assignees_url": "/assignees{/user}",
    "blobs_url": "/git/blobs{/sha}",
    "branches_url": "/branches{/branch}",
    "collaborators_url": "/collaborators{/collaborator}",
    "comments_url": "/comments{/number}",
    "commits_url": "/commits{/sha}",
    "compare_url": "/compare/{base}...{head}",
    "contents_url": "/contents/{+path}",
    "contributors_url": "/contributors",
    "deployments_url": "/deployments",
    "downloads_url": "/downloads",
    "events_url": "/events",
    "forks_url": "/forks",
    "git_commits_url": "/git/commits{/sha}",
    "git_refs_url": "/git/refs{/sha}",
    "git_tags_url": "/git/tags{/sha}",
    "hooks_url": "/hooks",
    "issue_comment_url": "/issues/comments{/number}",
    "issue_events_url": "/issues/events{/number}",
    "issues_url": "/issues{/number}",
    "keys_url": "/keys{/key_id}",
    "labels_url": "/labels{/name}",
    "languages_url": "/languages",
    "merges_url": "/merges",
    "milestones_url": "/milestones{/number}",
    "notifications_url": "/notifications{?since,all,participating}",
    "pulls_url": "/pulls{/number}",
    "releases_url": "/releases{/id}",
    "stargazers_url": "/stargazers",
    "statuses_url": "/statuses/{sha}",
    "subscribers_url": "/subscribers",
    "subscription_url": "/subscription",
    "tags_url": "/tags",
    "teams_url": "/teams",
    "trees_url": "/git/trees{/sha}",
}
USER_LINKS = {
    "followers_url": "/followers",
    "following_url": "/following{/other_user}",
    "gists_url": "/gists{/gist_id}",
    "starred_url": "/starred{/owner}{/repo}",
    "subscriptions_url": "/subscriptions",
    "organizations_url": "/orgs",
    "repos_url": "/repos",
    "events_url": "/events{/privacy}",
    "received_events_url": "/received_events",
}


def format_time(at: datetime) -> str:
    """Format a time as GitHub does: whole seconds, UTC, with Z."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def format_optional_time(at: datetime | None) -> str | None:
    """Format a time as GitHub does; None stays None."""
    return None if at is None else format_time(at)


def node_id(kind: str, number: int) -> str:
    """Return an opaque id that is the same for the same object in every run."""
    return f"{kind}_" + base64.urlsafe_b64encode(f"{kind}{number}".encode()).decode().rstrip("=")


class AccountSerializer:
    """Serializes accounts and repositories.

    Addresses of pages are under `url`, those of the API under `url`/api/v3.
    """

    def __init__(self, registration: AppRegistration, owner: Account) -> None:
        self.registration = registration
        self.app_owner = owner
        self.url = "http://127.0.0.1"

    @property
    def api_url(self) -> str:
        """The base URL of the REST API."""
        return f"{self.url}/api/v3"

    def repo_url(self, repository: Repository) -> str:
        """Return the API URL of a repository."""
        return f"{self.url}/api/v3/repos/{repository.full_name}"

    def repo_page(self, repository: Repository) -> str:
        """Return the URL of a repository's page."""
        return f"{self.url}/{repository.full_name}"

    def account(self, account: Account) -> Json:
        """Return the JSON of an account, short form."""
        login = quote(account.login)
        api = f"{self.url}/api/v3/users/{login}"
        page = account.login.removesuffix("[bot]")
        shape: Json = {
            "login": account.login,
            "id": account.id,
            "node_id": node_id("U", account.id),
            "avatar_url": f"{self.url}/avatars/u/{account.id}?v=4",
            "gravatar_id": "",
            "url": api,
            "html_url": f"{self.url}/apps/{page}" if account.kind == "Bot" else f"{self.url}/{page}",
            "type": account.kind,
            "user_view_type": "public",
            "site_admin": False,
        }
        shape.update((key, api + rest) for key, rest in USER_LINKS.items())
        return shape

    def organization(self, account: Account) -> Json:
        """Return the JSON of an organisation in a webhook payload."""
        api = f"{self.api_url}/orgs/{account.login}"
        links = {f"{part}_url": f"{api}/{part}" for part in ("repos", "events", "hooks", "issues")}
        return {
            "login": account.login,
            "id": account.id,
            "node_id": node_id("O", account.id),
            "url": api,
            **links,
            "members_url": api + "/members{/member}",
            "public_members_url": api + "/public_members{/member}",
            "avatar_url": f"{self.url}/avatars/u/{account.id}?v=4",
            "description": None,
        }

    def profile(self, account: Account) -> Json:
        """Return the JSON of an account, full form."""
        none = dict.fromkeys(("company", "location", "email", "hireable", "bio", "twitter_username"))
        counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
        times = {"created_at": format_time(account.created_at), "updated_at": format_time(account.created_at)}
        return {**self.account(account), "name": account.name, "blog": "", **none, **counts, **times}

    def app(self) -> Json:
        """Return the JSON of the app."""
        registration = self.registration
        created = format_time(registration.created_at)
        return {
            "id": registration.app_id,
            "client_id": registration.client_id,
            "slug": registration.slug,
            "node_id": node_id("A", registration.app_id),
            "owner": self.account(self.app_owner),
            "name": registration.name,
            "description": "",
            "external_url": f"{self.url}/apps/{registration.slug}",
            "html_url": f"{self.url}/apps/{registration.slug}",
            "created_at": created,
            "updated_at": created,
            "permissions": registration.permissions,
            "events": registration.events,
        }

    def performed_via_github_app(self, via_app: bool) -> Json | None:
        """Return the app's JSON for a change made through it, else None."""
        return self.app() if via_app else None

    def installation(self, installation: Installation) -> Json:
        """Return the JSON of an installation."""
        suspended_by = installation.suspended_by
        return {
            "id": installation.id,
            "client_id": self.registration.client_id,
            "account": self.account(installation.account),
            "repository_selection": "selected",
            "access_tokens_url": f"{self.api_url}/app/installations/{installation.id}/access_tokens",
            "repositories_url": f"{self.api_url}/installation/repositories",
            "html_url": f"{self.url}/settings/installations/{installation.id}",
            "app_id": self.registration.app_id,
            "app_slug": self.registration.slug,
            "target_id": installation.account.id,
            "target_type": installation.account.kind,
            "permissions": installation.permissions,
            "events": installation.events,
            "created_at": format_time(installation.created_at),
            "updated_at": format_time(installation.created_at),
            "single_file_name": None,
            "has_multiple_single_files": False,
            "single_file_paths": [],
            "suspended_by": self.account(suspended_by) if suspended_by else None,
            "suspended_at": format_optional_time(installation.suspended_at),
        }

    def repository_brief(self, repository: Repository) -> Json:
        """Return the JSON of a repository as installation events list it."""
        return {
            "id": repository.id,
            "node_id": node_id("R", repository.id),
            "name": repository.name,
            "full_name": repository.full_name,
            "private": repository.private,
        }

    def repository(self, repository: Repository) -> Json:
        """Return the JSON of a repository."""
        api, page = self.repo_url(repository), self.repo_page(repository)
        host = self.url.removeprefix("http://")
        pushed = repository.pushed_at or repository.created_at
        shape = {
            **self.repository_brief(repository),
            "owner": self.account(repository.owner),
            "html_url": page,
            "description": repository.description,
            "fork": False,
            "url": api,
            **{key: api + rest for key, rest in REPOSITORY_LINKS.items()},
            "created_at": format_time(repository.created_at),
            "updated_at": format_time(pushed),
            "pushed_at": format_time(pushed),
            "git_url": f"git://{host}/{repository.full_name}.git",
            "ssh_url": f"git@{host}:{repository.full_name}.git",
            "clone_url": f"{page}.git",
            "svn_url": page,
            "mirror_url": None,
            "homepage": None,
            "language": None,
            "license": None,
            "topics": [],
            "visibility": "private" if repository.private else "public",
            "default_branch": repository.default_branch,
            "archived": repository.archived,
            "disabled": False,
            "is_template": False,
            "allow_forking": True,
            "web_commit_signoff_required": False,
            "open_issues_count": repository.open_count,
            "open_issues": repository.open_count,
        }
        shape.update(
            dict.fromkeys(("size", "stargazers_count", "watchers_count", "forks_count", "forks", "watchers"), 0)
        )
        shape.update(dict.fromkeys(("has_issues", "has_projects", "has_downloads", "has_wiki"), True))
        shape.update(dict.fromkeys(("has_pages", "has_discussions"), False))
        return shape

    def team(self, team: Team) -> Json:
        """Return the JSON of a team."""
        api = f"{self.api_url}/organizations/{team.organization.id}/team/{team.id}"
        return {
            "id": team.id,
            "node_id": node_id("T", team.id),
            "name": team.slug,
            "slug": team.slug,
            "description": None,
            "privacy": "closed",
            "permission": "pull",
            "url": api,
            "html_url": f"{self.url}/orgs/{team.organization.login}/teams/{team.slug}",
            "members_url": api + "/members{/member}",
            "repositories_url": f"{api}/repos",
            "type": "organization",
            "parent": None,
        }
