"""The escalation policy: pages until acknowledged, escalates until resolved, pages again after silence (E1 to E3)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from app.core.calendar import due_time as due_by
from app.core.clocks.clock import Clock, ClockResult, Deadline, key_timestamp
from app.core.clocks.untouched import pages_until
from app.core.effects import Escalate, Page
from app.core.escalation import (
    EscalationStep,
    Recipients,
    current_owner,
    management_steps,
    notice_channels,
    paging_steps,
    pending_steps,
    resolve_recipients,
    wait_time,
)
from app.core.events import Alarm, AlarmFired
from app.core.incident import Incident, replace
from app.core.lifecycle import Status
from app.core.policy import ON_CALL, Policy, Step
from app.core.timeline import EntryKind

NAME = "escalate"
_MAX_SINGLE_PAGES = 20
"""So many pages have an entry each on the timeline; one entry stands for all later ones."""
# Alarm marks: an escalation step is identified by its contacts and its delay, `it-manager@30m`; a page and a silence by
# the moment they count from, `page0.2@2026-03-14T09:00:00Z`. So a contact called `silence` is not mistaken for one.


def deadlines(incident: Incident, policy: Policy) -> tuple[Deadline, ...]:
    """Return no deadlines: the escalation policy has steps instead."""
    return ()


def alarms(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the next page of each paging step or the silence alarm, and the escalation steps not yet notified."""
    if not incident.status.open:
        return
    if incident.is_paging:
        for index, step in enumerate(paging_steps(incident, policy)):
            yield from _next_page_alarm(incident, index, step, policy)
    else:
        yield from _silence_alarm(incident, policy)
    for escalation_step in pending_steps(incident, policy):
        if escalation_step.due is not None:
            yield Alarm(escalation_step.due, NAME, escalation_step.key.removeprefix(f"{NAME}/"))


