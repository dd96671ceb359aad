"""Notification channels other than GitHub, one a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from app.channels.webhook import WebhookChannel
from app.core.policy import ChannelConfig as Wanted
from app.core.policy import ChannelKind
from app.ports import DeliveryFailed, Message, NotificationChannel
from app.safe_http import SafeHttpClient

__all__ = ["CHANNEL_TYPES", "ChannelRegistry", "WebhookChannel"]

CHANNEL_TYPES: Mapping[ChannelKind, Callable[[SafeHttpClient, str], NotificationChannel]] = {
    ChannelKind.WEBHOOK: WebhookChannel
}
"""The channel class of each kind; it is built from the HTTP client and the secret."""

_ENV_PREFIX = "env:"


class ChannelRegistry:
    """Sends messages through the channels that policies name.

    `environment` holds the values that `env:NAME` in a policy refers to.
    """

    def __init__(self, outbound: SafeHttpClient | None = None, environment: Mapping[str, str] | None = None) -> None:
        self._outbound = outbound or SafeHttpClient()
        self._environment = environment or {}

    def send(self, channel: Wanted, message: Message) -> None:
        """Deliver a message once.

        Raises DeliveryFailed, with a message that can be shown, and nothing else.
        """
        address, secret = self._resolve_env(channel.url), self._resolve_env(channel.secret)
        CHANNEL_TYPES[channel.kind](self._outbound, secret).send(address, message)

    def _resolve_env(self, text: str) -> str:
        """Resolve `env:NAME` to the value of that variable; raises DeliveryFailed where it is not set."""
        if not text.startswith(_ENV_PREFIX):
            return text
        found = self._environment.get(text.removeprefix(_ENV_PREFIX), "")
        if not found:
            raise DeliveryFailed(
                f"{text}: whoever runs Muster has set no such variable for a channel", retry_after=None
            )
        return found
