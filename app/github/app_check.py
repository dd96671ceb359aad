"""Ask GitHub which App this is, at the start and until it answers: an operator's first mistakes show there."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from app.github.client import Client
from app.ports import DeliveryFailed

log = structlog.get_logger()

_RETRY_SECONDS = 60.0
"""Time until GitHub is asked again after a failure."""
_RECHECK_SECONDS = 3600.0
"""Time until GitHub is asked again after it answered."""
_MAX_NAMED_INSTALLATIONS = 10


@dataclass(frozen=True, slots=True)
class AppIdentity:
    """What GitHub says about this App: its slug, and the accounts on which it is installed."""

    slug: str
    installations: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """Who this is, in a line for the log."""
        names = ", ".join(self.installations[:_MAX_NAMED_INSTALLATIONS]) or "none yet"
        more = len(self.installations) - _MAX_NAMED_INSTALLATIONS
        return f"this is the App {self.slug}; installed on: {names}{f' and {more} more' if more > 0 else ''}"


def identify_app(client: Client) -> AppIdentity:
    """Ask GitHub which App this is.  Raises DeliveryFailed, with a sentence for the operator."""
    app = client.call_as_app("GET", "/app").body
    if not isinstance(app, dict) or not isinstance(app.get("slug"), str):
        raise DeliveryFailed(
            "what answers under GITHUB_API_URL is not GitHub's API; it is https://api.github.com, or ends with /api/v3"
            " on GitHub Enterprise Server",
            retry_after=60,
        )
    accounts = client.list_installation_accounts()
    return AppIdentity(app["slug"], tuple(accounts))


class AppCheck:
    """Checks in the background that GitHub knows this App.

    `problem` is why it does not, a sentence for the operator; empty: it does, or was not asked yet.
    """

    def __init__(
        self,
        client: Client,
        *,
        retry_seconds: float = _RETRY_SECONDS,
        on_identified: Callable[[AppIdentity], None] = lambda _: None,
    ) -> None:
        self._client = client
        self._retry_seconds = retry_seconds
        self._on_identified = on_identified
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="app-check", daemon=True)
        self.problem = ""

    def start(self) -> AppCheck:
        """Start checking in a background thread; the door is open meanwhile."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop checking; a call that is running is not waited for."""
        self._stop.set()

    def check_once(self) -> bool:
        """Ask GitHub once; return True if it knows this App."""
        try:
            identity = identify_app(self._client)
        except DeliveryFailed as failed:
            problem = f"GitHub does not know this App, or cannot be asked: {explain_failure(failed)}"
            if problem != self.problem:
                log.error("app not identified", reason=problem)
            self.problem = problem
            return False
        log.info("app identified", app=identity.sentence)
        self._on_identified(identity)
        self.problem = ""
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            known = False
            try:
                known = self.check_once()
            except Exception:
                log.exception("app check failed")
            self._stop.wait(_RECHECK_SECONDS if known else self._retry_seconds)


def explain_failure(failed: DeliveryFailed) -> str:
    """Say what an operator can do about a failed call of the App, after what happened."""
    text = str(failed)
    if "GitHub answered 401" in text:
        return (
            f"{text}. GITHUB_APP_ID and the private key do not belong together, the key was revoked,"
            " or the clock of this host is wrong"
        )
    if "GitHub answered 404" in text or "not JSON" in text:
        return (
            f"{text}. GITHUB_API_URL is not that of GitHub's API: https://api.github.com, or an address that ends with"
            " /api/v3 on GitHub Enterprise Server"
        )
    return text
