"""Read and write past incidents as JSON Lines: one event per line, incidents in any order.

    {"incident": "octo/shop#12", "at": "2026-03-06T16:40:00Z", "event": "opened", "by": "mona",
     "title": "Checkout is down", "severity": "sev1", "type": "service outage", "services": ["checkout"]}
    {"incident": "octo/shop#12", "at": "2026-03-06T16:52:00Z", "event": "said", "by": "hubot", "text": "/ack"}
    {"incident": "octo/shop#12", "at": "2026-03-06T18:10:00Z", "event": "closed", "by": "hubot"}

(each on one line).  Every line has `incident`, `at` (a time with a zone) and `event`; `by` is a login and `role` that
user's permission in the repository, `write` if left out.  The events and their other keys:

- `opened`, `edited`: `title`, `severity`, `impact`, `urgency`, `type`, `services`, `personal-data`, `started` and
  `detected`, each as in the form, and `labels` that the issue was opened with.  An edit changes the keys it has; the
  rest stays.
- `said`: `text`, a comment with commands such as `/ack`.
- `labeled`, `unlabeled`: `label`.
- `closed`, `reopened`, `locked`, `unlocked`, `deleted`, `transferred`: no other keys.
- `until`: no other keys; nothing more happened up to then.  Without it, an incident ends with its last event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from difflib import get_close_matches
from enum import Enum
from typing import Any, TypeVar

from app.core.backtest import PastIncident
from app.core.events import (
    Closed,
    Commented,
    ConversationLocked,
    ConversationUnlocked,
    Edited,
    Event,
    IssueUnavailable,
    Labeled,
    Opened,
    Reopened,
    Role,
    Unlabeled,
)
from app.core.incident_report import Exposure, IncidentReport, Kind, Level
from app.core.policy import Policy
from app.core.replay import sort_log
from app.core.severity import Scale, Severity
from app.github.slash_commands import parse_commands
from app.text import make_visible, replace_unstorable

_E = TypeVar("_E", bound=Enum)

_COMMON_KEYS = ("incident", "at", "event", "by", "role")
_REPORT_FIELDS = {
    "severity": "severity",
    "impact": "impact",
    "urgency": "urgency",
    "type": "kind",
    "services": "services",
    "personal-data": "personal_data",
    "started": "started_at",
    "detected": "detected_at",
}
"""The keys of a report, and the fields of the incident report that they fill."""
_OPENED_KEYS = ("title", "labels", *_REPORT_FIELDS)
EVENT_KEYS: Mapping[str, tuple[str, ...]] = {
    "opened": _OPENED_KEYS,
    "edited": ("title", *_REPORT_FIELDS),
    "said": ("text",),
    "labeled": ("label",),
    "unlabeled": ("label",),
    "closed": (),
    "reopened": (),
    "locked": (),
    "unlocked": (),
    "deleted": (),
    "transferred": (),
    "until": (),
}
"""Every event, and the keys that its line may have besides the common ones."""

SUPPORTED_YEARS = range(1970, 2101)
"""The years for which calendars have data."""
MAX_FAULTS = 50
"""Reading stops after this many faulty lines; fixing a few often fixes more."""
_INCIDENT_NAME = re.compile(r"([A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100})#([0-9]{1,9})")


class EventLogFaults(Exception):
    """Lines that cannot be read: `file:line: what was found: what would have worked`, in order."""

    def __init__(self, faults: tuple[str, ...]) -> None:
        super().__init__("\n".join(faults))
        self.faults = faults


class _LineError(ValueError):
    """An error in a line: what was found, and what would have worked."""


@dataclass(slots=True)
class _IncidentBuilder:
    """An incident while its lines are read."""

    title: str = ""
    report: IncidentReport = field(default_factory=IncidentReport)
    log: list[tuple[datetime, Event]] = field(default_factory=list)
    until: datetime | None = None
    opened: bool = False
    first_line: int = 0


def read_event_log(lines: Iterable[str], policy: Policy, name: str) -> tuple[PastIncident, ...]:
    """Return the incidents, in the order of their first lines; severities are named as in `policy`.

    Empty lines are skipped.  Raises EventLogFaults, and nothing else, whatever the lines contain.
    """
    builders: dict[str, _IncidentBuilder] = {}
    faults: list[str] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            _read_line(line, number, builders, policy)
        except _LineError as wrong:
            faults.append(f"{name}:{number}: {wrong}")
            if len(faults) == MAX_FAULTS:
                break
    if not faults:
        faults = [
            f'{name}:{each.first_line}: {make_visible(incident)} was never opened: begin with an event "opened"'
            for incident, each in builders.items()
            if not each.opened
        ]
    if faults:
        raise EventLogFaults(tuple(faults))
    return tuple(
        PastIncident(
            incident,
            each.title,
            tuple(each.log),
            max([at for at, _ in each.log] + [each.until or datetime.min.replace(tzinfo=UTC)]),
        )
        for incident, each in builders.items()
    )


def write_event_log(past: Iterable[PastIncident], scale: Scale) -> Iterator[str]:
    """Yield the lines of those incidents, in the format of `read_event_log`; postmortem events are left out."""
    for each in past:
        last = None
        for at, event in sort_log(each.log):
            fields = _event_fields(event, scale)
            if fields is not None:
                last = at
                common = {"incident": each.name, "at": _format_time(at), "event": fields.pop("event"), "by": event.by}
                role = {} if event.role is Role.WRITE else {"role": event.role.name.lower()}
                yield json.dumps(
                    {key: value for key, value in {**common, **role, **fields}.items() if value}, ensure_ascii=False
                )
        if last is not None and each.until > last:
            yield json.dumps(
                {"incident": each.name, "at": _format_time(each.until), "event": "until"}, ensure_ascii=False
            )


# Reading.


def _read_line(line: str, number: int, builders: dict[str, _IncidentBuilder], policy: Policy) -> None:
    row = _parse_object(line)
    event = _read_choice(row, "event", EVENT_KEYS)
    allowed_keys = (*_COMMON_KEYS, *EVENT_KEYS[event])
    for key in row:
        if key not in allowed_keys:
            raise _LineError(f'{make_visible(key)}: not a key of "{event}": {_suggest(key, allowed_keys)}')
    incident, at = _read_text(row, "incident", required=True), _read_time(row, "at", required=True)
    assert at is not None
    builder = builders.setdefault(incident, _IncidentBuilder(first_line=number))
    if event == "opened" and builder.opened:
        raise _LineError('event: opened once more: an incident is opened once, say "reopened"')
    parsed = _build_event(row, event, number, builder, policy)
    builder.opened = builder.opened or event == "opened"
    if parsed is None:
        builder.until = max(at, builder.until or at)
    else:
        builder.log.append((at, parsed))


def _build_event(
    row: Mapping[str, Any], event: str, number: int, builder: _IncidentBuilder, policy: Policy
) -> Event | None:
    if event == "until":
        return None
    common: dict[str, Any] = {"by": _read_text(row, "by"), "role": _read_role(row), "key": f"line/{number:09}"}
    if event in ("opened", "edited"):
        builder.title = _read_text(row, "title") or builder.title
        builder.report = _update_report(row, builder.report, policy)
        if event == "edited":
            return Edited(title=builder.title, report=builder.report, **common)
        name = _read_text(row, "incident")
        match = _INCIDENT_NAME.fullmatch(name)
        repo, issue = (match[1], int(match[2])) if match else (name, 0)
        labels = frozenset(_read_texts(row, "labels"))
        return Opened(
            id=name, repo=repo, number=issue, title=builder.title, report=builder.report, labels=labels, **common
        )
    if event == "said":
        return Commented(comment=number, commands=parse_commands(_read_text(row, "text", required=True)), **common)
    if event in ("labeled", "unlabeled"):
        label = _read_text(row, "label", required=True)
        return Labeled(label=label, **common) if event == "labeled" else Unlabeled(label=label, **common)
    simple_events: dict[str, Callable[..., Event]] = {
        "closed": Closed,
        "reopened": Reopened,
        "locked": ConversationLocked,
        "unlocked": ConversationUnlocked,
    }
    return simple_events[event](**common) if event in simple_events else IssueUnavailable(reason=event, **common)


def _update_report(row: Mapping[str, Any], before: IncidentReport, policy: Policy) -> IncidentReport:
    readers: dict[str, Callable[[str], Any]] = {
        "severity": lambda key: _read_severity(row, key, policy),
        "impact": lambda key: _read_member(row, key, Level),
        "urgency": lambda key: _read_member(row, key, Level),
        "type": lambda key: _read_member(row, key, Kind),
        "services": lambda key: _read_texts(row, key),
        "personal-data": lambda key: _read_member(row, key, Exposure),
        "started": lambda key: _read_time(row, key),
        "detected": lambda key: _read_time(row, key),
    }
    return replace(before, **{_REPORT_FIELDS[key]: reader(key) for key, reader in readers.items() if key in row})


def _parse_object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as problem:
        place = f" (column {problem.colno})" if isinstance(problem, json.JSONDecodeError) else ""
        raise _LineError(f'not JSON{place}: one object a line, such as {{"incident": "octo/shop#12", ...}}') from None
    if not isinstance(row, dict):
        raise _LineError('not an object: one object a line, such as {"incident": "octo/shop#12", ...}')
    return row


def _read_text(row: Mapping[str, Any], key: str, *, required: bool = False) -> str:
    value = row.get(key)
    if value is None and not required:
        return ""
    if not isinstance(value, str) or (required and not value.strip()):
        found = "is missing" if key not in row else f"{_quote_value(value)} is not a text"
        raise _LineError(f"{key}: {found}: such as {json.dumps(_EXAMPLES[key])}")
    return replace_unstorable(value)


def _read_texts(row: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = row.get(key) or []
    value = [value] if isinstance(value, str) else value
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _LineError(f"{key}: {_quote_value(value)} is not a list of texts: such as {json.dumps(_EXAMPLES[key])}")
    return tuple(replace_unstorable(each) for each in value)


def _read_time(row: Mapping[str, Any], key: str, *, required: bool = False) -> datetime | None:
    text = _read_text(row, key, required=required)
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None or at.year not in SUPPORTED_YEARS:
        raise _LineError(f'{key}: {_quote_value(text)} is not a time with its zone: such as "2026-03-06T16:40:00Z"')
    return at.astimezone(UTC)


def _read_severity(row: Mapping[str, Any], key: str, policy: Policy) -> Severity | None:
    text = _read_text(row, key)
    if not text:
        return None
    severity = policy.severity(text)
    if severity is None:
        names = ", ".join(each.inline_name(policy.scale) for each in Severity)
        raise _LineError(f"{key}: {_quote_value(text)} is not a severity here: one of {names}")
    return severity


def _read_member(row: Mapping[str, Any], key: str, kind: type[_E]) -> _E | None:
    text = _read_text(row, key)
    if not text:
        return None
    for member in kind:
        if str(member.value) == text.casefold():
            return member
    raise _LineError(
        f"{key}: {_quote_value(text)} is unknown: {_suggest(text, [str(member.value) for member in kind])}"
    )


def _read_role(row: Mapping[str, Any]) -> Role:
    text = _read_text(row, "role")
    if not text:
        return Role.WRITE
    names = {role.name.lower(): role for role in Role if role is not Role.UNKNOWN}
    if text.lower() not in names:
        raise _LineError(f"role: {_quote_value(text)} is unknown: {_suggest(text, names)}")
    return names[text.lower()]


def _read_choice(row: Mapping[str, Any], key: str, choices: Iterable[str]) -> str:
    text = _read_text(row, key, required=True)
    if text not in choices:
        raise _LineError(f"{key}: {_quote_value(text)} is unknown: {_suggest(text, choices)}")
    return text


def _suggest(word: str, choices: Iterable[str]) -> str:
    names = list(choices)
    near = get_close_matches(word.casefold()[:60], names, n=1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(names)}"


def _quote_value(value: object) -> str:
    return f"'{make_visible(str(value), 40)}'"


_EXAMPLES: Mapping[str, Any] = {
    "incident": "octo/shop#12",
    "at": "2026-03-06T16:40:00Z",
    "event": "opened",
    "by": "mona",
    "role": "write",
    "title": "Checkout is down",
    "severity": "sev1",
    "impact": "high",
    "urgency": "high",
    "type": "service outage",
    "services": ["checkout"],
    "personal-data": "no",
    "started": "2026-03-06T16:30:00Z",
    "detected": "2026-03-06T16:35:00Z",
    "labels": ["incident"],
    "label": "sev1",
    "text": "/ack",
}


# Writing.


_SIMPLE_EVENT_NAMES: Mapping[type[Event], str] = {
    Labeled: "labeled",
    Unlabeled: "unlabeled",
    Closed: "closed",
    Reopened: "reopened",
    ConversationLocked: "locked",
    ConversationUnlocked: "unlocked",
}


def _event_fields(event: Event, scale: Scale) -> dict[str, Any] | None:
    """Return the keys of an event's line; None: it has no line."""
    found: dict[str, Any] | None = None
    if isinstance(event, Opened | Edited):
        found = {"event": "edited", "title": event.title, **_report_values(event.report, scale)}
        if isinstance(event, Opened):
            found |= {"event": "opened", "labels": sorted(event.labels)}
    elif isinstance(event, Commented) and event.commands:
        lines = (f"/{each.name} {each.argument}".rstrip() for each in event.commands)
        found = {"event": "said", "text": "\n".join(lines)}
    elif isinstance(event, IssueUnavailable):
        found = {"event": event.reason}
    elif type(event) in _SIMPLE_EVENT_NAMES:
        found = {"event": _SIMPLE_EVENT_NAMES[type(event)]}
        if isinstance(event, Labeled | Unlabeled):
            found["label"] = event.label
    return found


def _report_values(report: IncidentReport, scale: Scale) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, name in _REPORT_FIELDS.items():
        value = getattr(report, name)
        if isinstance(value, Severity):
            value = value.inline_name(scale)
        elif isinstance(value, Enum):
            value = value.value
        elif isinstance(value, datetime):
            value = _format_time(value)
        found[key] = list(value) if isinstance(value, tuple) else value
    return found


def _format_time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")
