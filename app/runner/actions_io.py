"""What a run is told by GitHub Actions, and how it answers: workflow commands, the step summary, outputs.

The law of this file: somebody's words reach the log only inside a workflow command of ours, escaped, on one line.  A
line of theirs could be a command itself.
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
from app.ports import Repository
from app.text import cleaned

LARGEST = 64 * 1024
"""Bytes of a file that is read from the workspace, and one more, so that its reader sees that it is too large."""


class Unusable(Exception):
    """The run lacks what every workflow has.  The message says what, and what would work."""


@dataclass(frozen=True)
class Workflow:
    """One step of one run, and what it meets outside.

    `tell` writes a line to its log, `clock` tells the time and `sleep` passes it.  `transport` carries the calls to GitHub;
    None: the network.
    """

    environment: Mapping[str, str]
    tell: Callable[[str], None]
    clock: Callable[[], datetime]
    transport: httpx.BaseTransport | None = None
    sleep: Callable[[float], None] = time.sleep

    def client(self, token: str) -> Client:
        """GitHub, as whoever that token stands for."""
        return Client(self.api_url, PlainToken(token), self.clock, self.transport, wait=self.sleep)

    @property
    def event(self) -> str:
        """The name of what started it, such as `pull_request`."""
        return self.environment.get("GITHUB_EVENT_NAME", "")

    @property
    def token(self) -> str:
        """Empty: the step was given none."""
        return self.environment.get("GITHUB_TOKEN", "").strip()

    @property
    def api_url(self) -> str:
        return self.environment.get("GITHUB_API_URL") or "https://api.github.com"

    @property
    def pull_request_token(self) -> str:
        """With which the postmortem is proposed, so that its checks run; empty: with the token of the run."""
        return self.environment.get("MUSTER_PULL_REQUEST_TOKEN", "").strip()

    @property
    def signing_secret(self) -> str:
        """What our comments are signed with; empty: nothing secret."""
        return self.environment.get("MUSTER_SIGNING_SECRET", "").strip()

    def asked_for(self) -> int | None:
        """The issue that somebody named who started the run by hand; None: nobody did.  Raises Unusable."""
        named = self.environment.get("MUSTER_ISSUE", "").strip().removeprefix("#")
        if not named:
            return None
        if not (named.isascii() and named.isdigit() and 0 < int(named[:11]) < 2**31):
            raise Unusable(f"MUSTER_ISSUE: {named[:40]!r} is not the number of an issue, such as 12.")
        return int(named)

    def payload(self) -> Mapping[str, Any]:
        """What GitHub said when it started the run.  Raises Unusable."""
        path = self._needed("GITHUB_EVENT_PATH")
        try:
            return inbound.payload_of(Path(path).read_bytes())
        except (OSError, inbound.Unreadable) as problem:
            raise Unusable(f"GITHUB_EVENT_PATH: {path} cannot be read ({problem}).") from None

    def repository(self, payload: Mapping[str, Any]) -> Repository:
        """Where the run is; a token of a run has no need of an installation.  Raises Unusable."""
        name, shown = self._needed("GITHUB_REPOSITORY"), payload.get("repository")
        found: Mapping[str, Any] = shown if isinstance(shown, dict) else {}
        branch = cleaned(str(found.get("default_branch") or "main"))
        told = found.get("id") or self.environment.get("GITHUB_REPOSITORY_ID", "")
        return Repository(int(told) if str(told).isdecimal() else 0, name, 0, branch)

    def checked_out(self, path: str) -> str | None:
        """The text of a file in the workspace; None: it is not there, or only a link stands in its place."""
        if not (workspace := self.environment.get("GITHUB_WORKSPACE")):
            return None
        root = Path(workspace).resolve()
        file = root / path
        # A link could lead to what the run knows and its log should not.
        if file.resolve() != file or not file.is_file():
            return None
        with file.open("rb") as opened:
            return opened.read(LARGEST + 1).decode("utf-8", "replace")

    def say(self, how: Literal["error", "warning", "notice"], message: str, **spot: str | int) -> None:
        """One annotation; `spot` may name its file, line, col and title."""
        where = ",".join(f"{name}={_property(str(value))}" for name, value in spot.items())
        self.tell(f"::{how}{' ' if where else ''}{where}::{_data(message)}")

    def summarize(self, markdown: str) -> None:
        """Show it on the page of the run."""
        self._append("GITHUB_STEP_SUMMARY", f"{markdown}\n")

    def output(self, name: str, value: str | int) -> None:
        """Something of ours for later steps, on one line."""
        line = " ".join(str(value).split())  # a second line would be an output of its own
        self._append("GITHUB_OUTPUT", f"{name}={line}\n")

    def _append(self, name: str, text: str) -> None:
        if path := self.environment.get(name):
            with Path(path).open("a", encoding="utf-8") as opened:
                opened.write(text)

    def _needed(self, name: str) -> str:
        found = self.environment.get(name)
        if not found:
            raise Unusable(f"{name} is not set: this command is for a step of a GitHub Actions workflow.")
        return found


def _data(text: str) -> str:
    return cleaned(text).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
