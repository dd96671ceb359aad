"""Renders the report on the incidents closed in a period: a page for people, and the same figures as JSON.

The JSON is a stable interface, documented in docs/reports.md: names are added, but never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.clocks import audience, regulatory
from app.core.metrics import Figures, Measured, Promise, Spread, Tally, Written, distribution
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
class Edition:
    """The data of a report.

    `left_out` counts the incidents beyond the maximum that one run reads; `unread` holds the numbers of those that
    could not be read.
    """

    repository: str
    period: Period
    figures: Figures
    made_at: datetime
    left_out: int = 0
    unread: tuple[int, ...] = ()

    @property
    def incidents(self) -> int:
        """The number of incidents closed in the period."""
        return len(self.figures.measured) + self.left_out + len(self.unread)

    @property
    def is_over(self) -> bool:
        """True if the period had ended when the report was made."""
        return self.made_at >= self.period.end


def render_report(edition: Edition, policy: Policy) -> Markdown:
    """Render the report as Markdown: the headline, the figures against the policy's goals, then each incident."""
    figures, period = edition.figures, edition.period
    return render_template(
        "report",
        period=markdown("{} {}", period.kind, period.name),
        headline=headline(edition),
        days=markdown("{} to {}, by the clocks of {}", f"{period.first}", f"{period.last}", code_span(period.zone)),
        over=edition.is_over,
        gaps=list(_gap_sentences(edition)),
        measures=[_measure_row(name, figures, policy) for name in _MEASURE_TITLES] if figures.measured else [],
        clocks=[_clock_row(promise, tally, figures, policy) for promise, tally in figures.clocks.items()],
        together=_compliance_cells(figures.compliance),
        has_overrides=bool(policy.overrides),
        severities=[_severity_row(severity, figures, policy) for severity in figures.severities],
        kinds=join(markdown("{} {}", kind.value if kind else "not said", many) for kind, many in figures.kinds.items()),
        postmortems=_postmortem_counts(figures),
        incidents=[_incident_row(one, policy) for one in figures.measured],
    )


def headline(edition: Edition) -> Markdown:
    """Summarize the report in one sentence, on one line."""
    figures, period = edition.figures, edition.period
    when = markdown("in the {} {}" if edition.is_over else "in the {} {} so far", period.kind, period.name)
    if not edition.incidents:
        return markdown("No incident was closed {}", when)
    was = "was" if edition.incidents == 1 else "were"
    parts = [markdown("{} {} closed {}", pluralize(edition.incidents, "incident"), was, when)]
    judged = figures.compliance
    if judged.percent is not None:
        total = judged.kept + judged.missed
        parts.append(markdown("{} of {} kept ({})", judged.kept, pluralize(total, "deadline"), _percent_cell(judged)))
    if figures.reopened:
        parts.append(markdown("{} reopened", figures.reopened))
    if overdue := figures.postmortems.get(Written.OVERDUE):
        parts.append(markdown("{} overdue", pluralize(overdue, "postmortem")))
    return join(parts, "; ")


def as_json(edition: Edition, policy: Policy) -> dict[str, Any]:
    """Build the report as JSON: durations in seconds, times in UTC, None for what is unknown."""
    figures, period = edition.figures, edition.period
    return {
        "shape": SCHEMA_VERSION,
        "repository": edition.repository,
        "made_at": _format_timestamp(edition.made_at),
        "policy": policy.profile,
        "period": {
            "kind": period.kind,
            "name": period.name,
            "zone": period.zone,
            "start": _format_timestamp(period.start),
            "end": _format_timestamp(period.end),
            "over": edition.is_over,
        },
        "incidents": {
            "closed": edition.incidents,
            "measured": len(figures.measured),
            "left_out": edition.left_out,
            "unread": list(edition.unread),
            "reopened": figures.reopened,
            "by_severity": {str(each): figures.severities.get(each, 0) for each in Severity},
            "by_type": {kind.value if kind else "": many for kind, many in figures.kinds.items()},
        },
        "times": {name: _distribution_json(found) for name, found in figures.times.items()},
        "goals": {
            name: {"within": _goal_seconds(name, policy), **_compliance_json(tally)}
            for name, tally in figures.goals.items()
        },
        "compliance": {
            **_compliance_json(figures.compliance),
            "clocks": [
                {"clock": promise.clock, "about": promise.about, **_compliance_json(tally)}
                for promise, tally in figures.clocks.items()
            ],
        },
        "postmortems": {each.value.replace(" ", "_"): figures.postmortems.get(each, 0) for each in Written},
        "list": [_incident_json(one) for one in figures.measured],
    }


