"""Warnings shown on an incident's board."""

from __future__ import annotations

from datetime import datetime

from app.ports import IncidentKey
from app.render.markdown.phrases import comment_limit_warning
from app.store import audit, comment_log, failed_processing, outbox
from app.worker.context import WorkerContext

OVERDUE_FINDING = "overdue"
"""Name of the audit finding about overdue alarms."""
_MAX_REFUSALS = 3
"""How many different refusals of GitHub a board shows."""


def list_warnings(
    ctx: WorkerContext, incident_key: IncidentKey, now: datetime, *, notices_deferred: bool
) -> tuple[str, ...]:
    """List the warnings for the readers of the issue, a sentence each.

    `notices_deferred`: notices wait because the report is unconfirmed.
    """
    with ctx.database.autocommit() as db:
        throttled_until = comment_log.limited_until(db, incident_key, now)
        dead_count = audit.count_dead_items(db, incident_key)
        findings = audit.list_finding_names(db, incident_key)
        refusals = outbox.list_refusals(db, incident_key)
        failure = failed_processing.load_failure(db, incident_key)
    warnings = _format_warnings(
        throttled_until, dead_count, alarm_late=OVERDUE_FINDING in findings, notices_deferred=notices_deferred
    )
    if failure is not None and failure.is_set_aside:
        warnings.append(
            "Muster failed with what happened here and tries again from time to time, so this board may be behind."
            " Whoever runs Muster has been told."
        )
    return (*warnings, *_format_refusals(refusals))


def _format_refusals(refusals: list[str]) -> list[str]:
    if not refusals:
        return []
    shown = [f"GitHub refuses a part of our work here. {refusal}" for refusal in refusals[:_MAX_REFUSALS]]
    return [*shown[:-1], f"{shown[-1]} It is tried again by itself, and at once on /retry."]


def _format_warnings(
    throttled_until: datetime | None, dead_count: int, *, alarm_late: bool, notices_deferred: bool
) -> list[str]:
    warnings = []
    if throttled_until is not None:
        warnings.append(comment_limit_warning(throttled_until))
    if notices_deferred:
        warnings.append(
            "Nobody is paged for this yet: there are several reports like it. Somebody with rights here can confirm it"
            " with /ack or /severity."
        )
    if dead_count:
        warnings.append(
            f"{dead_count} of our messages could not be delivered here; /retry tries them again. Whoever runs Muster "
            "finds them with: muster outbox list"
        )
    if alarm_late:
        warnings.append("An alarm of this incident was late. Whoever runs Muster has been told.")
    return warnings
