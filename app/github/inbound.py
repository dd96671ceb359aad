"""Convert GitHub's webhook payloads into incident events.

Real payloads do not fit the generated models, so they are read as plain data, tolerantly, and only what is needed.
They do not hold the roles of users: `needs_role` returns for which events GitHub's permission endpoint is asked.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from app.core.events import (
    TRANSITIONS,
    Closed,
    Commented,
    ConversationLocked,
    ConversationUnlocked,
    Edited,
    Event,
    IssueUnavailable,
    Labeled,
    Opened,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    Reopened,
    Role,
    Unlabeled,
)
from app.core.policy import Labels, Policy
from app.github.intake import is_incident_report, read_report
from app.github.slash_commands import parse_commands
from app.github.tracker import POLICY_PATH, labels_of, parse_time
from app.ports import IncidentKey, Repository
from app.text import replace_unstorable

OPENING_PERIOD = timedelta(seconds=5)
"""Period after an issue's creation in which labels set by its author belong to the opening.

The labels of an issue form arrive as deliveries of their own.
"""
_ONE_SECOND = timedelta(seconds=1)
_MAX_CLOCK_SKEW = timedelta(minutes=5)
_COMMIT_SHA = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_POSTMORTEM_ACTIONS = ("opened", "reopened", "closed")
_PROPOSAL_ACTIONS = ("opened", "synchronize", "reopened", "ready_for_review")
_DEFAULT_POLICY = Policy()
_POSTMORTEM_BRANCH = re.compile(r"muster[/-]postmortem-([0-9]{1,9})")
_BOT_SUFFIX = "[bot]"
_DELETED_LOGIN = "ghost"

Json = Mapping[str, Any]


class Unreadable(Exception):
    """The content is not what GitHub sends.  Such a delivery is dead-lettered, not retried."""


@dataclass(frozen=True, slots=True)
class TimedEvent:
    """An event, and when it happened."""

    at: datetime
    event: Event


@dataclass(frozen=True, slots=True)
class OwnCommentChanged:
    """One of our comments was deleted, or edited by a person; the board is written again if it was the board."""

    comment_id: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class LabelsSeen:
    """The labels an issue had at a point in time."""

    at: datetime
    labels: frozenset[str]


@dataclass(frozen=True, slots=True)
class PolicyProposal:
    """A pull request that may change the policy file, and its newest commit at that time.

    `from_fork`: its branch is in another repository, so its author may be anyone.
    """

    at: datetime
    pull: int
    head: str
    from_fork: bool = False


@dataclass(frozen=True, slots=True)
class PolicyPush:
    """A push to the default branch that may have changed the policy file; `head` is its newest commit."""

    head: str


def parse_payload(body: bytes) -> Json:
    """Parse the payload of a delivery.  Raises Unreadable if it is no JSON object, or has a duplicate key."""
    try:
        found = json.loads(body, object_pairs_hook=_reject_duplicate_keys, parse_constant=_reject_constant)
    except (ValueError, RecursionError) as problem:
        raise Unreadable(f"not a payload: {str(problem)[:200]}") from None
    if not isinstance(found, dict):
        raise Unreadable(f"a payload is an object, this is a {type(found).__name__}")
    return found


def repository_of(payload: Json) -> Repository | None:
    """Return the repository and installation of a payload; None if it does not name both."""
    found, installation = payload.get("repository"), payload.get("installation")
    if not isinstance(found, dict) or not isinstance(installation, dict) or "full_name" not in found:
        return None
    name = replace_unstorable(str(found["full_name"]))
    branch = replace_unstorable(str(found.get("default_branch") or "main"))
    return Repository(_github_id(found), name, _github_id(installation), branch)


INSTALLATION_EVENTS = frozenset({"installation", "installation_repositories"})
"""Events that list many repositories at once; their payloads are deleted as soon as they are read."""


@dataclass(frozen=True, slots=True)
class InstallationChange:
    """Repositories (by id) that were added to or removed from an installation of the App.

    `whole_installation`: the installation itself was deleted.  `resumed`: it works again, or its owner accepted
    permissions that it lacked; `unsuspended`: it was suspended before.
    """

    installation: int
    removed: tuple[int, ...] = ()
    added: tuple[int, ...] = ()
    whole_installation: bool = False
    resumed: bool = False
    unsuspended: bool = False


def installation_change_of(event_name: str, payload: Json) -> InstallationChange | None:
    """Return the change to the App's installation that a delivery reports; None if there is none."""
    action, installation = payload.get("action"), payload.get("installation") or {}
    if event_name == "installation" and action in ("created", "deleted"):
        repository_ids = _repository_ids(payload, "repositories")
        if action == "created":
            return InstallationChange(_github_id(installation), added=repository_ids)
        return InstallationChange(_github_id(installation), removed=repository_ids, whole_installation=True)
    if event_name == "installation" and action in ("unsuspend", "new_permissions_accepted"):
        return InstallationChange(_github_id(installation), resumed=True, unsuspended=action == "unsuspend")
    if event_name == "installation_repositories":
        added = _repository_ids(payload, "repositories_added")
        removed = _repository_ids(payload, "repositories_removed")
        return InstallationChange(_github_id(installation), removed=removed, added=added)
    return None


