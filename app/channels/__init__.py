"""Notification channels other than GitHub, one a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from app.channels.webhook import WebhookChannel
from app.core.policy import ENV_PREFIX, ChannelKind, channel_name
from app.core.policy import ChannelConfig as Wanted
from app.ports import DeliveryFailed, Message, NotificationChannel
from app.safe_http import SafeHttpClient
from app.tenancy import Tenant, channel_address, find_refusal

__all__ = ["CHANNEL_TYPES", "ChannelRegistry", "WebhookChannel"]

CHANNEL_TYPES: Mapping[ChannelKind, Callable[[SafeHttpClient, str], NotificationChannel]] = {
    ChannelKind.WEBHOOK: WebhookChannel
}
"""The channel class of each kind; it is built from the HTTP client and the secret, empty for none."""

log = structlog.get_logger()


class ChannelRegistry:
    """Sends messages through the channels that policies name.

    `variables` are those of the operator's channels: `CHANNEL_<NAME>_URL`, `_SECRET` and `_FOR`.
    """

    def __init__(self, outbound: SafeHttpClient | None = None, variables: Mapping[str, str] | None = None) -> None:
        self._outbound = outbound or SafeHttpClient()
        self._variables = variables or {}

    def send(self, channel: Wanted, message: Message, tenant: Tenant) -> None:
        """Deliver a message of that tenant once.

        Raises DeliveryFailed, with a message that can be shown, and nothing else.
        """
        address, secret = self._resolve(channel, tenant)
        outbound = self._outbound.for_operator() if channel.url.startswith(ENV_PREFIX) else self._outbound
        CHANNEL_TYPES[channel.kind](outbound, secret).send(address, message)

    def _resolve(self, channel: Wanted, tenant: Tenant) -> tuple[str, str]:
        """Return the address and the secret of a channel; raises DeliveryFailed.

        A secret is used with the address it was given with, never with one that a policy names.
        """
        if not channel.url.startswith(ENV_PREFIX):
            if channel.secret:
                raise DeliveryFailed(
                    "its address stands in the policy, and such a message is signed with no secret of the operator:"
                    " take `secret` out, or write `url: env:CHANNEL_NAME`",
                    retry_after=None,
                )
            return channel.url, ""
        name = channel_name(channel.url, part="_URL")
        if not name or (channel.secret and channel_name(channel.secret, part="_SECRET") != name):
            reference = channel.secret if name else channel.url
            raise DeliveryFailed(
                f"{reference} is no name of a channel: write `url: env:CHANNEL_NAME` alone, and let the operator of"
                " Muster set CHANNEL_NAME_URL and CHANNEL_NAME_SECRET",
                retry_after=None,
            )
        address, secret = channel_address(name, self._variables), self._variables.get(f"{name}_SECRET", "")
        refusal = find_refusal(name, self._variables, tenant)
        if not refusal and not (address and secret):
            refusal = f"{name}_URL is not set" if not address else f"{name}_SECRET is not set"
        if refusal:
            log.warning("channel refused", channel=name, repository=tenant.repository, reason=refusal)
            raise DeliveryFailed(
                f"env:{name} is no channel of this repository: only the operator of Muster can set it up for it",
                retry_after=None,
            )
        return address, secret
