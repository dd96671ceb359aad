"""Simulate an imagined incident: who would be notified of what, and when.

It is the fold of `replay` over imagined events, so its result is what would be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.core.clocks import alarms, audience, escalate, update
from app.core.decide import decide
from app.core.effective_policy import policy_for
from app.core.effects import Announce, Effect, Escalate, Notice, Page, Remind, SeverityQuestion
from app.core.escalation import paging_steps
from app.core.events import AlarmFired, Commented, Event, Opened, Role
from app.core.fold_budget import FoldBudget
from app.core.incident import Incident
from app.core.incident_report import Exposure, IncidentReport, Kind
from app.core.on_call import next_hand_off, people_of, people_on_call
from app.core.policy import ON_CALL, Duration, Policy, Via
from app.core.replay import EventLog, sort_log
from app.core.severity import Severity
from app.core.slash_command import SlashCommand

ROW_KINDS = (
    *("declared", "page", "escalate", "announce", "do", "remind", "ask", "warn", "breach"),
    *("acknowledge", "resolve", "hand-off"),
)
"""The kinds of rows.

`announce` informs people without asking anything of them, `warn` is a warning before a deadline, `do` an escalation
step that only asks for something, `remind` any other notice of a clock, `hand-off` a change of the people on call.
"""

_UPDATE_CLOCKS = (update.NAME, audience.NAME)
"""The clocks that ask for an update when it is due; that is a reminder, not yet a breach."""

_MAX_HAND_OFFS = 100
"""The most hand-offs of one rotation that are examined: a feed may hold thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """The scenario to simulate.  `at` has a zone; `ack` and `resolve` count from it, None: it does not happen."""

    severity: Severity
    at: datetime
    length: timedelta
    ack: timedelta | None = None
    resolve: timedelta | None = None
    services: tuple[str, ...] = ()
    kind: Kind | None = None
    personal_data: Exposure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that happens, at `at` (UTC), `offset` after the declaration.

    `kind` is one of ROW_KINDS.  `to` are logins, or the names of the `contacts` where the policy names no person for
    them.  `step` says which escalation step or clock it comes from, in the words of the policy file:
    `it-manager after 30m`, `respond 50 %`.  `via` are the channels beside the comment on the issue.  `unstaffed` are
    the contacts without a person.
    """

    at: datetime
    offset: timedelta
    kind: str
    to: tuple[str, ...] = ()
    step: str = ""
    via: tuple[Via, ...] = ()
    unstaffed: tuple[str, ...] = ()
    note: str = ""
    contacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReplayStep:
    """One decision of a replay: the event at `at`, the incident before (None: none) and after, and the effects."""

    at: datetime
    event: Event
    before: Incident | None
    after: Incident
    effects: tuple[Effect, ...]


def simulate(policy: Policy, scenario: Scenario) -> tuple[Row, ...]:
    """Simulate the scenario and return all rows in order, hand-offs before the notices of the same moment."""
    start = scenario.at.astimezone(UTC)
    until = start + scenario.length
    steps = [_decide_step(None, _opening_event(scenario), policy, start)]
    commands = sorted(
        (at, command) for command, at in (("ack", scenario.ack), ("resolve", scenario.resolve)) if at is not None
    )
    for offset, command in commands:
        at = start + offset
        if at > until:
            break
        steps += due_alarm_steps(steps[-1].after, policy, at, inclusive=False)
        steps.append(
            _decide_step(steps[-1].after, _command_event(command, _acting_responder(steps, policy, at)), policy, at)
        )
    steps += due_alarm_steps(steps[-1].after, policy, until, inclusive=True)
    rows = [row for step in steps for row in rows_of(step, policy)]
    end = next((row.at for row in rows if row.kind == "resolve"), until)
    rows += _hand_off_rows(steps[0].after, policy, end)
    return tuple(sorted(rows, key=lambda row: (row.at, row.kind != "declared", row.kind != "hand-off")))


def replay_steps(log: EventLog, policy: Policy, until: datetime) -> Iterator[ReplayStep]:
    """Replay the log decision by decision.  Events before the opening are left out."""
    incident: Incident | None = None
    for at, event in sort_log(log):
        if at > until:
            break
        if incident is not None:
            for step in due_alarm_steps(incident, policy, at, inclusive=False):
                yield step
                incident = step.after
        elif not isinstance(event, Opened):
            continue
        step = _decide_step(incident, event, policy, at)
        yield step
        incident = step.after
    if incident is not None:
        yield from due_alarm_steps(incident, policy, until, inclusive=True)


def due_alarm_steps(incident: Incident, policy: Policy, until: datetime, *, inclusive: bool) -> Iterator[ReplayStep]:
    """Fire the alarms that are due and yield each decision.

    `inclusive`: whether an alarm due exactly at `until` fires, or yields to the event that happens then.  Each repeat
    is a decision of its own.  Raises FoldTooLong if there are too many.
    """
    budget = FoldBudget()
    while True:
        alarm = next(iter(alarms(incident, policy)), None)
        if alarm is None or alarm.due > until or (alarm.due == until and not inclusive):
            return
        budget.spend_alarm(alarm.due)
        step = _decide_step(incident, AlarmFired(alarm=alarm, key=alarm.key), policy, alarm.due)
        yield step
        incident = step.after


def rows_of(replay_step: ReplayStep, policy: Policy) -> Iterator[Row]:
    """Yield the rows that a decision results in; most actions of people result in none."""
    event, after = replay_step.event, replay_step.after
    offset = replay_step.at - after.declared_at
    if replay_step.before is None:
        yield Row(
            at=replay_step.at,
            offset=offset,
            kind="declared",
            step=after.severity.inline_name(policy.scale),
            note=_grade_note(after),
        )
    elif after.acknowledged_at != replay_step.before.acknowledged_at:
        yield Row(at=replay_step.at, offset=offset, kind="acknowledge", to=(event.by,), step="acknowledge")
    if replay_step.before is not None and after.resolved_at is not None and replay_step.before.resolved_at is None:
        yield Row(at=replay_step.at, offset=offset, kind="resolve", to=(event.by,), step="resolve")
    effective_policy = policy_for(policy, after)
    notices = [effect for effect in replay_step.effects if isinstance(effect, Notice)]
    for notice in notices:
        yield _notice_row(notice, replay_step, effective_policy, offset)
    if not notices and isinstance(event, AlarmFired) and after is not replay_step.before:
        kind, step = _classify_alarm(event)
        if kind in ("warn", "breach"):
            yield Row(at=replay_step.at, offset=offset, kind=kind, step=step)


def _notice_row(notice: Notice, replay_step: ReplayStep, policy: Policy, offset: timedelta) -> Row:
    kind, step, note = "remind", "", ""
    contacts: tuple[str, ...] = ()
    if isinstance(notice, Page) and isinstance(replay_step.event, AlarmFired) and replay_step.before is not None:
        paging_step = paging_steps(replay_step.before, policy)[_paging_step_index(replay_step.event)]
        kind, contacts = "page", paging_step.to or (ON_CALL,)
        step, note = _describe_step(contacts, str(paging_step.after)), _describe_repeat(notice, replay_step)
    elif (
        isinstance(notice, Escalate)
        and isinstance(replay_step.event, AlarmFired)
        and replay_step.event.alarm.clock == escalate.NAME
    ):
        contacts, wait = notice.contacts, replay_step.event.alarm.mark.rpartition("@")[2].partition("#")[0]
        kind, step, note = ("escalate" if contacts else "do"), _describe_step(contacts, wait), notice.do
    elif isinstance(notice, Escalate | Announce):
        kind = "escalate" if isinstance(notice, Escalate) else "announce"
        contacts, note = notice.contacts, notice.because
        step = (
            _classify_alarm(replay_step.event)[1] if isinstance(replay_step.event, AlarmFired) else ", ".join(contacts)
        )
    elif isinstance(notice, SeverityQuestion):
        kind, step, note = "ask", "severity", "; ".join(notice.doubts)
    elif isinstance(replay_step.event, AlarmFired):
        kind, step = _classify_alarm(replay_step.event)
        note = notice.do if isinstance(notice, Remind) else ""
    return Row(
        at=replay_step.at,
        offset=offset,
        kind=kind,
        to=notice.to or contacts or notice.unstaffed[:1],
        step=step,
        via=notice.via,
        unstaffed=notice.unstaffed,
        note=note,
        contacts=contacts,
    )


def _classify_alarm(fired: AlarmFired) -> tuple[str, str]:
    """Return the row kind of an alarm, and its step: `respond/50@...` is `warn` and `respond 50 %`."""
    about, _, what = fired.alarm.mark.rpartition("@")[0].rpartition(".")
    clock = f"{fired.alarm.clock} {about}".strip()
    if what.isdigit():
        return "warn", f"{clock} {what} %"
    return "breach" if what == "breach" and fired.alarm.clock not in _UPDATE_CLOCKS else "remind", clock


def _paging_step_index(fired: AlarmFired) -> int:
    """Return the paging step a page belongs to: `page0.2@...` is the second page of the first step."""
    return int(fired.alarm.mark.removeprefix("page").partition(".")[0])


def _describe_step(contacts: tuple[str, ...], after: str) -> str:
    names = ", ".join(contacts) or "whoever has it"
    return names if after == str(Duration()) else f"{names} after {after}"


def _describe_repeat(page: Page, replay_step: ReplayStep) -> str:
    if page.attempt > 1:
        return f"page {page.attempt}"
    after_silence = (
        replay_step.after.last_activity_at is not None
        and replay_step.after.paging_started_at > replay_step.after.last_activity_at
    )
    return f"nothing was heard since {replay_step.after.last_activity_at:%H:%M} UTC" if after_silence else ""


def _grade_note(incident: Incident) -> str:
    """Return why it is graded differently from the report; empty where it is not."""
    reported = incident.report.severity
    return incident.grade.reasons[0] if reported is not None and reported is not incident.severity else ""


def _hand_off_rows(incident: Incident, policy: Policy, until: datetime) -> Iterator[Row]:
    """Yield the hand-offs of the rotations that the escalation policy of this incident asks."""
    policy = policy_for(policy, incident)
    steps = policy.ladders.get(incident.severity, ())
    for name in dict.fromkeys((ON_CALL, *(contact for step in steps for contact in step.to))):
        rotation = policy.rotations.get(name)
        at = incident.declared_at if rotation else None
        for _ in range(_MAX_HAND_OFFS):
            if rotation is None or at is None:
                break
            before, at = people_on_call(rotation, at), next_hand_off(rotation, at)
            if at is None or at > until:
                break
            people = people_on_call(rotation, at)
            if people != before:
                yield Row(
                    at=at,
                    offset=at - incident.declared_at,
                    kind="hand-off",
                    to=people,
                    step=name,
                    note=f"from {', '.join(before) or 'nobody'}",
                    contacts=(name,),
                )


def _acting_responder(steps: list[ReplayStep], policy: Policy, at: datetime) -> str:
    """Return who acts: the commander, else the person paged first, else the person on call."""
    if steps[-1].after.commander:
        return steps[-1].after.commander
    paged_logins = (row.to[0] for step in steps for row in rows_of(step, policy) if row.kind == "page" and row.to)
    return next(paged_logins, next(iter(people_of((ON_CALL,), policy_for(policy, steps[-1].after), at)), ON_CALL))


def _opening_event(scenario: Scenario) -> Opened:
    report = IncidentReport(
        severity=scenario.severity, services=scenario.services, kind=scenario.kind, personal_data=scenario.personal_data
    )
    return Opened(id="imagined", repo="", number=0, title="", report=report, key="issue/0")


def _command_event(command: str, by: str) -> Commented:
    return Commented(by=by, role=Role.WRITE, key=f"comment/{command}", comment=0, commands=(SlashCommand(command),))


def _decide_step(incident: Incident | None, event: Event, policy: Policy, at: datetime) -> ReplayStep:
    decision = decide(incident, event, policy, at)
    assert decision.incident is not None, "only an opening is decided without an incident"
    return ReplayStep(at, event, incident, decision.incident, decision.effects)


def format_offset(offset: timedelta) -> str:
    """Format the time since the declaration: `+12m`, `+1h05m`, `+2d3h`, `+7m30s`."""
    seconds = int(offset.total_seconds())
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    if days:
        return f"+{days}d" + (f"{hours}h" if hours else "") + (f"{minutes:02}m" if minutes else "")
    if hours:
        return f"+{hours}h" + (f"{minutes:02}m" if minutes else "")
    return f"+{minutes}m" + (f"{seconds:02}s" if seconds else "")
