"""What is owed when an incident ends, and after it."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.policy.duration import Duration
from app.core.severity import Severity


@dataclass(frozen=True, slots=True)
class Closing:
    """What should be true before an incident of these `severities` is closed (D6, D7).

    `verify` are the ways in which the recovery is verified.  The board lists both once the incident is resolved.
    """

    severities: frozenset[Severity] = frozenset()
    verify: tuple[str, ...] = ()
    checklist: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Postmortem:
    """When a postmortem is written (P1, P3, P4).  `reviewers` are contacts of the policy.

    `document` and `review` count from the resolution, `overdue` from the closing.  The review takes as long as the
    minutes of its `agenda` together.
    """

    required: frozenset[Severity] = frozenset({Severity.SEV1, Severity.SEV2})
    reviewers: tuple[str, ...] = ("it-manager",)
    document: Duration = Duration(seconds=48 * 3600)
    review: Duration = Duration(seconds=72 * 3600)
    overdue: Duration = Duration(business_days=5)
    agenda: tuple[Duration, ...] = tuple(Duration(seconds=minutes * 60) for minutes in (10, 20, 30, 20, 10))


@dataclass(frozen=True, slots=True)
class Retention:
    """How long Muster keeps what it was sent; incidents themselves stay on GitHub.  None: for ever.

    `deliveries` are the bodies of webhooks that have been worked off, at least a week so that none is taken in twice.
    """

    deliveries: Duration | None = Duration(seconds=30 * 86400)


@dataclass(frozen=True, slots=True)
class Goals:
    """What a team wants to reach over many incidents (M1).  `first_contact` is per cent, `satisfaction` is out of five."""

    detect: Duration = Duration(seconds=5 * 60)
    respond: Duration = Duration(seconds=15 * 60)
    resolve: Duration = Duration(seconds=4 * 3600)
    first_contact: int = 80
    satisfaction: str = "4.0"