def _gap_sentences(edition: Edition) -> Iterator[Markdown]:
    """Yield a sentence for each group of incidents that the figures do not include."""
    if edition.left_out:
        yield markdown(
            "Only the {} that were closed last are in the figures: {} more were closed before them.",
            len(edition.figures.measured) + len(edition.unread),
            edition.left_out,
        )
    if edition.unread:
        yield markdown(
            "{} could not be read and {} in no figure: {}.",
            *_count_with_verb(len(edition.unread)),
            join_limited(edition.unread, 20),
        )


def _count_with_verb(number: int) -> tuple[str, str]:
    return pluralize(number, "issue"), "is" if number == 1 else "are"


def _measure_row(name: str, figures: Figures, policy: Policy) -> tuple[str, ...]:
    found, goal = figures.times[name], _goal_cell(name, figures, policy)
    if found is None:
        return _MEASURE_TITLES[name], to_markdown(0), _EMPTY_CELL, _EMPTY_CELL, _EMPTY_CELL, goal
    times = (to_markdown(format_timedelta(each)) for each in (found.median, found.p90, found.mean))
    return _MEASURE_TITLES[name], to_markdown(found.count), *times, goal


def _goal_cell(name: str, figures: Figures, policy: Policy) -> Markdown:
    """Say how often the goal was met; the goal for resolving applies to sev1 only."""
    goal = _GOAL_OF_MEASURE.get(name)
    if goal is None:
        return _EMPTY_CELL
    tally, within = figures.goals[goal], format_duration(getattr(policy.goals, goal))
    whose = markdown("{}: ", Severity.SEV1.inline_name(policy.scale)) if goal == "resolve" else markdown("")
    if tally.percent is None:
        return markdown("{}{}", whose, within)
    mark = "❌" if tally.missed else "✅"
    return markdown("{} {}{} of {} within {}", mark, whose, tally.kept, tally.kept + tally.missed, within)


def _clock_row(promise: Promise, tally: Tally, figures: Figures, policy: Policy) -> tuple[Markdown, Markdown, Markdown]:
    asked = [
        markdown("{} {}", severity.inline_name(policy.scale), wanted)
        for severity in figures.severities
        if (wanted := _target_phrase(promise, severity, policy))
    ]
    if promise.clock == regulatory.NAME and promise.about in policy.regulations:
        asked = [to_markdown(format_duration(policy.regulations[promise.about].within))]
    return (
        phrases.deadline_title(promise.clock, promise.about),
        join(asked) if asked else _EMPTY_CELL,
        _compliance_cells(tally),
    )


def _target_phrase(promise: Promise, severity: Severity, policy: Policy) -> Markdown:
    """Return the policy's target for that severity; empty: there is none."""
    if promise.clock == audience.NAME:
        return _audience_target(policy.audiences.get(promise.about, Audience()), severity)
    wanted = getattr(policy.targets_of(severity), promise.clock, None)
    return escape(format_target(wanted), 120) if wanted else markdown("")


def _audience_target(waits: Audience, severity: Severity) -> Markdown:
    first, updates = waits.first.get(severity), waits.updates.get(severity)
    parts = [to_markdown(format_duration(first))] if first is not None else []
    return join([*parts, *([markdown("every {}", format_duration(updates))] if updates is not None else [])], ", then ")


