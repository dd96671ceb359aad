"""The board: one comment that says how an incident stands, edited in place.

It is read at three in the morning on a phone, so what decides comes first, and what is long is folded away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime

from app.core.clocks import deadlines
from app.core.commands import COMMANDS
from app.core.incident import Incident
from app.core.ladder import reached
from app.core.lifecycle import Status
from app.core.policy import ON_CALL, Policy, Targets
from app.core.rota import people_of
from app.core.rules import rules
from app.render import facts
from app.render.markdown import (
    Markdown,
    code,
    fits,
    joined,
    link,
    listed,
    md,
    mention,
    people,
    person,
    rendered,
    safe,
    said,
    signed,
)
from app.render.words import count, moment, span, target, utc

_ROWS = (30, 20, 10, 5, 0)
"""How many rows of the timeline are tried, until the comment is short enough (M39)."""


def board(incident: Incident, policy: Policy, now: datetime, *, links: Mapping[str, str], footer: str) -> str:
    """The text of the board as of `now`, never longer than GitHub takes.

    `links` are the addresses of our own comments, by the key of the event or effect that they answer.  `footer` is the
    end of the text, unchanged.
    """
    body, policy = Markdown(), rules(policy, incident)
    for rows in _ROWS:
        body = _body(incident, policy, now, links, rows)
        if fits(body, footer):
            break
    return signed(body, footer)


def _body(incident: Incident, policy: Policy, now: datetime, links: Mapping[str, str], rows: int) -> Markdown:
    day = now.date()
    shown = incident.timeline[len(incident.timeline) - rows :] if rows < len(incident.timeline) else incident.timeline
    return rendered(
        "board",
        sign=md("🚨" if incident.status.open else "✅"),
        id=incident.id,
        title=said(incident.title),
        glance=_glance(incident, policy, now),
        left=incident.left,
        deadlines=list(_deadlines(incident, policy, now)),
        now=utc(now, day=day),
        as_of=moment(now, policy.zone),
        facts=list(_facts(incident, policy, now, links)),
        update=_latest_update(incident, policy, links, day),
        timeline=[
            (facts.link_of(utc(e.at, day=day), e, links), facts.author(e), said(e.sentence)) for e in reversed(shown)
        ],
        timeline_title=_timeline_title(len(incident.timeline), len(shown)),
        commands=[(code(command.usage), command.summary) for command in COMMANDS.values()],
    )


def _glance(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    length = span(facts.open_for(incident, now))
    lasted = md("open for {}", length) if incident.status.open else md("took {}", length)
    return joined((facts.severity(incident, policy), incident.status.value, lasted, facts.holder(incident)), " · ")


def _deadlines(incident: Incident, policy: Policy, now: datetime) -> Iterator[tuple[object, object, object]]:
    """What is due, when, and how it stands: what still runs first, the earliest first."""
    promises = deadlines(incident, policy)
    for promise in sorted(promises, key=lambda promise: (promise.met_at is not None, promise.due)):
        due = moment(promise.due, policy.zone, day=now.date())
        yield facts.title_of(promise.clock), due, facts.judged(promise, incident, now)
    cadence = policy.targets.get(incident.severity, Targets()).update
    if cadence is not None and incident.status is Status.TRIGGERED:
        yield facts.title_of("update"), md("every {} once somebody has it", target(cadence)), md("–")


Fact = tuple[str, Sequence[Markdown]]
"""A name and what is known under it; several answers become a list."""


def _facts(incident: Incident, policy: Policy, now: datetime, links: Mapping[str, str]) -> Iterator[Fact]:
    report, day = incident.report, now.date()
    yield from _ladder(incident, policy, now, links)
    if report.summary.strip():
        yield "Summary", [said(report.summary, 600)]
    unsure = md(", not sure") if incident.grade.unsure else md("")
    yield "Grade", [md("{}{}: {}", facts.severity(incident, policy), unsure, _reasons(incident))]
    if report.services:
        yield "Services", [listed((said(service, 80) for service in report.services), 12)]
    if impact := list(facts.impact(incident)):
        yield "Impact", impact
    yield from _times(incident, policy, day)
    if pull := incident.postmortem:
        yield "Postmortem", [md("{}, {}", link(md("pull request {}", pull.number), pull.url), pull.state)]
    elif incident.postmortem_wanted:
        yield "Postmortem", [md("its pull request is being opened")]


def _times(incident: Incident, policy: Policy, day: date) -> Iterator[Fact]:
    report = incident.report
    if report.started_at:
        yield "Started", [safe(moment(report.started_at, policy.zone, day=day))]
    at = moment(report.detected_at, policy.zone, day=day) if report.detected_at else ""
    by = f"by {report.source.value}" if report.source else ""
    if at or by:
        yield "Detected", [joined(filter(None, (at, by)), " ")]
    yield "Reported", [md("{} by {}", moment(incident.declared_at, policy.zone, day=day), person(incident.opened_by))]
    if incident.reopened:
        yield "Reopened", [safe(count(incident.reopened, "time"))]


def _on_call(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    """The one person whom the creation of the board notifies, as long as nobody has taken the incident."""
    named = people_of((ON_CALL,), policy, now)
    if not named:
        return facts.unnamed((ON_CALL,), reached(incident, policy, (ON_CALL,), now).people)
    first = mention(named[0]) if incident.status is Status.TRIGGERED else person(named[0])
    return md("{}, then {}", first, people(named[1:])) if named[1:] else first


def _ladder(incident: Incident, policy: Policy, now: datetime, links: Mapping[str, str]) -> Iterator[Fact]:
    steps = facts.escalated(incident, links, now.date(), 8)
    if incident.status.open:
        yield "On call", [_on_call(incident, policy, now)]
    if steps or incident.status.open:
        yield "Escalated so far", steps or [md("nobody yet")]
    if incident.left or not incident.status.open:
        return
    following = facts.coming(incident, policy, now)
    ended = "the ladder has ended" if policy.ladders.get(incident.severity) else "this severity has no ladder"
    yield "Comes next", following[:3] or [md("nothing by itself, {}. `/escalate reason` asks the next one", ended)]


def _reasons(incident: Incident) -> Markdown:
    return joined((said(reason, 240) for reason in incident.grade.reasons[:5]), "; ") or md("no reason was given")


def _latest_update(
    incident: Incident, policy: Policy, links: Mapping[str, str], day: date
) -> tuple[Markdown, Markdown] | None:
    updates = facts.updates(incident)
    if not updates:
        return None
    last = updates[-1]
    when = facts.link_of(moment(last.at, policy.zone, day=day), last, links)
    return md("{} by {}", when, person(last.by)), facts.told(last)


def _timeline_title(entries: int, shown: int) -> Markdown:
    if shown == entries:
        return md("Timeline, {}, the newest first", count(entries, "entry", "entries"))
    return md("Timeline, the newest {} of {} entries", shown, entries)
