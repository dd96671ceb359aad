"""Whether a notice that could not be given in time is still worth giving."""

from __future__ import annotations

from collections.abc import Iterable

from app.core.clocks import owed
from app.core.effects import Escalate, Mend, Notice, Page, Remind
from app.core.incident import Incident

_BUNDLED = 400
"""So many notices wait for one comment at most: their keys have to find room in its last line."""


def surplus(notices: Iterable[Notice]) -> frozenset[str]:
    """The keys of what nobody has to hear any more where so many wait, after weeks away: the oldest of what is said again and
    again.
    """
    waiting = list(notices)
    again = [each.key for each in waiting if isinstance(each, Page | Remind)]
    return frozenset(again[: max(0, len(waiting) - _BUNDLED)])


def stands(effect: Notice, incident: Incident, told_as: frozenset[str]) -> bool:
    """Whether it still has to be asked.  `told_as` are the keys of the notices about the policy as it is now."""
    if isinstance(effect, Mend):
        return effect.key in told_as
    if effect.at < max(incident.laddered_at, incident.returned_at or incident.laddered_at):
        return False  # from before the issue was reopened, or came back
    if isinstance(effect, Page):
        return incident.paging and effect.at >= incident.armed_at
    if isinstance(effect, Escalate | Remind):
        return owed(effect, incident)
    return incident.status.open
