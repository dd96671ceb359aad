"""Configuration of the notification channels beside the issue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app.core.policy.escalation import Via


class ChannelKind(Enum):
    """The kind of receiver, which decides the format of what is sent."""

    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """A way out beside the comment on the issue: it carries every notice whose `via` it serves.

    `url` and `secret` may be `env:NAME`, an environment variable set by the operator of Muster; a `secret` always is.
    """

    url: str
    secret: str
    kind: ChannelKind = ChannelKind.WEBHOOK
    serves: tuple[Via, ...] = (Via.WEBHOOK,)
