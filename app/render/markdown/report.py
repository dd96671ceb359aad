"""Render the report on the incidents closed in a period: a page for people, and the same figures as JSON.

The JSON is a stable interface, documented in docs/reports.md: names are added, but never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.clocks import audience, regulatory
from app.core.metrics import (
    Compliance,
    Distribution,
    IncidentMetrics,
    MetricsSummary,
    PostmortemState,
    SlaKey,
    distribution,
)
from app.core.policy import Audience, Policy
from app.core.report_period import Period
from app.core.severity import Severity
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    code_span,
    escape,
    join,
    join_limited,
    link,
    markdown,
    render_template,
    to_markdown,
)
from app.render.time_format import format_duration, format_target, format_timedelta, pluralize

SCHEMA_VERSION = 1
"""Version of the JSON; it increases when a name would have to change its meaning."""

_MEASURE_TITLES = {
    "to_detect": "Time to detect (MTTD)",
    "to_acknowledge": "Time to acknowledge (MTTA)",
    "to_respond": "Time to first response",
    "to_mitigate": "Time to mitigate",
    "to_resolve": "Time to resolve (MTTR, to resolve)",
}
_GOAL_OF_MEASURE = {"to_detect": "detect", "to_respond": "respond", "to_resolve": "resolve"}
_EMPTY_CELL = markdown("–")


@dataclass(frozen=True, slots=True)
class PeriodReport:
    """The data of a report.

    `left_out` counts the incidents beyond the maximum that one run reads; `unread` holds the numbers of those that
    could not be read.
    """

    repository: str
    period: Period
    metrics: MetricsSummary
    made_at: datetime
    left_out: int = 0
    unread: tuple[int, ...] = ()

    @property
    def incidents(self) -> int:
        """The number of incidents closed in the period."""
        return len(self.metrics.incidents) + self.left_out + len(self.unread)

    @property
    def is_over(self) -> bool:
        """True if the period had ended when the report was made."""
        return self.made_at >= self.period.end


def render_report(report: PeriodReport, policy: Policy) -> Markdown:
    """Render the report as Markdown: the headline, the figures against the policy's goals, then each incident."""
    metrics, period = report.metrics, report.period
    return render_template(
        "report",
        period=markdown("{} {}", period.kind, period.name),
        headline=headline(report),
        days=markdown("{} to {}, by the clocks of {}", f"{period.first}", f"{period.last}", code_span(period.zone)),
        over=report.is_over,
        gaps=list(_gap_sentences(report)),
        measures=[_measure_row(name, metrics, policy) for name in _MEASURE_TITLES] if metrics.incidents else [],
        clocks=[_clock_row(promise, tally, metrics, policy) for promise, tally in metrics.clocks.items()],
        together=_compliance_cells(metrics.compliance),
        has_overrides=bool(policy.overrides),
        severities=[_severity_row(severity, metrics, policy) for severity in metrics.severities],
        kinds=join(markdown("{} {}", kind.value if kind else "not said", many) for kind, many in metrics.kinds.items()),
        postmortems=_postmortem_counts(metrics),
        incidents=[_incident_row(one, policy) for one in metrics.incidents],
    )


def headline(report: PeriodReport) -> Markdown:
    """Summarize the report in one sentence, on one line."""
    metrics, period = report.metrics, report.period
    when = markdown("in the {} {}" if report.is_over else "in the {} {} so far", period.kind, period.name)
    if not report.incidents:
        return markdown("No incident was closed {}", when)
    was = "was" if report.incidents == 1 else "were"
    parts = [markdown("{} {} closed {}", pluralize(report.incidents, "incident"), was, when)]
    compliance = metrics.compliance
    if compliance.percent is not None:
        total = compliance.met + compliance.missed
        parts.append(
            markdown("{} of {} kept ({})", compliance.met, pluralize(total, "deadline"), _percent_cell(compliance))
        )
    if metrics.reopened_count:
        parts.append(markdown("{} reopened", metrics.reopened_count))
    if overdue := metrics.postmortems.get(PostmortemState.OVERDUE):
        parts.append(markdown("{} overdue", pluralize(overdue, "postmortem")))
    return join(parts, "; ")


