"""Phrases about an incident that the board, the notices and the postmortem share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from app.core.clocks import CLOCKS, Deadline, alarms
from app.core.effective_policy import affected_services
from app.core.escalation import management_steps, paging_steps
from app.core.events import Alarm
from app.core.incident import DisputedClosing, Incident
from app.core.lifecycle import Status
from app.core.on_call import people_of
from app.core.policy import ON_CALL, Policy
from app.core.timeline import Entry, EntryKind
from app.render.markdown.markup import (
    Markdown,
    code_span,
    escape,
    format_login,
    format_logins,
    join,
    join_limited,
    link,
    markdown,
    to_markdown,
)
from app.render.time_format import format_time, format_timedelta, format_utc

POLICY_FILE = ".github/incidents.yml"
"""Path of a repository's policy file."""


def severity(incident: Incident, policy: Policy) -> Markdown:
    """Return the name of the severity on the policy's scale."""
    return to_markdown(incident.severity.display_name(policy.scale))


def open_duration(incident: Incident, now: datetime) -> timedelta:
    """Return how long the service was down: from declaration to resolution, or to `now`.

    The time between a resolution and a reopening does not count.
    """
    return max((incident.resolved_at or now) - incident.declared_at - incident.paused_time, timedelta())


def owner(incident: Incident) -> Markdown:
    """Say who owns the incident, and which command is needed where an answer is missing."""
    if incident.status is Status.TRIGGERED:
        previous_owner = (
            markdown(" ({} had it before)", format_login(incident.commander)) if incident.commander else markdown("")
        )
        return markdown("nobody yet{}: {} takes it", previous_owner, code_span("/ack"))
    if not incident.commander:
        return markdown("nobody took it")
    if incident.is_paging:
        return markdown(
            "{} has it, but is silent: {} stops the paging",
            format_login(incident.commander),
            code_span(answer_command(incident)),
        )
    return markdown("{} has it" if incident.status.open else "{} had it", format_login(incident.commander))


def answer_command(incident: Incident) -> str:
    """Return the command that answers a page."""
    return "/ack" if incident.status is Status.TRIGGERED else "/update text"


def deadline_status(deadline: Deadline, incident: Incident, now: datetime) -> Markdown:
    """Describe the status of a deadline at `now`: time left, met or missed."""
    met = deadline.met_at
    if met is None:
        late = now - deadline.due
        template = "❌ **missed by {}**" if late > timedelta() else "⏳ **{} left**"
        return markdown(template, format_timedelta(abs(late)))
    if met > deadline.due:
        return markdown("❌ missed by {}", format_timedelta(met - deadline.due))
    took = met - deadline.start - deadline.paused_time
    if took < timedelta():  # answered before the deadline started again
        return markdown("❌ missed") if deadline.is_breached(incident) else markdown("✅ met")
    return markdown("✅ met after {}", format_timedelta(took))


def deadline_title(clock: str, about: str = "") -> Markdown:
    """Return the title of a deadline, such as `Resolve` or `News for executives`."""
    return markdown("{} {}", CLOCKS[clock].title, escape(about, 60)) if about else to_markdown(CLOCKS[clock].title)


def status_updates(incident: Incident) -> list[Entry]:
    """Return the timeline entries that report progress, the latest last."""
    return [
        entry
        for entry in incident.timeline
        if entry.detail and entry.kind in (EntryKind.UPDATED, EntryKind.STATUS_CHANGED)
    ]


def update_text(entry: Entry) -> Markdown:
    """Return the escaped text of a progress entry."""
    return escape(entry.detail, 1000)


def response_entries(incident: Incident) -> list[Entry]:
    """Return what people did about the incident: all their entries except the report and the escalations."""
    return [
        entry for entry in incident.timeline if entry.by and entry.kind not in (EntryKind.ESCALATED, EntryKind.REPORTED)
    ]


def escalation_history(
    incident: Incident, comment_urls: Mapping[str, str], day: date, max_steps: int
) -> list[Markdown]:
    """List the pages, in one phrase, and the last `max_steps` escalations, in order.

    `day` is assumed by the reader, so its date is left out.
    """
    pages = [entry for entry in incident.timeline if entry.kind is EntryKind.PAGED]
    steps = [entry for entry in incident.timeline if entry.kind is EntryKind.ESCALATED]
    paged = [_paging_phrase(pages, comment_urls, day)] if pages else []
    earlier = [markdown("{} more, in the timeline", len(steps) - max_steps)] if len(steps) > max_steps else []
    return [*paged, *earlier, *(_escalation_phrase(entry, comment_urls, day) for entry in steps[-max_steps:])]


def upcoming_escalations(incident: Incident, policy: Policy, now: datetime) -> list[Markdown]:
    """List the escalations that follow if nothing else happens, the earliest first."""
    pending_alarms = [alarm for alarm in alarms(incident, policy) if alarm.clock == "escalate"]
    return [phrase for alarm in pending_alarms if (phrase := _alarm_phrase(alarm, incident, policy, now))]


def timeline_link(text: object, entry: Entry, comment_urls: Mapping[str, str]) -> Markdown:
    """Link the text to where the timeline entry can be seen."""
    return link(text, entry.url or comment_urls.get(entry.key))


def author(entry: Entry) -> Markdown:
    """Return the author of a timeline entry."""
    return format_login(entry.by) if entry.by else markdown("Muster")