def _repository_ids(payload: Json, key: str) -> tuple[int, ...]:
    return tuple(_github_id(one) for one in payload.get(key) or ())


def incident_key_of(event_name: str, payload: Json) -> IncidentKey | None:
    """Return the key of the incident or policy change that a delivery belongs to; None if it can be neither.

    An issue or pull request has its number; all pushes to the default branch share the number 0.  Raises Unreadable.
    """
    repository = repository_of(payload)
    if repository is None:
        return None
    if event_name in ("issues", "issue_comment"):
        issue = issue_of(payload)
        return None if issue.get("pull_request") else IncidentKey(repository.id, issue["number"])
    if event_name == "pull_request":
        number = _pull_request_of(payload)["number"] if _changes_proposal(payload) and _head_commit(payload) else 0
        if payload.get("action") in _POSTMORTEM_ACTIONS:
            number = postmortem_of(payload, repository) or number
        return IncidentKey(repository.id, number) if number else None
    return (
        IncidentKey(repository.id, 0)
        if changes_policy(event_name, payload) and _commit_sha(payload.get("after"))
        else None
    )


def is_issue_deletion(event_name: str, payload: Json) -> bool:
    """Return True if the issue of a delivery was deleted.

    The event's name is not signed, so the payload must have the form of such an event: that of a deleted comment has a
    comment in it.
    """
    issue = payload.get("issue")
    return (
        event_name == "issues"
        and payload.get("action") == "deleted"
        and "comment" not in payload
        and isinstance(issue, dict)
        and not issue.get("pull_request")
    )


def changes_policy(event_name: str, payload: Json) -> bool:
    """Return True if a push to the default branch touched the policy file."""
    return _push_touches(event_name, payload, lambda path: path == POLICY_PATH)


def changes_feeds(event_name: str, payload: Json) -> bool:
    """Return True if a push to the default branch touched a calendar file, which the policy may name as a feed."""
    return _push_touches(event_name, payload, lambda path: path.lower().endswith(".ics"))


def _push_touches(event_name: str, payload: Json, matches: Callable[[str], bool]) -> bool:
    if event_name != "push":
        return False
    branch = (payload.get("repository") or {}).get("default_branch") or "main"
    if payload.get("ref") != f"refs/heads/{branch}":
        return False
    commits = payload.get("commits") or []
    touched = {
        path for commit in commits for kind in ("added", "modified", "removed") for path in commit.get(kind) or ()
    }
    # A push lists at most its first twenty commits: with that many, assume the file may have changed.
    return len(commits) >= 20 or any(map(matches, map(str, touched)))


def policy_change_of(
    event_name: str, payload: Json, incident_key: IncidentKey, received_at: datetime
) -> PolicyProposal | PolicyPush | None:
    """Return how a delivery may change the policy; None if it is about an incident.  Raises Unreadable."""
    if event_name == "push":
        return PolicyPush(_commit_sha(payload.get("after")))
    if event_name != "pull_request" or (pull := _pull_request_of(payload))["number"] != incident_key.number:
        return None
    head_repository = (pull.get("head") or {}).get("repo") or {}
    return PolicyProposal(
        _time_or_received(pull.get("updated_at"), received_at),
        incident_key.number,
        _head_commit(payload),
        from_fork=head_repository.get("id") != incident_key.repo_id,
    )


