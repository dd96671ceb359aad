"""Metrics of incidents and SLA compliance (M1).  MTTR is always "to resolve"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from enum import Enum
from typing import TypeVar

from app.core.clocks import CLOCKS, Deadline, acknowledge, audience, deadlines, postmortem, update
from app.core.effective_policy import policy_for
from app.core.incident import Incident
from app.core.incident_report import Kind
from app.core.policy import Duration, Policy
from app.core.severity import Severity
from app.core.timeline import EntryKind

_K = TypeVar("_K")


@dataclass(frozen=True, slots=True)
class Durations:
    """The durations of one incident; None where an end is not known.

    Metrics count from the started and detected times of the form where it gives them, SLA clocks do not (B9).
    """

    to_detect: timedelta | None
    to_acknowledge: timedelta | None
    to_respond: timedelta | None
    to_mitigate: timedelta | None
    to_resolve: timedelta | None


def durations(incident: Incident) -> Durations:
    """Compute the durations of an incident."""
    report = incident.report
    detected = report.detected_at or incident.declared_at
    return Durations(
        to_detect=_time_between(report.started_at, detected),
        to_acknowledge=_time_between(detected, incident.acknowledged_at),
        to_respond=_time_between(detected, incident.responded_at),
        to_mitigate=_time_between(report.started_at or detected, incident.mitigated_at),
        to_resolve=_time_between(report.started_at or detected, incident.resolved_at),
    )


def _time_between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return end - start if start is not None and end is not None and end >= start else None


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a duration over the `count` incidents that have it.

    `p90` is the shortest duration that nine of ten did not exceed: a measured one, not one in between.
    """

    count: int
    median: timedelta
    p90: timedelta
    mean: timedelta


