"""Say why a proposed policy could not be reviewed, and what would work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from app.policy_file import POLICY_PATH
from app.text import defuse_line
from app.worker.pipeline.review_process import ReviewFailure

_TITLES = {
    ReviewFailure.TOO_SLOW: "This policy takes too long to replay",
    ReviewFailure.TOO_LARGE: "This policy needs too much memory to replay",
    ReviewFailure.BROKEN: "This policy could not be reviewed",
}
_REASONS = {
    ReviewFailure.TOO_SLOW: "took longer than a review may take, so it was ended",
    ReviewFailure.TOO_LARGE: "needed more memory than a review may have, so it was ended",
    ReviewFailure.BROKEN: "ended before it was done",
}
_MANY_PAGES_PER_HOUR = 60
"""More pages an hour than this are named as the likely cause."""
_MAX_SEVERITIES = 10


def describe_failure(failure: ReviewFailure, pages_per_hour: Mapping[str, int], repo: str) -> tuple[str, str]:
    """Return the title and the summary of the check run."""
    title = _TITLES[failure]
    busiest = sorted(pages_per_hour.items(), key=lambda item: -item[1])[:_MAX_SEVERITIES]
    many = [(defuse_line(name, 40), count) for name, count in busiest if count > _MANY_PAGES_PER_HOUR]
    if many:
        title += f": {many[0][0]} would page {many[0][1]:,} times an hour"
    reason = (
        f"Reading `{POLICY_PATH}` and playing nights and past incidents through it {_REASONS[failure]}."
        " This commit is not tried again; a new one is."
    )
    cause = f"While an incident is not acknowledged, this policy pages: {_list_counts(many)}." if many else ""
    remedy = (
        "What would work: fewer steps that repeat, or a longer `repeat:`, so that one incident pages at most"
        f" {_MANY_PAGES_PER_HOUR} times an hour; fewer `overrides`, `rotations` and steps in all."
    )
    elsewhere = (
        "A maintainer can see what it would do without these limits, on a machine of their own:"
        f" `muster policy replay {POLICY_PATH} --repo {repo} --since 90d`."
    )
    return title, "\n\n".join(filter(None, (reason, cause, remedy, elsewhere)))


def _list_counts(pages: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{name} {count:,} times an hour" for name, count in pages)
