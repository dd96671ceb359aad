"""Decide whether a delayed notice is still relevant."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.core.clocks import still_due
from app.core.clocks.untouched import UNTOUCHED_PERIOD, last_touched_at
from app.core.daylight import next_daylight
from app.core.effects import (
    ClosingQuestion,
    Escalate,
    Notice,
    Page,
    PolicyFaultNotice,
    RefusalNotice,
    Remind,
    UntouchedQuestion,
)
from app.core.incident import Incident
from app.core.policy import Policy

_MAX_BUNDLED_NOTICES = 400
"""The most notices bundled in one comment: their keys have to fit into its last line."""


def drop_oldest(notices: Iterable[Notice]) -> frozenset[str]:
    """Return the keys of the notices to drop where too many are pending, such as after weeks offline.

    Only the oldest pages and reminders are dropped, since those recur.
    """
    pending = list(notices)
    recurring_keys = [each.key for each in pending if isinstance(each, Page | Remind)]
    return frozenset(recurring_keys[: max(0, len(pending) - _MAX_BUNDLED_NOTICES)])


def still_relevant(effect: Notice, incident: Incident, current_fault_keys: frozenset[str], now: datetime) -> bool:
    """Return True if the notice still has to be posted at `now`.

    `current_fault_keys` are the keys of the notices about the faults in the current policy file.  What is a week old
    is not told as if it were new: such an incident comes from an import, or from a delivery that was lost.
    """
    if isinstance(effect, PolicyFaultNotice):
        return effect.key in current_fault_keys
    if isinstance(effect, RefusalNotice):
        return bool(incident.postmortem_refusal)
    if isinstance(effect, UntouchedQuestion):
        return incident.status.open and last_touched_at(incident) <= effect.since
    earliest = max(
        incident.escalation_started_at,
        incident.returned_at or incident.escalation_started_at,  # the issue was reopened or became available again
        now - UNTOUCHED_PERIOD,
    )
    return effect.at >= earliest and _is_wanted(effect, incident)


def _is_wanted(effect: Notice, incident: Incident) -> bool:
    if isinstance(effect, Page):
        return incident.is_paging and effect.at >= incident.paging_started_at
    if isinstance(effect, Escalate | Remind):
        return still_due(effect, incident)
    if isinstance(effect, ClosingQuestion) and incident.disputed_closing is None:
        return False  # a responder has answered, or the issue is open again
    return incident.status.open


def not_before(effects: Iterable[Notice], policy: Policy, now: datetime) -> datetime:
    """Return when these notices may be told together: `now`, or the next working hours if none is urgent."""
    return next_daylight(policy, now) if all(isinstance(each, UntouchedQuestion) for each in effects) else now
