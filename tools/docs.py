"""The pages of `docs/` that follow from the code: `make docs` writes them, and a test says when they are stale."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from datetime import time
from enum import Enum
from inspect import cleandoc
from itertools import chain
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin

from app.core.commands import COMMANDS
from app.core.lifecycle import TABLE, Status
from app.core.policy import (
    MATRIX,
    Calendar,
    Duration,
    Floor,
    Intake,
    Labels,
    Person,
    Policy,
    Postmortem,
    Step,
    Target,
    Targets,
)
from app.core.report import Level
from app.core.severity import Severity
from app.policy_file import DEFAULT, PATH, PROFILES
from app.policy_file.spelling import SHORT, Entry, entries
from app.policy_file.words import DAYS, NOUNS, REPORT_FIELDS

ROOT = Path(__file__).parent.parent
_PRINTED = "<!-- Printed from the code by `make docs`. -->\n"


def main() -> None:
    """Write the pages that have changed, and say which."""
    for path, text in pages().items():
        file = ROOT / path
        if not file.exists() or file.read_text("utf-8") != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, "utf-8")
            sys.stdout.write(f"{path}\n")


def pages() -> dict[str, str]:
    """Every printed page by its path."""
    return {
        "docs/commands.md": _page(_commands()),
        "docs/lifecycle.md": _page(_lifecycle()),
        "docs/policy.md": _page(_policy()),
    }


def _page(parts: Iterator[str]) -> str:
    return "\n".join((_PRINTED, *parts)).rstrip() + "\n"


# Commands.


def _commands() -> Iterator[str]:
    yield "# Commands\n"
    yield (
        "Write a command at the start of a line, in a new comment on the issue. Several may stand in one comment, each "
        "on its own line. In code, in a quote or in an edited comment it is only text.\n"
    )
    yield (
        "A command that was obeyed gets a reaction. One that was refused gets a reply that says what was found and what "
        "would have worked.\n"
    )
    rows = ((f"`{c.usage}`", c.summary, c.role.name.lower()) for c in COMMANDS.values())
    yield _table(("Write", "It will", "Who may: at least"), rows)
    yield (
        "Some labels do the same: a severity label is `/severity`, `escalate` is `/escalate`, `acknowledged` is `/ack`, "
        "`mitigated` is `/status mitigated`, and `resolved` is `/resolve`.\n"
    )


# Lifecycle.


def _lifecycle() -> Iterator[str]:
    yield "# The way of an incident\n"
    yield (
        "Every change of status is one of these arrows, and nothing else changes a status. Acting on an incident takes "
        f"it, so work may start from `{Status.TRIGGERED}` without an acknowledgement of its own.\n"
    )
    yield "```mermaid\nstateDiagram-v2\n    [*] --> open\n    state open {"
    yield f"        [*] --> {Status.TRIGGERED}"
    inside, outside = _arrows()
    yield from (f"        {arrow}" for arrow in inside)
    yield "    }"
    yield from (f"    {arrow}" for arrow in outside)
    yield f"    {Status.CLOSED} --> [*]\n```\n"
    yield "Where each action leads, from each status:\n"
    rows = (
        (f"**{status}**", *(str(ways[status]) if status in ways else "–" for ways in TABLE.values()))
        for status in Status
    )
    yield _table(("", *TABLE), rows)


def _arrows() -> tuple[list[str], list[str]]:
    """The arrows among the open statuses, and the others.  One that starts from every open status is drawn once."""
    still_open = [status for status in Status if status.open]
    inside, outside = [], []
    for action, ways in TABLE.items():
        everywhere = all(start in ways and not ways[start].open for start in still_open)
        if everywhere:
            outside.append(f"open --> {ways[still_open[0]]}: {action}")
        for start, end in ways.items():
            if start.open and end.open:
                inside.append(f"{start} --> {end}: {action}")
            elif not (everywhere and start.open):
                outside.append(f"{start} --> {'open' if end is Status.TRIGGERED else end}: {action}")
    return inside, outside


# Policy.


def _field(name: str) -> str:
    """A field of the report as the file spells it."""
    return {"kind": "type"}.get(name, name.replace("_", "-"))


_PARTS: Sequence[tuple[str, type]] = (
    ("The file", Policy),
    ("`severities.sev1`", Targets),
    ("A target", Target),
    ("`escalation.sev1[]`", Step),
    ("`calendars.<name>`", Calendar),
    ("`people.<login>`", Person),
    ("`floors[]`", Floor),
    ("`intake`", Intake),
    ("`labels`", Labels),
    ("`postmortem`", Postmortem),
)

_ADDED: Mapping[type, str] = {
    Targets: "A clock that no profile and no file sets does not run.",
    Target: "Without a `calendar` every hour counts; business days use the calendar `business`.",
    Step: (
        "`to` names contacts. `until` is what ends the step: `ack` pages and may `repeat`, `resolved` runs on after an "
        'acknowledgement. Without `repeat` they are told once. `do` is asked for in words, such as "customer '
        'communication required".'
    ),
    Calendar: (
        "`hours` are wall clock times in `timezone`; when the second is the earlier one it is on the next day, and "
        "`00:00-24:00` is the whole day. `holidays` are days off."
    ),
    Person: "The key is the GitHub login.",
    Floor: "Everything that is written has to match.",
    Intake: 'Under `fields` a heading of your own form, such as "Dringlichkeit", names a field of the report.',
    Duration: (
        "`d` is 24 elapsed hours, and `bd` a day of a calendar; `0m` is at once. From 1 minute to 365 days, in `s`, `m`, "
        "`h`, `d` or `w`, and from `1bd` to `365bd`."
    ),
}
"""What is said of a type in the words of the file, where its docstring speaks to those who read the code."""

_RULE = re.compile(r" \([A-Z][0-9]{1,2}(?:(?:, | to )[A-Z][0-9]{1,2})*\)")

_WORDS: Mapping[str, str] = {
    "str": "a line of text",
    "Duration": "a duration",
    "date": "a date, such as `2026-12-24`",
    "Zone": "an IANA time zone, such as `Europe/Berlin`",
    "Login": "a GitHub login",
    "Name": "a name",
    "Contact": "a contact",
    "CalendarName": "the name of a calendar",
    "LabelName": "a label of up to 50 characters",
    "Heading": "a heading of the form",
    "ReportField": f"one of {', '.join(f'`{_field(name)}`' for name in REPORT_FIELDS)}",
    "Pace": "a duration, not `0m`",
    "Percent": "per cent, 1 to 100",
    "Count": "a number from 1",
    "Hours": "hours, such as `09:00-17:00`",
    "Weekdays": f"days of {', '.join(DAYS)}, or a range such as `mon-fri`",
    "Severity": "a severity",
}


def _policy() -> Iterator[str]:
    yield "# The policy\n"
    yield f"A repository's policy stands in `{PATH}`. Without that file the profile `{DEFAULT}` holds, and a file says only what differs.\n"
    yield f"- `extends:` names the profile to start from: {_either(PROFILES)}; without it, `{DEFAULT}`."
    yield "- A map is merged into the profile's, key by key. A list or a single value replaces the profile's."
    yield "- `off` takes away a clock, a repetition or a list; where a list stands, a single value is a list of one."
    yield "- `muster policy check FILE` names every fault with its line. A file with a fault changes nothing: the last good one stays in force.\n"
    for title, part in _PARTS:
        yield f"## {title}\n"
        yield _said(part)
        if short := SHORT.get(part):
            yield f"A single value stands for `{short}`.\n"
        yield _table(("Key", "Holds", "Without it"), (_row(part, entry) for entry in entries(part).values()))
    yield "## Durations\n"
    yield _said(Duration)
    yield "## Grading\n"
    yield "Severity by urgency and impact; a floor may raise it, and when two grounds differ the higher severity holds.\n"
    levels = [level.value for level in Level]
    rows = ((f"**urgency {u.value}**", *(str(MATRIX[u][i]) for i in Level)) for u in Level)
    yield _table(("", *(f"impact {level}" for level in levels)), rows)
    yield f"## The profile `{DEFAULT}`\n"
    yield "```yaml"
    yield (ROOT / "app" / "policies" / f"{DEFAULT}.yml").read_text("utf-8").rstrip()
    yield "```\n"


def _row(part: type, entry: Entry) -> tuple[str, str, str]:
    return f"`{entry.key}`", _holds(entry.kind), _without(part, entry)


def _holds(kind: Any) -> str:
    """What a key may hold, in words."""
    args = tuple(arg for arg in get_args(kind) if arg is not NoneType)
    if get_origin(kind) is Mapping:
        return f"for each {_noun(args[0])}: {_holds(args[1])}"
    if get_origin(kind) in (tuple, frozenset):
        each = args[0]
        return (
            f"a list, each {_holds(each)}"
            if Ellipsis in args or len(args) == 1
            else f"for each severity: {_holds(each)}"
        )
    if args:
        return f"{_holds(args[0])}, or `off`"
    if kind.__name__ in _WORDS:
        return _WORDS[kind.__name__]
    if is_dataclass(kind):
        return _linked(kind)
    return _either(member.value for member in kind)


def _noun(kind: Any) -> str:
    return NOUNS.get(kind.__name__, _holds(kind)).removeprefix("a ").removeprefix("an ")


def _linked(part: Any) -> str:
    title = next(title for title, known in _PARTS if known is part)
    anchor = re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
    return f"[{title}](#{anchor})"


def _without(part: type, entry: Entry) -> str:
    """The value of a key that is not written, before any profile."""
    found = {field.name: field for field in fields(part)}[entry.fields[0]]
    if entry.required:
        return "must be written"
    default = found.default if found.default is not MISSING else _made(found.default_factory)
    if len(entry.fields) > 1:
        return f"`{'-'.join(_short(getattr(part(), name)) for name in entry.fields)}`"
    if default is MATRIX:
        return "see [Grading](#grading)"
    if is_dataclass(default):
        return "as below"
    return _shown(default)


def _made(factory: Any) -> Any:
    return factory() if callable(factory) else None


def _shown(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"`{_short(key)}`" for key in value)
    if isinstance(value, frozenset):
        return ", ".join(f"`{_day(one)}`" for one in sorted(value)) or "–"
    if isinstance(value, tuple):
        return "; ".join(f"{one.because}" if isinstance(one, Floor) else f"`{_short(one)}`" for one in value)
    return f"`{_short(value)}`"


def _day(one: Any) -> str:
    return DAYS[one] if type(one) is int else _short(one)


def _short(value: Any) -> str:
    if isinstance(value, Enum) and not isinstance(value, Severity):
        return str(value.value)
    return f"{value:%H:%M}" if isinstance(value, time) else str(value)


def _said(part: type) -> str:
    """What the docstring of a type says first, and then what this page adds, or else the rest of it.

    The names of fields are spelled as in the file, and the numbers of rules are left out.
    """
    text = _RULE.sub("", " ".join(cleandoc(part.__doc__ or "").split()))
    if part in _ADDED:
        text = f"{re.split('[.;] ', text.rstrip('.'))[0]}. {_ADDED[part]}"
    if part is not Duration:
        for entry in entries(part).values():
            for name in entry.fields:
                text = text.replace(f"`{name}`", f"`{entry.key}`")
    return text + "\n"


def _either(values: Any) -> str:
    return " · ".join(f"`{value}`" for value in values)


def _table(head: Sequence[str], rows: Any) -> str:
    lines = chain((head, ["---"] * len(head)), rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
