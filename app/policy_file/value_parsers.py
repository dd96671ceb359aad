"""Parsers of single policy values: one small function for each kind of word, each raising InvalidValue.

A kind that is finer than the type it becomes (a login is a text, but not every text is a login) has a NewType here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from datetime import date, datetime, time
from difflib import get_close_matches
from enum import Enum
from functools import cache, lru_cache
from heapq import nlargest
from typing import Any, NewType
from zoneinfo import available_timezones

from app.core.incident_report import IncidentReport
from app.core.policy import Duration, Targets
from app.policy_file.fault import InvalidValue, quoted_excerpt

Zone = NewType("Zone", str)
Login = NewType("Login", str)
Name = NewType("Name", str)
Contact = NewType("Contact", str)
CalendarName = NewType("CalendarName", str)
OwnCalendar = NewType("OwnCalendar", str)
OwnContact = NewType("OwnContact", str)
TeamName = NewType("TeamName", str)
RotationName = NewType("RotationName", str)
RunbookName = NewType("RunbookName", str)
ServiceName = NewType("ServiceName", str)
ClockName = NewType("ClockName", str)
LabelName = NewType("LabelName", str)
Heading = NewType("Heading", str)
ReportField = NewType("ReportField", str)
RepeatInterval = NewType("RepeatInterval", Duration)
Percent = NewType("Percent", int)
Count = NewType("Count", int)
Hours = NewType("Hours", tuple[time, time])
WeekdayRange = NewType("WeekdayRange", frozenset[int])
Weekdays = NewType("Weekdays", frozenset[int])
Elapsed = NewType("Elapsed", Duration)
Turn = NewType("Turn", Duration)
TimeOfDay = NewType("TimeOfDay", time)
Moment = NewType("Moment", datetime)
SUPPORTED_YEARS = range(2000, 2101)
"""The years in which a date of a policy may be.  At the ends of Python's own calendar arithmetic overflows."""
Country = NewType("Country", str)
Region = NewType("Region", str)
Mail = NewType("Mail", str)
Link = NewType("Link", str)
FeedAddress = NewType("FeedAddress", str)
ChannelUrl = NewType("ChannelUrl", str)
Variable = NewType("Variable", str)
RoomName = NewType("RoomName", str)
RoomLink = NewType("RoomLink", str)
MetricReading = NewType("MetricReading", str)
Score = NewType("Score", str)

WEEKDAY_NAMES = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
REPORT_FIELDS = tuple(f.name for f in fields(IncidentReport) if f.name not in ("doubts", "structured"))

LOGIN = re.compile(r"[A-Za-z0-9](?:-?[A-Za-z0-9]){0,38}(?:_[A-Za-z0-9]{1,8})?")
HOURS = re.compile(r"([0-2]?[0-9]):([0-5][0-9])-([0-2]?[0-9]):([0-5][0-9])")
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
NUMBER = re.compile(r"0|[1-9][0-9]{0,5}")
TIME_OF_DAY = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
MOMENT = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})[ T]((?:[01]?[0-9]|2[0-3]):[0-5][0-9])")
MAIL = re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[\w-]{1,63}\.)+[\w-]{2,63}")
HTTPS = re.compile(r"https://[\w.-]{1,253}(?::[0-9]{1,5})?(?:[/?#][^\s<>\"`\\^{|}]*)?")
REPOSITORY_PATH = re.compile(r"[^\s<>\"`\\^{|}:?*/]+(?:/[^\s<>\"`\\^{|}:?*/]+)*")
VARIABLE = re.compile(r"env:[A-Z][A-Z0-9_]{0,63}")
_PLACEHOLDER = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
METRIC_READING = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,3})?(?: ?[^\W\d][\w/]{0,20}| ?%|/[\w/]{1,20})?")
SCORE = re.compile(r"[0-4](?:\.[0-9])?|5(?:\.0)?")
_DURATION_ERROR = re.compile(r"('.*' is [^,:]*)(?:, |: )(.*)", re.DOTALL)


MAX_CANDIDATES = 20
"""How many candidates, those that share the most letters, are compared letter by letter."""


