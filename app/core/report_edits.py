"""Decide what an edit of the report changes (A4): anyone's edit may raise, but only a responder lowers.

The reporter may correct downwards in the first minutes, while no responder has acted.  After that, a change that would
lower the severity, or bring other people, deadlines or regulations into effect, is a question on the board.
"""

from __future__ import annotations

import dataclasses
from datetime import datetime, timedelta

from app.core.commands import Answer
from app.core.effective_policy import active_regulations, affected_services, policy_for, policy_for_report
from app.core.effects import Effect
from app.core.escalation import apply_grade, notify_raised, restart_paging_if_changed
from app.core.events import Edited, Event, is_without_rights
from app.core.incident import Grade, GradingInput, Incident, PendingEdit, replace
from app.core.incident_report import IncidentReport
from app.core.noise_limits import UNCONFIRMED_PERIOD, is_confirmed
from app.core.policy import Policy
from app.core.severity_grading import grade
from app.core.timeline import EntryKind

CORRECTION_PERIOD = timedelta(minutes=10)
"""How long after the declaration a reporter without rights may lower the severity, while no responder has acted."""


def on_edited(incident: Incident, event: Edited, policy: Policy, now: datetime) -> Answer:
    """Apply the new title and report; the effective policy follows the services and the type in the report.

    The grade follows the report until a responder has graded by hand.
    """
    if (event.title, event.report) == (incident.title, incident.shown_report):
        return incident, ()
    grading_input = build_grading_input(event, event.report, policy, now)
    last = incident.grading_inputs[-1]
    is_pinned = _is_pinned(incident, event, now) and _weakens(incident, event.report, policy)
    before, incident = incident, _with_report(incident, event, policy, now, is_pinned=is_pinned)
    if grading_input.answers == last.answers:
        return incident, ()
    incident = incident.with_transition_role(now, event)
    incident = replace(incident, grading_inputs=(*incident.grading_inputs, grading_input))
    if not is_pinned:
        incident = _restart_if_policy_changed(before, incident, event, policy, now)
    effective_policy = policy_for(policy, incident)
    if incident.grade.by:
        return _with_edit_entry(incident, event, now, "the severity stands as graded by hand"), ()
    if not incident.status.open:
        return _with_edit_entry(incident, event, now, f"the severity stands, it is {incident.status}"), ()
    new_grade = grade(event.report, policy_for_report(policy, event.report), incident.initial_labels)
    if is_pinned and new_grade.severity >= incident.severity:
        severity = new_grade.severity.inline_name(effective_policy.scale)
        outcome = "what it said before still counts until a responder decides" + (
            f"; by itself it would be {severity}" if new_grade.severity > incident.severity else ""
        )
        return _with_edit_entry(incident, event, now, outcome), ()
    return _apply_new_grade(incident, event, new_grade, effective_policy, now)


def build_grading_input(event: Event, report: IncidentReport, policy: Policy, now: datetime) -> GradingInput:
    """Return the answers of a report that determine its grade, with their author and time."""
    return GradingInput(
        at=now,
        by=event.by,
        key=event.key,
        url=event.url,
        severity=report.severity,
        impact=report.impact,
        urgency=report.urgency,
        kind=report.kind,
        personal_data=report.personal_data,
        doubts=report.doubts,
        services=tuple(affected_services(policy, report)),
        detected_at=report.detected_at if active_regulations(policy, report) else None,
    )


def _is_pinned(incident: Incident, event: Edited, now: datetime) -> bool:
    """Return True if this person's edit may no longer weaken the report."""
    return is_without_rights(event) and (is_confirmed(incident) or now - incident.declared_at > CORRECTION_PERIOD)


def _weakens(incident: Incident, report: IncidentReport, policy: Policy) -> bool:
    """Return True if the report would lower the severity, end a regulation's clock, or bring another policy."""
    before, after = policy_for_report(policy, incident.report), policy_for_report(policy, report)
    previous_regulations = active_regulations(before, incident.report)
    return (
        before != after
        or not previous_regulations.keys() <= active_regulations(after, report).keys()
        or (bool(previous_regulations) and _detection(incident, report) > _detection(incident, incident.report))
        or grade(report, after, incident.initial_labels).severity > incident.severity
    )


