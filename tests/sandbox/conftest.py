"""Fixtures: a sandbox GitHub for each test, with a clock moved by hand and a receiver of its webhooks."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from app.sandbox.github import AppRegistration, SandboxGitHub
from app.sandbox.github.people import Person
from app.sandbox.github.world import Repository

# The sandbox speaks plain HTTP on loopback: an empty context saves loading the machine's certificates per client.
NO_CERTIFICATES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


@dataclass
class HandClock:
    """Clock that stands still until it is moved."""

    now: datetime = datetime(2026, 3, 14, 9, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def move(self, **span: float) -> None:
        self.now += timedelta(**span)


@dataclass
class WebhookReceiver:
    """Webhook receiver that records each delivery."""

    url: str = ""
    status: int = 202
    """HTTP status of every answer."""
    deliveries: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Headers and body of each delivery, oldest first."""

    @property
    def event_names(self) -> list[str]:
        """Return the names of the received events, such as `issues.opened`, oldest first."""
        return [
            f"{head['X-GitHub-Event']}.{json.loads(body).get('action', '')}".rstrip(".")
            for head, body in self.deliveries
        ]

    def payload(self, event_name: str) -> dict[str, Any]:
        """Return the newest payload of an event such as `issues.opened`."""
        newest = max(place for place, each_name in enumerate(self.event_names) if each_name == event_name)
        found: dict[str, Any] = json.loads(self.deliveries[newest][1])
        return found

    def clear(self) -> None:
        self.deliveries.clear()


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Return the folder of GitHub's API description: MUSTER_SHARED_DATA, or `../shared/data` beside the project."""
    named = os.environ.get("MUSTER_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2].parent / "shared" / "data"
    if not (folder / "github-openapi.json").is_file():
        pytest.skip(f"github-openapi.json is not in {folder}; set MUSTER_SHARED_DATA")
    return folder


@pytest.fixture(scope="session")
def registration() -> AppRegistration:
    """Generate one App registration for all tests, since making a key pair takes a moment."""
    return AppRegistration.generate(webhook_secret="It's a Secret to Everybody")


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def github(clock: HandClock, registration: AppRegistration) -> Iterator[SandboxGitHub]:
    with SandboxGitHub(clock=clock, app=registration) as sandbox:
        yield sandbox


@pytest.fixture
def ear(github: SandboxGitHub) -> Iterator[WebhookReceiver]:
    """Start a webhook receiver and point the hooks to it."""
    receiver = WebhookReceiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            receiver.deliveries.append((dict(self.headers), body))
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Log nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    github.hooks.settle()  # earlier deliveries must not reach this receiver, however slow the sender is
    receiver.url = github.hooks.url = f"http://127.0.0.1:{server.server_port}/webhook"
    try:
        yield receiver
    finally:
        github.hooks.stop()
        server.shutdown()
        server.server_close()
        thread.join(5)


@pytest.fixture
def shop(github: SandboxGitHub) -> Repository:
    return github.add_repository(
        "octo/shop", files={".github/incidents.yml": "profile: guide\n", "README.md": "# shop\n"}
    )


@pytest.fixture
def mona(github: SandboxGitHub, shop: Repository) -> Person:
    person = github.add_person("mona", name="Mona Lisa")
    shop.permit("mona", "write")
    return person


def app_jwt(github: SandboxGitHub, **changed_claims: Any) -> str:
    """Return an App JWT as GitHub wants it, with the given claims changed; None leaves a claim out."""
    now = int(github.clock().timestamp())
    claims = {"iat": now - 60, "exp": now + 300, "iss": str(github.app.app_id), **changed_claims}
    return jwt.encode(
        {name: value for name, value in claims.items() if value is not None}, github.app.private_key_pem, "RS256"
    )


def as_app(github: SandboxGitHub, **changed_claims: Any) -> httpx.Client:
    """Return a client that calls as the App itself."""
    headers = {"Authorization": f"Bearer {app_jwt(github, **changed_claims)}"}
    return httpx.Client(base_url=github.api_url, headers=headers, trust_env=False, verify=NO_CERTIFICATES)


def new_token(github: SandboxGitHub, repository: Repository, **restrictions: Any) -> str:
    """Create an installation token for a repository's owner."""
    assert repository.installation is not None
    with as_app(github) as client:
        answer = client.post(f"/app/installations/{repository.installation.id}/access_tokens", json=restrictions)
    assert answer.status_code == 201, answer.text
    token: str = answer.json()["token"]
    return token


def with_token(github: SandboxGitHub, token: str) -> httpx.Client:
    return httpx.Client(
        base_url=github.api_url, headers={"Authorization": f"token {token}"}, trust_env=False, verify=NO_CERTIFICATES
    )


@pytest.fixture
def api(github: SandboxGitHub, shop: Repository) -> Iterator[httpx.Client]:
    """Yield a client that calls as the App's installation."""
    with with_token(github, new_token(github, shop)) as client:
        yield client
