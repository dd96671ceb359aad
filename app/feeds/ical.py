"""Parse an iCalendar file into the occurrences of its events.

The law of this file: a feed is untrusted, so it is parsed in a subprocess, which ends after two seconds of CPU
time whatever the feed contains (H9).  A recurrence rule may be one line long and take a year to expand.
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

MAX_FEED_BYTES = 1024 * 1024
"""Largest accepted feed."""
_TIMEOUT_SECONDS = 8.0
"""Wall clock timeout, for a busy machine; CPU time is limited by the subprocess itself."""
_PASSED_VARIABLES = ("LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "PYTHONTZPATH", "SYSTEMROOT", "VIRTUAL_ENV")
"""Environment variables passed to the subprocess: no secrets."""


class FeedFault(Exception):
    """The feed cannot be parsed.

    The message says why, and can be shown.
    """


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One occurrence of an event.

    Times without a zone are wall clock times in the zone of the rotation; the texts are those of the feed.
    """

    since: datetime
    until: datetime
    summary: str
    mails: tuple[str, ...]


def read_occurrences(feed: bytes, since: datetime, until: datetime) -> tuple[Occurrence, ...]:
    """Parse the events that occur between the two times, in order; raises FeedFault, and nothing else."""
    if len(feed) > MAX_FEED_BYTES:
        raise FeedFault(f"it is larger than {MAX_FEED_BYTES} bytes")
    try:
        done = subprocess.run(  # noqa: S603 -- our own module; the feed is its input, not an argument
            [sys.executable, "-m", "app.feeds", since.astimezone(UTC).isoformat(), until.astimezone(UTC).isoformat()],
            input=feed,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT_SECONDS,
            check=False,
            cwd=Path(__file__).parents[2],
            env={name: os.environ[name] for name in _PASSED_VARIABLES if name in os.environ} | {"PYTHONUTF8": "1"},
        )
    except OSError as problem:
        raise FeedFault(f"nothing could be started to read it ({problem.strerror})") from None
    except subprocess.TimeoutExpired:
        raise FeedFault("it takes too long to read: its repetitions ask too much") from None
    if done.returncode < 0:  # ended by its own resource limit
        raise FeedFault("it takes too long to read: its repetitions ask too much")
    if done.returncode:
        raise FeedFault("it holds an event that cannot be read")
    return _parse_result(json.loads(done.stdout))


def occurrences_to_json(occurrences: Sequence[Occurrence]) -> list[list[Any]]:
    """Convert occurrences to plain JSON."""
    return [[one.since.isoformat(), one.until.isoformat(), one.summary, list(one.mails)] for one in occurrences]


def occurrences_from_json(rows: Sequence[Sequence[Any]]) -> tuple[Occurrence, ...]:
    """Convert plain JSON back to occurrences."""
    return tuple(
        Occurrence(datetime.fromisoformat(since), datetime.fromisoformat(until), summary, tuple(mails))
        for since, until, summary, mails in rows
    )


def _parse_result(answer: dict[str, Any]) -> tuple[Occurrence, ...]:
    if fault := answer.get("fault"):
        raise FeedFault(str(fault))
    return occurrences_from_json(answer["occurrences"])
