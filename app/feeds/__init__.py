"""Parse untrusted iCalendar files into shifts of people."""

from app.feeds.ical import (
    MAX_FEED_BYTES,
    FeedFault,
    Occurrence,
    occurrences_from_json,
    occurrences_to_json,
    read_occurrences,
)
from app.feeds.people import MatchedShifts, match_people

__all__ = [
    "MAX_FEED_BYTES",
    "FeedFault",
    "MatchedShifts",
    "Occurrence",
    "match_people",
    "occurrences_from_json",
    "occurrences_to_json",
    "read_occurrences",
]
