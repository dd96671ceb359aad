"""Postmortem deadlines: document and review are finished in time (P4).

Runs from the resolution until the postmortem is merged. Document and review are each requested once; what is missing
some days after the closing is escalated to the reviewers.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.calendar import due_time as due_by
from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, key_timestamp
from app.core.effects import Escalate, Remind
from app.core.escalation import Recipients, notice_channels, resolve_recipients
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.on_call import people_of
from app.core.policy import Policy, Target
from app.core.timeline import EntryKind

NAME = "postmortem"
DOCUMENT, REVIEW, OVERDUE = "document", "review", "overdue"


def deadlines(incident: Incident, policy: Policy) -> Iterator[Deadline]:
    """Yield the deadlines of document and review, once the incident is resolved and requires a postmortem."""
    if incident.resolved_at is None or not _is_required(incident, policy):
        return
    rules, since = policy.postmortem, incident.resolved_at
    met_at = incident.postmortem.ended_at if incident.postmortem and is_merged(incident) else None
    yield deadline(NAME, since, Target(rules.document), policy, met_at=met_at, about=DOCUMENT)
    yield deadline(NAME, since, Target(rules.review), policy, met_at=met_at, about=REVIEW)


def is_merged(incident: Incident) -> bool:
    """Return whether the incident's postmortem is merged."""
    return incident.postmortem is not None and incident.postmortem.state == "merged"


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the unfired breach and overdue alarms until the postmortem is merged."""
    if is_merged(incident) or (incident.postmortem_refusal and incident.postmortem is None):
        return  # merged, or GitHub refuses the document, so there is nothing to remind people of
    for guarded in deadlines(incident, policy):
        yield from breach(guarded, incident)
    if incident.postmortem_wanted and incident.closed_at is not None:
        at = due_by(incident.closed_at, Target(policy.postmortem.overdue), policy.calendars)
        alarm = Alarm(at, NAME, f"{OVERDUE}@{key_timestamp(at)}")
        if alarm.key not in incident.fired_alarms:
            yield alarm


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Send the reminder for document or review, or the overdue escalation."""
    part = alarm.mark.partition("@")[0].partition(".")[0]
    return _escalate_overdue(incident, alarm, policy) if part == OVERDUE else _remind(incident, alarm, policy, part)


def _remind(incident: Incident, alarm: Alarm, policy: Policy, part: str) -> ClockResult:
    """Remind the commander of the document, or the reviewers of the review."""
    recipients = _recipients(incident, policy, part, alarm)
    missed = "the postmortem was not merged in time" if part == DOCUMENT else "the postmortem was not reviewed in time"
    return incident.with_entry(alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, missed), (
        Remind(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=notice_channels(incident, policy),
            clock=NAME,
            due=alarm.due,
            about=part,
        ),
    )


def _escalate_overdue(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    rules = policy.postmortem
    recipients = resolve_recipients(incident, policy, rules.reviewers, alarm.due)
    because = f"the postmortem is not merged {rules.overdue.in_words} after the closing"
    notice = Escalate(
        key=alarm.key,
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=alarm.due,
        via=notice_channels(incident, policy),
        contacts=rules.reviewers,
        because=because,
        do="see to it that the postmortem is written and merged",
    )
    summary = f"escalated to {', '.join(rules.reviewers)}"
    return incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.ESCALATED, summary, because
    ), (notice,)


def _recipients(incident: Incident, policy: Policy, part: str, alarm: Alarm) -> Recipients:
    if part == DOCUMENT and incident.commander:
        return Recipients((incident.commander,))
    reviewers = people_of(policy.postmortem.reviewers, policy, alarm.due)
    if not reviewers and incident.commander:
        return Recipients((incident.commander,))
    return resolve_recipients(incident, policy, policy.postmortem.reviewers, alarm.due)


def _is_required(incident: Incident, policy: Policy) -> bool:
    """Return whether a postmortem is required.

    It is requested at the closing at the latest; before that, the severity decides.
    """
    soon = incident.status is not Status.CLOSED and incident.severity in policy.postmortem.required
    return incident.postmortem_wanted or soon


CLOCK = Clock(NAME, "Postmortem", deadlines, alarms, fire)
