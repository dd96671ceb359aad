"""Every operation of GitHub's API description answers, and as described."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import as_app, with_token

MULTI_SEGMENT_PARAMETER = re.compile(r"(/contents/|/git/refs?/|/commits/)([^?]+?)(/check-runs)?$")


REPOSITORY_ID = re.compile(r"^/repositories/[0-9]+(?=/|$)")


class OpenApiRequest:
    """A request in the form that openapi-core validates."""

    def __init__(self, request: httpx.Request, base: str) -> None:
        path = request.url.path.removeprefix(httpx.URL(base).path)
        # The description knows repositories by their names alone; GitHub redirects renamed ones to their ids.
        path = REPOSITORY_ID.sub("/repos/octo/any", path)
        # To the validator a template's {path} is one segment, where GitHub accepts several.
        self.path = MULTI_SEGMENT_PARAMETER.sub(lambda m: m[1] + quote(m[2], safe="") + (m[3] or ""), path)
        self.host_url = "https://api.github.com"
        self.method = request.method.lower()
        self.body = request.content or None
        self.content_type = request.headers.get("content-type", "application/json")
        query = ImmutableMultiDict(list(request.url.params.multi_items()))
        self.parameters = RequestParameters(query=query, header=Headers(list(request.headers.items())))


class OpenApiResponse:
    """A response in the form that openapi-core validates."""

    def __init__(self, response: httpx.Response) -> None:
        self.data = response.content
        self.status_code = response.status_code
        self.content_type = response.headers.get("content-type", "").split(";")[0]
        self.headers = Headers(list(response.headers.items()))


def correct_schema(schema: Any) -> None:
    """Correct, in place, what GitHub's description states differently from what GitHub sends.

    A nullable enum does not list null; an account is a user *and* an enterprise; a folder's list has a `type`.
    """
    if isinstance(schema, dict):
        schema.pop("discriminator", None)
        account = schema.get("account")
        if isinstance(account, dict) and "allOf" in account:
            account["anyOf"] = account.pop("allOf")
        if schema.get("nullable") and "enum" in schema and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
        for below in schema.values():
            correct_schema(below)
    elif isinstance(schema, list):
        for below in schema:
            correct_schema(below)


@pytest.fixture(scope="module")
def description(shared_data: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((shared_data / "github-openapi.json").read_text())
    correct_schema(loaded)
    return loaded


@pytest.fixture(scope="module")
def openapi(description: dict[str, Any]) -> OpenAPI:
    return OpenAPI.from_dict(description, config=Config(spec_validator_cls=None))


class ValidatingClient:
    """Client that validates each request and answer against the description.

    `by` is the caller: `bot` (the installation), `app` or `mona`.
    """

    def __init__(self, github: SandboxGitHub, openapi: OpenAPI, clients: dict[str, httpx.Client]) -> None:
        self.github, self.openapi, self.clients = github, openapi, clients

    def __call__(self, method: str, path: str, expected_status: int = 200, *, by: str = "bot", **sent: Any) -> Any:
        response = self.clients[by].request(method, path, **sent)
        assert response.status_code == expected_status, f"{method} {path}: {response.status_code} {response.text}"
        request, validated_response = OpenApiRequest(response.request, self.github.api_url), OpenApiResponse(response)
        try:
            self.openapi.validate_request(request)
            self.openapi.validate_response(request, validated_response)
        except Exception as error:
            details = getattr(error.__cause__, "schema_errors", None) or [error, error.__cause__]
            raise AssertionError(f"{method} {path}: {[str(each)[:1500] for each in details]}") from error
        return response.json() if response.content and "json" in response.headers.get("content-type", "") else None


@pytest.fixture
def check(github: SandboxGitHub, openapi: OpenAPI, mona: Person, api: httpx.Client) -> Any:
    with as_app(github) as app, with_token(github, github.token_for("mona")) as person:
        yield ValidatingClient(github, openapi, {"bot": api, "app": app, "mona": person})


def call_app_operations(check: ValidatingClient, shop: Repository) -> None:
    check("GET", "/app", by="app")
    check("GET", "/app/hook/config", by="app")
    found = check("GET", "/app/installations", by="app")
    check("POST", f"/app/installations/{found[0]['id']}/access_tokens", 201, by="app", json={"repositories": ["shop"]})
    check("POST", "/app-manifests/abc/conversions", 201)
    check("GET", "/installation/repositories")
    check("GET", "/repos/octo/shop/installation", by="app")
    check.github.hooks.settle()
    deliveries = check("GET", "/app/hook/deliveries", by="app", params={"per_page": 5})
    check("GET", f"/app/hook/deliveries/{deliveries[0]['id']}", by="app")
    check("POST", f"/app/hook/deliveries/{deliveries[0]['id']}/attempts", 202, by="app")


def call_general_operations(check: ValidatingClient, shop: Repository) -> None:
    check.github.add_team("octo", "sre", ["mona"])
    check("GET", "/rate_limit")
    check("GET", "/meta")
    check("GET", "/user", by="mona")
    check("GET", "/orgs/octo/teams/sre/members")
    check("GET", "/repos/octo/shop")
    check("GET", "/repos/octo/shop/collaborators/mona/permission")
    check("GET", "/repos/octo/shop/deployments")
    check("POST", "/repos/octo/shop/milestones", 201, json={"title": "spring", "due_on": "2026-04-01T00:00:00Z"})
    check("GET", "/repos/octo/shop/milestones")
    check("POST", "/repos/octo/shop/labels", 201, json={"name": "sev1", "color": "d73a4a", "description": "worst"})
    check("PATCH", "/repos/octo/shop/labels/sev1", json={"color": "ff0000"})
    check("GET", "/repos/octo/shop/labels")
    check("POST", "/markdown", json={"text": "**bold**", "mode": "gfm", "context": "octo/shop"})


def call_issue_operations(check: ValidatingClient, shop: Repository) -> None:
    issues = "/repos/octo/shop/issues"
    new = {"title": "down", "body": "all of it", "labels": ["incident"], "assignees": ["mona"], "milestone": 1}
    first = check("POST", issues, 201, json=new)
    second = check("POST", issues, 201, json={"title": "see #1", "body": "like #1"})
    one = f"{issues}/{first['number']}"
    check("POST", f"{one}/labels", json={"labels": ["sev1", "new one"]})
    check("GET", f"{one}/labels")
    check("DELETE", f"{one}/labels/{quote('new one')}")
    check("PUT", f"{one}/labels", json={"labels": ["incident", "resolved"]})
    check("DELETE", f"{one}/assignees", json={"assignees": ["mona"]})
    check("POST", f"{one}/assignees", 201, json={"assignees": ["mona"]})
    check("PATCH", one, json={"title": "still down", "body": "most of it"})
    check("POST", f"{one}/reactions", 201, json={"content": "eyes"})
    check("POST", f"{one}/reactions", json={"content": "eyes"})
    created_comment = check("POST", f"{one}/comments", 201, json={"body": "/ack"})
    check("GET", f"{one}/comments")
    comment = f"{issues}/comments/{created_comment['id']}"
    check("GET", comment)
    check("PATCH", comment, json={"body": "/ack now"})
    check("POST", f"{comment}/reactions", 201, json={"content": "rocket"})
    check("GET", f"{one}/events")
    check("POST", f"{one}/sub_issues", 201, json={"sub_issue_id": second["id"]})
    check("GET", f"{one}/sub_issues")
    check("PUT", f"{one}/lock", 204, json={"lock_reason": "resolved"})
    check("DELETE", f"{one}/lock", 204)
    check("PATCH", one, json={"state": "closed", "state_reason": "not_planned"})
    check("PATCH", one, json={"state": "open"})
    check("GET", one)
    check("GET", issues, params={"state": "all", "labels": "incident", "since": "2026-01-01T00:00:00Z"})
    check("GET", f"{one}/timeline")
    check("DELETE", comment, 204)
    check("GET", "/search/issues", params={"q": "repo:octo/shop is:issue label:incident"})


def call_code_operations(check: ValidatingClient, shop: Repository) -> None:
    repo = "/repos/octo/shop"
    check("GET", f"{repo}/contents/.github/incidents.yml")
    check("GET", f"{repo}/contents/.github")
    head = check("GET", f"{repo}/git/ref/heads/main")["object"]["sha"]
    commit = check("GET", f"{repo}/git/commits/{head}")
    blob = check("POST", f"{repo}/git/blobs", 201, json={"content": "aGk=", "encoding": "base64"})
    line = {"path": "docs/a.md", "mode": "100644", "type": "blob", "sha": blob["sha"]}
    tree = check("POST", f"{repo}/git/trees", 201, json={"base_tree": commit["tree"]["sha"], "tree": [line]})
    new = {"message": "write", "tree": tree["sha"], "parents": [head]}
    made = check("POST", f"{repo}/git/commits", 201, json=new)
    check("POST", f"{repo}/git/refs", 201, json={"ref": "refs/heads/muster/postmortem-1", "sha": head})
    check("PATCH", f"{repo}/git/refs/heads/muster/postmortem-1", json={"sha": made["sha"]})
    content = base64.b64encode(b"# Postmortem\n").decode()
    put = {"message": "postmortem", "content": content, "branch": "muster/postmortem-1"}
    written = check("PUT", f"{repo}/contents/docs/pm.md", 201, json=put)
    check("PUT", f"{repo}/contents/docs/pm.md", json={**put, "content": "aGk=", "sha": written["content"]["sha"]})
    check("GET", f"{repo}/commits", params={"sha": "muster/postmortem-1", "path": "docs/pm.md"})
    opening = {"title": "Postmortem", "head": "muster/postmortem-1", "base": "main", "body": "For #1"}
    pull = check("POST", f"{repo}/pulls", 201, json=opening)
    one = f"{repo}/pulls/{pull['number']}"
    check("GET", f"{repo}/pulls", params={"head": "octo:muster/postmortem-1", "state": "all"})
    check("POST", f"{one}/requested_reviewers", 201, json={"reviewers": ["mona"]})
    check("PATCH", one, json={"title": "Postmortem 1"})
    check("GET", f"{one}/files")
    check("GET", one)
    run = {"name": "policy", "head_sha": head, "status": "in_progress"}
    check_run = check("POST", f"{repo}/check-runs", 201, json=run)
    ended = {"conclusion": "success", "output": {"title": "good", "summary": "all good"}}
    check("PATCH", f"{repo}/check-runs/{check_run['id']}", json=ended)
    check("GET", f"{repo}/commits/{head}/check-runs")
    check("POST", f"{repo}/git/refs", 201, json={"ref": "refs/heads/gone", "sha": head})
    check("DELETE", f"{repo}/git/refs/heads/gone", 204)
    check("GET", f"{repo}/issues/{pull['number']}/timeline")


def test_every_operation_answers_as_described(
    check: ValidatingClient, shop: Repository, description: dict[str, Any]
) -> None:
    groups: tuple[Callable[[ValidatingClient, Repository], None], ...] = (
        call_app_operations,
        call_general_operations,
        call_issue_operations,
        call_code_operations,
    )
    for call_operations in groups:
        call_operations(check, shop)
    known = {
        (method.upper(), path)
        for path, item in description["paths"].items()
        for method in item
        if method != "parameters"
    }
    called = {(method, path) for method, path in known if _was_called(check, method, path)}
    assert sorted(known - called) == []


def _was_called(check: ValidatingClient, method: str, template: str) -> bool:
    pattern = re.compile(
        "/api/v3" + re.sub(r"\\{(path|ref)\\}", ".+", re.sub(r"\\{(?!path|ref)\w+\\}", "[^/]+", re.escape(template)))
    )
    return any(call.method == method and pattern.fullmatch(call.path) for call in check.github.calls_since(0))


@pytest.mark.parametrize(
    ("method", "path", "sent", "status"),
    [
        ("GET", "/repos/octo/nowhere", None, 404),
        ("GET", "/repos/octo/shop/issues/99", None, 404),
        ("POST", "/repos/octo/shop/issues", {"body": "no title"}, 422),
        ("POST", "/repos/octo/shop/labels", {"name": "x" * 51}, 422),
        ("POST", "/repos/octo/shop/git/refs", {"ref": "refs/heads/main", "sha": "0" * 40}, 422),
        ("POST", "/repos/octo/shop/pulls", {"title": "x", "head": "nowhere", "base": "main"}, 422),
        ("GET", "/repos/octo/shop/contents/none.txt", None, 404),
        ("GET", "/nowhere", None, 404),
    ],
)
def test_a_refusal_has_githubs_shape(api: httpx.Client, method: str, path: str, sent: Any, status: int) -> None:
    answer = api.request(method, path, json=sent) if sent is not None else api.request(method, path)
    assert answer.status_code == status
    assert answer.json()["documentation_url"].startswith("https://docs.github.com/")
    assert answer.json()["status"] == str(status)
    assert answer.headers["X-RateLimit-Remaining"].isdigit()
