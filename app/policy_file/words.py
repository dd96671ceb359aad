"""How a policy spells its values: one small reader for each kind of word, each raising Wrong.

A kind that is finer than the type it ends up as (a login is a text, but not every text is a login) has a NewType here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import date, time
from difflib import get_close_matches
from enum import Enum
from functools import cache, lru_cache
from typing import Any, NewType
from zoneinfo import available_timezones

from app.core.policy import Duration
from app.core.report import Report
from app.policy_file.fault import Wrong, shown

Zone = NewType("Zone", str)
Login = NewType("Login", str)
Name = NewType("Name", str)
Contact = NewType("Contact", str)
CalendarName = NewType("CalendarName", str)
LabelName = NewType("LabelName", str)
Heading = NewType("Heading", str)
ReportField = NewType("ReportField", str)
Pace = NewType("Pace", Duration)
Percent = NewType("Percent", int)
Count = NewType("Count", int)
Hours = NewType("Hours", tuple[time, time])
WeekdayRange = NewType("WeekdayRange", frozenset[int])
Weekdays = NewType("Weekdays", frozenset[int])

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
REPORT_FIELDS = tuple(f.name for f in fields(Report) if f.name not in ("doubts", "structured"))

_LOGIN = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}(?:_[A-Za-z0-9]{1,8})?")
_HOURS = re.compile(r"([0-2]?[0-9]):([0-5][0-9])-([0-2]?[0-9]):([0-5][0-9])")
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")
_DURATION_WRONG = re.compile(r"('.*' is [^,:]*)(?:, |: )(.*)", re.DOTALL)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was most likely meant."""
    return _nearest(word[:60].lower(), tuple(known))


@lru_cache(maxsize=256)
def _nearest(word: str, known: tuple[str, ...]) -> str | None:
    by_lower = {name.lower(): name for name in known}
    close = [word] if word in by_lower else get_close_matches(word, by_lower, n=1)
    return by_lower[close[0]] if close else None


def one_of(word: str, what: str, known: Iterable[str]) -> Wrong:
    """A word that is not among the known ones, with the nearest of them."""
    known = tuple(known)
    guess = nearest(word, known)
    meant = f"did you mean {guess}? " if guess else ""
    return Wrong(f"{shown(word)} is not {what}", f"{meant}use one of {', '.join(known)}")


def duration(text: str) -> Duration:
    try:
        return Duration.parse(text)
    except ValueError as error:
        found = _DURATION_WRONG.fullmatch(str(error))
        raise (Wrong(found[1], found[2]) if found else Wrong(str(error), "such as 15m or 2h")) from None


def pace(text: str) -> Duration:
    length = duration(text)
    if length.at_once:
        raise Wrong("'0m' would repeat without a pause", "such as 5m")
    return length


def day(text: str) -> date:
    try:
        if _DATE.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        raise Wrong(f"{shown(text)} is not in the calendar", "such as 2026-12-24") from None
    raise Wrong(f"{shown(text)} is not a date", "such as 2026-12-24")


def hours(text: str) -> tuple[time, time]:
    """Wall clock times; 24:00 is midnight at the end, and an earlier second time is on the next day."""
    found = _HOURS.fullmatch(text)
    if found is None:
        raise Wrong(f"{shown(text)} are not hours", "such as 09:00-17:00")
    opens, closes = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if opens >= 1440 or closes > 1440:
        raise Wrong(f"{shown(text)} has a time that no clock shows", "such as 09:00-17:00 or 00:00-24:00")
    if opens == closes:
        raise Wrong(f"{shown(text)} never opens", "such as 09:00-17:00, or 00:00-24:00 for the whole day")
    return time(*divmod(opens, 60)), time(*divmod(closes % 1440, 60))


def weekdays(text: str) -> frozenset[int]:
    """One day or a range of them, such as `mon` or `mon-fri`; a range may run over the weekend."""
    ends = [part.strip() for part in text.lower().split("-")]
    if not 1 <= len(ends) <= 2 or any(end not in DAYS for end in ends):
        raise Wrong(f"{shown(text)} is not a weekday", f"use {', '.join(DAYS)} or a range such as mon-fri")
    first, last = DAYS.index(ends[0]), DAYS.index(ends[-1])
    return frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))


