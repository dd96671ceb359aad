"""Parse and load the arguments of `muster policy`."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Any, TextIO

from app.cli.policy import event_log
from app.core.effective_policy import affected_services
from app.core.incident_report import Exposure, IncidentReport, Kind
from app.core.policy import Duration, Policy, Shift
from app.core.severity import Severity
from app.core.simulate import Scenario
from app.policy_file import DEFAULT_PROFILE, PROFILES, load_profile, read_policy
from app.ports import Tracker
from app.text import make_visible

MAX_SIMULATION_PERIOD = timedelta(days=14)
"""Longest simulation: by then every alarm has fired, and most have fired again."""


class PolicyCommandError(Exception):
    """An error the user can correct, described in one line; exit code 1."""


class PolicyUsageError(Exception):
    """A wrong command line, described in one line; exit code 2."""


@dataclass(frozen=True)
class PolicyCommandContext:
    """The dependencies of a command: output streams, the clock, and a function that opens a repository by name."""

    out: TextIO
    err: TextIO
    now: Callable[[], datetime]
    open_repository: Callable[[str], AbstractContextManager[Tracker]]


def load_policy(name: str | Path, options: argparse.Namespace) -> Policy:
    """Load a policy from a file, or the shipped profile of that name where there is no such file.

    Raises PolicyFaults.
    """
    if str(name) in PROFILES and not Path(name).exists():
        return load_profile(str(name))
    return read_policy(read_text(Path(name)), name=str(name), org=load_organisation_text(options))


def add_feed_shifts(policy: Policy, file: Path, at: datetime) -> Policy:
    """Add the shifts of feeds that are files in the same repository; other feeds are not fetched here."""
    root = file.parent.parent if file.parent.name == ".github" else file.parent
    rotations = dict(policy.rotations)
    for name, rotation in policy.rotations.items():
        path = root / rotation.feed
        if rotation.feed and "://" not in rotation.feed and path.is_file():
            rotations[name] = replace(rotation, shifts=_read_shifts(path, policy, rotation.zone, at))
    return replace(policy, rotations=rotations)


def _read_shifts(path: Path, policy: Policy, zone: str, at: datetime) -> tuple[Shift, ...]:
    # Few policies have feeds.
    from app.feeds import MAX_FEED_BYTES, FeedFault, match_people, read_occurrences  # noqa: PLC0415

    try:
        with path.open("rb") as opened:
            found = read_occurrences(
                opened.read(MAX_FEED_BYTES + 1), at - MAX_SIMULATION_PERIOD, at + 2 * MAX_SIMULATION_PERIOD
            )
    except OSError as problem:
        raise PolicyCommandError(f"{path}: {problem.strerror}") from None
    except FeedFault as fault:
        raise PolicyCommandError(f"{path}: {fault}") from None
    return match_people(found, policy.people, zone, at).shifts


def load_source(name: str | None) -> tuple[str | None, str]:
    """Load the text of a policy and the name to show; the text is None where the default profile is meant."""
    if name is None or (name in PROFILES and not Path(name).exists()):
        return (f"extends: {name}" if name else None), name or DEFAULT_PROFILE
    return read_text(Path(name)), name


def load_organisation_text(options: argparse.Namespace) -> str | None:
    """Load the organisation's policy file; None where none was given."""
    return read_text(options.org) if options.org else None


def read_text(path: Path) -> str:
    """Read a text file; raises PolicyCommandError where it cannot be read."""
    try:
        return path.read_bytes().decode("utf-8", "replace")
    except OSError as problem:
        raise PolicyCommandError(f"{path}: {problem.strerror}") from None


def parse_severity(name: str, policy: Policy) -> Severity:
    """Parse a severity in the policy's own scale; raises PolicyUsageError."""
    severity = policy.severity(name)
    if severity is None:
        names = ", ".join(each.inline_name(policy.scale) for each in Severity)
        raise PolicyUsageError(f"--sev: '{make_visible(name)}' is not a severity of this policy: one of {names}")
    return severity


def build_scenario(options: argparse.Namespace, policy: Policy) -> Scenario:
    """Build the scenario to simulate from the options; raises PolicyUsageError."""
    whole = parse_length("--for", options.length)
    if not timedelta() < whole <= MAX_SIMULATION_PERIOD:
        raise PolicyUsageError(
            f"--for: '{make_visible(options.length)}' is out of range: from 1m to {MAX_SIMULATION_PERIOD.days}d"
        )
    ack = parse_length("--ack", options.ack) if options.ack else None
    resolve = parse_length("--resolve", options.resolve) if options.resolve else None
    if ack is not None and resolve is not None and ack >= resolve:
        raise PolicyUsageError(f"--ack: {options.ack} is not before --resolve {options.resolve}")
    return Scenario(
        severity=parse_severity(options.sev, policy),
        at=_parse_time("--at", options.at),
        length=whole,
        ack=ack,
        resolve=resolve,
        services=tuple(_parse_service(name, policy) for name in options.service),
        kind=_parse_member("--type", options.type, Kind),
        personal_data=_parse_member("--personal-data", options.personal_data, Exposure),
    )


def parse_length(option: str, text: str) -> timedelta:
    """Parse a duration given as an option; raises PolicyUsageError."""
    try:
        duration = Duration.parse(text)
    except ValueError as wrong:
        raise PolicyUsageError(f"{option}: {make_visible(str(wrong), 120)}") from None
    if duration.business_days:
        raise PolicyUsageError(
            f"{option}: '{make_visible(text)}' has no length of its own: hours or days, such as 6h or 2d"
        )
    return duration.as_timedelta


def _parse_time(option: str, text: str) -> datetime:
    example = "such as 2026-03-06T16:40:00-05:00, or Z at its end for UTC"
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise PolicyUsageError(f"{option}: '{make_visible(text)}' is not a time: {example}") from None
    if at.tzinfo is None:
        raise PolicyUsageError(f"{option}: '{make_visible(text)}' has no zone: {example}")
    if at.year not in event_log.SUPPORTED_YEARS:
        raise PolicyUsageError(f"{option}: '{make_visible(text)}' is too far away: {example}")
    return at


def _parse_service(name: str, policy: Policy) -> str:
    if affected_services(policy, IncidentReport(services=(name,))):
        return name
    if not policy.services:
        raise PolicyUsageError(f"--service: '{make_visible(name)}': the policy names no services")
    near = get_close_matches(name, policy.services, n=1)
    hint = (
        f"did you mean {make_visible(near[0])}?" if near else f"one of {', '.join(map(make_visible, policy.services))}"
    )
    raise PolicyUsageError(f"--service: '{make_visible(name)}' is no service of the policy: {hint}")


def _parse_member(option: str, text: str | None, kind: Any) -> Any:
    if text is None:
        return None
    for member in kind:
        if member.value == text.casefold():
            return member
    values = [member.value for member in kind]
    near = get_close_matches(text.casefold(), values, n=1)
    raise PolicyUsageError(
        f"{option}: '{make_visible(text)}' is unknown: "
        f"{f'did you mean {near[0]}?' if near else 'one of ' + ', '.join(values)}"
    )
