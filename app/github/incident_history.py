"""Incidents that were, read back from GitHub alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.core.events import Role
from app.core.incident import Incident
from app.core.policy import Labels, Policy
from app.core.replay import replay
from app.github.inbound import Happened, Unreadable, asks_for_authority, title_of
from app.github.timeline import history, pull_events
from app.ports import DeliveryFailed, Pull, Tracker

if TYPE_CHECKING:
    from app.core.backtest import Past

SINCE = timedelta(days=90)
"""How far back incidents are tried against another policy."""
MOST = 200
"""So many past incidents are read, the newest: each takes two or three calls of the thousand that a run has an hour."""

RoleOf = Callable[[str, datetime], Role]
"""What somebody might do in the repository, by login and time."""


@dataclass(frozen=True, slots=True)
class Told:
    """What GitHub tells of one incident: the issue, its timeline, its postmortem, and what happened by all of them.

    Nobody's rights are in it, nor the answers that an edit has replaced.
    """

    issue: Mapping[str, Any]
    timeline: Sequence[Mapping[str, Any]]
    pull: Pull | None
    happened: tuple[Happened, ...]


def told(tracker: Tracker, issue: Mapping[str, Any], repo: str, policy: Policy) -> Told:
    """All that can be asked about that issue.  Raises DeliveryFailed, and Gone when it is out of reach."""
    number = int(issue["number"])
    timeline = tracker.timeline(number)
    pull, became = _postmortem(tracker, number)
    return Told(issue, timeline, pull, (*history(issue, timeline, repo, policy), *became))


def lived(
    tracker: Tracker, issue: Mapping[str, Any], repo: str, policy: Policy, role: RoleOf, now: datetime
) -> Incident:
    """The incident that the issue is at `now`, by as few calls as tell it: the postmortem's only where one is wanted.

    Raises DeliveryFailed, Gone when it is out of reach, and Unreadable where its history does not hold together.
    """
    number = int(issue["number"])
    log = [*with_rights(history(issue, tracker.timeline(number), repo, policy), policy.labels, role)]
    found = _folded(log, policy, now)
    if found.postmortem_wanted and (became := _postmortem(tracker, number)[1]):
        found = _folded([*log, *became], policy, now)
    return found


def _folded(log: Sequence[Happened], policy: Policy, now: datetime) -> Incident:
    found = replay(((one.at, one.event) for one in log), policy, now).incident
    if found is None:
        raise Unreadable("its history does not tell of its opening")
    return found


def _postmortem(tracker: Tracker, number: int) -> tuple[Pull | None, list[Happened]]:
    """The pull request with the postmortem of that issue, and what became of it."""
    pull = tracker.pull_of(f"muster/postmortem-{number}")
    return pull, [] if pull is None else list(pull_events(pull, tracker.timeline(pull.number)))


def with_rights(
    happened: Iterable[Happened], labels: Labels, role: Callable[[str, datetime], Role]
) -> Iterator[Happened]:
    """The same, with what each might do when they acted, which `role` tells by login and time."""
    for one in happened:
        if asks_for_authority(one.event, labels):
            yield Happened(one.at, replace(one.event, role=role(one.event.by, one.at)))
        else:
            yield one


def rights_of_today(tracker: Tracker) -> RoleOf:
    """What everybody may do today, each asked for once; nobody that GitHub does not tell of may do anything."""
    roles: dict[str, Role] = {}

    def role(login: str, at: datetime) -> Role:
        if login not in roles:
            try:
                roles[login] = tracker.permission(login)
            except DeliveryFailed as failed:
                if failed.retry_after is not None:
                    raise
                roles[login] = Role.NONE
        return roles[login]

    return role


def past_incidents(
    tracker: Tracker, label: str, since: datetime, policy: Policy, *, repo: str, now: datetime
) -> Iterator[Past]:
    """The incidents that were updated since then, the newest first, MOST of them; each is asked for as it is taken.

    Everybody is taken for what they may do today, and the newest report for the one that was graded: who has no
    database has no better.  Raises DeliveryFailed.
    """
    from app.core.backtest import Past  # noqa: PLC0415  most of those who read the past compare no policies

    role = rights_of_today(tracker)
    for issue in tracker.incidents_since(label, since)[:MOST]:
        found = told(tracker, issue, repo, policy)
        log = tuple((one.at, one.event) for one in with_rights(found.happened, policy.labels, role))
        yield Past(f"{repo}#{issue['number']}", title_of(issue), log, now)
