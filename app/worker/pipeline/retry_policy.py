"""Retry policy: exponential backoff with jitter, and the give-up rule."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from enum import Enum, auto

from app.ports import Outlook, Refusal

MAX_RETRY_SECONDS = 60.0
"""Longest wait between two attempts, unless GitHub or the channel asks for more."""

MAX_RECONNECT_SECONDS = 8.0
"""Longest wait between two attempts while there is no connection.

Short, so that fifty comments, a second apart, are written within a minute after the connection returns (C1).
"""
_JITTER_RATIO = 0.25
_MIN_ATTEMPTS = 8
_MIN_RETRY_PERIOD = timedelta(days=1)
"""Retries go on for at least this period and number of attempts before an item becomes a dead letter.

An outage of GitHub may last for hours (C1).
"""


def backoff_seconds(failures: int, key: str, first_seconds: float, max_seconds: float = MAX_RETRY_SECONDS) -> float:
    """Return the seconds to wait after `failures` (counted from 1) failures.

    The wait starts at `first_seconds`, doubles each time, never exceeds `max_seconds`, and is up to a quarter longer.
    That jitter follows from `key`, so items that failed together do not retry together, and below `max_seconds` each
    wait is at least twice the one before.
    """
    jitter = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    seconds = min(max_seconds / (1 + _JITTER_RATIO), first_seconds * 2.0 ** min(max(failures, 1) - 1, 16))
    return seconds * (1 + _JITTER_RATIO * jitter)


class NextStep(Enum):
    """What follows from a failed attempt."""

    RETRY = auto()
    WAIT_FOR_CHANGE = auto()
    """GitHub forbids it until a person changes something: it is tried again seldom, and never given up."""
    GIVE_UP = auto()
    DROP = auto()
    """It is not needed any more."""


def next_step_after_refusal(
    refusal: Refusal, refused_since: datetime | None, now: datetime, *, waits_for_change: bool
) -> NextStep:
    """Return what follows from a refusal; `refused_since` None: the attempt before was not refused.

    `waits_for_change`: what was refused is still wanted however late it is.
    """
    if refusal.outlook is Outlook.FINAL:
        return NextStep.GIVE_UP
    if refusal.outlook is Outlook.UNTIL_CHANGED and waits_for_change:
        return NextStep.WAIT_FOR_CHANGE
    if refused_since is None or now - refused_since < refusal.retry_period:
        return NextStep.RETRY
    return NextStep.WAIT_FOR_CHANGE if waits_for_change else NextStep.GIVE_UP


def should_give_up(attempts: int, since: datetime, now: datetime) -> bool:
    """Return True after enough attempts over a long enough time to give up."""
    return attempts >= _MIN_ATTEMPTS and now - since >= _MIN_RETRY_PERIOD
