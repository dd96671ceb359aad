"""Serialization of incidents, events and effects to JSON and back."""

from __future__ import annotations

import json
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


def kind_of(thing: Event | Effect) -> str:
    """Return the type name under which an event or effect is stored."""
    return type(thing).__name__


def serialize_incident(incident: Incident) -> str:
    """Serialize an incident to JSON."""
    return _INCIDENT_ADAPTER.dump_json(incident).decode()


def parse_incident(data: Any) -> Incident:
    """Parse an incident from decoded JSON."""
    return _INCIDENT_ADAPTER.validate_python(data)


def serialize_event(event: Event) -> str:
    """Serialize an event to JSON; its kind is stored beside it."""
    return _EVENT_ADAPTERS[kind_of(event)].dump_json(event).decode()


def parse_event(kind: str, data: Any) -> Event:
    """Parse an event of that kind from decoded JSON."""
    found: Event = _EVENT_ADAPTERS[kind].validate_python(data)
    return found


def serialize_effect(effect: Effect) -> str:
    """Serialize an effect to JSON; its kind is stored beside it."""
    return _EFFECT_ADAPTERS[kind_of(effect)].dump_json(effect).decode()


def parse_effect(kind: str, data: Any) -> Effect:
    """Parse an effect of that kind from decoded JSON."""
    found: Effect = _EFFECT_ADAPTERS[kind].validate_python(data)
    return found


def canonical_json(thing: Any) -> str:
    """Return JSON that is identical for equal values: sorted keys, sets as sorted lists."""
    return json.dumps(thing, sort_keys=True, ensure_ascii=False, indent=1)


def comparable_incident(incident: Incident) -> dict[str, Any]:
    """Return an incident as plain data in a fixed order, for comparisons."""
    facts: dict[str, Any] = json.loads(serialize_incident(incident))
    sets = (field.name for field in fields(incident) if isinstance(getattr(incident, field.name), frozenset))
    return facts | {name: sorted(facts[name]) for name in sets}
