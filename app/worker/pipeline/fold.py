"""Fold events into an incident outside of any transaction, and save the result if nothing changed meanwhile.

A fold may take long: its length depends on texts that strangers write and on policies.  So it holds no lock and no
connection.  If another process saved the incident meanwhile, the fold is stale and is done again.

A fold that fails under the active policy is done again under the last good one and then under the shipped profile: no
policy, however odd, loses a report.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from app.core import noise_limits
from app.core.clocks import alarms
from app.core.decide import Decision
from app.core.effects import Effect, PolicyFaultNotice, ShowBoard
from app.core.escalation import resolve_recipients
from app.core.events import Alarm, Event, Opened
from app.core.fold_budget import FoldBudget
from app.core.incident import Incident
from app.core.policy import ON_CALL, Policy
from app.core.replay import log_sort_key, replay
from app.github.inbound import TimedEvent
from app.policy_source.active_policy import ActivePolicy
from app.ports import IncidentKey
from app.store import incidents, outbox, tombstones, unconfirmed_reports
from app.store.database import Db
from app.store.incidents import StoredIncident
from app.worker.context import WorkerContext
from app.worker.pipeline import channel_messages

log = structlog.get_logger()

_MAX_FOLD_SECONDS = 10.0
"""How long a fold under one policy may take; then the next best policy is tried."""
_MAX_FOLDS = 5
"""How often a fold is repeated because another process changed the incident meanwhile."""


class StaleFold(Exception):
    """The incident was changed while it was folded."""


class FoldFailed(Exception):
    """The rules failed with the events of an incident, under every policy."""


@dataclass(frozen=True, slots=True)
class Folded:
    """An incident after some events, not saved yet.

    `base` is the stored incident that it continues; None: there was none.  `new_events` are those that its log lacks.
    `unreserved_id` is an incident id that it got and that is allocated when it is saved; empty: it got none.
    `active` is the policy that it was folded under, a fallback where `policy_failure` is not empty.
    """

    base: StoredIncident | None
    new_events: tuple[TimedEvent, ...]
    incident: Incident
    effects: tuple[Effect, ...]
    alarms: tuple[Alarm, ...]
    active: ActivePolicy
    policy_failure: str
    until: datetime
    unreserved_id: str = ""


def apply_events(
    ctx: WorkerContext, incident_key: IncidentKey, events: Sequence[TimedEvent], active: ActivePolicy, now: datetime
) -> StoredIncident | None:
    """Fold events into an incident and save it; None if there is no incident, and the events open none."""

    def fold_and_save(stored: StoredIncident | None) -> StoredIncident | None:
        folded = fold_events(ctx, incident_key, stored, events, active, now)
        if folded is None:
            return None
        with ctx.database.transaction() as db:
            require_unchanged(db, incident_key, stored)
            return save_fold(db, incident_key, folded, now)

    with ctx.database.autocommit() as db:
        stored = incidents.load_incident(db, incident_key)
    return repeat_while_stale(ctx, incident_key, fold_and_save, first=stored)


def record_event(ctx: WorkerContext, incident_key: IncidentKey, events: Sequence[TimedEvent]) -> None:
    """Apply events that we caused ourselves, such as a pull request that we opened."""
    now = ctx.clock()
    with ctx.database.autocommit() as db:
        repository = incidents.load_repository(db, incident_key.repo_id)
    if repository is not None:
        active = ctx.policies.load(ctx.database, ctx.tracker(repository), repository, now)
        apply_events(ctx, incident_key, events, active, now)


def repeat_while_stale(
    ctx: WorkerContext,
    incident_key: IncidentKey,
    fold_and_save: Callable[[StoredIncident | None], StoredIncident | None],
    *,
    first: StoredIncident | None,
) -> StoredIncident | None:
    """Call `fold_and_save` with the stored incident until that is still unchanged when it is saved.

    `first` is the incident as it was read before.  Raises StaleFold after several attempts.
    """
    stored = first
    for _ in range(_MAX_FOLDS - 1):
        try:
            return fold_and_save(stored)
        except StaleFold:
            with ctx.database.autocommit() as db:
                stored = incidents.load_incident(db, incident_key)
    return fold_and_save(stored)


def require_unchanged(db: Db, incident_key: IncidentKey, stored: StoredIncident | None) -> None:
    """Lock the incident; raise StaleFold if it is not the one that was loaded."""
    if incidents.lock_version(db, incident_key) != (stored.version if stored is not None else None):
        raise StaleFold(str(incident_key))


def fold_events(
    ctx: WorkerContext,
    incident_key: IncidentKey,
    stored: StoredIncident | None,
    events: Iterable[TimedEvent],
    active: ActivePolicy,
    now: datetime,
    *,
    corrected_opening: Opened | None = None,
    replay_all: bool = False,
) -> Folded | None:
    """Fold events into `stored` (None: there is no incident); None if they open none, or if it was erased.

    Events in order continue from the stored state.  If one is late, or precedes an alarm that has fired, or
    `replay_all` is set, the whole log is replayed.  `corrected_opening` replaces the opening in the log.
    """
    if stored is None and _is_erased(ctx, incident_key):
        return None
    selected, unreserved_id = _assign_incident_id(
        ctx, incident_key, _select_new_events(ctx, incident_key, stored, events)
    )
    new_events = sorted(selected, key=lambda one: log_sort_key(one.at, one.event))
    until = max([now, *(one.at for one in new_events)])
    timed = [(one.at, one.event) for one in new_events]
    replay_all |= corrected_opening is not None
    if stored is not None and not replay_all and (not new_events or new_events[0].at > stored.replayed_until):
        start: Incident | None = stored.incident
        event_log = timed
    else:
        start = None
        with ctx.database.autocommit() as db:
            known = incidents.load_log(db, incident_key) if stored is not None else []
        event_log = [*_correct_opening(known, corrected_opening), *timed]

    def fold(policy: Policy) -> tuple[Decision, tuple[Alarm, ...]]:
        deadline = time.monotonic() + _MAX_FOLD_SECONDS
        budget = FoldBudget(is_exhausted=lambda: time.monotonic() > deadline)
        decision = replay(event_log, policy, until, initial=start, budget=budget)
        return decision, alarms(decision.incident, policy) if decision.incident is not None else ()

    known_failure = stored.policy_failure if stored is not None else ""
    used, failure, (decision, due_alarms) = _fold_under_good_policy(ctx, incident_key, active, known_failure, fold)
    if decision.incident is None:
        return None
    return Folded(
        stored, tuple(new_events), decision.incident, decision.effects, due_alarms, used, failure, until, unreserved_id
    )


def _fold_under_good_policy(
    ctx: WorkerContext,
    incident_key: IncidentKey,
    active: ActivePolicy,
    known_failure: str,
    fold: Callable[[Policy], tuple[Decision, tuple[Alarm, ...]]],
) -> tuple[ActivePolicy, str, tuple[Decision, tuple[Alarm, ...]]]:
    """Fold under the active policy, or under the next best one with which the rules do not fail.

    Returns the policy, and `version:nth` where it is a fallback.  `known_failure` is what the fold before returned: a
    policy that failed then is not tried again.  Raises FoldFailed if the rules fail with each: then it is not the
    policy.
    """
    first_problem: Exception | None = None
    if _fallback_number(known_failure, active) is None:
        try:
            return active, "", fold(active.policy)
        except Exception as problem:
            log.exception("fold failed under the active policy", incident=str(incident_key))
            first_problem = problem
    first_fallback = _fallback_number(known_failure, active) or 0
    for nth, fallback in enumerate(ctx.policies.fallbacks(ctx.database, incident_key.repo_id)):
        if nth < first_fallback:
            continue
        try:
            result = fold(fallback)
        except Exception as problem:
            log.exception("fold failed under a fallback policy", incident=str(incident_key))
            first_problem = first_problem or problem
            continue
        if first_problem is not None:
            found = ctx.policies.record_failure(ctx.database, incident_key.repo_id, first_problem)
            active = replace(active, problems=(*active.problems, found))
        return replace(active, policy=fallback), f"{active.version}:{nth}", result
    raise FoldFailed(f"{type(first_problem).__name__}: {first_problem}") from first_problem


def _fallback_number(policy_failure: str, active: ActivePolicy) -> int | None:
    """Return which fallback applies where the rules failed under the active policy; None: they did not."""
    version, _, nth = policy_failure.partition(":")
    return int(nth) if policy_failure and version == active.version else None


def policy_of_incident(
    ctx: WorkerContext, incident_key: IncidentKey, stored: StoredIncident, active: ActivePolicy
) -> ActivePolicy:
    """Return the policy that an incident follows: the active one, or the fallback where the rules failed under it."""
    nth = _fallback_number(stored.policy_failure, active)
    if nth is None:
        return active
    fallbacks = list(ctx.policies.fallbacks(ctx.database, incident_key.repo_id))
    return replace(active, policy=fallbacks[min(nth, len(fallbacks) - 1)])


def follow_next_fallback(
    ctx: WorkerContext, incident_key: IncidentKey, stored: StoredIncident, active: ActivePolicy, problem: Exception
) -> bool:
    """Let an incident follow the next fallback, because something failed under its policy; False if there is none."""
    nth, now = _fallback_number(stored.policy_failure, active), ctx.clock()
    following = 0 if nth is None else nth + 1
    fallbacks = list(ctx.policies.fallbacks(ctx.database, incident_key.repo_id))
    if following >= len(fallbacks):
        return False
    found = ctx.policies.record_failure(ctx.database, incident_key.repo_id, problem)
    used = replace(active, policy=fallbacks[following], problems=(*active.problems, found))
    with ctx.database.transaction() as db:
        incidents.record_policy_failure(db, incident_key, f"{active.version}:{following}")
        queue_policy_fault_notices(db, incident_key, stored.incident, used, now)
    apply_events(ctx, incident_key, (), active, now)  # its alarms are those of the other policy now
    return True


def queue_policy_fault_notices(
    db: Db, incident_key: IncidentKey, incident: Incident, active: ActivePolicy, now: datetime
) -> None:
    """Queue a notice for each policy problem, once per version, on the first open incident that is processed."""
    if not active.problems or incident.unavailable or not incident.status.open:
        return
    recipients = resolve_recipients(incident, active.policy, (ON_CALL,), now)
    for problem in active.problems:
        if problem.mark_reported(db):
            fault_notice = PolicyFaultNotice(
                key=problem.notice_key,
                to=recipients.people,
                unstaffed=recipients.unstaffed,
                at=now,
                faults=problem.faults,
            )
            outbox.add_effects(db, incident_key, (fault_notice,), now)


def save_fold(db: Db, incident_key: IncidentKey, folded: Folded, now: datetime) -> StoredIncident:
    """Save the incident, its log and its alarms, and write its effects to the outbox.

    Call `require_unchanged` first, in the same transaction.  Raises StaleFold if the log was changed meanwhile.
    """
    stored = folded.base
    if stored is None and tombstones.find_erased(db, (incident_key,)):
        raise StaleFold(str(incident_key))
    if folded.unreserved_id and folded.unreserved_id != incidents.allocate_incident_id(
        db, incident_key.repo_id, folded.incident.declared_at.date()
    ):
        raise StaleFold(str(incident_key))
    appended = incidents.append_events(db, incident_key, ((one.at, one.event) for one in folded.new_events))
    if len(appended) != len(folded.new_events):
        raise StaleFold(str(incident_key))
    new = _save_incident(db, incident_key, folded)
    effects = folded.effects
    alarms_changed = incidents.sync_alarms(db, incident_key, folded.alarms)
    if alarms_changed and not effects and not new.incident.unavailable:
        effects = (ShowBoard(),)  # another policy is active, and the board shows its deadlines
    if noise_limits.is_confirmed(new.incident) and (stored is None or not noise_limits.is_confirmed(stored.incident)):
        unconfirmed_reports.release_confirmed(db, incident_key, now)
    channel_messages.queue_messages(db, incident_key, new.incident, effects, folded.active.policy, now)
    outbox.add_effects(db, incident_key, effects, now)
    return new


def _save_incident(db: Db, incident_key: IncidentKey, folded: Folded) -> StoredIncident:
    stored, incident = folded.base, folded.incident
    alarms_fired = stored is None or incident.fired_alarms != stored.incident.fired_alarms
    last_event_at = max((one.at for one in folded.new_events), default=None)
    replayed_before = stored.replayed_until if stored else incident.declared_at
    replayed_until = folded.until if alarms_fired else max(filter(None, (replayed_before, last_event_at)))
    new = (
        replace(stored, incident=incident, replayed_until=replayed_until, policy_failure=folded.policy_failure)
        if stored
        else StoredIncident(incident, replayed_until, policy_failure=folded.policy_failure)
    )
    if stored is None or new != stored:
        incidents.save_incident(db, incident_key, new)
    return new


def _is_erased(ctx: WorkerContext, incident_key: IncidentKey) -> bool:
    with ctx.database.autocommit() as db:
        return bool(tombstones.find_erased(db, (incident_key,)))


def _select_new_events(
    ctx: WorkerContext, incident_key: IncidentKey, stored: StoredIncident | None, events: Iterable[TimedEvent]
) -> list[TimedEvent]:
    """Return the events that the log lacks, each once; of several openings only the first, if there is none yet."""
    is_open, found = stored is not None, dict[str, TimedEvent]()
    for one in events:
        if isinstance(one.event, Opened):
            if is_open:
                continue
            is_open = True
        found.setdefault(one.event.key, one)
    if stored is not None and found:
        with ctx.database.autocommit() as db:
            for key in incidents.find_known_event_keys(db, incident_key, found):
                del found[key]
    return list(found.values())


def _assign_incident_id(
    ctx: WorkerContext, incident_key: IncidentKey, events: Sequence[TimedEvent]
) -> tuple[list[TimedEvent], str]:
    """Give an opening without an incident id the next one; return the events and that id, empty where there is none."""
    assigned, found = list(events), ""
    for index, one in enumerate(events):
        if isinstance(one.event, Opened) and not one.event.id:
            with ctx.database.autocommit() as db:
                found = incidents.next_incident_id(db, incident_key.repo_id, one.at.date())
            assigned[index] = replace(one, event=replace(one.event, id=found))
    return assigned, found


def _correct_opening(
    event_log: Sequence[tuple[datetime, Event]], corrected: Opened | None
) -> Sequence[tuple[datetime, Event]]:
    if corrected is None:
        return event_log
    return [(at, corrected if event.key == corrected.key else event) for at, event in event_log]
