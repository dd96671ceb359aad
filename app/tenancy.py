"""Which repositories may use the operator's channels and feeds.

Policies are written by the tenants of an installation, so a policy never decides whose channel or feed it uses:
`CHANNEL_<NAME>_FOR` and `FEED_<NAME>_FOR` of the operator do.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

_TENANT = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}(?:/(?:[a-z0-9._-]{1,100}|\*))?")
"""An owner, or the full name of a repository, in lower case."""
FOR_ENDING = "_FOR"
"""The ending of the variable that lists the tenants of a channel or feed."""


@dataclass(frozen=True, slots=True)
class Tenant:
    """The repository whose policy names a channel or feed: its full name, as GitHub last told it.

    `installations` is how many installations the App has.
    """

    repository: str
    installations: int


@dataclass(frozen=True, slots=True)
class ResolvedValue:
    """What a name stands for, for one tenant; `refusal` says why it stands for nothing, to the operator only."""

    value: str = ""
    refusal: str = ""


def parse_tenants(text: str) -> tuple[frozenset[str], tuple[str, ...]]:
    """Parse a list such as `octo, hub/shop`; returns the tenants in lower case, and the entries that are none."""
    entries = [entry.removeprefix("@").lower() for entry in re.split(r"[,\s]+", text) if entry]
    wrong = tuple(entry for entry in entries if not _TENANT.fullmatch(entry))
    return frozenset(entry.removesuffix("/*") for entry in entries if entry not in wrong), wrong


def find_refusal(name: str, variables: Mapping[str, str], tenant: Tenant) -> str:
    """Return why the tenant may not use the channel or feed of that name; empty if it may."""
    listed = variables.get(name + FOR_ENDING, "").strip()
    if not listed:
        if tenant.installations <= 1:
            return ""
        return f"{name}{FOR_ENDING} is not set, and the App has {tenant.installations} installations"
    tenants, _ = parse_tenants(listed)
    repository = tenant.repository.lower()
    if tenants.isdisjoint((repository, repository.partition("/")[0])):
        return f"{name}{FOR_ENDING} does not list {tenant.repository}"
    return ""


def resolve_feed(name: str, variables: Mapping[str, str], tenant: Tenant) -> ResolvedValue:
    """Resolve a feed of the operator to its address or file."""
    if refusal := find_refusal(name, variables, tenant):
        return ResolvedValue(refusal=refusal)
    value = variables.get(name, "")
    return ResolvedValue(value, "" if value else f"{name} is not set to an https address or the path of an .ics file")


def channel_address(name: str, variables: Mapping[str, str]) -> str:
    """Return the address of a channel of the operator; empty if it has none."""
    return variables.get(f"{name}_URL", "") or variables.get(name, "")
