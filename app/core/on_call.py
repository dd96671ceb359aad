"""Resolve who is on call: rotations in the local time of their zone, and the people behind a contact (E7, E8).

A turn is a number of calendar days, so a hand-off is a wall clock time and a week is seven days of the zone, also when
daylight saving makes one of them longer.  A turn of hours is elapsed time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from itertools import pairwise, takewhile
from math import lcm
from zoneinfo import ZoneInfo

from app.core.calendar import wall_to_utc
from app.core.incident import Incident
from app.core.policy import OnCallOverride, Policy, Rotation

_SECONDS_PER_DAY = 86400
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


def people_of(names: Iterable[str], policy: Policy, at: datetime) -> tuple[str, ...]:
    """Resolve contacts, roles, teams and rotations to logins at `at`, each once, in order.

    A name without a person adds none.
    """
    return tuple(dict.fromkeys(login for name in names for login in _resolve_contact(name, policy, at)))


def reviewers(incident: Incident, policy: Policy, at: datetime) -> tuple[str, ...]:
    """Return the reviewers of the postmortem: those whom the policy names, and the commander."""
    named = people_of(policy.postmortem.reviewers, policy, at)
    return tuple(dict.fromkeys((*named, *filter(None, (incident.commander,)))))


def people_on_call(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    """Return who is on call at `at`: the primary, then the secondary.

    Empty before the first turn and in a gap of a feed.
    """
    at = at.astimezone(UTC)
    people = _on_call_by_feed(rotation, at) if rotation.shifts else _on_call_by_turns(rotation, at)
    positions = [[login] for login in dict.fromkeys(people)]
    for cover in rotation.overrides:
        if wall_to_utc(cover.since, rotation.zone) <= at < wall_to_utc(cover.until, rotation.zone):
            _apply_override(positions, cover)
    return tuple(dict.fromkeys(place[-1] for place in positions))


def next_hand_off(rotation: Rotation, at: datetime) -> datetime | None:
    """Return when the people on call next change, primary or secondary; None: never again."""
    at = at.astimezone(UTC)
    now = people_on_call(rotation, at)
    return next((moment for moment in _change_times(rotation, at) if people_on_call(rotation, moment) != now), None)


def _change_times(rotation: Rotation, at: datetime) -> Iterator[datetime]:
    """Yield the times after `at` at which the people on call may change, in order.

    Between two overrides the turns repeat, so after one round of them nothing new comes before the next override.
    """
    edges = [moment for cover in rotation.overrides for moment in _override_bounds(cover, rotation.zone)]
    if rotation.shifts:
        edges += [moment for shift in rotation.shifts for moment in (shift.since, shift.until)]
    edges = sorted({edge for edge in edges if edge > at})
    for since, until in pairwise([at, *edges, _END_OF_TIME]):
        if since > at:
            yield since
        if not rotation.shifts:
            yield from takewhile(until.__gt__, _turn_starts_after(rotation, since))


def _turn_starts_after(rotation: Rotation, at: datetime) -> Iterator[datetime]:
    """Yield when the turns of one round after `at` begin; none where they change nothing."""
    people, secondaries = rotation.people, rotation.secondary
    if not people:
        return
    turn = _turn_at(rotation, at)
    if turn < 0:
        yield _turn_start(rotation, 0)
    if len({*people}) > 1 or len({*secondaries}) > 1:
        first = max(turn, 0) + 1
        for turn in range(first, first + lcm(len(people), len(secondaries) or 1)):
            yield _turn_start(rotation, turn)


def _resolve_contact(name: str, policy: Policy, at: datetime) -> tuple[str, ...]:
    if name in policy.rotations:
        return people_on_call(policy.rotations[name], at)
    if name in policy.roles:
        role = policy.roles[name]
        return (*role.holder, *role.backup)
    if name in policy.teams:
        return policy.teams[name].members
    return policy.contacts.get(name, ())


def _on_call_by_feed(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    current_shifts = sorted((shift for shift in rotation.shifts if shift.covers(at)), key=lambda shift: shift.rank)
    return tuple(shift.person for shift in current_shifts)


def _on_call_by_turns(rotation: Rotation, at: datetime) -> tuple[str, ...]:
    turn = _turn_at(rotation, at)
    if turn < 0 or not rotation.people:
        return ()
    first = rotation.people[turn % len(rotation.people)]
    secondaries = rotation.secondary or rotation.people[1:] + rotation.people[:1]
    return first, secondaries[turn % len(secondaries)]


def _apply_override(positions: list[list[str]], cover: OnCallOverride) -> None:
    """Put a person in the position of another one.

    The person who had it by turn, or by an earlier override, is remembered: an override can replace either.
    """
    if not positions:
        positions.append([cover.person])
        return
    if cover.instead_of is None:
        positions[0].append(cover.person)
        return
    matching = [place for place in positions if place[-1] == cover.instead_of] or [
        place for place in positions if cover.instead_of in place
    ]
    for place in matching[:1]:
        place.append(cover.person)


def _turn_at(rotation: Rotation, at: datetime) -> int:
    """Return the index of the turn at `at`, counted from 0; negative before the first."""
    turn_seconds = rotation.turn.seconds
    begins = _first_turn_start(rotation)
    if turn_seconds % _SECONDS_PER_DAY:
        return (at - begins) // timedelta(seconds=turn_seconds)
    # Counted in days of the zone; corrected by one where the hand-off time moves `at` into the turn before or after.
    day = at.astimezone(ZoneInfo(rotation.zone)).date()
    turn = (day - rotation.starts).days // (turn_seconds // _SECONDS_PER_DAY)
    if _turn_start(rotation, turn) > at:
        return turn - 1
    return turn + 1 if _turn_start(rotation, turn + 1) <= at else turn


def _first_turn_start(rotation: Rotation) -> datetime:
    return _hand_off_at(rotation.starts, rotation.hand_off, rotation.zone)


def _turn_start(rotation: Rotation, turn: int) -> datetime:
    turn_seconds = rotation.turn.seconds
    if turn_seconds % _SECONDS_PER_DAY:
        return _first_turn_start(rotation) + turn * timedelta(seconds=turn_seconds)
    day = rotation.starts + timedelta(days=turn * (turn_seconds // _SECONDS_PER_DAY))
    return _hand_off_at(day, rotation.hand_off, rotation.zone)


def _hand_off_at(day: date, hand_off: time, zone: str) -> datetime:
    return wall_to_utc(datetime.combine(day, hand_off), zone)


def _override_bounds(cover: OnCallOverride, zone: str) -> tuple[datetime, datetime]:
    return wall_to_utc(cover.since, zone), wall_to_utc(cover.until, zone)
