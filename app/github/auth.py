"""How we prove who we are: the App's own token, and one token for each installation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

# What signs is imported where it signs: it is slow to load, and a plain token needs none.

_BACK = timedelta(seconds=300)
"""A host whose clock is five minutes off either way is still believed: GitHub refuses a token from the future."""
_AHEAD = timedelta(seconds=300)
_EARLY = timedelta(minutes=5)
"""A token is renewed this long before it ends."""


@dataclass(frozen=True, slots=True)
class AppKey:
    """The App's id and private key."""

    app_id: int
    private_key: str = field(repr=False)

    def token(self, now: datetime) -> str:
        """A JWT that says "I am this App", good for five minutes."""
        import jwt  # noqa: PLC0415

        claims = {
            "iat": int((now - _BACK).timestamp()),
            "exp": int((now + _AHEAD).timestamp()),
            "iss": str(self.app_id),
        }
        return jwt.encode(claims, _read(self.private_key), algorithm="RS256")


@lru_cache(maxsize=8)
def _read(private_key: str) -> RSAPrivateKey:
    """The key behind its text.  Reading checks it, which takes 50 ms: too long for every call of an outage."""
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415

    key = RSAAlgorithm(RSAAlgorithm.SHA256).prepare_key(private_key)
    assert isinstance(key, RSAPrivateKey), "a public key signs nothing"
    return key


@dataclass(frozen=True, slots=True)
class PlainToken:
    """A token as it is given to us, such as the one of a workflow run: used until GitHub refuses it."""

    text: str = field(repr=False)


class InstallationTokens:
    """The tokens of the installations, each asked for once and kept until shortly before its end."""

    def __init__(self, ask: Callable[[int], tuple[str, datetime]]) -> None:
        self._ask = ask
        self._known: dict[int, tuple[str, datetime]] = {}
        self._locks: dict[int, threading.Lock] = {}
        self._lock = threading.Lock()

    def of(self, installation: int, now: datetime) -> str:
        with self._lock:
            lock = self._locks.setdefault(installation, threading.Lock())
        with lock:
            known = self._known.get(installation)
            if known is None or known[1] - _EARLY <= now:
                known = self._known[installation] = self._ask(installation)
            return known[0]

    def forget(self, installation: int, token: str) -> None:
        """That token was refused; the next call asks for a new one."""
        known = self._known.get(installation)
        if known is not None and known[0] == token:
            del self._known[installation]
