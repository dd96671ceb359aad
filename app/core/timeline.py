"""The timeline of an incident: who did what and when (D8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum


class EntryKind(Enum):
    """The kind of a timeline entry."""

    REPORTED = "reported"
    EDITED = "edited"
    GRADED = "graded"
    ACKNOWLEDGED = "acknowledged"
    STATUS_CHANGED = "moved"
    UPDATED = "updated"
    PAGED = "paged"
    ESCALATED = "escalated"
    MISSED = "missed"
    CLOSED = "closed"
    REOPENED = "reopened"
    AVAILABILITY = "left"
    POSTMORTEM = "postmortem"


@dataclass(frozen=True, slots=True)
class Entry:
    """One timeline entry.  An empty `by` means Muster itself.

    `key` names the event it comes from, `url` is where that can be seen.  `text` is what was done, in our words;
    `detail` is the text of the person who did it, or the reason.  Both may contain user input: untrusted data.
    """

    at: datetime
    by: str
    kind: EntryKind
    text: str
    key: str
    url: str = ""
    detail: str = ""

    @property
    def sentence(self) -> str:
        """The text and the detail as one sentence."""
        return f"{self.text}: {self.detail}" if self.detail else self.text
