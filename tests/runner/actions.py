"""The same night as in the shell tests, served by workflows alone: no server, no database.

What people do starts runs, as on GitHub; the clock is moved by hand, and the schedule runs when a test says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from app.github.board_state import parse_board_state
from app.github.signed_marker import Signer
from app.github.tracker import comment_from
from app.ports import IncidentKey
from app.runner import sweep, triage, triage_with_postmortem
from app.sandbox.github.server import ACTIONS_BOT_LOGIN

if TYPE_CHECKING:
    from tests.runner.conftest import Run, Runner

TRIAGE_RIGHTS = {"metadata": "read", "contents": "read", "issues": "write", "pull_requests": "read"}
POSTMORTEM_RIGHTS = {"metadata": "read", "contents": "write", "issues": "write", "pull_requests": "write"}
_TRIGGER_EVENTS = ("issues", "issue_comment", "pull_request")
"""The events that start our workflows."""


@dataclass
class Actions:
    """The workflows of one repository and the results of their runs."""

    runner: Runner
    runs: list[Run] = field(default_factory=list)
    seen_count: int = 0
    slept_seconds: list[float] = field(default_factory=list)
    rights: dict[str, str] | None = None
    """The permissions that every job's token gets; None: those that the job asks for."""

    def __post_init__(self) -> None:
        self.runner.github.hooks.hold()
        self.github, self.shop, self.clock = self.runner.github, self.runner.shop, self.runner.clock

    def take_new_events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the events since the last call that start a workflow.

        Events caused by a run's own token start none.
        """
        self.seen_count, fresh = (
            len(self.github.hooks.held_deliveries),
            self.github.hooks.held_deliveries[self.seen_count :],
        )
        found = [(each.event, each.payload) for each in fresh if each.event in _TRIGGER_EVENTS]
        return [(name, payload) for name, payload in found if payload["sender"]["login"] != ACTIONS_BOT_LOGIN]

    def settle(self) -> list[Run]:
        """Run every workflow for what has happened, and return the runs."""
        runs = []
        while events := self.take_new_events():
            for name, payload in events:
                runs.append(self.triage(name, payload))
                if name == "issues" and payload["action"] == "closed":
                    runs.append(self.postmortem(name, payload))
        return runs

    def triage(self, event: str, payload: dict[str, Any], **overrides: str) -> Run:
        return self._run(triage, TRIAGE_RIGHTS, event, payload, **overrides)

    def postmortem(self, event: str, payload: dict[str, Any], **overrides: str) -> Run:
        return self._run(triage_with_postmortem, POSTMORTEM_RIGHTS, event, payload, **overrides)

    def sweep(self, **overrides: str) -> Run:
        """Run the scheduled sweep now."""
        return self._run(sweep, TRIAGE_RIGHTS, "schedule", {"schedule": "*/5 * * * *"}, **overrides)

    def _run(self, command: Any, rights: dict[str, str], event: str, payload: dict[str, Any], **overrides: str) -> Run:
        self.runner.rights = rights if self.rights is None else self.rights
        self.runs.append(self.runner.run(event, payload, command, self.sleep, **overrides))
        return self.runs[-1]

    def sleep(self, seconds: float) -> None:
        """Record that a run sleeps, and advance the clock."""
        self.slept_seconds.append(seconds)
        self.clock.at += timedelta(seconds=seconds)

    def advance_and_settle(self, seconds: int = 20) -> list[Run]:
        """Settle, advance the clock and settle again, since GitHub's timestamps have a resolution of one second."""
        runs = self.settle()
        self.clock.at += timedelta(seconds=seconds)
        return runs + self.settle()

    def run_for(self, **time: float) -> None:
        """Advance the clock with a sweep every minute; sweeps that would find nothing due are left out."""
        end = self.clock.at + timedelta(**time)
        while self.clock.at < end:
            self.clock.at = min(end, self.clock.at + timedelta(minutes=1))
            if any(due is not None and due <= self.clock.at for due in self.list_next_alarms()):
                self.sweep()

    def list_next_alarms(self) -> list[datetime | None]:
        """Return when the next alarm of each incident is due, as its board says; None: no alarm."""
        found = []
        for number in self.shop.issues:
            states = [memory for content in self._read_own_markers(number) if (memory := parse_board_state(content))]
            found += [memory.snapshot.next_alarm_at for memory in states if memory.snapshot]
        return found

    def opens(self, body: str, title: str = "Checkout is down") -> int:
        """File a report as a stranger, and return its number."""
        return self.github.person("stranger").opens(self.shop, title, body, ["incident"])

    def says(self, login: str, number: int, text: str) -> None:
        self.github.person(login).comments(self.shop, number, text)
        self.advance_and_settle()

    def board(self, number: int) -> str:
        """Return the text of the issue's board; fail unless there is exactly one."""
        boards = [comment.body for comment in self.shop.issue(number).comments if comment.body.startswith("## ")]
        assert len(boards) == 1, f"{len(boards)} boards"
        return boards[0]

    def notices(self, number: int) -> list[str]:
        """Return the texts of all our comments except the board."""
        return [
            comment.body
            for comment in self.shop.issue(number).comments
            if comment.author.kind == "Bot" and not comment.body.startswith("## ")
        ]

    def list_posted_keys(self, number: int) -> list[str]:
        """Return the keys in the markers of our comments on that issue, each as often as it was posted."""
        return sorted(key for content in self._read_own_markers(number) for key in content["keys"])

    def _read_own_markers(self, number: int) -> list[dict[str, Any]]:
        """Return the contents of the markers of our comments on that issue."""
        secret = self.runner.variables.get("MUSTER_SIGNING_SECRET") or f"repository {self.shop.id}"
        issue, signer = self.shop.issue(number), Signer((secret,), bot_login=ACTIONS_BOT_LOGIN)
        shown = [comment_from(self.github.serializer.comment(issue, comment)) for comment in issue.comments]
        return [content for each in shown if (content := signer.read(IncidentKey(self.shop.id, number), each))]

    def labels(self, number: int) -> set[str]:
        return set(self.shop.issue(number).labels)