def closest_match(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that was most likely meant, or None."""
    return _closest_match(word[:60].lower(), tuple(candidates))


@lru_cache(maxsize=256)
def _closest_match(word: str, candidates: tuple[str, ...]) -> str | None:
    by_lower = {name.lower(): name for name in candidates}
    if word in by_lower:
        return by_lower[word]
    letters = set(word)
    alike = nlargest(MAX_CANDIDATES, by_lower, key=lambda name: len(letters & set(name)) - len(letters ^ set(name)))
    close = get_close_matches(word, alike, n=1)
    return by_lower[close[0]] if close else None


def unknown_choice(word: str, noun: str, choices: Iterable[str]) -> InvalidValue:
    """Describe a word that is not one of the choices, with the closest of them."""
    choices = tuple(choices)
    closest = closest_match(word, choices)
    hint = f"did you mean {closest}? " if closest else ""
    return InvalidValue(f"{quoted_excerpt(word)} is not {noun}", f"{hint}use one of {', '.join(choices)}")


def parse_duration(text: str) -> Duration:
    """Parse a duration."""
    try:
        return Duration.parse(text)
    except ValueError as error:
        found = _DURATION_ERROR.fullmatch(str(error))
        raise (InvalidValue(found[1], found[2]) if found else InvalidValue(str(error), "such as 15m or 2h")) from None


def parse_repeat_interval(text: str) -> Duration:
    """Parse a duration that is not `0m`, because what repeats needs a pause."""
    length = parse_duration(text)
    if length.is_immediate:
        raise InvalidValue("'0m' would repeat without a pause", "such as 5m")
    return length


def parse_elapsed(text: str) -> Duration:
    """Parse a duration that counts every hour, so no business days."""
    length = parse_repeat_interval(text)
    if length.business_days:
        raise InvalidValue(f"{quoted_excerpt(text)} counts business days", "every hour counts here: such as 72h")
    return length


def parse_turn(text: str) -> Duration:
    """Parse the length of an on-call turn: `weekly`, `two-weekly`, or a duration from an hour."""
    named_turn = NAMED_TURNS.get(text.lower())
    if named_turn is not None:
        return named_turn
    try:
        length = Duration.parse(text)
    except ValueError:
        raise InvalidValue(f"{quoted_excerpt(text)} is not a turn", "such as weekly, two-weekly, 10d or 12h") from None
    if length.business_days:
        raise InvalidValue(
            f"{quoted_excerpt(text)} counts business days", "nights have somebody on call too: such as weekly or 10d"
        )
    if length.seconds < 3600:
        raise InvalidValue(f"{quoted_excerpt(text)} is too short for a turn", "from 1h, such as 12h or weekly")
    return length


def parse_time_of_day(text: str) -> time:
    """Parse a time of day."""
    found = TIME_OF_DAY.fullmatch(text)
    if found is None:
        raise InvalidValue(f"{quoted_excerpt(text)} is not a time of the day", "such as 09:00")
    return time(int(found[1]), int(found[2]))


def parse_moment(text: str) -> datetime:
    """Parse a wall clock time; its zone is that of the record it belongs to."""
    found = MOMENT.fullmatch(text)
    if found is None:
        raise InvalidValue(f"{quoted_excerpt(text)} is not a date with a time", "such as 2026-12-24 18:00")
    return datetime.combine(parse_date(found[1]), parse_time_of_day(found[2]))


def parse_date(text: str) -> date:
    """Parse an ISO date of the years for which times can be worked out in every zone."""
    if not DATE.fullmatch(text):
        raise InvalidValue(f"{quoted_excerpt(text)} is not a date", "such as 2026-12-24")
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise InvalidValue(f"{quoted_excerpt(text)} is not in the calendar", "such as 2026-12-24") from None
    if found.year not in SUPPORTED_YEARS:
        years = f"{SUPPORTED_YEARS.start} and {SUPPORTED_YEARS.stop - 1}"
        raise InvalidValue(f"{quoted_excerpt(text)} is not between {years}", "such as 2026-12-24")
    return found


def parse_hours(text: str) -> tuple[time, time]:
    """Parse opening hours as two wall clock times.

    24:00 is midnight at the end; an earlier second time is on the next day.
    """
    found = HOURS.fullmatch(text)
    if found is None:
        raise InvalidValue(f"{quoted_excerpt(text)} are not hours", "such as 09:00-17:00")
    opens, closes = int(found[1]) * 60 + int(found[2]), int(found[3]) * 60 + int(found[4])
    if opens >= 1440 or closes > 1440:
        raise InvalidValue(
            f"{quoted_excerpt(text)} has a time that no clock shows", "such as 09:00-17:00 or 00:00-24:00"
        )
    if opens == closes:
        raise InvalidValue(
            f"{quoted_excerpt(text)} never opens", "such as 09:00-17:00, or 00:00-24:00 for the whole day"
        )
    return time(*divmod(opens, 60)), time(*divmod(closes % 1440, 60))


def parse_weekdays(text: str) -> frozenset[int]:
    """Parse one weekday or a range, such as `mon` or `mon-fri`; a range may run over the weekend."""
    ends = [part.strip() for part in text.lower().split("-")]
    if not 1 <= len(ends) <= 2 or any(end not in WEEKDAY_NAMES for end in ends):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not a weekday", f"use {', '.join(WEEKDAY_NAMES)} or a range such as mon-fri"
        )
    first, last = WEEKDAY_NAMES.index(ends[0]), WEEKDAY_NAMES.index(ends[-1])
    return frozenset((first + n) % 7 for n in range((last - first) % 7 + 1))


@cache
def _zones_by_name() -> Mapping[str, str]:
    """Return every IANA zone by its name in lower case, and by that of its city alone."""
    names = sorted(available_timezones() - {"localtime", "Factory", "posixrules"})
    cities = {name.rpartition("/")[2].lower(): name for name in names}
    return cities | {name.lower(): name for name in names}


def parse_zone(text: str) -> str:
    """Parse an IANA time zone."""
    zone_name = _zones_by_name().get(text.strip().lower().replace(" ", "_"))
    if zone_name == text:
        return text
    if zone_name is None:
        region = text.partition("/")[0].lower() + "/"
        zone_name = closest_match(
            text,
            [name for name in _zones_by_name().values() if name.lower().startswith(region)]
            or _zones_by_name().values(),
        )
    raise InvalidValue(
        f"{quoted_excerpt(text)} is not an IANA time zone",
        f"did you mean {zone_name}?" if zone_name else "such as Europe/Berlin",
    )


def parse_country(text: str) -> str:
    """Parse an ISO 3166-1 code of a country whose national holidays are known."""
    known = countries()
    if text in known:
        return text
    closest = text.upper() if text.upper() in known else closest_match(text, known)
    hint = f"did you mean {closest}?" if closest else "such as DE or US"
    raise InvalidValue(f"{quoted_excerpt(text)} is not an ISO 3166-1 code of a country whose holidays are known", hint)


@cache
def countries() -> tuple[str, ...]:
    """Return the codes of all countries whose holidays are known."""
    # Slow to import, and needed only for a policy that names a country.
    from holidays.registry import COUNTRIES  # noqa: PLC0415

    return tuple(sorted(code for _, *codes in COUNTRIES.values() for code in codes if len(code) == 2))


@cache
def regions(country: str) -> tuple[str, ...]:
    """Return the subdivisions of a country, one of `countries`, that have holidays of their own."""
    import holidays  # noqa: PLC0415 - slow import, needed only for a policy that names a country

    return tuple(getattr(holidays, country).subdivisions)


def parse_region(text: str) -> str:
    """Parse a subdivision code; once both are read, another check tells whether the country has it."""
    if not re.fullmatch(r"[\w .'-]{1,40}", text):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not an ISO 3166-2 subdivision", "without the country, such as BE"
        )
    return text


def parse_login(text: str) -> str:
    """Parse a GitHub login."""
    if "/" in text:
        raise InvalidValue(
            f"{quoted_excerpt(text)} is a team", "people, not teams, are mentioned: write the logins of its members"
        )
    if text.startswith("@") and LOGIN.fullmatch(text[1:]):
        raise InvalidValue(f"{quoted_excerpt(text)} begins with an @", f"write {text[1:]}")
    if not LOGIN.fullmatch(text):
        raise InvalidValue(f"{quoted_excerpt(text)} is not a GitHub login", "such as mona")
    return text


def parse_name(text: str) -> str:
    """Parse a name: 1 to 50 characters without commas or a leading @."""
    if not 1 <= len(text) <= 50 or text != text.strip() or text[0] == "@" or "," in text:
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not a name", "1 to 50 characters without commas or a leading @, such as on-call"
        )
    return text


def parse_label(text: str) -> str:
    """Parse a GitHub label of up to 50 characters."""
    if not text:
        raise InvalidValue("a label without a name", "1 to 50 characters")
    if len(text) > 50:
        raise InvalidValue(f"{quoted_excerpt(text)} has {len(text)} characters", "GitHub's labels end at 50")
    if "," in text:
        raise InvalidValue(f"{quoted_excerpt(text)} has a comma", "a label's name has none")
    if text != text.strip():
        raise InvalidValue(
            f"{quoted_excerpt(text)} begins or ends with a space", f"write {quoted_excerpt(text.strip())}"
        )
    return text


def parse_line(text: str) -> str:
    """Parse a line of 1 to 200 characters."""
    text = text.strip()
    if not 1 <= len(text) <= 200:
        raise InvalidValue(f"a text of {len(text)} characters", "1 to 200")
    return text


def parse_mail(text: str) -> str:
    """Parse a mail address."""
    if len(text) > 254 or not MAIL.fullmatch(text):
        raise InvalidValue(f"{quoted_excerpt(text)} is not a mail address", "such as mona@example.com")
    return text


def parse_link(text: str) -> str:
    """Parse a link: an https address, or a path in the repository that cannot lead out of it."""
    if text.lower().startswith("https://"):
        return parse_https_address(text)
    if not is_repository_path(text):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is no link",
            "write an https address, or a path in the repository such as docs/runbook.md",
        )
    return text


def parse_feed(text: str) -> str:
    """Parse the location of a calendar feed."""
    if text.lower().startswith("https://"):
        return parse_https_address(text)
    if VARIABLE.fullmatch(text) or (is_repository_path(text) and text.endswith(".ics")):
        return text
    raise InvalidValue(
        f"{quoted_excerpt(text)} is no feed",
        "write an https address, env:FEED_NAME, or a path in the repository such as on-call.ics",
    )


def parse_channel_url(text: str) -> str:
    """Parse the URL of a channel: a public https address, or `env:CHANNEL_NAME`."""
    if VARIABLE.fullmatch(text):
        return text
    if not text.lower().startswith("https://"):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not where a message can go", "write an https address, or env:CHANNEL_NAME"
        )
    return _require_public_host(parse_https_address(text))


def _require_public_host(text: str) -> str:
    """Reject an address whose host is visibly not public.

    The name itself is looked up again each time something is sent.
    """
    from app import safe_http  # noqa: PLC0415 - slow import, needed only for a policy with a channel

    try:
        host = safe_http.parse_address(text).host
    except ValueError as problem:
        raise InvalidValue(str(problem), "such as https://hooks.example.com/muster, or env:CHANNEL_NAME") from None
    if host == "localhost" or (safe_http.is_ip(host) and not safe_http.is_public_ip(host)):
        raise InvalidValue(
            f"{quoted_excerpt(host)} is not on the public Internet", "such as https://hooks.example.com/muster"
        )
    return text


def parse_variable(text: str) -> str:
    """Parse the name of an environment variable, never its value: many people can read the file."""
    if not VARIABLE.fullmatch(text):
        raise InvalidValue(
            "a secret stands here",
            "never write it into the file: env:CHANNEL_NAME_SECRET, such as env:CHANNEL_OPS_SECRET",
        )
    return text


def parse_https_address(text: str) -> str:
    """Parse an https address."""
    if len(text) > 500 or not HTTPS.fullmatch(text):
        raise InvalidValue(f"{quoted_excerpt(text)} is not an https address", "such as https://example.com/page")
    return text


def is_repository_path(text: str) -> bool:
    """Return whether the text is a path inside the repository, from its root."""
    parts = text.split("/")
    return len(text) <= 200 and bool(REPOSITORY_PATH.fullmatch(text)) and "." not in parts and ".." not in parts


def parse_room_name(text: str) -> str:
    """Parse the naming convention of a war room."""
    return _check_placeholders(parse_line(text), ("id", "number", "service"))


def parse_room_link(text: str) -> str:
    """Parse an https address with placeholders, none of which can change its host."""
    _check_placeholders(text, ROOM_PLACEHOLDERS)
    if _PLACEHOLDER.search(text.removeprefix("https://").partition("/")[0]):
        raise InvalidValue(
            f"{quoted_excerpt(text)} has a blank in the name of its host", "such as https://meet.example.com/{{ room }}"
        )
    if not HTTPS.fullmatch(_PLACEHOLDER.sub("x", text)):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not an https address", "such as https://meet.example.com/{{ room }}"
        )
    return text


def _check_placeholders(text: str, allowed: tuple[str, ...]) -> str:
    """Return the text if each placeholder in it is allowed."""
    for placeholder in _PLACEHOLDER.findall(text):
        if placeholder.strip() not in allowed:
            raise unknown_choice(placeholder.strip(), "filled in here", allowed)
    return text


def parse_metric_reading(text: str) -> str:
    """Parse a reading of monitoring: a number with its unit."""
    if not METRIC_READING.fullmatch(text):
        raise InvalidValue(
            f"{quoted_excerpt(text)} is not a reading", "a number with its unit, such as 5 s, 90 % or 100/min"
        )
    return text


def parse_score(text: str) -> str:
    """Parse a score from 0.0 to 5.0."""
    if not SCORE.fullmatch(text):
        raise InvalidValue(f"{quoted_excerpt(text)} is not a score", "from 0.0 to 5.0, such as 4.0")
    return text


def parse_clock_name(text: str) -> str:
    """Parse the name of a clock."""
    if text not in CLOCK_NAMES:
        raise unknown_choice(text, "a clock", CLOCK_NAMES)
    return text


def parse_report_field(text: str) -> str:
    """Parse the key of a report field into the field's name."""
    attribute = {"type": "kind"}.get(text, text.replace("-", "_"))
    if attribute not in REPORT_FIELDS:
        raise unknown_choice(text, "a field of a report", map(report_field_key, REPORT_FIELDS))
    return attribute


def report_field_key(name: str) -> str:
    """Return the key of a report field in the file."""
    return "type" if name == "kind" else name.replace("_", "-")


def parse_percent(text: str) -> int:
    """Parse a percentage from 1 to 100."""
    value = parse_count(text)
    if value > 100:
        raise InvalidValue(f"{quoted_excerpt(text)} is more than the whole target", "1 to 100")
    return value


def parse_count(text: str) -> int:
    """Parse a whole number from 1."""
    if not NUMBER.fullmatch(text) or int(text) < 1:
        raise InvalidValue(f"{quoted_excerpt(text)} is not a number from 1", "such as 2")
    return int(text)


def parse_enum_member(kind: type[Enum], text: str) -> Enum:
    """Parse an enumeration's member by its value, in any case."""
    for candidate in kind:
        if text.lower() == candidate.value:
            return candidate
    raise unknown_choice(text, ENUM_NOUNS.get(kind.__name__, "known here"), (candidate.value for candidate in kind))


DAY_SECONDS = 86400
NAMED_TURNS = {"weekly": Duration(seconds=7 * DAY_SECONDS), "two-weekly": Duration(seconds=14 * DAY_SECONDS)}
CLOCK_NAMES = tuple(f.name for f in fields(Targets))
ROOM_PLACEHOLDERS = ("id", "number", "service", "room")

ENUM_NOUNS = {
    "Scale": "a scale",
    "Until": "an end of a step",
    "Level": "a level",
    "Kind": "a type of incident",
    "Exposure": "an answer here",
    "Via": "a kind of channel",
    "ChannelKind": "a kind of receiver",
    "Since": "a beginning of that clock",
}
"""What an enumeration's members are called in errors, by the name of its class."""

PARSERS: Mapping[Any, Callable[[str], Any]] = {
    str: parse_line,
    Duration: parse_duration,
    date: parse_date,
    Zone: parse_zone,
    Login: parse_login,
    Name: parse_name,
    Contact: parse_name,
    CalendarName: parse_name,
    OwnCalendar: parse_name,
    OwnContact: parse_name,
    TeamName: parse_name,
    RotationName: parse_name,
    RunbookName: parse_name,
    ServiceName: parse_name,
    ClockName: parse_clock_name,
    LabelName: parse_label,
    Heading: parse_line,
    ReportField: parse_report_field,
    RepeatInterval: parse_repeat_interval,
    Percent: parse_percent,
    Count: parse_count,
    Hours: parse_hours,
    WeekdayRange: parse_weekdays,
    Elapsed: parse_elapsed,
    Turn: parse_turn,
    TimeOfDay: parse_time_of_day,
    Moment: parse_moment,
    Country: parse_country,
    Region: parse_region,
    Mail: parse_mail,
    Link: parse_link,
    FeedAddress: parse_feed,
    ChannelUrl: parse_channel_url,
    Variable: parse_variable,
    RoomName: parse_room_name,
    RoomLink: parse_room_link,
    MetricReading: parse_metric_reading,
    Score: parse_score,
}
"""The parser of each kind of word."""
