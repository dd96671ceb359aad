"""`muster reconcile`: compare with GitHub now, and print what was found and repaired."""

from __future__ import annotations

import json
import sys

from app.text import make_visible
from app.worker.sync.reconciler import Reconciler, ReconcileReport

_MAX_LINE_CHARACTERS = 400


def run_reconcile(reconciler: Reconciler, repo: str, *, deep: bool, as_json: bool) -> int:
    """Run a reconciliation; return 1 if a repository could not be compared, else 0.

    Progress goes to stderr, the result to stdout.  Raises DeliveryFailed.
    """
    report = reconciler.run_now(_print_progress, repo=repo, deep=deep)
    if as_json:
        print(json.dumps(report.to_json(), default=str, indent=2))
    else:
        for line in format_report(report):
            print(make_visible(line, _MAX_LINE_CHARACTERS))
    return 1 if report.failures else 0


def _print_progress(line: str) -> None:
    print(f"  {make_visible(line, _MAX_LINE_CHARACTERS)}", file=sys.stderr, flush=True)


def format_report(report: ReconcileReport) -> list[str]:
    """Return the report as lines of text."""
    scan, issues, drift = report.deliveries, report.issues, report.drift
    found = []
    if report.absent_since is not None:
        found.append(f"Nothing was compared since {report.absent_since:%Y-%m-%d %H:%M} UTC.")
    if report.repositories:
        found.append(
            f"Issues: {issues.listed} updated in {_pluralize(report.repositories, 'repository', 'repositories')},"
            f" {issues.looked} looked into: {_pluralize(issues.opened, 'incident')} and"
            f" {_pluralize(issues.events, 'event')} had been missed."
        )
    missing = f"{scan.missed} of them missing, {scan.fetched} fetched" if scan.missed else "none of them missing"
    found.append(f"Deliveries: {scan.listed} listed, {missing}.")
    if scan.fetched:
        found.append("A running `muster serve` or `muster worker` takes them in.")
    if scan.expired:
        found.append(f"GitHub has forgotten {scan.expired} of them.")
    if scan.in_transit:
        found.append(
            f"{_pluralize(scan.in_transit, 'delivery', 'deliveries')} of the last seconds may still come in:"
            " left for now."
        )
    found.append(
        f"Open incidents: {drift.open}, {drift.in_full} compared in full,"
        f" {_pluralize(len(drift.differences), 'difference')} set right."
    )
    found += [f"  {one.repo}#{one.number}: {one.kind}" for one in drift.differences]
    found += [f"Not compared: {failure}" for failure in report.failures]
    return found


def _pluralize(count: int, singular: str, plural: str = "") -> str:
    return f"{count} {singular if count == 1 else plural or singular + 's'}"
