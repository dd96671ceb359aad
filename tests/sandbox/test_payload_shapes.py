"""Our webhook payloads have every field that all published examples of the same event have."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

from .conftest import WebhookReceiver

# Fields of older or other editions of GitHub, which only some examples have.
EDITION_SPECIFIC_FIELDS = frozenset({"custom_properties", "requester", "name", "email", "stargazers", "master_branch"})
# Fields whose keys depend on the App's permissions or on what was changed.
FREE_FORM_FIELDS = frozenset({"changes", "permissions"})


@pytest.fixture
def examples(shared_data: Path) -> dict[str, list[dict[str, Any]]]:
    """Load the published payloads, by event and action."""
    found: dict[str, list[dict[str, Any]]] = {}
    for event in json.loads((shared_data / "webhook-examples.json").read_text()):
        for payload in event["examples"]:
            found.setdefault(f"{event['name']}.{payload.get('action', '')}".rstrip("."), []).append(payload)
    return found


def test_payloads_have_what_githubs_have(
    github: SandboxGitHub,
    ear: WebhookReceiver,
    shop: Repository,
    mona: Person,
    examples: dict[str, list[dict[str, Any]]],
) -> None:
    number = mona.opens(shop, "down", "body", labels=["incident"], assignees=["mona"])
    comment = mona.comments(shop, number, "/ack")
    mona.edits_comment(shop, comment, "/ack now")
    mona.deletes_comment(shop, comment)
    mona.unlabels(shop, number, "incident")
    mona.unassigns(shop, number, "mona")
    mona.edits_issue(shop, number, title="still down")
    mona.locks(shop, number)
    mona.unlocks(shop, number)
    mona.closes(shop, number)
    mona.reopens(shop, number)
    mona.pushes(shop, "a.txt", "a", branch="a")
    pull = mona.opens_pull(shop, "a", "A", "a")
    mona.pushes(shop, "a.txt", "b", branch="a")
    mona.merges(shop, pull)
    github.add_repository("octo/blog")
    shop.permit("mona", "admin")
    mona.deletes_issue(shop, number)
    github.hooks.settle()
    event_names = set(ear.event_names) & set(examples)
    assert {
        "issues.opened",
        "issue_comment.created",
        "push",
        "pull_request.opened",
        "installation.created",
    } <= event_names
    missing = {
        name: sorted(fields)
        for name in event_names
        if (fields := set(_missing_fields(ear.payload(name), examples[name])))
    }
    assert missing == {}


def _missing_fields(payload: dict[str, Any], examples: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the fields that each of the examples has and our payload lacks."""
    common = set.intersection(*(set(each) for each in examples))
    yield from (name for name in common if name not in payload and name not in EDITION_SPECIFIC_FIELDS)
    for name in common & set(payload):
        inner = [each[name] for each in examples]
        if (
            isinstance(payload[name], dict)
            and all(isinstance(each, dict) and each for each in inner)
            and name not in FREE_FORM_FIELDS
        ):
            yield from (f"{name}.{below}" for below in _missing_fields(payload[name], inner))
