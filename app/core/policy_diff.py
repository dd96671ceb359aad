"""Compare two policies and list the differences, in the words of the policy file.

A policy is flattened into facts, each with its path, and two policies are compared fact by fact.  The paths follow the
types, so a new field is compared as soon as it exists.  Only escalation steps are matched differently: a step is
identified by whom it notifies, not by its position.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date, datetime, time
from enum import Enum
from typing import Any

from app.core.policy import (
    Calendar,
    ChannelConfig,
    Duration,
    Floor,
    OnCallOverride,
    Override,
    Policy,
    Rotation,
    Step,
    Target,
    Until,
)
from app.core.severity import Scale, Severity

_WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FILE_KEYS = {
    (Policy, "profile"): "extends",
    (Policy, "targets"): "",
    (Policy, "ladders"): "",
    (Override, "targets"): "",
    (Override, "ladders"): "",
    (ChannelConfig, "kind"): "kind",
    (ChannelConfig, "serves"): "for",
    (OnCallOverride, "since"): "from",
    (Floor, "kind"): "type",
}
"""Fields whose key in the policy file differs from their name; empty: the path is the severity alone."""
_COMMON_FILE_KEYS = {"zone": "timezone", "kinds": "types", "kind": "type"}
"""Keys of the policy file that differ from the field name in every record."""
_SKIPPED_FIELDS = {
    (Rotation, "shifts"),
    (Override, "services"),
    (Override, "kinds"),
    (Calendar, "opens"),
    (Calendar, "closes"),
}
"""Fields that are part of another fact, or not in the policy file."""


@dataclass(frozen=True, slots=True)
class PolicyChange:
    """One difference between two policies: `what` it is, `was` and `now`.  None: it is absent on that side.

    `severity` None: it does not belong to one severity.  `is_step`: it is an escalation step, `what` being whom it
    notifies.
    """

    severity: Severity | None
    what: str
    was: str | None
    now: str | None
    is_step: bool = False

    def __str__(self) -> str:
        if self.was is None:
            return f"+ {self.what} {self.now}"
        return f"- {self.what} {self.was}" if self.now is None else f"{self.what} {self.was} -> {self.now}"


_FactKey = tuple[Severity | None, str, str]
"""Severity, path, and what distinguishes the entries of a set."""
_Facts = dict[_FactKey, str | tuple[Step, ...]]


def diff_policies(old: Policy, new: Policy) -> tuple[PolicyChange, ...]:
    """List the differences between two policies, those of a severity first and the worst severity first.

    Severities are named as in `new`.
    """
    was, now = _policy_facts(old, new.scale), _policy_facts(new, new.scale)
    found = [change for key in {**was, **now} for change in _fact_changes(key, was.get(key), now.get(key))]
    return tuple(sorted(found, key=lambda change: (change.severity is None, change.severity or 0)))


def _policy_facts(policy: Policy, scale: Scale) -> _Facts:
    return dict(_facts_of(policy, None, "", scale))


def _fact_changes(
    key: _FactKey, was: str | tuple[Step, ...] | None, now: str | tuple[Step, ...] | None
) -> Iterator[PolicyChange]:
    severity, path, _ = key
    if isinstance(was, tuple) or isinstance(now, tuple):
        yield from _step_changes(severity, path, _as_steps(was), _as_steps(now))
    elif was != now:
        yield PolicyChange(severity, path, was, now)


def _as_steps(fact: str | tuple[Step, ...] | None) -> list[Step]:
    return list(fact) if isinstance(fact, tuple) else []


def _step_changes(severity: Severity | None, path: str, was: list[Step], now: list[Step]) -> Iterator[PolicyChange]:
    """Compare two lists of escalation steps.

    Equal steps are dropped, then steps with the same recipients and request are paired, then those with the same
    recipients; what remains was added or removed.
    """
    for step in list(was):
        if step in now:
            was.remove(step)
            now.remove(step)
    pairs: dict[int, tuple[Step, Step]] = {}
    for same in (lambda step: (step.to, step.until, step.do), lambda step: (step.to or step.do, step.until)):
        for step in list(was):
            if match := next((other for other in now if same(other) == same(step)), None):
                pairs[id(step)] = (step, match)
                was.remove(step)
                now.remove(match)
    for before, after in pairs.values():
        yield PolicyChange(
            severity, _join_words(path, _describe_recipients(after)), *_timing_difference(before, after), is_step=True
        )
    yield from _recipient_changes(severity, path, was, now)
    for step in was:
        yield PolicyChange(
            severity, _join_words(path, _describe_recipients(step)), _describe_timing(step), None, is_step=True
        )
    for step in now:
        yield PolicyChange(
            severity, _join_words(path, _describe_recipients(step)), None, _describe_timing(step), is_step=True
        )


def _recipient_changes(
    severity: Severity | None, path: str, was: list[Step], now: list[Step]
) -> Iterator[PolicyChange]:
    """Compare steps that are due at the same time, when only some of their recipients changed."""
    for step in list(was):
        candidates = (other for other in now if replace(other, to=step.to) == step and set(other.to) & set(step.to))
        if match := next(candidates, None):
            was.remove(step)
            now.remove(match)
            yield PolicyChange(
                severity, _join_words(path, f"after {step.after}"), ", ".join(step.to), ", ".join(match.to)
            )


def _join_words(path: str, what: str) -> str:
    return f"{path} {what}".strip()


def _describe_recipients(step: Step) -> str:
    names = ", ".join(step.to) or ("on-call" if step.until is Until.ACK else "")
    if step.until is Until.ACK:
        return f"page {names}"
    return names or f"do: {step.do}"


def _describe_timing(step: Step) -> str:
    parts = ["at once" if step.after.is_immediate else str(step.after)]
    if step.until is Until.ACK:
        parts.append("until ack")
    if step.repeat:
        parts.append(f"every {step.repeat}")
    if step.via:
        parts.append(f"via {', '.join(via.value for via in step.via)}")
    if step.do and step.to:
        parts.append(f"do: {step.do}")
    return " ".join(parts)


def _timing_difference(before: Step, after: Step) -> tuple[str, str]:
    """Describe when the step is due before and after; only the wait where nothing else differs."""
    only_wait_differs = (before.repeat, before.via, before.do) == (after.repeat, after.via, after.do)
    return (
        (_describe_wait(before), _describe_wait(after))
        if only_wait_differs
        else (_describe_timing(before), _describe_timing(after))
    )


def _describe_wait(step: Step) -> str:
    return "at once" if step.after.is_immediate else str(step.after)


# Flattening a policy into facts.


def _facts_of(value: Any, severity: Severity | None, path: str, scale: Scale) -> Iterator[tuple[_FactKey, Any]]:
    """Yield every fact of `value`, which is at `path`."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            if isinstance(key, Severity):
                yield from _facts_of(each, key, path, scale)
            elif each is None:
                yield (severity, _join_keys(path, _format_value(key, scale)), ""), "off"
            else:
                yield from _facts_of(each, severity, _join_keys(path, _format_value(key, scale)), scale)
    elif isinstance(value, tuple) and value and is_dataclass(value[0]) and not isinstance(value[0], Duration):
        yield from _facts_of_sequence(value, severity, path, scale)
    elif isinstance(value, frozenset) and any(isinstance(each, date) for each in value):
        for day in sorted(value):
            yield (severity, path, day.isoformat()), day.isoformat()
    elif is_dataclass(value) and not isinstance(value, (Duration, Target)):
        yield from _facts_of_record(value, severity, path, scale)
    elif value is not None and value not in ("", (), frozenset()):
        yield (severity, path, ""), _format_value(value, scale)


