"""Render replies to a person's comment."""

from __future__ import annotations

from app.core.commands import COMMANDS
from app.core.effects import Help, Reply
from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown import phrases
from app.render.markdown.markup import code_span, escape, markdown, mention, render_template, with_footer


def render_reply(effect: Reply, footer: str) -> str:
    """Render the reply to a person.  `footer` is appended unchanged."""
    return with_footer(markdown("{} {}", mention(effect.to), escape(effect.text, 4000)), footer)


def render_help(effect: Help, incident: Incident, policy: Policy, footer: str) -> str:
    """Render the list of commands, and the role each of them needs."""
    body = render_template(
        "help",
        to=mention(effect.to),
        id=incident.id,
        severity=phrases.severity(incident, policy),
        status=incident.status.value,
        owner=phrases.owner(incident),
        commands=[(code_span(each.usage), each.summary, each.role.name.lower()) for each in COMMANDS.values()],
    )
    return with_footer(body, footer)
