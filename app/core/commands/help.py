"""`/help`: list the commands."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command
from app.core.effects import Help
from app.core.events import RESPONDER
from app.core.incident import Incident


def help_(incident: Incident, call: Call) -> Answer:
    """Reply with the list of commands."""
    return incident, (Help(key=f"help/{call.event.key}", to=call.by),)


COMMAND = Command("help", "/help", "List the commands.", RESPONDER, help_)
