"""Read one feed from standard input and print its occurrences as JSON, as a subprocess of `app.feeds.ical`."""

from __future__ import annotations

import contextlib
import json
import signal
import sys
from datetime import datetime

try:
    import resource
except ImportError:  # not available on Windows
    resource = None  # type: ignore[assignment]

from app.feeds.ical import MAX_FEED_BYTES, FeedFault, occurrences_to_json
from app.feeds.ical_events import find_occurrences

_MAX_CPU_SECONDS = 2.0
"""CPU time, far longer than any legitimate feed takes, even on a slow machine."""
_MAX_MEMORY_BYTES = 768 * 1024 * 1024


def main() -> int:
    """Parse the feed.

    The process is ended by a signal when parsing takes too long, and by exit code 1 when the feed cannot be parsed.
    """
    since, until = (datetime.fromisoformat(text) for text in sys.argv[1:3])
    _limit_resources()
    try:
        found = {
            "occurrences": occurrences_to_json(
                find_occurrences(sys.stdin.buffer.read(MAX_FEED_BYTES + 1), since, until)
            )
        }
    except FeedFault as fault:
        print(json.dumps({"fault": str(fault)}))  # noqa: T201 -- the result
        return 0
    print(json.dumps(found))  # noqa: T201
    return 0


def _limit_resources() -> None:
    """Limit CPU time and memory; where the system has no such limits, the parent's timeout applies."""
    with contextlib.suppress(AttributeError, OSError, ValueError):
        signal.setitimer(signal.ITIMER_PROF, _MAX_CPU_SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


if __name__ == "__main__":
    sys.exit(main())
