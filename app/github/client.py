"""Calls to GitHub's API, and what their failures mean."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

import certifi
import httpx
from githubkit import GitHub, TokenAuthStrategy
from githubkit.exception import RequestError, RequestFailed, RequestTimeout
from prometheus_client import Counter

from app.github.auth import AppKey, InstallationTokens, PlainToken
from app.github.budget import Budgets
from app.ports import DeliveryFailed, Gone

CALLS = Counter("muster_github_calls", "Calls to GitHub's API", ["method", "status"])

_TIMEOUT = 15.0
"""Seconds (reliability, section 2)."""
_SUSPENDED = 900.0
"""Seconds until we look again whether an installation lets us in again."""
_PAGES = 50
"""At most so many pages of a list, 100 rows each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What GitHub said.  `body` is plain JSON; `unchanged` is its 304."""

    status: int
    body: Any
    headers: Mapping[str, str]

    @property
    def unchanged(self) -> bool:
        return self.status == 304


@cache
def _trusted() -> ssl.SSLContext:
    """Whom we believe to be GitHub; reading the certificates takes a while."""
    return ssl.create_default_context(cafile=certifi.where())


class _Kept(httpx.BaseTransport):
    """One pool of connections for every client: githubkit opens and closes a client for each call."""

    def __init__(self) -> None:
        self._inner = httpx.HTTPTransport(
            verify=_trusted(), retries=0, limits=httpx.Limits(max_keepalive_connections=20)
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return self._inner.handle_request(request)

    def close(self) -> None:
        """The pool outlives the client."""

    def end(self) -> None:
        self._inner.close()


class Client:
    """GitHub's API as this App sees it, or as whoever a plain token stands for.

    `clock` tells the time that tokens are made with.  With a plain token every installation is the same, and what only
    an App may ask is refused.  Raises DeliveryFailed, and nothing else.
    """

    def __init__(
        self,
        api_url: str,
        key: AppKey | PlainToken,
        clock: Callable[[], datetime],
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._api_url = api_url.rstrip("/")
        self._key = key
        self._clock = clock
        self._pool = None if transport else _Kept()
        self._transport = transport or self._pool
        self._tokens = InstallationTokens(self._new_token)
        self._quiet_until: dict[int, datetime] = {}
        self.budgets = Budgets()

    def close(self) -> None:
        """End the connections that were kept."""
        if self._pool is not None:
            self._pool.end()

    @property
    def app_id(self) -> int:
        """The App that we are; 0 with a plain token, which is nobody's App."""
        return self._key.app_id if isinstance(self._key, AppKey) else 0

    def call(
        self,
        installation: int,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        etag: str = "",
    ) -> Answer:
        """One call as that installation; none while GitHub has asked it for quiet.

        A token that GitHub no longer takes is renewed once.
        """
        self._keep_quiet(installation, method, path)
        token = self._tokens.of(installation, self._clock())
        try:
            answer = self._send(token, method, path, json, params, etag)
        except _Unauthorized:
            self._tokens.forget(installation, token)
            token = self._tokens.of(installation, self._clock())
            answer = self._send(token, method, path, json, params, etag)
        except _Limited as limited:
            self._quiet_until[installation] = self._clock() + timedelta(seconds=limited.retry_after or 0)
            raise
        self.budgets.saw(installation, answer.headers)
        return answer

    def pages(
        self, installation: int, path: str, params: Mapping[str, str | int] | None = None, *, key: str = ""
    ) -> Iterator[Any]:
        """The rows of a list, page after page; `key` names them where the answer is an object."""
        for page in range(1, _PAGES + 1):
            answer = self.call(installation, "GET", path, params={**(params or {}), "per_page": 100, "page": page})
            yield from answer.body[key] if key else answer.body
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def as_app(self, method: str, path: str, *, params: Mapping[str, str | int] | None = None) -> Answer:
        """One call as the App itself."""
        if isinstance(self._key, PlainToken):
            raise DeliveryFailed(f"{method} {path}: only a GitHub App may ask this", retry_after=None)
        return self._send(self._key.token(self._clock()), method, path, None, params, "")

    def installations(self) -> Iterator[int]:
        """The installations that let this App in; a suspended one does not."""
        for page in range(1, _PAGES + 1):
            answer = self.as_app("GET", "/app/installations", params={"per_page": 100, "page": page})
            yield from (row["id"] for row in answer.body if not row.get("suspended_at"))
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def _keep_quiet(self, installation: int, method: str, path: str) -> None:
        until = self._quiet_until.get(installation)
        if until is None:
            return
        left = (until - self._clock()).total_seconds()
        if left > 0:
            raise DeliveryFailed(
                f"{method} {path}: GitHub asked for quiet until {until:%H:%M:%S} UTC", retry_after=left
            )
        self._quiet_until.pop(installation, None)

    def _new_token(self, installation: int) -> tuple[str, datetime]:
        if isinstance(self._key, PlainToken):
            return self._key.text, datetime.max.replace(tzinfo=UTC)
        answer = self.as_app("POST", f"/app/installations/{installation}/access_tokens")
        expires = datetime.fromisoformat(answer.body["expires_at"])
        return answer.body["token"], expires.astimezone(UTC)

    def _send(
        self,
        token: str,
        method: str,
        path: str,
        json: Mapping[str, Any] | None,
        params: Mapping[str, str | int] | None,
        etag: str,
    ) -> Answer:
        github = GitHub(
            TokenAuthStrategy(token),
            base_url=self._api_url,
            transport=self._transport,
            timeout=_TIMEOUT,
            http_cache=False,
            auto_retry=False,
            follow_redirects=False,
            user_agent="muster",
        )
        headers = {"If-None-Match": etag} if etag else None
        try:
            response = github.request(method, path, json=json, params=params, headers=headers)
        except RequestFailed as failed:
            CALLS.labels(method, failed.response.status_code).inc()
            raise _meaning(method, path, failed.response, self._clock()) from None
        except (RequestTimeout, RequestError) as failed:
            CALLS.labels(method, "none").inc()
            # Nobody knows whether a write arrived, so it is looked for before it is tried again.
            what = "timed out" if isinstance(failed, RequestTimeout) else "did not get through"
            raise DeliveryFailed(f"{method} {path} {what}", retry_after=5, uncertain=method != "GET") from None
        CALLS.labels(method, response.status_code).inc()
        if response.status_code in (301, 302, 307, 308):
            raise Moved(f"{method} {path}: GitHub answered {response.status_code}, it has moved")
        return Answer(response.status_code, _body(method, path, response), dict(response.headers))


