"""On-call feeds: what an iCalendar says about who is on call when, whoever wrote it and whatever it holds."""

from app.feeds.ical import LARGEST, FeedFault, Occurrence, as_json, from_json, occurrences
from app.feeds.people import Meant, meant

__all__ = ["LARGEST", "FeedFault", "Meant", "Occurrence", "as_json", "from_json", "meant", "occurrences"]
