"""Renders the summary page of a run: what it found, what it did, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.clocks import alarms
from app.core.effects import Announce, Ask, Escalate, Notice, Page, Remind
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown.markup import Markdown, code, joined, link, listed, md, person, said
from app.render.time_format import count, moment, span, utc
from app.runner.active_policy import InForce
from app.runner.apply import Done

_NOTICE_NAMES: dict[type[Notice], str] = {
    Page: "page",
    Escalate: "escalation",
    Announce: "announcement",
    Remind: "reminder",
    Ask: "question about the severity",
}
_MAX_INCIDENTS = 30
"""Maximum number of incidents listed for a sweep."""


def of_incident(incident: Incident, force: InForce, done: Done, now: datetime) -> str:
    """Render the summary of one incident, with what was done for it."""
    policy = force.policy
    lines = [f"- {each}" for each in _deeds(done)] or ["- nothing had to be done: everything stands as it should"]
    return "\n".join(
        [
            md("### {} {}", link(incident.id, incident.url), said(incident.title, 120)),
            "",
            md("**{}**", _glance(incident, policy)),
            "",
            *lines,
            "",
            _next(incident, policy, now),
            *_concern(force),
        ]
    )


def nothing(sentence: str) -> str:
    """Render the summary of a run that had nothing to do, with the reason."""
    return md("### Muster\n\n{}", said(sentence, 500))


def _glance(incident: Incident, policy: Policy) -> Markdown:
    held = md("{} has it", person(incident.commander)) if incident.commander else md("nobody has it")
    return joined((incident.severity.said(policy.scale), incident.status.value, held), " · ")


def _deeds(done: Done) -> Iterator[Markdown]:
    if done.pull is not None:
        yield md("postmortem: {}", link(md("pull request {}", done.pull.number), done.pull.url))
    if done.added:
        yield md("labels set: {}", joined(map(code, sorted(done.added))))
    if done.removed:
        yield md("labels taken off: {}", joined(map(code, sorted(done.removed))))
    if done.assigned:
        yield md("assigned: {}", joined(map(person, done.assigned)))
    if done.said:
        yield md("said in one comment: {}", told(done.said))
    if done.replies:
        yield md("answered: {}", count(done.replies, "comment"))
    if done.reactions:
        yield md("obeyed: {}", count(done.reactions, "comment"))
    if done.board:
        yield md("board {}: {}", done.board, link("as it stands", done.board_url))
    if done.held_until is not None:
        yield md("held back until {}: the issue has had enough comments for now", utc(done.held_until))


def told(notices: Sequence[Notice]) -> Markdown:
    """Count notices by kind: `page, 2 reminders`."""
    kinds: dict[str, int] = {}
    for each in notices:
        name = _NOTICE_NAMES.get(type(each), "notice")
        kinds[name] = kinds.get(name, 0) + 1
    return joined(name if number == 1 else count(number, name) for name, number in kinds.items())


def _next(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    due = [alarm.due for alarm in alarms(incident, policy)][:1]
    if not due:
        return md("No clock of this incident runs.")
    shown = moment(due[0], policy.zone, day=now.date())
    return md("The next clock of this incident rings at {}: a sweep has to run then, or a while later.", shown)


def _concern(force: InForce) -> list[str]:
    return ["", md("> **{}**", said(force.concern, 600))] if force.concern else []


@dataclass(frozen=True, slots=True)
class Swept:
    """An incident handled by a sweep.  `delay`: how late its alarm was; None: none was due."""

    incident: Incident
    why: str
    late: timedelta | None
    done: Done


def of_sweep(
    looked: int, swept: Sequence[Swept], others: Sequence[Markdown], force: InForce, slot: timedelta | None
) -> str:
    """Render the summary of a sweep, the most delayed alarm first.

    `total` is the number of incidents examined.  `schedule_delay`: how late the schedule itself was; None: unknown.
    """
    rows = sorted(swept, key=lambda each: each.late or timedelta(), reverse=True)
    lines = [
        md("### Muster looked after {}", count(looked, "incident")),
        "",
        joined([*_lag(rows, slot), md("{} looked into.", count(len(rows), "incident was", "incidents were"))], " "),
    ]
    if rows:
        lines += [
            "",
            "| Incident | Why | Alarm late by | Done |",
            "|:---|:---|:---|:---|",
            *map(_row, rows[:_MAX_INCIDENTS]),
        ]
        lines += [md("\nand {} more", len(rows) - _MAX_INCIDENTS)] if len(rows) > _MAX_INCIDENTS else []
    lines += ["", *(f"- {other}" for other in others)] if others else []
    return "\n".join([*lines, *_concern(force)])


def _lag(rows: Sequence[Swept], slot: timedelta | None) -> Iterator[Markdown]:
    late = [each.late for each in rows if each.late is not None]
    if late:
        yield md("The alarm that waited longest was **{}** late.", span(max(late)))
    else:
        yield md("No alarm was due.")
    if slot is not None and slot >= timedelta(minutes=1):
        yield md("The run itself began at least {} after its time.", span(slot))


def _row(each: Swept) -> Markdown:
    incident = each.incident
    deeds = list(_deeds(each.done))
    return md(
        "| {} {} | {} | {} | {} |",
        link(incident.id, incident.url),
        said(incident.title, 60),
        each.why,
        span(each.late) if each.late is not None else md("–"),
        listed(deeds, 6, "; ") if deeds else md("nothing"),
    )
