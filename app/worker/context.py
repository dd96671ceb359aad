"""Dependencies shared by all worker steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from app.channels import ChannelRegistry
from app.failpoints import Failpoints
from app.github.permissions import Permissions
from app.github.signed_marker import Signer
from app.policy_source.active_policy import PolicySource
from app.policy_source.installations import InstallationCounter
from app.ports import Repository, Tracker
from app.store.database import Database

LEASE_PERIOD = timedelta(seconds=30)
"""Twice the time limit of a call to GitHub."""


@dataclass(frozen=True)
class WorkerContext:
    """Dependencies shared by all worker steps.

    `clock` is the only source of the current time.  `tracker` opens one repository on GitHub, and `locate` asks GitHub
    where it is now: its installation and name, None if the App is not installed there.
    `lease_period` is how long an attempt keeps other workers from the same outbox item.  It must exceed the duration of
    a GitHub call, and the time in which a request without a response may still arrive.
    """

    database: Database
    tracker: Callable[[Repository], Tracker]
    signer: Signer
    clock: Callable[[], datetime]
    installations: InstallationCounter
    locate: Callable[[Repository], Repository | None] = lambda repository: repository
    policies: PolicySource = field(default_factory=PolicySource)
    permissions: Permissions = field(default_factory=Permissions)
    channels: ChannelRegistry = field(default_factory=ChannelRegistry)
    failpoints: Failpoints = field(default_factory=Failpoints)
    max_incidents_per_installation: int = 500
    """Maximum number of incidents of one installation enqueued at a time for pending outbox items."""
    lease_period: timedelta = LEASE_PERIOD
