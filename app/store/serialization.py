"""Serialization of incidents, events and effects to JSON and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from pydantic import TypeAdapter

from app.core import effects, events
from app.core.effects import Effect
from app.core.events import Event
from app.core.incident import Incident

_INCIDENT_ADAPTER = TypeAdapter(Incident)


def _find_subclasses(module: object, base: type) -> dict[str, type]:
    found = vars(module).values()
    return {
        kind.__name__: kind for kind in found if isinstance(kind, type) and issubclass(kind, base) and kind is not base
    }


_EVENT_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind) for name, kind in _find_subclasses(events, Event).items()
}
_EFFECT_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind) for name, kind in _find_subclasses(effects, Effect).items()
}


_FORMER_KINDS = {
    "Said": "Commented",
    "Left": "IssueUnavailable",
    "Returned": "IssueAvailable",
    "Rang": "AlarmFired",
    "Ask": "SeverityQuestion",
    "Mend": "PolicyFaultNotice",
    "Undelivered": "ChannelFailure",
}
"""Type names under which releases up to schema step 12 stored events and effects."""
_FORMER_INCIDENT_FIELDS = {
    "graded_at": "severity_set_at",
    "armed_at": "paging_started_at",
    "laddered_at": "escalation_started_at",
    "opened_with": "initial_labels",
    "answered_at": "page_acknowledged_at",
    "spoken_at": "last_activity_at",
    "reopened": "reopen_count",
    "rests": "pauses",
    "rung": "fired_alarms",
    "left": "unavailable",
    "grounds": "grading_inputs",
    "authorities": "role_history",
}
_FORMER_GRADE_FIELDS = {"unsure": "uncertain"}
_FORMER_ENTRY_FIELDS = {"deed": "kind", "words": "detail"}
_FORMER_FIELDS = {
    "Commented": {"spoken": "commands"},
    "IssueUnavailable": {"how": "reason"},
    "Page": {"missing": "unstaffed", "times": "attempt"},
    "ChannelFailure": {"missing": "unstaffed", "what": "notice_kind", "why": "reason"},
    "Escalate": {"missing": "unstaffed"},
    "Announce": {"missing": "unstaffed"},
    "Remind": {"missing": "unstaffed"},
    "SeverityQuestion": {"missing": "unstaffed"},
    "PolicyFaultNotice": {"missing": "unstaffed"},
}
"""Field names of these releases, by today's type name; data stored under them stays readable."""


_FORMER_UNLOCK_KEY = "returned/2"
"""How the keys of unlocked conversations begin in logs of releases that ended an incident by the lock."""


def kind_of(thing: Event | Effect) -> str:
    """Return the type name under which an event or effect is stored."""
    return type(thing).__name__


def serialize_incident(incident: Incident) -> str:
    """Serialize an incident to JSON."""
    return _INCIDENT_ADAPTER.dump_json(incident).decode()


def parse_incident(data: Any) -> Incident:
    """Parse an incident from decoded JSON, under the field names of any release."""
    if "rung" in data:
        data = _rename_keys(data, _FORMER_INCIDENT_FIELDS)
        data["grade"] = _rename_keys(data["grade"], _FORMER_GRADE_FIELDS)
        data["timeline"] = [_rename_keys(entry, _FORMER_ENTRY_FIELDS) for entry in data["timeline"]]
    if data.get("unavailable") == "locked":
        data = {**data, "unavailable": "", "conversation_locked": True}
    return _INCIDENT_ADAPTER.validate_python(data)


def serialize_event(event: Event) -> str:
    """Serialize an event to JSON; its kind is stored beside it."""
    return _EVENT_ADAPTERS[kind_of(event)].dump_json(event).decode()


def parse_event(kind: str, data: Any) -> Event:
    """Parse an event of that kind from decoded JSON, under the names of any release."""
    kind = _FORMER_KINDS.get(kind, kind)
    data = _rename_keys(data, _FORMER_FIELDS.get(kind))
    if kind == "IssueUnavailable" and data["reason"] == "locked":
        kind, data = "ConversationLocked", {name: value for name, value in data.items() if name != "reason"}
    elif kind == "IssueAvailable" and str(data.get("key", "")).startswith(_FORMER_UNLOCK_KEY):
        kind = "ConversationUnlocked"
    event: Event = _EVENT_ADAPTERS[kind].validate_python(data)
    return event


def serialize_effect(effect: Effect) -> str:
    """Serialize an effect to JSON; its kind is stored beside it."""
    return _EFFECT_ADAPTERS[kind_of(effect)].dump_json(effect).decode()


def parse_effect(kind: str, data: Any) -> Effect:
    """Parse an effect of that kind from decoded JSON, under the names of any release."""
    kind = _FORMER_KINDS.get(kind, kind)
    effect: Effect = _EFFECT_ADAPTERS[kind].validate_python(_rename_keys(data, _FORMER_FIELDS.get(kind)))
    return effect


def canonical_json(thing: Any) -> str:
    """Return JSON that is identical for equal values: sorted keys, sets as sorted lists."""
    return json.dumps(thing, sort_keys=True, ensure_ascii=False, indent=1)


def comparable_incident(incident: Incident) -> dict[str, Any]:
    """Return an incident as plain data in a fixed order, for comparisons."""
    facts: dict[str, Any] = json.loads(serialize_incident(incident))
    sets = (field.name for field in fields(incident) if isinstance(getattr(incident, field.name), frozenset))
    return facts | {name: sorted(facts[name]) for name in sets}


def _rename_keys(data: Mapping[str, Any], names: Mapping[str, str] | None) -> dict[str, Any]:
    """Return the data with former field names replaced; `names` None: there are none."""
    if not names:
        return dict(data)
    return {names.get(name, name): value for name, value in data.items()}
