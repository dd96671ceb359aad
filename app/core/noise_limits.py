"""Rate limits for our own comments, labels and notifications of unconfirmed reports.

The limits are far below GitHub's: two bots answering each other have stayed below those for half a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.effects import Effect, Escalate, Page, ShowBoard, ShowDigest
from app.core.events import RESPONDER
from app.core.incident import Incident

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

_MAX_COMMENTS_PER_WINDOW = ((HOUR, 10), (DAY, 30))
"""The most comments of ours on one issue in each window, of any kind (reliability, row 11)."""
_MAX_ORDINARY_COMMENTS_PER_WINDOW = ((HOUR, 9), (DAY, 27))
"""The most comments in each window that are not urgent; the remainder is reserved for urgent ones."""
_SPACED_FROM_COMMENTS_PER_DAY, _SPACING_INTERVAL = 12, timedelta(minutes=90)
"""The interval between ordinary comments, once there are that many in a day.

So the daily limit lasts until the day is over.
"""

_MAX_LABEL_WRITES_PER_WINDOW = ((MINUTE, 6),)
"""How often the same labels are restored on one issue in each window, however often they are removed (M29)."""

UNCONFIRMED_PERIOD = timedelta(minutes=10)
_MAX_UNCONFIRMED_NOTIFICATIONS = 3
"""The most comments in `UNCONFIRMED_PERIOD` that notify people of unconfirmed incidents of one repository (M30)."""


@dataclass(frozen=True, slots=True)
class UnconfirmedReport:
    """An incident reported without rights that waits to notify people; `notified_at` is when it last did."""

    number: int
    login: str
    notified_at: datetime | None = None


def is_urgent(effects: Sequence[Effect]) -> bool:
    """Return True if the effects may use the reserved part of the limit.

    Urgent are the first page, an escalation, and what shows the current state.
    """
    return any(
        isinstance(each, Escalate | ShowBoard | ShowDigest) or (isinstance(each, Page) and each.attempt == 1)
        for each in effects
    )


def next_comment_at(comment_times: Sequence[datetime], now: datetime, *, urgent: bool) -> datetime:
    """Return when the next comment may be posted on an issue; `now`: at once.

    `comment_times` are those of the last day.
    """
    times = sorted(comment_times)
    next_time = _next_free_time(times, now, _MAX_COMMENTS_PER_WINDOW if urgent else _MAX_ORDINARY_COMMENTS_PER_WINDOW)
    last_day = [at for at in times if at > now - DAY]
    if not urgent and len(last_day) >= _SPACED_FROM_COMMENTS_PER_DAY:
        next_time = max(next_time, last_day[-1] + _SPACING_INTERVAL)
    return next_time


def next_label_write_at(write_times: Sequence[datetime], now: datetime) -> datetime:
    """Return when the same labels may be restored again on an issue; `now`: at once."""
    return _next_free_time(sorted(write_times), now, _MAX_LABEL_WRITES_PER_WINDOW)


def is_confirmed(incident: Incident) -> bool:
    """Return True if a person who may command the incident has used a command or a label on it.

    It is judged by the role that GitHub reported at that time.
    """
    return any(known.role >= RESPONDER for known in incident.role_history)


def next_notification_at(number: int, login: str, recent: Sequence[UnconfirmedReport], now: datetime) -> datetime:
    """Return when an unconfirmed incident may notify people; `now`: at once.

    `recent` are all incidents of its repository that notified, or tried to, in the last `UNCONFIRMED_PERIOD`, or are
    still on hold.  A few reports, each by another person, are not delayed.
    """
    reports = {asking.number: asking for asking in recent}
    reports.setdefault(number, UnconfirmedReport(number, login))
    own = [asking for asking in reports.values() if asking.login == login]
    next_time = now
    if len(own) > 1:
        next_time = max(next_time, _next_free_time(_notified_times(own), now, ((UNCONFIRMED_PERIOD, 1),)))
    if len(reports) > _MAX_UNCONFIRMED_NOTIFICATIONS:
        next_time = max(
            next_time,
            _next_free_time(
                _notified_times(reports.values()), now, ((UNCONFIRMED_PERIOD, _MAX_UNCONFIRMED_NOTIFICATIONS),)
            ),
        )
    return next_time


def _notified_times(reports: Iterable[UnconfirmedReport]) -> list[datetime]:
    return sorted(each.notified_at for each in reports if each.notified_at is not None)


def _next_free_time(times: Sequence[datetime], now: datetime, limits: tuple[tuple[timedelta, int], ...]) -> datetime:
    """Return the first time from `now` on at which one more stays within the limit of every window."""
    next_time = now
    for span, most in limits:
        if len(times) >= most:
            next_time = max(next_time, times[-most] + span)
    return next_time
