"""What a file stands on: a shipped profile, or its organisation's file, which stands on a profile."""

from __future__ import annotations

from functools import cache, lru_cache
from importlib import resources

from app.core.policy import Policy
from app.policy_file.fault import PolicyFaults, Wrong
from app.policy_file.reader import ORG, Reading

PATH = ".github/incidents.yml"
PROFILES = ("guide", "procedure", "p-scale", "strict")
DEFAULT = "guide"


def read(text: str, *, name: str = PATH, org: str | None = None) -> Policy:
    """The policy that the text of a file makes of what it extends; an empty text is the default profile.

    `name` is what faults call the file.  `org` is the text of the organisation's file, None where there is none.
    Raises PolicyFaults, and nothing else, whatever the text.
    """
    policy, _ = layers(text, name=name, org=org)
    return policy


def layers(text: str, *, name: str = PATH, org: str | None = None) -> tuple[Policy, tuple[Reading, ...]]:
    """The policy, and the readings it was made by: that of the file first, then what it stands on.  Raises PolicyFaults."""
    reading = Reading(text, name)
    ground = reading.extends(DEFAULT, PROFILES)
    if ground != ORG:
        base, below = profile(ground)
    elif org is None:
        use = f"use one of {', '.join(PROFILES)}"
        raise reading.cannot_extend(Wrong("there is no policy of an organisation to extend", use))
    else:
        base, below = _organisation(org, reading)
    return reading.policy(base, below[0].pinned), (reading, *below)


def _organisation(text: str, above: Reading) -> tuple[Policy, tuple[Reading, ...]]:
    try:
        return layers(text, name=f"org: {PATH}")
    except PolicyFaults as found:
        faults = found.faults
        many = f"{len(faults)} faults, the first" if len(faults) > 1 else "a fault"
        wrong = Wrong(f"the organisation's policy has {many}: {faults[0]}", "mend it there, or extend a profile")
    raise above.cannot_extend(wrong)


@lru_cache(maxsize=256)
def stands_on_organisation(text: str | None) -> bool:
    """Whether the organisation's file counts: where there is no other one, and where that one builds on it."""
    if text is None:
        return True
    try:
        return Reading(text, PATH).extends(DEFAULT, PROFILES) == ORG
    except PolicyFaults:
        return False


def shipped(profile_name: str) -> Policy:
    """A profile as it is, one of PROFILES."""
    policy, _ = profile(profile_name)
    return policy


@cache
def profile(name: str) -> tuple[Policy, tuple[Reading, ...]]:
    """A profile as it is, and its reading."""
    if name not in PROFILES:
        raise KeyError(name)
    reading = Reading(profile_text(name), f"policies/{name}.yml")
    return reading.policy(Policy(profile=name)), (reading,)


def profile_text(name: str) -> str:
    return resources.files("app").joinpath("policies", f"{name}.yml").read_text("utf-8")
