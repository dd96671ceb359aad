"""On-call feeds: parses untrusted iCalendar files into shifts of people."""

from app.feeds.ical import LARGEST, FeedFault, Occurrence, as_json, from_json, occurrences
from app.feeds.people import Meant, meant

__all__ = ["LARGEST", "FeedFault", "Meant", "Occurrence", "as_json", "from_json", "meant", "occurrences"]
