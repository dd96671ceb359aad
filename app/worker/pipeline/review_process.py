"""Start the process that reviews a proposed policy, end it in time, and read its answer."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import IO, Any

import structlog

import app
from app.policy_file import POLICY_PATH
from app.ports import Annotation
from app.worker.pipeline.review_child import OUT_OF_MEMORY_STATUS, TOO_SLOW_STATUS, ReviewInput, ReviewLimits

log = structlog.get_logger()

_CHILD_MODULE = "app.worker.pipeline.review_child"
_MAX_ANSWER_BYTES = 1024 * 1024
_WATCH_INTERVAL_SECONDS = 0.1
_INHERITED_VARIABLES = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONHOME", "PYTHONTZPATH")
"""What Python itself may need to start.  Everything else stays here: the environment holds our secrets."""


class ReviewFailure(Enum):
    """Why a review came to no answer."""

    TOO_SLOW = "too slow"
    TOO_LARGE = "too large"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class ReviewAnswer:
    """What came of a review.

    `failure` None: `title`, `summary` and `faults` are the review, unless it `needs_organisation`: then the proposal
    builds on the organisation's file, which was not given.  `pages_per_hour` is how often the policy would page, by
    severity, as far as that is known.
    """

    title: str = ""
    summary: str = ""
    faults: tuple[Annotation, ...] = ()
    failure: ReviewFailure | None = None
    needs_organisation: bool = False
    pages_per_hour: Mapping[str, int] = field(default_factory=dict)


def run_review(proposal: ReviewInput, should_continue: Callable[[], bool], limits: ReviewLimits) -> ReviewAnswer | None:
    """Review a proposal in a process of its own; None: stopped because `should_continue` returned False."""
    process = subprocess.Popen(  # noqa: S603 - our own module; the proposal only goes to its standard input
        # -P: nothing is imported from the current folder.
        [sys.executable, "-P", "-m", _CHILD_MODULE, *limits.to_arguments()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=_make_environment(),
        start_new_session=True,
    )
    with process, _watch(process, limits.wall_seconds, should_continue) as watched:
        assert process.stdin is not None
        assert process.stdout is not None
        _write_input(process.stdin, proposal)
        output = process.stdout.read(_MAX_ANSWER_BYTES + 1)
        if len(output) > _MAX_ANSWER_BYTES:
            _kill_group(process)
        status = process.wait()
    if watched.interrupted:
        return None
    return _read_answer(output, status)


@dataclass
class _Watched:
    """A running review; `interrupted`: it was stopped because this process is to end."""

    finished: threading.Event = field(default_factory=threading.Event)
    interrupted: bool = False


@contextmanager
def _watch(
    process: subprocess.Popen[bytes], wall_seconds: float, should_continue: Callable[[], bool]
) -> Iterator[_Watched]:
    """Kill the process when its time is up or this one is to end, and at the latest on leaving."""
    watched, deadline = _Watched(), time.monotonic() + wall_seconds

    def watch() -> None:
        while not watched.finished.wait(_WATCH_INTERVAL_SECONDS):
            watched.interrupted = not should_continue()
            if watched.interrupted or time.monotonic() > deadline:
                _kill_group(process)
                return

    watcher = threading.Thread(target=watch, name="review-watcher", daemon=True)
    watcher.start()
    try:
        yield watched
    finally:
        watched.finished.set()
        watcher.join()
        _kill_group(process)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def _make_environment() -> dict[str, str]:
    inherited = {name: os.environ[name] for name in _INHERITED_VARIABLES if name in os.environ}
    return {**inherited, "PYTHONPATH": str(Path(app.__file__).parents[1]), "PYTHONUTF8": "1"}


def _write_input(pipe: IO[bytes], proposal: ReviewInput) -> None:
    with contextlib.suppress(BrokenPipeError):  # the process has ended: its status says why
        for line in proposal.to_lines():
            pipe.write(f"{line}\n".encode("utf-8", "replace"))
    with contextlib.suppress(BrokenPipeError):
        pipe.close()


def _read_answer(output: bytes, status: int) -> ReviewAnswer:
    found = _parse_lines(output)
    pages = {str(name)[:40]: int(count) for name, count in (found.get("pages_per_hour") or {}).items()}
    if status == 0 and "needs_organisation" in found:
        return ReviewAnswer(needs_organisation=True)
    if status == 0 and "title" in found and len(output) <= _MAX_ANSWER_BYTES:
        faults = tuple(Annotation(POLICY_PATH, *row) for row in found["faults"])
        return ReviewAnswer(found["title"], found["summary"], faults, pages_per_hour=pages)
    failure = ReviewFailure.BROKEN
    if status == OUT_OF_MEMORY_STATUS or len(output) > _MAX_ANSWER_BYTES:
        failure = ReviewFailure.TOO_LARGE
    elif status < 0 or status == TOO_SLOW_STATUS:
        failure = ReviewFailure.TOO_SLOW
    log.warning("policy review ended", why=failure.value, status=status, reason=found.get("error", ""))
    return ReviewAnswer(failure=failure, pages_per_hour=pages)


def _parse_lines(output: bytes) -> dict[str, Any]:
    """Parse the lines of an answer into one object; a last line that was cut off is left out."""
    found: dict[str, Any] = {}
    for line in output.splitlines():
        with contextlib.suppress(ValueError):
            found |= json.loads(line)
    return found
