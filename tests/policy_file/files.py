"""Hypothesis strategies for policy files, made from the types like the schema: the reader must read all they draw."""

from __future__ import annotations

from dataclasses import is_dataclass
from enum import Enum
from typing import Any

from hypothesis import strategies as st

from app.core.policy import Duration, OnCallOverride, Step, Targets
from app.core.severity import Severity
from app.policy_file import value_parsers
from app.policy_file.field_docs import KIND_EXAMPLES
from app.policy_file.field_rules import key_specs, shape_of

ORG = """
extends: {profile}
people: {{mona: {{name: Mona Lisa}}, hubot: }}
contacts: {{it-manager: mona, on-call: hubot}}
teams: {{payments: {{members: [mona, hubot]}}, search: {{members: mona}}}}
rotations: {{night: {{people: [mona, hubot]}}, day: {{people: hubot, timezone: Asia/Tokyo}}}}
runbooks: {{database: {{link: docs/database.md}}}}
services: {{checkout: {{owner: payments, aliases: shop}}, index: {{}}}}
calendars: {{late: {{hours: 12:00-20:00}}}}
audiences: {{partners: {{to: it-manager, first: {{sev1: 1h}}}}}}
"""
"""The organisation's file below the drawn files, so that names in them refer to something."""

NAMES: dict[Any, tuple[str, ...]] = {
    value_parsers.Name: (
        "payments",
        "search",
        "night",
        "day",
        "database",
        "checkout",
        "index",
        "late",
        "partners",
        "new one",
    ),
    value_parsers.Contact: ("it-manager", "on-call", "payments", "night", "owner"),
    value_parsers.OwnContact: ("it-manager", "on-call"),
    value_parsers.CalendarName: ("late", "business", "team"),
    value_parsers.OwnCalendar: ("late", "business"),
    value_parsers.TeamName: ("payments", "search"),
    value_parsers.RotationName: ("night", "day"),
    value_parsers.RunbookName: ("database",),
    value_parsers.ServiceName: ("checkout", "index"),
    value_parsers.ClockName: value_parsers.CLOCK_NAMES,
    value_parsers.ReportField: ("type", "started-at", "urgency"),
    value_parsers.Country: ("DE",),
    value_parsers.Region: ("BE", "BY"),
    str: ("a text", "off", "null", "5", "a: b, [c] #d", "Grüße", "x" * 200),
}


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for what a file may have where a value of that kind stands."""
    shape = shape_of(kind)
    found: st.SearchStrategy[Any]
    match shape.form:
        case "word":
            found = _words(kind)
        case "optional":
            found = st.none() | values_of(shape.inner[0])
        case "record":
            found = _records(kind)
        case "map":
            keys, inner = shape.inner
            inner_values = st.none() | values_of(inner) if shape.removable else values_of(inner)
            found = st.dictionaries(_words(keys), inner_values, max_size=3)
        case "row":
            found = st.dictionaries(_words(Severity), values_of(shape.inner[0]), max_size=2)
        case "weekdays":
            found = st.lists(_words(value_parsers.WeekdayRange), min_size=1, max_size=3)
        case _:
            (inner, *_) = shape.inner
            many = st.lists(values_of(inner), max_size=3)
            found = many if is_dataclass(inner) and inner is not Duration else many | values_of(inner)
    return found


def _words(kind: Any) -> st.SearchStrategy[str]:
    if kind is Severity:
        return st.sampled_from([str(severity) for severity in Severity])
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from([member.value for member in kind])
    if kind is value_parsers.LabelName:
        return st.integers(0, 10**6).map("label {}".format)
    return st.sampled_from(NAMES.get(kind) or KIND_EXAMPLES[kind])


def _records(cls: Any) -> st.SearchStrategy[Any]:
    specs = key_specs(cls)
    strategies = {
        key: st.none() | values_of(entry.kind) if entry.clearable else values_of(entry.kind)
        for key, entry in specs.items()
    }
    required = {key: strategies[key] for key, entry in specs.items() if entry.required}
    found: st.SearchStrategy[Any] = st.fixed_dictionaries(
        required, optional={key: value for key, value in strategies.items() if key not in required}
    )
    if cls is Step:
        found = found.map(_complete_step)
    if cls is OnCallOverride:
        found = found.map(lambda override: override | {"until": "2027-01-01 00:00"})
    return st.none() | found if cls is Targets else found


def _complete_step(step: dict[str, Any]) -> dict[str, Any]:
    """Complete a drawn step so that it does something, and repeats only if it is a page."""
    return step | {"do": "look"} | ({"until": "ack"} if step.get("repeat") else {})
