"""`app.yml` is a manifest that GitHub accepts, and asks for exactly what Muster uses."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.github import inbound
from app.github.client import ApiResponse
from app.github.tracker import POLICY_PATH, GitHubTracker
from app.ports import Annotation, CheckRun, NewFile, Repository, Tracker

FILE = Path(__file__).parent.parent / "app.yml"
MANIFEST = yaml.safe_load(FILE.read_text("utf-8"))
PERMISSIONS: dict[str, str] = MANIFEST["default_permissions"]
EVENTS: list[str] = MANIFEST["default_events"]

READ, WRITE = "read", "write"
LEVELS = {READ: 1, WRITE: 2}

# The App permissions on repositories by their names in GitHub's API, with the highest level of each.
MAX_LEVELS = dict.fromkeys(
    [
        "actions",
        "administration",
        "checks",
        "codespaces",
        "contents",
        "dependabot_secrets",
        "deployments",
        "environments",
        "issues",
        "packages",
        "pages",
        "pull_requests",
        "repository_custom_properties",
        "repository_hooks",
        "repository_projects",
        "secret_scanning_alerts",
        "secrets",
        "security_events",
        "single_file",
        "statuses",
        "vulnerability_alerts",
        "workflows",
    ],
    WRITE,
) | {"metadata": READ}

# The permissions of which an App needs one to get an event.  Every App gets `installation` and its like.
EVENT_PERMISSIONS = {
    "check_run": {"checks"},
    "check_suite": {"checks"},
    "commit_comment": {"contents"},
    "create": {"contents"},
    "delete": {"contents"},
    "deployment": {"deployments"},
    "deployment_status": {"deployments"},
    "fork": {"contents"},
    "issue_comment": {"issues", "pull_requests"},
    "issues": {"issues"},
    "label": {"metadata"},
    "milestone": {"issues", "pull_requests"},
    "pull_request": {"pull_requests"},
    "pull_request_review": {"pull_requests"},
    "pull_request_review_comment": {"pull_requests"},
    "push": {"contents"},
    "release": {"contents"},
    "repository": {"metadata"},
    "status": {"statuses"},
    "sub_issues": {"issues"},
    "workflow_run": {"actions"},
}

# The permission that GitHub asks for each call.
CALL_PERMISSIONS = (
    ("GET", r"/collaborators/[^/]+/permission", "metadata", READ),
    ("GET", r"/issues(/\d+(/timeline|/comments)?|/comments)?", "issues", READ),
    ("POST", r"/issues/\d+/(labels|comments|assignees|reactions)", "issues", WRITE),
    ("DELETE", r"/issues/\d+/(labels|reactions)/[^/]+", "issues", WRITE),
    ("PATCH", r"/issues/comments/\d+", "issues", WRITE),
    ("POST", r"/issues/comments/\d+/reactions", "issues", WRITE),
    ("GET", r"/pulls", "pull_requests", READ),
    ("POST", r"/pulls(/\d+/requested_reviewers)?", "pull_requests", WRITE),
    ("GET", r"/contents/.+|/commits", "contents", READ),
    ("GET", r"/git/ref/heads/.+", "contents", READ),
    ("POST", r"/git/refs", "contents", WRITE),
    ("PUT", r"/contents/.+", "contents", WRITE),
    ("GET", r"/pulls/\d+/files", "pull_requests", READ),
    ("GET", r"/commits/[0-9a-f]{40}/check-runs", "checks", READ),
    ("POST", r"/check-runs", "checks", WRITE),
    ("PATCH", r"/check-runs/\d+", "checks", WRITE),
)

REPOSITORY = Repository(id=1, name="octo-org/shop", installation=2)
NOW = "2026-03-14T09:00:00Z"
COMMENT = {"id": 5, "created_at": NOW}
FAULT = Annotation(POLICY_PATH, 1, 10, "extends", "'nothing' is not a profile, use guide")
PULL = {"number": 9, "state": "open", "created_at": NOW}


class RecordingClient:
    """Client that answers a tracker's calls and records them."""

    app_id = 3

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def call(self, installation: int, method: str, path: str, **rest: Any) -> ApiResponse:
        path = re.sub(r"^/repos/octo-org/(shop|\.github)(?=/)", "", path)
        self.calls.append((method, path))
        return ApiResponse(200, self._response_body(path), {"date": "Sat, 14 Mar 2026 09:00:00 GMT"})

    def list_rows(
        self, installation: int, path: str, params: Mapping[str, Any] | None = None, *, key: str = ""
    ) -> Iterator[Any]:
        self.call(installation, "GET", path)
        return iter(())

    def _response_body(self, path: str) -> Any:
        if "/labels" in path or path in ("/issues/comments", "/commits"):
            return []
        if path.startswith("/contents/"):
            return {"type": "file", "encoding": "base64", "content": base64.b64encode(b"scale: sev").decode()}
        if path.startswith("/git/ref/"):
            return {"object": {"sha": "0" * 40}}
        return PULL if path.startswith("/pulls") else COMMENT


