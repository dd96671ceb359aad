"""Delete processed deliveries after the retention period in each repository's policy, as last read."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from functools import lru_cache

from app.core.policy import Duration, Retention
from app.policy_file import PolicyFaults, read_policy
from app.store import retention
from app.worker.context import Desk

MIN_RETENTION_PERIOD = timedelta(days=7)
"""Deliveries are kept at least this long, whatever a policy says, so that none is processed twice (reliability, row
3).
"""

_DEFAULT_RETENTION = Retention().deliveries


def delete_expired_deliveries(desk: Desk, now: datetime, most: int = 500) -> bool:
    """Delete deliveries older than their retention, at most `max_rows` for each period; return True if none is left."""
    with desk.database.transaction() as db:
        files = retention.load_retention_policies(db)
    lengths: dict[Duration | None, list[int]] = defaultdict(list)
    for repo_id, (text, base) in files.items():
        lengths[_read_retention(text, base)].append(repo_id)
    done = [_delete_deliveries(desk, now, length, repos, most) for length, repos in lengths.items()]
    done.append(_delete_deliveries(desk, now, _DEFAULT_RETENTION, list(files), most, others=True))
    return all(done)


def _delete_deliveries(
    desk: Desk, now: datetime, length: Duration | None, repos: list[int], most: int, *, others: bool = False
) -> bool:
    if length is None:
        return True
    before = now - max(length.as_timedelta, MIN_RETENTION_PERIOD)
    with desk.database.transaction() as db:
        return retention.delete_old_deliveries(db, before, repos, others=others, most=most) < most


@lru_cache(maxsize=256)
def _read_retention(text: str | None, base: str | None) -> Duration | None:
    """Return how long a policy keeps deliveries; None: for ever.

    Also None for a policy that cannot be read any more, since it may have specified "for ever".
    """
    try:
        policy = read_policy(base or "") if text is None else read_policy(text, org=base)
    except PolicyFaults:
        return None
    return policy.retention.deliveries
