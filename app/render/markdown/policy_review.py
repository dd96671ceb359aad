"""Renders the review of a proposed policy for the check on its pull request.

It shows the changes, a simulated night and a backtest on past incidents.  Everything that comes from the two files and
from past incidents is untrusted text, and is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from app.core.backtest import Backtest, Compared
from app.core.calendar import instant
from app.core.policy import Policy
from app.core.policy_diff import Move, changes
from app.core.severity import Severity
from app.core.simulate import Row, Scene, plus, simulate
from app.render.markdown.markup import Markdown, code, joined, listed, md, people, said, signed
from app.render.simulation_rows import collapsed
from app.render.time_format import count
from app.text import plain

_MAX_TITLE_CHARS = 240
_MAX_CHANGES = 60
_MAX_NIGHT_ROWS = 24
_MAX_INCIDENTS = 20
_MAX_DIFFERENCES = 6
_MAX_FAULTS = 50
_NIGHT_PERIOD = timedelta(hours=8)
_SATURDAY_WEEKDAY = 5


@dataclass(frozen=True, slots=True)
class Review:
    """A rendered review.

    `title` is one line of plain text that states the consequence; `summary` is Markdown that fits into a check run.
    """

    title: str
    summary: str


class Faulty(Protocol):
    """A fault of a policy file, as its reader reports it."""

    @property
    def line(self) -> int: ...
    @property
    def column(self) -> int: ...
    @property
    def where(self) -> str: ...
    @property
    def found(self) -> str: ...
    @property
    def wanted(self) -> str: ...


def review(old: Policy, new: Policy, tried: Backtest, now: datetime) -> Review:
    """Review the replacement of policy `old` by `new`; `backtest` holds the effect on past incidents."""
    moves = changes(old, new)
    if not moves:
        return Review("Nothing moves: the policy stays what it is", md("Both files mean the same."))
    body = joined(
        [*_moves(moves, new), *_nights(old, new, _saturday(new, now)), *_past(tried)],
        "\n\n",
    )
    return Review(_title(moves, tried, new), signed(body, ""))


def faulty(faults: Sequence[Faulty]) -> Review:
    """Review a policy file that has faults; there is at least one."""
    rows = [
        md(
            "- line {}, column {}: **{}**: {}, {}",
            each.line,
            each.column,
            said(each.where, 120),
            said(each.found, 200),
            said(each.wanted, 200),
        )
        for each in faults[:_MAX_FAULTS]
    ]
    more = [md("- and {} more", len(faults) - _MAX_FAULTS)] if len(faults) > _MAX_FAULTS else []
    first = faults[0]
    title = f"The file cannot be obeyed, {count(len(faults), 'fault')}: line {first.line}: {first.where}: {first.found}"
    head = md("Merged as it is, this file would not take effect: the last good one stays in force. To mend:")
    return Review(plain(title, _MAX_TITLE_CHARS), signed(joined([head, joined([*rows, *more], "\n")], "\n\n"), ""))


def consequence(move: Move, policy: Policy) -> str:
    """Describe a change in one line: `sev1: it-manager hears after 20m instead of 30m`."""
    if not move.rung:
        return f"{move.severity.said(policy.scale)}: {move}" if move.severity else str(move)
    who = move.what.removeprefix("page ")
    paged = move.what.startswith("page ")
    hears = "is asked" if move.what.startswith("do: ") else "is paged" if paged else "hears"
    if move.now is None:
        said_so = f"{who} {hears} no more"
    else:
        said_so = f"{who} {hears} {_after(move.now)}" + (f" instead of {move.was}" if move.was else "")
    return f"{move.severity.said(policy.scale)}: {said_so}" if move.severity else said_so


def _after(when: str) -> str:
    return when if when.startswith("at once") else f"after {when}"


def _title(moves: Sequence[Move], tried: Backtest, new: Policy) -> str:
    """Build the title from the most important change: notifications first, then targets, then the rest."""
    first = min(moves, key=lambda move: (move.severity is None, not move.rung, move.severity or 0))
    more = f" and {count(len(moves) - 1, 'more move')}" if len(moves) > 1 else ""
    past = f"; {tried.summary}" if tried.tried else ""
    return plain(f"{consequence(first, new)}{more}{past}", _MAX_TITLE_CHARS)


def _moves(moves: Sequence[Move], new: Policy) -> Iterator[Markdown]:
    yield md("### What moves")
    rows = [
        md(
            "| {} | {} | {} | {} |",
            move.severity.said(new.scale) if move.severity else md(""),
            said(move.what, 120),
            _cell(move.was),
            _cell(move.now),
        )
        for move in moves[:_MAX_CHANGES]
    ]
    head = [md("| severity | what | was | now |"), md("|:---|:---|:---|:---|")]
    yield joined([*head, *rows], "\n")
    if len(moves) > _MAX_CHANGES:
        yield md("and {} more", len(moves) - _MAX_CHANGES)


def _cell(text: str | None) -> Markdown:
    return md("–") if text is None else said(text, 140)


def _nights(old: Policy, new: Policy, at: datetime) -> Iterator[Markdown]:
    here = at.astimezone(ZoneInfo(new.zone))
    yield md("### A night: declared on Saturday, {}, and nobody answers", f"{here:%Y-%m-%d %H:%M} {here.tzname()}")
    for severity in Severity:
        scene = Scene(severity=severity, at=at, length=_NIGHT_PERIOD)
        rows, before = simulate(new, scene), simulate(old, scene)
        yield _night(severity, rows, before, new)


def _night(severity: Severity, rows: Sequence[Row], before: Sequence[Row], new: Policy) -> Markdown:
    name, woken = (
        severity.said(new.scale),
        list(dict.fromkeys(who for row in rows if row.kind == "page" for who in row.to)),
    )
    how = md("as before") if _plain(rows) == _plain(before) else md("otherwise than before")
    who = md("wakes {}", count(len(woken), "person", "people")) if woken else md("wakes nobody")
    head = md("<details><summary>{}: {}, {}</summary>", name, who, how)
    known = {_key(row) for row in before}
    lines = [
        md(
            "| {} | {} | {} | {} | {} |",
            md("") if _key(row) in known else md("🔸"),
            code(plus(row.offset)),
            row.kind,
            people(row.to) if row.to else md(""),
            said(", ".join(part for part in (row.step, note) if part), 120),
        )
        for row, note in collapsed(rows)
        if row.kind != "declared"
    ]
    more = [md("| | | and {} more | | |", len(lines) - _MAX_NIGHT_ROWS)] if len(lines) > _MAX_NIGHT_ROWS else []
    table = [md("| | after | | who | |"), md("|:---|---:|:---|:---|:---|"), *lines[:_MAX_NIGHT_ROWS], *more]
    return joined(
        [
            head,
            joined(table, "\n") if lines else md("Nothing happens in {} hours.", _NIGHT_PERIOD // timedelta(hours=1)),
            md("</details>"),
        ],
        "\n\n",
    )


def _past(tried: Backtest) -> Iterator[Markdown]:
    yield md("### Past incidents")
    yield md("Folded through both files: {}.", tried.summary)
    if tried.notices[0] != tried.notices[1]:
        yield md("Notices to people: {} instead of {}.", tried.notices[1], tried.notices[0])
    shown = [_compared(each) for each in tried.compared[:_MAX_INCIDENTS]]
    if shown:
        yield joined(shown, "\n")
    if len(tried.compared) > _MAX_INCIDENTS:
        yield md("and {} more", len(tried.compared) - _MAX_INCIDENTS)


def _compared(each: Compared) -> Markdown:
    differences = listed((said(str(found), 120) for found in each.differences), _MAX_DIFFERENCES)
    return md("- {} {}: {}", said(each.name, 80), said(each.title, 60), differences)


def _saturday(policy: Policy, now: datetime) -> datetime:
    """Return the next Saturday at 02:00 in the policy's zone."""
    today = now.astimezone(ZoneInfo(policy.zone)).date()
    day = today + timedelta(days=(_SATURDAY_WEEKDAY - today.weekday()) % 7 or 7)
    return instant(datetime.combine(day, time(2)), policy.zone).astimezone(UTC)


def _plain(rows: Iterable[Row]) -> list[tuple[object, ...]]:
    return [_key(row) for row in rows]


def _key(row: Row) -> tuple[object, ...]:
    """Return what identifies a row when two simulations are compared."""
    return row.offset, row.kind, row.to, row.step, row.via
