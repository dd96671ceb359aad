"""What every change needs: the world, the clock and the webhooks."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.sandbox.github.account_json import node_id
from app.sandbox.github.code_json import CodeSerializer
from app.sandbox.github.errors import ApiError, invalid_field
from app.sandbox.github.hooks import Hooks
from app.sandbox.github.world import Account, Actor, Comment, Event, Installation, Issue, Label, Repository, World

MAX_BODY_CHARS = 65_536
MAX_TITLE_CHARS = 256
MAX_LABEL_CHARS = 50

# GitHub sends these to an app whether it subscribed to them or not.
ALWAYS_SENT_EVENTS = frozenset({"installation", "installation_repositories", "ping"})

ISSUE_REFERENCE = re.compile(r"(?<![\w/&])(?:([\w.-]+/[\w.-]+))?#(\d+)\b")


@dataclass
class ChangeContext:
    """Shared base of all changes to the world."""

    world: World
    serializer: CodeSerializer
    hooks: Hooks
    clock: Callable[[], datetime]

    def now(self) -> datetime:
        """Return the current time of the clock."""
        return self.clock()

    def send_event(self, repository: Repository, event: str, actor: Actor, /, **parts: Any) -> None:
        """Send a repository's event to the app, if it is installed there and subscribed to it."""
        installation = repository.installation
        if installation is None or installation.suspended_at is not None:
            return
        payload = dict(parts)
        payload.setdefault("repository", self.serializer.repository(repository))
        if repository.owner.kind == "Organization":
            payload["organization"] = self.serializer.organization(repository.owner)
        self.send_installation_event(installation, event, actor, repository, **payload)

    def send_installation_event(
        self,
        installation: Installation,
        event: str,
        actor: Actor,
        repository: Repository | None = None,
        /,
        **parts: Any,
    ) -> None:
        """Send an event to an installation, if it is subscribed to it."""
        if event not in ALWAYS_SENT_EVENTS and event not in installation.events:
            return
        payload = {**parts, "sender": self.serializer.account(actor.account)}
        payload.setdefault("installation", {"id": installation.id, "node_id": node_id("IN", installation.id)})
        self.hooks.emit(event, payload, installation.id, repository.id if repository else None)

    def add_timeline_event(self, issue: Issue, event: str, actor: Actor, **parts: Any) -> Event:
        """Add an event to an issue's timeline and mark the issue as updated."""
        now = self.now()
        entry = Event(self.world.new_id(), event, actor.account, now, actor.via_app, **parts)
        issue.timeline.append(entry)
        issue.updated_at = now
        return entry

    def add_timeline_comment(self, issue: Issue, comment: Comment) -> None:
        """Add a comment to an issue's timeline and mark the issue as updated."""
        issue.timeline.append(
            Event(comment.id, "commented", comment.author, comment.created_at, comment.via_app, comment=comment)
        )
        issue.updated_at = comment.created_at

    def add_cross_references(self, source: Issue, text: str | None, actor: Actor) -> None:
        """Add a cross-reference to the timeline of each issue that the text mentions, once for each source."""
        for owner_and_name, number in ISSUE_REFERENCE.findall(text or ""):
            full_name = owner_and_name or source.repository.full_name
            repository = self.world.repositories.get(full_name.lower())
            target = repository.issues.get(int(number)) if repository and len(number) < 10 else None
            if target is None or target is source or target.deleted or target.moved_to:
                continue
            if not any(entry.source is source for entry in target.timeline):
                entry = Event(self.world.new_id(), "cross-referenced", actor.account, self.now(), actor.via_app)
                entry.source = source
                target.timeline.append(entry)

    def find_or_create_label(self, repository: Repository, name: str) -> Label:
        """Return the repository's label of that name; an unknown one is created grey, as on GitHub."""
        known = repository.labels.get(name.lower())
        if known is not None:
            return known
        check_label(name)
        label = Label(self.world.new_id(), name)
        repository.labels[name.lower()] = label
        return label

    def find_account(self, login: str, resource: str = "Issue", field: str = "assignees") -> Account:
        """Return an account. Raises ApiError 422 for an unknown login."""
        account = self.world.accounts.get(login.lower())
        if account is None:
            raise invalid_field(resource, field)
        return account


def check_label(name: str) -> None:
    """Check the name of a label. Raises ApiError 422."""
    if not name.strip():
        raise invalid_field("Label", "name", "missing_field")
    if len(name) > MAX_LABEL_CHARS:
        raise invalid_field("Label", "name", "custom", f"name is too long (maximum is {MAX_LABEL_CHARS} characters)")


def check_title(title: str, resource: str = "Issue") -> None:
    """Check a title. Raises ApiError 422."""
    if not title.strip():
        raise invalid_field(resource, "title", "missing_field")
    if len(title) > MAX_TITLE_CHARS:
        raise invalid_field(resource, "title", "custom", f"title is too long (maximum is {MAX_TITLE_CHARS} characters)")


def check_body(body: str | None, resource: str = "Issue", required: bool = False) -> None:
    """Check the length of a body and, if `required`, that there is one. Raises ApiError 422."""
    if required and not (body or "").strip():
        raise ApiError(422, "Validation Failed", [{"resource": resource, "field": "body", "code": "missing_field"}])
    if body is not None and len(body) > MAX_BODY_CHARS:
        raise invalid_field(resource, "body", "custom", f"body is too long (maximum is {MAX_BODY_CHARS} characters)")