def read_labels(payload: Json) -> LabelsSeen | None:
    """Return the labels that an issue payload shows; None if it shows no issue."""
    issue = payload.get("issue")
    if not isinstance(issue, dict) or issue.get("pull_request") or not issue.get("updated_at"):
        return None
    try:
        at, created = parse_time(issue["updated_at"]), parse_time(issue["created_at"])
    except (KeyError, TypeError, ValueError):
        return None
    is_manual = payload.get("action") in ("labeled", "unlabeled") and not is_bot(payload.get("sender"))
    # GitHub's times are whole seconds: within the same one, a person's label change counts as newer than ours.
    return LabelsSeen(at + _ONE_SECOND if is_manual and at - created > OPENING_PERIOD else at, labels_of(issue))


def read_labels_only(event_name: str, payload: Json, received_at: datetime) -> LabelsSeen | None:
    """Return the labels of an issue if a delivery carries no other information on a known incident, else None.

    That is the case for ordinary comments and for labels set by bots.  Raises Unreadable.
    """
    action = payload.get("action")
    if event_name == "issues" and action in ("labeled", "unlabeled"):
        return read_labels(payload) if is_bot(payload.get("sender")) else None
    if event_name == "issues" and action in ("opened", "edited"):
        return None
    # Any policy will do: it only affects what an opening event holds.
    return read_labels(payload) if read_event(event_name, payload, _DEFAULT_POLICY, received_at) is None else None


def is_declared(payload: Json, policy: Policy) -> bool:
    """Return True if the payload's issue is an incident: it has the label, or the shipped form filled in."""
    issue = payload.get("issue")
    if not isinstance(issue, dict) or issue.get("pull_request"):
        return False
    return policy.labels.incident in labels_of(issue) or is_incident_report(replace_unstorable(issue.get("body") or ""))


def read_event(
    event_name: str, payload: Json, policy: Policy, received_at: datetime
) -> TimedEvent | OwnCommentChanged | None:
    """Convert a delivery into an event; None if it changes no incident.  Raises Unreadable."""
    action = payload.get("action")
    if event_name == "issues":
        return _read_issue(str(action), payload, policy, received_at)
    if event_name == "issue_comment":
        return _read_comment(str(action), payload, received_at)
    if event_name == "pull_request":
        return _read_pull_request(str(action), payload, received_at)
    return None


def needs_role(event: Event, labels: Labels) -> bool:
    """Return True if what the event changes depends on the repository role of its author.

    GitHub has no role for bots: the permissions of their App let them change the issue.  A deleted account has none
    either.
    """
    if isinstance(event, Commented):
        return bool(event.commands)
    if isinstance(event, TRANSITIONS):
        return not event.by.endswith(_BOT_SUFFIX) and event.by != _DELETED_LOGIN
    return isinstance(event, Labeled) and event.label in (
        *labels.severities,
        labels.escalate,
        labels.acknowledged,
        labels.mitigated,
        labels.resolved,
    )


def with_author_role(event: Event, role: Role) -> Event:
    """Return the event with the role that GitHub gives for its author."""
    if isinstance(event, TRANSITIONS):
        return replace(event, role=role, role_known=True)
    return replace(event, role=role)


def build_opened_event(issue: Json, repo: str, policy: Policy, at: datetime, *, by: str, adopted: bool) -> Opened:
    """Build the opening event of an incident from an issue as GitHub shows it."""
    title = title_of(issue)
    return Opened(
        by=by,
        key="opened",
        url=_html_url(issue),
        id="",
        repo=repo,
        number=int(issue["number"]),
        title=title,
        report=read_report(replace_unstorable(issue.get("body") or ""), title=title, opened_at=at, policy=policy),
        labels=labels_of(issue),
        adopted=adopted,
        asks_roles=True,
    )


def title_of(issue: Json) -> str:
    """Return the issue's title without the prefix `[Incident]: ` that the form sets."""
    title = replace_unstorable(str(issue.get("title") or ""))
    mark, bracket, rest = title.partition("]")
    rest = rest.lstrip(": ")
    return rest if bracket and rest and mark.strip().lower() == "[incident" else title


def read_commands(comment: Json) -> Commented | None:
    """Return the slash commands in a person's comment as an event; None for bots, and if there are none."""
    user = comment.get("user") or {}
    if user.get("type") == "Bot" or comment.get("performed_via_github_app"):
        return None
    commands = parse_commands(replace_unstorable(comment.get("body") or ""))
    if not commands:
        return None
    return Commented(
        by=login_of(user),
        key=f"comment/{_github_id(comment)}",
        url=_html_url(comment),
        comment=_github_id(comment),
        commands=commands,
    )


