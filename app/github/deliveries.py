"""Read GitHub's list of the webhook deliveries to this App, the only place that shows a missed delivery."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

from app.github.client import ApiResponse, Client
from app.github.tracker import parse_time
from app.ports import DeliveryFailed, NotFound

_PATH = "/app/hook/deliveries"
_RESERVED_FRACTION = 0.2
"""Fraction of the App's hourly calls that catch-up leaves unused, for example for installation tokens."""


@dataclass(frozen=True, slots=True)
class DeliveryAttempt:
    """One delivery attempt.  Attempts of one delivery share the GUID; their ids are not in order of time."""

    id: int
    guid: str
    event: str
    at: datetime
    repo_id: int | None = None


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """One page of the delivery list.

    `next_cursor` is empty on the last page; `unchanged`: the page still matches the etag, and has no rows here.
    """

    rows: tuple[DeliveryAttempt, ...]
    next_cursor: str
    etag: str
    unchanged: bool = False


@dataclass(frozen=True, slots=True)
class DeliveryContent:
    """The content of a delivery: the id of its hook, and the payload."""

    hook: str
    body: bytes


class Deliveries:
    """The delivery list of this App.  Every method may raise DeliveryFailed, and nothing else."""

    def __init__(self, client: Client, clock: Callable[[], datetime]) -> None:
        self._client = client
        self._clock = clock
        self._budget_low_until: datetime | None = None

    def fetch_page(self, cursor: str = "", etag: str = "") -> DeliveryPage:
        """Fetch up to 100 attempts, newest first.

        Without a cursor the first page is fetched; it is `unchanged` if it still matches the etag.
        """
        params: dict[str, str | int] = {"per_page": 100, **({"cursor": cursor} if cursor else {})}
        answer = self._call(_PATH, params, etag)
        if answer.not_modified:
            return DeliveryPage((), "", etag, unchanged=True)
        try:
            rows = tuple(_attempt_from(row) for row in answer.body)
        except (AttributeError, KeyError, TypeError, ValueError) as problem:
            raise DeliveryFailed(f"{_PATH}: not a list of deliveries: {problem!r}", retry_after=60) from None
        return DeliveryPage(rows, _next_cursor(answer.headers), answer.headers.get("etag", ""))

    def fetch_content(self, attempt: DeliveryAttempt) -> DeliveryContent:
        """Fetch the content of an attempt.  Raises NotFound if GitHub no longer keeps it."""
        answer = self._call(f"{_PATH}/{attempt.id}", {}, "")
        request = answer.body.get("request") if isinstance(answer.body, dict) else None
        payload = request.get("payload") if isinstance(request, dict) else None
        if not isinstance(payload, dict):
            raise NotFound(f"{_PATH}/{attempt.id}: its payload is not kept")
        headers = {str(name).lower(): str(value) for name, value in ((request or {}).get("headers") or {}).items()}
        # Written as GitHub writes it: should the webhook still receive it, the bytes are mostly the same.
        return DeliveryContent(
            headers.get("x-github-hook-id", "app"), json.dumps(payload, separators=(",", ":")).encode()
        )

    def check_budget(self) -> None:
        """Raise DeliveryFailed until the hour ends if catch-up has used its part of the App's calls."""
        left = (self._budget_low_until - self._clock()).total_seconds() if self._budget_low_until else 0.0
        if left > 0:
            raise DeliveryFailed(f"{_PATH}: the rest of this hour's calls is kept for others", retry_after=left)

    def _call(self, path: str, params: Mapping[str, str | int], etag: str) -> ApiResponse:
        answer = self._client.call_as_app("GET", path, params=params, etag=etag)
        limit, left, until = (_header_number(answer, name) for name in ("limit", "remaining", "reset"))
        scarce = limit > 0 and left < limit * _RESERVED_FRACTION
        self._budget_low_until = datetime.fromtimestamp(until, self._clock().tzinfo) if scarce else None
        return answer


def _header_number(answer: ApiResponse, name: str) -> int:
    text = answer.headers.get(f"x-ratelimit-{name}", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 12 else 0


def _attempt_from(row: Mapping[str, Any]) -> DeliveryAttempt:
    repo_id = row.get("repository_id")
    return DeliveryAttempt(
        int(row["id"]),
        str(row["guid"]).replace("\0", ""),
        str(row["event"]).replace("\0", ""),
        parse_time(str(row["delivered_at"])),
        int(repo_id) if repo_id is not None else None,
    )


def _next_cursor(headers: Mapping[str, str]) -> str:
    for link in headers.get("link", "").split(","):
        address, _, relation = link.partition(";")
        if 'rel="next"' in relation:
            return next(iter(parse_qs(urlsplit(address.strip(" <>")).query).get("cursor", ())), "")
    return ""
