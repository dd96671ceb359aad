"""Audit Muster's own health every minute, and send a heartbeat only if the audit finds nothing.

The audit computes the current problems, stores the difference and alerts once on each new one.  So twenty dead letters
are one alarm, and an alarm ends by itself when its cause is gone.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta

import psycopg
import structlog
from prometheus_client import Counter, Gauge

from app.core.clocks import alarms
from app.core.effects import ShowBoard
from app.core.incident import Incident
from app.core.policy import Policy
from app.ports import DeliveryFailed, IncidentKey
from app.rate_limit import APP
from app.safe_http import SafeHttpClient
from app.store import (
    audit,
    comment_log,
    failed_processing,
    incidents,
    outbox,
    policies,
    rate_limits,
    sync_state,
)
from app.store.audit import AuditFinding, HealthFigures
from app.store.failed_processing import MAX_FAILURES_IN_A_ROW, ProcessingFailure
from app.worker.context import WorkerContext
from app.worker.monitoring.gauges import OLDEST_ALARM
from app.worker.monitoring.rate_limit_metrics import update_rate_limit_gauges
from app.worker.pipeline.board_warnings import OVERDUE_FINDING

log = structlog.get_logger()

WORKER_SILENCE_TIMEOUT = timedelta(seconds=20)
"""Silence after which no worker counts as running: each sends a heartbeat every three seconds (G1)."""
STALLED_AGE = timedelta(minutes=5)
"""Age after which a waiting delivery or job counts as not being processed."""
OVERDUE_ALARM_AGE = timedelta(seconds=60)
"""Time after its due time at which an alarm should have fired (G3)."""
MIN_BUDGET_FRACTION = 0.2
"""The part of GitHub's hourly rate limit that is reserved for urgent calls, from 0 to 1."""

_MAX_BOARDS = 20
"""At most this many boards show a finding, so that one about many incidents does not write to all of them."""

DATABASE_UP = Gauge("muster_database_up", "1 while the database answers")
WORKER_SILENCE_SECONDS = Gauge(
    "muster_worker_silence_seconds", "Seconds since the last worker heartbeat; -1: none is known"
)
OLDEST_UNPROCESSED_SECONDS = Gauge(
    "muster_oldest_unprocessed_seconds", "How long the oldest delivery has been waiting for processing"
)
INBOX_DEAD = Gauge("muster_inbox_dead", "Deliveries that could not be parsed and wait for a person")
DEAD_LETTERS = Gauge("muster_dead_letters", "Outbox items that were refused for good and wait for a person")
OVERDUE_ALARMS = Gauge("muster_overdue_alarms", "Alarms that are due and have not fired")
COMMENT_LIMIT_ACTIVE = Gauge("muster_comment_limit_active", "Issues that have reached the comment limit")
AUDIT_FAILING = Gauge("muster_audit_failing", "1 while the audit reports this finding", ["name"])
AUDIT_ALARMS = Counter("muster_audit_alarms", "How often the audit began to report this finding", ["name"])
AUDIT_TIMESTAMP_SECONDS = Gauge("muster_audit_timestamp_seconds", "Time of the last audit, in seconds since 1970")
HEARTBEATS = Counter("muster_heartbeats", "Heartbeats that were sent, withheld or failed", ["outcome"])

FINDING_NAMES = (
    *("workers", "inbox", "lost-reports", OVERDUE_FINDING, "stuck", "set-aside", "policy", "refused", "dead-letters"),
    *("breaker", "drift", "budget"),
)
"""The names of all findings that the audit may report."""