def commands_before_edit(event_name: str, payload: Json) -> TimedEvent | None:
    """Return the commands of a comment as they were before it was edited or deleted; None if there were none.

    Only the payload of the edit or deletion still holds them.
    """
    comment, action = payload.get("comment"), payload.get("action")
    if event_name != "issue_comment" or not isinstance(comment, dict) or action not in ("edited", "deleted"):
        return None
    body = ((payload.get("changes") or {}).get("body") or {}).get("from") if action == "edited" else comment.get("body")
    event = read_commands({**comment, "body": str(body or "")})
    return TimedEvent(parse_time(str(comment.get("created_at"))), event) if event else None


def login_of(user: Json | None) -> str:
    """Return the user's login, `ghost` for a deleted account."""
    return replace_unstorable(str((user or {}).get("login") or _DELETED_LOGIN))


def is_bot(user: Json | None) -> bool:
    """Return True if the account is a bot's."""
    return (user or {}).get("type") == "Bot"


def event_key(name: str, at: datetime) -> str:
    """Return a key for an event without an id of GitHub's: its name, and its time to the second."""
    return f"{name}/{at.strftime('%Y-%m-%dT%H:%M:%SZ')}"


def _read_issue(action: str, payload: Json, policy: Policy, received_at: datetime) -> TimedEvent | None:
    issue = issue_of(payload)
    if issue.get("pull_request"):
        return None
    created = _time_or_received(issue.get("created_at"), received_at)
    changed = _time_or_received(issue.get("updated_at"), received_at)
    sender = payload.get("sender") or issue.get("user")
    by = login_of(sender)
    if action == "opened":
        return _opening_event(payload, policy, created) if is_declared(payload, policy) else None
    if action == "labeled":
        return _labeled_event(payload, policy, created, changed)
    if action == "unlabeled":
        return _unlabeled_event(payload, changed)
    if action == "edited":
        report = build_opened_event(issue, "", policy, created, by=by, adopted=False)
        return TimedEvent(
            changed, Edited(by=by, key=event_key("edited", changed), title=report.title, report=report.report)
        )
    return _state_event(action, by, changed, _time_or_received(issue.get("closed_at"), changed))


def _state_event(action: str, by: str, changed: datetime, closed: datetime) -> TimedEvent | None:
    """Build the event of a state change, which has no link yet.

    It has no page of its own, only a row in the timeline; the link is added when that is read.
    """
    if action == "closed":
        return TimedEvent(closed, Closed(by=by, key=event_key("closed", closed)))
    if action == "reopened":
        return TimedEvent(changed, Reopened(by=by, key=event_key("reopened", changed)))
    if action in ("deleted", "transferred"):
        return TimedEvent(changed, IssueUnavailable(by=by, key=event_key(f"left/{action}", changed), reason=action))
    if action == "locked":
        return TimedEvent(changed, ConversationLocked(by=by, key=event_key("left/locked", changed)))
    if action == "unlocked":
        return TimedEvent(changed, ConversationUnlocked(by=by, key=event_key("returned", changed)))
    return None


def _opening_event(payload: Json, policy: Policy, at: datetime, *, adopted: bool = False) -> TimedEvent:
    issue = issue_of(payload)
    repo = replace_unstorable(str((payload.get("repository") or {}).get("full_name") or ""))
    by = login_of(payload.get("sender") if adopted else issue.get("user"))
    return TimedEvent(at, build_opened_event(issue, repo, policy, at, by=by, adopted=adopted))


def _labeled_event(payload: Json, policy: Policy, created: datetime, changed: datetime) -> TimedEvent | None:
    issue, sender, label = issue_of(payload), payload.get("sender"), _label_name(payload)
    at_opening = changed - created <= OPENING_PERIOD and login_of(sender) == login_of(issue.get("user"))
    if label == policy.labels.incident:
        return _opening_event(payload, policy, created if at_opening else changed, adopted=not at_opening)
    if at_opening or is_bot(sender):
        return None
    return TimedEvent(changed, Labeled(by=login_of(sender), key=event_key(f"labeled/{label}", changed), label=label))


def _unlabeled_event(payload: Json, changed: datetime) -> TimedEvent | None:
    sender, label = payload.get("sender"), _label_name(payload)
    if is_bot(sender):
        return None
    return TimedEvent(
        changed, Unlabeled(by=login_of(sender), key=event_key(f"unlabeled/{label}", changed), label=label)
    )


def _label_name(payload: Json) -> str:
    return replace_unstorable(str((payload.get("label") or {}).get("name") or ""))


