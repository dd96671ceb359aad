"""The JSON Schema of the policy file, generated from the types, for editors and schema-only checks.

The law of this file: it rejects nothing that the reader accepts. It sees a file as YAML 1.2 does, so `80` is a number,
an empty value is null, and `off` is a text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from typing import Any

from app.core.policy import Duration, Policy, Targets
from app.core.severity import Scale, Severity
from app.policy_file import value_parsers
from app.policy_file.field_docs import KEY_DESCRIPTIONS, KIND_DESCRIPTIONS, KIND_EXAMPLES, type_description
from app.policy_file.field_rules import SHORTHAND_FIELDS, key_specs, shape_of
from app.policy_file.inheritance import POLICY_PATH, PROFILES
from app.policy_file.reader import EXTENDS, ORG
from app.policy_file.value_parsers import NAMED_TURNS, REPORT_FIELDS, WEEKDAY_NAMES, report_field_key

Schema = dict[str, Any]

_ELAPSED_DURATION = "[1-9][0-9]{0,4}(?:s|m|h|d|w)"
_DURATION = "0m|[1-9][0-9]{0,4}(?:s|m|h|d|w|bd)"
_LABEL = r"[^\s,](?:[^,]{0,48}[^\s,])?"
_NAME = f"(?!@){_LABEL}"
_LINE = r"\s*\S(?:.{0,198}\S)?\s*"
_ADDRESS = r"https://[^\s]{1,492}"
_SEGMENT = r"(?!\.\.?(?:/|$))[^\s<>\"`\\^{|}:?*/]+"
_PATH = f"{_SEGMENT}(?:/{_SEGMENT})*"


def _case_insensitive(*words: str) -> str:
    """Return a pattern that matches these words in any case."""
    spelled = ("".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word) for word in words)
    return f"(?:{'|'.join(spelled)})"


_WEEKDAY = _case_insensitive(*WEEKDAY_NAMES)
_PATTERNS: Mapping[Any, str] = {
    str: _LINE,
    Duration: _DURATION,
    date: value_parsers.DATE.pattern,
    value_parsers.Zone: "[A-Za-z0-9_+-]+(?:/[A-Za-z0-9_+-]+)*",
    value_parsers.Login: value_parsers.LOGIN.pattern,
    value_parsers.LabelName: _LABEL,
    value_parsers.Heading: _LINE,
    value_parsers.RepeatInterval: _DURATION.removeprefix("0m|"),
    value_parsers.Elapsed: _ELAPSED_DURATION,
    value_parsers.Turn: f"{_case_insensitive(*NAMED_TURNS)}|{_ELAPSED_DURATION}",
    value_parsers.TimeOfDay: value_parsers.TIME_OF_DAY.pattern,
    value_parsers.Moment: value_parsers.MOMENT.pattern,
    value_parsers.Percent: "[1-9][0-9]?|100",
    value_parsers.Count: "[1-9][0-9]{0,5}",
    value_parsers.Hours: value_parsers.HOURS.pattern,
    value_parsers.WeekdayRange: rf"\s*{_WEEKDAY}\s*(?:-\s*{_WEEKDAY}\s*)?",
    value_parsers.Country: "[A-Z]{2}",
    value_parsers.Region: ".{1,40}",
    value_parsers.Mail: r"[^\s@]{1,64}@[^\s@]{1,189}",
    value_parsers.Link: f"{_ADDRESS}|{_PATH}",
    value_parsers.FeedAddress: f"{_ADDRESS}|env:FEED_[A-Z0-9_]{{1,59}}|{_PATH}\\.ics",
    value_parsers.ChannelUrl: f"{_ADDRESS}|env:CHANNEL_[A-Z0-9_]{{1,56}}",
    value_parsers.Variable: "env:CHANNEL_[A-Z0-9_]{1,56}",
    value_parsers.RoomName: _LINE,
    value_parsers.RoomLink: r"https://.{1,492}",
    value_parsers.MetricReading: "[0-9].{0,40}",
    value_parsers.Score: value_parsers.SCORE.pattern,
}
"""The pattern of each kind of word; a kind that is missing here is a name."""

_OFF: Schema = {"$ref": "#/$defs/Off"}


def schema() -> Schema:
    """Return the JSON Schema of a policy file.

    Only the reader can check names that have to exist elsewhere in the policy.
    """
    builder = _SchemaBuilder()
    whole = builder.record(Policy)
    whole["properties"] = {
        EXTENDS: {
            "description": "what the file builds on: a profile, or the file of the organisation",
            "enum": [*PROFILES, ORG],
            "default": PROFILES[0],
        }
    } | whole["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Muster policy ({POLICY_PATH})",
        **whole,
        "$defs": dict(sorted(builder.definitions.items())),
    }


class _SchemaBuilder:
    """Builds the schema of each shape of type; records and enumerations once, under their names."""

    def __init__(self) -> None:
        in_any_case = {"type": "string", "pattern": _anchor_pattern(f"{_case_insensitive('off', 'null')}|~")}
        self.definitions: dict[str, Schema] = {
            "Off": {"description": "takes it away"} | _any_of({"enum": ["off", None]}, in_any_case)
        }

    def kind(self, kind: Any) -> Schema:
        shape = shape_of(kind)
        found: Schema
        match shape.form:
            case "word":
                found = self.word(kind)
            case "optional":
                found = _any_of(self.kind(shape.inner[0]), _OFF)
            case "record":
                found = self.record_reference(kind)
            case "map":
                keys, values = shape.inner
                found = self.map(keys, values, removable=shape.removable)
            case "row":
                item = self.kind(shape.inner[0])
                row = {"type": "array", "items": item, "minItems": len(shape.inner), "maxItems": len(shape.inner)}
                found = _any_of(row, self.map(Severity, shape.inner[0], removable=False))
            case "weekdays":
                found = self.items(value_parsers.WeekdayRange)
            case _:
                found = self.items(shape.inner[0])
        return found

    def items(self, kind: Any) -> Schema:
        item = self.kind(kind)
        single = [] if is_dataclass(kind) and kind is not Duration else [item]
        return _any_of({"type": "array", "items": item}, *single, _OFF)

    def map(self, keys: Any, kind: Any, *, removable: bool) -> Schema:
        value = self.kind(kind)
        value = _any_of(value, _OFF) if removable else value
        found: Schema = {"type": ["object", "null"], "additionalProperties": False}
        if keys is Severity:
            found["properties"] = {name: value for scale in Scale for name in _severity_names(scale)}
            found["patternProperties"] = {
                _anchor_pattern(f"{_case_insensitive('sev')}[1-4]|{_case_insensitive('p')}[0-3]"): value
            }
        elif isinstance(keys, type) and issubclass(keys, Enum):
            found["properties"] = {member.value: value for member in keys}
            found["patternProperties"] = {_anchor_pattern(_case_insensitive(*(member.value for member in keys))): value}
        elif keys is value_parsers.ClockName:
            found["properties"] = dict.fromkeys(value_parsers.CLOCK_NAMES, value)
        else:
            found["patternProperties"] = {_anchor_pattern(_PATTERNS.get(keys, _NAME)): value}
        return found

    def record_reference(self, cls: Any) -> Schema:
        """Return a reference to a record's definition, beside the record's short forms."""
        name = cls.__name__
        if name not in self.definitions:
            self.definitions[name] = {}  # reserve the name, since a record may contain itself
            self.definitions[name] = self.record(cls)
        found: Schema = {"$ref": f"#/$defs/{name}"}
        if cls in SHORTHAND_FIELDS:
            found = _any_of(self.kind(key_specs(cls)[SHORTHAND_FIELDS[cls]].kind), found)
        return _any_of(found, _OFF) if cls is Targets else found

    def record(self, cls: Any) -> Schema:
        properties: dict[str, Schema] = {}
        for key, entry in key_specs(cls).items():
            value_schema = self.kind(entry.kind)
            value_schema = _any_of(value_schema, _OFF) if entry.clearable else value_schema
            properties[key] = {"description": KEY_DESCRIPTIONS[cls][key].replace("`", "")} | _without_description(
                value_schema
            )
            properties[key] |= _default_of(cls, entry.fields)
        required = [key for key, entry in key_specs(cls).items() if entry.required]
        found: Schema = {
            "description": type_description(cls),
            "type": "object" if required else ["object", "null"],
            "properties": properties,
            "additionalProperties": False,
        }
        return found | ({"required": required} if required and cls not in SHORTHAND_FIELDS else {})

    def word(self, kind: Any) -> Schema:
        if kind is Severity:
            return self.enumeration("Severity", [name for scale in Scale for name in _severity_names(scale)])
        if kind is value_parsers.ReportField:
            return self.enumeration("ReportField", [report_field_key(name) for name in REPORT_FIELDS])
        if isinstance(kind, type) and issubclass(kind, Enum):
            return self.enumeration(kind.__name__, [member.value for member in kind])
        name = "Line" if kind is str else kind.__name__[0].upper() + kind.__name__[1:]
        self.definitions.setdefault(name, _word_schema(kind))
        return {"$ref": f"#/$defs/{name}"}

    def enumeration(self, name: str, values: list[str]) -> Schema:
        in_any_case = {
            "type": "string",
            "pattern": _anchor_pattern(_case_insensitive(*(value.lower() for value in values))),
        }
        self.definitions.setdefault(name, _any_of({"enum": values}, in_any_case))
        return {"$ref": f"#/$defs/{name}"}


def _word_schema(kind: Any) -> Schema:
    pattern = _PATTERNS.get(kind, _NAME)
    found: Schema = {"description": KIND_DESCRIPTIONS[kind].replace("`", ""), "type": "string"}
    if kind in (value_parsers.Percent, value_parsers.Count):
        found |= {
            "type": ["integer", "string"],
            "minimum": 1,
            "maximum": 100 if kind is value_parsers.Percent else 999_999,
        }
    elif kind is value_parsers.Score:
        found |= {"type": ["number", "string"], "minimum": 0, "maximum": 5}
    elif kind not in (Duration, value_parsers.RepeatInterval, value_parsers.Elapsed, value_parsers.Turn):
        found["type"] = ["string", "number", "boolean"]  # the reader takes it as text, whatever YAML makes of it
    found["pattern"] = _anchor_pattern(pattern)
    return found | ({"examples": list(KIND_EXAMPLES[kind])} if kind in KIND_EXAMPLES else {})


def _any_of(*choices: Schema) -> Schema:
    """Combine schemas with `anyOf`; nested `anyOf` lists are flattened."""
    flat: list[Schema] = []
    for choice in choices:
        for option in choice["anyOf"] if set(choice) == {"anyOf"} else [choice]:
            if option not in flat:
                flat.append(option)
    return {"anyOf": flat}


def _without_description(value_schema: Schema) -> Schema:
    return {key: value for key, value in value_schema.items() if key != "description"}


def _default_of(cls: Any, names: tuple[str, ...]) -> Schema:
    """Return the default where it is a single number; all other defaults depend on the profile."""
    field = next(field for field in fields(cls) if field.name == names[0])
    return {"default": field.default} if isinstance(field.default, int) else {}


def _severity_names(scale: Scale) -> list[str]:
    return [severity.inline_name(scale) for severity in Severity]


def _anchor_pattern(pattern: str) -> str:
    return f"^(?:{pattern})$"
