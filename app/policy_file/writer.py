"""The inverse of the reader: writes a policy in the language of its file.

The law of this file: what is written is read as the same policy again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields
from datetime import time
from enum import Enum
from typing import Any

import yaml

from app.core.policy import Calendar, Policy, Rotation
from app.core.severity import Scale, Severity
from app.policy_file.field_rules import SHORTHAND_FIELDS, KeySpec, key_specs, shape_of
from app.policy_file.inheritance import load_profile
from app.policy_file.reader import EXTENDS
from app.policy_file.value_parsers import (
    NAMED_TURNS,
    WEEKDAY_NAMES,
    Hours,
    Moment,
    ReportField,
    TimeOfDay,
    Turn,
    report_field_key,
)

PolicyDict = dict[str, Any]
"""Maps, lists and texts; None is `off`."""

_INHERITED_KEYS = {Calendar: "timezone", Rotation: "timezone"}
"""A key that is always written, because its default depends on the policy: the time zone."""


def policy_to_dict(policy: Policy, scale: Scale | None = None, *, whole: bool = False) -> PolicyDict:
    """Return the policy as a complete file on its profile; what only the profile has is `off`.

    `scale` is the one to name severities by, None: the policy's own. `whole` also writes the defaults of named entries
    in a map, such as those of a rotation.
    """
    writer = _Writer(scale or policy.scale, whole=whole)
    return {EXTENDS: policy.profile} | writer.record(Policy, policy, load_profile(policy.profile))


def dump_policy(policy: Policy) -> str:
    """Return the YAML text of a file that makes that policy."""
    text: str = yaml.safe_dump(policy_to_dict(policy), sort_keys=False, allow_unicode=True, width=120)
    return text


class _Writer:
    """Writes each shape of type, with the names of severities on one scale."""

    def __init__(self, scale: Scale, *, whole: bool) -> None:
        self.scale = scale
        self.whole = whole

    def value(self, kind: Any, value: Any, base: Any) -> Any:
        shape = shape_of(kind)
        found: Any
        match shape.form:
            case "word":
                found = self.word(kind, value)
            case "optional":
                found = None if value is None else self.value(shape.inner[0], value, base)
            case "record" if kind in SHORTHAND_FIELDS and _fits_shorthand(kind, value):
                short_spec = key_specs(kind)[SHORTHAND_FIELDS[kind]]
                found = self.value(short_spec.kind, getattr(value, short_spec.fields[0]), None)
            case "record":
                found = self.record(kind, value, base)
            case "map":
                keys, values = shape.inner
                found = self.map(keys, values, value, base or {}, removable=shape.removable)
            case "weekdays":
                found = _format_days(value)
            case _:
                item = _Writer(self.scale, whole=False)
                found = [item.value(shape.inner[0], one, None) for one in _sorted_if_set(value)]
        return found

    def record(self, cls: Any, value: Any, base: Any) -> PolicyDict:
        """Write all fields if `base` is given, otherwise only those that differ from the defaults."""
        return {
            entry.key: self.field(entry, value, base)
            for entry in key_specs(cls).values()
            if base is not None or _INHERITED_KEYS.get(cls) == entry.key or self._must_be_written(cls, entry, value)
        }

    def _must_be_written(self, cls: Any, entry: KeySpec, value: Any) -> bool:
        return not _is_default(cls, entry, value) or (self.whole and any(getattr(value, name) for name in entry.fields))

    def field(self, entry: KeySpec, value: Any, base: Any) -> Any:
        if len(entry.fields) > 1:
            return self.word(entry.kind, tuple(getattr(value, name) for name in entry.fields))
        found, (name,) = getattr(value, entry.fields[0]), entry.fields
        if entry.clearable and found == "":
            return None
        return self.value(entry.kind, found, None if base is None else getattr(base, name))

    def map(
        self, key_kind: Any, kind: Any, value: Mapping[Any, Any], base: Mapping[Any, Any], *, removable: bool
    ) -> PolicyDict:
        found = {self.word(key_kind, key): self.value(kind, one, base.get(key)) for key, one in value.items()}
        removed = [self.word(key_kind, key) for key in base if key not in value] if removable else []
        return found | dict.fromkeys(removed)

    def word(self, kind: Any, value: Any) -> str:
        if isinstance(value, Severity):
            return value.inline_name(self.scale)
        if isinstance(value, Enum):
            return str(value.value)
        return _FORMATTERS.get(kind, str)(value)


def _fits_shorthand(cls: Any, value: Any) -> bool:
    """Return whether all fields but the short one have their defaults."""
    return all(_is_default(cls, entry, value) for key, entry in key_specs(cls).items() if key != SHORTHAND_FIELDS[cls])


def _is_default(cls: Any, entry: KeySpec, value: Any) -> bool:
    found = {field.name: field for field in fields(cls)}
    for name in entry.fields:
        field = found[name]
        default = field.default_factory() if field.default_factory is not MISSING else field.default
        if getattr(value, name) != default:
            return False
    return True


def _sorted_if_set(values: Any) -> list[Any]:
    return sorted(values) if isinstance(values, frozenset) else list(values)


def _format_days(days: frozenset[int]) -> list[str]:
    """Format weekdays in as few ranges as possible."""
    starts = [day for day in range(7) if day in days and (day == 0 or day - 1 not in days)]
    ends = [day for day in range(7) if day in days and (day == 6 or day + 1 not in days)]
    return [
        WEEKDAY_NAMES[first] if first == last else f"{WEEKDAY_NAMES[first]}-{WEEKDAY_NAMES[last]}"
        for first, last in zip(starts, ends, strict=True)
    ]


def _format_hours(hours: tuple[time, time]) -> str:
    opens, closes = hours
    return f"{opens:%H:%M}-{'24:00' if closes == time() else f'{closes:%H:%M}'}"


def _format_turn(length: Any) -> str:
    return next((word for word, known in NAMED_TURNS.items() if known == length), str(length))


_FORMATTERS: Mapping[Any, Callable[[Any], str]] = {
    Hours: _format_hours,
    Turn: _format_turn,
    TimeOfDay: lambda clock: f"{clock:%H:%M}",
    Moment: lambda moment: f"{moment:%Y-%m-%d %H:%M}",
    ReportField: report_field_key,
}
