"""Render a simulated incident as a table for the terminal, in the team's zone and in UTC, within a given width.

Names come from an untrusted policy file, so characters that a terminal would interpret are spelled out.
"""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from app.core.calendar import next_opening
from app.core.effective_policy import policy_for_report
from app.core.incident_report import IncidentReport
from app.core.policy import BUSINESS, TEAM, Calendar, Policy
from app.core.simulate import Row, Scenario, format_offset
from app.render.simulation_rows import collapse_pages
from app.text import make_visible

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_TONES_BY_KIND = {
    "declared": "strong",
    "page": "strong",
    "escalate": "warning",
    "announce": "warning",
    "breach": "bad",
    "warn": "quiet",
    "hand-off": "quiet",
    "acknowledge": "good",
    "resolve": "good",
}


class TableLine(NamedTuple):
    """A line and its tone: `strong`, `warning`, `bad`, `good`, `quiet`, or empty for plain text."""

    text: str
    tone: str = ""


def render_simulation(
    rows: Sequence[Row], policy: Policy, scenario: Scenario, *, width: int = 80
) -> tuple[TableLine, ...]:
    """Render the rows of `simulate` with a header and a summary."""
    policy = policy_for_report(policy, IncidentReport(services=scenario.services, kind=scenario.kind))
    head = [
        part for line in (*_header_lines(rows, policy, scenario), TableLine("")) for part in _wrap_line(line, width)
    ]
    foot = [part for line in (TableLine(""), *summary_lines(rows, policy)) for part in _wrap_line(line, width)]
    return (*head, *_table_lines(rows, policy, scenario, width), *foot)


_NOT_NOTIFYING_KINDS = ("declared", "page", "hand-off", "acknowledge", "resolve")
"""Kinds of rows that name people without notifying them, or that page them."""


def summary_lines(rows: Sequence[Row], policy: Policy) -> Iterator[TableLine]:
    """Summarize who was paged and notified, which targets were missed, and which contacts have no one."""
    page_counts = Counter(name for row in rows if row.kind == "page" for name in row.to)
    notified = dict.fromkeys(name for row in rows if row.kind not in _NOT_NOTIFYING_KINDS for name in row.to)
    missed = {f"{make_visible(row.step)} at {format_offset(row.offset)}": None for row in rows if row.kind == "breach"}
    unstaffed = dict.fromkeys(
        name for row in rows for name in row.unstaffed if name in (row.contacts or row.unstaffed[:1])
    )
    if page_counts:
        times = (f"{_format_person(name, policy)} {_format_times(count)}" for name, count in page_counts.items())
        yield TableLine(f"Woken: {', '.join(times)}.")
    else:
        yield TableLine("Nobody is woken.")
    if notified_names := [_format_person(name, policy) for name in notified if name not in page_counts]:
        yield TableLine(f"Told: {', '.join(notified_names)}.")
    yield TableLine(f"Missed: {', '.join(missed)}.", "bad") if missed else TableLine("No target is missed.", "good")
    if unstaffed:
        yield TableLine(
            f"Nobody is named for {', '.join(map(make_visible, unstaffed))}: say who under contacts.", "warning"
        )


def _header_lines(rows: Sequence[Row], policy: Policy, scenario: Scenario) -> Iterator[TableLine]:
    at = scenario.at.astimezone(UTC)
    local = at.astimezone(ZoneInfo(policy.zone))
    severity = scenario.severity.inline_name(policy.scale)
    about = [make_visible(name) for name in scenario.services] + ([scenario.kind.value] if scenario.kind else [])
    what = f"{severity} ({', '.join(about)})" if about else severity
    yield TableLine(
        f"{what} on {_DAYS[local.weekday()]} {_local_and_utc(local)}, the next {_format_length(scenario.length)}",
        "strong",
    )
    responses = [
        f"acknowledged after {_format_length(scenario.ack)}" if scenario.ack is not None else "nobody acknowledges",
        f"resolved after {_format_length(scenario.resolve)}" if scenario.resolve is not None else "nobody resolves",
    ]
    unread_rotations = [
        make_visible(name) for name, rotation in policy.rotations.items() if rotation.feed and not rotation.shifts
    ]
    hours = "within" if _is_open(_business_hours(policy), at) else "outside"
    yield TableLine(f"{', '.join(responses)}; {hours} business hours", "quiet")
    if unread_rotations:
        yield TableLine(f"feeds are not read here, so by turns: {', '.join(unread_rotations)}", "warning")


def _local_and_utc(local: datetime) -> str:
    """Format a time in both zones: `2026-03-06 16:40 EST (21:40 UTC)`."""
    utc = local.astimezone(UTC)
    if local.utcoffset() == timedelta():
        return f"{local:%Y-%m-%d %H:%M} UTC"
    date_prefix = f"{utc:%Y-%m-%d} " if utc.date() != local.date() else ""
    return f"{local:%Y-%m-%d %H:%M} {_zone_name(local).partition(' ')[0]} ({date_prefix}{utc:%H:%M} UTC)"


