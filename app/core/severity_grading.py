"""Grade the severity of a report, with the reasons (A3 to A5).

The grade is the highest of the reporter's choice, the matrix and the floors.
"""

from __future__ import annotations

from app.core.effective_policy import affected_services
from app.core.incident import Grade
from app.core.incident_report import IncidentReport
from app.core.policy import Policy
from app.core.severity import Scale, Severity

_UNGRADED = "nothing in the report says how severe it is, so {} until somebody grades it"


def grade(report: IncidentReport, policy: Policy, labels: frozenset[str] = frozenset()) -> Grade:
    """Grade a report.  `labels` are those the issue was opened with; a form may set a severity label.

    When unsure, the higher severity wins (A4).  A report that gives nothing to grade gets the default of the policy
    and is marked uncertain.
    """
    scale = policy.scale
    found = [
        *_grade_from_reporter(report, scale),
        *_grade_from_labels(policy, labels),
        *_grade_from_matrix(report, policy),
        *_grades_from_floors(report, policy),
    ]
    if not found:
        severity = policy.intake.default
        return Grade(
            severity,
            (_UNGRADED.format(severity.inline_name(scale)),),
            uncertain=True,
        )
    worst = min(severity for severity, _ in found)
    ordered = sorted(found, key=lambda graded: graded[0])
    return Grade(worst, tuple(reason for _, reason in ordered), uncertain=_is_severity_misread(report))


def _is_severity_misread(report: IncidentReport) -> bool:
    """Return True if a severity was chosen in words that could not be parsed; it may have been a higher one."""
    return report.severity is None and any(doubt.lower().startswith("severity") for doubt in report.doubts)


def _grade_from_reporter(report: IncidentReport, scale: Scale) -> list[tuple[Severity, str]]:
    return (
        []
        if report.severity is None
        else [(report.severity, f"the reporter chose {report.severity.inline_name(scale)}")]
    )


def _grade_from_labels(policy: Policy, labels: frozenset[str]) -> list[tuple[Severity, str]]:
    found = sorted(severity for label in labels if (severity := policy.labels.severity(label)))
    return [
        (severity, f"the issue was opened with the label {policy.labels.for_severity(severity)}")
        for severity in found[:1]
    ]


def _grade_from_matrix(report: IncidentReport, policy: Policy) -> list[tuple[Severity, str]]:
    if report.impact is None or report.urgency is None:
        return []
    severity = policy.matrix[report.urgency][report.impact]
    reason = (
        f"{report.impact.value} impact and {report.urgency.value} urgency make {severity.inline_name(policy.scale)}"
    )
    return [(severity, reason)]


def _grades_from_floors(report: IncidentReport, policy: Policy) -> list[tuple[Severity, str]]:
    return [
        (floor.at_least, f"{floor.because} is at least {floor.at_least.inline_name(policy.scale)}")
        for floor in policy.floors
        if (floor.kind is None or floor.kind is report.kind)
        and (floor.impact is None or floor.impact is report.impact)
        and (floor.personal_data is None or floor.personal_data is report.personal_data)
        and (floor.service is None or floor.service in affected_services(policy, report))
        and (floor.kind, floor.impact, floor.personal_data, floor.service) != (None, None, None, None)
    ]
