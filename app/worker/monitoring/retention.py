"""Delete processed deliveries after the retention period in each repository's policy, as last read."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.policy import Duration, Retention
from app.policy_file import PolicyFaults, read_policy
from app.store import retention
from app.worker.context import WorkerContext
from app.worker.monitoring.erasure import erase_deleted_issues

MIN_RETENTION_PERIOD = timedelta(days=7)
"""Deliveries are kept at least this long, whatever a policy says.

So none is processed twice (reliability, row 3).
"""

_DEFAULT_RETENTION = Retention().deliveries


def delete_expired_deliveries(ctx: WorkerContext, now: datetime, max_rows: int = 500) -> bool:
    """Delete deliveries older than their retention, at most `max_rows` for each period; return True if none is left.

    Before that, everything stored of issues that were deleted on GitHub is erased when its time has come.
    """
    all_erased = erase_deleted_issues(ctx, now)
    with ctx.database.transaction() as db:
        policy_files = retention.load_retention_policies(db)
    repos_by_retention: dict[Duration | None, list[int]] = defaultdict(list)
    for repo_id, (text, base) in policy_files.items():
        repos_by_retention[_read_retention(text, base)].append(repo_id)
    completed = [_delete_deliveries(ctx, now, length, repos, max_rows) for length, repos in repos_by_retention.items()]
    completed.append(
        _delete_deliveries(ctx, now, _DEFAULT_RETENTION, list(policy_files), max_rows, other_repositories=True)
    )
    return all(completed) and all_erased


def _delete_deliveries(
    ctx: WorkerContext,
    now: datetime,
    period: Duration | None,
    repos: list[int],
    max_rows: int,
    *,
    other_repositories: bool = False,
) -> bool:
    if period is None:
        return True
    before = now - max(period.as_timedelta, MIN_RETENTION_PERIOD)
    with ctx.database.transaction() as db:
        return retention.delete_old_deliveries(db, before, repos, others=other_repositories, limit=max_rows) < max_rows


@lru_cache(maxsize=256)
def _read_retention(text: str | None, base: str | None) -> Duration | None:
    """Return how long a policy keeps deliveries; None: for ever.

    Also None for a policy that cannot be read any more, since it may have specified "for ever".
    """
    try:
        own, organisation = (base or "", None) if text is None else (text, base)
        policy = read_policy(own, org=organisation, accept_former_names=True)
    except PolicyFaults:
        return None
    return policy.retention.deliveries
