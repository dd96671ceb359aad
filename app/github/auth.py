"""Authenticate to GitHub: the App's own JWT, and one access token per installation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# PyJWT and cryptography are imported where they are used: they load slowly, and a plain token needs neither.

_BACKDATE_PERIOD = timedelta(seconds=300)
"""How far the issue time of a JWT is moved into the past.

GitHub refuses a token issued in the future, so our clock may be up to five minutes fast.
"""
_VALIDITY_PERIOD = timedelta(seconds=300)
"""How long a JWT is valid; our clock may be up to this much slow."""
_RENEWAL_PERIOD = timedelta(minutes=5)
"""How long before its expiry an installation token is renewed."""
_MIN_RENEWAL_INTERVAL = timedelta(seconds=60)
"""Shortest time between two tokens of an installation that are requested for want of a permission."""


@dataclass(frozen=True, slots=True)
class AppKey:
    """The App's id and private key."""

    app_id: int
    private_key: str = field(repr=False)

    def token(self, now: datetime) -> str:
        """Return a JWT that identifies the App, valid for five minutes."""
        import jwt  # noqa: PLC0415

        claims = {
            "iat": int((now - _BACKDATE_PERIOD).timestamp()),
            "exp": int((now + _VALIDITY_PERIOD).timestamp()),
            "iss": str(self.app_id),
        }
        return jwt.encode(claims, _parse_private_key(self.private_key), algorithm="RS256")


@lru_cache(maxsize=8)
def _parse_private_key(private_key: str) -> RSAPrivateKey:
    """Parse and cache a private key.

    Parsing validates the key, which takes 50 ms: too long to repeat for every call of an outage.
    """
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415

    key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(private_key)
    assert isinstance(key, RSAPrivateKey), "a public key signs nothing"
    return key


@dataclass(frozen=True, slots=True)
class PlainToken:
    """A token from outside, such as that of a workflow run; it cannot be renewed, only refused by GitHub."""

    text: str = field(repr=False)


class InstallationTokens:
    """Caches one access token per installation until shortly before it expires.

    May be used from any thread; each installation's token is requested by one thread at a time.
    """

    def __init__(self, request_token: Callable[[int], tuple[str, datetime]]) -> None:
        self._request_token = request_token
        self._tokens: dict[int, tuple[str, datetime]] = {}
        self._renewed_for_permission_at: dict[int, datetime] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def token_for(self, installation: int, now: datetime) -> str:
        """Return a valid token for the installation, requesting a new one if needed."""
        with self._lock:
            lock = self._locks.setdefault(installation, threading.Lock())
        with lock:
            known = self._tokens.get(installation)
            if known is None or known[1] - _RENEWAL_PERIOD <= now:
                known = self._tokens[installation] = self._request_token(installation)
            return known[0]

    def is_renewal_worthwhile(self, installation: int, token: str, now: datetime) -> bool:
        """Return True if a new token may have permissions that this one lacks; True at most once a minute.

        One that another thread has replaced meanwhile is always worth another attempt.
        """
        with self._lock:
            known = self._tokens.get(installation)
            if known is not None and known[0] != token:
                return True
            last = self._renewed_for_permission_at.get(installation)
            if last is not None and last <= now < last + _MIN_RENEWAL_INTERVAL:
                return False
            self._renewed_for_permission_at[installation] = now
            return True

    def forget(self, installation: int, token: str) -> None:
        """Discard a token that GitHub refused, so that the next call requests a new one."""
        known = self._tokens.get(installation)
        if known is not None and known[0] == token:
            del self._tokens[installation]
