"""Calls to GitHub's API, and what their failures mean."""

from __future__ import annotations

import copy
import ssl
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import certifi
import httpx
from prometheus_client import Counter

from app.github.auth import AppKey, InstallationTokens, PlainToken
from app.github.circuit_breaker import Breaker
from app.ports import DeliveryFailed, Gone, NotYet, Pace, Unreached
from app.rate_limit import ITSELF, READS, Budget, Line, MemoryPace, Urgency

CALLS = Counter("muster_github_calls", "Calls to GitHub's API", ["method", "status"])

_TIMEOUT = 15.0
"""Seconds (reliability, section 2)."""
_SUSPENDED = 900.0
"""Seconds until we look again whether an installation lets us in again."""
_PATIENCE = 3.0
"""Seconds that a call waits in place for its turn; beyond that, its order waits in the outbox."""
_GAVE_UP = 504
"""What a gateway answers that did not wait any longer for those behind it: they may still be at it."""
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""There was no connection, so nothing has arrived."""
PAGES = 50
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


class Client:
    """GitHub's API as this App sees it, or as whoever a plain token stands for.

    `clock` tells the time that tokens are made with.  With a plain token every installation is the same, and what only
    an App may ask is refused.  `pace` is asked before each call, and `wait` passes the time until a turn that is near;
    None: as fast as GitHub allows, with quiet when it asks for that.  Raises DeliveryFailed, and nothing else but what
    the pace raises.
    """

    def __init__(
        self,
        api_url: str,
        key: AppKey | PlainToken,
        clock: Callable[[], datetime],
        transport: httpx.BaseTransport | None = None,
        pace: Pace | None = None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        # It takes longer to load than all else together: who makes no call does without, and no call waits for it.
        from app.github.http import Kit  # noqa: PLC0415

        self._key = key
        self._clock = clock
        wire = transport or httpx.HTTPTransport(verify=_trusted(), limits=httpx.Limits(max_keepalive_connections=20))
        self._kit = Kit(api_url.rstrip("/"), Breaker(wire, clock), _TIMEOUT)
        self._tokens = InstallationTokens(self._new_token)
        self._pace: Pace = pace or MemoryPace()
        self._wait = wait
        self._line = Line()
        self.urgency = Urgency()

    def close(self) -> None:
        """End the connections that were kept."""
        self._kit.close()

    @property
    def app_id(self) -> int:
        """The App that we are; 0 with a plain token, which is nobody's App."""
        return self._key.app_id if isinstance(self._key, AppKey) else 0

    @property
    def now(self) -> datetime:
        """The time by our own clock."""
        return self._clock()

    def urgent(self, urgency: Urgency) -> Client:
        """The same client, calling with that urgency."""
        found = copy.copy(self)
        found.urgency = urgency
        return found

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
        self._take_turn(installation, method, path)
        try:
            token = self._tokens.of(installation, self._clock())
            try:
                return self._send(installation, token, method, path, json, params, etag)
            except _Unauthorized:
                self._tokens.forget(installation, token)
                token = self._tokens.of(installation, self._clock())
                self._take_turn(installation, method, path)
                return self._send(installation, token, method, path, json, params, etag)
        except _Suspended as suspended:
            wait = self._pace.limited(installation, _SUSPENDED, self._clock())
            raise NotYet(str(suspended), retry_after=wait) from None

    def pages(
        self, installation: int, path: str, params: Mapping[str, str | int] | None = None, *, key: str = ""
    ) -> Iterator[Any]:
        """The rows of a list, page after page; `key` names them where the answer is an object."""
        for page in range(1, PAGES + 1):
            answer = self.call(installation, "GET", path, params={**(params or {}), "per_page": 100, "page": page})
            yield from answer.body[key] if key else answer.body
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def as_app(
        self, method: str, path: str, *, params: Mapping[str, str | int] | None = None, etag: str = ""
    ) -> Answer:
        """One call as the App itself."""
        if isinstance(self._key, PlainToken):
            raise DeliveryFailed(f"{method} {path}: only a GitHub App may ask this", retry_after=None)
        self._take_turn(ITSELF, method, path)
        return self._send(ITSELF, self._key.token(self._clock()), method, path, None, params, etag)

    def installations(self) -> Iterator[int]:
        """The installations that let this App in; a suspended one does not."""
        for page in range(1, PAGES + 1):
            answer = self.as_app("GET", "/app/installations", params={"per_page": 100, "page": page})
            yield from (row["id"] for row in answer.body if not row.get("suspended_at"))
            if 'rel="next"' not in answer.headers.get("link", ""):
                return

    def _take_turn(self, installation: int, method: str, path: str) -> None:
        """Wait in place where the turn is near.  Raises NotYet where it is not, or where enough others wait already."""
        if not (wait := self._ask(installation, method)):
            return
        room = wait <= _PATIENCE and self._line.enter(installation)
        try:
            waited = 0.0
            while wait:
                if not room or waited + wait > _PATIENCE:
                    raise NotYet(f"{method} {path}: its turn comes in {wait:.1f} s at the earliest", retry_after=wait)
                self._wait(wait)
                waited += wait
                wait = self._ask(installation, method)
        finally:
            if room:
                self._line.leave(installation)

    def _ask(self, installation: int, method: str) -> float:
        return self._pace.ask(installation, method, self.urgency, self._clock())

    def _new_token(self, installation: int) -> tuple[str, datetime]:
        if isinstance(self._key, PlainToken):
            return self._key.text, datetime.max.replace(tzinfo=UTC)
        answer = self.as_app("POST", f"/app/installations/{installation}/access_tokens")
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
    ) -> Answer:
        from githubkit.exception import RequestError, RequestFailed, RequestTimeout  # noqa: PLC0415

        budget: Budget | None = None
        try:
            response = self._kit.ask(token, method, path, json=json, params=params, etag=etag)
            budget = _budget(response.headers)
        except RequestFailed as failed:
            CALLS.labels(method, failed.response.status_code).inc()
            raise self._heard(installation, _meaning(method, path, failed.response, self._clock())) from None
        except (RequestTimeout, RequestError) as failed:
            CALLS.labels(method, "none").inc()
            raise _unanswered(method, path, failed, timed_out=isinstance(failed, RequestTimeout)) from None
        finally:
            if budget is not None or method not in READS:
                self._pace.ended(installation, method, budget, self._clock())
        CALLS.labels(method, response.status_code).inc()
        if response.status_code in (301, 302, 307, 308):
            raise Moved(f"{method} {path}: GitHub answered {response.status_code}, it has moved")
        return Answer(response.status_code, _body(method, path, response), dict(response.headers))

    def _heard(self, installation: int, failed: DeliveryFailed) -> DeliveryFailed:
        """What it means, after the pace has heard of a limit that was met."""
        if isinstance(failed, _Limited):
            failed.retry_after = self._pace.limited(installation, failed.retry_after, self._clock())
        return failed


