"""REST client for GitHub: authentication, rate limiting, paging, and the classification of failures."""

from __future__ import annotations

import copy
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import httpx
from prometheus_client import Counter

from app.github.auth import AppKey, InstallationTokens, PlainToken
from app.github.circuit_breaker import CircuitBreaker
from app.github.endpoint import Endpoint
from app.github.refusals import CallKind, is_deletion, kind_of, read_refusal
from app.outgoing import Outgoing
from app.ports import ConnectionFailed, Deferred, DeliveryFailed, NotFound, Outlook, RateLimiter, Refusal
from app.rate_limit import APP, READ_METHODS, Budget, MemoryRateLimiter, Priority, WaitSlots

CALLS = Counter("muster_github_calls", "Calls to GitHub's API", ["method", "status"])

_TIMEOUT_SECONDS = 15.0
"""Timeout of one request in seconds: half the lease of an outbox item."""
_GONE_RETRY_SECONDS = 60.0
"""Seconds until GitHub is asked again for a token of an installation that it does not know."""
_MISSING_PERMISSION = "Resource not accessible by integration"
"""Part of GitHub's answer where the token of an App lacks a permission."""
_MAX_WAIT_SECONDS = 3.0
"""Longest wait in place for the rate limiter, in seconds; beyond that the outbox item is deferred."""
_GATEWAY_TIMEOUT_STATUS = 504
"""Status of a gateway timeout: the server behind the gateway may still carry out the request."""
_NOT_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError)
"""Errors before a connection existed, so that the request cannot have arrived."""
_MAX_ERROR_DETAILS = 3
"""How many field errors of an invalid request are kept in the error's text."""
MAX_PAGES = 50
"""Maximum number of pages read from one list, 100 rows each."""


