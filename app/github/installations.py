"""List the repositories in which the App is installed."""

from __future__ import annotations

from collections.abc import Iterator

from app.github.client import Client
from app.ports import Repository


def list_installed_repositories(client: Client) -> Iterator[Repository]:
    """Yield every repository in which the App is installed."""
    for installation in client.list_installations():
        rows = client.list_rows(installation, "/installation/repositories", key="repositories")
        for row in rows:
            yield Repository(row["id"], row["full_name"], installation, row.get("default_branch") or "main")
