"""Where notices go beside the issue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app.core.policy.escalation import Via


class ChannelKind(Enum):
    """What stands at the other end, and so how it is spoken to."""

    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Channel:
    """A way out beside the comment on the issue: it carries every notice whose `via` it serves.

    `url` and `secret` may be `env:NAME`, a variable that whoever runs Muster has set; a `secret` always is.
    """

    url: str
    secret: str
    kind: ChannelKind = ChannelKind.WEBHOOK
    serves: tuple[Via, ...] = (Via.WEBHOOK,)
