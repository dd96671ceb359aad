"""Read an issue's GitHub timeline back into incident events."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.core.events import (
    Closed,
    ConversationLocked,
    ConversationUnlocked,
    Edited,
    Event,
    IssueUnavailable,
    Labeled,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    Reopened,
    Unlabeled,
)
from app.core.incident import Incident
from app.core.policy import Policy
from app.github.inbound import (
    OPENING_PERIOD,
    TimedEvent,
    build_opened_event,
    event_key,
    is_bot,
    login_of,
    pull_event_key,
    read_commands,
)
from app.github.tracker import parse_time
from app.ports import PullRequest
from app.text import replace_unstorable

Json = Mapping[str, Any]

_SAME_EVENT_PERIOD = timedelta(seconds=2)
"""Largest distance between the times that a timeline and a delivery give for the same event."""


def read_timeline(issue: Json, timeline: Sequence[Json], repo: str, policy: Policy) -> Iterator[TimedEvent]:
    """Yield all events of an issue's timeline that change an incident, the opening first.

    The report is the newest one, and no roles are filled in: both are restored from the board's state.
    """
    yield _opening_event(issue, timeline, repo, policy)
    created, author = parse_time(issue["created_at"]), login_of(issue.get("user"))
    for row in timeline:
        timed_event = _event_from(row)
        if timed_event is None:
            continue
        is_form_label = (
            isinstance(timed_event.event, Labeled)
            and timed_event.at - created <= OPENING_PERIOD
            and timed_event.event.by == author
        )
        is_declaration = isinstance(timed_event.event, Labeled) and timed_event.event.label == policy.labels.incident
        if not is_form_label and not is_declaration:
            yield timed_event


def read_postmortem_events(pull: PullRequest, timeline: Sequence[Json]) -> Iterator[TimedEvent]:
    """Yield the events of the postmortem's pull request, from its own timeline."""
    number, url = pull.number, pull.url
    yield TimedEvent(
        pull.created_at, PostmortemOpened(by=pull.by, key=pull_event_key(number, "opened"), url=url, pull=number)
    )
    merged = {row["created_at"] for row in timeline if row.get("event") == "merged"}
    for row in timeline:
        what, by = row.get("event"), login_of(row.get("actor"))
        if what == "merged":
            event: Event = PostmortemMerged(by=by, key=pull_event_key(number, "merged"), url=url, pull=number)
        elif what == "closed" and row["created_at"] not in merged:
            event = PostmortemDropped(by=by, key=pull_event_key(number, "dropped"), url=url, pull=number)
        elif what == "reopened":
            event = PostmortemOpened(by=by, key=pull_event_key(number, "reopened"), url=url, pull=number)
        else:
            continue
        yield TimedEvent(parse_time(row["created_at"]), event)


def list_past_assignees(timeline: Sequence[Json]) -> frozenset[str]:
    """Return the logins of all past and present assignees."""
    return frozenset(login_of(row.get("assignee")) for row in timeline if row.get("event") == "assigned")


def detect_edit(issue: Json, repo: str, policy: Policy, incident: Incident) -> list[TimedEvent]:
    """Return an edit event if the title or the report differs from the incident's.

    GitHub does not tell when the text was changed, so the event has the time of the issue's last update.
    """
    at = parse_time(issue["updated_at"])
    shown = build_opened_event(issue, repo, policy, incident.declared_at, by="", adopted=False)
    if (shown.title, shown.report) == (incident.title, incident.shown_report):
        return []
    by = login_of(issue.get("user"))
    return [TimedEvent(at, Edited(by=by, key=event_key("edited", at), title=shown.title, report=shown.report))]


def event_links(timeline: Sequence[Json], incident: Incident) -> dict[str, str]:
    """Map the key of each timeline entry to its link: its anchor in the issue's timeline, or else the issue."""
    found = {entry.key: incident.url for entry in incident.timeline}
    for row in timeline:
        timed_event = _event_from(row)
        if (
            timed_event is not None
            and isinstance(row.get("id"), int)
            and not timed_event.event.key.startswith("comment/")
        ):
            found[timed_event.event.key] = f"{incident.url}#event-{row['id']}"
    return found


