"""Who is on call: hand-offs to the second over daylight saving, and properties of every rotation."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.calendar import wall_to_utc
from app.core.on_call import next_hand_off, people_of, people_on_call
from app.core.policy import Duration, OnCallOverride, Policy, RoleHolders, Rotation, Shift, Team

ZONES = ("America/New_York", "Europe/Berlin", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo")
DAY, WEEK = Duration(seconds=86400), Duration(seconds=7 * 86400)
TICK = timedelta(microseconds=1)
PEOPLE = ("mona", "hubot", "octocat", "ada", "grace")

WEEKLY = Rotation(("mona", "hubot", "octocat"), starts=date(2026, 1, 5), zone="Europe/Berlin")


def at(text: str, zone: str = "Europe/Berlin") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


def wall_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("when", "who"),
    [
        ("2026-01-05T08:59:59", ()),  # before the first turn
        ("2026-01-05T09:00", ("mona", "hubot")),
        ("2026-01-12T08:59:59", ("mona", "hubot")),
        ("2026-01-12T09:00", ("hubot", "octocat")),
        ("2026-01-19T09:00", ("octocat", "mona")),
        ("2026-01-26T09:00", ("mona", "hubot")),
        # 29 March has 23 hours, 25 October 25: the hand-off stays at 09:00 local time.
        ("2026-03-30T08:59:59", ("octocat", "mona")),
        ("2026-03-30T09:00", ("mona", "hubot")),
        ("2026-10-26T08:59:59", ("octocat", "mona")),
        ("2026-10-26T09:00", ("mona", "hubot")),
    ],
)
def test_a_weekly_rotation_in_berlin(when: str, who: tuple[str, ...]) -> None:
    assert people_on_call(WEEKLY, at(when)) == who


def test_a_turn_in_hours_lasts_exactly_so_long() -> None:
    halves = replace(WEEKLY, turn=Duration(seconds=12 * 3600), starts=date(2026, 3, 28))
    assert people_on_call(halves, at("2026-03-28T21:00"))[0] == "hubot"
    assert people_on_call(halves, at("2026-03-29T09:59:59"))[0] == "hubot", "12 hours after 21:00 is 10:00 that night"
    assert people_on_call(halves, at("2026-03-29T10:00"))[0] == "octocat"


def test_seconds_take_turns_beside_the_first() -> None:
    crew = replace(WEEKLY, people=("mona", "hubot"), secondary=("ada", "grace", "mona"))
    weeks = [people_on_call(crew, at("2026-01-05T09:00") + timedelta(weeks=week)) for week in range(6)]
    assert weeks == [
        ("mona", "ada"),
        ("hubot", "grace"),
        ("mona",),  # mona would be her own secondary, so there is none
        ("hubot", "ada"),
        ("mona", "grace"),
        ("hubot", "mona"),
    ]


def test_a_hand_off_in_the_hour_that_is_skipped_is_after_the_gap() -> None:
    early = Rotation(("mona", "hubot"), turn=DAY, starts=date(2026, 3, 28), hand_off=time(2, 30), zone="Europe/Berlin")
    assert next_hand_off(early, at("2026-03-29T01:00")) == at("2026-03-29T03:00")
    assert people_on_call(early, at("2026-03-29T01:59:59"))[0] == "mona"
    assert people_on_call(early, at("2026-03-29T03:00"))[0] == "hubot"


def test_a_hand_off_in_the_hour_that_is_repeated_is_the_first_of_the_two() -> None:
    early = Rotation(("mona", "hubot"), turn=DAY, starts=date(2026, 10, 24), hand_off=time(2, 30), zone="Europe/Berlin")
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert next_hand_off(early, at("2026-10-25T01:00")) == first
    assert [people_on_call(early, first + timedelta(minutes=minutes))[0] for minutes in (-1, 0, 45, 61)] == [
        "mona",
        "hubot",
        "hubot",
        "hubot",
    ]


def test_a_midnight_that_comes_twice_hands_over_once() -> None:
    """Until 2011 the clocks of St. John's went back from 00:01 to 23:01, so that one day began twice."""
    late = Rotation(("mona", "hubot"), turn=DAY, starts=date(2010, 11, 6), hand_off=time(0), zone="America/St_Johns")
    midnight = wall_to_utc(datetime(2010, 11, 7), "America/St_Johns")  # noqa: DTZ001
    people = [people_on_call(late, midnight + timedelta(minutes=minutes))[0] for minutes in (-1, 0, 2, 59, 62)]
    assert people == ["mona", "hubot", "hubot", "hubot", "hubot"]


