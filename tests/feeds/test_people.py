"""Matching the events of a feed to people."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from app.core.policy import Person, Shift
from app.feeds import Occurrence, match_people

DAY = timedelta(days=1)
NOW = datetime(2026, 3, 10, 9, tzinfo=UTC)
PEOPLE = {
    "mona": Person(name="Mona Lisa", mail="mona@example.com"),
    "Hubot": Person(),
    "lisa": Person(name="Lisa Simpson"),
    "ada-l": Person(name="Ada Lovelace", mail="Ada.L@example.com"),
    "jo": Person(name="Jörg Müller"),
    "dev": Person(),
}


def event(summary: str, *mails: str, since: datetime = NOW) -> Occurrence:
    return Occurrence(since, since + DAY, summary, mails)


def matched_people(summary: str, *mails: str) -> list[tuple[str, int]]:
    return [(shift.person, shift.rank) for shift in match_people([event(summary, *mails)], PEOPLE, "UTC", NOW).shifts]


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("mona", [("mona", 0)]),
        ("@mona", [("mona", 0)]),
        ("MONA", [("mona", 0)]),
        ("hubot is on call", [("Hubot", 0)]),
        ("On call: @hubot (primary)", [("Hubot", 0)]),
        ("On Call - Mona Lisa - Checkout", [("mona", 0)]),
        ("mona  lisa", [("mona", 0)]),
        ("Lisa Simpson", [("lisa", 0)]),
        ("lisa", [("lisa", 0)]),
        ("Lisa, Mona", [("lisa", 0)]),
        ("jörg MÜLLER", [("jo", 0)]),
        ("Jo\u0308rg Mu\u0308ller", [("jo", 0)]),
        ("call ada.l@example.com", [("ada-l", 0)]),
        ("ada-l's week", [("ada-l", 0)]),
        ("dev on call: mona", [("mona", 0)]),
        ("Secondary: mona", [("mona", 1)]),
        ("hubot (backup)", [("Hubot", 1)]),
        ("octocat", []),
        (" @octocat ", [("octocat", 0)]),
        ("Holiday", []),
        ("octocat is on call", []),
        ("@octocat, @hubber", []),
        ("monalisa on call", []),
        ("ramona on call", []),
        ("mona-lisa on call", []),
        ("ada on call", []),
        ("Ada", []),
        ("@-octocat", []),
        ("@octo--cat", []),
        ("@" + "o" * 40, []),
        ("On-call", []),
        ("primary", []),
        ("Secondary", []),
        ("", []),
        ("x " * 150 + "mona", []),
    ],
)
def test_by_the_summary(summary: str, expected: list[tuple[str, int]]) -> None:
    assert matched_people(summary) == expected


@pytest.mark.parametrize(
    ("summary", "mails", "expected"),
    [
        ("Checkout", ["MONA@example.com"], [("mona", 0)]),
        ("hubot", ["mona@example.com"], [("mona", 0)]),
        ("hubot", ["room@example.com"], [("Hubot", 0)]),
        ("hubot", ["room@example.com", "mona@example.com"], [("mona", 0)]),
        ("Secondary", ["mona@example.com"], [("mona", 1)]),
        ("Both", ["ada.l@example.com", "mona@example.com", "mona@example.com"], [("ada-l", 0), ("mona", 1)]),
        ("Checkout", ["room@example.com"], []),
        ("The checkout", ["mona@example.com.evil.example"], []),
    ],
)
def test_by_who_is_invited(summary: str, mails: list[str], expected: list[tuple[str, int]]) -> None:
    assert matched_people(summary, *mails) == expected


def test_a_day_runs_by_the_zone_of_the_rotation() -> None:
    day = Occurrence(datetime(2026, 3, 29), datetime(2026, 3, 30), "mona", ())  # noqa: DTZ001 -- a day of the feed
    found = match_people([day], PEOPLE, "Europe/Berlin", NOW)
    since, until = datetime(2026, 3, 28, 23, tzinfo=UTC), datetime(2026, 3, 29, 22, tzinfo=UTC)
    assert found.shifts == (Shift(since, until, 0, "mona"),), "a day of 23 hours"


def test_strangers_are_told_once_unless_their_time_is_over() -> None:
    found = match_people(
        [
            event("Grace Hopper"),
            event("mona"),
            event("Grace Hopper", since=NOW + DAY),
            event("Somebody Else", since=NOW + 7 * DAY),
            event("A Former One", since=NOW - 7 * DAY),
        ],
        PEOPLE,
        "UTC",
        NOW,
    )
    assert found.unmatched == ("Grace Hopper", "Somebody Else")
    assert [shift.person for shift in found.shifts] == ["mona"]


def test_many_people_and_many_events_are_no_work() -> None:
    people = {f"p{number}": Person(name=f"same words {number}") for number in range(2000)}
    events = [event("same words " * 15 + str(number)) for number in range(2000)]
    found = match_people(events, people, "UTC", NOW)
    assert len(found.shifts) == 2000
