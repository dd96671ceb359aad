"""Render the review of a proposed policy for the check on its pull request.

It shows the changes, a simulated night and a backtest on past incidents.  Everything that comes from the two files and
from past incidents is untrusted text, and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from app.core.backtest import Backtest, IncidentDiff
from app.core.calendar import wall_to_utc
from app.core.policy import Policy
from app.core.policy_diff import PolicyChange, diff_policies
from app.core.severity import Severity
from app.core.simulate import Row, Scenario, format_offset, simulate
from app.render.markdown.markup import (
    Markdown,
    code_span,
    escape,
    format_logins,
    join,
    join_limited,
    markdown,
    with_footer,
)
from app.render.simulation_rows import collapse_pages
from app.render.time_format import pluralize
from app.text import defuse_line

_MAX_TITLE_CHARS = 240
_MAX_CHANGES = 60
_MAX_NIGHT_ROWS = 24
_MAX_INCIDENTS = 20
_MAX_DIFFERENCES = 6
_MAX_FAULTS = 50
_NIGHT_PERIOD = timedelta(hours=8)
_SATURDAY_WEEKDAY = 5


@dataclass(frozen=True, slots=True)
class PolicyReview:
    """A rendered review.

    `title` is one line of plain text that states the consequence; `summary` is Markdown that fits into a check run.
    """

    title: str
    summary: str


class PolicyFaultLike(Protocol):
    """A fault of a policy file, as its reader reports it."""

    @property
    def line(self) -> int:
        """Line of the file, from 1."""

    @property
    def column(self) -> int:
        """Column of the line, from 1."""

    @property
    def where(self) -> str:
        """Path of the key, such as `severities.sev1.respond`."""

    @property
    def found(self) -> str:
        """What is wrong with what stands there."""

    @property
    def wanted(self) -> str:
        """What would have worked."""


def review_policy(old: Policy, new: Policy, backtest: Backtest | None, now: datetime) -> PolicyReview:
    """Review the replacement of policy `old` by `new`.

    `backtest` holds the effect on past incidents; None: they were not tried on purpose, which the caller explains.
    """
    policy_changes = diff_policies(old, new)
    if not policy_changes:
        return PolicyReview("Nothing moves: the policy stays what it is", markdown("Both files mean the same."))
    body = join(
        [
            *_changes_section(policy_changes, new),
            *_night_sections(old, new, _next_saturday_night(new, now)),
            *(_past_incidents_section(backtest) if backtest is not None else ()),
        ],
        "\n\n",
    )
    return PolicyReview(_title(policy_changes, backtest, new), with_footer(body, ""))


def review_faulty_policy(faults: Sequence[PolicyFaultLike]) -> PolicyReview:
    """Review a policy file that has faults; there is at least one."""
    rows = [
        markdown(
            "- line {}, column {}: **{}**: {}, {}",
            each.line,
            each.column,
            escape(each.where, 120),
            escape(each.found, 200),
            escape(each.wanted, 200),
        )
        for each in faults[:_MAX_FAULTS]
    ]
    more = [markdown("- and {} more", len(faults) - _MAX_FAULTS)] if len(faults) > _MAX_FAULTS else []
    first = faults[0]
    title = (
        f"The file cannot be obeyed, {pluralize(len(faults), 'fault')}: line {first.line}: {first.where}: {first.found}"
    )
    head = markdown("Merged as it is, this file would not take effect: the last good one stays in force. To mend:")
    return PolicyReview(
        defuse_line(title, _MAX_TITLE_CHARS), with_footer(join([head, join([*rows, *more], "\n")], "\n\n"), "")
    )


def describe_change(change: PolicyChange, policy: Policy) -> str:
    """Describe a change in one line: `sev1: it-manager hears after 20m instead of 30m`."""
    if not change.is_step:
        return f"{change.severity.inline_name(policy.scale)}: {change}" if change.severity else str(change)
    who = change.what.removeprefix("page ")
    is_page = change.what.startswith("page ")
    verb = "is asked" if change.what.startswith("do: ") else "is paged" if is_page else "hears"
    if change.now is None:
        sentence = f"{who} {verb} no more"
    else:
        sentence = f"{who} {verb} {_delay_phrase(change.now)}" + (f" instead of {change.was}" if change.was else "")
    return f"{change.severity.inline_name(policy.scale)}: {sentence}" if change.severity else sentence


def _delay_phrase(when: str) -> str:
    return when if when.startswith("at once") else f"after {when}"


def _title(policy_changes: Sequence[PolicyChange], backtest: Backtest | None, new: Policy) -> str:
    """Build the title from the most important change: notifications first, then targets, then the rest."""
    first = min(policy_changes, key=lambda move: (move.severity is None, not move.is_step, move.severity or 0))
    more = f" and {pluralize(len(policy_changes) - 1, 'more move')}" if len(policy_changes) > 1 else ""
    past = f"; {backtest.summary}" if backtest is not None and backtest.incident_count else ""
    return defuse_line(f"{describe_change(first, new)}{more}{past}", _MAX_TITLE_CHARS)


def _changes_section(policy_changes: Sequence[PolicyChange], new: Policy) -> Iterator[Markdown]:
    yield markdown("### What moves")
    rows = [
        markdown(
            "| {} | {} | {} | {} |",
            move.severity.inline_name(new.scale) if move.severity else markdown(""),
            escape(move.what, 120),
            _cell(move.was),
            _cell(move.now),
        )
        for move in policy_changes[:_MAX_CHANGES]
    ]
    head = [markdown("| severity | what | was | now |"), markdown("|:---|:---|:---|:---|")]
    yield join([*head, *rows], "\n")
    if len(policy_changes) > _MAX_CHANGES:
        yield markdown("and {} more", len(policy_changes) - _MAX_CHANGES)


def _cell(text: str | None) -> Markdown:
    return markdown("–") if text is None else escape(text, 140)


def _night_sections(old: Policy, new: Policy, at: datetime) -> Iterator[Markdown]:
    local = at.astimezone(ZoneInfo(new.zone))
    yield markdown(
        "### A night: declared on Saturday, {}, and nobody answers", f"{local:%Y-%m-%d %H:%M} {local.tzname()}"
    )
    for severity in Severity:
        scenario = Scenario(severity=severity, at=at, length=_NIGHT_PERIOD)
        rows, before = simulate(new, scenario), simulate(old, scenario)
        yield _night_section(severity, rows, before, new)


def _night_section(severity: Severity, rows: Sequence[Row], before: Sequence[Row], new: Policy) -> Markdown:
    name = severity.inline_name(new.scale)
    paged = list(dict.fromkeys(who for row in rows if row.kind == "page" for who in row.to))
    comparison = markdown("as before") if _row_keys(rows) == _row_keys(before) else markdown("otherwise than before")
    who = markdown("wakes {}", pluralize(len(paged), "person", "people")) if paged else markdown("wakes nobody")
    head = markdown("<details><summary>{}: {}, {}</summary>", name, who, comparison)
    previous_keys = {_row_key(row) for row in before}
    lines = [
        markdown(
            "| {} | {} | {} | {} | {} |",
            markdown("") if _row_key(row) in previous_keys else markdown("🔸"),
            code_span(format_offset(row.offset)),
            row.kind,
            format_logins(row.to) if row.to else markdown(""),
            escape(", ".join(part for part in (row.step, note) if part), 120),
        )
        for row, note in collapse_pages(rows)
        if row.kind != "declared"
    ]
    more = [markdown("| | | and {} more | | |", len(lines) - _MAX_NIGHT_ROWS)] if len(lines) > _MAX_NIGHT_ROWS else []
    table = [markdown("| | after | | who | |"), markdown("|:---|---:|:---|:---|:---|"), *lines[:_MAX_NIGHT_ROWS], *more]
    return join(
        [
            head,
            join(table, "\n")
            if lines
            else markdown("Nothing happens in {} hours.", _NIGHT_PERIOD // timedelta(hours=1)),
            markdown("</details>"),
        ],
        "\n\n",
    )


def _past_incidents_section(backtest: Backtest) -> Iterator[Markdown]:
    yield markdown("### Past incidents")
    yield markdown("Folded through both files: {}.", backtest.summary)
    if backtest.notice_counts[0] != backtest.notice_counts[1]:
        yield markdown("Notices to people: {} instead of {}.", backtest.notice_counts[1], backtest.notice_counts[0])
    shown = [_incident_line(each) for each in backtest.diffs[:_MAX_INCIDENTS]]
    if shown:
        yield join(shown, "\n")
    if len(backtest.diffs) > _MAX_INCIDENTS:
        yield markdown("and {} more", len(backtest.diffs) - _MAX_INCIDENTS)


def _incident_line(diff: IncidentDiff) -> Markdown:
    differences = join_limited((escape(str(found), 120) for found in diff.differences), _MAX_DIFFERENCES)
    return markdown("- {} {}: {}", escape(diff.name, 80), escape(diff.title, 60), differences)


def _next_saturday_night(policy: Policy, now: datetime) -> datetime:
    """Return the next Saturday at 02:00 in the policy's zone."""
    today = now.astimezone(ZoneInfo(policy.zone)).date()
    day = today + timedelta(days=(_SATURDAY_WEEKDAY - today.weekday()) % 7 or 7)
    return wall_to_utc(datetime.combine(day, time(2)), policy.zone).astimezone(UTC)


def _row_keys(rows: Iterable[Row]) -> list[tuple[object, ...]]:
    return [_row_key(row) for row in rows]


def _row_key(row: Row) -> tuple[object, ...]:
    """Return what identifies a row when two simulations are compared."""
    return row.offset, row.kind, row.to, row.step, row.via
