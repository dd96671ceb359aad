"""Find the working hours in which people may be asked what can wait until morning."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time

from app.core.calendar import next_opening
from app.core.policy import BUSINESS, Calendar, Policy

_OPENS, _CLOSES = time(9), time(17)


def next_daylight(policy: Policy, at: datetime) -> datetime:
    """Return `at` itself in working hours, otherwise when they begin next: from 9 to 17 on a working day.

    Working days and zone are those of the calendar `business`, or the policy's zone where that calendar names none.
    `at` itself is returned where the calendar never opens.
    """
    try:
        return next_opening(policy.compute_once("daylight_calendar", lambda: _build_daylight_calendar(policy)), at)
    except ValueError:
        return at


def _build_daylight_calendar(policy: Policy) -> Calendar:
    business = policy.calendars.get(BUSINESS, Calendar())
    zone = policy.zone if business.zone == Calendar().zone else business.zone
    return replace(business, zone=zone, opens=_OPENS, closes=_CLOSES)