def distribution(times: Iterable[timedelta | None]) -> Distribution | None:
    """Compute the distribution of the durations, or None if none is known."""
    found = sorted(each for each in times if each is not None)
    if not found:
        return None
    count, middle = len(found), len(found) // 2
    median = found[middle] if count % 2 else (found[middle - 1] + found[middle]) / 2
    return Distribution(count, median, found[(9 * count + 9) // 10 - 1], sum(found, timedelta()) / count)


@dataclass(frozen=True, slots=True)
class Compliance:
    """How many SLA targets were met, and how many were missed."""

    met: int = 0
    missed: int = 0

    @property
    def percent(self) -> float | None:
        """The share that was met, rounded down to a tenth, so that 100 means all of them.  None: there were none."""
        total = self.met + self.missed
        return self.met * 1000 // total / 10 if total else None


@dataclass(frozen=True, slots=True, order=True)
class SlaKey:
    """An SLA: its clock, and what distinguishes the SLAs of one clock, such as the name of an audience."""

    clock: str
    about: str = ""


class PostmortemState(Enum):
    """The state of a postmortem that was required."""

    DONE = "done"
    LATE = "done late"
    DUE = "due"
    OVERDUE = "overdue"


@dataclass(frozen=True, slots=True)
class IncidentMetrics:
    """The metrics of one incident.

    `sla_results` says of each SLA whether it was met; `postmortem` None: none is required.
    """

    incident: Incident
    durations: Durations
    sla_results: Mapping[SlaKey, bool]
    postmortem: PostmortemState | None

    @property
    def missed_slas(self) -> tuple[SlaKey, ...]:
        """The SLAs that were missed."""
        return tuple(sla for sla, met in self.sla_results.items() if not met)


@dataclass(frozen=True, slots=True)
class MetricsSummary:
    """The metrics of many incidents; `incidents` has the worst first.

    `times` has the names of `Durations`; `severities` and `kinds` hold only what occurred, with None for a kind that
    was not given.  `goals` are the measurable goals of the policy; they count from the opening, as the policy says.
    """

    incidents: tuple[IncidentMetrics, ...]
    times: Mapping[str, Distribution | None]
    severities: Mapping[Severity, int]
    kinds: Mapping[Kind | None, int]
    clocks: Mapping[SlaKey, Compliance]
    goals: Mapping[str, Compliance]
    postmortems: Mapping[PostmortemState, int]
    reopened_count: int

    @property
    def compliance(self) -> Compliance:
        """The compliance over all SLAs together."""
        return Compliance(
            sum(each.met for each in self.clocks.values()), sum(each.missed for each in self.clocks.values())
        )


def summarize_metrics(incidents: Iterable[Incident], policy: Policy, now: datetime) -> MetricsSummary:
    """Summarize the metrics of closed incidents, as far as they are known at `now`."""
    metrics = tuple(sorted((measure(incident, policy, now) for incident in incidents), key=_worst_first_key))
    return MetricsSummary(
        incidents=metrics,
        times={
            each.name: distribution(getattr(one.durations, each.name) for one in metrics) for each in fields(Durations)
        },
        severities=_count_in_order((one.incident.severity for one in metrics), Severity),
        kinds=_count_in_order((one.incident.report.kind for one in metrics), (*Kind, None)),
        clocks=_compliance_by_key(metrics, policy),
        goals=_goal_compliance(metrics, policy),
        postmortems=_count_in_order((one.postmortem for one in metrics if one.postmortem), PostmortemState),
        reopened_count=sum(one.incident.reopen_count > 0 for one in metrics),
    )


def measure(incident: Incident, policy: Policy, now: datetime) -> IncidentMetrics:
    """Compute the metrics of one incident, as far as they are known at `now`."""
    current_deadlines = deadlines(incident, policy)
    return IncidentMetrics(
        incident,
        durations(incident),
        dict(_sla_results(incident, policy, current_deadlines)),
        _postmortem_state(incident, current_deadlines, now),
    )


_RESTARTING_CLOCKS = (acknowledge.NAME, update.NAME, audience.NAME)
"""The clocks that restart with each paging or update.  Their SLA is met if none of the runs was breached."""


def _sla_results(
    incident: Incident, policy: Policy, current_deadlines: Sequence[Deadline]
) -> Iterator[tuple[SlaKey, bool]]:
    """Yield each SLA of the incident and whether it was met; what is still running is left out.

    An SLA that runs once is judged by its deadline at the end: a new grade moves the deadline, and so what was missed.
    """
    by_key = {SlaKey(each.clock, each.about): each for each in current_deadlines if each.clock != postmortem.NAME}
    results: dict[SlaKey, bool] = {}
    for sla, each in by_key.items():
        if each.is_breached(incident) or (each.clock in _RESTARTING_CLOCKS and _was_breached(sla, incident)):
            results[sla] = False
        elif each.met_at is not None:
            results[sla] = True
    results.update(_update_results(incident, policy_for(policy, incident)))
    yield from sorted(results.items(), key=_clock_sort_key(policy))


def _update_results(incident: Incident, policy: Policy) -> Iterator[tuple[SlaKey, bool]]:
    """Yield the update SLAs that ran before the incident was resolved; they no longer have a deadline."""
    acknowledged_at, resolved_at, severity = incident.page_acknowledged_at, incident.resolved_at, incident.severity
    had_responder = acknowledged_at is not None and (resolved_at is None or acknowledged_at < resolved_at)
    breached = _was_breached(SlaKey(update.NAME), incident)
    if breached or (policy.targets_of(severity).update is not None and had_responder):
        yield SlaKey(update.NAME), not breached
    for name, expects in policy.audiences.items():
        sla = SlaKey(audience.NAME, name)
        breached = _was_breached(sla, incident) or _first_update_was_late(
            name, expects.first.get(severity), incident, policy
        )
        if breached or severity in expects.first or severity in expects.updates:
            yield sla, not breached


def _first_update_was_late(name: str, within: Duration | None, incident: Incident, policy: Policy) -> bool:
    """Return True if a first update that was due at once came late, or not before the incident was resolved.

    Such an update is only asked for; no breach alarm fires for it.
    """
    if within is None or not within.is_immediate:
        return False
    since = incident.escalation_started_at
    update_times = (entry.at for entry in incident.timeline if entry.kind is EntryKind.UPDATED and entry.at >= since)
    first_update_at = next(update_times, incident.resolved_at)
    return (
        first_update_at is not None
        and first_update_at > audience.first_news_deadline(name, within, incident, policy).due
    )


def _was_breached(sla: SlaKey, incident: Incident) -> bool:
    """Return True if the SLA was ever breached."""
    about = f"{sla.about}." if sla.about else ""
    return any(key.startswith(f"{sla.clock}/{about}breach@") for key in incident.fired_alarms)


def _clock_sort_key(policy: Policy) -> Callable[[tuple[SlaKey, object]], tuple[int, int, str]]:
    """Return a sort key: in the order of the clocks, and those of one clock in the order of the policy."""
    clocks, about_order = list(CLOCKS), [*policy.audiences, *policy.regulations]

    def place(row: tuple[SlaKey, object]) -> tuple[int, int, str]:
        about = row[0].about
        return clocks.index(row[0].clock), about_order.index(about) if about in about_order else len(about_order), about

    return place


def _postmortem_state(
    incident: Incident, current_deadlines: Sequence[Deadline], now: datetime
) -> PostmortemState | None:
    deadline = next(
        (each for each in current_deadlines if (each.clock, each.about) == (postmortem.NAME, postmortem.DOCUMENT)), None
    )
    if deadline is None:
        return None
    if deadline.met_at is not None:
        return PostmortemState.DONE if deadline.met_at <= deadline.due else PostmortemState.LATE
    return PostmortemState.DUE if now <= deadline.due else PostmortemState.OVERDUE


def _compliance_by_key(metrics: Sequence[IncidentMetrics], policy: Policy) -> dict[SlaKey, Compliance]:
    by_key: dict[SlaKey, Compliance] = {}
    for one in metrics:
        for sla, met in one.sla_results.items():
            before = by_key.get(sla, Compliance())
            by_key[sla] = Compliance(before.met + met, before.missed + (not met))
    return dict(sorted(by_key.items(), key=_clock_sort_key(policy)))


def _goal_compliance(metrics: Sequence[IncidentMetrics], policy: Policy) -> dict[str, Compliance]:
    """Compute how often the goals were reached; there is a goal for resolving only at the worst severity (M1)."""
    goals, found = policy.goals, {}
    incidents = [one.incident for one in metrics]
    worst = [incident for incident in incidents if incident.severity is Severity.SEV1]
    for name, within, times in (
        ("detect", goals.detect, [one.durations.to_detect for one in metrics]),
        ("respond", goals.respond, [_time_between(each.declared_at, each.responded_at) for each in incidents]),
        (
            "resolve",
            goals.resolve,
            [_time_between(each.declared_at + each.paused_time, each.resolved_at) for each in worst],
        ),
    ):
        known = [each for each in times if each is not None]
        met = sum(each <= within.as_timedelta for each in known)
        found[name] = Compliance(met, len(known) - met)
    return found


def _count_in_order(items: Iterable[_K], order: Iterable[_K]) -> dict[_K, int]:
    """Count how often each item occurs, in the order of `order`."""
    counts = Counter(items)
    return {each: counts[each] for each in order if counts[each]}


def _worst_first_key(one: IncidentMetrics) -> tuple[Severity, int, timedelta, datetime, int]:
    incident = one.incident
    to_resolve = one.durations.to_resolve or timedelta()
    return incident.severity, -len(one.missed_slas), -to_resolve, incident.declared_at, incident.number
