"""The slash commands: one file each, and one line here."""

from __future__ import annotations

from app.core.commands import ack, escalate, postmortem, resolve, retry, severity, status, update
from app.core.commands import help as help_
from app.core.commands.command import Answer, Call, Command

COMMANDS: dict[str, Command] = {
    command.name: command
    for command in (
        ack.COMMAND,
        update.COMMAND,
        status.COMMAND,
        severity.COMMAND,
        escalate.COMMAND,
        resolve.COMMAND,
        postmortem.COMMAND,
        retry.COMMAND,
        help_.COMMAND,
    )
}
"""All commands by name, in the order of the help."""

__all__ = ["COMMANDS", "Answer", "Call", "Command"]
