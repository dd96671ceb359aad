"""The table of refusals: every answer of GitHub to every kind of call means something, and every row is needed."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.github.refusals import TABLE, CallKind, is_deletion, kind_of, read_refusal
from app.ports import Outlook
from app.sandbox.github.faults import REFUSALS

REPO = "/repos/octo/shop"
MINUTES, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)

CALLS = [
    ("GET", "/app/installations", CallKind.APP),
    ("POST", "/app/installations/7/access_tokens", CallKind.APP),
    ("GET", "/installation/repositories", CallKind.APP),
    ("GET", f"{REPO}/collaborators/mona/permission", CallKind.PERMISSION),
    ("GET", f"{REPO}/issues/1", CallKind.ISSUE),
    ("GET", f"{REPO}/issues/1/timeline", CallKind.ISSUE),
    ("GET", f"{REPO}/issues?state=open", CallKind.ISSUE),
    ("GET", f"{REPO}/contents/.github/incidents.yml", CallKind.READ),
    ("GET", f"{REPO}/pulls?head=octo:x", CallKind.READ),
    ("POST", f"{REPO}/issues/1/comments", CallKind.COMMENT),
    ("PATCH", f"{REPO}/issues/comments/5", CallKind.EDIT),
    ("POST", f"{REPO}/issues/1/labels", CallKind.ISSUE_STATE),
    ("DELETE", f"{REPO}/issues/1/labels/sev1", CallKind.ISSUE_STATE),
    ("POST", f"{REPO}/issues/1/assignees", CallKind.ISSUE_STATE),
    ("PATCH", f"{REPO}/issues/1", CallKind.ISSUE_STATE),
    ("POST", f"{REPO}/issues/comments/5/reactions", CallKind.REACTION),
    ("DELETE", f"{REPO}/issues/1/reactions/9", CallKind.REACTION),
    ("POST", f"{REPO}/git/refs", CallKind.BRANCH),
    ("PUT", f"{REPO}/contents/docs/a.md", CallKind.FILE),
    ("POST", f"{REPO}/pulls", CallKind.PULL),
    ("POST", f"{REPO}/pulls/3/requested_reviewers", CallKind.REVIEW),
    ("POST", f"{REPO}/check-runs", CallKind.CHECK),
    ("PATCH", f"{REPO}/check-runs/3", CallKind.CHECK),
    ("PUT", f"{REPO}/subscription", CallKind.OTHER),
    ("POST", "/repositories/12/issues/1/comments", CallKind.COMMENT),
    ("GET", "/repositories/12/collaborators/mona/permission", CallKind.PERMISSION),
]

MEANINGS = [
    # The whole installation.
    *((kind, "suspended", Outlook.PARKS, None) for kind in CallKind),
    *((kind, "ip allow list", Outlook.PARKS, None) for kind in CallKind),
    *((kind, "blocked", Outlook.PARKS, None) for kind in CallKind),
    # Questions about rights.
    (CallKind.PERMISSION, "not accessible", Outlook.UNKNOWN, None),
    (CallKind.PERMISSION, "not found", Outlook.UNKNOWN, None),
    (CallKind.PERMISSION, "unprocessable", Outlook.UNKNOWN, None),
    # Issues.
    (CallKind.COMMENT, "locked", Outlook.LOCKED, timedelta.max),
    (CallKind.REACTION, "locked", Outlook.LOCKED, timedelta.max),
    (CallKind.COMMENT, "not found", Outlook.TRANSIENT, HOUR),
    (CallKind.EDIT, "not found", Outlook.TRANSIENT, HOUR),
    (CallKind.ISSUE_STATE, "not found", Outlook.TRANSIENT, HOUR),
    (CallKind.COMMENT, "issues disabled", Outlook.TRANSIENT, HOUR),
    (CallKind.REACTION, "not found", Outlook.TRANSIENT, timedelta(minutes=2)),
    (CallKind.COMMENT, "not accessible", Outlook.TRANSIENT, DAY),
    (CallKind.COMMENT, "unresolved", Outlook.TRANSIENT, MINUTES),
    (CallKind.COMMENT, "unprocessable", Outlook.TRANSIENT, MINUTES),
    (CallKind.COMMENT, "too quickly", Outlook.TRANSIENT, MINUTES),
    (CallKind.COMMENT, "conflict", Outlook.TRANSIENT, MINUTES),
    (CallKind.COMMENT, "too long", Outlook.FINAL, timedelta()),
    (CallKind.ISSUE_STATE, "invalid label", Outlook.FINAL, timedelta()),
    (CallKind.COMMENT, "archived", Outlook.UNTIL_CHANGED, None),
    # Pull requests.
    (CallKind.PULL, "pulls not allowed", Outlook.UNTIL_CHANGED, None),
    (CallKind.BRANCH, "ruleset", Outlook.UNTIL_CHANGED, None),
    (CallKind.BRANCH, "archived", Outlook.UNTIL_CHANGED, None),
    (CallKind.PULL, "head not visible", Outlook.TRANSIENT, MINUTES),
    (CallKind.PULL, "not accessible", Outlook.TRANSIENT, MINUTES),
    (CallKind.BRANCH, "not found", Outlook.TRANSIENT, MINUTES),
    (CallKind.CHECK, "not accessible", Outlook.TRANSIENT, MINUTES),
    (CallKind.CHECK, "unprocessable", Outlook.TRANSIENT, MINUTES),
    (CallKind.PULL, "too long", Outlook.FINAL, timedelta()),
]

WORDS = [
    (CallKind.PERMISSION, 404, "ghost-9 is not a user", Outlook.FINAL),
    (CallKind.READ, 451, "Repository access blocked", Outlook.PARKS),
    (CallKind.BRANCH, 422, "Reference update failed", Outlook.UNTIL_CHANGED),
    (CallKind.READ, 409, "Git Repository is empty.", Outlook.UNTIL_CHANGED),
    (CallKind.FILE, 409, "Git Repository is empty.", Outlook.UNTIL_CHANGED),
    (CallKind.COMMENT, 400, "Problems parsing JSON", Outlook.FINAL),
    (CallKind.COMMENT, 405, "", Outlook.FINAL),
    (CallKind.COMMENT, 406, "", Outlook.FINAL),
    (CallKind.COMMENT, 413, "", Outlook.FINAL),
    (CallKind.COMMENT, 415, "", Outlook.FINAL),
    (CallKind.COMMENT, 422, 'Invalid request.\n\n"body" wasn\'t supplied.', Outlook.FINAL),
    (CallKind.READ, 404, "Not Found", Outlook.TRANSIENT),
    (CallKind.OTHER, 418, "I'm a teapot", Outlook.TRANSIENT),
]


@pytest.mark.parametrize(("method", "path", "kind"), CALLS, ids=[f"{method} {path}" for method, path, _ in CALLS])
def test_each_call_has_a_kind(method: str, path: str, kind: CallKind) -> None:
    assert kind_of(method, path) is kind


def test_each_kind_is_called() -> None:
    assert {kind for _, _, kind in CALLS} == set(CallKind)


@pytest.mark.parametrize(
    ("kind", "name", "outlook", "period"), MEANINGS, ids=[f"{kind.name} {name}" for kind, name, *_ in MEANINGS]
)
def test_each_refusal_in_githubs_words(kind: CallKind, name: str, outlook: Outlook, period: timedelta | None) -> None:
    """FC-G1 to FC-G8: what is final, what may pass and for how long, what parks the installation, what is unknown."""
    status, message, errors = REFUSALS[name]
    found = read_refusal(kind, status, message, [" ".join(error.values()) for error in errors])
    assert found.outlook is outlook
    assert period is None or found.retry_period == period
    assert found.reason == message


@pytest.mark.parametrize(("kind", "status", "message", "outlook"), WORDS)
def test_other_words(kind: CallKind, status: int, message: str, outlook: Outlook) -> None:
    assert read_refusal(kind, status, message).outlook is outlook


def test_every_row_of_the_table_is_needed() -> None:
    """Each row is the first to fit one of the examples above."""
    examples = [(kind, *REFUSALS[name]) for kind, name, *_ in MEANINGS]
    examples += [(kind, status, message, ()) for kind, status, message, _ in WORDS]
    reached = set()
    for kind, status, message, errors in examples:
        words = "\n".join((message, *(" ".join(error.values()) for error in errors)))
        reached.add(next(nth for nth, row in enumerate(TABLE) if row.fits(status, words, kind)))
    assert reached == set(range(len(TABLE)))


@pytest.mark.parametrize("kind", list(CallKind), ids=lambda kind: kind.name)
def test_every_status_means_something_for_every_kind_of_call(kind: CallKind) -> None:
    """What waits says for how long, and only what is final is not tried again."""
    for status in range(400, 500):
        found = read_refusal(kind, status, "")
        assert found.reason
        assert (found.outlook is Outlook.FINAL) == (found.retry_period == timedelta())
        assert found.max_wait > timedelta()


def test_what_waits_for_a_person_says_what_would_help() -> None:
    for row in TABLE:
        if row.refusal.outlook in (Outlook.UNTIL_CHANGED, Outlook.PARKS, Outlook.LOCKED):
            assert row.refusal.advice.endswith(".")


@pytest.mark.parametrize(
    ("status", "message", "deleted"),
    [(410, "This issue was deleted", True), (404, "Not Found", False), (410, "Issues has been disabled", False)],
)
def test_only_githubs_word_proves_a_deletion(status: int, message: str, deleted: bool) -> None:
    assert is_deletion(status, message) is deleted
