"""Renders the postmortem's file and pull request: known facts are filled in, the rest is asked for.

Blocks between `muster:begin` and `muster:end` are generated from the record; everything else belongs to the authors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import date, datetime

from app.core.calendar import due as due_by
from app.core.clocks import Deadline, deadlines
from app.core.effective_policy import rules
from app.core.incident import Incident
from app.core.metrics import durations
from app.core.policy import Duration, Policy, Target
from app.core.timeline import Deed, Entry
from app.ports import NewFile
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    joined,
    link,
    listed,
    md,
    person,
    rendered,
    safe,
    said,
    said_block,
    said_lines,
)
from app.render.time_format import count, length, moment, span, target, utc
from app.text import plain

_INCIDENT_ID_PATTERN = re.compile(r"INC-(?P<year>[0-9]{4})-[0-9]{4}-[0-9]{3,}")
_ACTION_ITEM_CLASSES = ("preventive", "process", "tool", "training")
"""Classes that an action item can have."""


def postmortem(incident: Incident, policy: Policy, *, links: Mapping[str, str], now: datetime) -> NewFile:
    """Render the postmortem of `incident` as of `now`; `comment_urls` are as for the board.

    Path, branch and message hold no untrusted text except the title, which is made harmless.  Raises ValueError for an
    incident id that is not ours.
    """
    found = _INCIDENT_ID_PATTERN.fullmatch(incident.id)
    if found is None:
        raise ValueError(f"{incident.id!r} is not the id of an incident")
    policy = rules(policy, incident)
    short = plain(incident.title, 60)
    title = f"Postmortem of {incident.id}: {short}" if short else f"Postmortem of {incident.id}"
    return NewFile(
        path=f"docs/incidents/postmortems/{found['year']}/{incident.id}.md",
        branch=f"muster/postmortem-{incident.number}",
        title=title,
        message=f"{title}\n\nRefs #{incident.number}\n",
        text=_text(incident, policy, links, now) + "\n",
        body=_pull_body(incident, policy, links, now),
    )


def _text(incident: Incident, policy: Policy, links: Mapping[str, str], now: datetime) -> Markdown:
    report, day = incident.report, incident.declared_at.date()
    return rendered(
        "postmortem",
        day=day.isoformat(),
        id=incident.id,
        title=said(incident.title),
        head=list(_head(incident, policy, now)),
        summary=said_lines(report.summary, 2000),
        severity=phrases.severity(incident, policy),
        reasons=[said(reason) for reason in incident.grade.reasons],
        impact=list(_impact(incident, now)),
        symptoms=said_block(report.symptoms, 4000),
        workaround=said_lines(report.workaround, 2000),
        updates=[
            (phrases.link_of(utc(entry.at, day=day), entry, links), person(entry.by), phrases.told(entry))
            for entry in phrases.updates(incident)
        ],
        metrics=list(_metrics(incident)),
        deadlines=[
            _promise(promise, incident, policy, now)
            for promise in deadlines(incident, policy)
            if promise.clock != "postmortem"
        ],
        breaches=list(_breaches(incident, day)),
        escalations=phrases.escalated(incident, links, day, 100),
        timeline=[
            (phrases.link_of(utc(e.at, day=day), e, links), phrases.author(e), said(e.sentence, 600))
            for e in incident.timeline
        ],
        roles=list(_roles(incident, day)),
        contributors=list(_contributors(incident)),
        links=list(_links(incident, policy, links)),
        classes=", ".join(_ACTION_ITEM_CLASSES),
    )


def _pull_body(incident: Incident, policy: Policy, links: Mapping[str, str], now: datetime) -> str:
    return rendered(
        "pull",
        id=incident.id,
        title=said(incident.title),
        number=incident.number,
        issue=link(incident.id, incident.url),
        severity=phrases.severity(incident, policy),
        commander=person(incident.commander) if incident.commander else md("nobody yet"),
        reviewers=phrases.contact(policy.postmortem.reviewers, policy, now)
        if policy.postmortem.reviewers
        else md("nobody is named"),
        document=_by(incident.resolved_at, policy.postmortem.document, "the resolution", policy),
        review=_by(incident.resolved_at, policy.postmortem.review, "the resolution", policy),
        overdue=_by(incident.closed_at, policy.postmortem.overdue, "closing", policy),
        classes=", ".join(_ACTION_ITEM_CLASSES),
    )


def _by(start: datetime | None, within: Duration, what: str, policy: Policy) -> Markdown:
    """Format a postmortem deadline; only its duration while the event that starts it has not happened."""
    if start is None:
        return md("{} after {}", length(within), what)
    at = due_by(start, Target(within), policy.calendars)
    return md("{}, {} after {}", moment(at, policy.zone), length(within), what)


def _head(incident: Incident, policy: Policy, now: datetime) -> Iterator[tuple[str, Markdown]]:
    report = incident.report
    yield "Severity", phrases.severity(incident, policy)
    if report.kind:
        yield "Type", safe(report.kind.value)
    if report.services:
        yield "Services", listed((said(service, 80) for service in report.services), 20)
    yield "Commander", person(incident.commander) if incident.commander else md("nobody took it")
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
            yield name, safe(moment(at, policy.zone))
    yield "Document due", _by(incident.resolved_at, policy.postmortem.document, "the resolution", policy)
    yield "Review due", _by(incident.resolved_at, policy.postmortem.review, "the resolution", policy)


def _impact(incident: Incident, now: datetime) -> Iterator[tuple[str, Markdown]]:
    report = incident.report
    if levels := joined(
        (
            md("{} {}", level.value, name)
            for name, level in (("impact", report.impact), ("urgency", report.urgency))
            if level
        )
    ):
        yield "Level", levels
    if report.affected.strip():
        yield "Users and business", said(report.affected, 1000)
    if report.revenue.strip():
        yield "Revenue", said(report.revenue, 600)
    if report.personal_data:
        yield "Personal data exposed", safe(report.personal_data.value)
    start = report.started_at or report.detected_at or incident.declared_at
    end = incident.resolved_at
    lasted = md("{} so far, not resolved yet", span(now - start)) if end is None else safe(span(end - start))
    yield "Duration", lasted
    if incident.reopened:
        yield "Reopened", md("{}; in between it rested {}", count(incident.reopened, "time"), span(incident.rested))


def _metrics(incident: Incident) -> Iterator[tuple[str, Markdown]]:
    """Yield the response times by their full names, with the target of the product page (M1).

    MTTR is always the time to resolve.
    """
    took = durations(incident)
    for name, value in (
        ("Time to detect (MTTD; aim: under 5 min)", took.to_detect),
        ("Time to acknowledge (MTTA)", took.to_acknowledge),
        ("Time to mitigate", took.to_mitigate),
        ("Time to resolve (MTTR, to resolve)", took.to_resolve),
    ):
        yield name, md("not known") if value is None else safe(span(value))


def _promise(
    promise: Deadline, incident: Incident, policy: Policy, now: datetime
) -> tuple[Markdown, str, str, Markdown]:
    return (
        phrases.title_of(promise.clock, promise.about),
        target(promise.target),
        moment(promise.due, policy.zone),
        phrases.judged(promise, incident, now),
    )


def _breaches(incident: Incident, day: date) -> Iterator[Markdown]:
    """Yield every recorded breach, including those of deadlines that a later severity moved."""
    for entry in incident.timeline:
        if entry.deed is Deed.MISSED:
            yield md("{}: {}", utc(entry.at, day=day), said(entry.sentence))


def _roles(incident: Incident, day: date) -> Iterator[tuple[str, Markdown]]:
    yield "Reporter", person(incident.opened_by)
    if first := _first_responder(incident):
        yield "First responder", md("{} at {}", person(first.by), utc(first.at, day=day))
    yield "Commander", person(incident.commander) if incident.commander else md("nobody")
    if incident.grade.by:
        yield "Graded by", person(incident.grade.by)


def _first_responder(incident: Incident) -> Entry | None:
    return next((e for e in incident.timeline if e.by and e.at == incident.responded_at), None)


def _contributors(incident: Incident) -> Iterator[tuple[Markdown, Markdown]]:
    """Yield everyone in the timeline with what they did, in the order in which they joined."""
    deeds: dict[str, dict[str, int]] = {}
    for entry in incident.timeline:
        if entry.by:
            did = deeds.setdefault(entry.by, {})
            what = entry.text.partition(";")[0]
            did[what] = did.get(what, 0) + 1
    for login, did in deeds.items():
        words = (
            md("{} ({} times)", said(what, 80), times) if times > 1 else said(what, 80) for what, times in did.items()
        )
        yield person(login), joined(words, "; ") if len(did) <= 12 else listed(words, 12)


def _links(incident: Incident, policy: Policy, links: Mapping[str, str]) -> Iterator[Markdown]:
    yield md("Issue: {}", link(md("{} in {}", incident.id, incident.repo), incident.url))
    if board := links.get("board"):
        yield md("Board: {}", link("the state at a glance", board))
    if room := places.war_room(incident, policy):
        yield md("War room: {}", room)
    if books := places.runbooks(incident, policy):
        yield md("Runbooks: {}", listed(books, 20))
    if incident.postmortem:
        yield md("Pull request: {}", link(md("number {}", incident.postmortem.number), incident.postmortem.url))
