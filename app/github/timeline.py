"""From an issue's own timeline back to what happened: GitHub is enough."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from app.core.events import (
    Closed,
    Edited,
    Event,
    Labeled,
    Left,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    Reopened,
    Returned,
    Unlabeled,
)
from app.core.incident import Incident
from app.core.policy import Policy
from app.github.inbound import OPENING, Happened, is_bot, key, login_of, opened, pull_key, said
from app.github.tracker import moment
from app.ports import Pull
from app.text import cleaned

Json = Mapping[str, Any]

_SAME = timedelta(seconds=2)
"""A timeline and a delivery may tell the time of one event a second apart."""


def history(issue: Json, timeline: Sequence[Json], repo: str, policy: Policy) -> Iterator[Happened]:
    """Everything in an issue's timeline that changes an incident, the opening first.

    The report is the newest one, and nobody's rights are in it: the board remembers both.
    """
    yield _opening(issue, timeline, repo, policy)
    created, author = moment(issue["created_at"]), login_of(issue.get("user"))
    for row in timeline:
        found = _event(row)
        if found is None:
            continue
        echo = isinstance(found.event, Labeled) and found.at - created <= OPENING and found.event.by == author
        declares = isinstance(found.event, Labeled) and found.event.label == policy.labels.incident
        if not echo and not declares:
            yield found


def pull_events(pull: Pull, timeline: Sequence[Json]) -> Iterator[Happened]:
    """What became of the postmortem's pull request, by its own timeline."""
    number, url = pull.number, pull.url
    yield Happened(pull.created_at, PostmortemOpened(by=pull.by, key=pull_key(number, "opened"), url=url, pull=number))
    merged = {row["created_at"] for row in timeline if row.get("event") == "merged"}
    for row in timeline:
        what, by = row.get("event"), login_of(row.get("actor"))
        if what == "merged":
            event: Event = PostmortemMerged(by=by, key=pull_key(number, "merged"), url=url, pull=number)
        elif what == "closed" and row["created_at"] not in merged:
            event = PostmortemDropped(by=by, key=pull_key(number, "dropped"), url=url, pull=number)
        elif what == "reopened":
            event = PostmortemOpened(by=by, key=pull_key(number, "reopened"), url=url, pull=number)
        else:
            continue
        yield Happened(moment(row["created_at"]), event)


def assigned(timeline: Sequence[Json]) -> frozenset[str]:
    """Everybody who has ever been assigned."""
    return frozenset(login_of(row.get("assignee")) for row in timeline if row.get("event") == "assigned")


def edit_of(issue: Json, repo: str, policy: Policy, incident: Incident) -> list[Happened]:
    """The newest text, where it is another one: GitHub does not tell when it was changed, so that is when we know of it."""
    at = moment(issue["updated_at"])
    shown = opened(issue, repo, policy, incident.declared_at, by="", adopted=False)
    if (shown.title, shown.report) == (incident.title, incident.report):
        return []
    by = login_of(issue.get("user"))
    return [Happened(at, Edited(by=by, key=key("edited", at), title=shown.title, report=shown.report))]


def event_links(timeline: Sequence[Json], incident: Incident) -> dict[str, str]:
    """Where each entry of an incident can be seen, by its key: its spot on the page of the issue, or else the page."""
    found = {entry.key: incident.url for entry in incident.timeline}
    for row in timeline:
        happened = _event(row)
        if happened is not None and isinstance(row.get("id"), int) and not happened.event.key.startswith("comment/"):
            found[happened.event.key] = f"{incident.url}#event-{row['id']}"
    return found


def known(one: Happened, log_of: Sequence[tuple[datetime, Event]]) -> bool:
    """Whether the log has it: by its key, or, where the key is a time, a moment apart."""
    what, slash, _ = one.event.key.rpartition("/")
    for at, event in log_of:
        if event.key == one.event.key:
            return True
        if (
            slash
            and event.key.startswith(f"{what}/20")
            and abs(at - one.at) <= _SAME
            and type(event) is type(one.event)
        ):
            return True
    return False


def _opening(issue: Json, timeline: Sequence[Json], repo: str, policy: Policy) -> Happened:
    created, author = moment(issue["created_at"]), login_of(issue.get("user"))
    declared = [
        row
        for row in timeline
        if row.get("event") == "labeled" and _label(row) == policy.labels.incident and not is_bot(row.get("actor"))
    ]
    first = min(declared, key=lambda row: str(row["created_at"]), default=None)
    adopted = first is not None and not _at_opening(first, created, author)
    at = moment(first["created_at"]) if adopted and first is not None else created
    by = login_of(first.get("actor")) if adopted and first is not None else author
    labels = _labels_at(timeline, at if adopted else created + OPENING)
    shown = {**issue, "labels": [{"name": label} for label in sorted(labels)]}
    return Happened(at, opened(shown, repo, policy, at, by=by, adopted=adopted))


def _labels_at(timeline: Sequence[Json], at: datetime) -> set[str]:
    """The labels that people had put on the issue up to then."""
    labels: set[str] = set()
    for row in timeline:
        if (
            row.get("event") in ("labeled", "unlabeled")
            and moment(row["created_at"]) <= at
            and not is_bot(row.get("actor"))
        ):
            (labels.add if row["event"] == "labeled" else labels.discard)(_label(row))
    return labels


def _at_opening(row: Json, created: datetime, author: str) -> bool:
    return moment(row["created_at"]) - created <= OPENING and login_of(row.get("actor")) == author


def _label(row: Json) -> str:
    return cleaned(str((row.get("label") or {}).get("name") or ""))


def _event(row: Json) -> Happened | None:
    kind = row.get("event")
    if kind == "commented":
        comment = {**row, "user": row.get("user") or row.get("actor")}
        event = said(comment)
        return Happened(moment(row["created_at"]), event) if event else None
    if kind not in _KINDS or not row.get("created_at"):
        return None
    actor, at = row.get("actor"), moment(row["created_at"])
    return (
        None
        if is_bot(actor) and kind in ("labeled", "unlabeled")
        else Happened(at, _plain(kind, row, login_of(actor), at))
    )


_KINDS = ("labeled", "unlabeled", "closed", "reopened", "locked", "unlocked", "transferred")


def _plain(kind: str, row: Json, by: str, at: datetime) -> Event:
    label = _label(row)
    events: dict[str, Event] = {
        "labeled": Labeled(by=by, key=key(f"labeled/{label}", at), label=label),
        "unlabeled": Unlabeled(by=by, key=key(f"unlabeled/{label}", at), label=label),
        "closed": Closed(by=by, key=key("closed", at)),
        "reopened": Reopened(by=by, key=key("reopened", at)),
        "unlocked": Returned(by=by, key=key("returned", at)),
    }
    return events.get(kind) or Left(by=by, key=key(f"left/{kind}", at), how=kind)
