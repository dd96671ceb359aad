"""Renders the board: one comment that shows the state of an incident, edited in place.

It is read on a phone at three in the morning, so what matters most comes first and long parts are folded away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from app.core.clocks import Deadline, deadlines
from app.core.commands import COMMANDS
from app.core.effective_policy import rules
from app.core.escalation import reached
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.on_call import next_hand_off, on_call, people_of
from app.core.policy import ON_CALL, Policy, Targets
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
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
from app.render.time_format import count, moment, span, target, utc

_TIMELINE_ROW_LIMITS = (30, 20, 10, 5, 0)
"""Numbers of timeline rows to try, until the comment is short enough (M39)."""

_MAX_DECIDED_ROWS = 3
"""Maximum number of met and missed deadlines shown beside the running ones."""

_HAND_OFF_PERIOD = timedelta(days=1)
"""How far ahead the next hand-off is shown."""
_MAX_HAND_OFFS = 24
"""Maximum number of rotation changes examined to find the next hand-off."""

_MAX_CLOSING_ITEMS = 20
"""Maximum number of items listed as conditions for closing."""


def board(
    incident: Incident,
    policy: Policy,
    now: datetime,
    *,
    links: Mapping[str, str],
    footer: str,
    concerns: Sequence[str] = (),
    quiet: bool = False,
) -> str:
    """Render the board as of `now`, never longer than GitHub accepts.

    `comment_urls` holds the URLs of our own comments by the key of the event or effect that they answer.  `footer` is
    appended unchanged.  `warnings` are sentences about what does not work on this incident.  `quiet`: the board
    mentions no one.
    """
    body, policy = Markdown(), rules(policy, incident)
    for rows in _TIMELINE_ROW_LIMITS:
        body = _body(incident, policy, now, links, rows, concerns=concerns, quiet=quiet)
        if fits(body, footer):
            break
    return signed(body, footer)


def _body(
    incident: Incident,
    policy: Policy,
    now: datetime,
    links: Mapping[str, str],
    rows: int,
    *,
    concerns: Sequence[str],
    quiet: bool,
) -> Markdown:
    day = now.date()
    shown = incident.timeline[len(incident.timeline) - rows :] if rows < len(incident.timeline) else incident.timeline
    running, decided = _deadlines(incident, policy, now)
    return rendered(
        "board",
        sign=md("🚨" if incident.status.open else "✅"),
        id=incident.id,
        title=said(incident.title),
        summary_line=_glance(incident, policy, now),
        unavailable=incident.left,
        warnings=[said(concern, 300) for concern in concerns],
        deadlines=running,
        decided=decided,
        decided_title=_decided_title(decided),
        now=utc(now, day=day),
        as_of=moment(now, policy.zone),
        facts=list(_facts(incident, policy, now, links, quiet=quiet)),
        update=_latest_update(incident, policy, links, day),
        closing_items=list(_owed(incident, policy)),
        timeline=[
            (phrases.link_of(utc(e.at, day=day), e, links), phrases.author(e), said(e.sentence))
            for e in reversed(shown)
        ],
        timeline_title=_timeline_title(len(incident.timeline), len(shown)),
        commands=[(code(command.usage), command.summary) for command in COMMANDS.values()],
    )


def _glance(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    length = span(phrases.open_for(incident, now))
    lasted = md("open for {}", length) if incident.status.open else md("took {}", length)
    return joined((phrases.severity(incident, policy), incident.status.value, lasted, phrases.holder(incident)), " · ")


DeadlineRow = tuple[Markdown, Markdown, Markdown]
"""A deadline's title, its due time and its status."""


def _deadlines(incident: Incident, policy: Policy, now: datetime) -> tuple[list[DeadlineRow], list[DeadlineRow]]:
    """Return the rows to show and the rows to fold away: running deadlines first, then by due time.

    While the incident is open, many decided deadlines would hide those that still need action.
    """
    promises = sorted(deadlines(incident, policy), key=lambda promise: promise.due)
    running = [_deadline(each, incident, policy, now) for each in promises if each.met_at is None]
    decided = [_deadline(each, incident, policy, now) for each in promises if each.met_at is not None]
    cadence = policy.targets.get(incident.severity, Targets()).update
    later = (
        [(phrases.title_of("update"), md("every {} once somebody has it", target(cadence)), md("–"))]
        if cadence and incident.status is Status.TRIGGERED
        else []
    )
    if incident.status.open and len(decided) > _MAX_DECIDED_ROWS:
        return [*running, *later], decided
    return [*running, *decided, *later], []


def _deadline(promise: Deadline, incident: Incident, policy: Policy, now: datetime) -> DeadlineRow:
    due = safe(moment(promise.due, policy.zone, day=now.date()))
    return phrases.title_of(promise.clock, promise.about), due, phrases.judged(promise, incident, now)


