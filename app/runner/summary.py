"""Renders the summary page of a run: what it found, what it did, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.clocks import alarms
from app.core.effects import Announce, Ask, Escalate, Notice, Page, Remind
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown.markup import Markdown, code_span, escape, format_login, join, join_limited, link, markdown
from app.render.time_format import format_time, format_timedelta, format_utc, pluralize
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


def incident_summary(incident: Incident, active: InForce, outcome: Done, now: datetime) -> str:
    """Render the summary of one incident, with what was done for it."""
    policy = active.policy
    lines = [f"- {each}" for each in _outcome_phrases(outcome)] or [
        "- nothing had to be done: everything stands as it should"
    ]
    return "\n".join(
        [
            markdown("### {} {}", link(incident.id, incident.url), escape(incident.title, 120)),
            "",
            markdown("**{}**", _summary_line(incident, policy)),
            "",
            *lines,
            "",
            _next_alarm_sentence(incident, policy, now),
            *_warning_lines(active),
        ]
    )


def skipped_summary(sentence: str) -> str:
    """Render the summary of a run that had nothing to do, with the reason."""
    return markdown("### Muster\n\n{}", escape(sentence, 500))


def _summary_line(incident: Incident, policy: Policy) -> Markdown:
    owner = markdown("{} has it", format_login(incident.commander)) if incident.commander else markdown("nobody has it")
    return join((incident.severity.inline_name(policy.scale), incident.status.value, owner), " · ")


def _outcome_phrases(outcome: Done) -> Iterator[Markdown]:
    if outcome.pull is not None:
        yield markdown("postmortem: {}", link(markdown("pull request {}", outcome.pull.number), outcome.pull.url))
    if outcome.added:
        yield markdown("labels set: {}", join(map(code_span, sorted(outcome.added))))
    if outcome.removed:
        yield markdown("labels taken off: {}", join(map(code_span, sorted(outcome.removed))))
    if outcome.assigned:
        yield markdown("assigned: {}", join(map(format_login, outcome.assigned)))
    if outcome.said:
        yield markdown("said in one comment: {}", count_notices(outcome.said))
    if outcome.replies:
        yield markdown("answered: {}", pluralize(outcome.replies, "comment"))
    if outcome.reactions:
        yield markdown("obeyed: {}", pluralize(outcome.reactions, "comment"))
    if outcome.board:
        yield markdown("board {}: {}", outcome.board, link("as it stands", outcome.board_url))
    if outcome.held_until is not None:
        yield markdown("held back until {}: the issue has had enough comments for now", format_utc(outcome.held_until))


def count_notices(notices: Sequence[Notice]) -> Markdown:
    """Count notices by kind: `page, 2 reminders`."""
    counts: dict[str, int] = {}
    for each in notices:
        name = _NOTICE_NAMES.get(type(each), "notice")
        counts[name] = counts.get(name, 0) + 1
    return join(name if number == 1 else pluralize(number, name) for name, number in counts.items())


def _next_alarm_sentence(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    due = [alarm.due for alarm in alarms(incident, policy)][:1]
    if not due:
        return markdown("No clock of this incident runs.")
    shown = format_time(due[0], policy.zone, day=now.date())
    return markdown("The next clock of this incident rings at {}: a sweep has to run then, or a while later.", shown)


def _warning_lines(active: InForce) -> list[str]:
    return ["", markdown("> **{}**", escape(active.concern, 600))] if active.concern else []


@dataclass(frozen=True, slots=True)
class Swept:
    """An incident handled by a sweep.  `delay`: how late its alarm was; None: none was due."""

    incident: Incident
    why: str
    late: timedelta | None
    done: Done


def sweep_summary(
    total: int, swept: Sequence[Swept], notes: Sequence[Markdown], active: InForce, schedule_delay: timedelta | None
) -> str:
    """Render the summary of a sweep, the most delayed alarm first.

    `total` is the number of incidents examined.  `schedule_delay`: how late the schedule itself was; None: unknown.
    """
    rows = sorted(swept, key=lambda each: each.late or timedelta(), reverse=True)
    lines = [
        markdown("### Muster looked after {}", pluralize(total, "incident")),
        "",
        join(
            [
                *_delay_sentences(rows, schedule_delay),
                markdown("{} looked into.", pluralize(len(rows), "incident was", "incidents were")),
            ],
            " ",
        ),
    ]
    if rows:
        lines += [
            "",
            "| Incident | Why | Alarm late by | Done |",
            "|:---|:---|:---|:---|",
            *map(_sweep_row, rows[:_MAX_INCIDENTS]),
        ]
        lines += [markdown("\nand {} more", len(rows) - _MAX_INCIDENTS)] if len(rows) > _MAX_INCIDENTS else []
    lines += ["", *(f"- {other}" for other in notes)] if notes else []
    return "\n".join([*lines, *_warning_lines(active)])


def _delay_sentences(rows: Sequence[Swept], schedule_delay: timedelta | None) -> Iterator[Markdown]:
    delays = [each.late for each in rows if each.late is not None]
    if delays:
        yield markdown("The alarm that waited longest was **{}** late.", format_timedelta(max(delays)))
    else:
        yield markdown("No alarm was due.")
    if schedule_delay is not None and schedule_delay >= timedelta(minutes=1):
        yield markdown("The run itself began at least {} after its time.", format_timedelta(schedule_delay))


def _sweep_row(each: Swept) -> Markdown:
    incident = each.incident
    phrases = list(_outcome_phrases(each.done))
    return markdown(
        "| {} {} | {} | {} | {} |",
        link(incident.id, incident.url),
        escape(incident.title, 60),
        each.why,
        format_timedelta(each.late) if each.late is not None else markdown("–"),
        join_limited(phrases, 6, "; ") if phrases else markdown("nothing"),
    )
