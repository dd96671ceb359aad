"""The registration of the app on the sandbox GitHub."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PERMISSIONS = {
    "metadata": "read",
    "issues": "write",
    "contents": "write",
    "pull_requests": "write",
    "checks": "write",
    "deployments": "read",
    "members": "read",
}
EVENTS = ["issues", "issue_comment", "pull_request", "push", "label", "milestone", "repository"]


@dataclass
class AppRegistration:
    """The data of a registered app: id, key, webhook secret, permissions and events."""

    app_id: int
    slug: str
    name: str
    private_key_pem: str
    webhook_secret: str
    client_id: str
    permissions: dict[str, str] = field(default_factory=lambda: dict(PERMISSIONS))
    events: list[str] = field(default_factory=lambda: list(EVENTS))
    hook_id: int = 4711
    created_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)

    @classmethod
    def generate(
        cls,
        slug: str = "muster",
        *,
        app_id: int = 1001,
        webhook_secret: str | None = None,
        permissions: dict[str, str] | None = None,
        events: list[str] | None = None,
    ) -> AppRegistration:
        """Generate an app with a new key pair; all other defaults but the webhook secret are constant."""
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(
            app_id=app_id,
            slug=slug,
            name=slug.replace("-", " ").title(),
            private_key_pem=pem.decode(),
            webhook_secret=webhook_secret or secrets.token_hex(24),
            client_id=f"Iv23li{app_id:014d}",
            permissions=dict(permissions or PERMISSIONS),
            events=list(events or EVENTS),
        )

    @property
    def public_key_pem(self) -> str:
        """The public key that belongs to the private key."""
        key = serialization.load_pem_private_key(self.private_key_pem.encode(), password=None)
        return (
            key.public_key()
            .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
            .decode()
        )
