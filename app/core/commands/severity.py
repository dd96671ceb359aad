"""`/severity`: grade the incident by hand.  A severity label does the same."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, spoken
from app.core.errors import Refused
from app.core.escalation import raised, regraded
from app.core.events import RESPONDER
from app.core.incident import Grade, Incident
from app.core.severity import Scale, Severity
from app.core.timeline import Deed


def severity(incident: Incident, call: Call) -> Answer:
    """Set the severity to the one that the argument names, with an optional reason."""
    name, _, reason = call.argument.partition(" ")
    found = call.policy.severity(name)
    if found is None:
        raise Refused(_unknown(name, call.policy.scale))
    if not incident.status.open:
        raise Refused(
            f"{incident.id} is {incident.status}, so its severity stands. Reopen the issue to grade it again."
        )
    if found is incident.severity and not incident.grade.unsure:
        raise Refused(f"{incident.id} is {found.said(call.policy.scale)} already.")
    return graded(incident, call, found, reason.strip())


def graded(incident: Incident, call: Call, to: Severity, reason: str) -> Answer:
    """Change the severity, or confirm an uncertain one.

    Deadlines still count from the original start; a higher severity notifies people (B11, E5).
    """
    was = incident.severity
    words = f"graded by {call.by}" + (f": {reason}" if reason else "")
    old, new = was.said(call.policy.scale), to.said(call.policy.scale)
    change = f"changed the severity from {old} to {new}" if to is not was else f"confirmed the severity {new}"
    reported = incident.grade.reasons[1:] if incident.grade.by else incident.grade.reasons
    grade = Grade(to, (words, *reported), by=call.by)
    incident = regraded(spoken(incident, call), grade, call.policy, call.at)
    incident = incident.noted(call.at, call.event, Deed.GRADED, change, reason)
    return raised(incident, was, call.policy, call.at, by=call.by, key=call.key)


def _unknown(name: str, scale: Scale) -> str:
    names = ", ".join(severity.on(scale).lower() for severity in Severity)
    return f"'{name}' is not a severity here. One of {names} would have worked, such as /severity {Severity.SEV2.on(scale).lower()} reason."


COMMAND = Command(
    "severity",
    "/severity sev2 reason",
    "Change the severity; deadlines follow from the original start.",
    RESPONDER,
    severity,
)
