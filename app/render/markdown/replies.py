"""Renders replies to a person's comment."""

from __future__ import annotations

from app.core.commands import COMMANDS
from app.core.effects import Help, Reply
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown import phrases
from app.render.markdown.markup import code, md, mention, rendered, said, signed


def reply(effect: Reply, footer: str) -> str:
    """Render the reply to a person.  `footer` is appended unchanged."""
    return signed(md("{} {}", mention(effect.to), said(effect.text, 4000)), footer)


def help_reply(effect: Help, incident: Incident, policy: Policy, footer: str) -> str:
    """Render the list of commands, and the role each of them needs."""
    body = rendered(
        "help",
        to=mention(effect.to),
        id=incident.id,
        severity=phrases.severity(incident, policy),
        status=incident.status.value,
        owner=phrases.holder(incident),
        commands=[(code(each.usage), each.summary, each.role.name.lower()) for each in COMMANDS.values()],
    )
    return signed(body, footer)