@cache
def _zones() -> Mapping[str, str]:
    """Every zone under its name in lower case, and under that of its city alone."""
    names = sorted(available_timezones() - {"localtime", "Factory", "posixrules"})
    cities = {name.rpartition("/")[2].lower(): name for name in names}
    return cities | {name.lower(): name for name in names}


def zone(text: str) -> str:
    meant = _zones().get(text.strip().lower().replace(" ", "_"))
    if meant == text:
        return text
    if meant is None:
        region = text.partition("/")[0].lower() + "/"
        meant = nearest(
            text, [name for name in _zones().values() if name.lower().startswith(region)] or _zones().values()
        )
    raise Wrong(
        f"{shown(text)} is not an IANA time zone", f"did you mean {meant}?" if meant else "such as Europe/Berlin"
    )


def login(text: str) -> str:
    if "/" in text:
        raise Wrong(f"{shown(text)} is a team", "people, not teams, are mentioned: write the logins of its members")
    if text.startswith("@") and _LOGIN.fullmatch(text[1:]):
        raise Wrong(f"{shown(text)} begins with an @", f"write {text[1:]}")
    if not _LOGIN.fullmatch(text):
        raise Wrong(f"{shown(text)} is not a GitHub login", "such as mona")
    return text


def name(text: str) -> str:
    if not 1 <= len(text) <= 50 or text != text.strip() or text[0] == "@" or "," in text:
        raise Wrong(f"{shown(text)} is not a name", "1 to 50 characters without commas or a leading @, such as on-call")
    return text


def label(text: str) -> str:
    if not text:
        raise Wrong("a label without a name", "1 to 50 characters")
    if len(text) > 50:
        raise Wrong(f"{shown(text)} has {len(text)} characters", "GitHub's labels end at 50")
    if "," in text:
        raise Wrong(f"{shown(text)} has a comma", "a label's name has none")
    if text != text.strip():
        raise Wrong(f"{shown(text)} begins or ends with a space", f"write {shown(text.strip())}")
    return text


def line(text: str) -> str:
    text = text.strip()
    if not 1 <= len(text) <= 200:
        raise Wrong(f"a text of {len(text)} characters", "1 to 200")
    return text


def report_field(text: str) -> str:
    attribute = {"type": "kind"}.get(text, text.replace("-", "_"))
    if attribute not in REPORT_FIELDS:
        spelled = ["type" if known == "kind" else known.replace("_", "-") for known in REPORT_FIELDS]
        raise one_of(text, "a field of a report", spelled)
    return attribute


def percent(text: str) -> int:
    value = count(text)
    if value > 100:
        raise Wrong(f"{shown(text)} is more than the whole target", "1 to 100")
    return value


def count(text: str) -> int:
    if not _NUMBER.fullmatch(text) or int(text) < 1:
        raise Wrong(f"{shown(text)} is not a number from 1", "such as 2")
    return int(text)


def member(kind: type[Enum], text: str) -> Enum:
    """The member of that enumeration with that value, in any case."""
    for candidate in kind:
        if text.lower() == candidate.value:
            return candidate
    raise one_of(text, NOUNS.get(kind.__name__, "known here"), (candidate.value for candidate in kind))


NOUNS = {
    "Scale": "a scale",
    "Until": "an end of a step",
    "Level": "a level",
    "Kind": "a type of incident",
    "Exposure": "an answer here",
}

WORDS: Mapping[Any, Callable[[str], Any]] = {
    str: line,
    Duration: duration,
    date: day,
    Zone: zone,
    Login: login,
    Name: name,
    Contact: name,
    CalendarName: name,
    LabelName: label,
    Heading: line,
    ReportField: report_field,
    Pace: pace,
    Percent: percent,
    Count: count,
    Hours: hours,
    WeekdayRange: weekdays,
}
