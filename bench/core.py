"""Measure how fast the core decides and replays; print, assert nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import perf_counter, process_time
from typing import Any

from app.core.clocks import alarms
from app.core.decide import decide
from app.core.events import AlarmFired, Closed, Commented, Edited, Event, Labeled, Opened, Reopened, Role, Unlabeled
from app.core.incident import Incident
from app.core.incident_report import IncidentReport, Kind, Level
from app.core.policy import Policy
from app.core.replay import replay
from app.core.severity import Severity
from app.core.slash_command import SlashCommand
from app.policy_file import load_profile

DECLARED_AT = datetime(2026, 3, 14, 9, tzinfo=UTC)
"""When the sample incident is declared."""
LoggedEvent = tuple[datetime, Event]
"""An event of a log and when it happened."""


def guide_policy() -> Policy:
    """Return the built-in policy with two people for each contact, so that every page has a recipient."""
    guide = load_profile("guide")
    return replace(guide, contacts={name: (f"{name}-1", f"{name}-2") for name in guide.contacts})


def sample_log() -> list[LoggedEvent]:
    """Return the log of a sev1 incident.

    It is filed, acknowledged late, regraded twice, updated, resolved, closed, reopened and closed again.
    """
    report = IncidentReport(
        severity=Severity.SEV2, impact=Level.HIGH, urgency=Level.HIGH, kind=Kind.OUTAGE, services=("checkout",)
    )
    opened = Opened(
        id="INC-2026-0314-001",
        repo="acme/shop",
        number=7,
        title="Checkout is down",
        report=report,
        by="ada",
        key="issue/7",
    )
    author: dict[str, Any] = {"by": "mona", "role": Role.WRITE, "url": "https://github.com/acme/shop/issues/7"}
    timed_events: list[tuple[int, Event]] = [
        (0, opened),
        (11, Commented(comment=1, commands=(SlashCommand("ack"),), **author)),
        (12, Edited(title="Checkout is down for all", report=report, **author)),
        (15, Commented(comment=1, commands=(SlashCommand("update", "The database does not answer."),), **author)),
        (16, Labeled(label="sev2", **author)),
        (16, Unlabeled(label="sev1", **author)),
        (
            20,
            Commented(
                comment=1, commands=(SlashCommand("status", "identified"), SlashCommand("escalate", "vendor")), **author
            ),
        ),
        (40, Commented(comment=1, commands=(SlashCommand("severity", "sev1 it spreads"),), **author)),
        (50, Commented(comment=1, commands=(SlashCommand("update", "The replica takes over."),), **author)),
        (64, Commented(comment=1, commands=(SlashCommand("update", "Half of it is back."),), **author)),
        (66, Labeled(label="bug", **author)),
        (70, Labeled(label="mitigated", **author)),
        (80, Commented(comment=1, commands=(SlashCommand("resolve", "all back"),), **author)),
        (85, Closed(**author)),
        (100, Reopened(**author)),
        (102, Commented(comment=1, commands=(SlashCommand("ack"),), **author)),
        (
            110,
            Commented(
                comment=1,
                commands=(SlashCommand("update", "It was the disk."), SlashCommand("resolve", "larger disk")),
                **author,
            ),
        ),
        (112, Closed(**author)),
    ]
    return [
        (DECLARED_AT + timedelta(minutes=minutes), replace(event, key=event.key or f"event/{number}"))
        for number, (minutes, event) in enumerate(timed_events)
    ]


def decide_rate() -> float:
    """Return how many events a second `decide` handles on one core: the best of many short runs.

    The events are those of a whole incident, with the alarms that fire in between.
    """
    guide = guide_policy()
    calls = list(_decide_calls(sample_log(), guide))
    rates = []
    for _ in range(30):
        decided, started = 0, process_time()
        while (elapsed := process_time() - started) < 0.1:
            for incident, event, now in calls:
                decide(incident, event, guide, now)
            decided += len(calls)
        rates.append(decided / elapsed)
    return max(rates)


def replay_ms(events: int = 500) -> float:
    """Return the milliseconds to replay an incident of `events` events: the best of ten.

    The alarms that fire in between are part of it.
    """
    guide = guide_policy()
    opened, *rest = sample_log()[:13]
    log = [opened]
    filler_events = [event for _, event in rest if isinstance(event, Commented | Edited | Labeled | Unlabeled)][:-2]
    for number in range(1, events):
        event = replace(filler_events[number % len(filler_events)], key=f"event/{number}")
        log.append((DECLARED_AT + timedelta(minutes=3 * number), event))
    until = log[-1][0] + timedelta(hours=1)
    times = []
    for _ in range(10):
        started = perf_counter()
        replay(log, guide, until)
        times.append(perf_counter() - started)
    return min(times) * 1000


def _decide_calls(log: list[LoggedEvent], policy: Policy) -> Iterator[tuple[Incident | None, Event, datetime]]:
    """Yield the arguments of each `decide` call that a replay of the log makes, alarms included."""
    incident: Incident | None = None
    for at, event in log:
        while incident and (pending_alarms := alarms(incident, policy)) and pending_alarms[0].due < at:
            fired, due = AlarmFired(alarm=pending_alarms[0], key=pending_alarms[0].key), pending_alarms[0].due
            yield incident, fired, due
            incident = decide(incident, fired, policy, due).incident
        yield incident, event, at
        incident = decide(incident, event, policy, at).incident


def main() -> None:
    """Print the figures of the core beside the required ones."""
    print(f"decide: {decide_rate():,.0f} events/s (at least 20,000)")
    print(f"replay: {replay_ms():.1f} ms for 500 events (at most 50)")


if __name__ == "__main__":
    main()