def fire(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    """Fire an escalation step, a page, or the silence that restarts the paging."""
    kind, _, when = alarm.mark.partition("@")
    if not when.endswith("Z"):
        step = next(step for step in management_steps(incident, policy) if step.key == alarm.key)
        return _fire_escalation_step(incident, alarm, step, policy)
    if kind == "silence":
        since = incident.last_activity_at or incident.declared_at
        summary = f"paging again: nothing was heard since {since:%H:%M} UTC"
        return replace(incident, paging_started_at=alarm.due).with_entry(
            alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.MISSED, summary
        ), ()
    return _fire_page(incident, alarm, policy)


def _next_page_alarm(incident: Incident, index: int, step: Step, policy: Policy) -> Iterator[Alarm]:
    """Yield the next page of a paging step; a step without `repeat` pages once."""
    since = key_timestamp(incident.paging_started_at)
    before, after = f"{NAME}/page{index}.", f"@{since}"
    fired_keys = (
        key.removesuffix(after) for key in incident.fired_alarms if key.startswith(before) and key.endswith(after)
    )
    times = 1 + max((int(key.removeprefix(before)) for key in fired_keys), default=0)
    if times == 1 or step.repeat is not None:
        pause = wait_time(step.repeat) if step.repeat else timedelta()
        at = incident.paging_started_at + wait_time(step.after) + (times - 1) * pause
        if at <= pages_until(incident):
            yield Alarm(at, NAME, f"page{index}.{times}@{since}")


def latest_repeat(incident: Incident, alarm: Alarm, policy: Policy, until: datetime) -> Alarm:
    """Return the last page of the same step that is due by `until`; the first ones are each fired."""
    kind, _, since = alarm.mark.partition("@")
    index, _, times = kind.removeprefix("page").partition(".")
    if not kind.startswith("page") or not since.endswith("Z") or int(times) <= _MAX_SINGLE_PAGES:
        return alarm
    step = paging_steps(incident, policy)[int(index)]
    if step.repeat is None:
        return alarm
    first_at = incident.paging_started_at + wait_time(step.after)
    count = (min(until, pages_until(incident)) - first_at) // wait_time(step.repeat) + 1
    if count <= int(times):
        return alarm
    return Alarm(first_at + (count - 1) * wait_time(step.repeat), NAME, f"page{index}.{count}@{since}")


def _silence_alarm(incident: Incident, policy: Policy) -> Iterator[Alarm]:
    """Yield the alarm that restarts paging after the configured number of missed updates."""
    cadence = policy.targets_of(incident.severity).update
    if cadence is None or incident.last_activity_at is None or not policy.silence:
        return
    at = incident.last_activity_at
    for _ in range(policy.silence):
        at = due_by(at, cadence, policy.calendars)
    alarm = Alarm(at, NAME, f"silence@{key_timestamp(incident.last_activity_at)}")
    if at <= pages_until(incident) and alarm.key not in incident.fired_alarms:
        yield alarm


def _fire_page(incident: Incident, alarm: Alarm, policy: Policy) -> ClockResult:
    kind, _, since = alarm.mark.partition("@")
    index, _, times = kind.removeprefix("page").partition(".")
    # Keep only the key of the last page, which holds their number: days without an answer make thousands of pages.
    before, after = f"{NAME}/page{index}.", f"@{since}"
    earlier = {key for key in incident.fired_alarms if key.startswith(before) and key.endswith(after)} - {alarm.key}
    incident = replace(incident, fired_alarms=incident.fired_alarms - earlier)
    step = paging_steps(incident, policy)[int(index)]
    recipients = resolve_recipients(incident, policy, step.to or (ON_CALL,), alarm.due)
    # Each page adds one more person on call: first the primary alone, then the secondary too.
    # After a silence, the commander comes first.
    people = recipients.people[: int(times)] if not recipients.unstaffed else recipients.people
    if incident.commander and incident.status is not Status.TRIGGERED:
        people = tuple(dict.fromkeys((incident.commander, *people)))
    notice = Page(
        key=alarm.key,
        to=people,
        unstaffed=recipients.unstaffed,
        at=alarm.due,
        via=notice_channels(incident, policy, step.via),
        attempt=int(times),
    )
    incident = _without_collapsed_pages(incident, earlier)
    return incident.with_entry(
        alarm.due,
        AlarmFired(alarm=alarm, key=alarm.key),
        EntryKind.PAGED,
        f"paged {join_names(people)}",
        _describe_page(int(times)),
    ), (notice,)


def _without_collapsed_pages(incident: Incident, page_keys: set[str]) -> Incident:
    """Drop the entry that stood for the later pages so far: a new one follows, or days would fill the timeline."""
    collapsed = {key for key in page_keys if int(key.partition("@")[0].rpartition(".")[2]) > _MAX_SINGLE_PAGES}
    if not collapsed:
        return incident
    return replace(incident, timeline=tuple([entry for entry in incident.timeline if entry.key not in collapsed]))


def _describe_page(times: int) -> str:
    if times <= _MAX_SINGLE_PAGES + 1:
        return f"page {times}" if times > 1 else ""
    return f"pages {_MAX_SINGLE_PAGES + 1} to {times}"


def _fire_escalation_step(incident: Incident, alarm: Alarm, step: EscalationStep, policy: Policy) -> ClockResult:
    recipients: Recipients = (
        resolve_recipients(incident, policy, step.contacts, alarm.due)
        if step.contacts
        else current_owner(incident, policy, alarm.due)
    )
    because = f"{step.after} after the {'reopening' if incident.reopen_count else 'declaration'}"
    notice = Escalate(
        key=alarm.key,
        to=recipients.people,
        unstaffed=recipients.unstaffed,
        at=alarm.due,
        via=notice_channels(incident, policy, step.via),
        contacts=step.contacts,
        because=because,
        do=step.do,
    )
    summary = f"escalated to {', '.join(step.contacts)}" if step.contacts else "asked for it by the ladder"
    return incident.with_entry(
        alarm.due, AlarmFired(alarm=alarm, key=alarm.key), EntryKind.ESCALATED, summary, step.do or because
    ), (notice,)


def join_names(people: tuple[str, ...]) -> str:
    """Join people's names for the timeline."""
    return ", ".join(people) or "nobody"


CLOCK = Clock(NAME, "Escalate", deadlines, alarms, fire, latest_repeat)
