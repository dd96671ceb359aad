"""The generic webhook channel: one signed JSON document a message, as docs/channels.md describes it.

The law of this file: a message is serialized to the same bytes on every attempt, so a receiver may compare
them.
"""

from __future__ import annotations

import hmac
import json
from datetime import UTC

from app.ports import Message
from app.safe_http import SafeHttpClient

DOCUMENT_VERSION = 1
"""Version of the document: new fields do not change it; no field is renamed or removed."""

_TIMEOUT_SECONDS = 5.0
"""Timeout of the whole exchange (reliability, H10)."""


class WebhookChannel:
    """Posts a message to an address, signed with `secret` unless that is empty."""

    def __init__(self, outbound: SafeHttpClient, secret: str) -> None:
        self._outbound = outbound
        self._secret = secret

    def send(self, address: str, message: Message) -> None:
        """Deliver a message once.

        2xx is delivered; 408, 425, 429, 5xx and a broken connection are retried; anything else is refused for good.
        """
        body = build_document(message)
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": message.key,
        }
        if self._secret:
            headers["X-Muster-Signature-256"] = sign_body(self._secret, body)
        self._outbound.post(address, body, headers=headers, timeout_seconds=_TIMEOUT_SECONDS)


def build_document(message: Message) -> bytes:
    """Build the posted document: JSON in UTF-8, keys sorted, without spaces."""
    found = {
        "version": DOCUMENT_VERSION,
        "key": message.key,
        "kind": message.kind,
        "severity": message.severity,
        "subject": message.subject,
        "text": message.text,
        "link": message.link,
        "to": list(message.to),
        "at": message.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "incident": {"id": message.incident, "repository": message.repository, "number": message.number},
    }
    return json.dumps(found, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def sign_body(secret: str, body: bytes) -> str:
    """Return the value of `X-Muster-Signature-256`, computed as GitHub signs its webhooks."""
    return "sha256=" + hmac.new(secret.encode(), body, "sha256").hexdigest()
