"""Wrap githubkit as the HTTP client for GitHub.

githubkit loads slowly, so import this module only where it is used.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from githubkit import GitHub, Response, UnauthAuthStrategy


class HttpClient(GitHub[UnauthAuthStrategy]):
    """A githubkit client that shares one connection pool; githubkit would open a new one for each call.

    No caching, no retries, no redirects.
    """

    def __init__(self, api_url: str, transport: httpx.BaseTransport, timeout: float) -> None:
        """Open the client; `timeout` is in seconds."""
        super().__init__(
            UnauthAuthStrategy(),
            base_url=api_url,
            transport=transport,
            timeout=timeout,
            http_cache=False,
            auto_retry=False,
            follow_redirects=False,
            user_agent="muster",
        )
        self._exit_stack = ExitStack()
        self._client = self._exit_stack.enter_context(super().get_sync_client())

    @contextmanager
    def get_sync_client(self) -> Generator[httpx.Client, None, None]:
        """Yield the shared client, which githubkit would otherwise open and close for each call."""
        yield self._client

    def send(
        self,
        token: str,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        etag: str = "",
    ) -> Response[Any]:
        """Send one request with that token.  Raises githubkit's errors.

        `Bearer` works for every token; the App's own is refused with any other scheme (GitHub's documentation of its
        REST API, authenticating).
        """
        headers = {"Authorization": f"Bearer {token}"}
        if etag:
            headers["If-None-Match"] = etag
        return self.request(method, path, json=json, params=params, headers=headers)

    def close(self) -> None:
        """Close the pooled connections."""
        self._exit_stack.close()
