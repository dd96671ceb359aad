"""Render a notice as plain text for people outside GitHub; the first line is for a lock screen.

It is unknown whether a receiver treats the text as chat, mail or a web page.  So untrusted text is broken wherever one
of them would interpret it: it mentions no one, links to nothing and opens no tag.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from app.core.effective_policy import policy_for
from app.core.effects import (
    Announce,
    ClosingQuestion,
    Escalate,
    Notice,
    Page,
    Remind,
    SeverityQuestion,
    UntouchedQuestion,
)
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy
from app.core.severity import Severity
from app.ports import Message
from app.render.markdown import phrases
from app.render.markdown.notices import CLOCK_ANSWERS, answer_deadline, due_phrase
from app.render.time_format import format_time, format_timedelta
from app.text import defuse_line

_MAX_TITLE_CHARS = 80
_MESSAGE_KINDS: dict[type[Notice], str] = {
    Page: "page",
    Escalate: "escalate",
    Remind: "remind",
    Announce: "announce",
    SeverityQuestion: "ask",
    UntouchedQuestion: "ask",
    ClosingQuestion: "ask",
}
"""The name of each notice type in a message; notices of other types go to GitHub only."""


def is_for_channels(notice: Notice) -> bool:
    """Return whether channels carry this type of notice."""
    return type(notice) in _MESSAGE_KINDS


def channel_message(notice: Notice, incident: Incident, policy: Policy, now: datetime, *, key: str) -> Message:
    """Render the notice as a channel message; it must be of a type that channels carry."""
    policy = policy_for(policy, incident)
    subject = _subject(notice, incident, policy, now)
    lines = [subject, *_request_lines(notice, incident, policy, now), _recipients_line(notice), incident.url]
    return Message(
        key=key,
        kind=_MESSAGE_KINDS[type(notice)],
        severity=str(incident.severity),
        subject=subject,
        text="\n".join(filter(None, lines)),
        link=incident.url,
        to=notice.to,
        at=notice.at,
        incident=incident.id,
        repository=incident.repo,
        number=incident.number,
    )


def _subject(notice: Notice, incident: Incident, policy: Policy, now: datetime) -> str:
    """Build the subject: severity, event, title; about sixty characters of it are visible."""
    name, title = incident.severity.display_name(policy.scale), defuse_line(incident.title, _MAX_TITLE_CHARS)
    if isinstance(notice, Escalate):
        to = ", ".join(defuse_line(contact, 24) for contact in notice.contacts[:3]) or "whoever has it"
        return f"{name} escalated to {to}: {title}"
    if isinstance(notice, Page):
        return f"{name} page {notice.attempt}: {title}" if notice.attempt > 1 else f"{name}: {title}"
    if isinstance(notice, Remind):
        return f"{name} {_deadline_phrase(notice)} {due_phrase(notice.due, now)}: {title}"
    if isinstance(notice, UntouchedQuestion):
        return f"{name}, is it still an incident? {title}"
    if isinstance(notice, ClosingQuestion):
        return f"{name}, is it over? {title}"
    return f"{name}, how severe is it? {title}" if isinstance(notice, SeverityQuestion) else f"{name}: {title}"


def _request_lines(notice: Notice, incident: Incident, policy: Policy, now: datetime) -> Iterator[str]:
    """Yield what is requested of the reader, and why."""
    day, duration = now.date(), format_timedelta(phrases.open_duration(incident, now))
    has_owner = incident.commander and incident.status is not Status.TRIGGERED
    ownership = f"{defuse_line(incident.commander, 60)} has it" if has_owner else "nobody has it"
    if isinstance(notice, Page):
        due = answer_deadline(incident, policy, now)
        by = f" by {format_time(due.due, policy.zone, day=day)}" if due else ""
        yield f"Asked: answer {phrases.answer_command(incident)} on the issue{by}."
    elif isinstance(notice, Escalate):
        request = defuse_line(notice.do, 300) or (
            "clear the way for them" if has_owner else "find somebody to take it, or /ack"
        )
        yield f"Asked: {request}."
        yield f"Why: {defuse_line(notice.because, 300)}; open {duration}, {ownership}."
    elif isinstance(notice, Announce):
        yield f"For you to know: {defuse_line(notice.because, 300)}; open {duration}, {ownership}."
    elif isinstance(notice, Remind):
        request = defuse_line(notice.do, 300) or CLOCK_ANSWERS.get(notice.clock, ("", ""))[1]
        yield f"Asked: {request or 'see to it'}, due {format_time(notice.due, policy.zone, day=day)}."
    elif isinstance(notice, UntouchedQuestion):
        since = format_time(notice.since, policy.zone, day=day)
        yield f"Nobody has touched it since {since}: it pages nobody any more."
        yield "Asked: /update text or /ack if it goes on, else /resolve text, on the issue."
    elif isinstance(notice, ClosingQuestion):
        yield f"Why: the issue was closed by {defuse_line(notice.closed_by, 60)}, who has no rights there."
        yield "Asked: /resolve text if it is over; otherwise reopen the issue."
    else:
        yield f"Asked: /severity {Severity.SEV2.display_name(policy.scale).lower()} reason, on the issue."


def _deadline_phrase(notice: Remind) -> str:
    """Return what the reminder's deadline is for, in a word or two."""
    if notice.clock == "regulatory":
        return defuse_line(notice.about, 60)
    deadline_name = CLOCK_ANSWERS.get(notice.clock, (notice.clock, ""))[0].partition(" for ")[0]
    return f"{deadline_name} for {defuse_line(notice.about, 40)}" if notice.about else deadline_name


def _recipients_line(notice: Notice) -> str:
    """Name the recipients without mentioning them: a GitHub login may be someone else in another service."""
    names = [defuse_line(login, 60) for login in notice.to[:10]]
    more = f" and {len(notice.to) - 10} more" if len(notice.to) > 10 else ""
    return f"For: {', '.join(names)}{more}" if names else "For: whoever reads this"
