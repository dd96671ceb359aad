"""Requirements for closing an incident, the postmortem, retention and goals."""

from __future__ import annotations

from dataclasses import dataclass

from app.core.policy.duration import Duration
from app.core.severity import Severity

_FIVE_MINUTES, _FIFTEEN_MINUTES, _FOUR_HOURS = (Duration(seconds=60 * minutes) for minutes in (5, 15, 240))
_TWO_DAYS, _THREE_DAYS, _THIRTY_DAYS = (Duration(seconds=86400 * days) for days in (2, 3, 30))
_FIVE_BUSINESS_DAYS = Duration(business_days=5)
_AGENDA = tuple(Duration(seconds=60 * minutes) for minutes in (10, 20, 30, 20, 10))


@dataclass(frozen=True, slots=True)
class Closing:
    """What should be true before an incident of these `severities` is closed (D6, D7).

    `verify` are the ways in which the recovery is verified. The board lists both once the incident is resolved.
    """

    severities: frozenset[Severity] = frozenset()
    verify: tuple[str, ...] = ()
    checklist: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Postmortem:
    """When a postmortem is written (P1, P3, P4).

    `reviewers` are contacts of the policy. `document` and `review` count from the resolution, `overdue` from the
    closing. The review takes as long as the parts of its `agenda` together.
    """

    required: frozenset[Severity] = frozenset({Severity.SEV1, Severity.SEV2})
    reviewers: tuple[str, ...] = ("it-manager",)
    document: Duration = _TWO_DAYS
    review: Duration = _THREE_DAYS
    overdue: Duration = _FIVE_BUSINESS_DAYS
    agenda: tuple[Duration, ...] = _AGENDA


@dataclass(frozen=True, slots=True)
class Retention:
    """How long Muster keeps what it was sent; incidents themselves stay on GitHub.

    None: for ever. `deliveries` are the bodies of processed webhooks, kept at least a week so that none is processed
    twice.
    """

    deliveries: Duration | None = _THIRTY_DAYS


@dataclass(frozen=True, slots=True)
class Goals:
    """What a team wants to reach over many incidents (M1).

    `first_contact` is per cent, `satisfaction` is out of five.
    """

    detect: Duration = _FIVE_MINUTES
    respond: Duration = _FIFTEEN_MINUTES
    resolve: Duration = _FOUR_HOURS
    first_contact: int = 80
    satisfaction: str = "4.0"
