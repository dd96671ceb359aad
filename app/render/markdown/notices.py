"""Render the notices that interrupt people: one comment for all notices that are pending together.

The first line is what a lock screen shows, so it names the worst event, what is requested and of whom.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from app.core.clocks import Deadline, deadlines, still_due
from app.core.effective_policy import policy_for
from app.core.effects import (
    Announce,
    ChannelFailure,
    ClosingQuestion,
    Escalate,
    Notice,
    Page,
    PolicyFaultNotice,
    RefusalNotice,
    Remind,
    SeverityQuestion,
    UntouchedQuestion,
)
from app.core.escalation import management_steps
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy
from app.core.severity import Severity
from app.render.markdown import links as places
from app.render.markdown import phrases
from app.render.markdown.markup import (
    Markdown,
    code_span,
    escape,
    format_login,
    join,
    join_limited,
    link,
    markdown,
    mention,
    render_template,
    to_markdown,
    with_footer,
)
from app.render.time_format import format_time, format_timedelta, format_utc

_LOUDNESS_ORDER: tuple[type[Notice], ...] = (
    PolicyFaultNotice,
    RefusalNotice,
    ChannelFailure,
    UntouchedQuestion,
    SeverityQuestion,
    ClosingQuestion,
    Remind,
    Announce,
    Page,
    Escalate,
)
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


def render_notices(
    notices: Sequence[Notice],
    incident: Incident,
    policy: Policy,
    now: datetime,
    *,
    comment_urls: Mapping[str, str],
    footer: str,
) -> str:
    """Render one comment for all `notices`, of which there is at least one.

    `comment_urls` and `footer` are as for the board; the URL under `board`, where there is one, links to the board.
    """
    policy = policy_for(policy, incident)
    ordered = sorted(notices, key=lambda each: _loudness_key(each, incident, policy), reverse=True)
    loudest, mentioned = ordered[0], list(dict.fromkeys(login for each in ordered for login in each.to))
    unstaffed = {each.unstaffed: each.to for each in ordered if each.unstaffed}
    body = render_template(
        "notice",
        headline=_headline(loudest, incident, policy, now),
        mentions=join(map(mention, mentioned[:_MAX_MENTIONS]), " "),
        requests=list(dict.fromkeys(_paragraphs(ordered, incident, policy, now))),
        context=list(_context_rows(incident, policy, now)) if isinstance(loudest, Escalate) else [],
        actions=list(_actions_so_far(incident, comment_urls, now)) if isinstance(loudest, Escalate) else [],
        unstaffed=[phrases.unstaffed_warning(names, asked) for names, asked in unstaffed.items()],
        board=link(markdown("{}, as it stands", incident.id), comment_urls.get("board") or incident.url),
    )
    return with_footer(body, footer)


def _loudness_key(notice: Notice, incident: Incident, policy: Policy) -> tuple[int, int, datetime]:
    """Return the sort key of a notice: its type, then how high its escalation step is, then its time."""
    step_contacts = [step.contacts for step in management_steps(incident, policy)]
    highest = -1
    if isinstance(notice, Escalate) and notice.contacts in step_contacts:
        highest = len(step_contacts) - step_contacts[::-1].index(notice.contacts)
    return _LOUDNESS_ORDER.index(type(notice)), highest, notice.at


def _headline(notice: Notice, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    """Build the first line, most important first: about a hundred characters of it are visible.

    The title is cut to the room that is left.
    """
    name, title = phrases.severity(incident, policy), escape(incident.title, 40)
    if isinstance(notice, Escalate):
        to = join_limited((escape(contact, 24) for contact in notice.contacts), 2) or markdown("whoever has it")
        return markdown("🔺 **{} escalated to {}: {}** · {}", name, to, title, _open_and_owner(incident, now))
    if isinstance(notice, Page):
        page_count = markdown(", page {}", notice.attempt) if notice.attempt > 1 else markdown("")
        return markdown("🚨 **{}{}: {}** · {}", name, page_count, title, _headline_request(incident, policy, now))
    if isinstance(notice, Announce):
        return markdown("📣 **{}: {}** · {}", name, title, _open_and_owner(incident, now))
    if isinstance(notice, Remind):
        what, answer = _title_and_answer(notice, incident)
        request = markdown("answered since") if _is_answered(notice, incident, policy) else answer
        request = request if incident.status.open or still_due(notice, incident) else _open_and_owner(incident, now)
        return markdown("⏰ **{} {}: {} {}** · {}", name, title, what, due_phrase(notice.due, now), request)
    return _fault_headline(notice, name, title, policy)


def _fault_headline(notice: Notice, name: Markdown, title: Markdown, policy: Policy) -> Markdown:
    """Build the headline of a fault or a question."""
    if isinstance(notice, UntouchedQuestion):
        return markdown("💤 **{} {}: is it still an incident?** Nobody has touched it for a week", name, title)
    if isinstance(notice, RefusalNotice):
        return markdown("🛠️ **GitHub refuses {}** of {} {}", escape(notice.what, 60), name, title)
    if isinstance(notice, PolicyFaultNotice):
        return markdown("🛠️ **`.github/incidents.yml` cannot be obeyed**: {}", escape(notice.faults[0], 120))
    if isinstance(notice, ChannelFailure):
        return markdown("📡 **{} {}: the channel {} refused a message**", name, title, escape(notice.channel, 50))
    if isinstance(notice, ClosingQuestion):
        by = format_login(notice.closed_by)
        return markdown("❓ **{} {}: closed by {}, who has no rights here. Is it over?**", name, title, by)
    return markdown("❓ **How severe is “{}”?** Answer `/severity {} reason`", title, _example_severity(policy))


def _open_and_owner(incident: Incident, now: datetime) -> Markdown:
    if not incident.status.open:
        return markdown("{} by now", incident.status.value)
    has_owner = incident.commander and incident.status is not Status.TRIGGERED
    duration = format_timedelta(phrases.open_duration(incident, now))
    return markdown(
        "open {}, {} has it", duration, format_login(incident.commander) if has_owner else markdown("nobody")
    )


def _headline_request(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    """Say what a page asks for while it is unanswered, or else who owns the incident."""
    if not incident.is_paging:
        return phrases.owner(incident)
    due = answer_deadline(incident, policy, now)
    return markdown(
        "answer {}{}",
        code_span(phrases.answer_command(incident)),
        markdown(" by {}", format_utc(due.due, day=now.date())) if due else markdown(""),
    )


def _is_answered(notice: Remind, incident: Incident, policy: Policy) -> bool:
    """Return whether the deadline was met or restarted before the reminder was written."""
    candidates = (each for each in deadlines(incident, policy) if each.clock == notice.clock)
    deadline = next((each for each in candidates if each.about == notice.about), None)
    return deadline is None or deadline.met_at is not None or deadline.due > notice.due


def answer_deadline(incident: Incident, policy: Policy, now: datetime) -> Deadline | None:
    """Return the deadline by which a page has to be answered; None: none is running.

    Only a deadline that has not passed counts, and acknowledgement comes before first response.
    """
    running = {each.clock: each for each in deadlines(incident, policy) if each.met_at is None and each.due > now}
    return running.get("acknowledge") or running.get("respond")


def due_phrase(due: datetime, now: datetime) -> Markdown:
    """Say how far in the future or past a deadline is."""
    remaining = due - now
    if abs(remaining.total_seconds()) < 60:
        return markdown("due now")
    return (
        markdown("due in {}", format_timedelta(remaining))
        if due > now
        else markdown("{} overdue", format_timedelta(-remaining))
    )


def _paragraphs(notices: Sequence[Notice], incident: Incident, policy: Policy, now: datetime) -> Iterator[Markdown]:
    """Yield a paragraph for each notice with what it asks of the reader; several pages give one."""
    if not incident.status.open and not any(
        isinstance(n, RefusalNotice) or (isinstance(n, Escalate | Remind) and still_due(n, incident)) for n in notices
    ):
        yield markdown("It is **{}** by now: nothing is asked of you any more.", incident.status.value)
    has_page = False
    for each in notices[:12]:
        if isinstance(each, Escalate):
            yield from _escalation_paragraphs(each, incident, policy, now)
        elif isinstance(each, Page) and not has_page and incident.status.open:
            has_page = True
            yield _page_paragraph(incident, policy, now)
        elif isinstance(each, Announce):
            yield _announcement_paragraph(each, policy)
        elif isinstance(each, Remind):
            yield _reminder_paragraph(each, incident, policy, now)
        elif isinstance(each, SeverityQuestion | ClosingQuestion):
            yield from _question_paragraphs(each, incident, policy)
        else:
            yield from _fault_paragraphs(each)


def _fault_paragraphs(notice: Notice) -> Iterator[Markdown]:
    if isinstance(notice, UntouchedQuestion):
        yield markdown(
            "Nothing was done here since {}, so nobody is paged for it any more. If it goes on, write {} or {}; "
            "if it is over, {} or close the issue.",
            format_utc(notice.since),
            code_span("/ack"),
            code_span("/update text"),
            code_span("/resolve text"),
        )
    elif isinstance(notice, RefusalNotice):
        yield _refusal_paragraph(notice)
    elif isinstance(notice, PolicyFaultNotice):
        yield _policy_fault_paragraph(notice)
    elif isinstance(notice, ChannelFailure):
        yield _channel_failure_paragraph(notice)


def _escalation_paragraphs(notice: Escalate, incident: Incident, policy: Policy, now: datetime) -> Iterator[Markdown]:
    if still_due(notice, incident):
        to = (
            phrases.format_contacts(notice.contacts, policy, notice.at)
            if notice.contacts
            else markdown("whoever has it")
        )
        yield markdown("**Asked of {}:** {}", to, _escalation_request(notice, incident))
    at = format_time(notice.at, policy.zone, day=now.date())
    yield markdown("**Why now**, at {}: {}", at, escape(notice.because, 600))


def _policy_fault_paragraph(notice: PolicyFaultNotice) -> Markdown:
    shown = join((markdown("- {}", escape(fault, 400)) for fault in notice.faults[:_MAX_FAULTS]), "\n")
    more = (
        markdown("\n- and {} more", len(notice.faults) - _MAX_FAULTS)
        if len(notice.faults) > _MAX_FAULTS
        else markdown("")
    )
    return markdown(
        "The policy file has a fault, so the last good one stays in force and every clock keeps running. "
        "To mend:\n\n{}{}",
        shown,
        more,
    )


def _refusal_paragraph(notice: RefusalNotice) -> Markdown:
    return markdown(
        "GitHub does not accept {}; it says “{}”. {} It is tried again every day, and at once when somebody writes {}.",
        escape(notice.what, 60),
        escape(notice.reason, 300),
        escape(notice.advice, 400),
        code_span("/retry"),
    )


def _channel_failure_paragraph(notice: ChannelFailure) -> Markdown:
    return markdown(
        "The channel **{}** will not take a message ({}): {}. It "
        "is not tried again, so who it was for is mentioned here. "
        "Mend `channels` in {}, or whatever receives it.",
        escape(notice.channel, 50),
        escape(notice.notice_kind, 20),
        escape(notice.reason, 200),
        code_span(phrases.POLICY_FILE),
    )


def _escalation_request(notice: Escalate, incident: Incident) -> Markdown:
    if notice.do:
        return markdown("**{}**", escape(notice.do, 300))
    if incident.status is Status.TRIGGERED or not incident.commander:
        return markdown("find somebody to take it, or take it yourself with `/ack`.")
    who = format_login(incident.commander)
    return markdown("ask {} what is missing, and clear the way: people, access, a vendor, a decision.", who)


def _page_paragraph(incident: Incident, policy: Policy, now: datetime) -> Markdown:
    if not incident.is_paging:
        return markdown("The page was answered: {}.", phrases.owner(incident))
    command = code_span(phrases.answer_command(incident))
    if incident.status is not Status.TRIGGERED:
        last_activity = format_time(incident.last_activity_at or incident.declared_at, policy.zone, day=now.date())
        return markdown("Nothing was heard since {}. If you have it, say how it goes: {}.", last_activity, command)
    due = answer_deadline(incident, policy, now)
    by = markdown(" by {}", format_time(due.due, policy.zone, day=now.date())) if due else markdown("")
    return markdown("Nobody has it yet. Take it{}: write {} in a comment here.", by, command)


def _announcement_paragraph(notice: Announce, policy: Policy) -> Markdown:
    to = phrases.format_contacts(notice.contacts, policy, notice.at)
    return markdown("**For {} to know:** {}. The board tells how it goes.", to, escape(notice.because, 300))


def _title_and_answer(notice: Remind, incident: Incident, *, full: bool = False) -> tuple[Markdown, Markdown]:
    """Return what a reminder's deadline is for, and what meets it; shortened for a headline unless `full`."""
    if notice.clock == "regulatory":
        return escape(notice.about, 60), escape(notice.do, 300 if full else 60) or markdown("decide and close")
    what, command = CLOCK_ANSWERS.get(notice.clock, (notice.clock, "/update text"))
    if notice.clock == "postmortem":
        pull = incident.postmortem
        merge = (
            markdown("merge {}", link(f"pull request {pull.number}", pull.url))
            if pull
            else markdown("write it and merge it")
        )
        return markdown("{} {}", what, notice.about), merge
    if notice.about:
        return markdown("{} for {}", what, escape(notice.about, 60)), code_span(command)
    return to_markdown(what if full else what.partition(" for ")[0]), code_span(command)


