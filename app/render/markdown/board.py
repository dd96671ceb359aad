"""Render the board: one comment that shows the state of an incident, edited in place.

It is read on a phone at three in the morning, so what matters most comes first and long parts are folded away.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime, timedelta

from app.core.clocks import Deadline, deadlines
from app.core.commands import COMMANDS
from app.core.effective_policy import policy_for
from app.core.escalation import resolve_recipients
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.on_call import next_hand_off, people_of, people_on_call
from app.core.policy import ON_CALL, Policy, Targets
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    code_span,
    escape,
    fits_in_comment,
    format_login,
    format_logins,
    join,
    join_limited,
    link,
    markdown,
    mention,
    render_template,
    to_markdown,
    with_footer,
)
from app.render.time_format import format_target, format_time, format_timedelta, format_utc, pluralize

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


def render_board(
    incident: Incident,
    policy: Policy,
    now: datetime,
    *,
    comment_urls: Mapping[str, str],
    footer: str,
    warnings: Sequence[str] = (),
    quiet: bool = False,
) -> str:
    """Render the board as of `now`, never longer than GitHub accepts.

    `comment_urls` holds the URLs of our own comments by the key of the event or effect that they answer.  `footer` is
    appended unchanged.  `warnings` are sentences about what does not work on this incident.  `quiet`: the board
    mentions no one.
    """
    body, policy = Markdown(), policy_for(policy, incident)
    for rows in _TIMELINE_ROW_LIMITS:
        body = _body(incident, policy, now, comment_urls, rows, warnings=warnings, quiet=quiet)
        if fits_in_comment(body, footer):
            break
    return with_footer(body, footer)


def _body(
    incident: Incident,
    policy: Policy,
    now: datetime,
    comment_urls: Mapping[str, str],
    rows: int,
    *,
    warnings: Sequence[str],
    quiet: bool,
) -> Markdown:
    day = now.date()
    shown = incident.timeline[len(incident.timeline) - rows :] if rows < len(incident.timeline) else incident.timeline
    running_rows, decided_rows = _deadline_rows(incident, policy, now)
    return render_template(
        "board",
        sign=markdown("🚨" if incident.status.open else "✅"),
        id=incident.id,
        title=escape(incident.title),
        summary_line=_summary_line(incident, policy, now),
        unavailable=incident.unavailable,
        warnings=[
            *_questions(incident, policy),
            *(escape(warning, 700) for warning in (*_state_warnings(incident), *warnings)),
        ],
        deadlines=running_rows,
        decided=decided_rows,
        decided_title=_decided_title(decided_rows),
        now=format_utc(now, day=day),
        as_of=format_time(now, policy.zone),
        facts=list(_facts(incident, policy, now, comment_urls, quiet=quiet)),
        update=_latest_update(incident, policy, comment_urls, day),
        closing_items=list(_closing_items(incident, policy)),
        timeline=[
            (phrases.timeline_link(format_utc(e.at, day=day), e, comment_urls), phrases.author(e), escape(e.sentence))
            for e in reversed(shown)
        ],
        timeline_title=_timeline_title(len(incident.timeline), len(shown)),
        commands=[(code_span(command.usage), command.summary) for command in COMMANDS.values()],
    )


def _state_warnings(incident: Incident) -> Iterator[str]:
    """Yield what GitHub does not let us do on this incident, a sentence each, and what would help."""
    if incident.conversation_locked:
        yield (
            "The conversation is locked, so our comments wait until somebody unlocks it."
            " Clocks, labels, assignments and messages to people go on."
        )
    if incident.postmortem_refusal and incident.postmortem is None:
        yield (
            f"The postmortem pull request cannot be opened. {incident.postmortem_refusal}"
            " It is tried again every day, and at once on /postmortem."
        )


def _questions(incident: Incident, policy: Policy) -> Iterator[Markdown]:
    """Yield what responders have to decide, because people without rights changed the issue."""
    if incident.disputed_closing is not None:
        yield phrases.closing_question(incident.disputed_closing)
    if (question := phrases.pending_edit_question(incident, policy)) is not None:
        yield question


def _summary_line(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    length = format_timedelta(phrases.open_duration(incident, now))
    duration = markdown("open for {}", length) if incident.status.open else markdown("took {}", length)
    return join((phrases.severity(incident, policy), incident.status.value, duration, phrases.owner(incident)), " · ")


DeadlineRow = tuple[Markdown, Markdown, Markdown]
"""A deadline's title, its due time and its status."""


