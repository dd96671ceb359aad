"""Serve against the sandbox GitHub, for users without credentials."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import structlog

from app import bootstrap
from app.github.intake import shipped_form_text
from app.github.manifest import EVENTS, PERMISSIONS
from app.sandbox.github import AppRegistration, SandboxGitHub
from app.settings import Settings

_POLICY = """\
extends: guide
people:
  mona: {name: Mona Lisa}
contacts:
  on-call: mona
"""

_REPOSITORY = "octo/shop"
_NO_CREDENTIALS = "There are no credentials, so Muster serves beside a pretend GitHub on this machine."
_ON_REQUEST = "Muster serves beside a pretend GitHub on this machine; the credentials that are set are not used."
_WELCOME = """\
{why}  It forgets everything when it ends.

  Watch:   {url}/{repo}/issues
  Report:  curl -X POST {api}/repos/{repo}/issues -H 'Authorization: Bearer {token}' \\
             -d '{{"title": "Checkout is down", "body": "### Severity\\n\\nSEV1", "labels": ["incident"]}}'
  Answer:  curl -X POST {api}/repos/{repo}/issues/1/comments -H 'Authorization: Bearer {token}' \\
             -d '{{"body": "/ack"}}'

The token is Mona's, who is on call there.  With GITHUB_APP_ID and its key in .env it is the real thing: docs/install.md
"""

log = structlog.get_logger()


@contextmanager
def serve_with_sandbox(settings: Settings, clock: bootstrap.TimeSource) -> Iterator[bootstrap.Application]:
    """Open an application against a sandbox GitHub on this machine; all of its data is gone with the process."""
    app_registration = AppRegistration.generate(permissions=PERMISSIONS, events=EVENTS)
    with (
        tempfile.TemporaryDirectory(prefix="muster-pretend-", ignore_cleanup_errors=True) as home,
        SandboxGitHub(clock, app_registration, refresh=5) as github,
    ):
        files = {
            "README.md": "# shop\n",
            ".github/incidents.yml": _POLICY,
            ".github/ISSUE_TEMPLATE/incident-report.yml": shipped_form_text(),
        }
        shop = github.add_repository(_REPOSITORY, files=files)
        github.add_person("mona", "Mona Lisa")
        shop.permit("mona", "admin")
        github.hooks.url = f"http://127.0.0.1:{settings.port}/webhook"
        sandbox_settings = replace(
            settings,
            home=Path(home),
            database_url="",
            api_url=github.api_url,
            app_id=github.app.app_id,
            private_key=github.app.private_key_pem,
            webhook_secrets=(github.app.webhook_secret,),
            enforce_rate_limits=False,
            heartbeat_url="",  # a monitor must not hear that all is well
            pull=False,
        )
        with bootstrap.open_application(sandbox_settings, clock) as application:
            why = _ON_REQUEST if settings.has_credentials else _NO_CREDENTIALS
            token = github.token_for("mona")
            print(
                _WELCOME.format(why=why, url=github.url, api=github.api_url, repo=_REPOSITORY, token=token), flush=True
            )
            log.warning("serving the sandbox GitHub: nothing here reaches a real one", github=github.url)
            yield application
