"""The clocks: one file each, and one line here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import datetime

from app.core.clocks import (
    acknowledge,
    audience,
    commander,
    escalate,
    postmortem,
    regulatory,
    resolve,
    respond,
    untouched,
    update,
)
from app.core.clocks.clock import Clock, Deadline
from app.core.effective_policy import policy_for
from app.core.effects import Escalate, Remind
from app.core.events import Alarm
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy

CLOCKS: dict[str, Clock] = {
    clock.name: clock
    for clock in (
        acknowledge.CLOCK,
        commander.CLOCK,
        respond.CLOCK,
        update.CLOCK,
        audience.CLOCK,
        resolve.CLOCK,
        regulatory.CLOCK,
        escalate.CLOCK,
        postmortem.CLOCK,
        untouched.CLOCK,
    )
}
"""All clocks by name; alarms due at the same time fire in this order."""


def alarms(incident: Incident, policy: Policy) -> tuple[Alarm, ...]:
    """Return the alarms that should exist now, earliest first.

    Alarms due at the same time keep the order of `CLOCKS`. Every store of alarms is made equal to this result. No alarm
    is due before the grade, reopening or return that created it: one that would be late by then fires at that moment
    (B11).
    """
    policy = policy_for(policy, incident)
    found = [alarm for clock in CLOCKS.values() for alarm in clock.alarms(incident, policy)]
    return tuple(sorted(_clamp_due_times(found, incident), key=lambda alarm: alarm.due))


def find_alarm(alarm: Alarm, incident: Incident, policy: Policy) -> Alarm | None:
    """Return the alarm with this key as it should be now, or None if it should no longer exist."""
    clock = CLOCKS.get(alarm.clock)
    if clock is None:
        return None
    policy = policy_for(policy, incident)
    repeats = (
        each if each.mark == alarm.mark else clock.latest_repeat(incident, each, policy, alarm.due)
        for each in clock.alarms(incident, policy)
    )
    return next(_clamp_due_times((each for each in repeats if each.mark == alarm.mark), incident), None)


def next_alarm(incident: Incident, policy: Policy, until: datetime) -> Alarm | None:
    """Return the alarm that fires next if all are fired up to `until`; None if there is none.

    Of an alarm that repeats, only the last repeat by then is fired.
    """
    if incident.unavailable:
        return None
    policy, earliest = policy_for(policy, incident), incident.alarms_reset_at
    first, first_due = None, until
    # A loop, since a fold asks this after every event: generators would cost as much as the clocks themselves.
    for clock in CLOCKS.values():
        for pending in clock.alarms(incident, policy):
            alarm = clock.latest_repeat(incident, pending, policy, until)
            due = max(alarm.due, earliest)
            if first is None or due < first_due:
                first, first_due = alarm, due
    return first if first is None or first.due == first_due else replace(first, due=first_due)


def _clamp_due_times(all_alarms: Iterable[Alarm], incident: Incident) -> Iterator[Alarm]:
    """Move alarms that would be due before the last reset to that reset; yield none for an unavailable issue."""
    if not incident.unavailable:
        earliest = incident.alarms_reset_at
        for alarm in all_alarms:
            yield replace(alarm, due=earliest) if alarm.due < earliest else alarm


def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """Return the SLA deadlines of the incident, in the order of `CLOCKS`."""
    policy = policy_for(policy, incident)
    return tuple(found for clock in CLOCKS.values() for found in clock.deadlines(incident, policy))


def still_due(notice: Escalate | Remind, incident: Incident) -> bool:
    """Return whether a reminder or escalation is still due.

    An update given after the notice was created replaces a reminder to give one.
    """
    if notice.key.startswith(f"{postmortem.NAME}/"):
        is_refused = bool(incident.postmortem_refusal) and incident.postmortem is None
        return incident.resolved_at is not None and not postmortem.is_merged(incident) and not is_refused
    if not isinstance(notice, Remind):
        return incident.status.open
    if notice.clock == regulatory.NAME:
        return incident.status is not Status.CLOSED
    superseded = notice.clock in (update.NAME, audience.NAME) and (incident.updated_at or notice.at) > notice.at
    return incident.status.open and not superseded


__all__ = ["CLOCKS", "Clock", "Deadline", "alarms", "deadlines", "find_alarm", "next_alarm", "still_due"]
