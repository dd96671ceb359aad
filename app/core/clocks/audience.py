"""Update deadlines per audience: people who wait without working on the incident get news in time (B7, D5).

The first news counts from the declaration, or from the last reopening. The next ones count from the last update; until
there is one, from when the first news was due. One update serves all audiences. Each deadline requests news once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from app.core.calendar import due_time as due_by
from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, expand_at_once
from app.core.effects import Remind
from app.core.escalation import notice_channels, role_holders
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.policy import COMMUNICATIONS, Audience, Duration, Policy, Target
from app.core.timeline import EntryKind

NAME = "audience"
_ASK = "ask"


def deadlines(incident: Incident, policy: Policy) -> Iterator[Deadline]:
    """Yield each audience's current deadline: the first news until it was given, then the next update."""
    if incident.status.open:
        for name, audience in policy.audiences.items():
            yield from _audience_deadlines(name, audience, incident, policy)[:1]


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the alarms of all unmet audience deadlines while the incident is open."""
    if incident.status.open:
        for name, audience in policy.audiences.items():
            for news_deadline in _audience_deadlines(name, audience, incident, policy):
                if news_deadline.met_at is None:
                    yield from (
                        _request_alarms(news_deadline, incident)
                        if news_deadline.target.within.is_immediate
                        else breach(news_deadline, incident)
                    )


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Remind the people who inform the audience; a breach is also recorded on the timeline."""
    name, _, kind = alarm.mark.rpartition("@")[0].rpartition(".")
    audience = policy.audiences[name]
    news_deadline = next(
        owed for owed in _audience_deadlines(name, audience, incident, policy) if owed.alarm_mark(kind) == alarm.mark
    )
    recipients = role_holders(incident, policy, audience.to, alarm.due, fallback=(COMMUNICATIONS,))
    if kind != _ASK:
        summary = f"news for {name} was due"
        incident = incident.with_entry(alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, summary)
    return incident, (
        Remind(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=notice_channels(incident, policy),
            clock=NAME,
            due=news_deadline.due,
            about=name,
        ),
    )


def _request_alarms(news_deadline: Deadline, incident: Incident) -> Iterator[Alarm]:
    """Yield an immediate request for news that is due at once.

    Such news is late only when a page would have been answered late.
    """
    alarm = Alarm(news_deadline.start, NAME, news_deadline.alarm_mark(_ASK))
    if alarm.key not in incident.fired_alarms:
        yield alarm


def _audience_deadlines(name: str, audience: Audience, incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """Return the audience's deadlines in order, cached by what they depend on.

    Where only first news was due, it stays in the result after it was given.
    """
    key = NAME, name, incident.severity, incident.escalation_started_at, _last_update_at(incident)
    return policy.compute_once(key, lambda: _compute_deadlines(name, audience, incident, policy))


def _compute_deadlines(name: str, audience: Audience, incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """Compute the deadlines of the first news and of the next update."""
    since, last_update = incident.escalation_started_at, _last_update_at(incident)
    first, updates = audience.first.get(incident.severity), audience.updates.get(incident.severity)
    first_news = first_news_deadline(name, first, incident, policy) if first is not None else None
    if updates is None:
        return (first_news,) if first_news else ()
    start = last_update or (due_by(since, Target(first), policy.calendars) if first else since)
    next_news = deadline(NAME, start, Target(updates), policy, about=name)
    return (first_news, next_news) if first_news and last_update is None else (next_news,)


def first_news_deadline(name: str, within: Duration, incident: Incident, policy: Policy) -> Deadline:
    """Return the deadline of the audience's first news."""
    since, last_update = incident.escalation_started_at, _last_update_at(incident)
    target = expand_at_once(Target(within), policy.targets_of(incident.severity))
    found = deadline(NAME, since, target, policy, met_at=last_update, about=name)
    return replace(found, target=Target(within))


def _last_update_at(incident: Incident) -> datetime | None:
    """Return when the last update was given since the declaration or the last reopening; None if there was none."""
    at = incident.updated_at
    return at if at is not None and at >= incident.escalation_started_at else None


CLOCK = Clock(NAME, "News for", deadlines, alarms, fire)
