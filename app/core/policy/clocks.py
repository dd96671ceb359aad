"""Working hours, targets and regulatory deadlines of a policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, time
from enum import Enum

from app.core.incident_report import Exposure, Kind
from app.core.policy.duration import Duration
from app.core.severity import Severity

BUSINESS = "business"
"""The calendar for targets in business days when neither the target nor the owning team names one."""

TEAM = "team"
"""Stands for the calendar of the team that owns the service; without one, for `business`."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """When a team works.

    `opens` and `closes` are wall clock times in `zone`; 24 hours on every day is `AROUND_THE_CLOCK`. `days` are
    weekdays, Monday is 0. `country` is an ISO 3166-1 code whose national holidays are days off, `region` an ISO 3166-2
    subdivision of it, empty for none. `holidays` are additional days off, `workdays` are never days off.
    """

    zone: str = "UTC"
    opens: time = time(9)
    closes: time = time(17)
    days: frozenset[int] = frozenset({0, 1, 2, 3, 4})
    country: str = ""
    region: str = ""
    holidays: frozenset[date] = frozenset()
    workdays: frozenset[date] = frozenset()


@dataclass(frozen=True, slots=True)
class Target:
    """How long something may take.

    `calendar` None: every hour counts (business days use the team's calendar, or `business`).
    """

    within: Duration
    calendar: str | None = None


@dataclass(frozen=True, slots=True)
class Targets:
    """The clocks of one severity.

    None: that clock does not run. `commander` is the time until an incident has a commander (B8), `acknowledge` the
    time until a page is answered (B5), `update` the interval between the responders' updates (B6).
    """

    commander: Target | None = None
    acknowledge: Target | None = None
    respond: Target | None = None
    update: Target | None = None
    resolve: Target | None = None


@dataclass(frozen=True, slots=True)
class Audience:
    """People who wait for news without working on it, such as executives (B7, D5).

    `to` names who informs them; empty: the holders of the communications role. `first` is the latest time of the first
    news, and `updates` the interval from then on. A severity that is not named has no deadlines.
    """

    to: tuple[str, ...] = ()
    first: Mapping[Severity, Duration] = field(default_factory=dict)
    updates: Mapping[Severity, Duration] = field(default_factory=dict)


class Since(Enum):
    """The start of a regulatory clock: the detection time given in the report, or the opening of the issue."""

    AWARENESS = "awareness"
    DECLARATION = "declaration"


@dataclass(frozen=True, slots=True)
class Regulation:
    """A clock that a law sets (G2).

    Every hour counts and it cannot be paused. It runs for incidents of these `kinds`, or with these answers on
    `personal_data`; if it names neither, for all. `to` names who decides, and `do` says what.
    """

    within: Duration
    since: Since = Since.AWARENESS
    kinds: tuple[Kind, ...] = ()
    personal_data: tuple[Exposure, ...] = ()
    to: tuple[str, ...] = ()
    do: str = ""
