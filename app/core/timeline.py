"""The record of an incident: who did what and when (D8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class Deed(Enum):
    """What kind of thing a row records."""

    REPORTED = "reported"
    EDITED = "edited"
    GRADED = "graded"
    ACKNOWLEDGED = "acknowledged"
    MOVED = "moved"
    UPDATED = "updated"
    PAGED = "paged"
    ESCALATED = "escalated"
    MISSED = "missed"
    CLOSED = "closed"
    REOPENED = "reopened"
    LEFT = "left"
    POSTMORTEM = "postmortem"


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.  `by` empty: Muster itself.  `key` names the event it comes from, `url` is where that can be seen.

    `text` is what was done, in our words; `words` are those of whoever did it, or the reason.  Both may hold what
    people wrote, so they are data in every sink.
    """

    at: datetime
    by: str
    deed: Deed
    text: str
    key: str
    url: str = ""
    words: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.text}: {self.words}" if self.words else self.text
