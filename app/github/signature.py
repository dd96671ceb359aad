"""Whether a delivery is from GitHub: the MAC over its raw bytes."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def signature(secret: str, body: bytes) -> str:
    """The value of X-Hub-Signature-256 for that body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def genuine(secrets: Sequence[str], body: bytes, given: str) -> bool:
    """Whether `given` is the signature of `body` under one of the secrets (two while rotating), in constant time."""
    found = [
        hmac.compare_digest(signature(secret, body).encode(), given.encode("utf-8", "replace")) for secret in secrets
    ]
    return any(found)