@pytest.mark.parametrize(
    ("covers", "who"),
    [
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-07"), "ada")], ("ada", "hubot")),
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-07"), "ada", "hubot")], ("mona", "ada")),
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-07"), "ada", "octocat")], ("mona", "hubot")),
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-07"), "hubot", "mona")], ("hubot",)),
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-07"), "mona", "hubot")], ("mona",)),
        ([OnCallOverride(wall_time("2026-01-06T12:00:01"), wall_time("2026-01-07"), "ada")], ("mona", "hubot")),
        ([OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-06T12:00"), "ada")], ("mona", "hubot")),
        ([OnCallOverride(wall_time("2026-01-06T12:00"), wall_time("2026-01-07"), "ada")], ("ada", "hubot")),
    ],
    ids=["primary", "secondary", "not on call", "swap up", "both", "not yet", "just over", "just begun"],
)
def test_overrides_go_before_turns(covers: list[OnCallOverride], who: tuple[str, ...]) -> None:
    assert people_on_call(replace(WEEKLY, overrides=tuple(covers)), at("2026-01-06T12:00")) == who


@pytest.mark.parametrize("instead_of", [None, "mona", "ada"])
def test_a_later_override_goes_before_an_earlier_one(instead_of: str | None) -> None:
    """It may name the person whose turn it is, or the person who already stands in."""
    first = OnCallOverride(wall_time("2026-01-06"), wall_time("2026-01-09"), "ada", "mona")
    second = OnCallOverride(wall_time("2026-01-07"), wall_time("2026-01-08"), "grace", instead_of)
    rotation = replace(WEEKLY, overrides=(first, second))
    days = [people_on_call(rotation, at(f"2026-01-0{day}T12:00"))[0] for day in (5, 6, 7, 8, 9)]
    assert days == ["mona", "ada", "grace", "ada", "mona"]


def test_the_shifts_of_a_feed_hold_instead_of_the_turns() -> None:
    hour = timedelta(hours=1)
    begins = at("2026-01-06T09:00")
    shifts = (
        Shift(begins, begins + 4 * hour, 1, "ada"),
        Shift(begins + hour, begins + 2 * hour, 0, "grace"),
        Shift(begins + 6 * hour, begins + 7 * hour, 0, "mona"),
    )
    feed = replace(WEEKLY, shifts=shifts)
    seen = [people_on_call(feed, begins + n * hour) for n in (-1, 0, 1, 2, 4, 6, 7)]
    assert seen == [(), ("ada",), ("grace", "ada"), ("ada",), (), ("mona",), ()]
    ends, here = [], begins - hour
    while (moment := next_hand_off(feed, here)) is not None:
        ends.append((moment - begins) // hour)
        here = moment
    assert ends == [0, 1, 2, 4, 6, 7]


def test_a_gap_of_a_feed_can_be_covered() -> None:
    begins = at("2026-01-06T09:00")
    gap = OnCallOverride(wall_time("2026-01-06T12:00"), wall_time("2026-01-06T13:00"), "grace")
    feed = replace(WEEKLY, shifts=(Shift(begins, begins + timedelta(hours=1), 0, "ada"),), overrides=(gap,))
    assert people_on_call(feed, at("2026-01-06T12:30")) == ("grace",)


def test_a_hand_off_to_the_same_person_is_none() -> None:
    alone = replace(WEEKLY, people=("mona",))
    assert next_hand_off(alone, at("2026-01-06T12:00")) is None
    assert next_hand_off(alone, at("2026-01-01T12:00")) == at("2026-01-05T09:00"), "no one is on call before it"
    twice = replace(WEEKLY, people=("mona", "mona", "hubot"), secondary=("ada",))
    assert next_hand_off(twice, at("2026-01-06T12:00")) == at("2026-01-19T09:00")


def test_people_stand_behind_rotations_roles_teams_and_contacts() -> None:
    policy = Policy(
        rotations={"on-call": WEEKLY},
        roles={"scribe": RoleHolders(("ada",), ("grace", "mona"))},
        teams={"payments": Team(("grace", "linus"))},
        contacts={"on-call": ("nobody-asked",), "cto": ("linus",), "board": ()},
    )
    names = ("on-call", "scribe", "payments", "cto", "board", "unknown")
    assert people_of(names, policy, at("2026-01-06T12:00")) == ("mona", "hubot", "ada", "grace", "linus")
    assert people_of(("on-call",), policy, at("2026-01-13T12:00")) == ("hubot", "octocat")


# Properties of every rotation.

days = st.dates(date(2026, 1, 1), date(2026, 12, 31))
rotations = st.builds(
    Rotation,
    people=st.lists(st.sampled_from(PEOPLE), min_size=1, max_size=4).map(tuple),
    secondary=st.lists(st.sampled_from(PEOPLE), max_size=3).map(tuple),
    turn=st.one_of(
        st.integers(1, 15).map(lambda n: Duration(seconds=n * 86400)),
        st.integers(1, 60).map(lambda n: Duration(seconds=n * 3600)),
    ),
    starts=st.dates(date(2025, 6, 1), date(2026, 2, 1)),
    hand_off=st.builds(time, st.integers(0, 23), st.sampled_from((0, 1, 30, 59))),
    zone=st.sampled_from(ZONES),
)
overrides = st.builds(
    lambda day, minute, length, person, instead: OnCallOverride(
        datetime.combine(day, time()) + timedelta(minutes=minute),
        datetime.combine(day, time()) + timedelta(minutes=minute + length),
        person,
        instead,
    ),
    days,
    st.integers(0, 1439),
    st.integers(1, 40_000),
    st.sampled_from(PEOPLE),
    st.sampled_from((None, *PEOPLE)),
)
rotations_with_overrides = st.builds(
    lambda rotation, covers: replace(rotation, overrides=tuple(covers)), rotations, st.lists(overrides, max_size=4)
)
switches = st.sampled_from(
    [
        datetime.fromisoformat(text).replace(tzinfo=UTC)
        for text in (
            "2026-03-08T07:00",
            "2026-11-01T06:00",
            "2026-03-29T01:00",
            "2026-10-25T01:00",
            "2026-04-04T16:00",
            "2026-10-03T16:00",
        )
    ]
)
instants = st.one_of(
    st.datetimes(datetime(2026, 2, 3), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.builds(lambda switch, seconds: switch + timedelta(seconds=seconds), switches, st.integers(-90000, 90000)),
)
property_settings = settings(max_examples=200, deadline=None)


@property_settings
@given(rotations_with_overrides, instants)
def test_there_is_exactly_one_primary_at_each_instant(rotation: Rotation, moment: datetime) -> None:
    people = people_on_call(rotation, moment)
    assert 1 <= len(people) <= 2
    assert len({*people}) == len(people)
    named = {*rotation.people, *rotation.secondary, *(cover.person for cover in rotation.overrides)}
    assert named.issuperset(people)


@property_settings
@given(rotations_with_overrides, instants)
def test_the_next_hand_off_is_when_somebody_else_comes(rotation: Rotation, moment: datetime) -> None:
    found = next_hand_off(rotation, moment)
    now = people_on_call(rotation, moment)
    horizon = found or moment + timedelta(days=400)
    assert found is None or people_on_call(rotation, found) != now
    assert found is None or found > moment
    step = (horizon - moment) / 60
    assert all(people_on_call(rotation, moment + n * step) == now for n in range(60))
    assert people_on_call(rotation, horizon - TICK) == now


def simple_rotation(zone: str, days: int, hand_off: time) -> Rotation:
    turn = Duration(seconds=days * 86400)
    return Rotation(("mona", "hubot"), turn=turn, starts=date(2026, 1, 5), hand_off=hand_off, zone=zone)


@property_settings
@given(
    st.sampled_from(ZONES), st.integers(1, 14), st.builds(time, st.integers(0, 23), st.sampled_from((0, 30))), instants
)
def test_turns_are_equal_in_days_and_handed_over_at_the_wall_clock_time(
    zone: str, days: int, hand_off: time, moment: datetime
) -> None:
    rotation, tz = simple_rotation(zone, days, hand_off), ZoneInfo(zone)
    first = next_hand_off(rotation, moment)
    assert first is not None
    second = next_hand_off(rotation, first)
    assert second is not None
    begins, ends = first.astimezone(tz), second.astimezone(tz)
    assert (ends.date() - begins.date()).days == days
    assert (begins.date() - rotation.starts).days % days == 0
    for local in (begins, ends):
        there = local.replace(hour=hand_off.hour, minute=hand_off.minute, second=0, fold=0)
        skipped = there.astimezone(UTC).astimezone(tz).replace(tzinfo=None) != there.replace(tzinfo=None)
        assert local.time() == hand_off or skipped
        assert local.fold == 0


@property_settings
@given(st.sampled_from(ZONES), st.integers(1, 100), instants)
def test_turns_in_hours_are_equal_in_hours(zone: str, hours: int, moment: datetime) -> None:
    rotation = replace(simple_rotation(zone, 1, time(9)), turn=Duration(seconds=hours * 3600))
    first = next_hand_off(rotation, moment)
    assert first is not None
    second = next_hand_off(rotation, first)
    assert second is not None
    if hours % 24:
        assert second - first == timedelta(hours=hours)
        assert (first - wall_to_utc(datetime.combine(rotation.starts, time(9)), zone)) % timedelta(
            hours=hours
        ) == timedelta()
