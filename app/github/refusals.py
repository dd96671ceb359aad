"""Read what a refusal of GitHub means for a call: one table for all answers and all kinds of calls.

A refusal is seldom the end.  Right after something was made, and right after a permission was granted, GitHub refuses
for a moment what it accepts a minute later; lost access looks like absence; and a repository's settings may change.
The first row of `TABLE` that fits an answer says what follows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum, auto

from app.ports import Outlook, Refusal

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


class CallKind(Enum):
    """The kinds of calls that GitHub refuses for different reasons."""

    APP = auto()
    """A call of the App itself: its tokens, installations and deliveries."""
    ISSUE = auto()
    """Reading an issue, its timeline or its comments."""
    PERMISSION = auto()
    """Asking for a person's role."""
    READ = auto()
    """Reading anything else."""
    COMMENT = auto()
    """Posting a comment."""
    EDIT = auto()
    """Editing a comment of ours."""
    ISSUE_STATE = auto()
    """Setting labels or assigning people."""
    REACTION = auto()
    """Adding or removing a reaction."""
    BRANCH = auto()
    """Creating a branch."""
    FILE = auto()
    """Writing a file to a branch."""
    PULL = auto()
    """Opening a pull request."""
    REVIEW = auto()
    """Requesting a review."""
    CHECK = auto()
    """Reading or writing the check runs of a commit."""
    OTHER = auto()
    """Any other write."""


_ISSUE_WRITES = frozenset({CallKind.COMMENT, CallKind.EDIT, CallKind.ISSUE_STATE, CallKind.REACTION})
_CODE_WRITES = frozenset({CallKind.BRANCH, CallKind.FILE, CallKind.PULL})
_EVERY_KIND = frozenset(CallKind)

_KIND_PATTERNS: tuple[tuple[str, str, CallKind], ...] = (
    ("ANY", r"/app(/.*)?|/installation/.*", CallKind.APP),
    ("GET", r".*/collaborators/[^/]+/permission", CallKind.PERMISSION),
    ("GET", r".*/issues(/.*)?", CallKind.ISSUE),
    ("GET", r".*/check-runs", CallKind.CHECK),
    ("GET", r".*", CallKind.READ),
    ("ANY", r".*/reactions(/\d+)?", CallKind.REACTION),
    ("POST", r".*/issues/\d+/comments", CallKind.COMMENT),
    ("ANY", r".*/issues/comments/\d+", CallKind.EDIT),
    ("ANY", r".*/issues/\d+(/labels.*|/assignees)?", CallKind.ISSUE_STATE),
    ("ANY", r".*/git/refs(/.*)?", CallKind.BRANCH),
    ("ANY", r".*/contents/.*", CallKind.FILE),
    ("ANY", r".*/pulls/\d+/requested_reviewers", CallKind.REVIEW),
    ("ANY", r".*/pulls(/.*)?", CallKind.PULL),
    ("ANY", r".*/check-runs(/.*)?", CallKind.CHECK),
    ("ANY", r".*", CallKind.OTHER),
)


@dataclass(frozen=True, slots=True)
class RefusalRow:
    """One row of the table: it fits an answer with that status and those words to one of those kinds of calls.

    `status` None: any status of a refusal.  `words` is a regular expression, searched in GitHub's message without
    regard to case; empty: any words.
    """

    status: int | None
    words: str
    kinds: frozenset[CallKind]
    refusal: Refusal

    def fits(self, status: int, words: str, kind: CallKind) -> bool:
        """Return True if the row says what that answer means."""
        return (
            self.status in (None, status)
            and kind in self.kinds
            and re.search(self.words, words, re.IGNORECASE) is not None
        )


def _transient(period: timedelta, max_wait: timedelta, advice: str = "") -> Refusal:
    return Refusal(Outlook.TRANSIENT, advice=advice, retry_period=period, max_wait=max_wait)


def _until_changed(advice: str) -> Refusal:
    return Refusal(Outlook.UNTIL_CHANGED, advice=advice, retry_period=DAY, max_wait=DAY)


_FINAL = Refusal(Outlook.FINAL)
_LOCKED = Refusal(
    Outlook.LOCKED,
    advice="Comments wait until somebody unlocks the conversation.",
    retry_period=timedelta.max,
    max_wait=HOUR,
)
_SUSPENDED = Refusal(
    Outlook.PARKS,
    advice="An owner can unsuspend the App under Settings, GitHub Apps.",
    retry_period=timedelta.max,
    max_wait=15 * MINUTE,
)
_NO_ADDRESS = Refusal(
    Outlook.PARKS,
    advice="An owner can add the address of this server to the organisation's IP allow list.",
    retry_period=timedelta.max,
    max_wait=5 * MINUTE,
)
_BLOCKED = Refusal(
    Outlook.PARKS, advice="GitHub has blocked the repository.", retry_period=timedelta.max, max_wait=15 * MINUTE
)
_UNANSWERED = Refusal(Outlook.UNKNOWN, retry_period=DAY, max_wait=MINUTE)
_NOT_GRANTED = _transient(
    DAY,
    15 * MINUTE,
    "If it lasts, an owner can accept the App's permissions under Settings, GitHub Apps; a run in GitHub Actions needs"
    " them under `permissions:` of its workflow.",
)
_PULLS_NOT_ALLOWED = _until_changed(
    "Tick “Allow GitHub Actions to create and approve pull requests” under Settings, Actions, General,"
    " Workflow permissions."
)
_ARCHIVED = _until_changed("The repository is archived; an admin can unarchive it under Settings.")
_RULES = _until_changed(
    "A ruleset or a branch protection forbids it; an admin can add the App to its bypass list under Settings, Rules."
)
_IN_THE_WAY = _until_changed(
    "A branch named `muster` is in the way of branches below it; a push or a ruleset may be, too. Rename or delete it."
)
_EMPTY = _until_changed("The repository has no commit yet; it needs one before a pull request can be opened.")
_NO_CODE_ACCESS = _transient(
    15 * MINUTE,
    MINUTE,
    "The App needs the permissions “Contents: write” and “Pull requests: write” on this repository.",
)

