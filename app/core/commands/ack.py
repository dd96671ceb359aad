"""`/ack`: take the incident."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_commander, with_status
from app.core.effects import Assign
from app.core.errors import Refused
from app.core.events import RESPONDER
from app.core.incident import Incident, replace
from app.core.lifecycle import Status
from app.core.timeline import EntryKind


def ack(incident: Incident, call: Call) -> Answer:
    """Take the incident and stop the paging.

    A triggered incident is acknowledged.  After a silence, the caller takes an incident over from its commander.
    """
    if incident.status.open and not incident.is_paging:
        raise Refused(
            f"{incident.id} is already {incident.status}; {incident.commander} has it. To tell the others how it goes: "
            "/update."
        )
    if incident.is_paging and incident.status is not Status.TRIGGERED:
        incident = replace(with_commander(incident, call), commander=call.by)
    else:
        incident = with_status(incident, call, "acknowledge")
    acknowledged = incident.with_entry(call.at, call.event, EntryKind.ACKNOWLEDGED, "acknowledged the incident")
    return acknowledged, (Assign(login=call.by, key=f"assign/{call.key}"),)


COMMAND = Command("ack", "/ack", "Take the incident and stop the paging.", RESPONDER, ack)
