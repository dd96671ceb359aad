"""How large a check is: quick in every run, full in `make soak`."""

from __future__ import annotations

import os
from typing import TypeVar

_Size = TypeVar("_Size")

ON = "MUSTER_ON"
"""The setting that says where to run what runs on either database: `server`, or else on the embedded one."""


def soaking() -> bool:
    """Whether MUSTER_SOAK is set: then times are measured in earnest, too."""
    return bool(os.environ.get("MUSTER_SOAK"))


def size(quick: _Size, full: _Size) -> _Size:
    """`full` when MUSTER_SOAK is set, `quick` otherwise."""
    return full if soaking() else quick


def on_server() -> bool:
    """Whether a server of the machine's own stands in for the embedded one."""
    return os.environ.get(ON) == "server"
