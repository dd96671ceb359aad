"""Serving beside the pretend GitHub, for those who have no credentials (yet)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import structlog

from app import house
from app.github.intake import shipped_form_text
from app.github.manifest import EVENTS, PERMISSIONS
from app.sandbox import AppRegistration, PretendGitHub
from app.settings import Settings

_POLICY = """\
extends: guide
people:
  mona: {name: Mona Lisa}
contacts:
  on-call: mona
"""

log = structlog.get_logger()


@contextmanager
def beside(settings: Settings, clock: house.Clock) -> Iterator[house.House]:
    """A house whose GitHub is the pretend one on this machine; what happens there is gone with the process."""
    github = PretendGitHub(clock, AppRegistration.fresh(permissions=PERMISSIONS, events=EVENTS), refresh=5)
    with github:
        files = {
            "README.md": "# shop\n",
            ".github/incidents.yml": _POLICY,
            ".github/ISSUE_TEMPLATE/incident-report.yml": shipped_form_text(),
        }
        shop = github.add_repository("octo/shop", files=files)
        github.add_person("mona", "Mona Lisa")
        shop.permit("mona", "admin")
        github.hooks.url = f"http://127.0.0.1:{settings.port}/webhook"
        own = replace(
            settings,
            home=settings.home / "pretend",
            api_url=github.api_url,
            app_id=github.app.app_id,
            private_key=github.app.private_key_pem,
            webhook_secrets=(github.app.webhook_secret,),
        )
        with house.house(own, clock) as built:
            log.info("no credentials, so beside a pretend GitHub", pages=github.url, api=github.api_url)
            log.info("a token of mona's, who may do everything there", token=github.token_for("mona"))
            yield built
