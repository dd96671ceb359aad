"""The configurable names of Muster's labels."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.severity import Severity


@dataclass(frozen=True, slots=True)
class Labels:
    """The names of Muster's labels in a repository."""

    incident: str = "incident"
    severities: tuple[str, str, str, str] = ("sev1", "sev2", "sev3", "sev4")
    acknowledged: str = "acknowledged"
    mitigated: str = "mitigated"
    resolved: str = "resolved"
    paused: str = "paused"
    escalate: str = "escalate"
    needs_triage: str = "needs-triage"
    at_risk: str = "sla-at-risk"
    breached: str = "sla-breached"
    postmortem_due: str = "postmortem-due"
    confidential: str = "confidential"

    def for_severity(self, severity: Severity) -> str:
        """Return the label of that severity."""
        return self.severities[severity - 1]

    def severity(self, label: str) -> Severity | None:
        """Return the severity of that label, or None for any other label."""
        return Severity(self.severities.index(label) + 1) if label in self.severities else None
