"""Regulatory deadlines, such as article 33 of the GDPR (G2).

Every hour counts from the awareness, or from the declaration; nothing pauses or moves the deadline. The clock runs on
after the resolution until the issue is closed: the decision is required even when the service works again.
"""

from __future__ import annotations

from collections.abc import Iterator

from app.core.clocks.clock import Clock, ClockResult, Deadline, breach, deadline, warnings
from app.core.effective_policy import active_regulations
from app.core.effects import Remind
from app.core.escalation import notice_channels, role_holders
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Policy, Regulation, Since, Target
from app.core.timeline import EntryKind

NAME = "regulatory"


def deadlines(incident: Incident, policy: Policy) -> Iterator[Deadline]:
    """Yield the deadline of each regulation that applies to the incident."""
    for name, law in active_regulations(policy, incident.report).items():
        yield _regulation_deadline(name, law, incident, policy)


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the unfired warnings and breaches until the incident is closed."""
    if incident.status is Status.CLOSED:
        return
    for guarded in deadlines(incident, policy):
        yield from warnings(guarded, incident, policy)
        yield from breach(guarded, incident)


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Remind the people who decide, at each warning and at the breach: a law allows no delay."""
    name, _, kind = alarm.mark.rpartition("@")[0].rpartition(".")
    law = policy.regulations[name]
    if kind == "breach":
        incident = incident.with_entry(
            alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, f"the time that {name} gives is over"
        )
    recipients = role_holders(incident, policy, law.to, alarm.due)
    return incident, (
        Remind(
            key=alarm.key,
            to=recipients.people,
            unstaffed=recipients.unstaffed,
            at=alarm.due,
            via=notice_channels(incident, policy),
            clock=NAME,
            due=_regulation_deadline(name, law, incident, policy).due,
            about=name,
            do=law.do,
        ),
    )


def _regulation_deadline(name: str, law: Regulation, incident: Incident, policy: Policy) -> Deadline:
    """Return the deadline of one regulation.

    Awareness is at the latest the declaration; a later detection time in the report is a mistake.
    """
    since, detected = incident.declared_at, incident.report.detected_at
    if law.since is Since.AWARENESS and detected is not None:
        since = min(since, detected)
    return deadline(NAME, since, Target(law.within), policy, met_at=incident.closed_at, about=name)


CLOCK = Clock(NAME, "Regulation", deadlines, alarms, fire)
