"""The errors of a policy file, as text."""

from __future__ import annotations

import pytest

from app.policy_file import PolicyFaults, read_policy


def policy_errors(text: str, *, org: str | None = None) -> list[str]:
    """Return the errors of the file, without its name."""
    with pytest.raises(PolicyFaults) as caught:
        read_policy(text, name="f", org=org)
    return [str(fault).removeprefix("f:") for fault in caught.value.errors]


def single_error(text: str, *, org: str | None = None) -> str:
    (fault,) = policy_errors(text, org=org)
    return fault