def _reminder_paragraph(notice: Remind, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    what, answer = _title_and_answer(notice, incident, full=True)
    at, remaining = format_time(notice.due, policy.zone, day=now.date()), notice.due - now
    if notice.clock == "regulatory":
        when = (
            markdown("gives you until {}, {} from now", at, format_timedelta(remaining))
            if remaining > timedelta()
            else markdown("gave until {}", at)
        )
        return markdown(
            "**{}** {}, whatever the service does: {}. Closing the issue ends this clock.", what, when, answer
        )
    if not incident.status.open and not still_due(notice, incident):
        return markdown("The **{}** was due at {}.", what, at)
    if _is_answered(notice, incident, policy):
        return markdown("The **{}** was due at {}, and has come since.", what, at)
    when = (
        markdown("is due at {}, in {}", at, format_timedelta(remaining))
        if remaining > timedelta()
        else markdown("was due at {}", at)
    )
    alternative = markdown(" If that cannot be met: `/escalate reason`.") if notice.clock == "resolve" else markdown("")
    if notice.clock == "postmortem":
        return markdown("The **{}** {}. To answer: {}.", what, when, answer)
    return markdown("The **{}** {}. Answer with {}.{}", what, when, answer, alternative)


def _question_paragraphs(
    notice: SeverityQuestion | ClosingQuestion, incident: Incident, policy: Policy
) -> Iterator[Markdown]:
    """Yield what is asked, unless it was answered meanwhile."""
    if isinstance(notice, SeverityQuestion):
        if incident.grade.uncertain:
            yield from _severity_question_paragraphs(notice, incident, policy)
    elif incident.disputed_closing is not None:
        question = phrases.closing_question(incident.disputed_closing)
        yield markdown("{} Until then every clock goes on, and so do pages and escalations.", question)


def _severity_question_paragraphs(notice: SeverityQuestion, incident: Incident, policy: Policy) -> Iterator[Markdown]:
    thanks = "Thank you for the report, {}. How severe it is could not be read from it, so it counts as **{}** for now."
    yield markdown(thanks, format_login(incident.opened_by), phrases.severity(incident, policy))
    if notice.doubts:
        yield join((markdown("- {}", escape(doubt, 300)) for doubt in notice.doubts[:8]), "\n")
    names = join_limited((code_span(name.display_name(policy.scale).lower()) for name in Severity), 4)
    yield markdown(
        "What works: comment `/severity {} reason` ({}), or edit the form above.", _example_severity(policy), names
    )


def _example_severity(policy: Policy) -> Markdown:
    return to_markdown(Severity.SEV2.display_name(policy.scale).lower())


def _context_rows(incident: Incident, policy: Policy, now: datetime) -> Iterator[tuple[str, Markdown]]:
    """Yield what someone who hears of the incident for the first time needs to know (E6)."""
    report, day = incident.report, now.date()
    texts = dict.fromkeys((incident.title, report.summary[:400]))  # a summary often repeats the title
    what = join((escape(text, 400) for text in texts if text), ". ")
    yield "What", markdown("{}: {}", phrases.severity(incident, policy), what)
    since = report.started_at or report.detected_at or incident.declared_at
    reported = format_time(incident.declared_at, policy.zone, day=day)
    yield (
        "Since",
        markdown(
            "{}, {} ago; reported {} by {}",
            format_time(since, policy.zone, day=day),
            format_timedelta(now - since),
            reported,
            format_login(incident.opened_by),
        ),
    )
    if report.services:
        yield "Services", phrases.services(incident, policy)
    if impact := join(phrases.impact(incident), "; "):
        yield "Impact", impact
    yield "Now", markdown("{}; {}", incident.status.value, phrases.owner(incident))
    if incident.status.open and (room := places.war_room_link(incident, policy)):
        yield "War room", room
    running = [each for each in deadlines(incident, policy) if each.met_at is None and each.clock != "postmortem"]
    if running:
        by_due = sorted(running, key=lambda promise: promise.due)
        yield (
            "Deadlines",
            join_limited(
                (_deadline_phrase(promise, incident, policy, now) for promise in by_due), _MAX_DEADLINES, "; "
            ),
        )


def _deadline_phrase(deadline: Deadline, incident: Incident, policy: Policy, now: datetime) -> Markdown:
    due = format_time(deadline.due, policy.zone, day=now.date())
    return markdown(
        "{} {}, {}",
        phrases.deadline_title(deadline.clock, deadline.about),
        due,
        phrases.deadline_status(deadline, incident, now),
    )


def _actions_so_far(incident: Incident, comment_urls: Mapping[str, str], now: datetime) -> Iterator[Markdown]:
    for entry in phrases.response_entries(incident)[-8:]:
        at = phrases.timeline_link(format_utc(entry.at, day=now.date()), entry, comment_urls)
        yield markdown("{} {}: {}", at, format_login(entry.by), escape(entry.sentence))
