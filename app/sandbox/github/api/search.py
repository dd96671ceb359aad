"""Issue search: the qualifiers and words that scripts use."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from app.sandbox.github.account_json import format_time
from app.sandbox.github.api.gateway import Call, Reply
from app.sandbox.github.errors import ApiError, invalid_field
from app.sandbox.github.world import Issue, Repository

TERM = re.compile(r'(-?)(?:(\w+):)?("[^"]*"|\S+)')
BOUND = re.compile(r"(>=|<=|>|<)?(.+)")

Predicate = Callable[[Issue], bool]


def search_issues(call: Call) -> Reply:
    """Search issues and pull requests."""
    query = call.request.args.get("q", "")
    if not query.strip():
        raise invalid_field("Search", "q", "missing")
    repositories = [r for r in call.world.repositories.values() if call.caller.can_see(r)]
    tests: list[Predicate] = []
    scopes: list[Repository] = []
    has_scope = False
    for minus, key, raw in TERM.findall(query):
        value = raw.strip('"')
        if key in ("repo", "org", "user"):
            has_scope = True
            wanted = value.lower()
            scopes += [r for r in repositories if wanted in (r.full_name.lower(), r.owner.login.lower())]
            continue
        test = _build_predicate(key, value)
        tests.append(_negate(test) if minus else test)
    if has_scope and not scopes:
        raise ApiError(
            422,
            "Validation Failed",
            [
                {
                    "resource": "Search",
                    "field": "q",
                    "code": "invalid",
                    "message": "The listed users and repositories cannot be searched either because the resources do "
                    "not exist or you do not have permission to view them.",
                }
            ],
        )
    found = [
        issue
        for repository in (scopes if has_scope else repositories)
        for issue in repository.issues.values()
        if not issue.deleted and issue.moved_to is None and all(test(issue) for test in tests)
    ]
    by = "updated_at" if call.request.args.get("sort") == "updated" else "created_at"
    ascending = call.request.args.get("order") == "asc"
    found.sort(key=lambda issue: (getattr(issue, by), issue.id), reverse=not ascending)
    # Search returns at most 1,000 results.
    reply = call.paginate(found[:1000], lambda issue: {**call.serializer.issue(issue), "score": 1.0}, "items")
    reply.body |= {"total_count": len(found), "incomplete_results": False, "search_type": "lexical"}
    return reply


def _always(_: Issue) -> bool:
    return True


def _negate(test: Predicate) -> Predicate:
    return lambda issue: not test(issue)


def _build_predicate(key: str, value: str) -> Predicate:
    low = value.lower()
    simple: dict[str, Predicate] = {
        "label": lambda issue: low in [name.lower() for name in issue.labels],
        "author": lambda issue: issue.author.login.lower() == low,
        "assignee": lambda issue: low in [account.login.lower() for account in issue.assignees],
        "commenter": lambda issue: low in [comment.login.lower() for comment in issue.comments_by_id.values()],
        "state": lambda issue: issue.state == low,
        "type": lambda issue: bool(issue.pull) == (low == "pr"),
        "head": lambda issue: issue.pull is not None and issue.pull.head == value,
        "in": _always,
        "created": lambda issue: _matches_date(format_time(issue.created_at), value),
        "updated": lambda issue: _matches_date(format_time(issue.updated_at), value),
        "closed": lambda issue: issue.closed_at is not None and _matches_date(format_time(issue.closed_at), value),
    }
    if key == "is":
        states: dict[str, Predicate] = {
            "issue": lambda issue: issue.pull is None,
            "pr": lambda issue: issue.pull is not None,
            "open": lambda issue: issue.state == "open",
            "closed": lambda issue: issue.state == "closed",
            "merged": lambda issue: issue.is_merged,
            "locked": lambda issue: issue.locked,
        }
        return states.get(low, _always)
    if key in simple:
        return simple[key]
    text = f"{key}:{low}" if key else low
    return lambda issue: (
        text in f"{issue.title}\n{issue.body or ''}".lower()
        or any(text in comment.body.lower() for comment in issue.comments_by_id.values())
    )


def _matches_date(time: str, bound: str) -> bool:
    """Return True if a time is within a bound such as `>=2026-03-14` or `2026-03-01..*`.

    Times are compared as text, cut to the length of the bound.
    """
    if ".." in bound:
        first, last = bound.split("..", 1)
        return (first == "*" or time[: len(first)] >= first) and (last == "*" or time[: len(last)] <= last)
    matched = BOUND.fullmatch(bound)
    operator, date = matched.groups() if matched else (None, bound)
    cut = time[: len(date)]
    outcome: dict[Any, bool] = {">": cut > date, ">=": cut >= date, "<": cut < date, "<=": cut <= date}
    return outcome.get(operator, cut == date)
