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
        encoded = _type_adapter(AsShown).dump_json(
            replace(self, kept=self.kept[-_MAX_CHANGED_COMMENTS:]), exclude_defaults=True
        )
        return {**json.loads(encoded), **({"heard": sorted(self.heard)} if self.heard else {})}


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


def parse_board_state(content: Mapping[str, Any]) -> Memory | None:
    """Parse the board state in a marker; None if the marker is another comment's, or malformed."""
    if BOARD_KEY not in content.get("keys", ()):
        return None
    try:
        grading_inputs = _type_adapter(_GRADING_INPUTS).validate_python(content["grounds"])
        role_history = _type_adapter(_ROLE_HISTORY).validate_python(content["authorities"])
        initial_labels = frozenset(map(str, content["opened_with"]))
        snapshot = _parse_snapshot(content) if "at" in content else None
    except (KeyError, TypeError, ValueError):
        return None
    incident_id = str(content.get("id", ""))
    return Memory(
        incident_id if _INCIDENT_ID.fullmatch(incident_id) else "",
        grading_inputs,
        role_history,
        initial_labels,
        snapshot,
    )


def _parse_snapshot(content: Mapping[str, Any]) -> AsShown:
    known = {each.name: content[each.name] for each in fields(AsShown) if each.name in content}
    snapshot: AsShown = _type_adapter(AsShown).validate_python(known)
    return snapshot


def find_board(own_comments: Sequence[MarkedComment]) -> tuple[Comment | None, Memory | None]:
    """Return the newest board among our comments, and its state."""
    for comment, content in reversed(own_comments):
        if state := parse_board_state(content):
            return comment, state
    return None, None


def restore_events(events: Iterable[Happened], state: Memory | None) -> Iterator[Happened]:
    """Add to GitHub's events what only the board knows: our id, the graded answers, and edits that changed them."""
    for timed_event in events:
        event = timed_event.event
        if state is None or not isinstance(event, Opened):
            yield timed_event
            continue
        event = replace(event, id=state.id or event.id)
        if not state.grounds:
            yield Happened(timed_event.at, event)
            continue
        first, *later = state.grounds
        opening = replace(
            event,
            by=first.by,
            report=report_as_graded(event.report, first, is_newest=not later),
            labels=state.opened_with,
            adopted=event.adopted and first.at == timed_event.at,
        )
        yield Happened(first.at, opening)
        for graded in later:
            report = report_as_graded(event.report, graded, is_newest=graded is later[-1])
            yield Happened(
                graded.at, Edited(by=graded.by, key=graded.key, url=graded.url, title=event.title, report=report)
            )


def role_at(state: Memory | None, login: str, at: datetime) -> Role | None:
    """Return the user's role at that time as recorded by the board; None if it recorded none."""
    observations = [a for a in (state.authorities if state else ()) if a.login == login and a.at <= at]
    return observations[-1].role if observations else None


def report_as_graded(report: Report, graded: Ground, *, is_newest: bool) -> Report:
    """Return the newest report with the answers as they were graded then, which may be the newest grading too."""
    return replace(
        report,
        services=report.services if is_newest else graded.services,
        detected_at=report.detected_at if is_newest else graded.detected_at,
        severity=graded.severity,
        impact=graded.impact,
        urgency=graded.urgency,
        kind=graded.kind,
        personal_data=graded.personal_data,
        doubts=graded.doubts,
    )
