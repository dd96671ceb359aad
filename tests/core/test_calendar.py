"""Due times: daylight saving and leap years to the second, and properties of every calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.calendar import AROUND_THE_CLOCK, Pause, due_time, next_opening, open_time_between, paused_time
from app.core.policy import Calendar, Duration, Target

ZONES = ("America/New_York", "Europe/Berlin", "Australia/Sydney", "Asia/Kolkata", "America/Sao_Paulo")
NEW_YORK = Calendar(zone="America/New_York")
NIGHTS = Calendar(zone="Europe/Berlin", opens=time(22), closes=time(6))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def in_zone(text: str, zone: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).astimezone(UTC)


def within(text: str, calendar: str | None = None) -> Target:
    return Target(Duration.parse(text), calendar)


def due_in(calendar: Calendar, start: datetime, text: str) -> datetime:
    return due_time(start, within(text, "business"), {"business": calendar})


# Reliability, group D.


@pytest.mark.parametrize(
    ("set_at", "opens"),
    [("2026-03-07T12:00", "2026-03-09T13:00"), ("2026-10-31T12:00", "2026-11-02T14:00")],
    ids=["into summer time", "out of summer time"],
)
def test_d1_next_business_day_at_nine(set_at: str, opens: str) -> None:
    start = in_zone(set_at, "America/New_York")
    assert next_opening(NEW_YORK, start) == utc(opens)
    assert due_in(NEW_YORK, start, "0m") == utc(opens), "at once, on a calendar, is when it opens"


def test_d1_an_opening_time_that_does_not_exist_is_the_first_instant_after_the_gap() -> None:
    calendar = Calendar("America/New_York", time(2, 30), time(10), frozenset(range(7)))
    assert next_opening(calendar, utc("2026-03-08T05:00")) == utc("2026-03-08T07:00")


def test_d1_an_opening_time_that_exists_twice_is_the_first_of_the_two_and_opens_once() -> None:
    calendar = Calendar("America/New_York", time(1, 30), time(10), frozenset(range(7)))
    assert next_opening(calendar, utc("2026-11-01T04:00")) == utc("2026-11-01T05:30")
    assert next_opening(calendar, utc("2026-11-01T06:10")) == utc("2026-11-01T06:10"), "open since the first"


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        ("2026-03-08T06:00", "4h", "2026-03-08T10:00"),
        ("2028-02-28T23:30", "24h", "2028-02-29T23:30"),
        ("2028-02-28T23:30", "1d", "2028-02-29T23:30"),
        ("2028-02-29T00:00", "365d", "2029-02-28T00:00"),
        ("2026-03-14T10:00", "0m", "2026-03-14T10:00"),
    ],
)
def test_d2_d3_a_duration_is_elapsed_seconds(start: str, length: str, end: str) -> None:
    assert due_time(utc(start), within(length), {}) == utc(end)


def test_d2_the_repeated_hour_counts_twice() -> None:
    start = in_zone("2026-11-01T01:30", "America/New_York")
    end = in_zone("2026-11-01T03:30", "America/New_York")
    assert due_time(start, within("3h"), {}) == end
    night = Calendar("America/New_York", time(0), time(12), frozenset(range(7)))
    assert open_time_between(night, start, end) == timedelta(hours=3)
    assert due_in(night, start, "3h") == end


def test_a_start_in_another_zone_is_an_instant_like_any_other() -> None:
    start = datetime(2026, 3, 8, 1, 30, tzinfo=ZoneInfo("America/New_York"))
    assert due_time(start, within("4h"), {}) == utc("2026-03-08T10:30")


def test_a_start_without_a_zone_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="has no zone"):
        due_time(datetime(2026, 3, 8), within("4h"), {})  # noqa: DTZ001


# Open hours and business days, read as a person would.


@pytest.mark.parametrize(
    ("start", "length", "end"),
    [
        ("2026-03-06T16:40", "1h", "2026-03-09T09:40"),  # Friday afternoon runs into Monday
        ("2026-03-06T09:00", "8h", "2026-03-06T17:00"),  # the last second of the day is still that day
        ("2026-03-06T17:00", "1m", "2026-03-09T09:01"),
        ("2026-03-07T12:00", "4h", "2026-03-09T13:00"),
        ("2026-03-04T11:00", "1bd", "2026-03-05T11:00"),
        ("2026-03-06T11:00", "1bd", "2026-03-09T11:00"),
        ("2026-03-06T11:00", "5bd", "2026-03-13T11:00"),
        ("2026-03-07T12:00", "1bd", "2026-03-10T09:00"),  # Saturday counts from Monday 09:00
        ("2026-03-04T20:00", "1bd", "2026-03-06T09:00"),  # an evening counts from the next morning
        ("2026-03-04T05:00", "1bd", "2026-03-05T09:00"),
    ],
)
def test_a_working_week_in_new_york(start: str, length: str, end: str) -> None:
    begins = in_zone(start, "America/New_York")
    assert due_in(NEW_YORK, begins, length) == in_zone(end, "America/New_York")


def test_holidays_are_days_off() -> None:
    calendar = Calendar("Europe/Berlin", holidays=frozenset({date(2026, 12, 24), date(2026, 12, 25)}))
    start = in_zone("2026-12-23T16:00", "Europe/Berlin")
    assert due_in(calendar, start, "2h") == in_zone("2026-12-28T10:00", "Europe/Berlin")
    assert due_in(calendar, start, "1bd") == in_zone("2026-12-28T16:00", "Europe/Berlin")


@pytest.mark.parametrize(
    ("country", "region", "day", "off"),
    [
        ("DE", "", "2026-10-03", True),  # a Saturday, and German Unity Day
        ("DE", "", "2026-03-08", False),
        ("DE", "BE", "2026-03-08", True),  # Women's Day is kept in Berlin
        ("US", "", "2027-12-24", True),  # Christmas Day of 2027 is a Saturday, so it is taken on the Friday
        ("US", "", "2027-12-31", True),  # and so is New Year's Day of 2028, in the year before
        ("AU", "NSW", "2026-01-26", True),
        ("BR", "SP", "2026-07-09", True),
        ("IN", "", "2026-08-15", True),
        ("", "", "2026-12-25", False),
    ],
)
def test_national_holidays_are_days_off(country: str, region: str, day: str, off: bool) -> None:
    calendar = Calendar(country=country, region=region, days=frozenset(range(7)))
    noon = utc(f"{day}T12:00")
    assert (next_opening(calendar, noon) != noon) is off


def test_a_target_passes_over_easter() -> None:
    calendar = Calendar("Europe/Berlin", country="DE", region="BE")
    thursday = in_zone("2026-04-02T16:00", "Europe/Berlin")  # Good Friday and Easter Monday follow
    assert due_in(calendar, thursday, "2h") == in_zone("2026-04-07T10:00", "Europe/Berlin")
    assert due_in(calendar, thursday, "1bd") == in_zone("2026-04-07T16:00", "Europe/Berlin")


def test_a_workday_is_never_a_day_off() -> None:
    day, saturday = date(2026, 12, 25), date(2026, 12, 26)
    calendar = Calendar(country="DE", holidays=frozenset({day}), workdays=frozenset({day, saturday}))
    for at in ("2026-12-25T12:00", "2026-12-26T12:00"):
        assert next_opening(calendar, utc(at)) == utc(at)
    assert next_opening(calendar, utc("2026-12-27T12:00")) == utc("2026-12-28T09:00")


def test_a_country_that_nobody_knows_is_our_mistake() -> None:
    with pytest.raises(NotImplementedError):
        next_opening(Calendar(country="XX"), utc("2026-01-05T12:00"))


# Pauses, read as a person would.

OFFICE = Calendar()


@pytest.mark.parametrize(
    ("length", "calendar", "since", "until", "end"),
    [
        ("4h", None, "2026-03-04T11:00", "2026-03-04T12:00", "2026-03-04T15:00"),
        ("4h", None, "2026-03-04T11:00", "2026-03-06T11:00", "2026-03-06T14:00"),
        ("4h", None, "2026-03-04T08:00", "2026-03-04T11:00", "2026-03-04T15:00"),  # only what is after the start
        ("4h", "c", "2026-03-04T11:00", "2026-03-04T12:00", "2026-03-04T15:00"),
        ("4h", "c", "2026-03-04T11:00", "2026-03-05T11:00", "2026-03-05T14:00"),  # 8 open hours
        ("8h", "c", "2026-03-04T17:00", "2026-03-05T09:00", "2026-03-05T10:00"),  # a closed night costs nothing
        ("8h", "c", "2026-03-06T17:30", "2026-03-08T23:00", "2026-03-05T10:00"),  # nor does a weekend
        ("1bd", "c", "2026-03-04T11:00", "2026-03-04T13:00", "2026-03-05T12:00"),
        ("1bd", "c", "2026-03-04T17:00", "2026-03-05T08:00", "2026-03-05T10:00"),
        ("1bd", "c", "2026-03-04T16:00", "2026-03-05T16:00", "2026-03-06T10:00"),  # a day of 8 open hours
    ],
)
def test_a_rest_moves_a_deadline_by_what_it_took(
    length: str, calendar: str | None, since: str, until: str, end: str
) -> None:
    rest = Pause(utc(since), utc(until))
    start = utc("2026-03-04T10:00")
    assert due_time(start, within(length, calendar), {"c": OFFICE}, (rest,)) == utc(end)


def test_what_lies_in_two_rests_is_lost_once() -> None:
    first = Pause(utc("2026-03-04T11:00"), utc("2026-03-04T13:00"))
    second = Pause(utc("2026-03-04T12:00"), utc("2026-03-04T14:00"))
    inner = Pause(utc("2026-03-04T11:30"), utc("2026-03-04T12:30"))
    assert paused_time((second, inner, first), utc("2026-03-04T10:00")) == timedelta(hours=3)
    assert due_time(utc("2026-03-04T10:00"), within("4h"), {}, (second, inner, first)) == utc("2026-03-04T17:00")


def test_business_days_without_a_calendar_use_the_business_one() -> None:
    start = in_zone("2026-03-06T11:00", "America/New_York")
    assert due_time(start, within("1bd"), {"business": NEW_YORK}) == in_zone("2026-03-09T11:00", "America/New_York")


def test_hours_that_end_on_the_next_day() -> None:
    assert next_opening(NIGHTS, in_zone("2026-03-04T12:00", "Europe/Berlin")) == in_zone(
        "2026-03-04T22:00", "Europe/Berlin"
    )
    small_hours = in_zone("2026-03-05T03:00", "Europe/Berlin")
    assert next_opening(NIGHTS, small_hours) == small_hours
    assert due_in(NIGHTS, small_hours, "4h") == in_zone("2026-03-05T23:00", "Europe/Berlin")
    assert due_in(NIGHTS, small_hours, "1bd") == in_zone("2026-03-06T03:00", "Europe/Berlin")


def test_a_business_day_from_the_repeated_hour_is_never_due_earlier_than_one_from_before() -> None:
    always = Calendar("America/New_York", time(0), time(0), frozenset(range(7)))
    first, second = (
        in_zone(f"2026-11-01T01:{minute}", "America/New_York", fold) for minute, fold in ((50, 0), (10, 1))
    )
    assert first < second
    assert due_in(always, first, "1bd") == in_zone("2026-11-02T01:50", "America/New_York")
    assert due_in(always, second, "1bd") == in_zone("2026-11-02T02:00", "America/New_York")


def test_midnight_that_daylight_saving_skips() -> None:
    calendar = Calendar("America/Sao_Paulo", time(0), time(0), frozenset(range(7)))
    assert open_time_between(calendar, utc("2018-11-03T03:00"), utc("2018-11-05T02:00")) == timedelta(hours=47)
    assert due_in(calendar, in_zone("2018-11-03T00:00", "America/Sao_Paulo"), "1bd") == utc("2018-11-04T03:00")


def test_a_day_that_was_skipped_altogether_is_no_business_day() -> None:
    apia = Calendar("Pacific/Apia", days=frozenset(range(7)))
    assert due_in(apia, in_zone("2011-12-29T10:00", "Pacific/Apia"), "1bd") == in_zone(
        "2011-12-31T10:00", "Pacific/Apia"
    )


def test_a_calendar_that_never_opens_ends_in_an_error_not_in_a_loop() -> None:
    never = Calendar(days=frozenset())
    for question in (
        lambda: next_opening(never, utc("2026-01-01T00:00")),
        lambda: due_in(never, utc("2026-01-01T00:00"), "1bd"),
    ):
        with pytest.raises(ValueError, match="does not open often enough"):
            question()


def test_open_time_backwards_is_none() -> None:
    assert open_time_between(NEW_YORK, utc("2026-03-06T18:00"), utc("2026-03-06T15:00")) == timedelta()


# Properties of every calendar.

MIN_OPEN_MINUTES_A_WEEK = 20
"""The policy reader refuses targets that take ten years; the longest below takes less than that of these hours."""


def is_open_often_enough(calendar: Calendar) -> bool:
    opens, closes = (at.hour * 60 + at.minute for at in (calendar.opens, calendar.closes))
    return ((closes - opens) % 1440 or 1440) * len(calendar.days) >= MIN_OPEN_MINUTES_A_WEEK


calendars = st.builds(
    Calendar,
    zone=st.sampled_from(ZONES),
    opens=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    closes=st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    days=st.frozensets(st.integers(0, 6), min_size=1),
    country=st.sampled_from(("", "", "DE", "US", "AU", "IN", "BR")),
    holidays=st.frozensets(st.dates(date(2026, 1, 1), date(2027, 1, 31)), max_size=8),
    workdays=st.frozensets(st.dates(date(2026, 1, 1), date(2027, 1, 31)), max_size=3),
).filter(is_open_often_enough)
around_switches = st.sampled_from(
    [
        utc(text)
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
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)),  # noqa: DTZ001
    st.builds(lambda switch, seconds: switch + timedelta(seconds=seconds), around_switches, st.integers(-90000, 90000)),
)
seconds = st.integers(60, 40 * 3600)
property_settings = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def due_after_seconds(calendar: Calendar, start: datetime, amount: int) -> datetime:
    return due_time(start, Target(Duration(seconds=amount), "c"), {"c": calendar})


def due_after_business_days(calendar: Calendar, start: datetime, days: int) -> datetime:
    return due_time(start, Target(Duration(business_days=days), "c"), {"c": calendar})


def is_open_until(calendar: Calendar, at: datetime) -> bool:
    """Return whether the calendar is open at that instant, or has just closed."""
    just_before = at - timedelta(microseconds=1)
    return next_opening(calendar, at) == at or next_opening(calendar, just_before) == just_before


@property_settings
@given(calendars, instants, seconds)
def test_exactly_the_target_is_open_before_it_is_due(calendar: Calendar, start: datetime, amount: int) -> None:
    assert open_time_between(calendar, start, due_after_seconds(calendar, start, amount)) == timedelta(seconds=amount)


@property_settings
@given(calendars, instants, seconds, st.integers(1, 30))
def test_a_deadline_never_lies_outside_open_hours(calendar: Calendar, start: datetime, amount: int, days: int) -> None:
    assert is_open_until(calendar, due_after_seconds(calendar, start, amount))
    assert is_open_until(calendar, due_after_business_days(calendar, start, days))


@property_settings
@given(calendars, instants, st.integers(0, 200_000), seconds, st.integers(0, 100_000), st.integers(1, 20))
def test_later_or_longer_is_never_due_earlier(
    calendar: Calendar, start: datetime, later: int, amount: int, longer: int, days: int
) -> None:
    moved = start + timedelta(seconds=later)
    assert due_after_seconds(calendar, start, amount) <= due_after_seconds(calendar, moved, amount)
    assert due_after_seconds(calendar, start, amount) <= due_after_seconds(calendar, start, amount + longer)
    assert due_after_business_days(calendar, start, days) <= due_after_business_days(calendar, moved, days)
    assert (
        due_after_business_days(calendar, start, days) < due_after_business_days(calendar, start, days + 1)
        or calendar.opens == calendar.closes
    )


@property_settings
@given(calendars, instants, seconds, seconds)
def test_two_parts_are_due_when_their_sum_is(calendar: Calendar, start: datetime, first: int, second: int) -> None:
    assert due_after_seconds(calendar, due_after_seconds(calendar, start, first), second) == due_after_seconds(
        calendar, start, first + second
    )


@property_settings
@given(calendars, instants, st.integers(0, 500_000), st.integers(0, 500_000))
def test_open_time_adds_up(calendar: Calendar, a: datetime, first: int, second: int) -> None:
    b = a + timedelta(seconds=first)
    c = b + timedelta(seconds=second)
    assert open_time_between(calendar, a, b) + open_time_between(calendar, b, c) == open_time_between(calendar, a, c)
    assert timedelta() <= open_time_between(calendar, a, b) <= b - a


@property_settings
@given(instants, seconds, st.sampled_from(ZONES))
def test_around_the_clock_every_second_counts(start: datetime, amount: int, zone: str) -> None:
    always = Calendar(zone, AROUND_THE_CLOCK.opens, AROUND_THE_CLOCK.closes, AROUND_THE_CLOCK.days)
    assert due_after_seconds(always, start, amount) == start + timedelta(seconds=amount)


@property_settings
@given(calendars, st.integers(5, 11), st.integers(12, 23), instants, st.floats(0, 0.99), st.integers(1, 20))
def test_business_days_keep_the_moment_of_the_day(
    calendar: Calendar, opens: int, closes: int, at: datetime, into: float, days: int
) -> None:
    office, zone = replace(calendar, opens=time(opens), closes=time(closes)), ZoneInfo(calendar.zone)
    first = next_opening(office, next_opening(office, at).astimezone(zone).replace(hour=closes, minute=0, second=0))
    start = first + into * timedelta(hours=closes - opens)
    local, end = start.astimezone(zone), due_after_business_days(office, start, days).astimezone(zone)
    assert end.time() == local.time()
    passed = [local.date() + timedelta(days=n + 1) for n in range((end.date() - local.date()).days)]
    noons = [datetime.combine(day, time(11, 30), zone).astimezone(UTC) for day in passed]
    assert sum(next_opening(office, noon) == noon for noon in noons) == days


pauses = st.lists(
    st.builds(lambda since, length: Pause(since, since + timedelta(seconds=length)), instants, st.integers(0, 300_000)),
    min_size=1,
    max_size=3,
).map(tuple)
targets = st.builds(
    Target,
    st.one_of(st.builds(Duration, seconds=seconds), st.builds(Duration, business_days=st.integers(1, 9))),
    st.sampled_from(("c", None)),
)


@property_settings
@given(calendars, instants, targets, pauses)
def test_a_rest_shifts_and_never_shrinks(
    calendar: Calendar, start: datetime, target: Target, pauses: tuple[Pause, ...]
) -> None:
    kept = {"c": calendar, "business": calendar}
    before, after_it = due_time(start, target, kept), due_time(start, target, kept, pauses)
    counts = calendar if target.calendar or target.within.business_days else AROUND_THE_CLOCK
    lost = paused_time(pauses, start, counts)
    assert after_it >= before
    assert open_time_between(counts, before, after_it) == lost
    assert after_it == before or is_open_until(counts, after_it)


@property_settings
@given(calendars, instants, seconds, instants)
def test_a_rest_is_as_if_the_clock_had_stood_still(
    calendar: Calendar, start: datetime, amount: int, since: datetime
) -> None:
    """The open time before the deadline, less the pause, is the target, if the pause begins before the deadline."""
    rest = Pause(since, since + timedelta(hours=50))
    moved = due_time(start, Target(Duration(seconds=amount), "c"), {"c": calendar}, (rest,))
    if start <= since < due_after_seconds(calendar, start, amount):
        worked = open_time_between(calendar, start, since) + open_time_between(calendar, rest.until, moved)
        assert worked == timedelta(seconds=amount)


@property_settings
@given(calendars, instants, targets, pauses, st.integers(0, 200_000))
def test_a_longer_rest_is_never_due_earlier(
    calendar: Calendar, start: datetime, target: Target, pauses: tuple[Pause, ...], longer: int
) -> None:
    kept = {"c": calendar, "business": calendar}
    *others, last = pauses
    more = (*others, replace(last, until=last.until + timedelta(seconds=longer)))
    assert due_time(start, target, kept, pauses) <= due_time(start, target, kept, more)


# Invalid durations, and the longest target.


@pytest.mark.parametrize(
    "text", ["0", "1e999h", "1h30", "5 minutes", "59s", "5m; drop", "9" * 400 + "d", "-5m", "366d"]
)
def test_d6_m23_a_length_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"such as 15m|out of range"):
        Duration.parse(text)


@property_settings
@given(calendars, st.integers(1, 365))
def test_d6_the_longest_target_is_never_out_of_range(calendar: Calendar, days: int) -> None:
    assert due_after_business_days(calendar, utc("2026-01-01T00:00"), days) < utc("2045-01-01T00:00")
