"""Parse times as people write them: `30 minutes ago`, `yesterday 14:05 CET`, `14.03.2026 02:10`."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field
from datetime import UTC, datetime, time, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from dateutil import parser as dates

from app.github.intake.time_words import ENGLISH_MONTHS, RELATIVE_TIME, normalize_words, split_relative_day
from app.github.intake.wording import MONTH_FIRST_ZONES, NOW_WORDS, ZONE_OFFSET_SECONDS

MAX_CLOCK_SKEW = timedelta(minutes=5)
"""How far a reporter's clock may be ahead of ours."""


class NotATime(Exception):
    """The text is no readable time.

    The message is the rest of a sentence that begins with the quoted text.
    """


_UNREADABLE_TIME = "is not a time I can read. What works: 2026-03-14 14:05 UTC, or 30 minutes ago"

_RELATIVE_AMOUNT = re.compile(
    r"(?:vor |il y a |hace |há )?"
    r"(?P<n>[0-9]{1,4}(?:\.[0-9]{1,2})?|an?|one|half an|a couple of|einer|einem|une|un|una|um|uma) ?"
    r"(?P<unit>seconds?|secs?|s|minutes?|minuten?|minutos?|minuti|minuut|minut|mins?|m"
    r"|hours?|hrs?|h|stunden?|heures?|horas?|ore|ora|uur|godzin[aęy]?"
    r"|days?|d|tage?n?|jours?|días?|dias?|giorni|dagen|dni|秒|分|分钟|時間|小时|日|天)"
    r"(?![a-zà-ÿ])(?: ago|前| geleden| fa| temu| atrás)?"
)
_WEEKDAY = re.compile(r"(?:mon|tues?|wed(?:nes)?|thu(?:rs)?|fri|satu?r?|sun)(?:day)?\b")
_DATE = re.compile(rf"[0-9][-/.][0-9]|\b(?:{'|'.join(ENGLISH_MONTHS)})")