def readiness_problems(ctx: WorkerContext) -> list[str]:
    """Return the reasons why work is not being done, one sentence each; empty: all is well.

    Raises psycopg.Error.
    """
    now = ctx.clock()
    with ctx.database.transaction() as db:
        figures = audit.load_health_figures(db, now)
        schema_newer = audit.is_schema_newer(db)
        budgets = rate_limits.load_remaining_fractions(db, now)
        stuck_jobs = audit.list_stuck_jobs(db, now - STALLED_AGE)
        failures = failed_processing.list_failures(db)
        failing_policies = policies.count_failures(db)
    reasons = [
        finding.message
        for finding in (
            *_worker_findings(figures),
            *_inbox_findings(figures),
            *_budget_findings(budgets),
            *_stuck_findings(stuck_jobs),
            *_failure_findings(failures, failing_policies),
        )
    ]
    if figures.max_alarm_delay > OVERDUE_ALARM_AGE:
        reasons.append(f"an alarm is {_format_duration(figures.max_alarm_delay)} late")
    if schema_newer:
        reasons.append("the schema is newer than this code: upgrade it")
    return reasons


def update_gauges(ctx: WorkerContext) -> None:
    """Update the gauges when metrics are requested, so that they are right even if no worker is running."""
    now = ctx.clock()
    try:
        with ctx.database.transaction() as db:
            figures, findings = audit.load_health_figures(db, now), audit.load_findings(db)
        update_rate_limit_gauges(ctx, now)
    except psycopg.Error:
        DATABASE_UP.set(0)
        return
    DATABASE_UP.set(1)
    WORKER_SILENCE_SECONDS.set(-1 if figures.worker_silence is None else figures.worker_silence.total_seconds())
    OLDEST_UNPROCESSED_SECONDS.set(figures.oldest_unprocessed.total_seconds())
    INBOX_DEAD.set(figures.dead_deliveries)
    DEAD_LETTERS.set(figures.dead_items)
    OVERDUE_ALARMS.set(figures.overdue_alarms)
    OLDEST_ALARM.set(figures.max_alarm_delay.total_seconds())
    COMMENT_LIMIT_ACTIVE.set(figures.limited_issues)
    for name in {*FINDING_NAMES, *findings}:
        AUDIT_FAILING.labels(name).set(name in findings)


def run_audit(ctx: WorkerContext) -> list[AuditFinding]:
    """Return the current findings, after storing them, alerting on new ones and updating the boards concerned.

    Due alarms are computed from each incident, not read from the stored alarms alone: a stored alarm may be lost.
    """
    now = ctx.clock()
    found = {finding.name: finding for finding in _collect_findings(ctx, now)}
    with ctx.database.transaction() as db:
        new, resolved = audit.sync_findings(db, found, now)
        for finding in (*new, *resolved):
            if finding.name == OVERDUE_FINDING:
                for incident_key in finding.incident_keys[:_MAX_BOARDS]:
                    outbox.add_effects(db, incident_key, (ShowBoard(),), now)
    for finding in new:
        AUDIT_ALARMS.labels(finding.name).inc()
        log.error(
            "alarm",
            name=finding.name,
            reason=finding.message,
            about=[str(incident_key) for incident_key in finding.incident_keys[:20]],
        )
    for finding in resolved:
        log.info("alarm over", name=finding.name)
    AUDIT_TIMESTAMP_SECONDS.set(now.timestamp())
    return list(found.values())


class AuditLoop:
    """Runs the audit at an interval and sends the heartbeat.

    `enqueue` schedules the incidents that are late.  `heartbeat_url` empty: no heartbeat is sent.
    """

    def __init__(
        self,
        ctx: WorkerContext,
        *,
        enqueue: Callable[[Iterable[IncidentKey]], None] = lambda _: None,
        heartbeat_url: str = "",
        http_client: SafeHttpClient | None = None,
        interval_seconds: float = 60.0,
    ) -> None:
        self._ctx = ctx
        self._enqueue = enqueue
        self._heartbeat_url = heartbeat_url
        self._http_client = (http_client or SafeHttpClient()).for_operator()
        self._interval_seconds = interval_seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="self-audit", daemon=True)

    def start(self) -> AuditLoop:
        """Start the audit in a background thread."""
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop the audit, waiting at most 5 seconds for a running one."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)

    def run_once(self) -> bool:
        """Run one audit, and send the heartbeat if it found nothing; return True if it was sent."""
        found = run_audit(self._ctx)
        self._enqueue(
            incident_key
            for finding in found
            if finding.name == OVERDUE_FINDING
            for incident_key in finding.incident_keys
        )
        if found:
            HEARTBEATS.labels("withheld").inc()
            return False
        if not self._heartbeat_url:
            return False
        try:
            self._http_client.post(self._heartbeat_url, b"")
        except DeliveryFailed as failed:
            HEARTBEATS.labels("failed").inc()
            log.warning("heartbeat failed", reason=str(failed))
            return False
        HEARTBEATS.labels("sent").inc()
        return True

    def _run(self) -> None:
        """Run the audit until stopped, first after one interval.

        Not at once, because overdue work after a pause is still being caught up with.
        """
        while not self._stop.wait(self._interval_seconds):
            try:
                self.run_once()
            except Exception:
                log.exception("audit failed")


