"""Configuration of the notification channels beside the issue."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from app.core.policy.escalation import Via

ENV_PREFIX = "env:"
"""What a value begins with that names something of the operator's environment."""

_CHANNEL_REFERENCE = re.compile(r"env:(CHANNEL_[A-Z0-9_]*?)(_URL|_SECRET)?")
_FEED_REFERENCE = re.compile(r"env:(FEED_[A-Z0-9_]+)")
_RESERVED_ENDINGS = ("_URL", "_SECRET", "_SIGNING", "_FOR", "_")
"""Endings of the variables that belong to a channel or feed: a name with such an ending would be ambiguous."""


class ChannelKind(Enum):
    """The kind of receiver, which decides the format of what is sent."""

    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """A way out beside the comment on the issue: it carries every notice whose `via` it serves.

    `url` is an address, or `env:CHANNEL_NAME` for a channel of the operator, whose secret signs what is sent to it.
    """

    url: str
    secret: str = ""
    kind: ChannelKind = ChannelKind.WEBHOOK
    serves: tuple[Via, ...] = (Via.WEBHOOK,)


def channel_name(reference: str, *, part: str) -> str:
    """Return the name of the operator's channel that a `url` or `secret` refers to; empty if it refers to none.

    `part` is the ending that the reference may have: `_URL` or `_SECRET`.
    """
    match = _CHANNEL_REFERENCE.fullmatch(reference)
    if match is None or match[2] not in (None, part) or match[1].endswith(_RESERVED_ENDINGS):
        return ""
    return match[1]


def feed_name(reference: str) -> str:
    """Return the name of the operator's feed that a `feed` refers to; empty if it refers to none."""
    match = _FEED_REFERENCE.fullmatch(reference)
    return match[1] if match is not None and not match[1].endswith(("_FOR", "_")) else ""
