"""Escalation steps and first notices of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from app.core.policy.duration import Duration

_FIFTEEN_MINUTES = Duration(seconds=15 * 60)


class Until(Enum):
    """What ends a step (E3).

    `ack` pages the person on call and repeats; `resolved` continues after an acknowledgement.
    """

    ACK = "ack"
    RESOLVED = "resolved"


class Via(Enum):
    """The kind of channel a notice is sent by (E4), in addition to the comment on the issue, which is always posted."""

    PAGER = "pager"
    CHAT = "chat"
    MAIL = "mail"
    WEBHOOK = "webhook"


@dataclass(frozen=True, slots=True)
class Step:
    """One rung of a ladder, counted from the declaration of the incident.

    `to` names contacts, roles, teams or rotations of the policy. `via` empty: the channels of the severity's first
    notice. `repeat` None: notified once. `do` is a request in words, such as "customer communication required".
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

    `via` are the channels of its severity, `within` is the time limit for sending, and `to` names who is notified at
    once beside the people of the escalation steps, such as leadership.
    """

    within: Duration = _FIFTEEN_MINUTES
    via: tuple[Via, ...] = ()
    to: tuple[str, ...] = ()