def format_contacts(names: tuple[str, ...], policy: Policy, at: datetime) -> Markdown:
    """Name contacts of the policy together with the people who fill them at `at`."""
    logins = people_of(names, policy, at)
    who = format_logins(logins) if logins else markdown("nobody is named")
    return markdown("{} ({})", join_limited((escape(name, 40) for name in names), 5), who)


def unstaffed_warning(unstaffed: tuple[str, ...], fallback_logins: tuple[str, ...]) -> Markdown:
    """Say which contacts have no one, who is asked instead, and where to correct the policy."""
    names = join_limited((markdown("**{}**", escape(name, 40)) for name in unstaffed), 8)
    fallback = (
        markdown(
            "{} is asked instead" if len(fallback_logins) == 1 else "{} are asked instead",
            format_logins(fallback_logins),
        )
        if fallback_logins
        else markdown("nobody could be asked")
    )
    return markdown(
        "The policy names nobody for {}, so {}. Mend it under `contacts` in {}.",
        names,
        fallback,
        code_span(POLICY_FILE),
    )


def _paging_phrase(pages: Sequence[Entry], comment_urls: Mapping[str, str], day: date) -> Markdown:
    last = pages[-1]
    who = escape(last.text.removeprefix("paged "), 120)
    at = timeline_link(format_utc(last.at, day=day), last, comment_urls)
    return (
        markdown("{} paged {} times, at last {}", at, len(pages), who)
        if len(pages) > 1
        else markdown("{} paged {}", at, who)
    )


def _escalation_phrase(entry: Entry, comment_urls: Mapping[str, str], day: date) -> Markdown:
    return markdown(
        "{} {}",
        timeline_link(format_utc(entry.at, day=day), entry, comment_urls),
        escape(entry.sentence.removeprefix("escalated to "), 240),
    )


def _alarm_phrase(alarm: Alarm, incident: Incident, policy: Policy, now: datetime) -> Markdown | None:
    remaining = alarm.due - now
    when = markdown(
        "{}, {}",
        format_time(alarm.due, policy.zone, day=now.date()),
        f"in {format_timedelta(remaining)}" if remaining > timedelta() else "due now",
    )
    kind = alarm.mark.partition("@")[0].partition(".")[0]
    if kind == "silence":
        return markdown("{}: paging begins again if nothing is heard", when)
    if kind.startswith("page"):
        contacts = paging_steps(incident, policy)[int(kind.removeprefix("page"))].to or (ON_CALL,)
        return markdown("{}: page {}", when, format_contacts(contacts, policy, alarm.due))
    step = next((candidate for candidate in management_steps(incident, policy) if candidate.key == alarm.key), None)
    if step is None:
        return None
    instruction = markdown(", {}", escape(step.do, 160)) if step.do else markdown("")
    return markdown(
        "{}: {}{}",
        when,
        format_contacts(step.contacts, policy, alarm.due) if step.contacts else markdown("whoever has it"),
        instruction,
    )


def services(incident: Incident, policy: Policy) -> Markdown:
    """List the affected services, each with the team that owns it."""
    return join_limited((_service_with_team(name, incident, policy) for name in incident.report.services), 12)


def _service_with_team(name: str, incident: Incident, policy: Policy) -> Markdown:
    owned_services = affected_services(policy, replace(incident.report, services=(name,)))
    owners = [service.owner for service in owned_services.values() if service.owner]
    return markdown("{} (team {})", escape(name, 80), escape(owners[0], 40)) if owners else escape(name, 80)


def impact(incident: Incident) -> Iterator[Markdown]:
    """Yield a phrase for each known fact about the impact."""
    report = incident.report
    levels = (("impact", report.impact), ("urgency", report.urgency))
    if level_text := join(markdown("{} {}", level.value, name) for name, level in levels if level):
        yield level_text
    for name, text in (("affected", report.affected), ("revenue", report.revenue), ("workaround", report.workaround)):
        if text.strip():
            yield markdown("{}: {}", name, escape(text, 400))
    if report.personal_data:
        yield markdown("personal data exposed: **{}**", report.personal_data.value)


def closing_question(closing: DisputedClosing) -> Markdown:
    """Ask whether an incident is over whose issue was closed by a person without rights."""
    return markdown(
        "The issue was closed by {}, who has no rights here: is it over? If so, {}; if it goes on, reopen the issue.",
        format_login(closing.by),
        code_span("/resolve text"),
    )


def pending_edit_question(incident: Incident, policy: Policy) -> Markdown | None:
    """Ask a responder to decide about an edit of a person without rights; None: there is nothing to decide."""
    edit = incident.pending_edit
    if edit is None or not incident.status.open or (incident.grade.by and incident.severity_set_at > edit.at):
        return None
    by = format_login(edit.by)
    if edit.severity > incident.severity:
        name = edit.severity.display_name(policy.scale)
        return markdown(
            "{} changed the report, which by itself would be {} now. Only somebody with rights here lowers: {}.",
            by,
            name,
            code_span(f"/severity {name.lower()} reason"),
        )
    return markdown(
        "{} changed the report in a way that would weaken the rules for this incident. What it said before still"
        " counts, until somebody with rights here edits the report.",
        by,
    )


def comment_limit_warning(until: datetime) -> str:
    """Explain on the board that the comment limit of the issue defers further comments."""
    return (
        f"This issue has had many comments, so further ones are held back until {until:%H:%M} UTC and said together"
        " then. Pages and escalations have a limit of their own. This board stays up to date."
    )
