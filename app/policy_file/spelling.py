"""The language of the file, where it says more than the types of `app.core.policy` or spells them otherwise.

A field is a key of its own name with dashes, read by its type, unless one of these tables knows better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, get_type_hints

from app.core.policy import Calendar, Floor, Intake, Labels, Person, Policy, Postmortem, Step, Target, Targets
from app.policy_file.fault import Wrong, shown
from app.policy_file.words import (
    CalendarName,
    Contact,
    Count,
    Heading,
    Hours,
    LabelName,
    Login,
    Name,
    Pace,
    Percent,
    ReportField,
    Weekdays,
    Zone,
)

FINER: Mapping[type, Mapping[str, Any]] = {
    Policy: {
        "zone": Zone,
        "warnings": tuple[Percent, ...],
        "silence": Count,
        "calendars": Mapping[Name, Calendar],
        "people": Mapping[Login, Person],
        "contacts": Mapping[Name, tuple[Login, ...]],
    },
    Calendar: {"zone": Zone, "days": Weekdays},
    Target: {"calendar": CalendarName | None},
    Step: {"to": tuple[Contact, ...], "repeat": Pace | None},
    Labels: {
        field.name: tuple[LabelName, LabelName, LabelName, LabelName] if field.name == "severities" else LabelName
        for field in fields(Labels)
    },
    Intake: {"fields": Mapping[Heading, ReportField]},
    Postmortem: {"reviewers": tuple[Contact, ...]},
}
"""What a field holds, where its type alone says too little."""

SPELLED: Mapping[type, Mapping[str, str]] = {
    Policy: {"zone": "timezone", "targets": "severities", "ladders": "escalation"},
    Calendar: {"zone": "timezone"},
    Floor: {"kind": "type"},
}
"""What a field is called in the file, where that is not its own name."""

JOINED: Mapping[type, Mapping[str, tuple[tuple[str, ...], Any]]] = {Calendar: {"hours": (("opens", "closes"), Hours)}}
"""Keys that hold several fields at once."""

SHORT: Mapping[type, str] = {Target: "within"}
"""The field that a scalar stands for, where a map could be written."""

ELSEWHERE: Mapping[type, frozenset[str]] = {Policy: frozenset({"profile"})}
"""Fields that are no keys: `extends` is read first, and decides the profile."""

HOLIDAYS = 400
"""How many days off a calendar may list."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of a map: the fields it fills, and what it holds."""

    key: str
    fields: tuple[str, ...]
    kind: Any
    required: bool = False


@cache
def entries(cls: type) -> Mapping[str, Entry]:
    """The keys that the file may have where a `cls` is written."""
    finer, spelled, joined = FINER.get(cls, {}), SPELLED.get(cls, {}), JOINED.get(cls, {})
    hidden = ELSEWHERE.get(cls, frozenset()) | {name for names, _ in joined.values() for name in names}
    kinds = get_type_hints(cls)
    found = [Entry(key, names, kind) for key, (names, kind) in joined.items()]
    for field in fields(cls):
        if field.name not in hidden:
            key = spelled.get(field.name, field.name.replace("_", "-"))
            required = field.default is MISSING and field.default_factory is MISSING
            found.append(Entry(key, (field.name,), finer.get(field.name, kinds[field.name]), required))
    return {entry.key: entry for entry in found}


Finding = tuple[tuple[str, ...], Wrong]
"""What is wrong with a whole, and whose fault it is: the first of these keys that the file has, or else the whole."""


def _targets(targets: Targets) -> Iterator[Finding]:
    if targets.update is not None and targets.update.within.at_once:
        yield ("update",), Wrong("'0m' would repeat without a pause", "such as 15m")


def _step(step: Step) -> Iterator[Finding]:
    if not step.to and not step.do:
        yield (), Wrong("the step does nothing", "write to: with a contact, or do: with what is asked for")


def _floor(floor: Floor) -> Iterator[Finding]:
    if floor.kind is None and floor.impact is None and floor.personal_data is None:
        yield (), Wrong("the floor is under every incident", "give it a type, an impact or personal-data")


def _calendar(calendar: Calendar) -> Iterator[Finding]:
    if not calendar.days:
        yield ("days",), Wrong("the calendar has no open day", "such as mon-fri")
    if len(calendar.holidays) > HOLIDAYS:
        yield ("holidays",), Wrong(f"{len(calendar.holidays)} days off", f"at most {HOLIDAYS} are read")


def _labels(labels: Labels) -> Iterator[Finding]:
    holders: dict[str, str] = {}
    for entry in entries(Labels).values():
        value = getattr(labels, entry.fields[0])
        for name in value if isinstance(value, tuple) else (value,):
            holder = holders.get(name.lower())
            if holder is not None:
                wrong = Wrong(f"the label {shown(name)} is used for {holder} and for {entry.key}", "give each its own")
                yield (entry.key, holder), wrong
            holders[name.lower()] = entry.key


def _policy(policy: Policy) -> Iterator[Finding]:
    if any(a >= b for a, b in zip(policy.warnings, policy.warnings[1:], strict=False)):
        yield ("warnings",), Wrong("the warnings do not rise", "such as [50, 80]")


CHECKS: Mapping[type, Callable[[Any], Iterator[Finding]]] = {
    Targets: _targets,
    Step: _step,
    Floor: _floor,
    Calendar: _calendar,
    Labels: _labels,
    Policy: _policy,
}
"""What must hold for a whole after its parts were read."""
