"""What GitHub forgets, kept in the signed last line of the board, so that GitHub alone is enough for a rebuild.

GitHub knows what people may do today, not what they might when they acted; it shows the newest text of an issue, not
the one that was graded; and it has never heard of our incident ids.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import TypeAdapter, ValidationError

from app.core.incident import Authority, Ground, Incident
from app.core.report import Report

BOARD = "board"
_GROUNDS = TypeAdapter(tuple[Ground, ...])
_AUTHORITIES = TypeAdapter(tuple[Authority, ...])


@dataclass(frozen=True, slots=True)
class Memory:
    """What the board remembers of an incident."""

    id: str
    grounds: tuple[Ground, ...]
    authorities: tuple[Authority, ...]
    opened_with: frozenset[str]


def content(incident: Incident) -> dict[str, Any]:
    """What goes into the marker of the board."""
    return {
        "keys": [BOARD],
        "id": incident.id,
        "grounds": json.loads(_GROUNDS.dump_json(incident.grounds)),
        "authorities": json.loads(_AUTHORITIES.dump_json(incident.authorities)),
        "opened_with": sorted(incident.opened_with),
    }


def recalled(found: Mapping[str, Any]) -> Memory | None:
    """The memory in a marker; None for a marker that is not the board's."""
    if BOARD not in found.get("keys", ()):
        return None
    try:
        grounds = _GROUNDS.validate_python(found["grounds"])
        authorities = _AUTHORITIES.validate_python(found["authorities"])
        opened_with = frozenset(map(str, found["opened_with"]))
    except (KeyError, TypeError, ValidationError):
        return None
    return Memory(str(found.get("id", "")), grounds, authorities, opened_with)


def as_graded(report: Report, ground: Ground, *, newest: bool) -> Report:
    """The newest report with the answers that it was graded by at the time of `ground`, which may be the newest too."""
    return replace(
        report,
        services=report.services if newest else ground.services,
        detected_at=report.detected_at if newest else ground.detected_at,
        severity=ground.severity,
        impact=ground.impact,
        urgency=ground.urgency,
        kind=ground.kind,
        personal_data=ground.personal_data,
        doubts=ground.doubts,
    )
