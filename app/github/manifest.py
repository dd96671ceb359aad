"""Permissions and webhook events that Muster requests from GitHub.

`app.yml` states the same for people; a test keeps the two equal.
"""

from __future__ import annotations

PERMISSIONS = {
    "metadata": "read",
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "checks": "write",
}
EVENTS = ["issues", "issue_comment", "pull_request", "push"]