def _compliance_cells(tally: Tally) -> Markdown:
    """Build the last three cells of a row: met, missed, share."""
    return markdown("{} | {} | {}", tally.kept, tally.missed, _percent_cell(tally))


def _percent_cell(tally: Tally) -> Markdown:
    if tally.percent is None:
        return _EMPTY_CELL
    whole, tenths = divmod(round(tally.percent * 10), 10)
    return markdown("{}.{} %", whole, tenths) if tenths else markdown("{} %", whole)


def _severity_row(severity: Severity, figures: Figures, policy: Policy) -> tuple[Markdown, ...]:
    those = [one for one in figures.measured if one.incident.severity is severity]
    judged = [kept for one in those for kept in one.judged.values()]
    return (
        markdown("**{}**", severity.display_name(policy.scale)),
        to_markdown(len(those)),
        _median_cell(distribution(one.took.to_acknowledge for one in those)),
        _median_cell(distribution(one.took.to_resolve for one in those)),
        _percent_cell(Tally(sum(judged), len(judged) - sum(judged))),
    )


def _median_cell(found: Spread | None) -> Markdown:
    return _EMPTY_CELL if found is None else to_markdown(format_timedelta(found.median))


def _postmortem_counts(figures: Figures) -> Markdown:
    wanted = sum(figures.postmortems.values())
    if not wanted:
        return markdown("")
    states = join(markdown("{} {}", many, state.value) for state, many in figures.postmortems.items())
    return markdown("{} asked for: {}.", pluralize(wanted, "postmortem was", "postmortems were"), states)


def _incident_row(one: Measured, policy: Policy) -> tuple[Markdown, ...]:
    incident = one.incident
    again = markdown(" (reopened {})", pluralize(incident.reopened, "time")) if incident.reopened else markdown("")
    missed = join(phrases.deadline_title(each.clock, each.about) for each in one.missed)
    return (
        link(incident.number, incident.url),
        markdown("{}{}", escape(incident.title, 80), again),
        to_markdown(incident.severity.display_name(policy.scale)),
        _duration_cell(one.took.to_acknowledge),
        _duration_cell(one.took.to_resolve),
        markdown("❌ {}", missed) if missed else markdown("✅ nothing") if one.judged else _EMPTY_CELL,
        _postmortem_cell(one),
    )


def _duration_cell(time: timedelta | None) -> Markdown:
    return _EMPTY_CELL if time is None else to_markdown(format_timedelta(time))


def _postmortem_cell(one: Measured) -> Markdown:
    if one.postmortem is None:
        return _EMPTY_CELL
    mark = {Written.DONE: "✅", Written.LATE: "✅", Written.DUE: "⏳", Written.OVERDUE: "❌"}[one.postmortem]
    pull = one.incident.postmortem
    return markdown("{} {}", mark, link(one.postmortem.value, pull.url if pull else None))


def _incident_json(one: Measured) -> Mapping[str, Any]:
    incident, took, pull = one.incident, one.took, one.incident.postmortem
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
        "reopened": incident.reopened,
        "judged": [
            {"clock": promise.clock, "about": promise.about, "kept": kept} for promise, kept in one.judged.items()
        ],
        "postmortem": {
            "state": one.postmortem.value.replace(" ", "_") if one.postmortem else None,
            "url": pull.url if pull else None,
        },
    }


def _distribution_json(found: Spread | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    return {
        "incidents": found.count,
        "median": _whole_seconds(found.median),
        "p90": _whole_seconds(found.p90),
        "mean": _whole_seconds(found.mean),
    }


def _compliance_json(tally: Tally) -> dict[str, Any]:
    return {"kept": tally.kept, "missed": tally.missed, "percent": tally.percent}


def _goal_seconds(goal: str, policy: Policy) -> int | None:
    return _whole_seconds(getattr(policy.goals, goal).as_timedelta)


def _whole_seconds(time: timedelta | None) -> int | None:
    return None if time is None else int(time.total_seconds())


def _format_timestamp(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
