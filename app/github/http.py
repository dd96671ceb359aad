"""githubkit as we use it.  It takes long to load, so whoever needs it loads this where it is needed."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import httpx
from githubkit import GitHub, Response, UnauthAuthStrategy


class Kit(GitHub[UnauthAuthStrategy]):
    """One client with its connections for everybody, for as long as it lives; githubkit makes one for each call.

    Nothing is cached, nothing is tried again, no redirect is followed.
    """

    def __init__(self, api_url: str, transport: httpx.BaseTransport, timeout: float) -> None:
        """`timeout` in seconds."""
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
        self._open = ExitStack()
        self._client = self._open.enter_context(super().get_sync_client())

    @contextmanager
    def get_sync_client(self) -> Generator[httpx.Client, None, None]:
        yield self._client

    def ask(
        self,
        token: str,
        method: str,
        path: str,
        *,
        json: Mapping[str, Any] | None = None,
        params: Mapping[str, str | int] | None = None,
        etag: str = "",
    ) -> Response[Any]:
        """One call by whoever holds that token.  Raises githubkit's errors.

        `Bearer` goes for every token; the App's own is refused with anything else (GitHub's documentation of its REST API,
        authenticating).
        """
        headers = {"Authorization": f"Bearer {token}"}
        if etag:
            headers["If-None-Match"] = etag
        return self.request(method, path, json=json, params=params, headers=headers)

    def close(self) -> None:
        """End the connections that were kept."""
        self._open.close()
