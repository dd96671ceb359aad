"""What Muster asks of GitHub.  `app.yml` says the same to people, and a test holds the two together."""

from __future__ import annotations

PERMISSIONS = {
    "metadata": "read",
    "issues": "write",
    "pull_requests": "write",
    "contents": "write",
    "checks": "write",
}
EVENTS = ["issues", "issue_comment", "pull_request", "push"]