def _collect_findings(ctx: WorkerContext, now: datetime) -> Iterable[AuditFinding]:
    with ctx.database.transaction() as db:
        figures, stuck_jobs = audit.load_health_figures(db, now), audit.list_stuck_jobs(db, now - STALLED_AGE)
        dead_incident_keys = audit.list_dead_incident_keys(db)
        limited_incident_keys = comment_log.list_limited_incident_keys(db, now)
        budgets = rate_limits.load_remaining_fractions(db, now)
        drift_checkpoint = sync_state.load_checkpoints(db).get("drift")
        failures, failing_policies = failed_processing.list_failures(db), policies.count_failures(db)
        refused_incident_keys = outbox.list_refused_incident_keys(db)
    yield from _worker_findings(figures)
    yield from _inbox_findings(figures)
    yield from _stuck_findings(stuck_jobs)
    yield from _failure_findings(failures, failing_policies)
    if refused_incident_keys:
        yield AuditFinding(
            "refused",
            f"GitHub refuses a part of the work on {_pluralize(len(refused_incident_keys), 'issue')}: see the boards",
            tuple(refused_incident_keys),
        )
    if overdue_incident_keys := list(_list_overdue_incidents(ctx, now)):
        yield AuditFinding(
            OVERDUE_FINDING,
            f"{_pluralize(len(overdue_incident_keys), 'incident')} should have rung a minute ago or more",
            tuple(overdue_incident_keys),
        )
    if dead_incident_keys:
        yield AuditFinding(
            "dead-letters",
            f"{_pluralize(len(dead_incident_keys), 'order')} refused for good: muster outbox list",
            _deduplicate(dead_incident_keys),
        )
    if limited_incident_keys:
        yield AuditFinding(
            "breaker",
            f"comments are held back on {_pluralize(len(limited_incident_keys), 'issue')}",
            tuple(limited_incident_keys),
        )
    if drift_checkpoint is not None and drift_checkpoint.incident_keys:
        subject = (
            "1 incident was"
            if len(drift_checkpoint.incident_keys) == 1
            else f"{len(drift_checkpoint.incident_keys)} incidents were"
        )
        yield AuditFinding(
            "drift",
            f"{subject} not what GitHub shows, and set right: something was lost",
            drift_checkpoint.incident_keys,
        )
    yield from _budget_findings(budgets)


def _worker_findings(figures: HealthFigures) -> Iterable[AuditFinding]:
    if figures.worker_silence is None or figures.worker_silence > WORKER_SILENCE_TIMEOUT:
        yield AuditFinding("workers", f"no worker has been heard for {_format_duration(WORKER_SILENCE_TIMEOUT)}")


def _inbox_findings(figures: HealthFigures) -> Iterable[AuditFinding]:
    if figures.lost_reports:
        yield AuditFinding(
            "lost-reports",
            f"{_pluralize(figures.lost_reports, 'delivery', 'deliveries')} could not be processed by the rules:"
            " muster inbox list",
        )
    if figures.oldest_unprocessed > STALLED_AGE:
        yield AuditFinding("inbox", f"a delivery has been waiting for {_format_duration(figures.oldest_unprocessed)}")