class Moved(Gone):
    """It answers under another address now: the issue was transferred, or the repository renamed."""


class _Unauthorized(DeliveryFailed):
    """GitHub does not take this token any more."""


class _Limited(DeliveryFailed):
    """A rate limit was met: nothing more may be asked by that installation for a while, None: GitHub did not say how long."""


class _Suspended(DeliveryFailed):
    """The installation has been suspended, until somebody there thinks better of it."""


def _unanswered(method: str, path: str, failed: Exception, *, timed_out: bool) -> DeliveryFailed:
    """Where nobody knows whether a write arrived, it is looked for before it is tried again."""
    if isinstance(failed.__cause__, _NEVER_SENT):
        return Unreached(f"{method} {path} did not get through", retry_after=0)
    written = method not in READS
    what = "timed out" if timed_out else "broke off"
    return DeliveryFailed(f"{method} {path} {what}", retry_after=0, uncertain=written, late=written)


def _body(method: str, path: str, response: Any) -> Any:
    if response.status_code in (204, 304):
        return None
    try:
        return response.json()
    except ValueError:
        # Something between GitHub and us answered in its place.
        raise DeliveryFailed(
            f"{method} {path}: the answer is not JSON", retry_after=0, uncertain=method != "GET"
        ) from None


def _meaning(method: str, path: str, response: Any, now: datetime) -> DeliveryFailed:
    status = response.status_code
    text = f"{method} {path}: GitHub answered {status}: {_message(response)}"
    if status == 401:
        return _Unauthorized(text, retry_after=60)
    if status in (403, 429) and (_limit(response, now) is not None or _says_nothing_but_limit(response)):
        return _Limited(text, retry_after=_limit(response, now))
    if status == 403 and "suspended" in text:
        return _Suspended(text, retry_after=_SUSPENDED)
    if status in (404, 410):
        return Gone(text)
    if status >= 500:
        written = method not in READS
        return DeliveryFailed(text, retry_after=0, uncertain=written, late=written and status == _GAVE_UP)
    return DeliveryFailed(text, retry_after=None)


def _limit(response: Any, now: datetime) -> float | None:
    """Seconds to wait as the headers say when a rate limit was met: Retry-After, else the reset."""
    headers = response.headers
    if _number(after := headers.get("retry-after", "")):
        return float(after)
    if headers.get("x-ratelimit-remaining") == "0" and _number(headers.get("x-ratelimit-reset", "")):
        return max(1.0, float(headers["x-ratelimit-reset"]) - now.timestamp())
    return None


def _says_nothing_but_limit(response: Any) -> bool:
    return response.status_code == 429 or "secondary rate limit" in _message(response).lower()


def _budget(headers: Mapping[str, str]) -> Budget | None:
    """The hourly budget that an answer tells of; searching, for one, has another."""
    limit, left, reset = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))
    if headers.get("x-ratelimit-resource", "core") != "core":
        return None
    if not all(_number(text) for text in (limit, left, reset)):
        return None
    return Budget(int(limit), int(left), datetime.fromtimestamp(int(reset), UTC))


def _number(text: str) -> bool:
    """Whether it is a whole number that a count or a time can be."""
    return text.isascii() and text.isdigit() and len(text) < 11


def _message(response: Any) -> str:
    try:
        body = response.json()
    except ValueError:
        return ""
    return str(body.get("message", ""))[:200] if isinstance(body, dict) else ""
