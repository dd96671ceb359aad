"""`/status`: set the status of the work."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_status
from app.core.errors import Refused
from app.core.events import RESPONDER
from app.core.incident import Incident
from app.core.timeline import EntryKind

ACTIONS = {
    "acknowledged": "acknowledge",
    "investigating": "investigate",
    "identified": "identify",
    "mitigated": "mitigate",
    "contained": "mitigate",
    "resolved": "resolve",
    "verified": "verify",
}
"""The statuses that can be named, and the action that leads to each.  `contained` is 002's word for mitigated (D2)."""


def status(incident: Incident, call: Call) -> Answer:
    """Set the status that the argument names."""
    name = call.argument.split(" ", 1)[0].lower()
    if name not in ACTIONS:
        found = f"'{name}' is not a status that can be set here." if name else f"{incident.id} is {incident.status}."
        raise Refused(f"{found} /status takes one of {', '.join(ACTIONS)}.")
    if name == incident.status.value:
        raise Refused(f"{incident.id} is {name} already.")
    incident = with_status(incident, call, ACTIONS[name])
    return incident.with_entry(
        call.at, call.event, EntryKind.STATUS_CHANGED, f"set the status to {incident.status}"
    ), ()


COMMAND = Command(
    "status",
    "/status identified",
    "Say how far it is: investigating, identified, mitigated, resolved, verified.",
    RESPONDER,
    status,
)
