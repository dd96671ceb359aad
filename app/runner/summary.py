"""Render the summary page of a run: what it found, what it did, and what comes next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.clocks import alarms
from app.core.effects import Announce, ClosingQuestion, Escalate, Notice, Page, Remind, SeverityQuestion
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown.markup import Markdown, code_span, escape, format_login, join, join_limited, link, markdown
from app.render.time_format import format_time, format_timedelta, format_utc, pluralize
from app.runner.active_policy import RunnerPolicy
from app.runner.apply import Outcome

_NOTICE_NAMES: dict[type[Notice], str] = {
    Page: "page",
    Escalate: "escalation",
    Announce: "announcement",
    Remind: "reminder",
    SeverityQuestion: "question about the severity",
    ClosingQuestion: "question whether it is over",
}
_MAX_INCIDENTS = 30
"""Maximum number of incidents listed for a sweep."""


def incident_summary(incident: Incident, active: RunnerPolicy, outcome: Outcome, now: datetime) -> str:
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


def _outcome_phrases(outcome: Outcome) -> Iterator[Markdown]:
    yield from _postmortem_phrases(outcome)
    if outcome.added_labels:
        yield markdown("labels set: {}", join(map(code_span, sorted(outcome.added_labels))))
    if outcome.removed_labels:
        yield markdown("labels taken off: {}", join(map(code_span, sorted(outcome.removed_labels))))
    if outcome.assigned_logins:
        yield markdown("assigned: {}", join(map(format_login, outcome.assigned_logins)))
    if outcome.notices:
        yield markdown("said in one comment: {}", count_notices(outcome.notices))
    if outcome.reply_count:
        yield markdown("answered: {}", pluralize(outcome.reply_count, "comment"))
    if outcome.reaction_count:
        yield markdown("obeyed: {}", pluralize(outcome.reaction_count, "comment"))
    if outcome.board_action:
        yield markdown("board {}: {}", outcome.board_action, link("as it stands", outcome.board_url))
    yield from _waiting_phrases(outcome)


def _waiting_phrases(outcome: Outcome) -> Iterator[Markdown]:
    """Yield what was not done, and why."""
    if outcome.refusal:
        yield markdown("refused: {}", escape(outcome.refusal, 600))
    if outcome.throttled_until is not None:
        yield markdown(
            "held back until {}: the issue has had enough comments for now", format_utc(outcome.throttled_until)
        )


def _postmortem_phrases(outcome: Outcome) -> Iterator[Markdown]:
    if outcome.pull_request is not None:
        yield markdown(
            "postmortem: {}", link(markdown("pull request {}", outcome.pull_request.number), outcome.pull_request.url)
        )
    elif outcome.postmortem_refusal:
        yield markdown("postmortem: {}", escape(outcome.postmortem_refusal, 400))


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


def _warning_lines(active: RunnerPolicy) -> list[str]:
    return ["", markdown("> **{}**", escape(active.warning, 600))] if active.warning else []


@dataclass(frozen=True, slots=True)
class SweptIncident:
    """An incident handled by a sweep.  `delay`: how late its alarm was; None: none was due."""

    incident: Incident
    reason: str
    delay: timedelta | None
    outcome: Outcome


def sweep_summary(
    total: int,
    swept: Sequence[SweptIncident],
    notes: Sequence[Markdown],
    active: RunnerPolicy,
    schedule_delay: timedelta | None,
) -> str:
    """Render the summary of a sweep, the most delayed alarm first.

    `total` is the number of incidents examined.  `schedule_delay`: how late the schedule itself was; None: unknown.
    """
    rows = sorted(swept, key=lambda each: each.delay or timedelta(), reverse=True)
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


def _delay_sentences(rows: Sequence[SweptIncident], schedule_delay: timedelta | None) -> Iterator[Markdown]:
    delays = [each.delay for each in rows if each.delay is not None]
    if delays:
        yield markdown("The alarm that waited longest was **{}** late.", format_timedelta(max(delays)))
    else:
        yield markdown("No alarm was due.")
    if schedule_delay is not None and schedule_delay >= timedelta(minutes=1):
        yield markdown("The run itself began at least {} after its time.", format_timedelta(schedule_delay))


def _sweep_row(each: SweptIncident) -> Markdown:
    incident = each.incident
    phrases = list(_outcome_phrases(each.outcome))
    return markdown(
        "| {} {} | {} | {} | {} |",
        link(incident.id, incident.url),
        escape(incident.title, 60),
        each.reason,
        format_timedelta(each.delay) if each.delay is not None else markdown("–"),
        join_limited(phrases, 6, "; ") if phrases else markdown("nothing"),
    )
