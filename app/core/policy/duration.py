"""Durations as a policy writes them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache

_DURATION = re.compile(r"([1-9][0-9]{0,4})(s|m|h|d|w|bd)")
_UNIT_NAMES = {"s": "second", "m": "minute", "h": "hour", "d": "day", "bd": "business day"}
_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}


@lru_cache(maxsize=1024)
def _cached_timedelta(seconds: int) -> timedelta:
    return timedelta(seconds=seconds)


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time as a policy writes it: `15m`, `4h`, `3d`, or business days `1bd`.

    `d` is 24 elapsed hours; `bd` is a day of a calendar and has no length of its own. Exactly one field is not zero,
    except for `0m`, which means "at once".
    """

    seconds: int = 0
    business_days: int = 0

    @classmethod
    def parse(cls, text: str) -> Duration:
        """Parse a duration of 60 s to 365 d, or `0m` (M23).

        Raises ValueError, with what would have worked.
        """
        if text == "0m":
            return cls()
        found = _DURATION.fullmatch(text)
        if found is None:
            raise ValueError(f"'{text[:40]}' is not a duration, such as 15m, 4h, 3d or 1bd")
        amount, unit = int(found[1]), found[2]
        if unit == "bd":
            if amount > 365:
                raise ValueError(f"'{text}' is too long: at most 365bd")
            return cls(business_days=amount)
        seconds = amount * _UNIT_SECONDS[unit]
        if not 60 <= seconds <= 365 * 86400:
            raise ValueError(f"'{text}' is out of range: from 1m to 365d, or 0m for at once")
        return cls(seconds=seconds)

    @property
    def as_timedelta(self) -> timedelta:
        """The elapsed length; zero for business days."""
        return _cached_timedelta(self.seconds)

    @property
    def is_immediate(self) -> bool:
        """Whether it is `0m`, which means "at once"."""
        return not self.seconds and not self.business_days

    @property
    def in_words(self) -> str:
        """The duration in words: `5 minutes`, `1 hour`, `2 business days`."""
        if self.is_immediate:
            return "at once"
        text = str(self)
        amount = text.rstrip("smhdb")
        unit = _UNIT_NAMES[text.removeprefix(amount)]
        return f"{amount} {unit}" if amount == "1" else f"{amount} {unit}s"

    def __str__(self) -> str:
        if self.business_days:
            return f"{self.business_days}bd"
        for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
            if self.seconds and self.seconds % size == 0:
                return f"{self.seconds // size}{unit}"
        return f"{self.seconds}s" if self.seconds else "0m"