@dataclass(frozen=True, slots=True)
class ApiResponse:
    """A response of GitHub's API.  `body` is plain JSON, None for 204 and 304."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def not_modified(self) -> bool:
        """Return True if GitHub answered 304, so the resource still matches the etag that was sent."""
        return self.status == 304


class RepositoryPath(str):
    """A path below a repository: messages show the repository's name, and the request is sent to its id.

    A name may belong to another repository tomorrow, an id never does.  `wire` is the path that is sent.
    `names_issue`: a redirect means that the issue was transferred, because the id of a repository does not move.
    """

    __slots__ = ("names_issue", "wire")

    def __new__(cls, name: str, repository_id: int, rest: str) -> Self:
        """Return the path `rest` of that repository; without an id it is sent to the name."""
        path = super().__new__(cls, f"/repos/{name}{rest}")
        path.wire = f"/repositories/{repository_id}{rest}" if repository_id else str(path)
        path.names_issue = bool(repository_id) and re.match(r"/issues/\d", rest) is not None
        return path

    names_issue: bool
    wire: str


class Client:
    """Calls GitHub's API as the App and its installations, or with a plain token.

    With a plain token every installation is the same, and calls that only an App may make are refused.  `clock` dates
    the tokens.  `rate_limiter` is asked before each call, and `sleep` waits for a turn that is near; None: no limit
    but the pauses that GitHub asks for.  `outgoing` names the operator's certificates and proxy.

    Raises DeliveryFailed, and nothing else but what the rate limiter raises.
    """

    def __init__(
        self,
        api_url: str,
        key: AppKey | PlainToken,
        clock: Callable[[], datetime],
        transport: httpx.BaseTransport | None = None,
        rate_limiter: RateLimiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
        *,
        outgoing: Outgoing = Outgoing(),  # noqa: B008 - it is frozen
    ) -> None:
        # githubkit loads slower than all else together: here only processes with a client pay, and no call waits.
        from app.github.http import HttpClient  # noqa: PLC0415

        self._key = key
        self._clock = clock
        self._endpoint = Endpoint.parse(api_url, outgoing)
        inner = transport or self._endpoint.create_transport()
        self._http = HttpClient(api_url.rstrip("/"), CircuitBreaker(inner, clock), _TIMEOUT_SECONDS)
        self._tokens = InstallationTokens(self._request_token)
        self._rate_limiter: RateLimiter = rate_limiter or MemoryRateLimiter()
        self._sleep = sleep
        self._wait_slots = WaitSlots()
        self._refusals: dict[int, Refusal] = {}
        self.priority = Priority()

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    @property
    def app_id(self) -> int:
        """The id of our App; 0 with a plain token."""
        return self._key.app_id if isinstance(self._key, AppKey) else 0

    @property
    def now(self) -> datetime:
        """The current time of our clock."""
        return self._clock()

    def with_priority(self, priority: Priority) -> Client:
        """Return a copy of this client that calls with the given priority."""
        client = copy.copy(self)
        client.priority = priority
        return client

    def call(
        self,
        installation: int,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        etag: str = "",
    ) -> ApiResponse:
        """Send one request as the installation.

        A token that GitHub refuses is renewed once, and so is one that lacks a permission: for its hour a token keeps
        the permissions that it was made with, so an old one hides what an owner has accepted meanwhile.

        Raises Deferred while GitHub limits or refuses the whole installation, InstallationGone when there is no such
        one.
        """
        self._wait_for_rate_limit(installation, method, path)
        try:
            token = self._tokens.token_for(installation, self._clock())
            try:
                return self._send(installation, token, method, path, json, params, etag)
            except DeliveryFailed as failed:
                if not self._may_help_to_renew(installation, token, failed):
                    raise
                self._tokens.forget(installation, token)
                token = self._tokens.token_for(installation, self._clock())
                self._wait_for_rate_limit(installation, method, path)
                return self._send(installation, token, method, path, json, params, etag)
        except _InstallationRefused as refused:
            wait = self._rate_limiter.record_limit(installation, refused.retry_after, self._clock())
            if refused.refusal is not None:
                self._refusals[installation] = refused.refusal
            raise Deferred(str(refused), retry_after=wait, refusal=refused.refusal) from None

    def _may_help_to_renew(self, installation: int, token: str, failed: DeliveryFailed) -> bool:
        if isinstance(failed, _Unauthorized):
            return True
        if isinstance(self._key, PlainToken) or _MISSING_PERMISSION not in str(failed):
            return False
        return self._tokens.is_renewal_worthwhile(installation, token, self._clock())

    def list_rows(
        self, installation: int, path: str, params: Mapping[str, str | int] | None = None, *, key: str = ""
    ) -> Iterator[Any]:
        """Yield the rows of a list, page by page; `key` names the list where the body is an object."""
        for page in range(1, MAX_PAGES + 1):
            answer = self.call(installation, "GET", path, params={**(params or {}), "per_page": 100, "page": page})
            yield from answer.body[key] if key else answer.body
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def call_as_app(
        self, method: str, path: str, *, params: Mapping[str, str | int] | None = None, etag: str = ""
    ) -> ApiResponse:
        """Send one request as the App itself."""
        if isinstance(self._key, PlainToken):
            raise DeliveryFailed(f"{method} {path}: only a GitHub App may ask this", retry_after=None)
        self._wait_for_rate_limit(APP, method, path)
        return self._send(APP, self._key.token(self._clock()), method, path, None, params, etag)

    def list_installations(self) -> Iterator[int]:
        """Yield the ids of the App's installations, without the suspended ones."""
        for page in range(1, MAX_PAGES + 1):
            answer = self.call_as_app("GET", "/app/installations", params={"per_page": 100, "page": page})
            yield from (row["id"] for row in answer.body if not row.get("suspended_at"))
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def list_installation_accounts(self) -> list[str]:
        """List the accounts on which the App is installed, at most 100, suspended ones with a note."""
        answer = self.call_as_app("GET", "/app/installations", params={"per_page": 100})
        return [
            str((row.get("account") or {}).get("login") or row.get("id"))
            + (" (suspended)" if row.get("suspended_at") else "")
            for row in answer.body
        ]

    def _wait_for_rate_limit(self, installation: int, method: str, path: str) -> None:
        """Wait in place for the rate limiter.

        Raises Deferred if the turn is too far ahead, or if enough threads wait for this installation already.
        """
        if not (wait := self._acquire(installation, method)):
            return
        has_slot = wait <= _MAX_WAIT_SECONDS and self._wait_slots.try_acquire(installation)
        try:
            waited = 0.0
            while wait:
                if not has_slot or waited + wait > _MAX_WAIT_SECONDS:
                    raise Deferred(
                        f"{method} {path}: its turn comes in {wait:.1f} s at the earliest",
                        retry_after=wait,
                        refusal=self._refusals.get(installation),
                    )
                self._sleep(wait)
                waited += wait
                wait = self._acquire(installation, method)
        finally:
            if has_slot:
                self._wait_slots.release(installation)

    def _acquire(self, installation: int, method: str) -> float:
        return self._rate_limiter.acquire(installation, method, self.priority, self._clock())

    def _request_token(self, installation: int) -> tuple[str, datetime]:
        if isinstance(self._key, PlainToken):
            return self._key.text, datetime.max.replace(tzinfo=UTC)
        try:
            answer = self.call_as_app("POST", f"/app/installations/{installation}/access_tokens")
        except NotFound as gone:
            raise InstallationGone(str(gone), retry_after=_GONE_RETRY_SECONDS) from None
        expires = datetime.fromisoformat(answer.body["expires_at"])
        return answer.body["token"], expires.astimezone(UTC)

    def _send(
        self,
        installation: int,
        token: str,
        method: str,
        path: str,
        json: Mapping[str, Any] | None,
        params: Mapping[str, str | int] | None,
        etag: str,
    ) -> ApiResponse:
        from githubkit.exception import RequestError, RequestFailed, RequestTimeout  # noqa: PLC0415

        budget: Budget | None = None
        try:
            wire_path = path.wire if isinstance(path, RepositoryPath) else path
            response = self._http.send(token, method, wire_path, json=json, params=params, etag=etag)
            budget = _budget_from(response.headers)
        except RequestFailed as failed:
            CALLS.labels(method, failed.response.status_code).inc()
            raise self._record_if_rate_limited(
                installation, _error_from(method, path, failed.response, self._clock())
            ) from None
        except (RequestTimeout, RequestError) as failed:
            CALLS.labels(method, "none").inc()
            raise _no_response_error(
                method, path, failed, self._endpoint, timed_out=isinstance(failed, RequestTimeout)
            ) from None
        finally:
            if budget is not None or method not in READ_METHODS:
                self._rate_limiter.record_response(installation, method, budget, self._clock())
        CALLS.labels(method, response.status_code).inc()
        self._refusals.pop(installation, None)
        if response.status_code in (301, 302, 307, 308):
            raise Moved(
                f"{method} {path}: GitHub answered {response.status_code}, it has moved",
                proof="transferred" if isinstance(path, RepositoryPath) and path.names_issue else "",
            )
        return ApiResponse(response.status_code, _json_body(method, path, response), dict(response.headers))

    def _record_if_rate_limited(self, installation: int, failed: DeliveryFailed) -> DeliveryFailed:
        """Record a rate limit with the rate limiter, and return the error with the wait that follows from it."""
        if isinstance(failed, _RateLimited):
            failed.retry_after = self._rate_limiter.record_limit(installation, failed.retry_after, self._clock())
        return failed


