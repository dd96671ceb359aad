"""`/severity`: grade the incident by hand.  A severity label does the same."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_activity
from app.core.errors import Refused
from app.core.escalation import apply_grade, notify_raised
from app.core.events import RESPONDER
from app.core.incident import Grade, Incident
from app.core.severity import Scale, Severity
from app.core.timeline import EntryKind


def severity(incident: Incident, call: Call) -> Answer:
    """Set the severity to the one that the argument names, with an optional reason."""
    name, _, reason = call.argument.partition(" ")
    found = call.policy.severity(name)
    if found is None:
        raise Refused(_describe_unknown_severity(name, call.policy.scale))
    if not incident.status.open:
        raise Refused(
            f"{incident.id} is {incident.status}, so its severity stands. Reopen the issue to grade it again."
        )
    return change_severity(incident, call, found, reason.strip())


def change_severity(incident: Incident, call: Call, new_severity: Severity, reason: str) -> Answer:
    """Change the severity, or confirm the one it has, which then no edit of the report changes.

    Deadlines still count from the original start; a higher severity notifies people (B11, E5).
    """
    previous_severity = incident.severity
    reason_text = f"graded by {call.by}" + (f": {reason}" if reason else "")
    old, new = previous_severity.inline_name(call.policy.scale), new_severity.inline_name(call.policy.scale)
    change = (
        f"changed the severity from {old} to {new}"
        if new_severity is not previous_severity
        else f"confirmed the severity {new}"
    )
    report_reasons = incident.grade.reasons[1:] if incident.grade.by else incident.grade.reasons
    grade = Grade(new_severity, (reason_text, *report_reasons), by=call.by)
    incident = apply_grade(with_activity(incident, call), grade, call.policy, call.at)
    incident = incident.with_entry(call.at, call.event, EntryKind.GRADED, change, reason)
    return notify_raised(incident, previous_severity, call.policy, call.at, by=call.by, key=call.key)


def _describe_unknown_severity(name: str, scale: Scale) -> str:
    names = ", ".join(severity.display_name(scale).lower() for severity in Severity)
    return (
        f"'{name}' is not a severity here. One of {names} would have worked, "
        f"such as /severity {Severity.SEV2.display_name(scale).lower()} reason."
    )


COMMAND = Command(
    "severity",
    "/severity sev2 reason",
    "Change the severity; deadlines follow from the original start.",
    RESPONDER,
    severity,
)
