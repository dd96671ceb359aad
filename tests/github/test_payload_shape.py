"""FC-S10: a body means only what GitHub said with it, whatever header it is sent under."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from app.github.payload_shape import find_misfit

EVENTS = ("issues", "issue_comment", "pull_request", "push", "installation", "installation_repositories")
DATA = Path(os.environ.get("MUSTER_SHARED_DATA", Path(__file__).parents[3] / "shared/data")) / "webhook-examples.json"

REPOSITORY = {"id": 1, "full_name": "octo/shop"}
BODIES: dict[str, dict[str, Any]] = {
    "issues": {"action": "deleted", "issue": {"number": 1}, "repository": REPOSITORY, "sender": {}},
    "issue_comment": {"action": "deleted", "issue": {"number": 1}, "comment": {"id": 2}, "repository": REPOSITORY},
    "pull_request": {"action": "closed", "number": 3, "pull_request": {"number": 3}, "repository": REPOSITORY},
    "push": {"ref": "refs/heads/main", "before": "0", "after": "1", "commits": [], "repository": REPOSITORY},
    "installation": {"action": "deleted", "installation": {"id": 7, "account": {}}, "repositories": []},
    "installation_repositories": {
        "action": "removed",
        "installation": {"id": 7, "account": {}},
        "repositories_added": [],
        "repositories_removed": [{"id": 1}],
    },
    "label": {"action": "deleted", "label": {"name": "x"}, "repository": REPOSITORY, "installation": {"id": 7}},
    "repository": {"action": "deleted", "repository": REPOSITORY, "installation": {"id": 7}},
    "pull_request_review": {"action": "submitted", "review": {}, "pull_request": {}, "repository": REPOSITORY},
    "sub_issues": {"action": "sub_issue_removed", "sub_issue": {}, "issue": {}, "repository": REPOSITORY},
    "delete": {"ref": "x", "ref_type": "branch", "repository": REPOSITORY, "before": "", "after": ""},
    "organization": {"action": "deleted", "organization": {"id": 2}, "installation": {"id": 7}},
    "team": {"action": "deleted", "team": {"id": 2}, "organization": {"id": 2}, "installation": {"id": 7}},
    "meta": {"action": "deleted", "hook": {}, "hook_id": 1, "installation": {"id": 7}},
}


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("sent", list(BODIES))
def test_a_body_means_nothing_under_the_name_of_another_event(event: str, sent: str) -> None:
    assert bool(find_misfit(event, BODIES[sent])) == (event != sent)


def test_githubs_own_examples_fit() -> None:
    if not DATA.exists():
        pytest.skip(f"{DATA} is not there")
    seen = set()
    for row in json.loads(DATA.read_text()):
        for example in row["examples"]:
            assert find_misfit(row["name"], example) == ""
            delivered = {"installation": {"id": 1}, **example}
            assert all(find_misfit(event, delivered) for event in EVENTS if event != row["name"])
            seen.add(row["name"])
    assert set(EVENTS) <= seen
