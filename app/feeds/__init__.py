"""On-call feeds: parses untrusted iCalendar files into shifts of people."""

from app.feeds.ical import MAX_FEED_BYTES, FeedFault, Occurrence, as_json, from_json, occurrences
from app.feeds.people import Meant, meant

__all__ = ["MAX_FEED_BYTES", "FeedFault", "Meant", "Occurrence", "as_json", "from_json", "meant", "occurrences"]
