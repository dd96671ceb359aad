"""What every step needs at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.channels import Channels
from app.failpoints import Failpoints
from app.github.permissions import Authorities
from app.github.signed_marker import Signer
from app.policy_source.active_policy import Policies
from app.ports import Repository, Tracker
from app.store.database import Database

LEASE = timedelta(seconds=30)
"""Twice what a call to GitHub may take (reliability, section 2)."""


@dataclass(frozen=True)
class Desk:
    """`clock` is the only time there is; `tracker` opens one repository on GitHub.

    `lease` is how long an attempt keeps others from the same order: longer than a call to GitHub takes, and than what was
    sent without an answer takes to arrive.
    """

    database: Database
    tracker: Callable[[Repository], Tracker]
    signer: Signer
    clock: Callable[[], datetime]
    policies: Policies = field(default_factory=Policies)
    authorities: Authorities = field(default_factory=Authorities)
    channels: Channels = field(default_factory=Channels)
    failpoints: Failpoints = field(default_factory=Failpoints)
    at_once: int = 500
    """How many incidents of one installation are woken at once for orders that wait."""
    lease: timedelta = LEASE
