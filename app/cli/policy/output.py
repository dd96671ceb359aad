"""Print the results of `muster policy`: as JSON, or as lines, coloured on terminals only."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Iterator
from datetime import UTC
from typing import Any, TextIO

from app.cli.policy.arguments import PolicyCommandContext
from app.core.backtest import Backtest
from app.core.policy import Policy
from app.core.policy_diff import PolicyChange
from app.core.simulate import Row
from app.render.terminal.simulation_table import TableLine
from app.text import make_visible

_COLOUR_CODES = {"strong": "1", "warning": "33", "bad": "31", "good": "32", "quiet": "2"}


def row_to_json(row: Row) -> dict[str, Any]:
    """Convert a row of a simulation to JSON."""
    return {
        "at": row.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        "offset_s": int(row.offset.total_seconds()),
        "kind": row.kind,
        "to": list(row.to),
        "step": row.step,
        "via": [via.value for via in row.via],
        "contacts": list(row.contacts),
        "missing": list(row.unstaffed),
        "note": row.note,
    }


def change_to_json(change: PolicyChange, policy: Policy) -> dict[str, Any]:
    """Convert a change between two policies to JSON."""
    severity = change.severity.inline_name(policy.scale) if change.severity else None
    return {"severity": severity, "what": change.what, "was": change.was, "now": change.now}


def backtest_to_json(result: Backtest, against: str, policy: Policy) -> dict[str, Any]:
    """Convert the result of a backtest to JSON."""
    return {
        "tried": result.incident_count,
        "against": against,
        "summary": result.summary,
        "notices": {"was": result.notice_counts[0], "now": result.notice_counts[1]},
        "incidents": [
            {
                "incident": each.name,
                "title": each.title,
                "declared_at": each.declared_at.isoformat().replace("+00:00", "Z"),
                "severity": each.severity.inline_name(policy.scale),
                "later": each.escalated_later,
                "earlier": each.escalated_earlier,
                "differences": [dataclasses.asdict(difference) for difference in each.differences],
            }
            for each in result.diffs
        ],
    }


def format_backtest(result: Backtest, against: str, where: str, file: str, policy: Policy) -> Iterator[TableLine]:
    """Format the result of a backtest as lines."""
    yield TableLine(
        f"{make_visible(file, 200)} against {make_visible(against, 200)}, incidents of {make_visible(where, 200)}:",
        "quiet",
    )
    yield TableLine(f"{result.summary[:1].upper()}{result.summary[1:]}.", "strong")
    if result.notice_counts[0] != result.notice_counts[1]:
        yield TableLine(f"Notices to people: {result.notice_counts[1]} instead of {result.notice_counts[0]}.")
    for each in result.diffs:
        yield TableLine("")
        about = f"{each.declared_at:%Y-%m-%d %H:%M} UTC, {each.severity.inline_name(policy.scale)}"
        named = "  ".join(
            part for part in (make_visible(each.name, 80), make_visible(each.title, 60), f"({about})") if part
        )
        yield TableLine(named, "strong")
        for difference in each.differences:
            is_worse = difference.kind in ("told", "breach") and (difference.now is None) == (difference.kind == "told")
            yield TableLine(f"  {make_visible(str(difference), 200)}", "warning" if is_worse else "")


def print_line(line: TableLine, out: TextIO) -> None:
    """Print a line; in colour on a terminal, unless NO_COLOR is set."""
    colour = _COLOUR_CODES.get(line.tone) if out.isatty() and not os.environ.get("NO_COLOR") else None
    print(f"\033[{colour}m{line.text}\033[0m" if colour and line.text else line.text, file=out)


def terminal_width(out: TextIO) -> int:
    """Return the width of the output in columns, from 60 to 120; 80 where it is no terminal."""
    return min(max(shutil.get_terminal_size((80, 24)).columns, 60), 120) if out.isatty() else 80


def print_json(value: object, context: PolicyCommandContext) -> None:
    """Print a value as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=2, default=str), file=context.out)
