"""The record of an incident: who did what and when (D8)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Entry:
    """One row.  `by` empty: Muster itself.  `key` names the event it comes from, `url` is where that can be seen.

    `text` may hold what people wrote, so it is data in every sink.
    """

    at: datetime
    by: str
    text: str
    key: str
    url: str = ""
