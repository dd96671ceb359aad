"""Renders the report on the incidents closed in a period: a page for people, and the same figures as JSON.

The JSON is a stable interface, documented in docs/reports.md: names are added, but never change.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.core.clocks import audience, regulatory
from app.core.metrics import Figures, Measured, Promise, Spread, Tally, Written, spread
from app.core.policy import Audience, Policy
from app.core.report_period import Period
from app.core.severity import Severity
from app.render.markdown import phrases
from app.render.markdown.markup import Markdown, code, joined, link, listed, md, rendered, safe, said
from app.render.time_format import count, length, span, target

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
_EMPTY_CELL = md("–")


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
    def over(self) -> bool:
        """True if the period had ended when the report was made."""
        return self.made_at >= self.period.end


def summary(edition: Edition, policy: Policy) -> Markdown:
    """Render the report as Markdown: the headline, the figures against the policy's goals, then each incident."""
    figures, period = edition.figures, edition.period
    return rendered(
        "report",
        period=md("{} {}", period.kind, period.name),
        headline=headline(edition),
        days=md("{} to {}, by the clocks of {}", f"{period.first}", f"{period.last}", code(period.zone)),
        over=edition.over,
        gaps=list(_lacking(edition)),
        measures=[_measure(name, figures, policy) for name in _MEASURE_TITLES] if figures.measured else [],
        clocks=[_clock(promise, tally, figures, policy) for promise, tally in figures.clocks.items()],
        together=_shares(figures.compliance),
        has_overrides=bool(policy.overrides),
        severities=[_severity(severity, figures, policy) for severity in figures.severities],
        kinds=joined(md("{} {}", kind.value if kind else "not said", many) for kind, many in figures.kinds.items()),
        postmortems=_postmortems(figures),
        incidents=[_incident(one, policy) for one in figures.measured],
    )


def headline(edition: Edition) -> Markdown:
    """Summarize the report in one sentence, on one line."""
    figures, period = edition.figures, edition.period
    when = md("in the {} {}" if edition.over else "in the {} {} so far", period.kind, period.name)
    if not edition.incidents:
        return md("No incident was closed {}", when)
    was = "was" if edition.incidents == 1 else "were"
    parts = [md("{} {} closed {}", count(edition.incidents, "incident"), was, when)]
    judged = figures.compliance
    if judged.percent is not None:
        total = judged.kept + judged.missed
        parts.append(md("{} of {} kept ({})", judged.kept, count(total, "deadline"), _percent(judged)))
    if figures.reopened:
        parts.append(md("{} reopened", figures.reopened))
    if overdue := figures.postmortems.get(Written.OVERDUE):
        parts.append(md("{} overdue", count(overdue, "postmortem")))
    return joined(parts, "; ")


