"""How reports and alerts are graded: intake defaults, severity matrix, floors and alert rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.incident_report import Exposure, Kind, Level
from app.core.severity import Severity


@dataclass(frozen=True, slots=True)
class Floor:
    """A fact that makes an incident at least that severe (A5).

    Every field that is not None must match. `service` is one that the report names as affected.
    """

    because: str
    at_least: Severity
    kind: Kind | None = None
    impact: Level | None = None
    personal_data: Exposure | None = None
    service: str | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """How reports are read: the severity of a report that gives none, and headings in a form's own wording.

    `fields` maps a heading (compared without case) to a field of `Report`, such as "Dringlichkeit" to "urgency".
    """

    default: Severity = Severity.SEV3
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AlertRule:
    """A reading of monitoring at which an incident is opened (A9).

    `above` is the reading with its unit.
    """

    above: str
    severity: Severity
    kind: Kind | None = None


MATRIX: Mapping[Level, Mapping[Level, Severity]] = {
    urgency: dict(zip((Level.HIGH, Level.MEDIUM, Level.LOW), map(Severity, row), strict=True))
    for urgency, row in {Level.HIGH: (1, 2, 3), Level.MEDIUM: (2, 3, 4), Level.LOW: (3, 4, 4)}.items()
}
"""The default severity by urgency, then impact (A3, from 003)."""

FLOORS = (
    Floor("a security breach", Severity.SEV1, kind=Kind.SECURITY),
    Floor("a confirmed data breach", Severity.SEV1, personal_data=Exposure.YES),
    Floor("a full outage", Severity.SEV1, kind=Kind.OUTAGE, impact=Level.HIGH),
    Floor("a major data loss", Severity.SEV1, kind=Kind.DATA_LOSS, impact=Level.HIGH),
)
"""The default facts that make an incident sev1 whatever was chosen (A5).

A critical vulnerability is reported as a security breach.
"""
