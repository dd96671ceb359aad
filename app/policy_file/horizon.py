"""Check that targets stay inside the calendar horizon."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

from app.core.policy import BUSINESS, TEAM, Calendar, Duration, Policy, Target
from app.core.severity import Scale, Severity
from app.policy_file.fault import InvalidValue
from app.policy_file.value_parsers import CLOCK_NAMES

MAX_TARGET_PERIOD = timedelta(days=3650)
"""The longest a target may take when only the open hours of a calendar count."""


def find_excessive_targets(policy: Policy, scale: Scale) -> Iterator[tuple[str, str, InvalidValue]]:
    """Yield targets beyond the horizon, each with its path and that of the calendar.

    A target that takes decades of a short working week is a slip of the pen.
    """
    for where, target in _targets(policy, scale):
        calendar_name = target.calendar
        if calendar_name is None or target.within.business_days:
            continue
        teams = {team.calendar for team in policy.teams.values() if team.calendar}
        for name in sorted({BUSINESS, *teams}) if calendar_name == TEAM else (calendar_name,):
            if _approximate_period(policy.calendars[name], target.within) > MAX_TARGET_PERIOD:
                error = InvalidValue(f"{target.within} of the open hours of {name} take over ten years", "such as 4h")
                yield where, f"calendars.{name}", error
                break


def _targets(policy: Policy, scale: Scale) -> Iterator[tuple[str, Target]]:
    """Yield every target of the policy and of its overrides, with its path."""
    for severity, targets in policy.targets.items():
        yield from _targets_of_clocks(
            "severities", severity, {name: getattr(targets, name) for name in CLOCK_NAMES}, scale
        )
    for n, override in enumerate(policy.overrides):
        for severity, clocks in override.targets.items():
            yield from _targets_of_clocks(f"overrides[{n}].severities", severity, clocks, scale)


def _targets_of_clocks(
    where: str, severity: Severity, clocks: Mapping[str, Target | None], scale: Scale
) -> Iterator[tuple[str, Target]]:
    for clock, target in clocks.items():
        if target is not None:
            yield f"{where}.{severity.inline_name(scale)}.{clock}", target


def _approximate_period(calendar: Calendar, within: Duration) -> timedelta:
    """Return about how long `within` takes on that calendar."""
    opens, closes = (timedelta(hours=t.hour, minutes=t.minute) for t in (calendar.opens, calendar.closes))
    daily_hours = closes - opens if opens < closes else closes - opens + timedelta(days=1)
    return timedelta(days=7) * (within.as_timedelta / (daily_hours * len(calendar.days)))
