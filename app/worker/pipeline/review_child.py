"""Review a proposed policy in a process of its own: `python -m app.worker.pipeline.review_child`.

The proposal may come from anyone, so this process has no secrets, no network and no database, and its time and memory
are limited.  It reads a ReviewInput from standard input and writes one JSON object a line to standard output: first how
often the policy would page, so that this is known if the rest takes too long, and then the review.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, TextIO

from app.core.backtest import Backtest, PastIncident, backtest
from app.core.errors import FoldTooLong
from app.core.policy import Policy, Shift
from app.core.severity import Severity
from app.policy_file import (
    DEFAULT_PROFILE,
    POLICY_PATH,
    PolicyFaults,
    load_profile,
    read_policy,
    uses_organisation_policy,
)
from app.render.markdown.policy_review import review_faulty_policy, review_policy
from app.render.time_format import pluralize
from app.store.serialization import parse_event

OUT_OF_MEMORY_STATUS, TOO_SLOW_STATUS = 12, 13
"""Exit status of a review that needs more memory than it may have."""
_NICE_LEVEL = 10
"""How much a review lowers its CPU priority below that of the worker."""
_HOUR_SECONDS = 3600
_PARENT_CHECK_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class ReviewLimits:
    """What one review may use.

    `backtest_seconds`: computing time after which no further past incident is tried, but the review still finishes.
    """

    cpu_seconds: int = 20
    wall_seconds: int = 30
    memory_bytes: int = 512 * 1024 * 1024
    backtest_seconds: int = 10

    def to_arguments(self) -> list[str]:
        """Return the limits as arguments of the command."""
        return [str(getattr(self, each.name)) for each in fields(self)]

    @classmethod
    def from_arguments(cls, arguments: Sequence[str]) -> ReviewLimits:
        """Read the limits from the arguments of the command."""
        return cls(*map(int, arguments))


@dataclass(frozen=True, slots=True)
class ReviewInput:
    """What a review needs to know.

    `old` and `new` are each the text of the repository's file and that of the organisation's file that it builds on;
    None: there is none.  `base_is_known` False: the second of `new` has not been looked up.  `shifts` are those that
    the feeds of the old policy hold now, by rotation.  `past` are the past incidents, each the JSON
    `[number, title, log]`, the newest first; `skipped_incidents` counts those left out.  `faults_only`: only the faults
    of the new file matter.
    """

    repo: str
    now: datetime
    old: tuple[str | None, str | None]
    new: tuple[str | None, str | None]
    shifts: Mapping[str, Sequence[Shift]] = field(default_factory=dict)
    base_is_known: bool = True
    faults_only: bool = False
    past: Sequence[str] = ()
    skipped_incidents: int = 0

    def to_lines(self) -> Iterator[str]:
        """Yield the lines that the process reads."""
        shifts = {
            name: [[one.since.isoformat(), one.until.isoformat(), one.rank, one.person] for one in shifts]
            for name, shifts in self.shifts.items()
        }
        head = {
            "repo": self.repo,
            "now": self.now.isoformat(),
            "old": self.old,
            "new": self.new,
            "shifts": shifts,
            "base_is_known": self.base_is_known,
            "faults_only": self.faults_only,
            "skipped_incidents": self.skipped_incidents,
        }
        yield json.dumps(head)
        yield from self.past

    @classmethod
    def from_lines(cls, lines: Iterable[str]) -> ReviewInput:
        """Read what `to_lines` wrote."""
        first, *past = lines
        head = json.loads(first)
        shifts = {
            name: [Shift(datetime.fromisoformat(one[0]), datetime.fromisoformat(one[1]), *one[2:]) for one in shifts]
            for name, shifts in head.pop("shifts").items()
        }
        now, old, new = datetime.fromisoformat(head.pop("now")), tuple(head.pop("old")), tuple(head.pop("new"))
        return cls(now=now, old=old, new=new, shifts=shifts, past=past, **head)


def main(arguments: Sequence[str], source: TextIO, target: TextIO) -> int:
    """Review the proposal that `source` holds, write the answer to `target` and return the exit status."""
    limits = ReviewLimits.from_arguments(arguments)
    threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()
    _limit_process(limits)
    try:
        for answer in review_proposal(ReviewInput.from_lines(source), limits):
            target.write(json.dumps(answer) + "\n")
            target.flush()
    except MemoryError:
        return OUT_OF_MEMORY_STATUS
    except FoldTooLong:
        return TOO_SLOW_STATUS
    except Exception as problem:  # noqa: BLE001 - a bug that this input reaches ends this process alone, and is logged
        target.write(json.dumps({"error": repr(problem)[:500]}) + "\n")
        return 1
    return 0


def _limit_process(limits: ReviewLimits) -> None:
    """Limit this process; a limit that the system does not have is left to the process that started this one."""
    if hasattr(os, "nice"):
        os.nice(_NICE_LEVEL)
    if hasattr(signal, "setitimer"):
        # The process that started this one ends it in time, unless it has died itself.
        signal.setitimer(signal.ITIMER_REAL, limits.wall_seconds + 1)
    try:
        import resource  # noqa: PLC0415 - not on every system
    except ImportError:
        return
    for kind, limit in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_CPU, limits.cpu_seconds),
        (resource.RLIMIT_AS, limits.memory_bytes),
    ):
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(kind, (limit, limit))


def _end_with_parent(parent: int) -> None:
    """End this process soon after the one that started it has died, since its answer is of no use then."""
    while os.getppid() == parent:
        time.sleep(_PARENT_CHECK_SECONDS)
    os._exit(1)


def review_proposal(proposal: ReviewInput, limits: ReviewLimits) -> Iterator[dict[str, Any]]:
    """Yield how often the proposed policy pages, and then its review or its faults.

    Yield only that the organisation's file is needed if it is and has not been looked up.
    """
    if not proposal.base_is_known and uses_organisation_policy(proposal.new[0]):
        yield {"needs_organisation": True}
        return
    try:
        new = _read_proposed(*proposal.new)
    except PolicyFaults as faults:
        review = review_faulty_policy(faults.errors)
        rows = [[each.line, each.column, each.where, f"{each.found}, {each.wanted}"] for each in faults.errors]
        yield {"title": review.title, "summary": review.summary, "faults": rows}
        return
    yield {"pages_per_hour": count_pages_per_hour(new)}
    if proposal.faults_only:
        yield {"title": "", "summary": "", "faults": []}
        return
    old = _with_shifts(_read_active(*proposal.old), proposal.shifts)
    new = with_known_shifts(new, old)
    result, tried = _backtest_newest(proposal, old, new, limits)
    review = review_policy(old, new, result, proposal.now)
    notes = [*_removal_note(proposal.new), *_limit_note(tried, len(proposal.past) + proposal.skipped_incidents)]
    yield {"title": review.title, "summary": "\n\n".join([*notes, review.summary]), "faults": []}


def _read_proposed(text: str | None, base: str | None) -> Policy:
    if text is not None:
        return read_policy(text, org=base)
    return load_profile(DEFAULT_PROFILE) if base is None else _read_active(base, None)


def _read_active(text: str | None, base: str | None) -> Policy:
    """Read the active policy as the worker does: by the default profile where the file is not valid any more."""
    try:
        return load_profile(DEFAULT_PROFILE) if text is base is None else read_policy(text or base or "", org=base)
    except PolicyFaults:
        return load_profile(DEFAULT_PROFILE)


def _with_shifts(policy: Policy, shifts: Mapping[str, Sequence[Shift]]) -> Policy:
    known = {name: replace(policy.rotations[name], shifts=tuple(shifts[name])) for name in shifts}
    return replace(policy, rotations={**policy.rotations, **known}) if known else policy


def with_known_shifts(new: Policy, old: Policy) -> Policy:
    """Copy the shifts of the feeds that both policies name from the old policy into the new one.

    Feeds that only the new policy names are read after the merge.
    """
    known = {
        name: replace(rotation, shifts=old.rotations[name].shifts)
        for name, rotation in new.rotations.items()
        if rotation.feed and name in old.rotations and old.rotations[name].feed == rotation.feed
    }
    return replace(new, rotations={**new.rotations, **known}) if known else new


def _backtest_newest(proposal: ReviewInput, old: Policy, new: Policy, limits: ReviewLimits) -> tuple[Backtest, int]:
    """Try the policies on past incidents, the newest first, while there is time; return how many were tried."""
    tried = 0

    def take_while_time_is_left() -> Iterator[PastIncident]:
        nonlocal tried
        started = time.process_time()
        for past in parse_past_incidents(proposal.past, proposal.repo, proposal.now):
            if time.process_time() - started > limits.backtest_seconds:
                return
            tried += 1
            yield past

    result = backtest(take_while_time_is_left(), old, new)
    return replace(result, diffs=result.diffs[::-1]), tried


def parse_past_incidents(lines: Iterable[str], repo: str, now: datetime) -> Iterator[PastIncident]:
    """Parse past incidents, each the JSON `[number, title, log]`."""
    for line in lines:
        number, title, log = json.loads(line)
        events = [(datetime.fromisoformat(at), parse_event(kind, data)) for at, kind, data in log]
        yield PastIncident(f"{repo}#{number}", title, events, now)


def count_pages_per_hour(policy: Policy) -> dict[str, int]:
    """Count the notices an hour that repeat while an incident is not acknowledged, by severity."""
    counts = {
        severity.inline_name(policy.scale): sum(
            _HOUR_SECONDS / max(step.repeat.as_timedelta.total_seconds(), 1) for step in steps if step.repeat
        )
        for severity, steps in policy.ladders.items()
        if severity in Severity
    }
    return {name: round(count) for name, count in counts.items() if count >= 1}


def _removal_note(new: tuple[str | None, str | None]) -> Iterator[str]:
    text, base = new
    if text is None:
        below = f"the profile `{DEFAULT_PROFILE}`" if base is None else "the organisation's policy"
        yield f"`{POLICY_PATH}` is taken away: {below} would hold instead."


def _limit_note(tried: int, total: int) -> Iterator[str]:
    if tried < total:
        yield f"Tried on the newest {tried} of {pluralize(total, 'past incident')}: more would take too long here."


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], sys.stdin, sys.stdout))