def _deadline_rows(incident: Incident, policy: Policy, now: datetime) -> tuple[list[DeadlineRow], list[DeadlineRow]]:
    """Return the rows to show and the rows to fold away: running deadlines first, then by due time.

    While the incident is open, many decided deadlines would hide those that still need action.
    """
    by_due = sorted(deadlines(incident, policy), key=lambda promise: promise.due)
    running = [_deadline_row(each, incident, policy, now) for each in by_due if each.met_at is None]
    decided = [_deadline_row(each, incident, policy, now) for each in by_due if each.met_at is not None]
    cadence = policy.targets.get(incident.severity, Targets()).update
    future_rows = (
        [
            (
                phrases.deadline_title("update"),
                markdown("every {} once somebody has it", format_target(cadence)),
                markdown("–"),
            )
        ]
        if cadence and incident.status is Status.TRIGGERED
        else []
    )
    if incident.status.open and len(decided) > _MAX_DECIDED_ROWS:
        return [*running, *future_rows], decided
    return [*running, *decided, *future_rows], []


def _deadline_row(deadline: Deadline, incident: Incident, policy: Policy, now: datetime) -> DeadlineRow:
    due = to_markdown(format_time(deadline.due, policy.zone, day=now.date()))
    return phrases.deadline_title(deadline.clock, deadline.about), due, phrases.deadline_status(deadline, incident, now)


def _decided_title(rows: Sequence[DeadlineRow]) -> Markdown:
    met = sum(stands.startswith("✅") for _, _, stands in rows)
    return markdown("Deadlines that are decided: {} met, {} missed", met, len(rows) - met)


def _closing_items(incident: Incident, policy: Policy) -> Iterator[Markdown]:
    """Yield what must be true before the issue is closed (D6, D7)."""
    if incident.severity not in policy.closing.severities:
        return
    if incident.status is Status.RESOLVED:
        yield from (
            markdown("recovery verified: {}", escape(way, 80)) for way in policy.closing.verify[:_MAX_CLOSING_ITEMS]
        )
    if incident.status in (Status.RESOLVED, Status.VERIFIED):
        yield from (escape(item, 200) for item in policy.closing.checklist[:_MAX_CLOSING_ITEMS])


Fact = tuple[str, Sequence[Markdown]]
"""A name and its values; several values become a list."""


def _facts(
    incident: Incident, policy: Policy, now: datetime, comment_urls: Mapping[str, str], *, quiet: bool
) -> Iterator[Fact]:
    report, day = incident.report, now.date()
    if incident.status.open:
        yield "On call", [_on_call(incident, policy, now, quiet=quiet)]
        yield from _link_facts(incident, policy)
    yield from _escalation_facts(incident, policy, now, comment_urls)
    if report.summary.strip():
        yield "Summary", [escape(report.summary, 600)]
    uncertainty = markdown(", not sure") if incident.grade.uncertain else markdown("")
    yield "Grade", [markdown("{}{}: {}", phrases.severity(incident, policy), uncertainty, _reasons(incident))]
    if report.services:
        yield "Services", [phrases.services(incident, policy)]
    if impact := list(phrases.impact(incident)):
        yield "Impact", impact
    yield from _time_facts(incident, policy, day)
    if pull := incident.postmortem:
        yield "Postmortem", [markdown("{}, {}", link(markdown("pull request {}", pull.number), pull.url), pull.state)]
    elif incident.postmortem_wanted:
        yield (
            "Postmortem",
            [
                markdown(
                    "its pull request is {}",
                    "refused by GitHub, see above" if incident.postmortem_refusal else "being opened",
                )
            ],
        )


