"""The same incident again, from its log alone.

Live work, `rebuild`, `simulate` and the backtest of a policy are one fold: the events in the order in which they
happened, with the alarms that fell due in between, through the same `decide`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from app.core.clocks import alarms
from app.core.decide import Decision, decide
from app.core.effects import Effect
from app.core.events import Event, Opened, Rang
from app.core.incident import Incident
from app.core.policy import Policy

Log = Iterable[tuple[datetime, Event]]
"""What happened and when, in any order."""


def replay(log: Log, policy: Policy, until: datetime, since: Incident | None = None) -> Decision:
    """The incident at `until`, and everything that was to be done on the way, in order.

    Events after `until` are left out.  An event that is in the log twice counts once.  With `since`, the fold goes on
    from that incident, and the log holds only what came after it.
    """
    incident = since
    effects: list[Effect] = []
    for at, event in ordered(log):
        if at > until:
            break
        incident, due = _lived(incident, policy, at, itself=False)
        decision = decide(incident, event, policy, at)
        incident = decision.incident
        effects += due
        effects += decision.effects
    incident, due = _lived(incident, policy, until, itself=True)
    return Decision(incident, (*effects, *due))


def ordered(log: Log) -> list[tuple[datetime, Event]]:
    """The log in the one order in which it is folded, and each event once: where two tell it apart, the first."""
    once: dict[str, tuple[datetime, Event]] = {}
    for at, event in sorted(log, key=lambda row: order(*row)):
        once.setdefault(event.key, (at, event))
    return list(once.values())


def order(at: datetime, event: Event) -> tuple[datetime, bool, int, str]:
    """Where an event stands in the log.

    In one second the opening comes first, and the others as their keys count: comment 99 before comment 100.
    """
    return at, not isinstance(event, Opened), len(event.key), event.key


def lived(incident: Incident, policy: Policy, until: datetime) -> Decision:
    """The incident after all alarms due up to and including `until` have rung."""
    changed, effects = _lived(incident, policy, until, itself=True)
    return Decision(changed, tuple(effects))


def _lived(
    incident: Incident | None, policy: Policy, until: datetime, *, itself: bool
) -> tuple[Incident | None, list[Effect]]:
    """`itself`: whether an alarm due exactly at `until` rings, or yields to what happened at that moment."""
    effects: list[Effect] = []
    while incident is not None:
        alarm = next(iter(alarms(incident, policy)), None)
        if alarm is None or alarm.due > until or (alarm.due == until and not itself):
            break
        decision = decide(incident, Rang(alarm=alarm, key=alarm.key), policy, alarm.due)
        incident = decision.incident
        effects += decision.effects
    return incident, effects
