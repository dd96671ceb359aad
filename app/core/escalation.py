"""The escalation policy applied to one incident: whom to notify next (E1 to E3, E8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.effects import Announce, Escalate
from app.core.incident import Grade, Incident, replace
from app.core.on_call import people_of
from app.core.policy import ON_CALL, Duration, Policy, Step, Until, Via
from app.core.severity import Severity


@dataclass(frozen=True, slots=True)
class EscalationStep:
    """One management step of the escalation policy.

    `due` None: it belongs to a higher severity and runs on demand only.
    """

    key: str
    contacts: tuple[str, ...]
    do: str = ""
    due: datetime | None = None
    after: str = ""
    via: tuple[Via, ...] = ()


@dataclass(frozen=True, slots=True)
class Recipients:
    """The people to ask, and the contacts for whom the policy names no person."""

    people: tuple[str, ...]
    unstaffed: tuple[str, ...] = ()


def management_steps(incident: Incident, policy: Policy) -> tuple[EscalationStep, ...]:
    """Return the steps that run until the incident is resolved, in order.

    If its severity has none, those of the next higher severity that has some.
    """
    key = "management_steps", incident.severity, incident.escalation_started_at, incident.reopen_count
    return policy.compute_once(key, lambda: _build_management_steps(incident, policy))


def _build_management_steps(incident: Incident, policy: Policy) -> tuple[EscalationStep, ...]:
    steps = _until_resolved_steps(policy, incident.severity)
    if steps:
        return tuple(_escalation_step(step, incident.escalation_started_at, incident.reopen_count) for step in steps)
    for severity in reversed([s for s in Severity if s < incident.severity]):
        if steps := _until_resolved_steps(policy, severity):
            return tuple(_escalation_step(step, None, incident.reopen_count) for step in steps)
    return ()


def paging_steps(incident: Incident, policy: Policy) -> tuple[Step, ...]:
    """Return the steps that page until the incident is acknowledged."""
    steps = policy.ladders.get(incident.severity, ())
    return tuple([step for step in steps if step.until is Until.ACK])


def resolve_recipients(incident: Incident, policy: Policy, contacts: tuple[str, ...], at: datetime) -> Recipients:
    """Resolve `contacts` to the people on duty at `at`.

    If there are none, use those of the next step up that has any, then of the next step down, then the person who
    opened the issue.
    """
    if people := people_of(contacts, policy, at):
        return Recipients(people)
    steps = [step.contacts for step in management_steps(incident, policy)]
    above = max((n for n, step_contacts in enumerate(steps, 1) if step_contacts == contacts), default=0)
    unstaffed = list(contacts)
    for contacts_instead in (*steps[above:], *reversed(steps[:above])):
        if people := people_of(contacts_instead, policy, at):
            return Recipients(people, tuple(dict.fromkeys(unstaffed)))
        unstaffed += contacts_instead
    return Recipients((incident.opened_by,) if incident.opened_by else (), tuple(dict.fromkeys(unstaffed)))


def current_owner(incident: Incident, policy: Policy, at: datetime) -> Recipients:
    """Return the current owner at `at`: the commander, or the people on call."""
    return (
        Recipients((incident.commander,))
        if incident.commander
        else resolve_recipients(incident, policy, (ON_CALL,), at)
    )


def role_holders(
    incident: Incident, policy: Policy, contacts: tuple[str, ...], at: datetime, *, fallback: tuple[str, ...] = ()
) -> Recipients:
    """Resolve `contacts` at `at`, else the `fallback` contacts, else the current owner.

    Only `contacts` count as unstaffed, not the fallback.
    """
    if people := people_of(contacts, policy, at):
        return Recipients(people)
    if people := people_of(fallback, policy, at):
        return Recipients(people, contacts)
    owner = current_owner(incident, policy, at)
    return Recipients(owner.people, tuple(dict.fromkeys((*contacts, *owner.unstaffed))))


def notice_channels(incident: Incident, policy: Policy, via: tuple[Via, ...] = ()) -> tuple[Via, ...]:
    """Return the channels of a notice: its own `via`, or those of the first notice of the severity (E4)."""
    return via or policy.first_notice_of(incident.severity).via


def announce(incident: Incident, policy: Policy, at: datetime, because: str) -> tuple[Incident, tuple[Announce, ...]]:
    """Announce the incident to those who are informed of its severity at once.

    No notice is returned if it was given before or the policy names no person.  The same people are notified again when
    the incident is raised to a new severity, not when it returns to an earlier one.
    """
    notice = policy.first_notice_of(incident.severity)
    people = people_of(notice.to, policy, at)
    key = f"announce/{incident.severity}{_run_suffix(incident.reopen_count)}"
    if not people or key in incident.fired_alarms:
        return incident, ()
    announcement = Announce(key=key, to=people, at=at, via=notice.via, contacts=notice.to, because=because)
    return replace(incident, fired_alarms=incident.fired_alarms | {key}), (announcement,)


def pending_steps(incident: Incident, policy: Policy) -> tuple[EscalationStep, ...]:
    """Return the steps that have not been notified yet.

    A new grade may find steps of its escalation policy in the past.  They are notified then, unless the same contacts
    have been notified already.
    """
    return tuple(
        step
        for step in management_steps(incident, policy)
        if step.key not in incident.fired_alarms
        and not (_is_overdue(incident, step) and not step.do and _was_notified(incident, step))
    )


def next_step(incident: Incident, policy: Policy) -> EscalationStep:
    """Return the next escalation step not yet notified, else the last."""
    steps = [step for step in management_steps(incident, policy) if step.contacts] or [
        EscalationStep(f"escalate/{ON_CALL}", (ON_CALL,))
    ]
    return next((step for step in steps if not _was_notified(incident, step)), steps[-1])


def apply_grade(incident: Incident, grade: Grade, policy: Policy, at: datetime) -> Incident:
    """Apply another grade; where it changes who is paged, paging starts again.

    The commander of an incident that paged no one has, by taking it, answered the page of its new severity in advance.
    """
    changed = replace(incident, grade=grade, severity_set_at=at)
    previous_steps = paging_steps(incident, policy)
    if previous_steps == paging_steps(changed, policy):
        return changed
    if incident.is_paging:
        return replace(changed, paging_started_at=at)
    return changed if previous_steps else replace(changed, paging_started_at=at, page_acknowledged_at=at)


def restart_paging_if_changed(incident: Incident, previous_policy: Policy, policy: Policy, at: datetime) -> Incident:
    """Restart paging if the new policy pages other people than the previous one."""
    if not incident.is_paging or _paging_targets(incident, previous_policy, at) == _paging_targets(
        incident, policy, at
    ):
        return incident
    return replace(incident, paging_started_at=at)


def notify_raised(
    incident: Incident, previous_severity: Severity, policy: Policy, at: datetime, *, by: str, key: str
) -> tuple[Incident, tuple[Escalate | Announce, ...]]:
    """Notify people that the severity is now higher than `previous_severity`.

    Those on call and the commander (E5), and those who are informed of such a severity at once (E4).
    """
    if incident.severity >= previous_severity:
        return incident, ()
    recipients = resolve_recipients(incident, policy, (ON_CALL,), at)
    commander = (incident.commander,) if incident.commander and incident.commander != by else ()
    because = (
        f"{by} raised the severity from {previous_severity.inline_name(policy.scale)} to "
        f"{incident.severity.inline_name(policy.scale)}"
    )
    notice = Escalate(
        key=f"raised/{key}",
        to=tuple(dict.fromkeys((*commander, *recipients.people))),
        unstaffed=recipients.unstaffed,
        at=at,
        via=notice_channels(incident, policy),
        contacts=(ON_CALL,),
        because=because,
    )
    incident, announcements = announce(incident, policy, at, because)
    return incident, (notice, *announcements)


@lru_cache(maxsize=256)
def wait_time(duration: Duration) -> timedelta:
    """Return how long an escalation step waits; a business day counts as 24 hours, since nights do not wait."""
    return duration.as_timedelta + timedelta(days=duration.business_days)


def _paging_targets(incident: Incident, policy: Policy, at: datetime) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """Return the steps that page an incident, and the people they ask first."""
    steps = paging_steps(incident, policy)
    return steps, tuple(login for step in steps for login in people_of(step.to or (ON_CALL,), policy, at))


def _until_resolved_steps(policy: Policy, severity: Severity) -> tuple[Step, ...]:
    return tuple(step for step in policy.ladders.get(severity, ()) if step.until is Until.RESOLVED)


def _escalation_step(step: Step, since: datetime | None, reopen_count: int) -> EscalationStep:
    due = since + wait_time(step.after) if since is not None else None
    return EscalationStep(
        f"{_key_prefix(step.to)}{step.after}{_run_suffix(reopen_count)}",
        step.to,
        step.do,
        due,
        step.after.in_words,
        step.via,
    )


def _key_prefix(contacts: tuple[str, ...]) -> str:
    return f"escalate/{'+'.join(contacts) or 'do'}@"


def _run_suffix(reopen_count: int) -> str:
    """Return the suffix that distinguishes the steps after each reopening."""
    return f"#{reopen_count}" if reopen_count else ""


def _is_overdue(incident: Incident, step: EscalationStep) -> bool:
    return step.due is not None and step.due < incident.severity_set_at


def _was_notified(incident: Incident, step: EscalationStep) -> bool:
    """Return True if these contacts have been notified since the declaration, or since the reopening."""
    prefix, run = _key_prefix(step.contacts), _run_suffix(incident.reopen_count)
    return any(
        key.startswith(prefix) and "".join(key[len(prefix) :].partition("#")[1:]) == run
        for key in incident.fired_alarms
    )
