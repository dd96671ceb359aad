"""Who is told next: the escalation ladder of an incident (E1 to E3, E8)."""

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
class Rung:
    """One management step.  `due` None: it stands on the ladder of a higher severity and is reached on demand only."""

    key: str
    contacts: tuple[str, ...]
    do: str = ""
    due: datetime | None = None
    after: str = ""
    via: tuple[Via, ...] = ()


@dataclass(frozen=True, slots=True)
class Reached:
    """Who is asked in the end, and which contacts turned out to be nobody."""

    people: tuple[str, ...]
    missing: tuple[str, ...] = ()


def management(incident: Incident, policy: Policy) -> tuple[Rung, ...]:
    """The steps that run until the incident is resolved, in order; without any, those of the next higher severity."""
    key = "ladder", incident.severity, incident.laddered_at, incident.reopened
    return policy.once(key, lambda: _management(incident, policy))


def _management(incident: Incident, policy: Policy) -> tuple[Rung, ...]:
    steps = _until_resolved(policy, incident.severity)
    if steps:
        return tuple(_rung(step, incident.laddered_at, incident.reopened) for step in steps)
    for severity in reversed([s for s in Severity if s < incident.severity]):
        if steps := _until_resolved(policy, severity):
            return tuple(_rung(step, None, incident.reopened) for step in steps)
    return ()


def paging_steps(incident: Incident, policy: Policy) -> tuple[Step, ...]:
    """The steps that page until somebody acknowledges."""
    steps = policy.ladders.get(incident.severity, ())
    return tuple([step for step in steps if step.until is Until.ACK])


def reached(incident: Incident, policy: Policy, contacts: tuple[str, ...], at: datetime) -> Reached:
    """The people behind `contacts` at `at`, or else of the next rung up that has any, or down, or else whoever opened the issue."""
    if people := people_of(contacts, policy, at):
        return Reached(people)
    rungs = [rung.contacts for rung in management(incident, policy)]
    above = max((n for n, rung in enumerate(rungs, 1) if rung == contacts), default=0)
    missing = list(contacts)
    for instead in (*rungs[above:], *reversed(rungs[:above])):
        if people := people_of(instead, policy, at):
            return Reached(people, tuple(dict.fromkeys(missing)))
        missing += instead
    return Reached((incident.opened_by,) if incident.opened_by else (), tuple(dict.fromkeys(missing)))


def responsible(incident: Incident, policy: Policy, at: datetime) -> Reached:
    """Who has to act at `at`: the commander, or whoever is on call."""
    return Reached((incident.commander,)) if incident.commander else reached(incident, policy, (ON_CALL,), at)


def holders(
    incident: Incident, policy: Policy, named: tuple[str, ...], at: datetime, *, otherwise: tuple[str, ...] = ()
) -> Reached:
    """The people behind `named` at `at`, or behind `otherwise`, or else who has to act then.

    Only what was `named` in vain is missing.
    """
    if people := people_of(named, policy, at):
        return Reached(people)
    if people := people_of(otherwise, policy, at):
        return Reached(people, named)
    asked = responsible(incident, policy, at)
    return Reached(asked.people, tuple(dict.fromkeys((*named, *asked.missing))))


def channels(incident: Incident, policy: Policy, via: tuple[Via, ...] = ()) -> tuple[Via, ...]:
    """What a notice goes out by: its own `via`, or else that of the first notice of the severity (E4)."""
    return via or policy.first_notice_of(incident.severity).via


def announced(incident: Incident, policy: Policy, at: datetime, because: str) -> tuple[Incident, tuple[Announce, ...]]:
    """The incident, and the notice to those who hear of its severity at once, unless it was given or nobody holds them.

    Whoever heard of the incident at a severity hears of it again when it is raised, not when it returns to it.
    """
    notice = policy.first_notice_of(incident.severity)
    people = people_of(notice.to, policy, at)
    key = f"announce/{incident.severity}{_run(incident.reopened)}"
    if not people or key in incident.rung:
        return incident, ()
    told = Announce(key=key, to=people, at=at, via=notice.via, contacts=notice.to, because=because)
    return replace(incident, rung=incident.rung | {key}), (told,)


