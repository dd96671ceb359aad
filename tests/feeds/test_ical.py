"""Occurrences of an iCalendar feed, and the limits that hold against a hostile one."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest

from app.feeds import MAX_FEED_BYTES, FeedFault, read_occurrences
from app.feeds.ical_events import find_occurrences

SINCE = datetime(2026, 3, 1, tzinfo=UTC)
UNTIL = SINCE + timedelta(days=74)
SHIFT = "DTSTART:20260310T090000Z\nDTEND:20260310T170000Z\nSUMMARY:mona"
BERLIN_SHIFT = "DTSTART;TZID=Europe/Berlin:{}T090000\nDTEND;TZID=Europe/Berlin:{}T170000\nSUMMARY:mona"


def calendar(*events: str, head: str = "") -> bytes:
    """Build a calendar of these events, each with an id."""
    body = "".join(f"BEGIN:VEVENT\nUID:{number}\n{event}\nEND:VEVENT\n" for number, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{head}{body}END:VCALENDAR\n".replace(
        "\n", "\r\n"
    ).encode()


def occurrence_lines(feed: bytes) -> list[str]:
    """Format each occurrence as a line."""
    return [
        f"{occurrence.since:%m-%d %H:%M}{'Z' if occurrence.since.tzinfo else ''} to {occurrence.until:%m-%d %H:%M} {occurrence.summary}"
        for occurrence in find_occurrences(feed, SINCE, UNTIL)
    ]


@pytest.mark.parametrize(
    ("event", "lines"),
    [
        (SHIFT, ["03-10 09:00Z to 03-10 17:00 mona"]),
        ("DTSTART:20260310T090000Z\nDURATION:PT8H\nSUMMARY:mona", ["03-10 09:00Z to 03-10 17:00 mona"]),
        ("DTSTART;VALUE=DATE:20260310\nSUMMARY:mona", ["03-10 00:00 to 03-11 00:00 mona"]),
        ("DTSTART;VALUE=DATE:20260309\nDTEND;VALUE=DATE:20260316\nSUMMARY:mona", ["03-09 00:00 to 03-16 00:00 mona"]),
        ("DTSTART:20260310T090000\nDTEND:20260310T170000\nSUMMARY:mona", ["03-10 09:00 to 03-10 17:00 mona"]),
        (
            "DTSTART;TZID=Mars/Base:20260310T090000\nDTEND;TZID=Mars/Base:20260310T170000\nSUMMARY:mona",
            ["03-10 09:00 to 03-10 17:00 mona"],
        ),
        (f"{SHIFT}\nSTATUS:CANCELLED", []),
        ("DTSTART:20260310T090000Z\nSUMMARY:mona", []),
        ("DTSTART:20260601T090000Z\nDTEND:20260601T170000Z\nSUMMARY:mona", []),
        ("DTSTART:20260101T090000Z\nDTEND:20260201T170000Z\nSUMMARY:mona", []),
        ("DTSTART:20260101T090000Z\nDTEND:20260601T170000Z\nSUMMARY:mona", ["01-01 09:00Z to 06-01 17:00 mona"]),
        ("DTSTART:20260310T090000Z\nDTEND:20260310T170000Z\nSUMMARY:mo\n na", ["03-10 09:00Z to 03-10 17:00 mona"]),
        (
            f"{SHIFT}\nBEGIN:VALARM\nTRIGGER:-PT5M\nDTSTART:19700101T000000Z\nSUMMARY:wake\nEND:VALARM",
            ["03-10 09:00Z to 03-10 17:00 mona"],
        ),
    ],
)
def test_one_event(event: str, lines: list[str]) -> None:
    assert occurrence_lines(calendar(event)) == lines


def test_a_weekly_shift_keeps_its_wall_clock_time_over_daylight_saving() -> None:
    event = BERLIN_SHIFT.format("20260316", "20260316") + "\nRRULE:FREQ=WEEKLY;INTERVAL=1;COUNT=3"
    assert occurrence_lines(calendar(event)) == [
        "03-16 08:00Z to 03-16 16:00 mona",
        "03-23 08:00Z to 03-23 16:00 mona",
        "03-30 07:00Z to 03-30 15:00 mona",
    ]


def test_exceptions_of_a_series_count() -> None:
    series = BERLIN_SHIFT.format("20260302", "20260302") + "\nRRULE:FREQ=WEEKLY;UNTIL=20260324T000000Z\n"
    series += "EXDATE;TZID=Europe/Berlin:20260309T090000"
    swapped = "UID:0\nRECURRENCE-ID;TZID=Europe/Berlin:20260316T090000\n" + BERLIN_SHIFT.format("20260317", "20260317")
    feed = calendar(series).replace(
        b"END:VCALENDAR",
        f"BEGIN:VEVENT\n{swapped.replace('mona', 'hubot')}\nEND:VEVENT\nEND:VCALENDAR".encode(),
    )
    assert occurrence_lines(feed) == [
        "03-02 08:00Z to 03-02 16:00 mona",
        "03-17 08:00Z to 03-17 16:00 hubot",
        "03-23 08:00Z to 03-23 16:00 mona",
    ]


def test_a_zone_of_the_feed_s_own() -> None:
    zone = (
        "BEGIN:VTIMEZONE\nTZID:Our Office\nBEGIN:STANDARD\nDTSTART:16010101T000000\n"
        "TZOFFSETFROM:+0500\nTZOFFSETTO:+0500\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    event = "DTSTART;TZID=Our Office:20260310T090000\nDTEND;TZID=Our Office:20260310T170000\nSUMMARY:mona"
    assert occurrence_lines(calendar(event, head=zone)) == ["03-10 04:00Z to 03-10 12:00 mona"]


def test_what_the_other_process_reads_is_what_stands_there() -> None:
    feed = calendar(SHIFT + "\nATTENDEE:mailto:mona@example.com", "DTSTART;VALUE=DATE:20260311\nSUMMARY:Jörg")
    assert list(read_occurrences(feed, SINCE, UNTIL)) == find_occurrences(feed, SINCE, UNTIL)
    assert len(read_occurrences(feed, SINCE, UNTIL)) == 2


def test_who_is_invited_and_has_not_declined() -> None:
    event = (
        f"{SHIFT}\nATTENDEE;CN=Mona:mailto:Mona@example.com\nATTENDEE;PARTSTAT=DECLINED:mailto:hubot@example.com\n"
        "ATTENDEE:MAILTO:ada@example.com\nATTENDEE:tel:+49123"
    )
    (found,) = read_occurrences(calendar(event), SINCE, UNTIL)
    assert found.mails == ("Mona@example.com", "ada@example.com")


def test_years_of_history_cost_nothing_that_counts() -> None:
    history = [
        f"DTSTART:2020{1 + day % 12:02d}10T090000Z\nDTEND:2020{1 + day % 12:02d}10T100000Z" for day in range(8000)
    ]
    assert occurrence_lines(calendar(*history, SHIFT)) == ["03-10 09:00Z to 03-10 17:00 mona"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252"])
def test_letters_arrive_however_they_were_written(encoding: str) -> None:
    feed = calendar(SHIFT.replace("mona", "Jörg Müller")).decode().encode(encoding)
    assert occurrence_lines(feed) == ["03-10 09:00Z to 03-10 17:00 Jörg Müller"]


EVERY_SECOND = ";".join(
    f"BY{part}=" + ",".join(map(str, range(count))) for part, count in (("HOUR", 24), ("MINUTE", 60), ("SECOND", 60))
)
HOSTILE_FEEDS = {
    "every second": (calendar(f"{SHIFT}\nRRULE:FREQ=SECONDLY"), "repeats secondly"),
    "every second, folded": (calendar(f"{SHIFT}\nRRULE:FREQ=SECON\n DLY"), "repeats secondly"),
    "every minute": (calendar(f"{SHIFT}\nRRULE:COUNT=9; FREQ = minutely"), "repeats minutely"),
    "every second of every day": (calendar(f"{SHIFT}\nRRULE:FREQ=DAILY;{EVERY_SECOND}"), "too long"),
    "never": (calendar(*[f"{SHIFT}\nRRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30"] * 100), "too long"),
    "since the year 1": (calendar("DTSTART:00010101T000000Z\nDURATION:PT1H\nRRULE:FREQ=HOURLY"), "too long"),
    "many series": (calendar(*[f"{SHIFT}\nRRULE:FREQ=HOURLY"] * 900), "too long"),
    "too many series": (calendar(*[f"{SHIFT}\nRRULE:FREQ=DAILY"] * 1001), "1001 of its events"),
    "too many shifts": (calendar(*[f"{SHIFT}\nRRULE:FREQ=HOURLY"] * 2), "shifts in 74 days"),
    "an end beyond time": (calendar(f"{SHIFT}\nRRULE:FREQ=DAILY;UNTIL=999999991231T000000Z"), "no RRULE"),
    "a rule of nothing": (calendar(f"{SHIFT}\nRRULE:HELLO"), "no RRULE"),
    "a rule of nonsense": (calendar(f"{SHIFT}\nRRULE:FREQ=DAILY;BYDAY=QQ"), "no RRULE"),
    "no beginning": (calendar("SUMMARY:mona"), "no DTSTART"),
    "a day that never was": (calendar("DTSTART:20260230T090000Z\nSUMMARY:mona"), "no DTSTART"),
    "deep events": (b"BEGIN:VCALENDAR\n" + b"BEGIN:VEVENT\n" * 19_000, "nested"),
    "deep parts": (b"BEGIN:VCALENDAR\n" + b"BEGIN:X\n" * 100_000, "nested"),
    "100,000 events": (calendar(*["DTSTART:20260310"] * 100_000), "larger than"),
    "20,001 events": (b"BEGIN:VCALENDAR\n" + b"BEGIN:VEVENT\nDTSTART:20260310\nEND:VEVENT\n" * 20_001, "20000 events"),
    "too large": (b"BEGIN:VCALENDAR\n" + b"x" * MAX_FEED_BYTES, "larger than"),
    "a page": (b"<html><body>Please sign in</body></html>", "no iCalendar"),
    "nothing": (b"", "no iCalendar"),
    "every byte": (bytes(range(256)) * 4000, "no iCalendar"),
    "a zone outside": (calendar(SHIFT, head="X-WR-TIMEZONE:../../etc/passwd\n"), "cannot be read"),
    "no end": (b"BEGIN:VCALENDAR\nBEGIN:VEVENT\nDTSTART:20260310T090000Z\nEND:VALARM\nEND:VCALENDAR", None),
}


@pytest.mark.parametrize("name", HOSTILE_FEEDS)
def test_a_hostile_feed_is_refused_in_words(name: str) -> None:
    feed, why = HOSTILE_FEEDS[name]
    began = time.process_time()
    if why is None:
        assert read_occurrences(feed, SINCE, UNTIL) == ()
    else:
        with pytest.raises(FeedFault, match=why):
            read_occurrences(feed, SINCE, UNTIL)
    assert time.process_time() - began < 1.5, "the work is done elsewhere"


@pytest.mark.parametrize(
    "text",
    [
        "{}\nRDATE:" + ",".join(["20260311T000000Z"] * 50_000),
        "{}\nX-LONG:" + "a" * 900_000,
        "{}\nSUMMARY:" + "\\\\," * 200_000,
        "{}\nATTENDEE;" + 'CN="";' * 100_000 + ":mailto:mona@example.com",
        "{}\nEXDATE:" + ",".join(["99991231T235959Z"] * 50_000),
        "{}\nRRULE:FREQ=WEEKLY;UNTIL=99991231T235959Z",
        "{}\nRRULE:FREQ=YEARLY;INTERVAL=99999999999999999999",
        "{}\nRRULE:FREQ=DAILY;COUNT=99999999999999999999",
        "{}\nDURATION:P99999999999999D",
        "{}\nRRULE:FREQ=DAILY;BYSETPOS=" + ",".join(["1"] * 100_000),
        "DTSTART:99991231T235959Z\nDURATION:P1D\nRRULE:FREQ=DAILY",
        "DTSTART;TZID=" + "x" * 100_000 + ":20260310T090000\nDURATION:P1D",
        "\x00\x01\x02{}",
    ],
)
def test_whatever_stands_in_an_event_ends_soon(text: str) -> None:
    began = time.monotonic()
    with suppress(FeedFault):
        read_occurrences(calendar(text.format(SHIFT)), SINCE, UNTIL)
    assert time.monotonic() - began < 15, "about a second of work, on a machine that is busy"
