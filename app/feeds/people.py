"""Map calendar events to people and their shifts."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from app.core.calendar import wall_to_utc
from app.core.policy import Person, Shift
from app.feeds.ical import Occurrence

_WORD_PATTERN = re.compile(r"[\w@.+-]+")
_EDGE_CHARS = "@.+-_"
_MENTION_PATTERN = re.compile(r"@([A-Za-z0-9](?:-?[A-Za-z0-9]){0,38})")
_SECONDARY_WORDS = frozenset({"secondary", "backup"})
"""Words in a summary that mark a secondary shift."""
_MAX_SUMMARY_CHARS = 200
"""Length of a summary in which people are searched."""


@dataclass(frozen=True, slots=True)
class MatchedShifts:
    """The shifts of a feed; `unmatched` are the summaries of events that match no person of the policy, each once."""

    shifts: tuple[Shift, ...]
    unmatched: tuple[str, ...]


def match_people(
    occurrences: Iterable[Occurrence], people: Mapping[str, Person], zone: str, since: datetime
) -> MatchedShifts:
    """Map events to shifts; wall clock times are those of `zone`.

    A person matches by the mail of an attendee, or else by the summary: their login, with or without @, their name
    or mail, as whole words in any case, the longest first.  A login that the policy does not know matches only
    where it is the whole summary, with its @: an event called "Holiday" pages no one.  Unmatched events that ended
    before `since` are not reported.
    """
    calls = _PeopleIndex(people)
    shifts: set[Shift] = set()
    unknown: dict[str, None] = {}
    for one in occurrences:
        begins, ends = _to_utc(one.since, zone), _to_utc(one.until, zone)
        logins, rank = calls.find_logins(one)
        if not logins and ends >= since:
            unknown[one.summary] = None
        if begins < ends:
            shifts.update(Shift(begins, ends, rank + place, login) for place, login in enumerate(logins))
    return MatchedShifts(tuple(sorted(shifts)), tuple(unknown))


class _PeopleIndex:
    """An index of the names of people, word by word, so that a summary is matched in one pass."""

    def __init__(self, people: Mapping[str, Person]) -> None:
        self._mails = {person.mail.casefold(): login for login, person in people.items() if person.mail}
        self._logins_by_name: dict[tuple[str, ...], str] = {}
        for login, person in people.items():
            for name in (person.name, person.mail, login):
                if words := _split_words(name):
                    self._logins_by_name[words] = login
        self._lengths = sorted({len(words) for words in self._logins_by_name})
        self._matches: dict[str, tuple[tuple[str, ...], int]] = {}

    def find_logins(self, occurrence: Occurrence) -> tuple[tuple[str, ...], int]:
        """Find the logins that an event refers to, and the rank of the first of them."""
        invited = tuple(
            dict.fromkeys(
                self._mails[mail.strip().casefold()]
                for mail in occurrence.mails
                if mail.strip().casefold() in self._mails
            )
        )
        if occurrence.summary not in self._matches:
            self._matches[occurrence.summary] = self._match_summary(occurrence.summary)
        logins, rank = self._matches[occurrence.summary]
        return invited or logins, rank

    def _match_summary(self, summary: str) -> tuple[tuple[str, ...], int]:
        words = _split_words(summary[:_MAX_SUMMARY_CHARS])
        rank = 1 if _SECONDARY_WORDS.intersection(words) else 0
        named = [
            name
            for place in range(len(words))
            for length in self._lengths
            if (name := words[place : place + length]) in self._logins_by_name
        ]
        if named:
            return (self._logins_by_name[max(named, key=_joined_length)],), rank
        alone = _MENTION_PATTERN.fullmatch(summary.strip())
        return ((alone[1],) if alone else ()), rank


def _split_words(text: str) -> tuple[str, ...]:
    """Split a text into case-folded words, without surrounding characters such as @ or brackets."""
    return tuple(
        filter(
            None,
            (word.strip(_EDGE_CHARS) for word in _WORD_PATTERN.findall(unicodedata.normalize("NFC", text).casefold())),
        )
    )


def _joined_length(words: tuple[str, ...]) -> int:
    return len(" ".join(words))


def _to_utc(moment: datetime, zone: str) -> datetime:
    return moment.astimezone(UTC) if moment.tzinfo else wall_to_utc(moment, zone)