def _time_facts(incident: Incident, policy: Policy, day: date) -> Iterator[Fact]:
    report = incident.report
    if report.started_at:
        yield "Started", [to_markdown(format_time(report.started_at, policy.zone, day=day))]
    at = format_time(report.detected_at, policy.zone, day=day) if report.detected_at else ""
    by = f"by {report.source.value}" if report.source else ""
    if at or by:
        yield "Detected", [join(filter(None, (at, by)), " ")]
    yield (
        "Reported",
        [
            markdown(
                "{} by {}", format_time(incident.declared_at, policy.zone, day=day), format_login(incident.opened_by)
            )
        ],
    )
    if incident.reopen_count:
        yield "Reopened", [to_markdown(pluralize(incident.reopen_count, "time"))]


def _on_call(incident: Incident, policy: Policy, now: datetime, *, quiet: bool) -> Markdown:
    """Name who is on call; mentioning the first notifies them when the board is created.

    They are not mentioned when the board is `quiet` or the incident is already acknowledged.
    """
    logins = people_of((ON_CALL,), policy, now)
    if not logins:
        return phrases.unstaffed_warning((ON_CALL,), resolve_recipients(incident, policy, (ON_CALL,), now).people)
    first_person = mention(logins[0]) if incident.status is Status.TRIGGERED and not quiet else format_login(logins[0])
    everyone = markdown("{}, then {}", first_person, format_logins(logins[1:])) if logins[1:] else first_person
    return markdown("{}{}", everyone, _hand_off(policy, now))


def _hand_off(policy: Policy, now: datetime) -> Markdown:
    """Say when the first person on call changes, if that is within a day."""
    rotation = policy.rotations.get(ON_CALL)
    if rotation is None:
        return markdown("")
    current, at = people_on_call(rotation, now)[:1], next_hand_off(rotation, now)
    for _ in range(_MAX_HAND_OFFS):  # a change may end an override without changing who is first
        if at is None or at - now > _HAND_OFF_PERIOD:
            break
        if (following := people_on_call(rotation, at)[:1]) != current:
            return markdown(
                "; {} takes over at {}",
                format_logins(following) or markdown("nobody"),
                format_time(at, policy.zone, day=now.date()),
            )
        at = next_hand_off(rotation, at)
    return markdown("")


def _link_facts(incident: Incident, policy: Policy) -> Iterator[Fact]:
    """Yield the links to the war room and the runbooks."""
    if war_room := places.war_room_link(incident, policy):
        yield "War room", [war_room]
    if runbooks := places.runbook_links(incident, policy):
        yield "Runbooks", [join_limited(runbooks, 8)]


def _escalation_facts(
    incident: Incident, policy: Policy, now: datetime, comment_urls: Mapping[str, str]
) -> Iterator[Fact]:
    steps = phrases.escalation_history(incident, comment_urls, now.date(), 8)
    if steps or incident.status.open:
        yield "Escalated so far", steps or [markdown("nobody yet")]
    if incident.unavailable or not incident.status.open:
        return
    upcoming = phrases.upcoming_escalations(incident, policy, now)
    reason = "the ladder has ended" if policy.ladders.get(incident.severity) else "this severity has no ladder"
    yield (
        "Comes next",
        upcoming[:3] or [markdown("nothing by itself, {}. `/escalate reason` asks the next one", reason)],
    )


def _reasons(incident: Incident) -> Markdown:
    return join((escape(reason, 240) for reason in incident.grade.reasons[:5]), "; ") or markdown("no reason was given")


def _latest_update(
    incident: Incident, policy: Policy, comment_urls: Mapping[str, str], day: date
) -> tuple[Markdown, Markdown] | None:
    updates = phrases.status_updates(incident)
    if not updates:
        return None
    last = updates[-1]
    when = phrases.timeline_link(format_time(last.at, policy.zone, day=day), last, comment_urls)
    return markdown("{} by {}", when, format_login(last.by)), phrases.update_text(last)


def _timeline_title(entries: int, shown: int) -> Markdown:
    if shown == entries:
        return markdown("Timeline, {}, the newest first", pluralize(entries, "entry", "entries"))
    return markdown("Timeline, the newest {} of {} entries", shown, entries)
