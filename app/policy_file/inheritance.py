"""Resolve what a policy file extends: a shipped profile, or its organisation's file, which extends a profile."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources

from app.core.policy import Policy
from app.policy_file.fault import InvalidValue, PolicyFaults
from app.policy_file.reader import ORG, PolicyFileReader

POLICY_PATH = ".github/incidents.yml"
"""The path of the policy file in a repository."""
PROFILES = ("guide", "procedure", "p-scale", "strict")
"""The names of the shipped profiles."""
DEFAULT_PROFILE = "guide"
"""The profile of a file that names none, and of a repository without a file."""


def read_policy(
    text: str, *, name: str = POLICY_PATH, org: str | None = None, accept_former_names: bool = False
) -> Policy:
    """Read the policy that a file makes of what it extends; an empty text is the default profile.

    `name` is what errors call the file. `org` is the text of the organisation's file, None where there is none.
    `accept_former_names` is for a file that is in force since an earlier release. Raises PolicyFaults, and nothing
    else, whatever the text.
    """
    policy, _ = read_layers(text, name=name, org=org, accept_former_names=accept_former_names)
    return policy


def read_layers(
    text: str, *, name: str = POLICY_PATH, org: str | None = None, accept_former_names: bool = False
) -> tuple[Policy, tuple[PolicyFileReader, ...]]:
    """Read the policy, and return it with its readers: the file's own first, then those of what it extends.

    Raises PolicyFaults.
    """
    reader = PolicyFileReader(text, name, accept_former_names=accept_former_names)
    base_name = reader.read_extends(DEFAULT_PROFILE, PROFILES)
    if base_name != ORG:
        base, lower_readers = read_profile(base_name)
    elif org is None:
        suggestion = f"use one of {', '.join(PROFILES)}"
        raise reader.extends_error(InvalidValue("there is no policy of an organisation to extend", suggestion))
    else:
        base, lower_readers = _read_organisation(org, reader, accept_former_names=accept_former_names)
    return reader.read_onto(base, lower_readers[0].explicit_zones), (reader, *lower_readers)


def _read_organisation(
    text: str, extending_reader: PolicyFileReader, *, accept_former_names: bool
) -> tuple[Policy, tuple[PolicyFileReader, ...]]:
    try:
        return read_layers(text, name=f"org: {POLICY_PATH}", accept_former_names=accept_former_names)
    except PolicyFaults as found:
        errors = found.errors
        count = f"{len(errors)} faults, the first" if len(errors) > 1 else "a fault"
        invalid = InvalidValue(
            f"the organisation's policy has {count}: {errors[0]}", "mend it there, or extend a profile"
        )
    raise extending_reader.extends_error(invalid)


@lru_cache(maxsize=256)
def uses_organisation_policy(text: str | None) -> bool:
    """Return whether the organisation's file applies.

    It applies where the repository has no file, and where the repository's file extends it.
    """
    if text is None:
        return True
    try:
        return PolicyFileReader(text, POLICY_PATH).read_extends(DEFAULT_PROFILE, PROFILES) == ORG
    except PolicyFaults:
        return False


def load_profile(profile_name: str) -> Policy:
    """Load a shipped profile, one of PROFILES, as a policy."""
    policy, _ = read_profile(profile_name)
    return policy


@cache
def read_profile(name: str) -> tuple[Policy, tuple[PolicyFileReader, ...]]:
    """Read a shipped profile, and return it with its reader.

    Raises KeyError for an unknown name.
    """
    if name not in PROFILES:
        raise KeyError(name)
    reader = PolicyFileReader(load_profile_text(name), f"policies/{name}.yml")
    return reader.read_onto(Policy(profile=name)), (reader,)


def load_profile_text(name: str) -> str:
    """Load the YAML text of a shipped profile."""
    return resources.files("app").joinpath("policies", f"{name}.yml").read_text("utf-8")