class Moved(NotFound):
    """The resource has a new address: the issue was transferred, or the repository renamed."""


class InstallationGone(DeliveryFailed):
    """There is no such installation (any more), which says nothing about the repository or the issue."""


class _Unauthorized(DeliveryFailed):
    """GitHub refused the token."""


class _RateLimited(DeliveryFailed):
    """A rate limit was hit, and the installation has to pause; `retry_after` None: GitHub did not say how long."""


class _InstallationRefused(DeliveryFailed):
    """GitHub refuses the whole installation, such as while it is suspended; ask again after `retry_after`."""


def _no_response_error(
    method: str, path: str, failed: Exception, endpoint: Endpoint, *, timed_out: bool
) -> DeliveryFailed:
    """Return the error for a request without a response.

    A write that was sent may have arrived, or arrive later, so its outcome has to be looked up before a retry.
    """
    if isinstance(failed.__cause__, _NOT_SENT_ERRORS):
        return ConnectionFailed(
            f"{method} {path} did not get through: {endpoint.describe_failure(failed)}", retry_after=0
        )
    is_write = method not in READ_METHODS
    what = "timed out" if timed_out else "broke off"
    return DeliveryFailed(f"{method} {path} {what}", retry_after=0, outcome_unknown=is_write, may_still_arrive=is_write)


