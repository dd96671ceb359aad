"""State that GitHub does not keep, stored in the board's signed marker so that an incident can be rebuilt.

GitHub knows the roles of today, not those at the time of an action; it shows the newest text of an issue, not the
one that was graded; and it does not know our incident ids.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from app.core.events import TRANSITIONS, Commented, Edited, Opened, Role
from app.core.incident import GradingInput, Incident, RoleObservation
from app.core.incident_report import IncidentReport
from app.github.inbound import TimedEvent
from app.ports import Comment

if TYPE_CHECKING:
    from pydantic import TypeAdapter

BOARD_KEY = "board"
_TRANSITIONS_KEY = "transitions"
_INCIDENT_ID = re.compile(r"INC-[0-9]{4}-[0-9]{4}-[0-9]{3,12}")
_GRADING_INPUTS = tuple[GradingInput, ...]
_ROLE_HISTORY = tuple[RoleObservation, ...]
PROPAGATION_PERIOD = timedelta(minutes=10)
"""Time within which a change becomes visible to all runs.

What happened longer ago than this when the board was written was known to the run that wrote it.
"""
_MAX_CHANGED_COMMENTS = 40
"""Maximum number of later-changed comments whose commands the marker keeps: a comment has limited space."""
MarkedComment = tuple[Comment, Mapping[str, Any]]
"""One of our comments, and the content of its marker."""


@cache
def _type_adapter(type_: Any) -> TypeAdapter[Any]:
    """Return the cached pydantic adapter that reads and writes that type."""
    from pydantic import TypeAdapter  # noqa: PLC0415  slow to load, and not needed by every run

    return TypeAdapter(type_)


@dataclass(frozen=True, slots=True)
class BoardSnapshot:
    """What the board records of itself for the runner, which has no database.

    `at` is when the board was last written: everything due before that had been done, except deferred notices if
    `has_deferred_notices`.  `next_alarm_at` is when the next alarm is due under the policy `policy_version`; None:
    there is none.  `postmortem_refusal` says why GitHub refused the postmortem's pull request, empty if it did not.
    `processed_comments` are the ids of the comments whose commands were processed, and
    `changed_commands` the commands of comments that were edited or deleted afterwards.
    """

    at: datetime
    next_alarm_at: datetime | None
    policy_version: str
    has_deferred_notices: bool = False
    processed_comments: frozenset[int] = frozenset()
    changed_commands: tuple[tuple[datetime, Commented], ...] = ()
    postmortem_refusal: str = ""

    def marker_content(self) -> dict[str, Any]:
        """Return the marker content of this snapshot, with the newest changed comments only."""
        newest = replace(self, changed_commands=self.changed_commands[-_MAX_CHANGED_COMMENTS:])
        encoded = json.loads(_type_adapter(BoardSnapshot).dump_json(newest, exclude_defaults=True))
        if "processed_comments" in encoded:
            encoded["processed_comments"].sort()
        for _, event in encoded.get("changed_commands", ()):
            if "commands" in event:
                event[_MARKER_COMMANDS] = event.pop("commands")
        return {_MARKER_KEYS.get(name, name): value for name, value in encoded.items()}


_MARKER_KEYS = {
    "next_alarm_at": "next",
    "policy_version": "policy",
    "has_deferred_notices": "held",
    "processed_comments": "heard",
    "changed_commands": "kept",
}
"""Keys of a snapshot in the marker.  Boards on GitHub have to stay readable, so these never change."""
_MARKER_COMMANDS = "spoken"
"""The key of a comment's commands in the marker."""


@dataclass(frozen=True, slots=True)
class BoardState:
    """The state of an incident stored in its board.

    `snapshot` None: the app wrote the board, not the runner.  `records_transitions`: the role history holds the roles
    of those who edited, closed or reopened the issue, too, which boards of earlier releases do not.
    """

    id: str
    grading_inputs: tuple[GradingInput, ...]
    role_history: tuple[RoleObservation, ...]
    initial_labels: frozenset[str]
    snapshot: BoardSnapshot | None = None
    records_transitions: bool = False


