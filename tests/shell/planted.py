"""`python -m tests.shell.planted`: bugs are put in, one after the other, and the machine (B9) has to find each.

Three of the six that the reliability page names are here; the others live in parts that are not passed in.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from app.github.marker import Signer
from app.ports import Comment, DeliveryFailed, Lane
from app.store import embedded
from app.store.database import Database, migrate
from app.worker.desk import Desk
from tests.shell.machine import Machine

_EXAMPLES, _STEPS = 200, 30


class Blind(Signer):
    """Knows none of its own comments: every retry is one without a look-up."""

    def read(self, lane: Lane, comment: Comment) -> dict[str, Any] | None:
        return None


class Bent:
    """A tracker of which a part is broken."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def guarded(self, guard: Callable[[], None]) -> Bent:
        return type(self)(self._inner.guarded(guard))


class Careless(Bent):
    """Takes a comment for said whose outcome nobody knows."""

    def comment(self, number: int, body: str) -> Comment:
        try:
            found: Comment = self._inner.comment(number, body)
        except DeliveryFailed as failed:
            if not failed.uncertain:
                raise
            first = self._inner.comments(number)[:1]
            if not first:
                raise
            return replace(first[0], id=1)
        return found


class Backward(Bent):
    """Leaves the board as it was first shown."""

    def edit_comment(self, comment: int, body: str) -> None:
        return


def _with_tracker(kind: type[Bent]) -> Callable[[Desk], Desk]:
    def bent(desk: Desk) -> Desk:
        tracker = desk.tracker
        return replace(desk, tracker=lambda repository: kind(tracker(repository)))  # type: ignore[arg-type,return-value]

    return bent


def _blind(desk: Desk) -> Desk:
    return replace(desk, signer=Blind(desk.signer.secrets, desk.signer.app_id))


PLANTED: Mapping[str, Callable[[Desk], Desk]] = {
    "retry without look-up": _blind,
    "lost on crash": _with_tracker(Careless),
    "older snapshot wins": _with_tracker(Backward),
}


def found(database: Database, broken: Callable[[Desk], Desk]) -> str:
    """How the machine says what is wrong; empty when it finds nothing."""

    class Here(Machine):
        pass

    Here.database = database
    Here.broken = staticmethod(broken)
    try:
        run_state_machine_as_test(
            Here,
            settings=settings(
                max_examples=_EXAMPLES,
                stateful_step_count=_STEPS,
                deadline=None,
                database=None,
                print_blob=False,
                suppress_health_check=list(HealthCheck),
                phases=(Phase.generate,),
                report_multiple_bugs=False,
            ),
        )
    except AssertionError as problem:
        return str(problem).splitlines()[0]
    return ""


def main() -> int:
    missed = 0
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = embedded.start(Path(folder))
        try:
            migrate(server.url)
            database = Database(server.url).open()
            for name, broken in PLANTED.items():
                began = time.monotonic()
                says = found(database, broken)
                missed += not says
                print(f"{name}: {says or 'NOT FOUND'} ({time.monotonic() - began:.0f} s)", flush=True)
            database.close()
        finally:
            server.stop()
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
