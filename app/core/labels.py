"""Which labels an incident should carry: derived, so that only the difference has to be sent."""

from __future__ import annotations

from app.core.clocks import resolve, respond
from app.core.incident import Incident
from app.core.lifecycle import Status
from app.core.policy import Labels, Policy


def wanted(incident: Incident, policy: Policy) -> frozenset[str]:
    """Muster's own labels on the issue: exactly one severity, at most one status, and what must be seen in a list."""
    names = policy.labels
    labels = {names.incident, names.of(incident.severity)}
    if status := _status(incident.status, names):
        labels.add(status)
    if incident.grade.unsure and incident.status.open:
        labels.add(names.needs_triage)
    promises = [found for clock in (respond, resolve) if (found := clock.due(incident, policy))]
    if any(promise.broken(incident) for promise in promises):
        labels.add(names.breached)
    elif incident.status.open and any(promise.at_risk(incident, policy) for promise in promises):
        labels.add(names.at_risk)
    if incident.postmortem_wanted and (incident.postmortem is None or incident.postmortem.state != "merged"):
        labels.add(names.postmortem_due)
    return frozenset(labels)


def grounds(incident: Incident) -> tuple[object, ...]:
    """What the labels are derived from: as long as these are the same, so are the labels."""
    return (
        incident.grade,
        incident.status,
        incident.rung,
        incident.responded_at,
        incident.resolved_at,
        incident.rested,
        incident.postmortem_wanted,
        incident.postmortem,
    )


def managed(names: Labels) -> frozenset[str]:
    """Every label that Muster adds and takes away.  `paused` and `confidential` are left to people."""
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


def _status(status: Status, names: Labels) -> str | None:
    if status is Status.TRIGGERED:
        return None
    if status is Status.MITIGATED:
        return names.mitigated
    return names.acknowledged if status.open else names.resolved