def _json_body(method: str, path: str, response: Any) -> Any:
    if response.status_code in (204, 304):
        return None
    try:
        return response.json()
    except ValueError:
        # Something between GitHub and us, such as a proxy, answered instead.
        raise DeliveryFailed(
            f"{method} {path}: the answer is not JSON", retry_after=0, outcome_unknown=method != "GET"
        ) from None


def _error_from(method: str, path: str, response: Any, now: datetime) -> DeliveryFailed:
    """Return the error for an answer that refuses the call, as the table of refusals reads it."""
    status, message, details = response.status_code, _error_message(response), _error_details(response)
    words = f"{message} ({'; '.join(details)})" if details else message
    text = f"{method} {path}: GitHub answered {status}: {words}"
    if status == 401:
        return _Unauthorized(text, retry_after=60)
    if status in (403, 429) and (_retry_after_seconds(response, now) is not None or _is_rate_limit_response(response)):
        return _RateLimited(text, retry_after=_retry_after_seconds(response, now))
    if status >= 500:
        is_write = method not in READ_METHODS
        return DeliveryFailed(
            text,
            retry_after=0,
            outcome_unknown=is_write,
            may_still_arrive=is_write and status == _GATEWAY_TIMEOUT_STATUS,
        )
    kind = kind_of(method, path)
    refusal = read_refusal(kind, status, message, details)
    if refusal.outlook is Outlook.PARKS:
        return _InstallationRefused(text, retry_after=refusal.max_wait.total_seconds(), refusal=refusal)
    is_final = refusal.outlook is Outlook.FINAL
    if status in (404, 410) and (is_final or kind is not CallKind.PERMISSION):
        proof = "deleted" if kind is CallKind.ISSUE and is_deletion(status, message) else ""
        is_read = method in READ_METHODS
        return NotFound(text, proof=proof, retry_after=None if is_read or is_final else 0, refusal=refusal)
    return DeliveryFailed(text, retry_after=None if is_final else 0, refusal=refusal)


def _retry_after_seconds(response: Any, now: datetime) -> float | None:
    """Return the seconds to wait after a rate limit: Retry-After, else the reset time; None if neither is given."""
    headers = response.headers
    if _is_number(after := headers.get("retry-after", "")):
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and _is_number(headers.get("x-ratelimit-reset", "")):
        return max(1.0, float(headers["x-ratelimit-reset"]) - now.timestamp())
    return None


def _is_rate_limit_response(response: Any) -> bool:
    """Return True if the words say so; "abuse detection mechanism" is the former name of a secondary limit."""
    words = _error_message(response).lower()
    return response.status_code == 429 or "secondary rate limit" in words or "abuse detection mechanism" in words


def _budget_from(headers: Mapping[str, str]) -> Budget | None:
    """Return the hourly budget in the headers; None for other resources, such as search, which have their own."""
    limit, left, reset = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))
    if headers.get("x-ratelimit-resource", "core") != "core":
        return None
    if not all(_is_number(text) for text in (limit, left, reset)):
        return None
    return Budget(int(limit), int(left), datetime.fromtimestamp(int(reset), UTC))


def _is_number(text: str) -> bool:
    """Return True if the text is a whole number that is plausible as a count or a time."""
    return text.isascii() and text.isdigit() and len(text) < 11


def _error_message(response: Any) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("message", ""))[:200] if isinstance(body, dict) else ""


def _error_details(response: Any) -> tuple[str, ...]:
    """Return the field errors of an invalid request, each as the words of its code, field and message."""
    try:
        errors = response.json().get("errors")
    except (AttributeError, ValueError):
        return ()
    if not isinstance(errors, list):
        return ()
    return tuple(
        " ".join(str(error[part]) for part in ("field", "code", "message") if error.get(part))[:200]
        if isinstance(error, dict)
        else str(error)[:200]
        for error in errors[:_MAX_ERROR_DETAILS]
    )