def as_json(edition: Edition, policy: Policy) -> dict[str, Any]:
    """Build the report as JSON: durations in seconds, times in UTC, None for what is unknown."""
    figures, period = edition.figures, edition.period
    return {
        "shape": SCHEMA_VERSION,
        "repository": edition.repository,
        "made_at": _stamp(edition.made_at),
        "policy": policy.profile,
        "period": {
            "kind": period.kind,
            "name": period.name,
            "zone": period.zone,
            "start": _stamp(period.start),
            "end": _stamp(period.end),
            "over": edition.over,
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
        "times": {name: _spread(found) for name, found in figures.times.items()},
        "goals": {name: {"within": _within(name, policy), **_tally(tally)} for name, tally in figures.goals.items()},
        "compliance": {
            **_tally(figures.compliance),
            "clocks": [
                {"clock": promise.clock, "about": promise.about, **_tally(tally)}
                for promise, tally in figures.clocks.items()
            ],
        },
        "postmortems": {each.value.replace(" ", "_"): figures.postmortems.get(each, 0) for each in Written},
        "list": [_row(one) for one in figures.measured],
    }


def _lacking(edition: Edition) -> Iterator[Markdown]:
    """Yield a sentence for each group of incidents that the figures do not include."""
    if edition.left_out:
        yield md(
            "Only the {} that were closed last are in the figures: {} more were closed before them.",
            len(edition.figures.measured) + len(edition.unread),
            edition.left_out,
        )
    if edition.unread:
        yield md(
            "{} could not be read and {} in no figure: {}.", *_were(len(edition.unread)), listed(edition.unread, 20)
        )


def _were(number: int) -> tuple[str, str]:
    return count(number, "issue"), "is" if number == 1 else "are"


def _measure(name: str, figures: Figures, policy: Policy) -> tuple[str, ...]:
    found, goal = figures.times[name], _goal(name, figures, policy)
    if found is None:
        return _MEASURE_TITLES[name], safe(0), _EMPTY_CELL, _EMPTY_CELL, _EMPTY_CELL, goal
    times = (safe(span(each)) for each in (found.median, found.p90, found.mean))
    return _MEASURE_TITLES[name], safe(found.count), *times, goal


def _goal(name: str, figures: Figures, policy: Policy) -> Markdown:
    """Say how often the goal was met; the goal for resolving applies to sev1 only."""
    goal = _GOAL_OF_MEASURE.get(name)
    if goal is None:
        return _EMPTY_CELL
    tally, within = figures.goals[goal], length(getattr(policy.goals, goal))
    whose = md("{}: ", Severity.SEV1.said(policy.scale)) if goal == "resolve" else md("")
    if tally.percent is None:
        return md("{}{}", whose, within)
    mark = "❌" if tally.missed else "✅"
    return md("{} {}{} of {} within {}", mark, whose, tally.kept, tally.kept + tally.missed, within)


def _clock(promise: Promise, tally: Tally, figures: Figures, policy: Policy) -> tuple[Markdown, Markdown, Markdown]:
    asked = [
        md("{} {}", severity.said(policy.scale), wanted)
        for severity in figures.severities
        if (wanted := _asked(promise, severity, policy))
    ]
    if promise.clock == regulatory.NAME and promise.about in policy.regulations:
        asked = [safe(length(policy.regulations[promise.about].within))]
    return phrases.title_of(promise.clock, promise.about), joined(asked) if asked else _EMPTY_CELL, _shares(tally)


def _asked(promise: Promise, severity: Severity, policy: Policy) -> Markdown:
    """Return the policy's target for that severity; empty: there is none."""
    if promise.clock == audience.NAME:
        return _news(policy.audiences.get(promise.about, Audience()), severity)
    wanted = getattr(policy.targets_of(severity), promise.clock, None)
    return said(target(wanted), 120) if wanted else md("")


def _news(waits: Audience, severity: Severity) -> Markdown:
    first, updates = waits.first.get(severity), waits.updates.get(severity)
    parts = [safe(length(first))] if first is not None else []
    return joined([*parts, *([md("every {}", length(updates))] if updates is not None else [])], ", then ")


def _shares(tally: Tally) -> Markdown:
    """Build the last three cells of a row: met, missed, share."""
    return md("{} | {} | {}", tally.kept, tally.missed, _percent(tally))


def _percent(tally: Tally) -> Markdown:
    if tally.percent is None:
        return _EMPTY_CELL
    whole, tenths = divmod(round(tally.percent * 10), 10)
    return md("{}.{} %", whole, tenths) if tenths else md("{} %", whole)


def _severity(severity: Severity, figures: Figures, policy: Policy) -> tuple[Markdown, ...]:
    those = [one for one in figures.measured if one.incident.severity is severity]
    judged = [kept for one in those for kept in one.judged.values()]
    return (
        md("**{}**", severity.on(policy.scale)),
        safe(len(those)),
        _median(spread(one.took.to_acknowledge for one in those)),
        _median(spread(one.took.to_resolve for one in those)),
        _percent(Tally(sum(judged), len(judged) - sum(judged))),
    )


def _median(found: Spread | None) -> Markdown:
    return _EMPTY_CELL if found is None else safe(span(found.median))


def _postmortems(figures: Figures) -> Markdown:
    wanted = sum(figures.postmortems.values())
    if not wanted:
        return md("")
    states = joined(md("{} {}", many, state.value) for state, many in figures.postmortems.items())
    return md("{} asked for: {}.", count(wanted, "postmortem was", "postmortems were"), states)


def _incident(one: Measured, policy: Policy) -> tuple[Markdown, ...]:
    incident = one.incident
    again = md(" (reopened {})", count(incident.reopened, "time")) if incident.reopened else md("")
    missed = joined(phrases.title_of(each.clock, each.about) for each in one.missed)
    return (
        link(incident.number, incident.url),
        md("{}{}", said(incident.title, 80), again),
        safe(incident.severity.on(policy.scale)),
        _took(one.took.to_acknowledge),
        _took(one.took.to_resolve),
        md("❌ {}", missed) if missed else md("✅ nothing") if one.judged else _EMPTY_CELL,
        _document(one),
    )


def _took(time: timedelta | None) -> Markdown:
    return _EMPTY_CELL if time is None else safe(span(time))


def _document(one: Measured) -> Markdown:
    if one.postmortem is None:
        return _EMPTY_CELL
    mark = {Written.DONE: "✅", Written.LATE: "✅", Written.DUE: "⏳", Written.OVERDUE: "❌"}[one.postmortem]
    pull = one.incident.postmortem
    return md("{} {}", mark, link(one.postmortem.value, pull.url if pull else None))


def _row(one: Measured) -> Mapping[str, Any]:
    incident, took, pull = one.incident, one.took, one.incident.postmortem
    return {
        "number": incident.number,
        "url": incident.url,
        "title": incident.title,
        "severity": str(incident.severity),
        "type": incident.report.kind.value if incident.report.kind else "",
        "services": list(incident.report.services),
        "declared_at": _stamp(incident.declared_at),
        "closed_at": _stamp(incident.closed_at),
        "times": {name: _seconds(getattr(took, name)) for name in _MEASURE_TITLES},
        "reopened": incident.reopened,
        "judged": [
            {"clock": promise.clock, "about": promise.about, "kept": kept} for promise, kept in one.judged.items()
        ],
        "postmortem": {
            "state": one.postmortem.value.replace(" ", "_") if one.postmortem else None,
            "url": pull.url if pull else None,
        },
    }


def _spread(found: Spread | None) -> Mapping[str, Any] | None:
    if found is None:
        return None
    return {
        "incidents": found.count,
        "median": _seconds(found.median),
        "p90": _seconds(found.p90),
        "mean": _seconds(found.mean),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    return {"kept": tally.kept, "missed": tally.missed, "percent": tally.percent}


def _within(goal: str, policy: Policy) -> int | None:
    return _seconds(getattr(policy.goals, goal).elapsed)


def _seconds(time: timedelta | None) -> int | None:
    return None if time is None else int(time.total_seconds())


def _stamp(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
