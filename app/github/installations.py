"""List the repositories in which the App is installed, and follow those whose installation was replaced."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from app.github.client import Client, RepositoryPath
from app.ports import NotFound, Repository
from app.text import replace_unstorable

_MIN_LOCATE_INTERVAL = timedelta(minutes=1)
"""Shortest time between two questions which installation one repository has."""


def api_path(repository: Repository, rest: str) -> RepositoryPath:
    """Return the path `rest` of GitHub's API below a repository."""
    return RepositoryPath(repository.name, repository.id, rest)


def locate_repository(client: Client, repository: Repository) -> Repository | None:
    """Ask GitHub which installation the repository has now, and its name; None if the App is not installed there.

    Both are found by the repository's id.  Raises DeliveryFailed.
    """
    try:
        found = client.call_as_app("GET", api_path(repository, "/installation")).body
        return fetch_present_state(client, replace(repository, installation=int(found["id"])))
    except NotFound:
        return None


def fetch_present_state(client: Client, repository: Repository) -> Repository:
    """Return the repository with its present name and default branch.  Raises NotFound if it is another one."""
    body = client.call(repository.installation, "GET", api_path(repository, "")).body
    if body["id"] != repository.id:
        raise NotFound(f"{repository.name}: GitHub answered with another repository")
    return replace(
        repository,
        name=replace_unstorable(str(body["full_name"])),
        default_branch=replace_unstorable(str(body.get("default_branch") or repository.default_branch)),
    )


class RepositoryDirectory:
    """Finds out where a repository is now: its installation may have been replaced, and its owner renamed.

    `on_relocated` is called with each repository that turned out to have another installation.  Without a client, which
    is so where a token serves one repository alone, everything is as it is known.  May be used from any thread.
    """

    def __init__(self, client: Client | None = None, on_relocated: Callable[[Repository], None] | None = None) -> None:
        self._client = client
        self._on_relocated = on_relocated
        self._present: dict[tuple[int, int], Repository] = {}
        self._asked: dict[int, tuple[datetime, Repository | None]] = {}

    def present(self, repository: Repository) -> Repository:
        """Return the repository with its present installation, as far as it is known."""
        return self._present.get((repository.id, repository.installation), repository)

    def fetch_present_state(self, repository: Repository) -> Repository:
        """Ask GitHub for the repository's present name.  Raises DeliveryFailed."""
        return repository if self._client is None else fetch_present_state(self._client, repository)

    def find_replacement(self, repository: Repository) -> Repository | None:
        """Ask GitHub, at most once a minute, which installation a repository has whose installation is gone.

        None: no other one is known yet.  Raises DeliveryFailed, and NotFound if the App is not installed there.
        """
        if self._client is None:
            return None
        now, last = self._client.now, self._asked.get(repository.id)
        if last is None or not last[0] <= now < last[0] + _MIN_LOCATE_INTERVAL:
            last = self._asked[repository.id] = (now, locate_repository(self._client, repository))
        located = last[1]
        if located is None:
            raise NotFound(f"{repository.name}: the App is not installed there (any more)")
        if located.installation == repository.installation:
            return None
        self._present[repository.id, repository.installation] = located
        if self._on_relocated is not None:
            self._on_relocated(located)
        return located


def list_installed_repositories(client: Client) -> Iterator[Repository]:
    """Yield every repository in which the App is installed."""
    for installation in client.list_installations():
        rows = client.list_rows(installation, "/installation/repositories", key="repositories")
        for row in rows:
            yield Repository(row["id"], row["full_name"], installation, row.get("default_branch") or "main")