@dataclass(frozen=True, slots=True)
class TimeParser:
    """Parses what people write for a time.

    `opened_at` is in UTC; `zone` applies to times without a zone of their own.
    """

    opened_at: datetime
    zone: str
    day_first: bool = False
    default_zone: tzinfo = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "default_zone", _load_zone(self.zone) or UTC)

    def parse(self, text: str) -> datetime:
        """Parse the text into a time in UTC.  Raises NotATime."""
        words = normalize_words(text)
        if words in NOW_WORDS:
            return self.opened_at
        if RELATIVE_TIME.search(words):
            return self._parse_relative(words)
        words, zone = self._extract_zone(words)
        words, days_back = split_relative_day(words)
        words = " ".join(re.sub(r" (?:at|um|à|às|a las|alle|om|o|,) ", " ", f" {words} ").split()).strip(" ,")
        return self._parse_absolute(words, zone, days_back)

    def _parse_relative(self, words: str) -> datetime:
        words = re.sub(r"^half an hour ago$", "30 minutes ago", words)
        total = 0.0
        rest = words
        while rest:
            found = _RELATIVE_AMOUNT.match(rest)
            if not found:
                raise NotATime(_UNREADABLE_TIME)
            total += _amount(found["n"]) * _unit_seconds(found["unit"])
            rest = re.sub(r"^[\s,]*(?:and |und |et |y |e )?", "", rest[found.end() :])
        if total > 366 * 86400:
            raise NotATime("is longer ago than a year. Is that right?")
        return self.opened_at - timedelta(seconds=total)

    def _extract_zone(self, words: str) -> tuple[str, tzinfo | None]:
        """Return the words without the zone they name, such as `Europe/Berlin` or `CET`, and that zone."""
        found = re.search(r"\(?\b([a-z]{2,20}/[a-z_]{2,30}(?:/[a-z_]{2,30})?)\)?", words)
        if found:
            zone = _load_zone("/".join(part.upper() if part == "utc" else part.title() for part in found[1].split("/")))
            if zone is None:
                raise NotATime("names a time zone I do not know. What works: 2026-03-14 14:05 UTC, or Europe/Berlin")
            return words.replace(found[0], " "), zone
        known = self._zone_offsets()
        for found in re.finditer(r"(?<![^\W\d])\(?([a-z]{2,5})\)?(?![^\W\d])", words):
            if found[1] in known and found.start() > 0:
                zone = timezone(timedelta(seconds=known[found[1]]))
                return words[: found.start()] + " " + words[found.end() :], zone
        return words, None

    def _parse_absolute(self, words: str, zone: tzinfo | None, days_back: int | None) -> datetime:
        local = self.opened_at.astimezone(zone or self.default_zone)
        day = local.date() - timedelta(days=days_back or 0)
        weekday = days_back is None and _WEEKDAY.match(words) is not None and not _DATE.search(words)
        if weekday:
            day = local.date() - timedelta(days=6)
        midnight = datetime.combine(day, time())
        parsed = self._parse_with_default(words, midnight)
        reparsed = self._parse_with_default(words, midnight - timedelta(days=27, hours=25))
        if parsed.time() != reparsed.time():
            raise NotATime("has no time of day, such as 14:05 UTC")
        has_no_date = parsed.date() != reparsed.date()
        has_no_year = has_no_date and (parsed.month, parsed.day) == (reparsed.month, reparsed.day)
        at = self._to_utc(parsed, zone)
        if has_no_date and days_back is None and not weekday and at > self.opened_at + MAX_CLOCK_SKEW:
            earlier = self._to_utc(
                parsed.replace(year=parsed.year - 1) if has_no_year else parsed - timedelta(days=1), zone
            )
            at = earlier if has_no_year or self.opened_at - earlier <= timedelta(hours=12) else at
        if at < self.opened_at - timedelta(days=3660):
            raise NotATime("is more than ten years ago. Is that right?")
        return at

    def _parse_with_default(self, words: str, default: datetime) -> datetime:
        day_first = self._is_day_first(words)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                return dates.parse(words, default=default, dayfirst=day_first)
            except (ValueError, OverflowError, TypeError, AttributeError, Warning) as fault:
                raise NotATime(_UNREADABLE_TIME) from fault

    def _zone_offsets(self) -> dict[str, int]:
        """Map zone abbreviations to seconds east of UTC.

        The team's own zone has precedence: CST is Chicago or Shanghai.
        """
        known = dict(ZONE_OFFSET_SECONDS)
        for month in (1, 7):
            moment = datetime(self.opened_at.year, month, 1, tzinfo=UTC).astimezone(self.default_zone)
            name, offset = moment.tzname(), moment.utcoffset()
            if name and name.isalpha() and offset is not None:
                known[name.lower()] = int(offset.total_seconds())
        return known

    def _is_day_first(self, words: str) -> bool:
        found = re.search(r"(?<![0-9])([0-9]{1,2})([./-])([0-9]{1,2})\2[0-9]{2,4}(?![0-9])", words)
        if not found or found[2] == ".":
            return found is not None
        one, two = int(found[1]), int(found[3])
        if one > 12 or two > 12 or one == two:
            return one > 12
        if self.day_first or (
            self.zone not in MONTH_FIRST_ZONES and "/" in self.zone and not self.zone.startswith("Etc/")
        ):
            return True
        if self.zone in MONTH_FIRST_ZONES:
            return False
        is_recent = []
        for first in (True, False):
            month, day = (two, one) if first else (one, two)
            days = (self.opened_at.date() - self.opened_at.date().replace(month=month, day=min(day, 28))).days
            is_recent.append(-1 <= days <= 7)
        if is_recent[0] == is_recent[1]:
            raise NotATime("may mean two days. What works: 2026-03-14 14:05 UTC")
        return is_recent[0]

    def _to_utc(self, moment: datetime, zone: tzinfo | None) -> datetime:
        try:
            return (
                moment if moment.tzinfo and zone is None else moment.replace(tzinfo=zone or self.default_zone)
            ).astimezone(UTC)
        except (OverflowError, ValueError) as fault:
            raise NotATime(_UNREADABLE_TIME) from fault


def _amount(word: str) -> float:
    if word == "half an":
        return 0.5
    return float(word) if word[0].isdigit() else 2.0 if word == "a couple of" else 1.0


def _unit_seconds(word: str) -> int:
    if word.startswith(("s", "秒")) and not word.startswith("stund"):
        return 1
    if word.startswith(("h", "stund", "or", "uur", "godzin", "時", "小")):
        return 3600
    return 86400 if word.startswith(("d", "t", "j", "g", "日", "天")) else 60


def _load_zone(name: str) -> tzinfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
