"""Renders the notices that interrupt people: one comment for all notices that are pending together.

The first line is what a lock screen shows, so it names the worst event, what is requested and of whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from app.core.clocks import Deadline, deadlines, owed
from app.core.effective_policy import rules
from app.core.effects import Announce, Ask, Escalate, Mend, Notice, Page, Remind, Undelivered
from app.core.escalation import management
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy
from app.core.severity import Severity
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    code,
    joined,
    link,
    listed,
    md,
    mention,
    person,
    rendered,
    safe,
    said,
    signed,
)
from app.render.time_format import moment, span, utc

_LOUDNESS_ORDER: tuple[type[Notice], ...] = (Mend, Undelivered, Ask, Remind, Announce, Page, Escalate)
"""Notice types from the quietest to the loudest."""

_MAX_MENTIONS = 40
"""Maximum number of mentions in a comment; GitHub notifies at most 50 people per comment."""

_MAX_DEADLINES = 5
"""Maximum number of deadlines listed, the earliest first."""

_MAX_FAULTS = 20
"""Maximum number of policy faults shown; correcting a few often corrects more."""

CLOCK_ANSWERS = {
    "respond": ("first response", "/ack"),
    "acknowledge": ("acknowledgement", "/ack"),
    "update": ("update for those who wait", "/update text"),
    "resolve": ("resolution", "/resolve text"),
    "commander": ("commander", "/ack"),
    "audience": ("news", "/update text"),
    "postmortem": ("postmortem", ""),
}
"""For each clock, what its deadline is for and the command that meets it."""


def notice(
    notices: Sequence[Notice],
    incident: Incident,
    policy: Policy,
    now: datetime,
    *,
    links: Mapping[str, str],
    footer: str,
) -> str:
    """Render one comment for all `notices`, of which there is at least one.

    `comment_urls` and `footer` are as for the board; the URL under `board`, where there is one, links to the board.
    """
    policy = rules(policy, incident)
    ordered = sorted(notices, key=lambda each: _loudness(each, incident, policy), reverse=True)
    loudest, called = ordered[0], list(dict.fromkeys(login for each in ordered for login in each.to))
    missing = {each.missing: each.to for each in ordered if each.missing}
    body = rendered(
        "notice",
        headline=_headline(loudest, incident, policy, now),
        mentions=joined(map(mention, called[:_MAX_MENTIONS]), " "),
        requests=list(dict.fromkeys(_asks(ordered, incident, policy, now))),
        context=list(_context(incident, policy, now)) if isinstance(loudest, Escalate) else [],
        actions=list(_tried(incident, links, now)) if isinstance(loudest, Escalate) else [],
        unstaffed=[phrases.unnamed(names, asked) for names, asked in missing.items()],
        board=link(md("{}, as it stands", incident.id), links.get("board") or incident.url),
    )
    return signed(body, footer)


def _loudness(notice: Notice, incident: Incident, policy: Policy) -> tuple[int, int, datetime]:
    """Return the sort key of a notice: its type, then how high its escalation step is, then its time."""
    rungs = [rung.contacts for rung in management(incident, policy)]
    highest = -1
    if isinstance(notice, Escalate) and notice.contacts in rungs:
        highest = len(rungs) - rungs[::-1].index(notice.contacts)
    return _LOUDNESS_ORDER.index(type(notice)), highest, notice.at


def _headline(notice: Notice, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    """Build the first line, most important first: about a hundred characters of it are visible.

    The title is cut to the room that is left.
    """
    name, title = phrases.severity(incident, policy), said(incident.title, 40)
    if isinstance(notice, Escalate):
        to = listed((said(contact, 24) for contact in notice.contacts), 2) or md("whoever has it")
        return md("🔺 **{} escalated to {}: {}** · {}", name, to, title, _in_hand(incident, now))
    if isinstance(notice, Page):
        again = md(", page {}", notice.times) if notice.times > 1 else md("")
        return md("🚨 **{}{}: {}** · {}", name, again, title, _wanted(incident, policy, now))
    if isinstance(notice, Announce):
        return md("📣 **{}: {}** · {}", name, title, _in_hand(incident, now))
    if isinstance(notice, Remind):
        what, answer = _promised(notice, incident)
        asked = md("answered since") if _answered(notice, incident, policy) else answer
        asked = asked if incident.status.open or owed(notice, incident) else _in_hand(incident, now)
        return md("⏰ **{} {}: {} {}** · {}", name, title, what, ended(notice.due, now), asked)
    return _to_mend(notice, name, title, policy)


def _to_mend(notice: Notice, name: Markdown, title: Markdown, policy: Policy) -> Markdown:
    """Build the headline for a fault of the policy, a failed channel or a report of unclear severity."""
    if isinstance(notice, Mend):
        return md("🛠️ **`.github/incidents.yml` cannot be obeyed**: {}", said(notice.faults[0], 120))
    if isinstance(notice, Undelivered):
        return md("📡 **{} {}: the channel {} refused a message**", name, title, said(notice.channel, 50))
    return md("❓ **How severe is “{}”?** Answer `/severity {} reason`", title, _example(policy))


def _in_hand(incident: Incident, now: datetime) -> Markdown:
    if not incident.status.open:
        return md("{} by now", incident.status.value)
    taken = incident.commander and incident.status is not Status.TRIGGERED
    length = span(phrases.open_for(incident, now))
    return md("open {}, {} has it", length, person(incident.commander) if taken else md("nobody"))


def _wanted(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    """Say what a page asks for while it is unanswered, or else who owns the incident."""
    if not incident.paging:
        return phrases.holder(incident)
    due = answer_due(incident, policy, now)
    return md(
        "answer {}{}", code(phrases.answer(incident)), md(" by {}", utc(due.due, day=now.date())) if due else md("")
    )


def _answered(notice: Remind, incident: Incident, policy: Policy) -> bool:
    """Return whether the deadline was met or restarted before the reminder was written."""
    promises = (each for each in deadlines(incident, policy) if each.clock == notice.clock)
    found = next((each for each in promises if each.about == notice.about), None)
    return found is None or found.met_at is not None or found.due > notice.due


def answer_due(incident: Incident, policy: Policy, now: datetime) -> Deadline | None:
    """Return the deadline by which a page has to be answered; None: none is running.

    Only a deadline that has not passed counts, and acknowledgement comes before first response.
    """
    found = {each.clock: each for each in deadlines(incident, policy) if each.met_at is None and each.due > now}
    return found.get("acknowledge") or found.get("respond")


def ended(due: datetime, now: datetime) -> Markdown:
    """Say how far in the future or past a deadline is."""
    left = due - now
    if abs(left.total_seconds()) < 60:
        return md("due now")
    return md("due in {}", span(left)) if due > now else md("{} overdue", span(-left))


def _asks(notices: Sequence[Notice], incident: Incident, policy: Policy, now: datetime) -> Iterator[Markdown]:
    """Yield a paragraph for each notice with what it asks of the reader; several pages give one."""
    if not incident.status.open and not any(isinstance(n, Escalate | Remind) and owed(n, incident) for n in notices):
        yield md("It is **{}** by now: nothing is asked of you any more.", incident.status.value)
    paged = False
    for each in notices[:12]:
        if isinstance(each, Escalate):
            yield from _escalation(each, incident, policy, now)
        elif isinstance(each, Page) and not paged and incident.status.open:
            paged = True
            yield _page(incident, policy, now)
        elif isinstance(each, Announce):
            yield _announcement(each, policy)
        elif isinstance(each, Remind):
            yield _reminder(each, incident, policy, now)
        elif isinstance(each, Ask) and incident.grade.unsure:
            yield from _question(each, incident, policy)
        elif isinstance(each, Mend):
            yield _mending(each)
        elif isinstance(each, Undelivered):
            yield _undelivered(each)


def _escalation(notice: Escalate, incident: Incident, policy: Policy, now: datetime) -> Iterator[Markdown]:
    if owed(notice, incident):
        to = phrases.contact(notice.contacts, policy, notice.at) if notice.contacts else md("whoever has it")
        yield md("**Asked of {}:** {}", to, _request(notice, incident))
    at = moment(notice.at, policy.zone, day=now.date())
    yield md("**Why now**, at {}: {}", at, said(notice.because, 600))


def _mending(notice: Mend) -> Markdown:
    shown = joined((md("- {}", said(fault, 400)) for fault in notice.faults[:_MAX_FAULTS]), "\n")
    more = md("\n- and {} more", len(notice.faults) - _MAX_FAULTS) if len(notice.faults) > _MAX_FAULTS else md("")
    return md(
        "The policy file has a fault, so the last good one stays in force and every clock keeps running. To mend:\n\n{}{}",
        shown,
        more,
    )


def _undelivered(notice: Undelivered) -> Markdown:
    return md(
        "The channel **{}** will not take a message ({}): {}. It is not tried again, so who it was for is mentioned here. "
        "Mend `channels` in {}, or whatever receives it.",
        said(notice.channel, 50),
        said(notice.what, 20),
        said(notice.why, 200),
        code(phrases.POLICY_FILE),
    )


def _request(notice: Escalate, incident: Incident) -> Markdown:
    if notice.do:
        return md("**{}**", said(notice.do, 300))
    if incident.status is Status.TRIGGERED or not incident.commander:
        return md("find somebody to take it, or take it yourself with `/ack`.")
    who = person(incident.commander)
    return md("ask {} what is missing, and clear the way: people, access, a vendor, a decision.", who)


def _page(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    if not incident.paging:
        return md("The page was answered: {}.", phrases.holder(incident))
    command = code(phrases.answer(incident))
    if incident.status is not Status.TRIGGERED:
        heard = moment(incident.spoken_at or incident.declared_at, policy.zone, day=now.date())
        return md("Nothing was heard since {}. If you have it, say how it goes: {}.", heard, command)
    due = answer_due(incident, policy, now)
    by = md(" by {}", moment(due.due, policy.zone, day=now.date())) if due else md("")
    return md("Nobody has it yet. Take it{}: write {} in a comment here.", by, command)


def _announcement(notice: Announce, policy: Policy) -> Markdown:
    to = phrases.contact(notice.contacts, policy, notice.at)
    return md("**For {} to know:** {}. The board tells how it goes.", to, said(notice.because, 300))


def _promised(notice: Remind, incident: Incident, *, whole: bool = False) -> tuple[Markdown, Markdown]:
    """Return what a reminder's deadline is for, and what meets it; shortened for a headline unless `full`."""
    if notice.clock == "regulatory":
        return said(notice.about, 60), said(notice.do, 300 if whole else 60) or md("decide and close")
    what, command = CLOCK_ANSWERS.get(notice.clock, (notice.clock, "/update text"))
    if notice.clock == "postmortem":
        pull = incident.postmortem
        merge = md("merge {}", link(f"pull request {pull.number}", pull.url)) if pull else md("write it and merge it")
        return md("{} {}", what, notice.about), merge
    if notice.about:
        return md("{} for {}", what, said(notice.about, 60)), code(command)
    return safe(what if whole else what.partition(" for ")[0]), code(command)


