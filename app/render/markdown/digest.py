"""Renders one digest comment for many unconfirmed reports, which send no notifications of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from app.core.incident import Incident
from app.core.policy import Policy
from app.render.markdown import phrases
from app.render.markdown.markup import joined, link, md, mention, person, rendered, said, signed
from app.render.time_format import count, moment

_MAX_ROWS = 60
_MAX_MENTIONS = 40


def digest(waiting: Sequence[Incident], to: Sequence[str], policy: Policy, now: datetime, *, footer: str) -> str:
    """Render the digest of unconfirmed `incidents`, each with its reporter; `logins` are mentioned."""
    body = rendered(
        "digest",
        mentions=joined(map(mention, to[:_MAX_MENTIONS]), " "),
        count=count(len(waiting), "more report"),
        people=count(len({each.opened_by for each in waiting}), "person", "people"),
        rows=[
            md(
                "{} {}: {}, by {}",
                link(md("#{}", each.number), each.url),
                phrases.severity(each, policy),
                said(each.title, 80),
                person(each.opened_by),
            )
            for each in waiting[:_MAX_ROWS]
        ],
        more=max(0, len(waiting) - _MAX_ROWS),
        now=moment(now, policy.zone),
    )
    return signed(body, footer)
