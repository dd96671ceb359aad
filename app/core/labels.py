"""Derive the labels an incident should carry, so that only the difference has to be sent."""

from __future__ import annotations

from app.core.clocks import resolve, respond
from app.core.effective_policy import policy_for
from app.core.events import AlarmFired, Event
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Labels, Policy

LABELED_DEADLINES = {respond.NAME: respond.find_deadline, resolve.NAME: resolve.find_deadline}
"""The clocks whose warnings and breaches are shown as labels."""


def desired_labels(incident: Incident, policy: Policy) -> frozenset[str]:
    """Return the labels of ours that the issue should carry.

    Exactly one severity, at most one status, and what must be visible in a list of issues.
    """
    policy, names = policy_for(policy, incident), policy.labels
    labels = {names.incident, names.for_severity(incident.severity)}
    if status := _status_label(incident.status, names):
        labels.add(status)
    if incident.grade.uncertain and incident.status.open:
        labels.add(names.needs_triage)
    if risk := _risk_label(incident, policy):
        labels.add(risk)
    if incident.postmortem_wanted and (incident.postmortem is None or incident.postmortem.state != "merged"):
        labels.add(names.postmortem_due)
    return frozenset(labels)


def labels_unchanged(before: Incident, after: Incident, event: Event) -> bool:
    """Return True if `event` changed nothing that the labels depend on."""
    if isinstance(event, AlarmFired):
        return event.alarm.clock not in LABELED_DEADLINES
    return _label_inputs(before) == _label_inputs(after)


def _label_inputs(incident: Incident) -> tuple[object, ...]:
    return (
        incident.grade,
        incident.severity_set_at,
        incident.status,
        incident.responded_at,
        incident.resolved_at,
        incident.pauses,
        incident.postmortem_wanted,
        incident.postmortem,
    )


def own_labels(names: Labels) -> frozenset[str]:
    """Return every label that Muster adds and removes.  `paused` and `confidential` are left to people."""
    return frozenset(
        {
            names.incident,
            *names.severities,
            names.acknowledged,
            names.mitigated,
            names.resolved,
            names.escalate,
            names.needs_triage,
            names.at_risk,
            names.breached,
            names.postmortem_due,
        }
    )


def _risk_label(incident: Incident, policy: Policy) -> str | None:
    """Return the label for a breached deadline, else for one at risk, else None."""
    found = None
    for deadline_of in LABELED_DEADLINES.values():
        deadline = deadline_of(incident, policy)
        if deadline is None:
            continue
        if deadline.is_breached(incident):
            return policy.labels.breached
        if incident.status.open and deadline.is_at_risk(incident, policy):
            found = policy.labels.at_risk
    return found


def _status_label(status: Status, names: Labels) -> str | None:
    if status is Status.TRIGGERED:
        return None
    if status is Status.MITIGATED:
        return names.mitigated
    return names.acknowledged if status.open else names.resolved
