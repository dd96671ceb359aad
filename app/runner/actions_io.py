"""Read the input of a GitHub Actions step, and write its annotations, step summary and outputs.

The rule of this module: untrusted text reaches the log only inside a workflow command of ours, escaped, on one line.  A
line of its own could itself be a command.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from app.github import inbound
from app.github.auth import PlainToken
from app.github.client import Client
from app.outgoing import Outgoing
from app.ports import Repository
from app.text import replace_unstorable

MAX_FILE_BYTES = 64 * 1024
"""Maximum size of a file read from the workspace.

One more byte is read, so that the reader sees that the file is too large.
"""


class WorkflowError(Exception):
    """The run lacks what every workflow has.  The message says what, and what would work."""


@dataclass(frozen=True)
class Workflow:
    """One step of a workflow run, and its connections to the outside.

    `print_line` writes a line to the log.  `transport` carries the calls to GitHub; None: the network.
    """

    environment: Mapping[str, str]
    print_line: Callable[[str], None]
    clock: Callable[[], datetime]
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep

    def create_client(self, token: str) -> Client:
        """Create a GitHub client that authenticates with the token."""
        outgoing = Outgoing.from_variables(self.environment)
        return Client(self.api_url, PlainToken(token), self.clock, self.transport, sleep=self.sleep, outgoing=outgoing)

    @property
    def event(self) -> str:
        """The name of the event that started the run, such as `pull_request`."""
        return self.environment.get("GITHUB_EVENT_NAME", "")

    @property
    def token(self) -> str:
        """The token of the run; empty: the step was given none."""
        return self.environment.get("GITHUB_TOKEN", "").strip()

    @property
    def api_url(self) -> str:
        """The base URL of GitHub's REST API."""
        return self.environment.get("GITHUB_API_URL") or "https://api.github.com"

    @property
    def pull_request_token(self) -> str:
        """The token that opens the postmortem pull request, so that its checks run.

        Empty: the token of the run is used.
        """
        return self.environment.get("MUSTER_PULL_REQUEST_TOKEN", "").strip()

    @property
    def signing_secret(self) -> str:
        """The secret that signs our comments; empty: none is set."""
        return self.environment.get("MUSTER_SIGNING_SECRET", "").strip()

    @property
    def app_id(self) -> int:
        """The id of the Muster App that may serve this repository, too; 0: none is given.  Raises WorkflowError."""
        text = (self.environment.get("MUSTER_APP_ID", "") or self.environment.get("GITHUB_APP_ID", "")).strip()
        if not text:
            return 0
        if not (text.isascii() and text.isdigit() and int(text[:20]) > 0):
            raise WorkflowError(f"MUSTER_APP_ID: {text[:40]!r} is not the id of a GitHub App, such as 12345.")
        return int(text)

    def requested_issue(self) -> int | None:
        """Return the issue named by the person who started the run by hand; None: no issue was named.

        Raises WorkflowError.
        """
        text = self.environment.get("MUSTER_ISSUE", "").strip().removeprefix("#")
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and 0 < int(text[:11]) < 2**31):
            raise WorkflowError(f"MUSTER_ISSUE: {text[:40]!r} is not the number of an issue, such as 12.")
        return int(text)

    def load_payload(self) -> Mapping[str, Any]:
        """Load the payload of the event that started the run.  Raises WorkflowError."""
        path = self._require_variable("GITHUB_EVENT_PATH")
        try:
            return inbound.parse_payload(Path(path).read_bytes())
        except (OSError, inbound.Unreadable) as problem:
            raise WorkflowError(f"GITHUB_EVENT_PATH: {path} cannot be read ({problem}).") from None

    def repository(self, payload: Mapping[str, Any]) -> Repository:
        """Return the repository of the run, without an installation: a run's token needs none.

        Raises WorkflowError.
        """
        name, repository_json = self._require_variable("GITHUB_REPOSITORY"), payload.get("repository")
        details: Mapping[str, Any] = repository_json if isinstance(repository_json, dict) else {}
        branch = replace_unstorable(str(details.get("default_branch") or "main"))
        repository_id = details.get("id") or self.environment.get("GITHUB_REPOSITORY_ID", "")
        return Repository(int(repository_id) if str(repository_id).isdecimal() else 0, name, 0, branch)

    def read_workspace_file(self, path: str) -> str | None:
        """Read a file of the workspace; None: it does not exist, or is a symbolic link."""
        if not (workspace := self.environment.get("GITHUB_WORKSPACE")):
            return None
        root = Path(workspace).resolve()
        file = root / path
        # A symbolic link could expose files that the run can read and its log must not show.
        if file.resolve() != file or not file.is_file():
            return None
        with file.open("rb") as opened:
            return opened.read(MAX_FILE_BYTES + 1).decode("utf-8", "replace")

    def annotate(self, level: Literal["error", "warning", "notice"], message: str, **properties: str | int) -> None:
        """Print one annotation; `properties` may hold its file, line, col and title."""
        property_list = ",".join(f"{name}={_escape_property(str(value))}" for name, value in properties.items())
        self.print_line(f"::{level}{' ' if property_list else ''}{property_list}::{_escape_data(message)}")

    def append_summary(self, markdown: str) -> None:
        """Append Markdown to the summary page of the run."""
        self._append("GITHUB_STEP_SUMMARY", f"{markdown}\n")

    def set_output(self, name: str, value: str | int) -> None:
        """Set an output of the step, on one line."""
        line = " ".join(str(value).split())  # a second line would set another output
        self._append("GITHUB_OUTPUT", f"{name}={line}\n")

    def _append(self, name: str, text: str) -> None:
        if path := self.environment.get(name):
            with Path(path).open("a", encoding="utf-8") as opened:
                opened.write(text)

    def _require_variable(self, name: str) -> str:
        value = self.environment.get(name)
        if not value:
            raise WorkflowError(f"{name} is not set: this command is for a step of a GitHub Actions workflow.")
        return value


def _escape_data(text: str) -> str:
    return replace_unstorable(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _escape_property(text: str) -> str:
    return _escape_data(text).replace(":", "%3A").replace(",", "%2C")
