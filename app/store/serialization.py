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


def _kinds(module: object, base: type) -> dict[str, type]:
    found = vars(module).values()
    return {
        kind.__name__: kind for kind in found if isinstance(kind, type) and issubclass(kind, base) and kind is not base
    }


_EVENT_ADAPTERS: dict[str, TypeAdapter[Any]] = {name: TypeAdapter(kind) for name, kind in _kinds(events, Event).items()}
_EFFECT_ADAPTERS: dict[str, TypeAdapter[Any]] = {
    name: TypeAdapter(kind) for name, kind in _kinds(effects, Effect).items()
}


def kind_of(thing: Event | Effect) -> str:
    """Return the type name under which an event or effect is stored."""
    return type(thing).__name__


def incident_json(incident: Incident) -> str:
    """Serialize an incident to JSON."""
    return _INCIDENT_ADAPTER.dump_json(incident).decode()


def incident_from(data: Any) -> Incident:
    """Parse an incident from decoded JSON."""
    return _INCIDENT_ADAPTER.validate_python(data)


def event_json(event: Event) -> str:
    """Serialize an event to JSON; its kind is stored beside it."""
    return _EVENT_ADAPTERS[kind_of(event)].dump_json(event).decode()


def event_from(kind: str, data: Any) -> Event:
    """Parse an event of that kind from decoded JSON."""
    found: Event = _EVENT_ADAPTERS[kind].validate_python(data)
    return found


def effect_json(effect: Effect) -> str:
    """Serialize an effect to JSON; its kind is stored beside it."""
    return _EFFECT_ADAPTERS[kind_of(effect)].dump_json(effect).decode()


def effect_from(kind: str, data: Any) -> Effect:
    """Parse an effect of that kind from decoded JSON."""
    found: Effect = _EFFECT_ADAPTERS[kind].validate_python(data)
    return found


def canonical(thing: Any) -> str:
    """Return JSON that is identical for equal values: sorted keys, sets as sorted lists."""
    return json.dumps(thing, sort_keys=True, ensure_ascii=False, indent=1)


def incident_facts(incident: Incident) -> dict[str, Any]:
    """Return an incident as plain data in a fixed order, for comparisons."""
    facts: dict[str, Any] = json.loads(incident_json(incident))
    sets = (field.name for field in fields(incident) if isinstance(getattr(incident, field.name), frozenset))
    return facts | {name: sorted(facts[name]) for name in sets}
