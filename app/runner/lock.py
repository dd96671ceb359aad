"""One run at a time for each issue, without anything but the issue itself.

The mark is a reaction of ours, of which GitHub keeps one: who sets it is told that it is new, everybody else when it was
set.  Whoever waits in vain has waited for as long as the holder needs to be slow; so a holder who was that slow looks
once more before he leaves, and nobody's event is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta

from app.ports import Claim, DeliveryFailed, Tracker

STALE = timedelta(minutes=10)
"""A mark so old was left by a run that died: none takes so long."""
PATIENCE = timedelta(seconds=45)
"""So long a run waits for another one."""
_STEP = 3.0
"""Seconds between two tries."""


@contextmanager
def held(
    tracker: Tracker, number: int, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> Iterator[bool]:
    """The right to act on that issue; False: another run has it, and kept it for as long as we could wait.

    Raises DeliveryFailed.
    """
    claim = _claimed(tracker, number, clock, sleep)
    try:
        yield claim is not None
    finally:
        if claim is not None:
            _released(tracker, number, claim, sleep)


def _released(tracker: Tracker, number: int, claim: Claim, sleep: Callable[[float], None]) -> None:
    """Whatever happens: what was done is done, and a mark that stays is taken away when it is stale."""
    for wait in (_STEP, 0.0):
        try:
            tracker.release(number, claim.id)
        except DeliveryFailed:
            sleep(wait)
        else:
            return


def _claimed(
    tracker: Tracker, number: int, clock: Callable[[], datetime], sleep: Callable[[float], None]
) -> Claim | None:
    waited = 0.0
    while True:
        claim = tracker.claim(number)
        if claim.ours:
            return claim
        if clock() - claim.at > STALE:
            tracker.release(number, claim.id)
            continue
        if waited >= PATIENCE.total_seconds():
            return None
        sleep(_STEP)
        waited += _STEP


def locked(failed: DeliveryFailed) -> bool:
    """Whether GitHub refused because the conversation is locked, in which nobody may say anything."""
    return "issue is locked" in str(failed)