def _table_lines(rows: Sequence[Row], policy: Policy, scenario: Scenario, width: int) -> Iterator[TableLine]:
    zone, hours = ZoneInfo(policy.zone), _business_hours(policy)
    utc_only = all(row.at.astimezone(zone).utcoffset() == timedelta() for row in rows)
    columns = [_columns(row, zone, utc_only=utc_only) for row in rows]
    widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
    previous: datetime | None = None
    was_open = _is_open(hours, scenario.at)
    introduced: set[str] = set()
    for row, note in collapse_pages(rows):
        local = row.at.astimezone(zone)
        if previous is None or local.date() != previous.date():
            yield TableLine(_day_heading(local, utc_only=utc_only), "quiet")
        if previous is not None and local.utcoffset() != previous.utcoffset():
            ahead = (local.utcoffset() or timedelta()) > (previous.utcoffset() or timedelta())
            how = "forward" if ahead else "back"
            yield TableLine(
                f"-- the clocks have gone {how}: {_zone_name(previous)} is {_zone_name(local)} now", "quiet"
            )
        is_open = _is_open(hours, row.at)
        if is_open != was_open:
            yield TableLine(f"-- business hours have {'begun' if is_open else 'ended'}", "quiet")
        previous, was_open = local, is_open
        *clocks, offset, kind = _columns(row, zone, utc_only=utc_only)
        *sizes, offset_size, kind_size = widths
        cells = [cell.ljust(size) for cell, size in zip(clocks, sizes, strict=True)]
        head = f" {' '.join(cells)} {offset.rjust(offset_size)} {kind.ljust(kind_size)} "
        yield from _wrap_hanging(
            head, _description(row, note, policy, introduced), width, _TONES_BY_KIND.get(row.kind, "")
        )


def _columns(row: Row, zone: ZoneInfo, *, utc_only: bool) -> tuple[str, ...]:
    """Return the cells before the description: local time, UTC, time since the declaration, kind."""
    local = row.at.astimezone(zone)
    days = (row.at.date() - local.date()).days
    utc = f"{row.at:%H:%M}{f'{days:+}d' if days else ''}"
    clocks = (utc,) if utc_only else (f"{local:%H:%M}", utc)
    return (*clocks, format_offset(row.offset), row.kind)


def _description(row: Row, note: str, policy: Policy, introduced: set[str]) -> str:
    people = ", ".join(_format_person(name, policy, introduced) for name in row.to)
    if row.kind in ("acknowledge", "resolve"):
        return people
    is_staffed = not row.unstaffed or not row.to or row.to[0] not in row.unstaffed
    step = make_visible(row.step) + {"breach": " missed", "remind": " due"}.get(row.kind, "")
    if not is_staffed:
        people = f"{step} (nobody is named)" if step.startswith(people) else f"{people} (nobody is named)"
        step = "" if step.startswith(make_visible(row.to[0])) else step
    via = f"by {', '.join(channel.value for channel in row.via)}" if row.via else ""
    return " · ".join(part for part in (people, step, via, make_visible(note, 200)) if part)


def _wrap_hanging(head: str, text: str, width: int, tone: str) -> Iterator[TableLine]:
    """Wrap the text behind the head, with a hanging indent."""
    text_width = max(width - len(head), 20)
    pieces = textwrap.wrap(text, text_width, break_on_hyphens=False) or [""]
    for number, piece in enumerate(pieces):
        yield TableLine((head if number == 0 else " " * len(head)) + piece, tone)


def _wrap_line(line: TableLine, width: int) -> Iterator[TableLine]:
    if len(line.text) <= width:
        yield line
        return
    for piece in textwrap.wrap(line.text, width, subsequent_indent="  ", break_on_hyphens=False):
        yield TableLine(piece, line.tone)


def _day_heading(local: datetime, *, utc_only: bool) -> str:
    day = f"{_DAYS[local.weekday()]} {local:%Y-%m-%d}"
    return f"{day}, UTC" if utc_only else f"{day}, {_zone_name(local)} and UTC"


def _zone_name(local: datetime) -> str:
    offset = f"{local:%z}"
    name = local.tzname() or ""
    return f"{name} (UTC{offset[:3]}:{offset[3:]})" if name[:1].isalpha() else f"UTC{offset[:3]}:{offset[3:]}"


def _business_hours(policy: Policy) -> Calendar:
    return policy.calendars.get(TEAM) or policy.calendars.get(BUSINESS) or Calendar()


def _is_open(calendar: Calendar, at: datetime) -> bool:
    return next_opening(calendar, at) == at


def _format_person(name: str, policy: Policy, introduced: set[str] | None = None) -> str:
    """Format a login with the person's name, which is left out for those already `introduced`."""
    person = policy.people.get(name)
    if person is None or not person.name or (introduced is not None and name in introduced):
        return make_visible(name)
    if introduced is not None:
        introduced.add(name)
    return f"{make_visible(name)} ({make_visible(person.name)})"


def _format_times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")


def _format_length(length: timedelta) -> str:
    return format_offset(length)[1:]
