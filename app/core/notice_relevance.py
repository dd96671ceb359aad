"""Decide whether a delayed notice is still relevant."""

from __future__ import annotations

from collections.abc import Iterable

from app.core.clocks import still_due
from app.core.effects import ClosingQuestion, Escalate, Notice, Page, PolicyFaultNotice, Remind
from app.core.incident import Incident

_MAX_BUNDLED_NOTICES = 400
"""The most notices bundled in one comment: their keys have to fit into its last line."""


def drop_oldest(notices: Iterable[Notice]) -> frozenset[str]:
    """Return the keys of the notices to drop where too many are pending, such as after weeks offline.

    Only the oldest pages and reminders are dropped, since those recur.
    """
    pending = list(notices)
    recurring_keys = [each.key for each in pending if isinstance(each, Page | Remind)]
    return frozenset(recurring_keys[: max(0, len(pending) - _MAX_BUNDLED_NOTICES)])


def still_relevant(effect: Notice, incident: Incident, current_fault_keys: frozenset[str]) -> bool:
    """Return True if the notice still has to be posted.

    `current_fault_keys` are the keys of the notices about the faults in the current policy file.
    """
    if isinstance(effect, PolicyFaultNotice):
        return effect.key in current_fault_keys
    if effect.at < max(incident.escalation_started_at, incident.returned_at or incident.escalation_started_at):
        return False  # from before the issue was reopened or became available again
    if isinstance(effect, Page):
        return incident.is_paging and effect.at >= incident.paging_started_at
    if isinstance(effect, Escalate | Remind):
        return still_due(effect, incident)
    if isinstance(effect, ClosingQuestion) and incident.disputed_closing is None:
        return False  # a responder has answered, or the issue is open again
    return incident.status.open
