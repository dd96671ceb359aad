"""`/retry`: try at once what GitHub has refused on this incident."""

from __future__ import annotations

from app.core.commands.command import Answer, Call, Command
from app.core.effects import RetryRefused
from app.core.events import RESPONDER
from app.core.incident import Incident


def retry(incident: Incident, call: Call) -> Answer:
    """Try again what waits because GitHub refused it, and what was given up."""
    return incident, (RetryRefused(key=f"retry/{call.event.key}/{call.index}"),)


COMMAND = Command("retry", "/retry", "Try again what GitHub has refused here.", RESPONDER, retry)
