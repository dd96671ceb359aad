"""The gateway of the API: authenticates, authorizes, meters and logs calls, and formats responses and errors.

A view takes a `Call` and returns a `Reply`; everything that all operations share happens here.
"""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from flask import Blueprint, Request, Response, request

from app.sandbox.github.auth import Auth, Caller
from app.sandbox.github.code_changes import Changes
from app.sandbox.github.code_json import CodeSerializer
from app.sandbox.github.errors import ApiError, invalid_field, not_found
from app.sandbox.github.faults import Faults
from app.sandbox.github.limits import Meter
from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.world import Actor, Issue, Repository, World, require_existing

T = TypeVar("T")

PREFIX = "/api/v3"
DOCS = "https://docs.github.com/rest"
MAX_CALL_RECORDS = 100_000


class CallRecord(NamedTuple):
    """One call in the call log."""

    method: str
    path: str
    status: int
    caller: str
    at: datetime


@dataclass
class Reply:
    """The result of a view; `text` replaces the JSON body for an operation that returns something else."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    text: bytes | None = None
    content_type: str = "application/json; charset=utf-8"


View = Callable[["Call"], Reply]


@dataclass
class Call:
    """One authenticated request."""

    gateway: Gateway
    caller: Caller
    request: Request
    path: dict[str, Any]

    @property
    def world(self) -> World:
        """The state of the sandbox GitHub."""
        return self.gateway.world

    @property
    def changes(self) -> Changes:
        """The changes that can be made to the world."""
        return self.gateway.changes

    @property
    def serializer(self) -> CodeSerializer:
        """The serializer for GitHub's JSON."""
        return self.gateway.changes.serializer

    @property
    def actor(self) -> Actor:
        """The account that changes are recorded under. Raises ApiError 401 for an anonymous caller."""
        return self.caller.actor

    @property
    def repository(self) -> Repository:
        """The repository in the path. Raises ApiError 301 after a rename, 404 if the caller cannot see it."""
        owner, name = self.path["owner"], self.path["repo"]
        former = self.world.former_names.get(f"{owner}/{name}".lower())
        if former is not None and self.caller.can_see(former):
            old = f"{PREFIX}/repos/{owner}/{name}"
            raise moved_permanently(
                self.serializer.repo_url(former) + self.request.full_path.rstrip("?").removeprefix(old)
            )
        repository = self.world.repository(owner, name)
        if not self.caller.can_see(repository):
            raise not_found()
        return repository

    @property
    def issue(self) -> Issue:
        """The issue in the path. Raises ApiError 301, 404 or 410."""
        repository = self.repository
        number = self.path["number"]
        issue = require_existing(repository.issues.get(number))
        if issue.moved_to is not None:
            target = issue.moved_to
            if not self.caller.can_see(target.repository):
                raise not_found()
            own = f"{PREFIX}/repos/{self.path['owner']}/{self.path['repo']}/issues/{number}"
            rest = self.request.full_path.rstrip("?").removeprefix(own)
            raise moved_permanently(f"{self.serializer.repo_url(target.repository)}/issues/{target.number}{rest}")
        return issue

    def check_route_permission(self, permission: str, level: str) -> None:
        """Check what a route requires: to be the app itself, a permission on the repository, or nothing."""
        if permission == "app" and not self.caller.is_app:
            raise ApiError(401, "A JSON web token could not be decoded")
        if level:
            self.require_permission(permission, level)

    def require_permission(self, permission: str, level: str) -> None:
        """Require a permission on the repository. Raises ApiError 401 or 403."""
        repository = self.repository if "owner" in self.path else None
        if self.caller.has_permission(permission, level, repository):
            return
        if self.caller.account is None:
            raise ApiError(401, "Requires authentication")
        token_kind = "integration" if self.caller.installation else "personal access token"
        raise ApiError(
            403,
            f"Resource not accessible by {token_kind}",
            headers={"X-Accepted-GitHub-Permissions": f"{permission}={level}"},
        )

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object in the body; an empty body is an empty object. Raises ApiError 400 or 422."""
        value = self.json
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise ApiError(422, "Invalid request.\n\nFor 'links/0/schema', input is not an object.")
        return value

    @property
    def json(self) -> Any:
        """The JSON value in the body; None for an empty body. Raises ApiError 400."""
        raw = self.request.get_data()
        if not raw:
            return None
        try:
            return json.loads(raw)
        except (ValueError, RecursionError):
            raise ApiError(400, "Problems parsing JSON") from None

    def body_field(self, name: str, kind: type[T], default: T) -> T:
        """Return a field of the body and check its type; null counts as absent. Raises ApiError 422."""
        value = self.body.get(name)
        if value is None:
            return default
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise ApiError(422, f"Invalid request.\n\nFor 'properties/{name}', {value!r:.80} is not of the right type.")
        return value

    def required_field(self, name: str, resource: str) -> str:
        """Return a text field of the body. Raises ApiError 422 if it is missing."""
        if self.body.get(name) is None:
            raise invalid_field(resource, name, "missing_field")
        return self.body_field(name, str, "")

    def parse_names(self, value: Any, key: str = "name") -> list[str]:
        """Read a list of names, given as text or as objects with a name. Raises ApiError 422."""
        if not isinstance(value, list):
            raise ApiError(422, "Invalid request.\n\nAn array was expected.")
        names: list[str] = []
        for item in value:
            name = item.get(key) if isinstance(item, dict) else item
            if not isinstance(name, str):
                raise ApiError(422, "Invalid request.\n\nA string was expected.")
            names.append(name)
        return names

    def paginate(self, items: Iterable[T], to_json: Callable[[T], Any], wrap: str | None = None) -> Reply:
        """Return one page of a list with its Link header; `wrap` puts the list into an object with a count."""
        all_items: Sequence[T] = items if isinstance(items, list) else list(items)
        size = min(100, max(1, self.query_number("per_page", 30)))
        page = max(1, self.query_number("page", 1))
        shown = [to_json(item) for item in all_items[(page - 1) * size : page * size]]
        last = max(1, -(-len(all_items) // size))
        links = []
        if page < last:
            links += [("next", page + 1), ("last", last)]
        if page > 1:
            links += [("first", 1), ("prev", min(page - 1, last))]
        headers = (
            {"Link": ", ".join(f'<{self.url_with_query(page=to)}>; rel="{rel}"' for rel, to in links)} if links else {}
        )
        return Reply({"total_count": len(all_items), wrap: shown} if wrap else shown, headers=headers)

    def query_number(self, name: str, default: int) -> int:
        """Return a whole number from the query; an invalid one counts as absent."""
        text = self.request.args.get(name, "")
        return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else default

    def url_with_query(self, **changed: Any) -> str:
        """Return the requested URL with other query parameters."""
        query = {**self.request.args.to_dict(), **changed}
        return f"{self.serializer.url}{self.request.path}?{urlencode(query)}"


def moved_permanently(url: str) -> ApiError:
    """Return a 301 to another URL."""
    return ApiError(301, "Moved Permanently", headers={"Location": url}, url=url)


class Gateway:
    """Authenticates, meters, answers and logs every call."""

    def __init__(
        self,
        app: AppRegistration,
        changes: Changes,
        auth: Auth,
        meter: Meter,
        faults: Faults,
        clock: Callable[[], datetime],
    ) -> None:
        self.app = app
        self.changes = changes
        self.world = changes.world
        self.auth = auth
        self.meter = meter
        self.faults = faults
        self.clock = clock
        self.calls: deque[CallRecord] = deque(maxlen=MAX_CALL_RECORDS)
        self.call_count = 0

    def route(
        self, blueprint: Blueprint, method: str, rule: str, view: View, required_permission: str | None = None
    ) -> None:
        """Register a view; `required_permission` is a permission and a level, such as `issues:write`."""
        permission, _, level = (required_permission or "").partition(":")

        def endpoint(**path: Any) -> Response:
            with self.meter.track_request(self._caller_name()) as too_many:

                def respond() -> Response:
                    return self._handle(view, permission, level, path, too_many=too_many)

                return self.faults.apply(request, respond)

        blueprint.add_url_rule(rule, f"{method} {rule}".replace(".", "_"), endpoint, methods=[method])

    def _caller_name(self) -> str:
        try:
            with self.world.lock:
                return self.auth.authenticate(request.headers.get("Authorization")).name
        except ApiError:
            return "anonymous"

    def _handle(
        self, view: View, permission: str, level: str, path: dict[str, Any], *, too_many: bool = False
    ) -> Response:
        # The rate limit endpoint is not metered.
        is_metered = permission != "free"
        with self.world.lock:
            caller = Caller("anonymous")
            try:
                caller = self.auth.authenticate(request.headers.get("Authorization"))
                if is_metered:
                    token = request.path.endswith("/access_tokens")
                    self.meter.charge(caller.name, request.method, too_many=too_many, token=token)
                call = Call(self, caller, request, path)
                call.check_route_permission(permission, level)
                reply = view(call)
            except ApiError as no:
                reply = error_reply(no)
            response = self._to_response(reply)
            if response.status_code == 304 and is_metered:
                self.meter.refund(caller.name)
            response.headers.update(self.meter.headers(caller.name))
            response.date = self.clock()
            self._log_call(caller.name, response.status_code)
            return response

    def _to_response(self, reply: Reply) -> Response:
        if reply.status in (204, 202) and reply.body is None:
            raw = b"" if reply.status == 204 else b"{}"
        elif reply.text is not None:
            raw = reply.text
        else:
            raw = json.dumps(reply.body, separators=(",", ":")).encode()
        headers = {
            "X-GitHub-Media-Type": "github.v3; format=json",
            "X-Content-Type-Options": "nosniff",
            **reply.headers,
        }
        if request.method == "GET" and reply.status == 200:
            etag = f'W/"{hashlib.blake2b(raw, digest_size=20).hexdigest()}"'
            headers |= {"ETag": etag, "Cache-Control": "private, max-age=60, s-maxage=60"}
            if_none_match = request.headers.get("If-None-Match")
            if if_none_match and etag.removeprefix("W/") in [
                part.strip().removeprefix("W/") for part in if_none_match.split(",")
            ]:
                return Response(status=304, headers=headers)
        return Response(raw, reply.status, headers, content_type=reply.content_type)

    def respond_with_error(self, error: ApiError) -> Response:
        """Respond with an error to a request that no view matches."""

        def raise_error(call: Call) -> Reply:
            raise error

        return self._handle(raise_error, "", "", {})

    def _log_call(self, caller: str, status: int) -> None:
        self.calls.append(CallRecord(request.method, request.path, status, caller, self.clock()))
        self.call_count += 1


def error_reply(error: ApiError) -> Reply:
    """Return GitHub's error object."""
    body: dict[str, Any] = {"message": error.message}
    if error.errors is not None:
        body["errors"] = error.errors
    body |= {"documentation_url": DOCS, "status": str(error.status), **error.extra}
    return Reply(body, error.status, error.headers)
