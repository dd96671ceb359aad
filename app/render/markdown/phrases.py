"""Phrases about an incident that the board, the notices and the postmortem share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta

from app.core.clocks import CLOCKS, Deadline, alarms
from app.core.effective_policy import affected
from app.core.escalation import management, paging_steps
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.on_call import people_of
from app.core.policy import ON_CALL, Policy
from app.core.timeline import Deed, Entry
from app.render.markdown.markup import Markdown, code, joined, link, listed, md, people, person, safe, said
from app.render.time_format import moment, span, utc

POLICY_FILE = ".github/incidents.yml"
"""Path of a repository's policy file."""


def severity(incident: Incident, policy: Policy) -> Markdown:
    """Return the name of the severity on the policy's scale."""
    return safe(incident.severity.on(policy.scale))


def open_for(incident: Incident, now: datetime) -> timedelta:
    """Return how long the service was down: from declaration to resolution, or to `now`.

    The time between a resolution and a reopening does not count.
    """
    return max((incident.resolved_at or now) - incident.declared_at - incident.rested, timedelta())


def holder(incident: Incident) -> Markdown:
    """Say who owns the incident, and which command is needed where an answer is missing."""
    if incident.status is Status.TRIGGERED:
        before = md(" ({} had it before)", person(incident.commander)) if incident.commander else md("")
        return md("nobody yet{}: {} takes it", before, code("/ack"))
    if not incident.commander:
        return md("nobody took it")
    if incident.paging:
        return md("{} has it, but is silent: {} stops the paging", person(incident.commander), code(answer(incident)))
    return md("{} has it" if incident.status.open else "{} had it", person(incident.commander))


def answer(incident: Incident) -> str:
    """Return the command that answers a page."""
    return "/ack" if incident.status is Status.TRIGGERED else "/update text"


def judged(deadline: Deadline, incident: Incident, now: datetime) -> Markdown:
    """Describe the status of a deadline at `now`: time left, met or missed."""
    met = deadline.met_at
    if met is None:
        late = now - deadline.due
        return md("❌ **missed by {}**" if late > timedelta() else "⏳ **{} left**", span(abs(late)))
    if met > deadline.due:
        return md("❌ missed by {}", span(met - deadline.due))
    took = met - deadline.start - deadline.rested
    if took < timedelta():  # answered before the deadline started again
        return md("❌ missed") if deadline.broken(incident) else md("✅ met")
    return md("✅ met after {}", span(took))


def title_of(clock: str, about: str = "") -> Markdown:
    """Return the title of a deadline, such as `Resolve` or `News for executives`."""
    return md("{} {}", CLOCKS[clock].title, said(about, 60)) if about else safe(CLOCKS[clock].title)


def updates(incident: Incident) -> list[Entry]:
    """Return the timeline entries that report progress, the latest last."""
    return [entry for entry in incident.timeline if entry.words and entry.deed in (Deed.UPDATED, Deed.STATUS_CHANGED)]


def told(update: Entry) -> Markdown:
    """Return the escaped text of a progress entry."""
    return said(update.words, 1000)


def progress(incident: Incident) -> list[Entry]:
    """Return what people did about the incident: all their entries except the report and the escalations."""
    return [entry for entry in incident.timeline if entry.by and entry.deed not in (Deed.ESCALATED, Deed.REPORTED)]


def escalated(incident: Incident, links: Mapping[str, str], day: date, most: int) -> list[Markdown]:
    """List the pages, in one phrase, and the last `max_steps` escalations, in order.

    `day` is assumed by the reader, so its date is left out.
    """
    pages = [entry for entry in incident.timeline if entry.deed is Deed.PAGED]
    steps = [entry for entry in incident.timeline if entry.deed is Deed.ESCALATED]
    paged = [_paged(pages, links, day)] if pages else []
    earlier = [md("{} more, in the timeline", len(steps) - most)] if len(steps) > most else []
    return [*paged, *earlier, *(_stepped(entry, links, day) for entry in steps[-most:])]


def coming(incident: Incident, policy: Policy, now: datetime) -> list[Markdown]:
    """List the escalations that follow if nothing else happens, the earliest first."""
    waiting = [alarm for alarm in alarms(incident, policy) if alarm.clock == "escalate"]
    return [phrase for alarm in waiting if (phrase := _step(alarm, incident, policy, now))]