def waiting(incident: Incident, policy: Policy) -> tuple[Rung, ...]:
    """The rungs that are still to be told.

    A grade may find rungs of its ladder in the past.  They are told then, but not to those who were told already.
    """
    return tuple(
        rung
        for rung in management(incident, policy)
        if rung.key not in incident.rung and not (_overdue(incident, rung) and not rung.do and _told(incident, rung))
    )


def next_rung(incident: Incident, policy: Policy) -> Rung:
    """Whom somebody who asks for help is brought to: the first rung that hears of it for the first time, else the highest."""
    rungs = [rung for rung in management(incident, policy) if rung.contacts] or [
        Rung(f"escalate/{ON_CALL}", (ON_CALL,))
    ]
    return next((rung for rung in rungs if not _told(incident, rung)), rungs[-1])


def regraded(incident: Incident, grade: Grade, policy: Policy, at: datetime) -> Incident:
    """The incident with another grade.  Where that pages otherwise than before, paging begins anew.

    Whoever took an incident that paged nobody has answered the page of its higher severity beforehand.
    """
    changed = replace(incident, grade=grade, graded_at=at)
    before = paging_steps(incident, policy)
    if before == paging_steps(changed, policy):
        return changed
    if incident.paging:
        return replace(changed, armed_at=at)
    return changed if before else replace(changed, armed_at=at, answered_at=at)


def rearmed(incident: Incident, before: Policy, policy: Policy, at: datetime) -> Incident:
    """The incident under other rules than `before`.  Where those page somebody else, paging begins anew."""
    if not incident.paging or _pager(incident, before, at) == _pager(incident, policy, at):
        return incident
    return replace(incident, armed_at=at)


def raised(
    incident: Incident, was: Severity, policy: Policy, at: datetime, *, by: str, key: str
) -> tuple[Incident, tuple[Escalate | Announce, ...]]:
    """The incident, and the notices that its severity is higher than it `was`: to those on call and whoever has it (E5),
    and to those who hear of such a severity at once (E4)."""
    if incident.severity >= was:
        return incident, ()
    asked = reached(incident, policy, (ON_CALL,), at)
    holder = (incident.commander,) if incident.commander and incident.commander != by else ()
    because = f"{by} raised the severity from {was.said(policy.scale)} to {incident.severity.said(policy.scale)}"
    notice = Escalate(
        key=f"raised/{key}",
        to=tuple(dict.fromkeys((*holder, *asked.people))),
        missing=asked.missing,
        at=at,
        via=channels(incident, policy),
        contacts=(ON_CALL,),
        because=because,
    )
    incident, told = announced(incident, policy, at, because)
    return incident, (notice, *told)


@lru_cache(maxsize=256)
def length(duration: Duration) -> timedelta:
    """How long a step of a ladder waits: a business day counts as 24 hours, for nights do not wait."""
    return duration.elapsed + timedelta(days=duration.business_days)


def _pager(incident: Incident, policy: Policy, at: datetime) -> tuple[tuple[Step, ...], tuple[str, ...]]:
    """What pages an incident, and who is asked first."""
    steps = paging_steps(incident, policy)
    return steps, tuple(login for step in steps for login in people_of(step.to or (ON_CALL,), policy, at))


def _until_resolved(policy: Policy, severity: Severity) -> tuple[Step, ...]:
    return tuple(step for step in policy.ladders.get(severity, ()) if step.until is Until.RESOLVED)


def _rung(step: Step, since: datetime | None, reopened: int) -> Rung:
    due = since + length(step.after) if since is not None else None
    return Rung(f"{_name(step.to)}{step.after}{_run(reopened)}", step.to, step.do, due, step.after.words, step.via)


def _name(contacts: tuple[str, ...]) -> str:
    return f"escalate/{'+'.join(contacts) or 'do'}@"


def _run(reopened: int) -> str:
    """What tells the rungs after each reopening apart."""
    return f"#{reopened}" if reopened else ""


def _overdue(incident: Incident, rung: Rung) -> bool:
    return rung.due is not None and rung.due < incident.graded_at


def _told(incident: Incident, rung: Rung) -> bool:
    """Whether these contacts have been told since the declaration, or since the reopening."""
    name, run = _name(rung.contacts), _run(incident.reopened)
    return any(key.startswith(name) and "".join(key[len(name) :].partition("#")[1:]) == run for key in incident.rung)