def is_known_event(timed_event: TimedEvent, log: Sequence[tuple[datetime, Event]]) -> bool:
    """Return True if the log has the event.

    It is matched by its key or, where the key holds a time, by its kind and nearly the same time.
    """
    key_prefix, slash, _ = timed_event.event.key.rpartition("/")
    for at, event in log:
        if event.key == timed_event.event.key:
            return True
        if (
            slash
            and event.key.startswith(f"{key_prefix}/20")
            and abs(at - timed_event.at) <= _SAME_EVENT_PERIOD
            and type(event) is type(timed_event.event)
        ):
            return True
    return False


def _opening_event(issue: Json, timeline: Sequence[Json], repo: str, policy: Policy) -> TimedEvent:
    created, author = parse_time(issue["created_at"]), login_of(issue.get("user"))
    declared = [
        row
        for row in timeline
        if row.get("event") == "labeled" and _label_name(row) == policy.labels.incident and not is_bot(row.get("actor"))
    ]
    first = min(declared, key=lambda row: str(row["created_at"]), default=None)
    adopted = first is not None and not _is_at_opening(first, created, author)
    at = parse_time(first["created_at"]) if adopted and first is not None else created
    by = login_of(first.get("actor")) if adopted and first is not None else author
    labels = _labels_at(timeline, at if adopted else created + OPENING_PERIOD)
    shown = {**issue, "labels": [{"name": label} for label in sorted(labels)]}
    return TimedEvent(at, build_opened_event(shown, repo, policy, at, by=by, adopted=adopted))


def _labels_at(timeline: Sequence[Json], at: datetime) -> set[str]:
    """Return the labels that people, not bots, had set on the issue by that time."""
    labels: set[str] = set()
    for row in timeline:
        if (
            row.get("event") in ("labeled", "unlabeled")
            and parse_time(row["created_at"]) <= at
            and not is_bot(row.get("actor"))
        ):
            (labels.add if row["event"] == "labeled" else labels.discard)(_label_name(row))
    return labels


def _is_at_opening(row: Json, created: datetime, author: str) -> bool:
    return parse_time(row["created_at"]) - created <= OPENING_PERIOD and login_of(row.get("actor")) == author


def _label_name(row: Json) -> str:
    return replace_unstorable(str((row.get("label") or {}).get("name") or ""))


def _event_from(row: Json) -> TimedEvent | None:
    kind = row.get("event")
    if kind == "commented":
        comment = {**row, "user": row.get("user") or row.get("actor")}
        event = read_commands(comment)
        return TimedEvent(parse_time(row["created_at"]), event) if event else None
    if kind not in _EVENT_KINDS or not row.get("created_at"):
        return None
    actor, at = row.get("actor"), parse_time(row["created_at"])
    return (
        None
        if is_bot(actor) and kind in ("labeled", "unlabeled")
        else TimedEvent(at, _event_of_kind(kind, row, login_of(actor), at))
    )


_EVENT_KINDS = ("labeled", "unlabeled", "closed", "reopened", "locked", "unlocked", "transferred")


def _event_of_kind(kind: str, row: Json, by: str, at: datetime) -> Event:
    label = _label_name(row)
    events: dict[str, Event] = {
        "labeled": Labeled(by=by, key=event_key(f"labeled/{label}", at), label=label),
        "unlabeled": Unlabeled(by=by, key=event_key(f"unlabeled/{label}", at), label=label),
        "closed": Closed(by=by, key=event_key("closed", at)),
        "reopened": Reopened(by=by, key=event_key("reopened", at)),
        "locked": ConversationLocked(by=by, key=event_key("left/locked", at)),
        "unlocked": ConversationUnlocked(by=by, key=event_key("returned", at)),
    }
    return events.get(kind) or IssueUnavailable(by=by, key=event_key(f"left/{kind}", at), reason=kind)
