"""What a clock is made of, and the deadline that most clocks guard."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.calendar import counted, next_opening
from app.core.calendar import due as due_by
from app.core.effects import Effect
from app.core.events import Alarm, Rang
from app.core.incident import Incident
from app.core.policy import Policy, Target
from app.core.timeline import Deed

Answer = tuple[Incident, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Deadline:
    """One promise: it began at `start` and ends at `due`, both UTC.  `met_at` None: not kept yet.

    `rested` is how much of the time in between does not count.
    """

    clock: str
    start: datetime
    due: datetime
    target: Target
    met_at: datetime | None = None
    rested: timedelta = timedelta()

    def mark(self, what: str) -> str:
        """What the alarms of this promise are marked with: `breach`, or the per cent of a warning, and when it ends."""
        return f"{what}@{stamp(self.due)}"

    def broken(self, incident: Incident) -> bool:
        """It was kept late, or its breach has rung.  A re-grade moves the deadline, and with it what counts as broken;
        history keeps both."""
        if self.met_at is not None:
            return self.met_at > self.due
        return f"{self.clock}/breach@{stamp(self.due)}" in incident.rung

    def at_risk(self, incident: Incident, policy: Policy) -> bool:
        """A warning has rung and neither the promise nor the deadline has been reached."""
        if self.met_at is not None or self.broken(incident):
            return False
        return not incident.rung.isdisjoint(_warned(self.clock, self.due, policy.warnings))


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock of the shelf.

    `deadline` is None while the clock does not run.  `alarms` are those that have not rung.  `ring` says what one of
    them changes.
    """

    name: str
    title: str
    deadline: Callable[[Incident, Policy], Deadline | None]
    alarms: Callable[[Incident, Policy], Iterator[Alarm]]
    ring: Callable[[Incident, Alarm, Policy], Answer]


def deadline(
    clock: str,
    start: datetime,
    target: Target,
    policy: Policy,
    *,
    met_at: datetime | None = None,
    rested: timedelta = timedelta(),
) -> Deadline:
    """The deadline of a target that began at `start`; the time that `rested` moves it."""
    return Deadline(clock, start, due_by(start + rested, target, policy.calendars), target, met_at, rested)


def warnings(deadline: Deadline, incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """The warnings before a breach (B11).  One that was past when the alarms were made anew is not given any more."""
    for percent in policy.warnings:
        mark = deadline.mark(str(percent))
        if f"{deadline.clock}/{mark}" not in incident.rung:
            at = _part_of(deadline, percent, policy)
            if incident.reckoned_at <= at < deadline.due:
                yield Alarm(at, deadline.clock, mark)


def breach(deadline: Deadline, incident: Incident) -> Iterator[Alarm]:
    """The breach, unless it has rung."""
    alarm = Alarm(deadline.due, deadline.clock, deadline.mark("breach"))
    if alarm.key not in incident.rung:
        yield alarm


def judged(incident: Incident, alarm: Alarm, guarded: Deadline, policy: Policy, missed: str) -> tuple[Incident, bool]:
    """The incident after a warning or a breach, and whether somebody should hear of it: at the last warning and the breach.

    `missed` is the row for the record.
    """
    if alarm.mark == guarded.mark("breach"):
        late = f"; it was past already when the incident {_anew(incident, policy)}" if alarm.due > guarded.due else ""
        return incident.noted(alarm.due, Rang(alarm=alarm, key=alarm.key), Deed.MISSED, missed + late), True
    return incident, bool(policy.warnings) and alarm.mark == guarded.mark(str(policy.warnings[-1]))


@lru_cache(maxsize=4096)
def stamp(at: datetime) -> str:
    """A moment as it stands in keys: UTC, to the second."""
    return f"{at.isoformat()[:19]}Z"


@lru_cache(maxsize=4096)
def _warned(clock: str, due: datetime, warnings: tuple[int, ...]) -> frozenset[str]:
    """The keys of the warnings of a promise."""
    return frozenset(f"{clock}/{percent}@{stamp(due)}" for percent in warnings)


def _anew(incident: Incident, policy: Policy) -> str:
    """What made the alarms anew last."""
    if incident.reckoned_at == incident.graded_at:
        return f"became {incident.severity.said(policy.scale)}"
    return "was reopened" if incident.reckoned_at == incident.laddered_at else "came back"


def _part_of(deadline: Deadline, percent: int, policy: Policy) -> datetime:
    start = deadline.start + deadline.rested
    at = start + (deadline.due - start) * percent / 100
    calendar = counted(deadline.target, policy.calendars)
    return next_opening(calendar, at) if calendar else at
