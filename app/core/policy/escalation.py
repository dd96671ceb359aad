"""Who is told what when nobody acts."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app.core.policy.duration import Duration

_A_QUARTER = Duration(seconds=15 * 60)


class Until(Enum):
    """What ends a step: `ack` pages the person on call and repeats, `resolved` runs on after an acknowledgement (E3)."""

    ACK = "ack"
    RESOLVED = "resolved"


class Via(Enum):
    """The kind of channel that a notice goes out by (E4), beside the comment on the issue, which it always is."""

    PAGER = "pager"
    CHAT = "chat"
    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a ladder, counted from the declaration of the incident.

    `to` names contacts, roles, teams or rotations of the policy; `via` empty: as the first notice of that severity;
    `repeat` None: told once; `do` is asked for in words, such as "customer communication required".
    """

    after: Duration
    to: tuple[str, ...] = ()
    via: tuple[Via, ...] = ()
    until: Until = Until.RESOLVED
    repeat: Duration | None = None
    do: str = ""


@dataclass(frozen=True, slots=True)
class FirstNotice:
    """How word of a new incident spreads (E4).

    `via` are the channels of its severity, `within` is the time they have, and `to` names who hears of it at once beside
    those on the ladder, such as leadership.
    """

    within: Duration = _A_QUARTER
    via: tuple[Via, ...] = ()
    to: tuple[str, ...] = ()