def _reminder(notice: Remind, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    what, answer = _promised(notice, incident, whole=True)
    at, left = moment(notice.due, policy.zone, day=now.date()), notice.due - now
    if notice.clock == "regulatory":
        when = md("gives you until {}, {} from now", at, span(left)) if left > timedelta() else md("gave until {}", at)
        return md("**{}** {}, whatever the service does: {}. Closing the issue ends this clock.", what, when, answer)
    if not incident.status.open and not owed(notice, incident):
        return md("The **{}** was due at {}.", what, at)
    if _answered(notice, incident, policy):
        return md("The **{}** was due at {}, and has come since.", what, at)
    when = md("is due at {}, in {}", at, span(left)) if left > timedelta() else md("was due at {}", at)
    other = md(" If that cannot be met: `/escalate reason`.") if notice.clock == "resolve" else md("")
    if notice.clock == "postmortem":
        return md("The **{}** {}. To answer: {}.", what, when, answer)
    return md("The **{}** {}. Answer with {}.{}", what, when, answer, other)


def _question(notice: Ask, incident: Incident, policy: Policy) -> Iterator[Markdown]:
    thanks = "Thank you for the report, {}. How severe it is could not be read from it, so it counts as **{}** for now."
    yield md(thanks, person(incident.opened_by), phrases.severity(incident, policy))
    if notice.doubts:
        yield joined((md("- {}", said(doubt, 300)) for doubt in notice.doubts[:8]), "\n")
    names = listed((code(name.on(policy.scale).lower()) for name in Severity), 4)
    yield md("What works: comment `/severity {} reason` ({}), or edit the form above.", _example(policy), names)


def _example(policy: Policy) -> Markdown:
    return safe(Severity.SEV2.on(policy.scale).lower())


def _context(incident: Incident, policy: Policy, now: datetime) -> Iterator[tuple[str, Markdown]]:
    """Yield what someone who hears of the incident for the first time needs to know (E6)."""
    report, day = incident.report, now.date()
    told = dict.fromkeys((incident.title, report.summary[:400]))  # a summary often repeats the title
    what = joined((said(text, 400) for text in told if text), ". ")
    yield "What", md("{}: {}", phrases.severity(incident, policy), what)
    since = report.started_at or report.detected_at or incident.declared_at
    reported = moment(incident.declared_at, policy.zone, day=day)
    yield (
        "Since",
        md(
            "{}, {} ago; reported {} by {}",
            moment(since, policy.zone, day=day),
            span(now - since),
            reported,
            person(incident.opened_by),
        ),
    )
    if report.services:
        yield "Services", phrases.services(incident, policy)
    if impact := joined(phrases.impact(incident), "; "):
        yield "Impact", impact
    yield "Now", md("{}; {}", incident.status.value, phrases.holder(incident))
    if incident.status.open and (room := places.war_room(incident, policy)):
        yield "War room", room
    running = [each for each in deadlines(incident, policy) if each.met_at is None and each.clock != "postmortem"]
    if running:
        soonest = sorted(running, key=lambda promise: promise.due)
        yield (
            "Deadlines",
            listed((_running(promise, incident, policy, now) for promise in soonest), _MAX_DEADLINES, "; "),
        )


def _running(promise: Deadline, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    due = moment(promise.due, policy.zone, day=now.date())
    return md("{} {}, {}", phrases.title_of(promise.clock, promise.about), due, phrases.judged(promise, incident, now))


def _tried(incident: Incident, links: Mapping[str, str], now: datetime) -> Iterator[Markdown]:
    for entry in phrases.progress(incident)[-8:]:
        at = phrases.link_of(utc(entry.at, day=now.date()), entry, links)
        yield md("{} {}: {}", at, person(entry.by), said(entry.sentence))
