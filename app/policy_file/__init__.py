"""Turn a policy file into a Policy, or into all of its faults with the position of each.

The file states only what a team does differently from the profile it `extends`, or from its organisation's file. Four
profiles are shipped, in `app/policies`.
"""

from __future__ import annotations

from app.policy_file.fault import PolicyFault, PolicyFaults
from app.policy_file.inheritance import (
    DEFAULT_PROFILE,
    POLICY_PATH,
    PROFILES,
    load_profile,
    read_policy,
    uses_organisation_policy,
)
from app.policy_file.json_schema import schema

__all__ = [
    "DEFAULT_PROFILE",
    "POLICY_PATH",
    "PROFILES",
    "PolicyFault",
    "PolicyFaults",
    "load_profile",
    "read_policy",
    "schema",
    "uses_organisation_policy",
]