def as_json(report: PeriodReport, policy: Policy) -> dict[str, Any]:
    """Build the report as JSON: durations in seconds, times in UTC, None for what is unknown."""
    metrics, period = report.metrics, report.period
    return {
        "shape": SCHEMA_VERSION,
        "repository": report.repository,
        "made_at": _format_timestamp(report.made_at),
        "policy": policy.profile,
        "period": {
            "kind": period.kind,
            "name": period.name,
            "zone": period.zone,
            "start": _format_timestamp(period.start),
            "end": _format_timestamp(period.end),
            "over": report.is_over,
        },
        "incidents": {
            "closed": report.incidents,
            "measured": len(metrics.incidents),
            "left_out": report.left_out,
            "unread": list(report.unread),
            "reopened": metrics.reopened_count,
            "by_severity": {str(each): metrics.severities.get(each, 0) for each in Severity},
            "by_type": {kind.value if kind else "": many for kind, many in metrics.kinds.items()},
        },
        "times": {name: _distribution_json(found) for name, found in metrics.times.items()},
        "goals": {
            name: {"within": _goal_seconds(name, policy), **_compliance_json(tally)}
            for name, tally in metrics.goals.items()
        },
        "compliance": {
            **_compliance_json(metrics.compliance),
            "clocks": [
                {"clock": promise.clock, "about": promise.about, **_compliance_json(tally)}
                for promise, tally in metrics.clocks.items()
            ],
        },
        "postmortems": {each.value.replace(" ", "_"): metrics.postmortems.get(each, 0) for each in PostmortemState},
        "list": [_incident_json(one) for one in metrics.incidents],
    }


def _gap_sentences(report: PeriodReport) -> Iterator[Markdown]:
    """Yield a sentence for each group of incidents that the figures do not include."""
    if report.left_out:
        yield markdown(
            "Only the {} that were closed last are in the figures: {} more were closed before them.",
            len(report.metrics.incidents) + len(report.unread),
            report.left_out,
        )
    if report.unread:
        yield markdown(
            "{} could not be read and {} in no figure: {}.",
            *_count_with_verb(len(report.unread)),
            join_limited(report.unread, 20),
        )


def _count_with_verb(number: int) -> tuple[str, str]:
    return pluralize(number, "issue"), "is" if number == 1 else "are"


def _measure_row(name: str, metrics: MetricsSummary, policy: Policy) -> tuple[str, ...]:
    stats, goal = metrics.times[name], _goal_cell(name, metrics, policy)
    if stats is None:
        return _MEASURE_TITLES[name], to_markdown(0), _EMPTY_CELL, _EMPTY_CELL, _EMPTY_CELL, goal
    times = (to_markdown(format_timedelta(each)) for each in (stats.median, stats.p90, stats.mean))
    return _MEASURE_TITLES[name], to_markdown(stats.count), *times, goal


def _goal_cell(name: str, metrics: MetricsSummary, policy: Policy) -> Markdown:
    """Say how often the goal was met; the goal for resolving applies to sev1 only."""
    goal = _GOAL_OF_MEASURE.get(name)
    if goal is None:
        return _EMPTY_CELL
    tally, within = metrics.goals[goal], format_duration(getattr(policy.goals, goal))
    scope = markdown("{}: ", Severity.SEV1.inline_name(policy.scale)) if goal == "resolve" else markdown("")
    if tally.percent is None:
        return markdown("{}{}", scope, within)
    mark = "❌" if tally.missed else "✅"
    return markdown("{} {}{} of {} within {}", mark, scope, tally.met, tally.met + tally.missed, within)


def _clock_row(
    sla_key: SlaKey, compliance: Compliance, metrics: MetricsSummary, policy: Policy
) -> tuple[Markdown, Markdown, Markdown]:
    targets = [
        markdown("{} {}", severity.inline_name(policy.scale), wanted)
        for severity in metrics.severities
        if (wanted := _target_phrase(sla_key, severity, policy))
    ]
    if sla_key.clock == regulatory.NAME and sla_key.about in policy.regulations:
        targets = [to_markdown(format_duration(policy.regulations[sla_key.about].within))]
    return (
        phrases.deadline_title(sla_key.clock, sla_key.about),
        join(targets) if targets else _EMPTY_CELL,
        _compliance_cells(compliance),
    )


def _target_phrase(sla_key: SlaKey, severity: Severity, policy: Policy) -> Markdown:
    """Return the policy's target for that severity; empty: there is none."""
    if sla_key.clock == audience.NAME:
        return _audience_target(policy.audiences.get(sla_key.about, Audience()), severity)
    wanted = getattr(policy.targets_of(severity), sla_key.clock, None)
    return escape(format_target(wanted), 120) if wanted else markdown("")


def _audience_target(audience_policy: Audience, severity: Severity) -> Markdown:
    first, updates = audience_policy.first.get(severity), audience_policy.updates.get(severity)
    parts = [to_markdown(format_duration(first))] if first is not None else []
    return join([*parts, *([markdown("every {}", format_duration(updates))] if updates is not None else [])], ", then ")


def _compliance_cells(compliance: Compliance) -> Markdown:
    """Build the last three cells of a row: met, missed, share."""
    return markdown("{} | {} | {}", compliance.met, compliance.missed, _percent_cell(compliance))