def _decided_title(rows: Sequence[DeadlineRow]) -> Markdown:
    met = sum(stands.startswith("✅") for _, _, stands in rows)
    return md("Deadlines that are decided: {} met, {} missed", met, len(rows) - met)


def _owed(incident: Incident, policy: Policy) -> Iterator[Markdown]:
    """Yield what must be true before the issue is closed (D6, D7)."""
    if incident.severity not in policy.closing.severities:
        return
    if incident.status is Status.RESOLVED:
        yield from (md("recovery verified: {}", said(way, 80)) for way in policy.closing.verify[:_MAX_CLOSING_ITEMS])
    if incident.status in (Status.RESOLVED, Status.VERIFIED):
        yield from (said(item, 200) for item in policy.closing.checklist[:_MAX_CLOSING_ITEMS])


Fact = tuple[str, Sequence[Markdown]]
"""A name and its values; several values become a list."""


def _facts(
    incident: Incident, policy: Policy, now: datetime, links: Mapping[str, str], *, quiet: bool
) -> Iterator[Fact]:
    report, day = incident.report, now.date()
    if incident.status.open:
        yield "On call", [_on_call(incident, policy, now, quiet=quiet)]
        yield from _places(incident, policy)
    yield from _ladder(incident, policy, now, links)
    if report.summary.strip():
        yield "Summary", [said(report.summary, 600)]
    unsure = md(", not sure") if incident.grade.unsure else md("")
    yield "Grade", [md("{}{}: {}", phrases.severity(incident, policy), unsure, _reasons(incident))]
    if report.services:
        yield "Services", [phrases.services(incident, policy)]
    if impact := list(phrases.impact(incident)):
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


def _on_call(incident: Incident, policy: Policy, now: datetime, *, quiet: bool) -> Markdown:
    """Name who is on call; mentioning the first notifies them when the board is created.

    They are not mentioned when the board is `quiet` or the incident is already acknowledged.
    """
    named = people_of((ON_CALL,), policy, now)
    if not named:
        return phrases.unnamed((ON_CALL,), reached(incident, policy, (ON_CALL,), now).people)
    first = mention(named[0]) if incident.status is Status.TRIGGERED and not quiet else person(named[0])
    asked = md("{}, then {}", first, people(named[1:])) if named[1:] else first
    return md("{}{}", asked, _hand_off(policy, now))


def _hand_off(policy: Policy, now: datetime) -> Markdown:
    """Say when the first person on call changes, if that is within a day."""
    rotation = policy.rotations.get(ON_CALL)
    if rotation is None:
        return md("")
    first, at = on_call(rotation, now)[:1], next_hand_off(rotation, now)
    for _ in range(_MAX_HAND_OFFS):  # a change may end an override without changing who is first
        if at is None or at - now > _HAND_OFF_PERIOD:
            break
        if (then := on_call(rotation, at)[:1]) != first:
            return md("; {} takes over at {}", people(then) or md("nobody"), moment(at, policy.zone, day=now.date()))
        at = next_hand_off(rotation, at)
    return md("")


def _places(incident: Incident, policy: Policy) -> Iterator[Fact]:
    """Yield the links to the war room and the runbooks."""
    if room := places.war_room(incident, policy):
        yield "War room", [room]
    if books := places.runbooks(incident, policy):
        yield "Runbooks", [listed(books, 8)]


def _ladder(incident: Incident, policy: Policy, now: datetime, links: Mapping[str, str]) -> Iterator[Fact]:
    steps = phrases.escalated(incident, links, now.date(), 8)
    if steps or incident.status.open:
        yield "Escalated so far", steps or [md("nobody yet")]
    if incident.left or not incident.status.open:
        return
    following = phrases.coming(incident, policy, now)
    ended = "the ladder has ended" if policy.ladders.get(incident.severity) else "this severity has no ladder"
    yield "Comes next", following[:3] or [md("nothing by itself, {}. `/escalate reason` asks the next one", ended)]


def _reasons(incident: Incident) -> Markdown:
    return joined((said(reason, 240) for reason in incident.grade.reasons[:5]), "; ") or md("no reason was given")


def _latest_update(
    incident: Incident, policy: Policy, links: Mapping[str, str], day: date
) -> tuple[Markdown, Markdown] | None:
    updates = phrases.updates(incident)
    if not updates:
        return None
    last = updates[-1]
    when = phrases.link_of(moment(last.at, policy.zone, day=day), last, links)
    return md("{} by {}", when, person(last.by)), phrases.told(last)


def _timeline_title(entries: int, shown: int) -> Markdown:
    if shown == entries:
        return md("Timeline, {}, the newest first", count(entries, "entry", "entries"))
    return md("Timeline, the newest {} of {} entries", shown, entries)
