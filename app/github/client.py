"""REST client for GitHub: authentication, rate limiting, paging, and the classification of failures."""

from __future__ import annotations

import copy
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Self

import certifi
import httpx
from prometheus_client import Counter

from app.github.auth import AppKey, InstallationTokens, PlainToken
from app.github.circuit_breaker import CircuitBreaker
from app.ports import ConnectionFailed, Deferred, DeliveryFailed, NotFound, RateLimiter
from app.rate_limit import APP, READ_METHODS, Budget, MemoryRateLimiter, Priority, WaitSlots

CALLS = Counter("muster_github_calls", "Calls to GitHub's API", ["method", "status"])

_TIMEOUT_SECONDS = 15.0
"""Timeout of one request in seconds: half the lease of an outbox item."""
_SUSPENSION_RETRY_SECONDS = 900.0
"""Seconds until a suspended installation is tried again."""
_GONE_RETRY_SECONDS = 60.0
"""Seconds until GitHub is asked again for a token of an installation that it does not know."""
_MISSING_PERMISSION = "Resource not accessible by integration"
"""Part of GitHub's answer where the token of an App lacks a permission."""
_MAX_WAIT_SECONDS = 3.0
"""Longest wait in place for the rate limiter, in seconds; beyond that the outbox item is deferred."""
_GATEWAY_TIMEOUT_STATUS = 504
"""Status of a gateway timeout: the server behind the gateway may still carry out the request."""
_NOT_SENT_ERRORS = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors before a connection existed, so that the request cannot have arrived."""
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
    """

    __slots__ = ("wire",)

    def __new__(cls, name: str, repository_id: int, rest: str) -> Self:
        """Return the path `rest` of that repository; without an id it is sent to the name."""
        path = super().__new__(cls, f"/repos/{name}{rest}")
        path.wire = f"/repositories/{repository_id}{rest}" if repository_id else str(path)
        return path

    wire: str


@cache
def _tls_context() -> ssl.SSLContext:
    """Return the TLS context for GitHub, cached because loading the certificates is slow."""
    return ssl.create_default_context(cafile=certifi.where())


class Client:
    """Calls GitHub's API as the App and its installations, or with a plain token.

    With a plain token every installation is the same, and calls that only an App may make are refused.  `clock` dates
    the tokens.  `rate_limiter` is asked before each call, and `sleep` waits for a turn that is near; None: no limit
    but the pauses that GitHub asks for.  Raises DeliveryFailed, and nothing else but what the rate limiter raises.
    """

    def __init__(
        self,
        api_url: str,
        key: AppKey | PlainToken,
        clock: Callable[[], datetime],
        transport: httpx.BaseTransport | None = None,
        rate_limiter: RateLimiter | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        # githubkit loads slower than all else together: here only processes with a client pay, and no call waits.
        from app.github.http import HttpClient  # noqa: PLC0415

        self._key = key
        self._clock = clock
        inner = transport or httpx.HTTPTransport(
            verify=_tls_context(), limits=httpx.Limits(max_keepalive_connections=20)
        )
        self._http = HttpClient(api_url.rstrip("/"), CircuitBreaker(inner, clock), _TIMEOUT_SECONDS)
        self._tokens = InstallationTokens(self._request_token)
        self._rate_limiter: RateLimiter = rate_limiter or MemoryRateLimiter()
        self._sleep = sleep
        self._wait_slots = WaitSlots()
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

        Raises Deferred while GitHub limits or suspends the installation, InstallationGone when there is no such one.
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
        except _InstallationSuspended as suspended:
            wait = self._rate_limiter.record_limit(installation, _SUSPENSION_RETRY_SECONDS, self._clock())
            raise Deferred(str(suspended), retry_after=wait) from None

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
                    raise Deferred(f"{method} {path}: its turn comes in {wait:.1f} s at the earliest", retry_after=wait)
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
            raise _no_response_error(method, path, failed, timed_out=isinstance(failed, RequestTimeout)) from None
        finally:
            if budget is not None or method not in READ_METHODS:
                self._rate_limiter.record_response(installation, method, budget, self._clock())
        CALLS.labels(method, response.status_code).inc()
        if response.status_code in (301, 302, 307, 308):
            raise Moved(f"{method} {path}: GitHub answered {response.status_code}, it has moved")
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


class _InstallationSuspended(DeliveryFailed):
    """The installation is suspended."""


def _no_response_error(method: str, path: str, failed: Exception, *, timed_out: bool) -> DeliveryFailed:
    """Return the error for a request without a response.

    A write that was sent may have arrived, or arrive later, so its outcome has to be looked up before a retry.
    """
    if isinstance(failed.__cause__, _NOT_SENT_ERRORS):
        return ConnectionFailed(f"{method} {path} did not get through", retry_after=0)
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
    status = response.status_code
    text = f"{method} {path}: GitHub answered {status}: {_error_message(response)}"
    if status == 401:
        return _Unauthorized(text, retry_after=60)
    if status in (403, 429) and (_retry_after_seconds(response, now) is not None or _is_rate_limit_response(response)):
        return _RateLimited(text, retry_after=_retry_after_seconds(response, now))
    if status == 403 and "suspended" in text:
        return _InstallationSuspended(text, retry_after=_SUSPENSION_RETRY_SECONDS)
    if status in (404, 410):
        return NotFound(text)
    if status >= 500:
        is_write = method not in READ_METHODS
        return DeliveryFailed(
            text,
            retry_after=0,
            outcome_unknown=is_write,
            may_still_arrive=is_write and status == _GATEWAY_TIMEOUT_STATUS,
        )
    return DeliveryFailed(text, retry_after=None)


def _retry_after_seconds(response: Any, now: datetime) -> float | None:
    """Return the seconds to wait after a rate limit: Retry-After, else the reset time; None if neither is given."""
    headers = response.headers
    if _is_number(after := headers.get("retry-after", "")):
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and _is_number(headers.get("x-ratelimit-reset", "")):
        return max(1.0, float(headers["x-ratelimit-reset"]) - now.timestamp())
    return None


def _is_rate_limit_response(response: Any) -> bool:
    return response.status_code == 429 or "secondary rate limit" in _error_message(response).lower()


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
