"""Create and verify webhook signatures: an HMAC over the raw body."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence


def signature(secret: str, body: bytes) -> str:
    """Return the value of X-Hub-Signature-256 for the body."""
    return "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


def is_valid_signature(secrets: Sequence[str], body: bytes, received: str) -> bool:
    """Return True if `received` is the body's signature under one of the secrets, in constant time.

    There are two secrets while they are rotated.
    """
    matches = [
        hmac.compare_digest(signature(secret, body).encode(), received.encode("utf-8", "replace")) for secret in secrets
    ]
    return any(matches)
