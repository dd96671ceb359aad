"""The parts of a clock, and the deadline that most clocks watch."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.calendar import Pause, add_counted_time, calendar_for, counted_time_between, paused_time
from app.core.calendar import due_time as due_by
from app.core.effects import Effect
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import Duration, Policy, Target, Targets
from app.core.timeline import EntryKind

_DEFAULT_ACKNOWLEDGE_TARGET = Target(Duration(seconds=300))
"""Stands in where a severity has no acknowledgement target: five minutes (B5)."""

ClockResult = tuple[Incident, tuple[Effect, ...]]
"""The incident after an alarm fired, and the effects it causes."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """An SLA deadline from `start` to `due`, both UTC.

    `met_at` None: not met yet. `pauses` do not count. `about` distinguishes several deadlines of one clock, such as by
    the name of an audience.
    """

    clock: str
    start: datetime
    due: datetime
    target: Target
    met_at: datetime | None = None
    pauses: tuple[Pause, ...] = ()
    about: str = ""

    @property
    def paused_time(self) -> timedelta:
        """The total length of the pauses, by elapsed time."""
        return paused_time(self.pauses, self.start)

    def alarm_mark(self, kind: str) -> str:
        """Return the mark of an alarm of this deadline: its kind and when the deadline ends.

        `kind` is `breach`, or the percentage of a warning.
        """
        return f"{self.about}.{kind}@{key_timestamp(self.due)}" if self.about else f"{kind}@{key_timestamp(self.due)}"

    def is_breached(self, incident: Incident) -> bool:
        """Return whether the deadline was met late or its breach alarm has fired.

        A re-grade moves the deadline, and with it what counts as breached; the history keeps both.
        """
        if self.met_at is not None:
            return self.met_at > self.due
        return f"{self.clock}/{self.alarm_mark('breach')}" in incident.fired_alarms

    def is_at_risk(self, incident: Incident, policy: Policy) -> bool:
        """Return whether a warning has fired while the deadline is neither met nor breached."""
        if self.met_at is not None or self.is_breached(incident):
            return False
        return not incident.fired_alarms.isdisjoint(_warning_keys(self.clock, self.about, self.due, policy.warnings))


@dataclass(frozen=True, slots=True)
class Clock:
    """One clock, as `CLOCKS` lists them.

    `deadlines` yields its SLA deadlines, none while it does not run. `alarms` yields those that have not fired. `fire`
    applies one of them. `title` begins the displayed name of each deadline, which ends with its `about`.
    `latest_repeat` returns the last repeat of an alarm that is due by a moment, where an alarm repeats: the repeats
    before it are counted by it, so that a fold over a year does not fire each of them.
    """

    name: str
    title: str
    deadlines: Callable[[Incident, Policy], Iterable[Deadline]]
    alarms: Callable[[Incident, Policy], Iterator[Alarm]]
    fire: Callable[[Incident, Alarm, Policy], ClockResult]
    latest_repeat: Callable[[Incident, Alarm, Policy, datetime], Alarm] = lambda _, alarm, *__: alarm


def deadline(
    clock: str,
    start: datetime,
    target: Target,
    policy: Policy,
    *,
    met_at: datetime | None = None,
    pauses: tuple[Pause, ...] = (),
    about: str = "",
) -> Deadline:
    """Create the deadline of a target that began at `start`; the pauses move it."""
    due = due_by(start, target, policy.calendars, pauses)
    return Deadline(clock, start, due, target, met_at, pauses, about)


def expand_at_once(target: Target, targets: Targets) -> Target:
    """Replace a target of "at once" (B4) by the acknowledgement target.

    Otherwise every such deadline would begin with a breach.
    """
    return (targets.acknowledge or _DEFAULT_ACKNOWLEDGE_TARGET) if target.within.is_immediate else target


def single_deadline(
    find_deadline: Callable[[Incident, Policy], Deadline | None],
) -> Callable[[Incident, Policy], Iterable[Deadline]]:
    """Adapt a function that returns at most one deadline to `Clock.deadlines`."""

    def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
        found = find_deadline(incident, policy)
        return (found,) if found else ()

    return deadlines


def forgive_regrade(deadline: Deadline, incident: Incident) -> Deadline:
    """Move the deadline to when it was met if that was in time for the severity of that moment.

    Raising the severity does not make something late that was in time (B11).
    """
    if deadline.met_at is None or deadline.met_at <= deadline.due:
        return deadline
    breach_prefix = f"{deadline.clock}/{deadline.about}.breach@" if deadline.about else f"{deadline.clock}/breach@"
    if any(key.startswith(breach_prefix) for key in incident.fired_alarms):
        return deadline
    return replace(deadline, due=deadline.met_at)


def warnings(deadline: Deadline, incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the warnings before a breach that have not fired (B11).

    A warning that was already past when the alarms were last reset is skipped.
    """
    for percent in policy.warnings:
        mark = deadline.alarm_mark(str(percent))
        if f"{deadline.clock}/{mark}" not in incident.fired_alarms:
            at = _due_at_percent(deadline, percent, policy)
            if incident.alarms_reset_at <= at < deadline.due:
                yield Alarm(at, deadline.clock, mark)


def breach(deadline: Deadline, incident: Incident) -> Iterator[Alarm]:
    """Yield the breach alarm unless it has fired."""
    alarm = Alarm(deadline.due, deadline.clock, deadline.alarm_mark("breach"))
    if alarm.key not in incident.fired_alarms:
        yield alarm


def record_warning_or_breach(
    incident: Incident, alarm: Alarm, deadline: Deadline, policy: Policy, breach_summary: str
) -> tuple[Incident, bool]:
    """Record a warning or breach, and return whether to notify people: at the last warning and at the breach.

    `breach_summary` is the timeline entry of the breach.
    """
    if alarm.mark == deadline.alarm_mark("breach"):
        late = (
            f"; it was past already when the incident {_reset_cause(incident, policy)}"
            if alarm.due > deadline.due
            else ""
        )
        return incident.with_entry(
            alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, breach_summary + late
        ), True
    return incident, bool(policy.warnings) and alarm.mark == deadline.alarm_mark(str(policy.warnings[-1]))


@lru_cache(maxsize=4096)
def key_timestamp(at: datetime) -> str:
    """Format a moment as it is used in keys: UTC, to the second."""
    return f"{at.isoformat()[:19]}Z"


@lru_cache(maxsize=4096)
def _warning_keys(clock: str, about: str, due: datetime, warnings: tuple[int, ...]) -> frozenset[str]:
    """Return the keys of all warnings of a deadline."""
    prefix = f"{clock}/{about}." if about else f"{clock}/"
    return frozenset(f"{prefix}{percent}@{key_timestamp(due)}" for percent in warnings)


def _reset_cause(incident: Incident, policy: Policy) -> str:
    """Return what reset the alarms last, as a phrase for the timeline."""
    if incident.alarms_reset_at == incident.severity_set_at:
        return f"became {incident.severity.inline_name(policy.scale)}"
    return "was reopened" if incident.alarms_reset_at == incident.escalation_started_at else "came back"


def _due_at_percent(deadline: Deadline, percent: int, policy: Policy) -> datetime:
    """Return when that percentage of the deadline's counted time is over, moved by its pauses."""
    start, calendar = deadline.start, calendar_for(deadline.target, policy.calendars)
    whole = counted_time_between(start, due_by(start, deadline.target, policy.calendars), calendar)
    return add_counted_time(start, whole * percent / 100 + paused_time(deadline.pauses, start, calendar), calendar)
