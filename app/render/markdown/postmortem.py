"""Render the postmortem's file and pull request: known facts are filled in, the rest is asked for.

Blocks between `muster:begin` and `muster:end` are generated from the record; everything else belongs to the authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime

from app.core.calendar import due_time as due_by
from app.core.clocks import Deadline, deadlines
from app.core.effective_policy import policy_for
from app.core.incident import Incident
from app.core.metrics import durations
from app.core.policy import Duration, Policy, Target
from app.core.timeline import Entry, EntryKind
from app.ports import NewFile, postmortem_branches
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    code_block,
    escape,
    format_login,
    join,
    join_limited,
    link,
    markdown,
    quote,
    render_template,
    to_markdown,
)
from app.render.time_format import format_duration, format_target, format_time, format_timedelta, format_utc, pluralize
from app.text import defuse_line

_INCIDENT_ID_PATTERN = re.compile(r"INC-(?P<year>[0-9]{4})-[0-9]{4}-[0-9]{3,}")
_ACTION_ITEM_CLASSES = ("preventive", "process", "tool", "training")
"""Classes that an action item can have."""


def render_postmortem(incident: Incident, policy: Policy, *, comment_urls: Mapping[str, str], now: datetime) -> NewFile:
    """Render the postmortem of `incident` as of `now`; `comment_urls` are as for the board.

    Path, branch and message hold no untrusted text except the title, which is made harmless.  Raises ValueError for an
    incident id that is not ours.
    """
    match = _INCIDENT_ID_PATTERN.fullmatch(incident.id)
    if match is None:
        raise ValueError(f"{incident.id!r} is not the id of an incident")
    policy = policy_for(policy, incident)
    short_title = defuse_line(incident.title, 60)
    title = f"Postmortem of {incident.id}: {short_title}" if short_title else f"Postmortem of {incident.id}"
    return NewFile(
        path=f"docs/incidents/postmortems/{match['year']}/{incident.id}.md",
        branches=postmortem_branches(incident.number),
        title=title,
        message=f"{title}\n\nRefs #{incident.number}\n",
        text=_document(incident, policy, comment_urls, now) + "\n",
        body=_pull_request_body(incident, policy, comment_urls, now),
    )


def _document(incident: Incident, policy: Policy, comment_urls: Mapping[str, str], now: datetime) -> Markdown:
    report, day = incident.report, incident.declared_at.date()
    return render_template(
        "postmortem",
        day=day.isoformat(),
        id=incident.id,
        title=escape(incident.title),
        head=list(_header_rows(incident, policy, now)),
        summary=quote(report.summary, 2000),
        severity=phrases.severity(incident, policy),
        reasons=[escape(reason) for reason in incident.grade.reasons],
        impact=list(_impact_rows(incident, now)),
        symptoms=code_block(report.symptoms, 4000),
        workaround=quote(report.workaround, 2000),
        updates=[
            (
                phrases.timeline_link(format_utc(entry.at, day=day), entry, comment_urls),
                format_login(entry.by),
                phrases.update_text(entry),
            )
            for entry in phrases.status_updates(incident)
        ],
        metrics=list(_metric_rows(incident)),
        deadlines=[
            _deadline_row(promise, incident, policy, now)
            for promise in deadlines(incident, policy)
            if promise.clock != "postmortem"
        ],
        breaches=list(_breaches(incident, day)),
        escalations=phrases.escalation_history(incident, comment_urls, day, 100),
        timeline=[
            (
                phrases.timeline_link(format_utc(e.at, day=day), e, comment_urls),
                phrases.author(e),
                escape(e.sentence, 600),
            )
            for e in incident.timeline
        ],
        roles=list(_role_rows(incident, day)),
        contributors=list(_contributor_rows(incident)),
        links=list(_link_lines(incident, policy, comment_urls)),
        classes=", ".join(_ACTION_ITEM_CLASSES),
    )


def _pull_request_body(incident: Incident, policy: Policy, comment_urls: Mapping[str, str], now: datetime) -> str:
    return render_template(
        "pull",
        id=incident.id,
        title=escape(incident.title),
        number=incident.number,
        issue=link(incident.id, incident.url),
        severity=phrases.severity(incident, policy),
        commander=format_login(incident.commander) if incident.commander else markdown("nobody yet"),
        reviewers=phrases.format_contacts(policy.postmortem.reviewers, policy, now)
        if policy.postmortem.reviewers
        else markdown("nobody is named"),
        document=_due_phrase(incident.resolved_at, policy.postmortem.document, "the resolution", policy),
        review=_due_phrase(incident.resolved_at, policy.postmortem.review, "the resolution", policy),
        overdue=_due_phrase(incident.closed_at, policy.postmortem.overdue, "closing", policy),
        classes=", ".join(_ACTION_ITEM_CLASSES),
    )


def _due_phrase(start: datetime | None, within: Duration, start_name: str, policy: Policy) -> Markdown:
    """Format a postmortem deadline; only its duration while the event that starts it has not happened."""
    if start is None:
        return markdown("{} after {}", format_duration(within), start_name)
    at = due_by(start, Target(within), policy.calendars)
    return markdown("{}, {} after {}", format_time(at, policy.zone), format_duration(within), start_name)


def _header_rows(incident: Incident, policy: Policy, now: datetime) -> Iterator[tuple[str, Markdown]]:
    report = incident.report
    yield "Severity", phrases.severity(incident, policy)
    if report.kind:
        yield "Type", to_markdown(report.kind.value)
    if report.services:
        yield "Services", join_limited((escape(service, 80) for service in report.services), 20)
    yield "Commander", format_login(incident.commander) if incident.commander else markdown("nobody took it")
    for name, at in (
        ("Started", report.started_at),
        ("Detected", report.detected_at),
        ("Declared", incident.declared_at),
        ("Acknowledged", incident.acknowledged_at),
        ("Mitigated", incident.mitigated_at),
        ("Resolved", incident.resolved_at),
        ("Closed", incident.closed_at),
    ):
        if at:
            yield name, to_markdown(format_time(at, policy.zone))
    yield "Document due", _due_phrase(incident.resolved_at, policy.postmortem.document, "the resolution", policy)
    yield "Review due", _due_phrase(incident.resolved_at, policy.postmortem.review, "the resolution", policy)


def _impact_rows(incident: Incident, now: datetime) -> Iterator[tuple[str, Markdown]]:
    report = incident.report
    if levels := join(
        (
            markdown("{} {}", level.value, name)
            for name, level in (("impact", report.impact), ("urgency", report.urgency))
            if level
        )
    ):
        yield "Level", levels
    if report.affected.strip():
        yield "Users and business", escape(report.affected, 1000)
    if report.revenue.strip():
        yield "Revenue", escape(report.revenue, 600)
    if report.personal_data:
        yield "Personal data exposed", to_markdown(report.personal_data.value)
    start = report.started_at or report.detected_at or incident.declared_at
    end = incident.resolved_at
    duration = (
        markdown("{} so far, not resolved yet", format_timedelta(now - start))
        if end is None
        else to_markdown(format_timedelta(end - start))
    )
    yield "Duration", duration
    if incident.reopen_count:
        yield (
            "Reopened",
            markdown(
                "{}; in between it rested {}",
                pluralize(incident.reopen_count, "time"),
                format_timedelta(incident.paused_time),
            ),
        )


def _metric_rows(incident: Incident) -> Iterator[tuple[str, Markdown]]:
    """Yield the response times by their full names, with their targets (M1).

    MTTR is always the time to resolve.
    """
    took = durations(incident)
    for name, value in (
        ("Time to detect (MTTD; aim: under 5 min)", took.to_detect),
        ("Time to acknowledge (MTTA)", took.to_acknowledge),
        ("Time to mitigate", took.to_mitigate),
        ("Time to resolve (MTTR, to resolve)", took.to_resolve),
    ):
        yield name, markdown("not known") if value is None else to_markdown(format_timedelta(value))


def _deadline_row(
    deadline: Deadline, incident: Incident, policy: Policy, now: datetime
) -> tuple[Markdown, str, str, Markdown]:
    return (
        phrases.deadline_title(deadline.clock, deadline.about),
        format_target(deadline.target),
        format_time(deadline.due, policy.zone),
        phrases.deadline_status(deadline, incident, now),
    )


def _breaches(incident: Incident, day: date) -> Iterator[Markdown]:
    """Yield every recorded breach, including those of deadlines that a later severity moved."""
    for entry in incident.timeline:
        if entry.kind is EntryKind.MISSED:
            yield markdown("{}: {}", format_utc(entry.at, day=day), escape(entry.sentence))


def _role_rows(incident: Incident, day: date) -> Iterator[tuple[str, Markdown]]:
    yield "Reporter", format_login(incident.opened_by)
    if entry := _first_responder(incident):
        yield "First responder", markdown("{} at {}", format_login(entry.by), format_utc(entry.at, day=day))
    yield "Commander", format_login(incident.commander) if incident.commander else markdown("nobody")
    if incident.grade.by:
        yield "Graded by", format_login(incident.grade.by)


def _first_responder(incident: Incident) -> Entry | None:
    return next((e for e in incident.timeline if e.by and e.at == incident.responded_at), None)


def _contributor_rows(incident: Incident) -> Iterator[tuple[Markdown, Markdown]]:
    """Yield everyone in the timeline with what they did, in the order in which they joined."""
    counts_by_login: dict[str, dict[str, int]] = {}
    for entry in incident.timeline:
        if entry.by:
            counts = counts_by_login.setdefault(entry.by, {})
            action = entry.text.partition(";")[0]
            counts[action] = counts.get(action, 0) + 1
    for login, counts in counts_by_login.items():
        words = (
            markdown("{} ({} times)", escape(what, 80), times) if times > 1 else escape(what, 80)
            for what, times in counts.items()
        )
        yield format_login(login), join(words, "; ") if len(counts) <= 12 else join_limited(words, 12)


def _link_lines(incident: Incident, policy: Policy, comment_urls: Mapping[str, str]) -> Iterator[Markdown]:
    yield markdown("Issue: {}", link(markdown("{} in {}", incident.id, incident.repo), incident.url))
    if board := comment_urls.get("board"):
        yield markdown("Board: {}", link("the state at a glance", board))
    if war_room := places.war_room_link(incident, policy):
        yield markdown("War room: {}", war_room)
    if runbooks := places.runbook_links(incident, policy):
        yield markdown("Runbooks: {}", join_limited(runbooks, 20))
    if incident.postmortem:
        yield markdown(
            "Pull request: {}", link(markdown("number {}", incident.postmortem.number), incident.postmortem.url)
        )
