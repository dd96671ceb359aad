"""GitHub's REST API, one module for each part of it."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint

from app.sandbox.github.api import app_and_installations, checks, comments, git_and_contents, issues, pulls, repository
from app.sandbox.github.api.gateway import Gateway

BLUEPRINT_FACTORIES: tuple[Callable[[Gateway], Blueprint], ...] = (
    app_and_installations.blueprint,
    repository.blueprint,
    issues.blueprint,
    comments.blueprint,
    git_and_contents.blueprint,
    pulls.blueprint,
    checks.blueprint,
)
