"""Who is on call: rotations by the clocks of their zone, and the people behind a name of the policy (E7, E8).

The law of this file: a turn belongs to whoever the calendar says, so a hand-off is a wall clock time and a week is seven
of its days, also when daylight saving makes one of them longer.  A turn of hours is elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from app.core.calendar import instant
from app.core.policy import Policy, Rotation

_DAY = 86400


def people_of(names: Iterable[str], policy: Policy, at: datetime) -> tuple[str, ...]:
    """The logins behind those contacts, roles, teams and rotations at `at`, each once, in order.

    A name that nobody holds adds nobody.
    """
    return tuple(dict.fromkeys(login for name in names for login in _held(name, policy, at)))


def on_call(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    """Who is on call at `at`: the primary, then the secondary; nobody before the first turn and in a gap of a feed."""
    at = at.astimezone(UTC)
    people = _by_feed(rotation, at) if rotation.shifts else _by_turns(rotation, at)
    for cover in rotation.overrides:
        if instant(cover.since, rotation.zone) <= at < instant(cover.until, rotation.zone):
            people = _covered(people, cover.instead_of or next(iter(people), ""), cover.person)
    return tuple(dict.fromkeys(people))


def next_hand_off(rotation: Rotation, at: datetime) -> datetime | None:
    """The next moment at which somebody else may be on call; None: never again."""
    at = at.astimezone(UTC)
    moments = [moment for cover in rotation.overrides for moment in _ends(cover.since, cover.until, rotation.zone)]
    if rotation.shifts:
        moments += [moment for shift in rotation.shifts for moment in (shift.since, shift.until)]
    elif rotation.people:
        moments.append(_begins(rotation, max(_turn(rotation, at) + 1, 0)))
    return min((moment for moment in moments if moment > at), default=None)


def _held(name: str, policy: Policy, at: datetime) -> tuple[str, ...]:
    if name in policy.rotations:
        return on_call(policy.rotations[name], at)
    if name in policy.roles:
        role = policy.roles[name]
        return (*role.holder, *role.backup)
    if name in policy.teams:
        return policy.teams[name].members
    return policy.contacts.get(name, ())


def _by_feed(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    holding = sorted((shift for shift in rotation.shifts if shift.holds(at)), key=lambda shift: shift.rank)
    return tuple(shift.person for shift in holding)


def _by_turns(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    turn = _turn(rotation, at)
    if turn < 0 or not rotation.people:
        return ()
    first = rotation.people[turn % len(rotation.people)]
    seconds = rotation.secondary or rotation.people[1:] + rotation.people[:1]
    return first, seconds[turn % len(seconds)]


def _covered(people: tuple[str, ...], instead_of: str, person: str) -> tuple[str, ...]:
    """The people after one stood in for another; whoever covers is asked in that place only."""
    if instead_of not in people:
        return people if people else (person,)
    return tuple(person if login == instead_of else login for login in people if login != person)


def _turn(rotation: Rotation, at: datetime) -> int:
    """Which turn holds at `at`, counted from 0; negative before the first."""
    length = rotation.turn.seconds
    begins = _first(rotation)
    if length % _DAY:
        return (at - begins) // timedelta(seconds=length)
    # Counted in days of the zone: by the wall clock, then put right where the guess fell on the other side of a change.
    day = at.astimezone(ZoneInfo(rotation.zone)).date()
    turn = (day - rotation.starts).days // (length // _DAY)
    return turn if _begins(rotation, turn) <= at else turn - 1


def _first(rotation: Rotation) -> datetime:
    return _hands_off(rotation, rotation.starts)


def _begins(rotation: Rotation, turn: int) -> datetime:
    length = rotation.turn.seconds
    if length % _DAY:
        return _first(rotation) + turn * timedelta(seconds=length)
    return _hands_off(rotation, rotation.starts + timedelta(days=turn * (length // _DAY)))


@lru_cache(maxsize=4096)
def _hands_off(rotation: Rotation, day: date) -> datetime:
    return instant(datetime.combine(day, rotation.hand_off), rotation.zone)


def _ends(since: datetime, until: datetime, zone: str) -> tuple[datetime, datetime]:
    return instant(since, zone), instant(until, zone)