def _percent_cell(compliance: Compliance) -> Markdown:
    if compliance.percent is None:
        return _EMPTY_CELL
    whole, tenths = divmod(round(compliance.percent * 10), 10)
    return markdown("{}.{} %", whole, tenths) if tenths else markdown("{} %", whole)


def _severity_row(severity: Severity, metrics: MetricsSummary, policy: Policy) -> tuple[Markdown, ...]:
    matching = [one for one in metrics.incidents if one.incident.severity is severity]
    results = [kept for one in matching for kept in one.sla_results.values()]
    return (
        markdown("**{}**", severity.display_name(policy.scale)),
        to_markdown(len(matching)),
        _median_cell(distribution(one.durations.to_acknowledge for one in matching)),
        _median_cell(distribution(one.durations.to_resolve for one in matching)),
        _percent_cell(Compliance(sum(results), len(results) - sum(results))),
    )


def _median_cell(stats: Distribution | None) -> Markdown:
    return _EMPTY_CELL if stats is None else to_markdown(format_timedelta(stats.median))


def _postmortem_counts(metrics: MetricsSummary) -> Markdown:
    total = sum(metrics.postmortems.values())
    if not total:
        return markdown("")
    states = join(markdown("{} {}", many, state.value) for state, many in metrics.postmortems.items())
    return markdown("{} asked for: {}.", pluralize(total, "postmortem was", "postmortems were"), states)


def _incident_row(incident_metrics: IncidentMetrics, policy: Policy) -> tuple[Markdown, ...]:
    incident = incident_metrics.incident
    reopened = (
        markdown(" (reopened {})", pluralize(incident.reopen_count, "time")) if incident.reopen_count else markdown("")
    )
    missed = join(phrases.deadline_title(each.clock, each.about) for each in incident_metrics.missed_slas)
    return (
        link(incident.number, incident.url),
        markdown("{}{}", escape(incident.title, 80), reopened),
        to_markdown(incident.severity.display_name(policy.scale)),
        _duration_cell(incident_metrics.durations.to_acknowledge),
        _duration_cell(incident_metrics.durations.to_resolve),
        markdown("❌ {}", missed)
        if missed
        else markdown("✅ nothing")
        if incident_metrics.sla_results
        else _EMPTY_CELL,
        _postmortem_cell(incident_metrics),
    )


def _duration_cell(time: timedelta | None) -> Markdown:
    return _EMPTY_CELL if time is None else to_markdown(format_timedelta(time))


def _postmortem_cell(incident_metrics: IncidentMetrics) -> Markdown:
    if incident_metrics.postmortem is None:
        return _EMPTY_CELL
    mark = {
        PostmortemState.DONE: "✅",
        PostmortemState.LATE: "✅",
        PostmortemState.DUE: "⏳",
        PostmortemState.OVERDUE: "❌",
    }[incident_metrics.postmortem]
    pull_request = incident_metrics.incident.postmortem
    return markdown("{} {}", mark, link(incident_metrics.postmortem.value, pull_request.url if pull_request else None))


def _incident_json(incident_metrics: IncidentMetrics) -> Mapping[str, Any]:
    incident, took, pull_request = (
        incident_metrics.incident,
        incident_metrics.durations,
        incident_metrics.incident.postmortem,
    )
    return {
        "number": incident.number,
        "url": incident.url,
        "title": incident.title,
        "severity": str(incident.severity),
        "type": incident.report.kind.value if incident.report.kind else "",
        "services": list(incident.report.services),
        "declared_at": _format_timestamp(incident.declared_at),
        "closed_at": _format_timestamp(incident.closed_at),
        "times": {name: _whole_seconds(getattr(took, name)) for name in _MEASURE_TITLES},
        "reopened": incident.reopen_count,
        "judged": [
            {"clock": promise.clock, "about": promise.about, "kept": kept}
            for promise, kept in incident_metrics.sla_results.items()
        ],
        "postmortem": {
            "state": incident_metrics.postmortem.value.replace(" ", "_") if incident_metrics.postmortem else None,
            "url": pull_request.url if pull_request else None,
        },
    }


def _distribution_json(stats: Distribution | None) -> Mapping[str, Any] | None:
    if stats is None:
        return None
    return {
        "incidents": stats.count,
        "median": _whole_seconds(stats.median),
        "p90": _whole_seconds(stats.p90),
        "mean": _whole_seconds(stats.mean),
    }


def _compliance_json(compliance: Compliance) -> dict[str, Any]:
    return {"kept": compliance.met, "missed": compliance.missed, "percent": compliance.percent}


def _goal_seconds(goal: str, policy: Policy) -> int | None:
    return _whole_seconds(getattr(policy.goals, goal).as_timedelta)


def _whole_seconds(time: timedelta | None) -> int | None:
    return None if time is None else int(time.total_seconds())


def _format_timestamp(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
