"""`/resolve`: mark the service as restored."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_status
from app.core.events import RESPONDER
from app.core.incident import Incident
from app.core.timeline import EntryKind


def resolve(incident: Incident, call: Call) -> Answer:
    """Resolve the incident."""
    incident = with_status(incident, call, "resolve")
    return incident.with_entry(
        call.at, call.event, EntryKind.STATUS_CHANGED, "resolved the incident", call.argument
    ), ()


COMMAND = Command(
    "resolve", "/resolve text", "The service is restored: the clocks stop. Then close the issue.", RESPONDER, resolve
)