def marker_content(incident: Incident) -> dict[str, Any]:
    """Return the marker content of the incident's board."""
    content = {
        "keys": [BOARD_KEY],
        "id": incident.id,
        "grounds": json.loads(_type_adapter(_GRADING_INPUTS).dump_json(incident.grading_inputs)),
        "authorities": json.loads(_type_adapter(_ROLE_HISTORY).dump_json(incident.role_history, exclude_defaults=True)),
        "opened_with": sorted(incident.initial_labels),
    }
    return {**content, _TRANSITIONS_KEY: True} if incident.records_transitions else content


def parse_board_state(content: Mapping[str, Any]) -> BoardState | None:
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
    return BoardState(
        incident_id if _INCIDENT_ID.fullmatch(incident_id) else "",
        grading_inputs,
        role_history,
        initial_labels,
        snapshot,
        content.get(_TRANSITIONS_KEY) is True,
    )


def _parse_snapshot(content: Mapping[str, Any]) -> BoardSnapshot:
    keys = {each.name: _MARKER_KEYS.get(each.name, each.name) for each in fields(BoardSnapshot)}
    known = {name: content[key] for name, key in keys.items() if key in content}
    if "changed_commands" in known:
        known["changed_commands"] = [
            (at, {"commands" if name == _MARKER_COMMANDS else name: value for name, value in event.items()})
            for at, event in known["changed_commands"]
        ]
    snapshot: BoardSnapshot = _type_adapter(BoardSnapshot).validate_python(known)
    return snapshot


def find_board(own_comments: Sequence[MarkedComment]) -> tuple[Comment | None, BoardState | None]:
    """Return the newest board among our comments, and its state."""
    for comment, content in reversed(own_comments):
        if state := parse_board_state(content):
            return comment, state
    return None, None


def restore_events(events: Iterable[TimedEvent], state: BoardState | None) -> Iterator[TimedEvent]:
    """Add to GitHub's events what only the board knows: our id, the graded answers, and edits that changed them."""
    for timed_event in events:
        event = timed_event.event
        if state is None or not isinstance(event, Opened):
            yield timed_event
            continue
        event = replace(event, id=state.id or event.id)
        if not state.grading_inputs:
            yield TimedEvent(timed_event.at, event)
            continue
        first, *later = state.grading_inputs
        opening = replace(
            event,
            by=first.by,
            report=report_as_graded(event.report, first, is_newest=not later),
            labels=state.initial_labels,
            adopted=event.adopted and first.at == timed_event.at,
        )
        yield TimedEvent(first.at, opening)
        for graded in later:
            report = report_as_graded(event.report, graded, is_newest=graded is later[-1])
            yield TimedEvent(
                graded.at, Edited(by=graded.by, key=graded.key, url=graded.url, title=event.title, report=report)
            )


def role_at(state: BoardState | None, login: str, at: datetime) -> Role | None:
    """Return the user's role at that time as recorded by the board; None if it recorded none."""
    observations = [a for a in (state.role_history if state else ()) if a.login == login and a.at <= at]
    return observations[-1].role if observations else None


def trusts_transition(
    state: BoardState | None, written_at: datetime | None, timed_event: TimedEvent, *, is_signed: bool = True
) -> bool:
    """Return True if the event is an edit, closing or reopening whose author's role was never asked for.

    It was decided by an earlier release, and the board, last written at `written_at`, shows the result.  A board that
    is not signed proves no role, so only one that an earlier release wrote last is trusted so far.
    """
    if state is None or written_at is None or not isinstance(timed_event.event, TRANSITIONS):
        return False
    if state.records_transitions and not is_signed:
        return False
    if role_at(state, timed_event.event.by, timed_event.at) is not None:
        return False
    return timed_event.at <= written_at - (PROPAGATION_PERIOD if state.records_transitions else timedelta())


def report_as_graded(report: IncidentReport, graded: GradingInput, *, is_newest: bool) -> IncidentReport:
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
