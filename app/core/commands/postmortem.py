"""`/postmortem`: open the postmortem pull request without waiting for the issue to close."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command
from app.core.effects import OpenPostmortem, RetryRefused
from app.core.errors import Refused
from app.core.events import RESPONDER
from app.core.incident import Incident, replace
from app.core.timeline import EntryKind


def postmortem(incident: Incident, call: Call) -> Answer:
    """Open the postmortem pull request, unless there is one or it is being opened; try again where GitHub refused."""
    if incident.postmortem is not None:
        raise Refused(f"The postmortem of {incident.id} is {incident.postmortem.state}: {incident.postmortem.url}")
    if incident.postmortem_refusal:
        return incident.with_entry(call.at, call.event, EntryKind.POSTMORTEM, "asked for the postmortem again"), (
            RetryRefused(key=f"retry/{call.event.key}"),
        )
    if incident.postmortem_wanted:
        raise Refused(f"The postmortem of {incident.id} is being opened; its link will stand on the board.")
    incident = replace(incident, postmortem_wanted=True, postmortem_wanted_at=call.at)
    return incident.with_entry(call.at, call.event, EntryKind.POSTMORTEM, "asked for a postmortem"), (
        open_postmortem(),
    )


def open_postmortem() -> OpenPostmortem:
    """Return the effect that opens the postmortem: it has one key, so there is one pull request per incident."""
    return OpenPostmortem(key="postmortem")


COMMAND = Command("postmortem", "/postmortem", "Open the postmortem pull request.", RESPONDER, postmortem)
