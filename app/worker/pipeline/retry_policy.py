"""How long we wait for the other side, and when we stop."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

LONGEST_WAIT = 60.0
"""Seconds between two tries at most, unless the other side asks for more."""

LONGEST_UNREACHED = 8.0
"""Where there is no connection at all: then fifty comments, a second apart, are written within a minute of its return (C1)."""
_SPREAD = 0.25
_TRIES = 8
_PATIENCE = timedelta(days=1)
"""What still fails after so many tries and so long is set aside: an outage of GitHub's may last for hours (C1)."""


def backoff(failures: int, key: str, first: float, longest: float = LONGEST_WAIT) -> float:
    """Seconds to wait after so many failures, from 1: `first`, or up to a quarter more, and each wait twice the one before.

    None is longer than `longest`.
    How much more follows from `key`, so that those who failed together do not come back together, and a wait is never
    less than twice the one before.
    """
    share = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") / 2**32
    wait = min(longest / (1 + _SPREAD), first * 2.0 ** min(max(failures, 1) - 1, 16))
    return wait * (1 + _SPREAD * share)


def exhausted(attempts: int, since: datetime, now: datetime) -> bool:
    """Whether it has been tried often enough, and for long enough."""
    return attempts >= _TRIES and now - since >= _PATIENCE