def link_of(text: object, entry: Entry, links: Mapping[str, str]) -> Markdown:
    """Link the text to where the timeline entry can be seen."""
    return link(text, entry.url or links.get(entry.key))


def author(entry: Entry) -> Markdown:
    """Return the author of a timeline entry."""
    return person(entry.by) if entry.by else md("Muster")


def contact(names: tuple[str, ...], policy: Policy, at: datetime) -> Markdown:
    """Name contacts of the policy together with the people who fill them at `at`."""
    held = people_of(names, policy, at)
    who = people(held) if held else md("nobody is named")
    return md("{} ({})", listed((said(name, 40) for name in names), 5), who)


def unnamed(missing: tuple[str, ...], asked: tuple[str, ...]) -> Markdown:
    """Say which contacts have no one, who is asked instead, and where to correct the policy."""
    names = listed((md("**{}**", said(name, 40)) for name in missing), 8)
    instead = (
        md("{} is asked instead" if len(asked) == 1 else "{} are asked instead", people(asked))
        if asked
        else md("nobody could be asked")
    )
    return md(
        "The policy names nobody for {}, so {}. Mend it under `contacts` in {}.", names, instead, code(POLICY_FILE)
    )


def _paged(pages: Sequence[Entry], links: Mapping[str, str], day: date) -> Markdown:
    last = pages[-1]
    who = said(last.text.removeprefix("paged "), 120)
    at = link_of(utc(last.at, day=day), last, links)
    return md("{} paged {} times, at last {}", at, len(pages), who) if len(pages) > 1 else md("{} paged {}", at, who)


def _stepped(entry: Entry, links: Mapping[str, str], day: date) -> Markdown:
    return md(
        "{} {}", link_of(utc(entry.at, day=day), entry, links), said(entry.sentence.removeprefix("escalated to "), 240)
    )


def _step(alarm: Alarm, incident: Incident, policy: Policy, now: datetime) -> Markdown | None:
    left = alarm.due - now
    when = md(
        "{}, {}",
        moment(alarm.due, policy.zone, day=now.date()),
        f"in {span(left)}" if left > timedelta() else "due now",
    )
    kind = alarm.mark.partition("@")[0].partition(".")[0]
    if kind == "silence":
        return md("{}: paging begins again if nothing is heard", when)
    if kind.startswith("page"):
        contacts = paging_steps(incident, policy)[int(kind.removeprefix("page"))].to or (ON_CALL,)
        return md("{}: page {}", when, contact(contacts, policy, alarm.due))
    rung = next((rung for rung in management(incident, policy) if rung.key == alarm.key), None)
    if rung is None:
        return None
    do = md(", {}", said(rung.do, 160)) if rung.do else md("")
    return md(
        "{}: {}{}", when, contact(rung.contacts, policy, alarm.due) if rung.contacts else md("whoever has it"), do
    )


def services(incident: Incident, policy: Policy) -> Markdown:
    """List the affected services, each with the team that owns it."""
    return listed((_service(name, incident, policy) for name in incident.report.services), 12)


def _service(name: str, incident: Incident, policy: Policy) -> Markdown:
    known = affected(policy, replace(incident.report, services=(name,)))
    owners = [service.owner for service in known.values() if service.owner]
    return md("{} (team {})", said(name, 80), said(owners[0], 40)) if owners else said(name, 80)


def impact(incident: Incident) -> Iterator[Markdown]:
    """Yield a phrase for each known fact about the impact."""
    report = incident.report
    levels = (("impact", report.impact), ("urgency", report.urgency))
    if words := joined(md("{} {}", level.value, name) for name, level in levels if level):
        yield words
    for name, text in (("affected", report.affected), ("revenue", report.revenue), ("workaround", report.workaround)):
        if text.strip():
            yield md("{}: {}", name, said(text, 400))
    if report.personal_data:
        yield md("personal data exposed: **{}**", report.personal_data.value)


def held_back(until: datetime) -> str:
    """Explain on the board that the comment limit of the issue defers further comments."""
    return (
        f"This issue has had many comments, so further ones are held back until {until:%H:%M} UTC and said together"
        " then. Escalations go out as long as the limit of the day allows. This board stays up to date."
    )
