"""`/update`: publish an update; the next one is due one cadence later."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, with_commander
from app.core.errors import Refused
from app.core.events import RESPONDER
from app.core.incident import Incident, replace
from app.core.lifecycle import Status, next_status
from app.core.timeline import EntryKind


def update(incident: Incident, call: Call) -> Answer:
    """Publish an update, which also acknowledges a triggered incident."""
    if not call.argument:
        raise Refused(
            "/update needs a sentence for those who wait, such as /update The database is back, we watch the queue."
        )
    if incident.status is Status.CLOSED:
        raise Refused(f"{incident.id} is closed. Reopen the issue if it goes on.")
    status = next_status(incident.status, "acknowledge") if incident.status is Status.TRIGGERED else incident.status
    incident = replace(with_commander(incident, call), status=status, updated_at=call.at)
    return incident.with_entry(call.at, call.event, EntryKind.UPDATED, "update", call.argument), ()


COMMAND = Command(
    "update", "/update text", "Tell how it goes; the next update is due one cadence later.", RESPONDER, update
)
