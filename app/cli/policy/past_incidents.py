"""Load the past incidents on which a policy is tested."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TextIO

from app.cli.policy import arguments, event_log
from app.cli.policy.arguments import PolicyCommandContext
from app.core.backtest import PastIncident
from app.core.policy import Policy
from app.policy_file import read_policy
from app.ports import Tracker
from app.text import make_visible


def read_from_file(
    options: argparse.Namespace, policy: Policy, context: PolicyCommandContext
) -> tuple[Sequence[PastIncident], Policy | None, str]:
    """Read past incidents from a file of JSON Lines; no active policy comes with it, so None stands for it."""
    if options.events == "-":
        return event_log.read_event_log(sys.stdin, policy, "stdin"), None, "stdin"
    text = arguments.read_text(Path(options.events))
    return event_log.read_event_log(text.splitlines(), policy, options.events), None, options.events


def read_from_repository(
    options: argparse.Namespace, policy: Policy, context: PolicyCommandContext
) -> tuple[Sequence[PastIncident], Policy | None, str]:
    """Read past incidents, and the active policy unless another is named, from a repository."""
    from app.github.incident_history import load_past_incidents  # noqa: PLC0415  the GitHub client is slow to load

    since, now = arguments.parse_length("--since", options.since), context.now()
    with context.open_repository(options.repo) as tracker:
        in_force = None
        if not options.against:
            text = tracker.policy("").text
            org = arguments.load_organisation_text(options) or tracker.organisation_policy("").text
            own = org if text is None and org is not None else text or ""
            in_force = read_policy(
                own,
                name=f"{options.repo}: .github/incidents.yml",
                org=None if own is org else org,
                accept_former_names=True,
            )
        found = load_past_incidents(tracker, policy.labels.incident, now - since, policy, repo=options.repo, now=now)
        past = list(show_progress(found, context.err, "read"))
    return past, in_force, options.repo


@contextmanager
def open_repository(name: str, now: Callable[[], datetime]) -> Iterator[Tracker]:
    """Open a repository on GitHub, with the token in GITHUB_TOKEN if there is one, otherwise as the App.

    Raises DeliveryFailed.
    """
    from app import settings  # noqa: PLC0415
    from app.github.auth import AppKey, PlainToken  # noqa: PLC0415
    from app.github.client import Client  # noqa: PLC0415
    from app.github.installations import list_installed_repositories  # noqa: PLC0415
    from app.github.tracker import GitHubTracker  # noqa: PLC0415
    from app.ports import Repository  # noqa: PLC0415

    found = settings.read_settings()
    token = os.environ.get("GITHUB_TOKEN", "")
    if not token:
        settings.require_app_credentials(found)
    key = PlainToken(token) if token else AppKey(found.app_id, found.private_key)
    client = Client(found.api_url, key, now, outgoing=found.outgoing)
    try:
        if token:
            repository = Repository(0, name, 0)
        else:
            known = {each.name.lower(): each for each in list_installed_repositories(client)}
            if name.lower() not in known:
                raise arguments.PolicyCommandError(f"--repo: the App is not installed in '{make_visible(name)}'")
            repository = known[name.lower()]
        yield GitHubTracker(client, repository)
    finally:
        client.close()


def show_progress(incidents: Iterable[PastIncident], err: TextIO, verb: str = "tried") -> Iterator[PastIncident]:
    """Pass the incidents through, with a progress line on a terminal."""
    is_terminal, number = err.isatty(), 0
    for number, each in enumerate(incidents, 1):
        if is_terminal and number % 10 == 0:
            err.write(f"\r{number} incidents {verb} …")
            err.flush()
        yield each
    if is_terminal and number >= 10:
        err.write("\r\033[K")


def save_incidents(path: Path, incidents: Iterable[PastIncident], policy: Policy) -> None:
    """Save past incidents as JSON Lines; raises PolicyCommandError where the file cannot be written."""
    try:
        path.write_text("".join(f"{line}\n" for line in event_log.write_event_log(incidents, policy.scale)), "utf-8")
    except OSError as problem:
        raise arguments.PolicyCommandError(f"{path}: {problem.strerror}") from None
