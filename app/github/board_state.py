"""What GitHub forgets, kept in the signed last line of the board, so that GitHub alone is enough for a rebuild.

GitHub knows what people may do today, not what they might when they acted; it shows the newest text of an issue, not
the one that was graded; and it has never heard of our incident ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from app.core.events import Edited, Opened, Role, Said
from app.core.incident import Authority, Ground, Incident
from app.core.incident_report import Report
from app.github.inbound import Happened
from app.ports import Comment

if TYPE_CHECKING:
    from pydantic import TypeAdapter

BOARD = "board"
_ID = re.compile(r"INC-[0-9]{4}-[0-9]{4}-[0-9]{3,12}")
_GROUNDS = tuple[Ground, ...]
_AUTHORITIES = tuple[Authority, ...]
_MOST_KEPT = 40
"""So many comments that were changed afterwards are kept as they were: the board is a comment, too."""
Marked = tuple[Comment, Mapping[str, Any]]
"""A comment of ours, and what its marker says."""


@cache
def _as(shape: Any) -> TypeAdapter[Any]:
    """What reads and writes that shape."""
    from pydantic import TypeAdapter  # noqa: PLC0415  a run that only looks needs none of it

    return TypeAdapter(shape)


@dataclass(frozen=True, slots=True)
class AsShown:
    """What a board remembers of itself, for those who have no database.

    `at` is when it was last written, which was the end of what was to be done by then; `held`: but for notices that had to
    wait.  `next` is when its next alarm falls due, by the policy `policy`; None: none does.  `heard` are the comments whose
    commands were taken in, and `kept` the commands of those that were edited or deleted afterwards.
    """

    at: datetime
    next: datetime | None
    policy: str
    held: bool = False
    heard: frozenset[int] = frozenset()
    kept: tuple[tuple[datetime, Said], ...] = ()

    def content(self) -> dict[str, Any]:
        told = _as(AsShown).dump_json(replace(self, kept=self.kept[-_MOST_KEPT:]), exclude_defaults=True)
        return {**json.loads(told), **({"heard": sorted(self.heard)} if self.heard else {})}


@dataclass(frozen=True, slots=True)
class Memory:
    """What the board remembers of an incident.  `shown` None: it was written by the app."""

    id: str
    grounds: tuple[Ground, ...]
    authorities: tuple[Authority, ...]
    opened_with: frozenset[str]
    shown: AsShown | None = None


def content(incident: Incident) -> dict[str, Any]:
    """What goes into the marker of the board."""
    return {
        "keys": [BOARD],
        "id": incident.id,
        "grounds": json.loads(_as(_GROUNDS).dump_json(incident.grounds)),
        "authorities": json.loads(_as(_AUTHORITIES).dump_json(incident.authorities)),
        "opened_with": sorted(incident.opened_with),
    }


def recalled(found: Mapping[str, Any]) -> Memory | None:
    """The memory in a marker; None for a marker that is not the board's."""
    if BOARD not in found.get("keys", ()):
        return None
    try:
        grounds = _as(_GROUNDS).validate_python(found["grounds"])
        authorities = _as(_AUTHORITIES).validate_python(found["authorities"])
        opened_with = frozenset(map(str, found["opened_with"]))
        shown = _shown(found) if "at" in found else None
    except (KeyError, TypeError, ValueError):
        return None
    named = str(found.get("id", ""))
    return Memory(named if _ID.fullmatch(named) else "", grounds, authorities, opened_with, shown)


def _shown(found: Mapping[str, Any]) -> AsShown:
    known = {each.name: found[each.name] for each in fields(AsShown) if each.name in found}
    shown: AsShown = _as(AsShown).validate_python(known)
    return shown


def board_of(ours: Sequence[Marked]) -> tuple[Comment | None, Memory | None]:
    """The newest comment that is the board, and what it remembers."""
    for comment, found in reversed(ours):
        if memory := recalled(found):
            return comment, memory
    return None, None


def recollected(happened: Iterable[Happened], memory: Memory | None) -> Iterator[Happened]:
    """What GitHub tells, with what it has forgotten: our id, the answers that were graded, and each edit that changed them."""
    for one in happened:
        event = one.event
        if memory is None or not isinstance(event, Opened):
            yield one
            continue
        event = replace(event, id=memory.id or event.id)
        if not memory.grounds:
            yield Happened(one.at, event)
            continue
        first, *later = memory.grounds
        opening = replace(
            event,
            by=first.by,
            report=as_graded(event.report, first, newest=not later),
            labels=memory.opened_with,
            adopted=event.adopted and first.at == one.at,
        )
        yield Happened(first.at, opening)
        for ground in later:
            report = as_graded(event.report, ground, newest=ground is later[-1])
            yield Happened(
                ground.at, Edited(by=ground.by, key=ground.key, url=ground.url, title=event.title, report=report)
            )


def remembered(memory: Memory | None, login: str, at: datetime) -> Role | None:
    """What the board heard of them at that time; None: nothing."""
    known = [a for a in (memory.authorities if memory else ()) if a.login == login and a.at <= at]
    return known[-1].role if known else None


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
