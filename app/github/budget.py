"""What is left of the calls that GitHub allows each installation in an hour."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime


class Budgets:
    """Read from the answers as they come; nothing is asked for it."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[float, datetime]] = {}

    def saw(self, installation: int, headers: Mapping[str, str]) -> None:
        """Remember what an answer said; one that says nothing changes nothing."""
        limit, left, reset = (headers.get(f"x-ratelimit-{name}", "") for name in ("limit", "remaining", "reset"))
        if limit.isdigit() and left.isdigit() and reset.isdigit() and int(limit) and len(reset) < 12:
            self._known[installation] = (int(left) / int(limit), datetime.fromtimestamp(int(reset), UTC))

    def left(self, now: datetime) -> dict[int, float]:
        """The part that is left, from 0 to 1, by installation; one whose hour is over is not known."""
        return {installation: part for installation, (part, reset) in self._known.copy().items() if now < reset}
