"""How long things took (M1).  MTTR is always "to resolve"."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.incident import Incident


@dataclass(frozen=True, slots=True)
class Durations:
    """The times of one incident; None where an end is not known.

    Metrics count from the started and detected times of the form where it gives them, SLA clocks do not (B9).
    """

    to_detect: timedelta | None
    to_acknowledge: timedelta | None
    to_mitigate: timedelta | None
    to_resolve: timedelta | None


def durations(incident: Incident) -> Durations:
    report = incident.report
    detected = report.detected_at or incident.declared_at
    return Durations(
        to_detect=_between(report.started_at, detected),
        to_acknowledge=_between(detected, incident.acknowledged_at),
        to_mitigate=_between(report.started_at or detected, incident.mitigated_at),
        to_resolve=_between(report.started_at or detected, incident.resolved_at),
    )


def _between(start: datetime | None, end: datetime | None) -> timedelta | None:
    return end - start if start is not None and end is not None and end >= start else None
