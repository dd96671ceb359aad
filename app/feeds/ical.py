"""The bytes of an iCalendar become the occurrences of its events.

The law of this file: a feed is somebody else's text, so it is read in a process of its own, which ends after two
seconds of work whatever the text holds (H9).  A rule of repetition can be a line long and take a year.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

LARGEST = 1024 * 1024
"""Bytes of a feed."""
_PATIENCE = 8.0
"""Seconds of the wall clock, for a machine that is busy; the work is counted by the other process."""
_KEPT = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "PYTHONTZPATH", "SYSTEMROOT", "VIRTUAL_ENV")
"""What the other process sees of the environment: no secrets."""


class FeedFault(Exception):
    """The feed cannot be read.  The message says why, and can be shown."""


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One event, once.  Times without a zone are wall clock times of whoever reads; the texts are those of the feed."""

    since: datetime
    until: datetime
    summary: str
    mails: tuple[str, ...]


def occurrences(feed: bytes, since: datetime, until: datetime) -> tuple[Occurrence, ...]:
    """What happens between the two, in order.  Raises FeedFault, and nothing else."""
    if len(feed) > LARGEST:
        raise FeedFault(f"it is larger than {LARGEST} bytes")
    try:
        done = subprocess.run(  # noqa: S603 -- our own module; the feed is its input, not an argument
            [sys.executable, "-m", "app.feeds", since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat()],
            input=feed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
            cwd=Path(__file__).parents[2],
            env={name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONUTF8": "1"},
        )
    except OSError as problem:
        raise FeedFault(f"nothing could be started to read it ({problem.strerror})") from None
    except subprocess.TimeoutExpired:
        raise FeedFault("it takes too long to read: its repetitions ask too much") from None
    if done.returncode < 0:  # ended by the limit that it has set for itself
        raise FeedFault("it takes too long to read: its repetitions ask too much")
    if done.returncode:
        raise FeedFault("it holds an event that cannot be read")
    return _told(json.loads(done.stdout))


def as_json(found: Sequence[Occurrence]) -> list[list[Any]]:
    """Occurrences as plain JSON."""
    return [[one.since.isoformat(), one.until.isoformat(), one.summary, list(one.mails)] for one in found]


def from_json(rows: Sequence[Sequence[Any]]) -> tuple[Occurrence, ...]:
    return tuple(
        Occurrence(datetime.fromisoformat(since), datetime.fromisoformat(until), summary, tuple(mails))
        for since, until, summary, mails in rows
    )


def _told(answer: dict[str, Any]) -> tuple[Occurrence, ...]:
    if fault := answer.get("fault"):
        raise FeedFault(str(fault))
    return from_json(answer["occurrences"])
