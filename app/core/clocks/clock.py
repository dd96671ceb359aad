"""What a clock is made of, and the deadline that most clocks guard."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.calendar import Rest, counted, gone, later, rested
from app.core.calendar import due as due_by
from app.core.effects import Effect
from app.core.events import Alarm, Rang
from app.core.incident import Incident
from app.core.policy import Duration, Policy, Target, Targets
from app.core.timeline import Deed

_ANSWER = Target(Duration(seconds=300))

Answer = tuple[Incident, tuple[Effect, ...]]


@dataclass(frozen=True, slots=True)
class Deadline:
    """One promise: it began at `start` and ends at `due`, both UTC.  `met_at` None: not kept yet.

    `rests` do not count.  `about` tells the promises of one clock apart, such as the name of an audience.
    """

    clock: str
    start: datetime
    due: datetime
    target: Target
    met_at: datetime | None = None
    rests: tuple[Rest, ...] = ()
    about: str = ""

    @property
    def rested(self) -> timedelta:
        """How long it rested, by any clock."""
        return rested(self.rests, self.start)

    def mark(self, what: str) -> str:
        """What the alarms of this promise are marked with: `breach`, or the per cent of a warning, and when it ends."""
        return f"{self.about}.{what}@{stamp(self.due)}" if self.about else f"{what}@{stamp(self.due)}"

    def broken(self, incident: Incident) -> bool:
        """It was kept late, or its breach has rung.  A re-grade moves the deadline, and with it what counts as broken;
        history keeps both."""
        if self.met_at is not None:
            return self.met_at > self.due
        return f"{self.clock}/{self.mark('breach')}" in incident.rung

    def at_risk(self, incident: Incident, policy: Policy) -> bool:
        """A warning has rung and neither the promise nor the deadline has been reached."""
        if self.met_at is not None or self.broken(incident):
            return False
        return not incident.rung.isdisjoint(_warned(self.clock, self.about, self.due, policy.warnings))


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock of the shelf.

    `deadlines` are what it promises, none while it does not run.  `alarms` are those that have not rung.  `ring` says
    what one of them changes.  `title` begins the names of its promises, which end with what each is about.
    """

    name: str
    title: str
    deadlines: Callable[[Incident, Policy], Iterable[Deadline]]
    alarms: Callable[[Incident, Policy], Iterator[Alarm]]
    ring: Callable[[Incident, Alarm, Policy], Answer]


def deadline(
    clock: str,
    start: datetime,
    target: Target,
    policy: Policy,
    *,
    met_at: datetime | None = None,
    rests: tuple[Rest, ...] = (),
    about: str = "",
) -> Deadline:
    """The deadline of a target that began at `start`; the `rests` move it."""
    due = due_by(start, target, policy.calendars, rests)
    return Deadline(clock, start, due, target, met_at, rests, about)


def prompt(target: Target, targets: Targets) -> Target:
    """The target; "at once" (B4) is as soon as a page can be answered, else every such promise would begin with a breach."""
    return (targets.acknowledge or _ANSWER) if target.within.at_once else target


def one(due: Callable[[Incident, Policy], Deadline | None]) -> Callable[[Incident, Policy], Iterable[Deadline]]:
    """The promises of a clock that makes one at most."""

    def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
        found = due(incident, policy)
        return (found,) if found else ()

    return deadlines


def fairly(deadline: Deadline, incident: Incident) -> Deadline:
    """The deadline, moved to when it was kept where that was in time for the severity it then had.

    A raise does not turn what was in time into the past (B11).
    """
    if deadline.met_at is None or deadline.met_at <= deadline.due:
        return deadline
    name = f"{deadline.clock}/{deadline.about}.breach@" if deadline.about else f"{deadline.clock}/breach@"
    if any(key.startswith(name) for key in incident.rung):
        return deadline
    return replace(deadline, due=deadline.met_at)


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
def _warned(clock: str, about: str, due: datetime, warnings: tuple[int, ...]) -> frozenset[str]:
    """The keys of the warnings of a promise."""
    name = f"{clock}/{about}." if about else f"{clock}/"
    return frozenset(f"{name}{percent}@{stamp(due)}" for percent in warnings)


def _anew(incident: Incident, policy: Policy) -> str:
    """What made the alarms anew last."""
    if incident.reckoned_at == incident.graded_at:
        return f"became {incident.severity.said(policy.scale)}"
    return "was reopened" if incident.reckoned_at == incident.laddered_at else "came back"


def _part_of(deadline: Deadline, percent: int, policy: Policy) -> datetime:
    """When that part of the time it has is over, of which only what counts is time; its rests move it."""
    start, calendar = deadline.start, counted(deadline.target, policy.calendars)
    whole = gone(start, due_by(start, deadline.target, policy.calendars), calendar)
    return later(start, whole * percent / 100 + rested(deadline.rests, start, calendar), calendar)