class Moved(Gone):
    """It answers under another address now: the issue was transferred, or the repository renamed."""


class _Unauthorized(DeliveryFailed):
    """GitHub does not take this token any more."""


class _Limited(DeliveryFailed):
    """A rate limit was met: nothing more may be asked by that installation for a while."""


def _body(method: str, path: str, response: Any) -> Any:
    if response.status_code in (204, 304):
        return None
    try:
        return response.json()
    except ValueError:
        # Something between GitHub and us answered in its place.
        raise DeliveryFailed(
            f"{method} {path}: the answer is not JSON", retry_after=5, uncertain=method != "GET"
        ) from None


def _meaning(method: str, path: str, response: Any, now: datetime) -> DeliveryFailed:
    status = response.status_code
    text = f"{method} {path}: GitHub answered {status}: {_message(response)}"
    if status == 401:
        return _Unauthorized(text, retry_after=60)
    if wait := _limit(response, now):
        return _Limited(text, retry_after=wait)
    if status == 403 and "suspended" in text:
        return DeliveryFailed(text, retry_after=_SUSPENDED)
    if status in (404, 410):
        return Gone(text)
    if status >= 500:
        return DeliveryFailed(text, retry_after=5, uncertain=method != "GET")
    return DeliveryFailed(text, retry_after=None)


def _limit(response: Any, now: datetime) -> float | None:
    """Seconds to wait when a rate limit was met: Retry-After, else the reset, else a minute (product page, section 3)."""
    if response.status_code not in (403, 429):
        return None
    headers = response.headers
    if (after := headers.get("retry-after", "")).isdigit():
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and headers.get("x-ratelimit-reset", "").isdigit():
        return max(1.0, float(headers["x-ratelimit-reset"]) - now.timestamp())
    return 60.0 if response.status_code == 429 or "secondary rate limit" in _message(response).lower() else None


def _message(response: Any) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("message", ""))[:200] if isinstance(body, dict) else ""
