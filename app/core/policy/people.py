"""People, teams, roles and on-call rotations of a policy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from app.core.policy.duration import Duration

ON_CALL = "on-call"
"""The contact or rotation that every policy is expected to name."""

OWNER = "owner"
"""Stands for the team that owns the service of an incident."""

COMMANDER = "commander"
"""The role that leads an incident."""

COMMUNICATIONS = "communications-lead"
"""The role that informs the audiences of an incident."""

ONE_WEEK = Duration(seconds=7 * 86400)


@dataclass(frozen=True, slots=True)
class Person:
    """Someone who can be mentioned; the key of `Policy.people` is the GitHub login.

    `name` and `mail` are how a calendar feed may identify them.
    """

    name: str = ""
    mail: str = ""


@dataclass(frozen=True, slots=True)
class Team:
    """People who own services together.

    `calendar` None: they work by `business`. `on_call` None: the rotation `on-call` is paged for them.
    """

    members: tuple[str, ...] = ()
    calendar: str | None = None
    on_call: str | None = None


@dataclass(frozen=True, slots=True)
class RoleHolders:
    """Who holds a role in incidents, such as `communications-lead`, and who stands in for them (D1)."""

    holder: tuple[str, ...] = ()
    backup: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class OnCallOverride:
    """Somebody else is on call from `since` to `until`, wall clock times of the rotation's zone.

    `instead_of` None: replaces the person who is primary at that time.
    """

    since: datetime
    until: datetime
    person: str
    instead_of: str | None = None


@dataclass(frozen=True, slots=True, order=True)
class Shift:
    """One person's on-call shift from `since` to `until`, UTC.

    Of two shifts at a time, the one with the lower `rank` is the primary.
    """

    since: datetime
    until: datetime
    rank: int
    person: str

    def covers(self, at: datetime) -> bool:
        """Return whether the shift includes that moment."""
        return self.since <= at.astimezone(UTC) < self.until


@dataclass(frozen=True, slots=True)
class Rotation:
    """Who is on call by turns: the first of `people` from the hand-off on `starts`, each for one `turn` (E7).

    A turn in days or weeks is handed over at `hand_off` local time in `zone`, across daylight saving changes; one in
    hours or minutes lasts exactly that long. `secondary` take turns beside them; where it is empty, the next of
    `people` is the secondary. `overrides` take precedence over turns, later ones over earlier ones.

    `feed` is the location of an iCalendar with the shifts: a path in the repository, `env:FEED_NAME` or an address.
    `shifts` holds what was read from it; while that is empty, the turns apply.
    """

    people: tuple[str, ...] = ()
    secondary: tuple[str, ...] = ()
    turn: Duration = ONE_WEEK
    starts: date = date(2024, 1, 1)
    hand_off: time = time(9)
    zone: str = "UTC"
    overrides: tuple[OnCallOverride, ...] = ()
    feed: str = ""
    shifts: tuple[Shift, ...] = ()
