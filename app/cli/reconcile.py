"""`muster reconcile`: compare with GitHub now, and print what was found and repaired."""

from __future__ import annotations

import json
import sys

from app.text import visible
from app.worker.sync.reconciler import Reconciler, Report

_MAX_LINE_CHARACTERS = 400


def reconcile(reconciler: Reconciler, repo: str, *, deep: bool, as_json: bool) -> int:
    """Run a reconciliation; return 1 if a repository could not be compared, else 0.

    Progress goes to stderr, the result to stdout.  Raises DeliveryFailed.
    """
    report = reconciler.run(_progress, repo=repo, deep=deep)
    if as_json:
        print(json.dumps(report.plain(), default=str, indent=2))
    else:
        for line in lines(report):
            print(visible(line, _MAX_LINE_CHARACTERS))
    return 1 if report.failures else 0


def _progress(line: str) -> None:
    print(f"  {visible(line, _MAX_LINE_CHARACTERS)}", file=sys.stderr, flush=True)


def lines(report: Report) -> list[str]:
    """Return the report as lines of text."""
    look, issues, drift = report.deliveries, report.issues, report.drift
    found = []
    if report.absent_since is not None:
        found.append(f"Nothing was compared since {report.absent_since:%Y-%m-%d %H:%M} UTC.")
    if report.repositories:
        found.append(
            f"Issues: {issues.listed} updated in {_many(report.repositories, 'repository', 'repositories')},"
            f" {issues.looked} looked into: {_many(issues.opened, 'incident')} and"
            f" {_many(issues.events, 'event')} had been missed."
        )
    missing = f"{look.missed} of them missing, {look.taken} fetched" if look.missed else "none of them missing"
    found.append(f"Deliveries: {look.listed} listed, {missing}.")
    if look.taken:
        found.append("A running `muster serve` or `muster worker` takes them in.")
    if look.lost:
        found.append(f"GitHub has forgotten {look.lost} of them.")
    if look.left:
        found.append(
            f"{_many(look.left, 'delivery', 'deliveries')} of the last seconds may still come in: left for now."
        )
    found.append(
        f"Open incidents: {drift.open}, {drift.in_full} compared in full,"
        f" {_many(len(drift.differences), 'difference')} set right."
    )
    found += [f"  {one.repo}#{one.number}: {one.kind}" for one in drift.differences]
    found += [f"Not compared: {failure}" for failure in report.failures]
    return found


def _many(count: int, one: str, more: str = "") -> str:
    return f"{count} {one if count == 1 else more or one + 's'}"
