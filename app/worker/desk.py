"""What every step needs at hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from app.failpoint import Failpoints
from app.github.marker import Signer
from app.ports import Repository, Tracker
from app.store.database import Database
from app.worker.authority import Authorities
from app.worker.policies import Policies


@dataclass(frozen=True)
class Desk:
    """`clock` is the only time there is; `tracker` opens one repository on GitHub.

    `budgets` says what is left of GitHub's hourly budget, from 0 to 1, by installation, where it is known.
    """

    database: Database
    tracker: Callable[[Repository], Tracker]
    signer: Signer
    clock: Callable[[], datetime]
    policies: Policies = field(default_factory=Policies)
    authorities: Authorities = field(default_factory=Authorities)
    failpoints: Failpoints = field(default_factory=Failpoints)
    budgets: Callable[[datetime], Mapping[int, float]] = field(default=lambda _: {})