ARGUMENTS: dict[str, Any] = {
    "number": 7,
    "since": datetime(2026, 3, 14, tzinfo=UTC),
    "label": "incident",
    "labels": ("incident", "postmortem-due"),
    "lock_id": 6,
    "login": "mona",
    "etag": "",
    "add": frozenset({"sev1"}),
    "remove": frozenset({"sev2"}),
    "body": "text",
    "comment": 5,
    "pull": 9,
    "branches": ("muster/postmortem-7",),
    "file": NewFile(("muster/postmortem-7",), "docs/p.md", "text", "message", "title", "body"),
    "reviewers": ("mona",),
    "path": POLICY_PATH,
    "organisation": True,
    "ref": "0" * 40,
    "check": CheckRun("Muster policy", "0" * 40, False, "title", "summary", (FAULT,) * 51),
}


def tracker_calls() -> list[tuple[str, str]]:
    """Return every call that a tracker makes, over all its methods."""
    client = RecordingClient()
    tracker = GitHubTracker(client, REPOSITORY)  # type: ignore[arg-type]
    for name in (
        name for name in vars(Tracker) if not name.startswith("_") and name not in ("with_guard", "with_priority")
    ):
        method = getattr(tracker, name)
        result = method(**{parameter: ARGUMENTS[parameter] for parameter in signature(method).parameters})
        if isinstance(result, Iterator):
            list(result)  # an iterator makes no calls until it is consumed
    return client.calls


def permission_for_call(method: str, path: str) -> tuple[str, str]:
    """Return the permission and level that GitHub asks for a call."""
    found = [
        (name, level)
        for verb, pattern, name, level in CALL_PERMISSIONS
        if verb == method and re.fullmatch(pattern, path)
    ]
    assert found, f"CALL_PERMISSIONS lacks {method} {path}"
    return found[0]


def test_it_has_the_fields_of_a_manifest() -> None:
    assert set(MANIFEST) == {
        "name",
        "description",
        "url",
        "redirect_url",
        "public",
        "hook_attributes",
        "default_permissions",
        "default_events",
    }
    assert MANIFEST["public"] is False
    assert MANIFEST["hook_attributes"] == {"url": f"{MANIFEST['url']}/webhook", "active": True}
    assert all(MANIFEST[field].startswith("https://") for field in ("url", "redirect_url"))
    assert len(MANIFEST["name"]) <= 34


@pytest.mark.parametrize(("name", "level"), PERMISSIONS.items())
def test_a_permission_exists_at_that_level(name: str, level: str) -> None:
    assert LEVELS[level] <= LEVELS[MAX_LEVELS[name]]


def test_the_permissions_are_what_the_calls_need() -> None:
    uses: dict[str, str] = {"metadata": READ}  # every App has this one
    for method, path in tracker_calls():
        name, level = permission_for_call(method, path)
        uses[name] = max(uses.get(name, READ), level, key=LEVELS.__getitem__)
    assert uses == PERMISSIONS


def test_the_policy_file_is_reached_by_contents() -> None:
    assert ("GET", f"/contents/{POLICY_PATH}") in tracker_calls()


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_is_one_that_the_permissions_offer(event: str) -> None:
    assert EVENT_PERMISSIONS[event] & set(PERMISSIONS)


def test_the_events_are_those_that_are_read() -> None:
    assert len(EVENTS) == len(set(EVENTS))
    assert {event for event in EVENT_PERMISSIONS if is_read(event)} == set(EVENTS)


def is_read(event: str) -> bool:
    """Return whether a delivery of that name, holding every part that any might have, has any effect."""
    payload = {
        "action": "opened",
        "repository": {"id": 1, "full_name": REPOSITORY.name, "default_branch": "main"},
        "installation": {"id": 2},
        "issue": {"number": 7},
        "pull_request": {"number": 9, "head": {"ref": "muster/postmortem-7", "repo": {"id": 1}}},
        "ref": "refs/heads/main",
        "after": "a" * 40,
        "commits": [{"modified": [POLICY_PATH]}],
    }
    return inbound.incident_key_of(event, payload) is not None or inbound.changes_policy(event, payload)


@pytest.mark.parametrize("name", [*PERMISSIONS, *EVENTS])
def test_each_line_says_what_it_is_for(name: str) -> None:
    line = next(
        line for line in FILE.read_text("utf-8").splitlines() if re.match(rf"  (- )?{re.escape(name)}\b(?!_)", line)
    )
    assert re.search(r"  # \w+", line), line
