"""A policy file becomes a Policy, or every one of its faults with the spot of each.

The file says what a team does otherwise than the profile it `extends`, or than its organisation's file.  Four profiles are
shipped, in `app/policies`.
"""

from __future__ import annotations

from app.policy_file.fault import Fault, PolicyFaults
from app.policy_file.inheritance import DEFAULT, PATH, PROFILES, read, shipped, stands_on_organisation
from app.policy_file.json_schema import schema

__all__ = [
    "DEFAULT",
    "PATH",
    "PROFILES",
    "Fault",
    "PolicyFaults",
    "read",
    "schema",
    "shipped",
    "stands_on_organisation",
]
