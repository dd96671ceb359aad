"""A lock per issue that needs nothing but the issue itself.

The lock is a reaction of ours.  GitHub keeps only one of them: the run that sets it learns that it is new, every other
run learns when it was set.  A run that times out leaves its event to the run that holds the lock: a run that held it
for as long as the timeout makes another pass before it ends, so no event is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from app.ports import DeliveryFailed, IssueLock, Tracker

STALE_LOCK_AGE = timedelta(minutes=10)
"""A lock of this age was left by a run that died: no run takes so long."""
LOCK_TIMEOUT = timedelta(seconds=45)
"""How long a run waits for the lock."""
_POLL_SECONDS = 3.0
"""Seconds between two attempts."""


@contextmanager
def issue_lock(
    tracker: Tracker, number: int, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> Iterator[bool]:
    """Acquire the lock of the issue; False: another run kept it for longer than LOCK_TIMEOUT.

    Raises DeliveryFailed.
    """
    lock = _acquire(tracker, number, clock, sleep)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            _release(tracker, number, lock, sleep)


def _release(tracker: Tracker, number: int, lock: IssueLock, sleep: Callable[[float], None]) -> None:
    """Release the lock, and ignore a failure.

    The work is done at this point, and a lock that remains is removed when it is stale.
    """
    for wait in (_POLL_SECONDS, 0.0):
        try:
            tracker.unlock(number, lock.id)
        except DeliveryFailed:
            sleep(wait)
        else:
            return


def _acquire(
    tracker: Tracker, number: int, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> IssueLock | None:
    """Wait for the lock, replacing a stale one; None: it could not be acquired in time."""
    waited_seconds = 0.0
    while True:
        lock = tracker.lock(number)
        if lock.acquired:
            return lock
        if clock() - lock.created_at > STALE_LOCK_AGE:
            tracker.unlock(number, lock.id)
            continue
        if waited_seconds >= LOCK_TIMEOUT.total_seconds():
            return None
        sleep(_POLL_SECONDS)
        waited_seconds += _POLL_SECONDS
