"""Generate the page docs/reliability.md from the recorded results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tools.reliability.cases import render_cases
from tools.reliability.requirements import REQUIREMENTS
from tools.reliability.results import EMBEDDED_RESULTS, NOT_RUN, ROOT, SERVER_RESULTS

PAGE = ROOT / "docs" / "reliability.md"
"""The page that is generated."""

HEAD = """\
# Reliability

An incident desk must be the last thing to fail. What Muster promises, how each promise is tested, and the figure that
was reached. The tests run on the real database and against the sandbox GitHub over real HTTP; where a process dies, a
real process is killed.

| Promise | How it is kept | Checks |
|---|---|---|
| A delivery that was answered with 202 is never lost | stored and committed before the answer | A8, B1 to B3, F2, F3 |
| Nothing is posted twice | [keys, markers, and a look before each retry](adr/0004-outbox.md) | B1 to B5, B7, B9 |
| A process that was suspended does no harm | [leases with fencing tokens](adr/0004-outbox.md) | B6 |
| The order of deliveries does not matter | [one replay of the log](adr/0003-github-source-of-truth.md) | B1, E1 |
| GitHub's limits are kept, not met | [one rate limiter an installation](adr/0010-rate-limiter.md) | C3, C4 |
| People are paged while GitHub is down | [channels independent of GitHub](adr/0011-channels.md) | C1, C2 |
| Missed deliveries are found | [reconciliation with two lists of GitHub's](adr/0012-reconciliation.md) | E2 to E4 |
| A flood of notices becomes few comments | a comment limit of our own, far below GitHub's limits | C5 |
| Muster says when something is wrong with itself | [an audit every minute](adr/0013-audit-and-limits.md) | G1 to G3 |
| What was committed survives a loss of power | every commit waits for the disk | F2, F3 |
| An upgrade loses nothing, a backup is one moment, a database can move | \
each step of the schema is one transaction; [backup](backup.md) | F4, F5, row 14 |

`make test` runs each check at a quick size, `make soak` at its full size. Below is the result of each check's last run;
`quick` beside a date means that not all of its tests have a larger size, or were run at it. *Embedded* is the
PostgreSQL 18 that comes with Muster; where another one is named, it was a server of the machine's own over TCP, as
`DATABASE_URL` names one. `make soak ARGS=--server` runs on such a server whatever else runs on the embedded one; that
is the last table. Every night [a workflow](../.github/workflows/nightly.yml) runs both, and lets B9 live 20,000 times.
"""
"""The text before the tables."""
_AS_ASKED, _NOTHING = "as asked, exactly", "–"
"""What a check without measurements reached: all of it, or nothing that is known."""


def render_page() -> str:
    """Render the page from the recorded results."""
    return "".join(
        [
            HEAD,
            *render_cases(),
            "\n",
            *_embedded_tables(EMBEDDED_RESULTS.load_lines()),
            *superseded_results(EMBEDDED_RESULTS.load_lines()),
            *_server_table(SERVER_RESULTS.load_lines()),
        ]
    )


def _embedded_tables(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    yield describe_run(lines, "What follows")
    for part, checks in REQUIREMENTS.items():
        yield f"\n## {part}\n\n| Check | Asked | Tests | When |\n|---|---|---|---|\n"
        results = {check: _result_cells(check, lines) for check in checks}
        for check, asked in checks.items():
            yield _table_row(check, asked, *results[check][1:])
        yield from _details("What was measured", {check: reached for check, (reached, *_) in results.items()})


def _details(title: str, measured: Mapping[str, str]) -> Iterable[str]:
    """Yield folded lines of what each check reached, where it is more than what was asked."""
    told = {check: text for check, text in measured.items() if text not in (_AS_ASKED, _NOTHING)}
    if told:
        yield f"\n<details><summary>{title}</summary>\n\n"
        for check, text in told.items():
            yield f"- **{check}**\n" + "".join(f"  - {line}\n" for line in text.split("<br>"))
        yield "\n</details>\n"


def superseded_results(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield the table of first results of the checks that were measured again.

    They are shown so that the better figure is not the only one.
    """
    first_results = [line["once"] for line in lines if "once" in line]
    if not first_results:
        return
    yield (
        "\n## Measured again\n\nWhat the checks that were measured again had given at first, "
        "in place of what is above.\n\n"
    )
    yield from _folded_table(first_results)


def _server_table(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield the table of the checks that have tests on a server.

    The others need no database, or concern the embedded one, or run on both in the tables above.
    """
    covered = {check for line in lines for check in line.get("checks", ())}
    if not covered:
        return
    yield f"\n## On a server\n\n{describe_run(lines, 'This table')}\n"
    yield from _folded_table(lines)


def _folded_table(lines: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Yield a line for each check that has results here, with what was measured folded."""
    covered = {check for line in lines for check in line.get("checks", ())}
    checks = [check for checks in REQUIREMENTS.values() for check in checks if check in covered]
    results = {check: _result_cells(check, lines) for check in checks}
    yield "| Check | Tests | When |\n|---|---|---|\n"
    yield from (_table_row(check, *results[check][1:]) for check in checks)
    yield from _details("What was measured", {check: results[check][0] for check in checks})


def describe_run(lines: Sequence[Mapping[str, Any]], subject: str) -> str:
    """Say whether all results are from one run, from which, and what was measured again afterwards."""
    tests = [line for line in lines if "outcome" in line]
    runs = {line["run"]: line for line in lines if "run" in line}
    runs_of_tests = [runs.get(line.get("of", "")) for line in tests]
    run = max(
        (one for one in runs_of_tests if one is not None and one["all"]), key=lambda one: one["began"], default=None
    )
    if run is None or any(one is None or one["began"] < run["began"] for one in runs_of_tests):
        dates = sorted({line["at"] for line in tests}) or ["never"]
        since = dates[0] if len(dates) == 1 else f"from {dates[0]} to {dates[-1]}"
        return f"{subject} is **not from one run**: its parts were measured one by one, {since}.\n"
    missing = [line["test"].rpartition("::")[2] for line in tests if line["outcome"] == NOT_RUN]
    left_out = f"{len(missing)} did not fit in and were not run: `{'`, `'.join(missing)}`." if missing else ""
    rest = " ".join(filter(None, (left_out, _describe_reruns(tests, runs, run)))) or "None was left out."
    return (
        f"{subject} is **from one run** of all {run['tests']} tests, at {run['size']} size, on {run['cores']} cores"
        f"{', by ' + run['on'] if run.get('on') else ''}: {run['began']}, {run['seconds'] / 60:.0f} minutes. {rest}\n"
    )


def _describe_reruns(tests: Sequence[Mapping[str, Any]], runs: Mapping[str, Any], run: Mapping[str, Any]) -> str:
    """Say which checks were measured again after that run, and when."""
    when = {check: runs[line["of"]]["began"] for line in tests if line["of"] != run["run"] for check in line["checks"]}
    reruns = ", ".join(f"{check} ({began})" for check, began in sorted(when.items()))
    pointer = "What that run had given for them is [further down](#measured-again)."
    return f"Measured again, each by itself: {reruns}. {pointer}" if reruns else ""


def _table_row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |\n"


def _result_cells(check: str, lines: Iterable[Mapping[str, Any]]) -> tuple[str, str, str]:
    """Return what a check reached, how its tests ended, and when."""
    lines = list(lines)
    reached = [
        f"{one['size']}: {one['measured']}" for one in lines if "measured" in one and check in one["check"].split(", ")
    ]
    tests_of_check = [one for one in lines if check in one.get("checks", ())]
    outcomes = Counter(one["outcome"] for one in tests_of_check)
    tests = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items())) or NOT_RUN
    size = "" if all(one["full"] for one in tests_of_check) else " (quick)"
    when = max((one["at"] for one in tests_of_check), default="–") + size
    return "<br>".join(reached) or (_AS_ASKED if set(outcomes) == {"passed"} else _NOTHING), tests, when


def unproven_checks(lines: Iterable[Mapping[str, Any]], checks: Iterable[str]) -> list[str]:
    """Return the checks without a passed test, or with one that failed or was not run."""
    outcomes: dict[str, set[str]] = {}
    for line in lines:
        for check in line.get("checks", ()):
            outcomes.setdefault(check, set()).add(line["outcome"])
    return [
        check for check in checks if "passed" not in outcomes.get(check, ()) or outcomes[check] & {"failed", NOT_RUN}
    ]
