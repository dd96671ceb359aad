"""Severity grading of a report (A3 to A5)."""

from __future__ import annotations

import pytest

from app.core.incident_report import Exposure, IncidentReport, Kind, Level
from app.core.policy import FLOORS, Floor, Intake, Policy
from app.core.severity import Scale, Severity
from app.core.severity_grading import grade

H, M, L = Level.HIGH, Level.MEDIUM, Level.LOW
MATRIX = [
    *((H, H, 1), (H, M, 2), (H, L, 3)),
    *((M, H, 2), (M, M, 3), (M, L, 4)),
    *((L, H, 3), (L, M, 4), (L, L, 4)),
]
"""Urgency, impact, and the severity that document 003 derives from them."""


@pytest.mark.parametrize(("urgency", "impact", "severity"), MATRIX)
def test_matrix(urgency: Level, impact: Level, severity: int) -> None:
    found = grade(IncidentReport(urgency=urgency, impact=impact), Policy())
    assert (found.severity, found.uncertain) == (Severity(severity), False)
    assert found.reasons == (f"{impact.value} impact and {urgency.value} urgency make sev{severity}",)


@pytest.mark.parametrize("chosen", Severity)
@pytest.mark.parametrize(("urgency", "impact", "severity"), MATRIX)
def test_the_higher_of_choice_and_matrix(urgency: Level, impact: Level, severity: int, chosen: Severity) -> None:
    found = grade(IncidentReport(severity=chosen, urgency=urgency, impact=impact), Policy())
    assert found.severity == min(chosen, severity)
    assert len(found.reasons) == 2
    assert str(found.severity) in found.reasons[0]


@pytest.mark.parametrize("level", [{"urgency": H}, {"impact": H}])
def test_half_of_the_matrix_is_none(level: dict[str, Level]) -> None:
    found = grade(IncidentReport(**level), Policy())
    assert (found.severity, found.uncertain) == (Severity.SEV3, True)


@pytest.mark.parametrize(
    ("report", "severity"),
    [
        (IncidentReport(kind=Kind.SECURITY), 1),
        (IncidentReport(kind=Kind.SECURITY, severity=Severity.SEV4, impact=L, urgency=L), 1),
        (IncidentReport(personal_data=Exposure.YES), 1),
        (IncidentReport(personal_data=Exposure.POSSIBLY, severity=Severity.SEV4), 4),
        (IncidentReport(personal_data=Exposure.NO, severity=Severity.SEV4), 4),
        (IncidentReport(kind=Kind.OUTAGE, impact=H), 1),
        (IncidentReport(kind=Kind.OUTAGE, impact=M, severity=Severity.SEV3), 3),
        (IncidentReport(kind=Kind.DATA_LOSS, impact=H), 1),
        (IncidentReport(kind=Kind.DATA_LOSS, impact=L, urgency=L), 4),
        (IncidentReport(kind=Kind.DEGRADATION, impact=H, urgency=L), 3),
    ],
)
def test_floors(report: IncidentReport, severity: int) -> None:
    assert grade(report, Policy()).severity == severity


def test_a_floor_without_a_condition_is_under_nothing() -> None:
    policy = Policy(floors=(*FLOORS, Floor("anything", Severity.SEV1)))
    assert grade(IncidentReport(severity=Severity.SEV4), policy).severity is Severity.SEV4


@pytest.mark.parametrize("default", Severity)
def test_a_report_without_ground_gets_the_default(default: Severity) -> None:
    found = grade(IncidentReport(structured=False), Policy(intake=Intake(default=default)))
    assert (found.severity, found.uncertain) == (default, True)
    assert found.reasons == (f"nothing in the report says how severe it is, so {default} until somebody grades it",)


def test_a_severity_that_could_not_be_read_may_have_been_a_higher_one() -> None:
    doubts = ("severity: 'kaputt' is none of sev1, sev2, sev3, sev4",)
    assert grade(IncidentReport(impact=M, urgency=M, doubts=doubts), Policy()).uncertain
    assert not grade(IncidentReport(severity=Severity.SEV2, doubts=doubts), Policy()).uncertain
    assert not grade(IncidentReport(impact=M, urgency=M, doubts=("services: 'x' is not known",)), Policy()).uncertain


@pytest.mark.parametrize(
    ("labels", "severity"), [({"sev2"}, 2), ({"sev4", "sev2", "bug"}, 2), ({"bug"}, 3), ({"SEV1"}, 3), (set(), 3)]
)
def test_labels_at_birth(labels: set[str], severity: int) -> None:
    assert grade(IncidentReport(), Policy(), frozenset(labels)).severity == severity


def test_reasons_are_told_on_the_scale_of_the_team() -> None:
    found = grade(IncidentReport(severity=Severity.SEV2, kind=Kind.SECURITY), Policy(scale=Scale.P))
    assert found.reasons == ("a security breach is at least P0", "the reporter chose P1")


@pytest.mark.parametrize(
    ("scale", "name", "severity"),
    [
        (Scale.SEV, "sev1", 1),
        (Scale.SEV, "SEV-2", 2),
        (Scale.SEV, "Severity 3", 3),
        (Scale.SEV, "S4", 4),
        (Scale.SEV, "P1", None),
        (Scale.SEV, "sev0", None),
        (Scale.SEV, "sev5", None),
        (Scale.SEV, "", None),
        (Scale.SEV, "\N{FULLWIDTH LATIN SMALL LETTER S}ev1", None),
        (Scale.SEV, "\N{LATIN SMALL LETTER LONG S}ev1", None),
        (Scale.P, "P0", 1),
        (Scale.P, "priority 1", 2),
        (Scale.P, "sev1", 1),
        (Scale.P, "P4", None),
    ],
)
def test_names_are_read_on_one_scale(scale: Scale, name: str, severity: int | None) -> None:
    assert scale.parse(name) == severity