def _read_comment(action: str, payload: Json, received_at: datetime) -> TimedEvent | OwnCommentChanged | None:
    """Read a comment's commands; only a new comment gives commands, an edited one never does (M27)."""
    comment = payload.get("comment")
    if not isinstance(comment, dict) or not isinstance(comment.get("id"), int):
        raise Unreadable("an issue_comment without a comment")
    if action in ("edited", "deleted") and comment.get("performed_via_github_app"):
        own = is_bot(payload.get("sender")) and action == "edited"
        return None if own else OwnCommentChanged(comment["id"], deleted=action == "deleted")
    if action != "created":
        return None
    event = read_commands(comment)
    return TimedEvent(_time_or_received(comment.get("created_at"), received_at), event) if event else None


def _read_pull_request(action: str, payload: Json, received_at: datetime) -> TimedEvent | None:
    pull = payload["pull_request"]
    by, number, url = login_of(payload.get("sender")), int(pull["number"]), _html_url(pull)
    if action in ("opened", "reopened"):
        at = _time_or_received(pull.get("created_at") if action == "opened" else pull.get("updated_at"), received_at)
        return TimedEvent(at, PostmortemOpened(by=by, key=pull_event_key(number, action), url=url, pull=number))
    if action == "closed":
        merged = bool(pull.get("merged_at") or pull.get("merged"))
        at = _time_or_received(pull.get("merged_at") or pull.get("closed_at"), received_at)
        kind = PostmortemMerged if merged else PostmortemDropped
        return TimedEvent(
            at, kind(by=by, key=pull_event_key(number, "merged" if merged else "dropped"), url=url, pull=number)
        )
    return None


def pull_event_key(number: int, name: str) -> str:
    """Return the key of an event of a pull request."""
    return f"pull/{number}/{name}"


def postmortem_of(payload: Json, repository: Repository) -> int | None:
    """Return the number of the issue whose postmortem the pull request holds, else None.

    A branch of that name in a fork does not count.
    """
    head = _pull_request_of(payload).get("head") or {}
    found = _POSTMORTEM_BRANCH.fullmatch(str(head.get("ref") or ""))
    return int(found[1]) if found and (head.get("repo") or {}).get("id") == repository.id else None


def _changes_proposal(payload: Json) -> bool:
    """Return True if the action may alter what the pull request changes."""
    action = payload.get("action")
    return action in _PROPOSAL_ACTIONS or (action == "edited" and "base" in (payload.get("changes") or {}))


def _head_commit(payload: Json) -> str:
    """Return the newest commit of the pull request, empty if there is none."""
    return _commit_sha((_pull_request_of(payload).get("head") or {}).get("sha"))


def _commit_sha(sha: object) -> str:
    """Return the commit id; empty if it is none, such as the zeros that stand for a deleted branch."""
    return sha if isinstance(sha, str) and _COMMIT_SHA.fullmatch(sha) and sha.strip("0") else ""


def _pull_request_of(payload: Json) -> Json:
    return _numbered_object(payload, "pull_request")


def issue_of(payload: Json) -> Json:
    """Return the issue of a payload.  Raises Unreadable if there is none with a valid number."""
    return _numbered_object(payload, "issue")


def _numbered_object(payload: Json, name: str) -> Json:
    found = payload.get(name)
    if not isinstance(found, dict):
        raise Unreadable(f"no {name} in it")
    number = found.get("number")
    if not isinstance(number, int) or isinstance(number, bool) or not 0 < number < 2**31:
        raise Unreadable(f"the {name} has no number")
    return found


def _time_or_received(text: object, received_at: datetime) -> datetime:
    """Parse a time of GitHub's; return the time of receipt if it is missing or implausible (M38)."""
    try:
        found = parse_time(str(text))
    except ValueError:
        return received_at
    return received_at if found > received_at + _MAX_CLOCK_SKEW or found.year < 2008 else found


def _github_id(row: Json) -> int:
    """Return GitHub's id of an object.  Raises Unreadable if it does not fit PostgreSQL's bigint."""
    found = row.get("id")
    if not isinstance(found, int) or isinstance(found, bool) or not 0 < found < 2**63:
        raise Unreadable(f"{str(found)[:40]!r} is no id")
    return found


def _html_url(row: Json) -> str:
    return replace_unstorable(str(row.get("html_url") or ""))


def _reject_duplicate_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _reject_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
