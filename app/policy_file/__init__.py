"""A policy file becomes a Policy, or every one of its faults with the spot of each.

The file says what a team does otherwise than the profile it `extends`.  Four profiles are shipped, in `app/policies`.
"""

from __future__ import annotations

from functools import cache
from importlib import resources

from app.core.policy import Policy
from app.policy_file.fault import Fault, PolicyFaults
from app.policy_file.reader import Reading

__all__ = ["DEFAULT", "PATH", "PROFILES", "Fault", "PolicyFaults", "read", "shipped"]

PATH = ".github/incidents.yml"
PROFILES = ("guide", "procedure", "p-scale", "strict")
DEFAULT = "guide"


def read(text: str, *, name: str = PATH) -> Policy:
    """The policy that the text of a file makes of its profile; an empty text is the default profile.

    `name` is what faults call the file.  Raises PolicyFaults, and nothing else, whatever the text.
    """
    reading = Reading(text, name)
    return reading.policy(shipped(reading.extends(DEFAULT, PROFILES)))


@cache
def shipped(profile: str) -> Policy:
    """A profile as it is, one of PROFILES."""
    if profile not in PROFILES:
        raise KeyError(profile)
    text = resources.files("app").joinpath("policies", f"{profile}.yml").read_text("utf-8")
    return Reading(text, f"policies/{profile}.yml").policy(Policy(profile=profile))
