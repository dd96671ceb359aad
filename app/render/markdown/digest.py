"""Render one digest comment for many unconfirmed reports, which send no notifications of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown import phrases
from app.render.markdown.markup import escape, format_login, join, link, markdown, mention, render_template, with_footer
from app.render.time_format import format_time, pluralize

_MAX_ROWS = 60
_MAX_MENTIONS = 40


def render_digest(
    incidents: Sequence[Incident], logins: Sequence[str], policy: Policy, now: datetime, *, footer: str
) -> str:
    """Render the digest of unconfirmed `incidents`, each with its reporter; `logins` are mentioned."""
    body = render_template(
        "digest",
        mentions=join(map(mention, logins[:_MAX_MENTIONS]), " "),
        count=pluralize(len(incidents), "more report"),
        people=pluralize(len({each.opened_by for each in incidents}), "person", "people"),
        rows=[
            markdown(
                "{} {}: {}, by {}",
                link(markdown("#{}", each.number), each.url),
                phrases.severity(each, policy),
                escape(each.title, 80),
                format_login(each.opened_by),
            )
            for each in incidents[:_MAX_ROWS]
        ],
        more=max(0, len(incidents) - _MAX_ROWS),
        now=format_time(now, policy.zone),
    )
    return with_footer(body, footer)
