"""Recompute an incident from its event log.

Live processing, `rebuild`, `simulate` and the backtest of a policy use the same fold: the events in the order in which
they happened, with the alarms that fell due in between, through the same `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from app.core.clocks import next_alarm
from app.core.decide import Decision, decide
from app.core.effects import Effect
from app.core.events import AlarmFired, Event, Opened
from app.core.fold_budget import FoldBudget
from app.core.incident import Incident
from app.core.policy import Policy

EventLog = Iterable[tuple[datetime, Event]]
"""The events and when they happened, in any order."""


def replay(
    log: EventLog,
    policy: Policy,
    until: datetime,
    initial: Incident | None = None,
    *,
    budget: FoldBudget | None = None,
) -> Decision:
    """Replay the log: return the incident at `until`, and all effects on the way, in order.

    Events after `until` are left out.  An event that is in the log twice counts once.  With `initial`, the replay
    starts from that incident, and the log holds only what came after it.  Raises FoldTooLong when `budget` is spent;
    None: the default one.
    """
    incident, budget = initial, budget or FoldBudget()
    effects: list[Effect] = []
    for at, event in sort_log(log):
        if at > until:
            break
        incident, alarm_effects = _fire_due_alarms(incident, policy, at, budget, inclusive=False)
        budget.add_event()
        decision = decide(incident, event, policy, at)
        incident = decision.incident
        effects += alarm_effects
        effects += decision.effects
    incident, alarm_effects = _fire_due_alarms(incident, policy, until, budget, inclusive=True)
    return Decision(incident, (*effects, *alarm_effects))


def sort_log(log: EventLog) -> list[tuple[datetime, Event]]:
    """Sort the log into the order of replay and keep each event once: the earliest of those with the same key."""
    by_key: dict[str, tuple[datetime, Event]] = {}
    for at, event in sorted(log, key=lambda row: log_sort_key(*row)):
        by_key.setdefault(event.key, (at, event))
    return list(by_key.values())


def log_sort_key(at: datetime, event: Event) -> tuple[datetime, bool, int, str]:
    """Return the key that sorts the log for replay.

    In one second the opening comes first, and the others in the numeric order of their keys: comment 99 before 100.
    """
    return at, not isinstance(event, Opened), len(event.key), event.key


def fire_due_alarms(incident: Incident, policy: Policy, until: datetime) -> Decision:
    """Fire all alarms that are due up to and including `until`.  Raises FoldTooLong if they are too many."""
    changed, effects = _fire_due_alarms(incident, policy, until, FoldBudget(), inclusive=True)
    return Decision(changed, tuple(effects))


def _fire_due_alarms(
    incident: Incident | None, policy: Policy, until: datetime, budget: FoldBudget, *, inclusive: bool
) -> tuple[Incident | None, list[Effect]]:
    """Fire the alarms that are due.

    `inclusive`: whether an alarm due exactly at `until` fires, or yields to the event that happened at that moment.
    """
    effects: list[Effect] = []
    last_moment = until if inclusive else until - timedelta(microseconds=1)
    while incident is not None:
        alarm = next_alarm(incident, policy, last_moment)
        if alarm is None or alarm.due > last_moment:
            break
        budget.spend_alarm(alarm.due)
        decision = decide(incident, AlarmFired(alarm=alarm, key=alarm.key), policy, alarm.due)
        incident = decision.incident
        effects += decision.effects
    return incident, effects