def _facts_of_record(value: Any, severity: Severity | None, path: str, scale: Scale) -> Iterator[tuple[_FactKey, Any]]:
    if isinstance(value, Calendar):
        yield (severity, _join_keys(path, "hours"), ""), f"{value.opens:%H:%M}-{value.closes:%H:%M}"
        yield (severity, _join_keys(path, "days"), ""), _format_weekdays(value.days)
    for field in fields(value):
        field_id = (type(value), field.name)
        if field_id in _SKIPPED_FIELDS or field_id == (Calendar, "days"):
            continue
        key = _FILE_KEYS.get(field_id, _COMMON_FILE_KEYS.get(field.name, field.name)).replace("_", "-")
        yield from _facts_of(getattr(value, field.name), severity, _join_keys(path, key), scale)


def _facts_of_sequence(
    values: Sequence[Any], severity: Severity | None, path: str, scale: Scale
) -> Iterator[tuple[_FactKey, Any]]:
    """Yield the facts of a sequence.

    Escalation steps are one fact together; overrides are identified by what they apply to; floors and on-call
    overrides are one fact each.
    """
    if isinstance(values[0], Step):
        yield (severity, path, "ladder"), values
        return
    seen: dict[str, int] = {}
    for value in values:
        name = _entry_name(value)
        seen[name] = seen.get(name, 0) + 1
        suffix = f" ({seen[name]})" if seen[name] > 1 else ""
        if isinstance(value, Override):
            yield from _facts_of_record(value, severity, f"{path}[{name}]{suffix}", scale)
        else:
            yield (severity, path, name + suffix), _describe_record(value, scale)


def _entry_name(value: Any) -> str:
    if isinstance(value, Override):
        return ", ".join((*value.services, *(kind.value for kind in value.kinds))) or "all"
    return value.because if isinstance(value, Floor) else ""


def _describe_record(value: Any, scale: Scale) -> str:
    """Describe a small record in one line: `from 2026-12-24 18:00, until ..., person hubot`."""
    parts = [_format_value(value.because, scale)] if isinstance(value, Floor) else []
    for field in fields(value):
        content = getattr(value, field.name)
        if content not in (None, "", ()) and not (isinstance(value, Floor) and field.name == "because"):
            field_id = (type(value), field.name)
            key = _FILE_KEYS.get(field_id, _COMMON_FILE_KEYS.get(field.name, field.name)).replace("_", "-")
            parts.append(f"{key} {_format_value(content, scale)}")
    return ", ".join(parts)


def _format_value(value: Any, scale: Scale) -> str:
    """Format a value as in the policy file."""
    if isinstance(value, Severity):
        return value.inline_name(scale)
    if isinstance(value, Target):
        return f"{value.within} of {value.calendar} hours" if value.calendar else str(value.within)
    if isinstance(value, (tuple, frozenset)):
        return ", ".join(
            _format_value(each, scale) for each in (sorted(value) if isinstance(value, frozenset) else value)
        )
    return _format_scalar(value)


def _format_scalar(value: Any) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M}"
    return f"{value:%H:%M}" if isinstance(value, time) else str(value)


def _format_weekdays(days: frozenset[int]) -> str:
    """Format weekdays as ranges: `mon-fri`, `mon-tue, sat`."""
    runs: list[list[int]] = []
    for day in sorted(days):
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return ", ".join(
        _WEEKDAYS[run[0]] if len(run) == 1 else f"{_WEEKDAYS[run[0]]}-{_WEEKDAYS[run[-1]]}" for run in runs
    )


def _join_keys(path: str, key: str) -> str:
    return ".".join(part for part in (path, key) if part)
