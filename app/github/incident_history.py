"""Load past incidents from GitHub alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.core.events import TRANSITIONS, Role
from app.core.incident import Incident
from app.core.policy import Labels, Policy
from app.core.replay import replay
from app.github.inbound import TimedEvent, Unreadable, needs_role, title_of, with_author_role
from app.github.timeline import read_postmortem_events, read_timeline
from app.ports import DeliveryFailed, PullRequest, Tracker, postmortem_branches

if TYPE_CHECKING:
    from app.core.backtest import PastIncident

BACKTEST_PERIOD = timedelta(days=90)
"""How far back the backtest of a policy looks for incidents."""
MAX_INCIDENTS = 200
"""Maximum number of past incidents to load, newest first.

Each takes two or three of the thousand calls that a run has per hour.
"""

RoleLookup = Callable[[str, datetime], Role]
"""Returns a user's role in the repository, by login and time."""


@dataclass(frozen=True, slots=True)
class IssueHistory:
    """What GitHub has on one incident: issue, timeline, postmortem, and the events from all of them.

    It holds neither the users' roles nor answers that an edit has replaced.
    """

    issue: Mapping[str, Any]
    timeline: Sequence[Mapping[str, Any]]
    pull: PullRequest | None
    events: tuple[TimedEvent, ...]


def load_history(tracker: Tracker, issue: Mapping[str, Any], repo: str, policy: Policy) -> IssueHistory:
    """Load everything GitHub has on the issue.  Raises DeliveryFailed, and NotFound if it is out of reach."""
    number = int(issue["number"])
    timeline = tracker.timeline(number)
    pull, postmortem_events = _load_postmortem(tracker, number)
    return IssueHistory(issue, timeline, pull, (*read_timeline(issue, timeline, repo, policy), *postmortem_events))


def load_incident(
    tracker: Tracker, issue: Mapping[str, Any], repo: str, policy: Policy, role: RoleLookup, now: datetime
) -> Incident:
    """Load the incident as it is at `now`, with as few calls as possible.

    The postmortem's pull request is only read if one is wanted.  Raises DeliveryFailed, NotFound if the issue is out
    of reach, and Unreadable if its history is inconsistent.
    """
    number = int(issue["number"])
    events = read_timeline(issue, tracker.timeline(number), repo, policy)
    log = [*with_roles(events, policy.labels, role, is_trusted=is_transition)]
    incident = _replay_log(log, policy, now)
    if incident.postmortem_wanted and (postmortem_events := _load_postmortem(tracker, number)[1]):
        incident = _replay_log([*log, *postmortem_events], policy, now)
    return incident


def _replay_log(log: Sequence[TimedEvent], policy: Policy, now: datetime) -> Incident:
    incident = replay(((one.at, one.event) for one in log), policy, now).incident
    if incident is None:
        raise Unreadable("its history does not tell of its opening")
    return incident


def _load_postmortem(tracker: Tracker, number: int) -> tuple[PullRequest | None, list[TimedEvent]]:
    """Load the pull request with the issue's postmortem, and its events."""
    pull = tracker.pull_of(postmortem_branches(number))
    return pull, [] if pull is None else list(read_postmortem_events(pull, tracker.timeline(pull.number)))


def with_roles(
    events: Iterable[TimedEvent],
    labels: Labels,
    role: RoleLookup,
    *,
    is_trusted: Callable[[TimedEvent], bool] = lambda _: False,
) -> Iterator[TimedEvent]:
    """Yield the events with the role of their author at the time, from `role`, where it matters.

    `is_trusted`: the role is not asked for, because today's would say nothing about that time.
    """
    for timed_event in events:
        if needs_role(timed_event.event, labels) and not is_trusted(timed_event):
            found = role(timed_event.event.by, timed_event.at)
            yield TimedEvent(timed_event.at, with_author_role(timed_event.event, found))
        else:
            yield timed_event


def is_transition(timed_event: TimedEvent) -> bool:
    """Return True if the event is an edit, a closing or a reopening."""
    return isinstance(timed_event.event, TRANSITIONS)


def current_role_lookup(tracker: Tracker) -> RoleLookup:
    """Return a lookup of today's roles, which asks for each login once.

    A user that GitHub does not know has no role.
    """
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


def load_past_incidents(
    tracker: Tracker, label: str, since: datetime, policy: Policy, *, repo: str, now: datetime
) -> Iterator[PastIncident]:
    """Load the incidents updated since then, newest first, at most MAX_INCIDENTS, each when it is consumed.

    Without a database, today's roles and the newest report are used instead of the ones at the time.  Raises
    DeliveryFailed.
    """
    from app.core.backtest import PastIncident  # noqa: PLC0415  most callers of this module run no backtest

    role = current_role_lookup(tracker)
    for issue in tracker.incidents_since(label, since)[:MAX_INCIDENTS]:
        issue_history = load_history(tracker, issue, repo, policy)
        events = with_roles(issue_history.events, policy.labels, role, is_trusted=is_transition)
        log = tuple((one.at, one.event) for one in events)
        yield PastIncident(f"{repo}#{issue['number']}", title_of(issue), log, now)
