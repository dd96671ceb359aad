"""Check that a payload fits the event that its header names.

GitHub signs the body of a delivery and not the header that names its event.  So a body that was captured once could be
sent again under another name and mean something else: the deletion of a comment read as the deletion of an issue.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_ABOUT_ISSUES = frozenset(
    {"comment", "pull_request", "review", "thread", "discussion", "sub_issue", "parent_issue", "blocked_issue"}
)
_ABOUT_INSTALLATIONS = frozenset({"repositories", "repositories_added", "repositories_removed"})
_ABOUT_CODE = frozenset({"commits", "ref", "pusher"})

_FOREIGN_KEYS: Mapping[str, frozenset[str]] = {
    "issues": _ABOUT_ISSUES | _ABOUT_INSTALLATIONS | _ABOUT_CODE,
    "issue_comment": (_ABOUT_ISSUES - {"comment"}) | _ABOUT_INSTALLATIONS | _ABOUT_CODE,
    "pull_request": (_ABOUT_ISSUES - {"pull_request"}) | {"issue"} | _ABOUT_INSTALLATIONS | _ABOUT_CODE,
    "push": frozenset({"action", "ref_type", "issue", "pull_request"}),
    "installation": _ABOUT_ISSUES
    | {"issue", "repository", "repositories_added", "repositories_removed", "hook", "account"},
    "installation_repositories": _ABOUT_ISSUES | {"issue", "repository", "repositories"},
}
"""For each event that means something to us, the keys that only payloads of other events have."""


_NEEDED_KEYS: Mapping[str, frozenset[str]] = {
    "issues": frozenset({"issue"}),
    "issue_comment": frozenset({"issue", "comment"}),
    "pull_request": frozenset({"pull_request"}),
    "push": frozenset({"ref", "before", "after"}),
    "installation": frozenset({"installation"}),
    "installation_repositories": frozenset({"installation", "repositories_added", "repositories_removed"}),
}
"""For each event that means something to us, the keys that its payloads always have."""


def find_misfit(event_name: str, payload: Mapping[str, Any]) -> str:
    """Say why a payload is not one of that event; empty if it may be, or if it means nothing to us."""
    if event_name not in _NEEDED_KEYS or not {"repository", "installation"} & payload.keys():
        return ""
    if foreign := sorted(_FOREIGN_KEYS[event_name] & payload.keys()):
        return f"it came as '{event_name}' and is about {', '.join(foreign)}"
    if missing := sorted(_NEEDED_KEYS[event_name] - payload.keys()):
        return f"it came as '{event_name}' and has no {', '.join(missing)}"
    if event_name in ("installation", "installation_repositories") and "account" not in (payload["installation"] or {}):
        # Every delivery to an App names its installation; these two describe it.
        return f"it came as '{event_name}' and names an installation without its account"
    return ""
