"""Warnings shown on an incident's board."""

from __future__ import annotations

from datetime import datetime

from app.ports import IncidentKey
from app.render.markdown.phrases import comment_limit_warning
from app.store import audit, comment_log
from app.worker.context import WorkerContext

OVERDUE_FINDING = "overdue"
"""Name of the audit finding about overdue alarms."""


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
    return tuple(
        _format_warnings(
            throttled_until, dead_count, alarm_late=OVERDUE_FINDING in findings, notices_deferred=notices_deferred
        )
    )


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
            f"{dead_count} of our messages could not be delivered here. Whoever runs Muster finds them with: "
            "muster outbox list"
        )
    if alarm_late:
        warnings.append("An alarm of this incident was late. Whoever runs Muster has been told.")
    return warnings
