"""`/resolve`: the service is restored."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command, moved
from app.core.events import RESPONDER
from app.core.incident import Incident


def resolve(incident: Incident, call: Call) -> Answer:
    incident = moved(incident, call, "resolve")
    return incident.noted(
        call.at, call.event, "resolved the incident" + (f": {call.argument}" if call.argument else "")
    ), ()


COMMAND = Command(
    "resolve", "/resolve text", "The service is restored: the clocks stop. Then close the issue.", RESPONDER, resolve
)