def _stuck_findings(stuck_jobs: Sequence[int]) -> Iterable[AuditFinding]:
    if stuck_jobs:
        count = _pluralize(len(stuck_jobs), "wake-up")
        yield AuditFinding("stuck", f"{count} waiting or running for more than {_format_duration(STALLED_AGE)}")


def _failure_findings(failures: Iterable[ProcessingFailure], failing_policies: int) -> Iterable[AuditFinding]:
    set_aside = [failure for failure in failures if failure.is_set_aside]
    if set_aside:
        yield AuditFinding(
            "set-aside",
            f"{_pluralize(len(set_aside), 'incident')} set aside after {MAX_FAILURES_IN_A_ROW} failures or more,"
            f" the last one with: {set_aside[-1].reason}",
            tuple(failure.incident_key for failure in set_aside),
        )
    if failing_policies:
        yield AuditFinding(
            "policy",
            f"the rules fail under the policy of {_pluralize(failing_policies, 'repository', 'repositories')},"
            " so the one before it applies there",
        )


def _budget_findings(budgets: Mapping[int, float]) -> Iterable[AuditFinding]:
    low = [installation for installation, part in budgets.items() if part < MIN_BUDGET_FRACTION]
    if not low:
        return
    installation_count = len(low) - (APP in low)
    owners = " and ".join(
        ["the App itself"] * (APP in low) + [_pluralize(installation_count, "installation")] * bool(installation_count)
    )
    yield AuditFinding(
        "budget",
        f"less than {MIN_BUDGET_FRACTION:.0%} of GitHub's budget is left for {owners}: "
        "all but sev1 may wait for its next hour",
    )


def _list_overdue_incidents(ctx: WorkerContext, now: datetime) -> Iterable[IncidentKey]:
    """Yield the incidents with an alarm that should have fired a minute ago, whether it is stored or not."""
    policy_by_repo_id: dict[int, Policy | None] = {}
    with ctx.database.transaction() as db:
        overdue_keys = dict.fromkeys(incidents.list_due_incident_keys(db, now - OVERDUE_ALARM_AGE))
        open_incidents = list(audit.iterate_open_incidents(db))
    yield from overdue_keys
    for incident_key, incident in open_incidents:
        if incident_key in overdue_keys:
            continue
        if incident_key.repo_id not in policy_by_repo_id:
            policy_by_repo_id[incident_key.repo_id] = _load_policy(ctx, incident_key.repo_id, now)
        policy = policy_by_repo_id[incident_key.repo_id]
        if policy is not None and _has_overdue_alarm(incident_key, incident, policy, now - OVERDUE_ALARM_AGE):
            yield incident_key


def _has_overdue_alarm(incident_key: IncidentKey, incident: Incident, policy: Policy, before: datetime) -> bool:
    """Return True if an alarm was due before then; False where the rules fail, which is a finding of its own."""
    try:
        return any(alarm.due <= before for alarm in alarms(incident, policy)[:1])
    except Exception:
        log.exception("alarms of an incident could not be derived", incident=str(incident_key))
        return False


def _load_policy(ctx: WorkerContext, repo_id: int, now: datetime) -> Policy | None:
    with ctx.database.transaction() as db:
        repository = incidents.load_repository(db, repo_id)
    if repository is None:
        return None
    return ctx.policies.load(ctx.database, ctx.tracker(repository), repository, now).policy


def _deduplicate(incident_keys: Iterable[IncidentKey]) -> tuple[IncidentKey, ...]:
    return tuple(dict.fromkeys(incident_keys))


def _pluralize(number: int, noun: str, plural: str = "") -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {plural or f'{noun}s'}"


def _format_duration(duration: timedelta) -> str:
    seconds = int(duration.total_seconds())
    return f"{seconds} seconds" if seconds < 120 else f"{seconds // 60} minutes"