TABLE: tuple[RefusalRow, ...] = (
    # What stands for the whole installation.
    RefusalRow(403, r"suspended", _EVERY_KIND, _SUSPENDED),
    RefusalRow(403, r"IP allow list", _EVERY_KIND, _NO_ADDRESS),
    RefusalRow(403, r"repository access blocked|account was (flagged|suspended)", _EVERY_KIND, _BLOCKED),
    RefusalRow(451, r"", _EVERY_KIND, _BLOCKED),
    # Questions about rights: only "is not a user" answers one.
    RefusalRow(404, r"is not a user", frozenset({CallKind.PERMISSION}), _FINAL),
    RefusalRow(None, r"", frozenset({CallKind.PERMISSION}), _UNANSWERED),
    # What a person has to change in the repository.
    RefusalRow(403, r"issue is locked|conversation is locked|is locked", _ISSUE_WRITES, _LOCKED),
    RefusalRow(403, r"not permitted to create or approve pull requests", _EVERY_KIND, _PULLS_NOT_ALLOWED),
    RefusalRow(403, r"archived", _EVERY_KIND, _ARCHIVED),
    RefusalRow(None, r"repository rule violations|protected branch|ruleset|commits? must have", _CODE_WRITES, _RULES),
    RefusalRow(409, r"repository is empty", _CODE_WRITES | {CallKind.READ}, _EMPTY),
    RefusalRow(422, r"reference update failed", frozenset({CallKind.BRANCH}), _IN_THE_WAY),
    # The author of a commit can push again, so its check is not tried for long.
    RefusalRow(403, r"", frozenset({CallKind.CHECK}), _transient(15 * MINUTE, MINUTE)),
    # Permissions: they take seconds to hold after a token was made, and an owner may still have to grant them.
    RefusalRow(403, r"not accessible by", _CODE_WRITES, _NO_CODE_ACCESS),
    RefusalRow(403, r"", _EVERY_KIND, _NOT_GRANTED),
    # Absence, which may be a moment, an outage or lost access.  "Deleted" and "moved" are told apart before.
    RefusalRow(404, r"", frozenset({CallKind.REACTION}), _transient(2 * MINUTE, MINUTE)),
    RefusalRow(404, r"", _ISSUE_WRITES, _transient(HOUR, 10 * MINUTE)),
    RefusalRow(
        410, r"", _ISSUE_WRITES, _transient(HOUR, 10 * MINUTE, "Issues may be disabled under Settings, General.")
    ),
    RefusalRow(404, r"", _CODE_WRITES, _NO_CODE_ACCESS),
    # Our own request is wrong: the words name the field, or the form of the request.
    RefusalRow(422, r"too long|too large|can't be blank|cannot be blank|maximum is", _EVERY_KIND, _FINAL),
    # What was made a moment ago, such as the branch of a pull request, is not visible everywhere yet.
    RefusalRow(422, r"", _CODE_WRITES | {CallKind.CHECK}, _transient(15 * MINUTE, MINUTE)),
    RefusalRow(
        422, r"\b(missing_field|invalid|already_exists)\b|links/\d+/schema|invalid request", _EVERY_KIND, _FINAL
    ),
    RefusalRow(400, r"", _EVERY_KIND, _FINAL),
    RefusalRow(405, r"", _EVERY_KIND, _FINAL),
    RefusalRow(406, r"", _EVERY_KIND, _FINAL),
    RefusalRow(413, r"", _EVERY_KIND, _FINAL),
    RefusalRow(415, r"", _EVERY_KIND, _FINAL),
    # Everything else: vague refusals pass, most of them right after something was made.
    RefusalRow(None, r"", _EVERY_KIND, _transient(15 * MINUTE, MINUTE)),
)


def kind_of(method: str, path: str) -> CallKind:
    """Return the kind of a call to GitHub's API."""
    path = path.partition("?")[0]
    return next(
        kind
        for pattern_method, pattern, kind in _KIND_PATTERNS
        if pattern_method in ("ANY", method) and re.fullmatch(pattern, path)
    )


def read_refusal(kind: CallKind, status: int, message: str, details: Iterable[str] = ()) -> Refusal:
    """Return what GitHub's answer to a call of that kind means.

    `details` are the further words of the answer, such as the field errors of an invalid request.
    """
    words = "\n".join((message, *details))
    row = next(row for row in TABLE if row.fits(status, words, kind))
    found = row.refusal
    return Refusal(found.outlook, message or f"status {status}", found.advice, found.retry_period, found.max_wait)


def is_deletion(status: int, message: str) -> bool:
    """Return True if GitHub says that the issue was deleted; a bare 404 or 410 does not say so."""
    return status in (404, 410) and "deleted" in message.lower()