def _detection(incident: Incident, report: IncidentReport) -> datetime:
    """Return what a regulation's clock counts from by that report."""
    return report.detected_at or incident.declared_at


def _with_report(incident: Incident, event: Edited, policy: Policy, now: datetime, *, is_pinned: bool) -> Incident:
    """Return the incident with the new title and texts; where it `is_pinned`, the answers stay as they were."""
    if not is_pinned:
        return replace(incident, title=event.title, report=event.report, pending_edit=None)
    before, shown = incident.report, event.report
    services = tuple(affected_services(policy, before))
    report = dataclasses.replace(
        shown,
        severity=before.severity,
        impact=before.impact,
        urgency=before.urgency,
        kind=before.kind,
        personal_data=before.personal_data,
        doubts=before.doubts,
        services=shown.services if services == tuple(affected_services(policy, shown)) else services,
        detected_at=before.detected_at if active_regulations(policy, before) else shown.detected_at,
    )
    severity = grade(shown, policy_for_report(policy, shown), incident.initial_labels).severity
    pending = PendingEdit(now, event.by, shown, severity)
    return replace(incident, title=event.title, report=report, pending_edit=pending)


def _restart_if_policy_changed(
    before: Incident, incident: Incident, event: Edited, policy: Policy, now: datetime
) -> Incident:
    """Restart paging where the new answers bring another policy or regulation into effect."""
    previous_policy, effective_policy = policy_for(policy, before), policy_for(policy, incident)
    if (
        effective_policy == previous_policy
        and active_regulations(effective_policy, incident.report) == active_regulations(previous_policy, before.report)
        and incident.grading_inputs[-1].detected_at == before.grading_inputs[-1].detected_at
    ):
        return incident
    incident = replace(incident, severity_set_at=now)
    restarted = restart_paging_if_changed(incident, previous_policy, effective_policy, now)
    return _limit_restart(incident, restarted, event, now)


def _apply_new_grade(incident: Incident, event: Edited, new_grade: Grade, policy: Policy, now: datetime) -> Answer:
    """Apply the grade of the new answers, and notify people if it is higher."""
    was = incident.severity
    if new_grade.severity is was:
        return _with_edit_entry(replace(incident, grade=new_grade), event, now, "the severity stays"), ()
    unrestarted = replace(incident, grade=new_grade, severity_set_at=now)
    may_notify = incident.may_be_notified_by(event, now, UNCONFIRMED_PERIOD, confirmed=is_confirmed(incident))
    notices: tuple[Effect, ...] = ()
    if new_grade.severity < was and may_notify:
        graded = apply_grade(incident, new_grade, policy, now)
        incident, notices = notify_raised(graded, was, policy, now, by=event.by, key=event.key)
        incident = incident.with_outsider_notification(event, now)
    elif is_without_rights(event) and not is_confirmed(incident):
        incident = unrestarted  # the next page comes when it is due: going down and up again rings no more
    else:
        incident = apply_grade(incident, new_grade, policy, now)
    change = f"{was.inline_name(policy.scale)} became {new_grade.severity.inline_name(policy.scale)}"
    return _with_edit_entry(incident, event, now, change), notices


def _limit_restart(incident: Incident, restarted: Incident, event: Edited, now: datetime) -> Incident:
    """Return the restarted incident, or the other where people without rights have restarted it a moment ago."""
    if restarted.paging_started_at == incident.paging_started_at:
        return restarted
    if not incident.may_be_notified_by(event, now, UNCONFIRMED_PERIOD, confirmed=is_confirmed(incident)):
        return incident
    return restarted.with_outsider_notification(event, now)


def _with_edit_entry(incident: Incident, event: Edited, now: datetime, outcome: str) -> Incident:
    return incident.with_entry(now, event, EntryKind.EDITED, "changed the report", outcome)
