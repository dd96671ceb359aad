"""Sizes of checks: quick in every run, full in `make soak`."""

from __future__ import annotations

import os
from typing import TypeVar

_Size = TypeVar("_Size")

DATABASE_KIND_VARIABLE = "MUSTER_ON"
"""The environment variable that picks the database where a test accepts either: `server`, else the embedded one."""


def is_soak_run() -> bool:
    """Return True if MUSTER_SOAK is set; measured times are then checked strictly as well."""
    return bool(os.environ.get("MUSTER_SOAK"))


def choose_size(quick: _Size, full: _Size) -> _Size:
    """Return `full` if MUSTER_SOAK is set, else `quick`."""
    return full if is_soak_run() else quick


def runs_on_server() -> bool:
    """Return True if a server of the machine's own stands in for the embedded PostgreSQL."""
    return os.environ.get(DATABASE_KIND_VARIABLE) == "server"
