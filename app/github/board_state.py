"""State that GitHub does not keep, stored in the board's signed marker so that an incident can be rebuilt.

GitHub knows the roles of today, not those at the time of an action; it shows the newest text of an issue, not the
one that was graded; and it does not know our incident ids.
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

BOARD_KEY = "board"
_INCIDENT_ID = re.compile(r"INC-[0-9]{4}-[0-9]{4}-[0-9]{3,12}")
_GRADING_INPUTS = tuple[Ground, ...]
_ROLE_HISTORY = tuple[Authority, ...]
_MAX_CHANGED_COMMENTS = 40
"""Maximum number of later-changed comments whose commands the marker keeps: a comment has limited space."""
MarkedComment = tuple[Comment, Mapping[str, Any]]
"""One of our comments, and the content of its marker."""


@cache
def _type_adapter(shape: Any) -> TypeAdapter[Any]:
    """Return the cached pydantic adapter that reads and writes that type."""
    from pydantic import TypeAdapter  # noqa: PLC0415  slow to load, and not needed by every run

    return TypeAdapter(shape)


@dataclass(frozen=True, slots=True)
class AsShown:
    """What the board records of itself for the runner, which has no database.

    `at` is when the board was last written: all that was due by then had been done, except deferred notices if
    `has_deferred_notices`.  `next_alarm_at` is when the next alarm is due under the policy `policy_version`; None:
    there is none.  `processed_comments` are the ids of the comments whose commands were processed, and
    `changed_commands` the commands of those that were edited or deleted afterwards.
    """

    at: datetime
    next: datetime | None
    policy: str
    held: bool = False
    heard: frozenset[int] = frozenset()
    kept: tuple[tuple[datetime, Said], ...] = ()

    def marker_content(self) -> dict[str, Any]:
        """Return the marker content of this snapshot, with the newest changed comments only."""
        told = _type_adapter(AsShown).dump_json(
            replace(self, kept=self.kept[-_MAX_CHANGED_COMMENTS:]), exclude_defaults=True
        )
        return {**json.loads(told), **({"heard": sorted(self.heard)} if self.heard else {})}


@dataclass(frozen=True, slots=True)
class Memory:
    """The state of an incident stored in its board.  `snapshot` None: the app wrote the board, not the runner."""

    id: str
    grounds: tuple[Ground, ...]
    authorities: tuple[Authority, ...]
    opened_with: frozenset[str]
    shown: AsShown | None = None


def marker_content(incident: Incident) -> dict[str, Any]:
    """Return the marker content of the incident's board."""
    return {
        "keys": [BOARD_KEY],
        "id": incident.id,
        "grounds": json.loads(_type_adapter(_GRADING_INPUTS).dump_json(incident.grounds)),
        "authorities": json.loads(_type_adapter(_ROLE_HISTORY).dump_json(incident.authorities)),
        "opened_with": sorted(incident.opened_with),
    }


def parse_board_state(found: Mapping[str, Any]) -> Memory | None:
    """Parse the board state in a marker; None if the marker is another comment's, or malformed."""
    if BOARD_KEY not in found.get("keys", ()):
        return None
    try:
        grounds = _type_adapter(_GRADING_INPUTS).validate_python(found["grounds"])
        authorities = _type_adapter(_ROLE_HISTORY).validate_python(found["authorities"])
        opened_with = frozenset(map(str, found["opened_with"]))
        shown = _parse_snapshot(found) if "at" in found else None
    except (KeyError, TypeError, ValueError):
        return None
    named = str(found.get("id", ""))
    return Memory(named if _INCIDENT_ID.fullmatch(named) else "", grounds, authorities, opened_with, shown)


def _parse_snapshot(found: Mapping[str, Any]) -> AsShown:
    known = {each.name: found[each.name] for each in fields(AsShown) if each.name in found}
    shown: AsShown = _type_adapter(AsShown).validate_python(known)
    return shown


def find_board(ours: Sequence[MarkedComment]) -> tuple[Comment | None, Memory | None]:
    """Return the newest board among our comments, and its state."""
    for comment, found in reversed(ours):
        if memory := parse_board_state(found):
            return comment, memory
    return None, None


def restore_events(happened: Iterable[Happened], memory: Memory | None) -> Iterator[Happened]:
    """Add to GitHub's events what only the board knows: our id, the graded answers, and edits that changed them."""
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
            report=report_as_graded(event.report, first, newest=not later),
            labels=memory.opened_with,
            adopted=event.adopted and first.at == one.at,
        )
        yield Happened(first.at, opening)
        for ground in later:
            report = report_as_graded(event.report, ground, newest=ground is later[-1])
            yield Happened(
                ground.at, Edited(by=ground.by, key=ground.key, url=ground.url, title=event.title, report=report)
            )


def role_at(memory: Memory | None, login: str, at: datetime) -> Role | None:
    """Return the user's role at that time as recorded by the board; None if it recorded none."""
    known = [a for a in (memory.authorities if memory else ()) if a.login == login and a.at <= at]
    return known[-1].role if known else None


def report_as_graded(report: Report, ground: Ground, *, newest: bool) -> Report:
    """Return the newest report with the answers as they were graded then, which may be the newest grading too."""
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
