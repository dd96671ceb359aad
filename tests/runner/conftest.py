"""A repository on the sandbox GitHub, and a runner as GitHub Actions would start it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from app.github.manifest import EVENTS, PERMISSIONS
from app.runner import Workflow, check_policy
from app.sandbox.github import AppRegistration, SandboxGitHub
from app.sandbox.github.world import Repository
from tests.runner.actions import Actions
from tests.shell.night import POLICY, SEV1, HandClock, Wire

Command = Callable[[Workflow], int]
"""What a step of a job runs."""
READ_RIGHTS = {"metadata": "read", "contents": "read", "issues": "read", "pull_requests": "read"}
POLICY_PATH = ".github/incidents.yml"


@dataclass
class Run:
    """The results of one run."""

    code: int
    log: list[str]
    summary: str
    outputs: dict[str, str]


@dataclass
class Runner:
    """A GitHub-hosted runner with one repository to serve."""

    github: SandboxGitHub
    shop: Repository
    clock: HandClock
    folder: Path
    rights: dict[str, str] = field(default_factory=lambda: dict(READ_RIGHTS))
    calls: int = 0
    wire: Callable[[], Wire] = Wire
    variables: dict[str, str] = field(default_factory=dict)
    """Further variables of every run."""

    def token(self) -> str:
        """Issue the token of a run, with the permissions that its job asks for."""
        return self.github.issue_actions_token(self.shop, self.rights)

    def environment(self, event: str, payload: Any) -> dict[str, str]:
        (self.folder / "event.json").write_text(json.dumps({"repository": self.repository, **payload}))
        return {
            "GITHUB_EVENT_NAME": event,
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_REPOSITORY": "octo/shop",
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_TOKEN": self.token(),
            "GITHUB_STEP_SUMMARY": str(self.folder / "summary.md"),
            "GITHUB_OUTPUT": str(self.folder / "output"),
        }

    @property
    def repository(self) -> dict[str, Any]:
        return {"id": self.shop.id, "full_name": "octo/shop", "default_branch": "main"}

    def run(
        self,
        event: str,
        payload: Any,
        command: Command = check_policy,
        sleep: Callable[[float], None] = time.sleep,
        **overrides: str,
    ) -> Run:
        """Run a command once; `sleep` passes the time, `overrides` are further variables of its environment."""
        for name in ("summary.md", "output"):
            (self.folder / name).unlink(missing_ok=True)
        log: list[str] = []
        wire, mark = self.wire(), self.github.call_log_position()
        try:
            environment = self.environment(event, payload) | self.variables | overrides
            code = command(Workflow(environment, log.append, self.clock, wire, sleep))
        finally:
            wire.end()
        self.calls = len(self.github.calls_since(mark))
        summary, output = self.folder / "summary.md", self.folder / "output"
        lines = output.read_text().splitlines() if output.exists() else []
        return Run(
            code,
            log,
            summary.read_text() if summary.exists() else "",
            dict(line.split("=", 1) for line in lines),
        )

    def run_concurrently(
        self, event: tuple[str, Any], command: Any, wire: Wire, rights: dict[str, str], sleep: Any
    ) -> int:
        """Run a command alongside others, with its own folder, and return only its exit code."""
        with TemporaryDirectory(dir=self.folder) as folder:
            runner = replace(self, folder=Path(folder), rights=rights)
            return int(command(Workflow(runner.environment(*event), [].append, self.clock, wire, sleep)))

    def propose_policy(self, text: str | None, branch: str = "other") -> dict[str, Any]:
        """Open a pull request by ada with that policy file, and return the payload of its event."""
        ada = self.github.person("ada")
        ada.pushes(self.shop, POLICY_PATH, text, branch=branch)
        return self.pull_request_payload(ada.opens_pull(self.shop, branch, "Another policy"))

    def pull_request_payload(self, number: int, action: str = "opened") -> dict[str, Any]:
        return {"action": action, "pull_request": self.github.serializer.pull(self.shop.issue(number))}

    def create_closed_incident(self, minutes: int = 8) -> int:
        """Create an incident acknowledged after this many minutes, resolved and closed within the hour."""
        mona = self.github.person("mona")
        number = mona.opens(self.shop, "Checkout is down", SEV1, ["incident"])
        self.advance_clock(minutes)
        mona.comments(self.shop, number, "/ack")
        self.advance_clock(30)
        mona.comments(self.shop, number, "/resolve the pool is larger now")
        mona.closes(self.shop, number)
        self.advance_clock(30)
        return number

    def advance_clock(self, minutes: float) -> None:
        self.clock.at = self.clock.at.fromtimestamp(self.clock.at.timestamp() + minutes * 60, self.clock.at.tzinfo)

    def create_workspace(self, text: str) -> str:
        """Create a checkout with that policy file, and return its path."""
        file = self.folder / "checkout" / POLICY_PATH
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return str(self.folder / "checkout")


@cache
def get_app_registration() -> AppRegistration:
    return AppRegistration.generate(permissions=PERMISSIONS, events=EVENTS)


@pytest.fixture
def actions(runner: Runner) -> Actions:
    return Actions(runner)


@contextmanager
def start_runner(folder: Path) -> Iterator[Runner]:
    """Start a runner at the time, and with the people, of the shell tests' nights."""
    clock = HandClock.at_default_start()
    with SandboxGitHub(clock, get_app_registration()) as github:
        for login in ("mona", "hubot", "ada", "grace", "stranger"):
            github.add_person(login)
        shop = github.add_repository("octo/shop", files={POLICY_PATH: POLICY, "README.md": "# shop\n"})
        for login in ("mona", "hubot", "ada", "grace"):
            shop.permit(login, "write")
        yield Runner(github, shop, clock, folder)


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    with start_runner(tmp_path) as found:
        yield found
