"""Rate limits for our own comments, labels and notifications of unconfirmed reports.

The limits are far below GitHub's: two bots answering each other have stayed below those for half a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from app.core.effects import Effect, Escalate, Page, ShowBoard, ShowDigest
from app.core.events import RESPONDER
from app.core.incident import Incident

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)


class CommentBudget(StrEnum):
    """The budget that a comment of ours uses: each issue has one of each, and none takes the place of another.

    Urgent are pages, escalations, requests for updates and what shows the current state.  The answers to people
    without rights have a budget of their own, so that no number of them holds back anything else.
    """

    URGENT = "urgent"
    ORDINARY = "ordinary"
    OUTSIDERS = "outsiders"


@dataclass(frozen=True, slots=True)
class PostedComment:
    """A comment of ours: when it was posted, and the budget it used."""

    at: datetime
    budget: CommentBudget


_MAX_COMMENTS_PER_WINDOW = {
    CommentBudget.URGENT: ((HOUR, 10),),
    CommentBudget.ORDINARY: ((HOUR, 10), (DAY, 30)),
    CommentBudget.OUTSIDERS: ((HOUR, 3), (DAY, 6)),
}
"""The most comments of each budget on one issue in each window (reliability, row 11)."""
_MAX_REPEATED_COMMENTS_PER_WINDOW = ((HOUR, 9),)
"""The most urgent comments that only repeat a page or a request; the remainder is reserved for escalations."""
_URGENT_KEYS = ("board", "digest/", "escalate/", "raised/", "update/", "audience/", "postmortem/overdue")
"""The beginnings of the keys of urgent effects.  Keys are all that the markers of our comments hold."""
_OUTSIDER_REPLY_KEYS = ("reply/rights/",)
"""The beginnings of the keys of answers to people without rights."""

_MAX_LABEL_WRITES_PER_WINDOW = ((MINUTE, 6),)
"""How often the same labels are restored on one issue in each window, however often they are removed (M29)."""

UNCONFIRMED_PERIOD = timedelta(minutes=10)
_MAX_UNCONFIRMED_NOTIFICATIONS = 3
"""The most comments in `UNCONFIRMED_PERIOD` that notify people of unconfirmed incidents of one repository (M30)."""

_MAX_UNCONFIRMED_MESSAGES_PER_WINDOW = ((UNCONFIRMED_PERIOD, 8),)
"""The most messages to one channel in each window about unconfirmed incidents of one repository."""


@dataclass(frozen=True, slots=True)
class UnconfirmedReport:
    """An incident reported without rights that waits to notify people; `notified_at` is when it first did."""

    number: int
    login: str
    notified_at: datetime | None = None


def comment_budget(effects: Sequence[Effect]) -> CommentBudget:
    """Return the budget that a comment with these effects uses."""
    if any(isinstance(each, Page | Escalate | ShowBoard | ShowDigest) for each in effects):
        return CommentBudget.URGENT
    return comment_budget_of_keys([each.key for each in effects])


def comment_budget_of_keys(keys: Sequence[str]) -> CommentBudget:
    """Return the budget that a comment used whose marker holds these keys; unknown ones are ordinary."""
    if any(key.startswith(_URGENT_KEYS) for key in keys):
        return CommentBudget.URGENT
    if keys and all(key.startswith(_OUTSIDER_REPLY_KEYS) for key in keys):
        return CommentBudget.OUTSIDERS
    return CommentBudget.ORDINARY


def only_repeats(effects: Sequence[Effect]) -> bool:
    """Return True if an urgent comment repeats what was said before: a further page, or a request for an update.

    Such a comment leaves the last place in the hour to a first page or an escalation.
    """
    return not any(
        isinstance(each, Escalate | ShowBoard | ShowDigest) or (isinstance(each, Page) and each.attempt == 1)
        for each in effects
    )


def next_comment_at(
    posted: Iterable[PostedComment], now: datetime, budget: CommentBudget, *, repeats: bool = False
) -> datetime:
    """Return when the next comment that uses this budget may be posted on an issue; `now`: at once.

    `posted` are our comments of the last day.  `repeats`: see `only_repeats`.
    """
    times = sorted(each.at for each in posted if each.budget is budget)
    limits = (
        _MAX_REPEATED_COMMENTS_PER_WINDOW
        if repeats and budget is CommentBudget.URGENT
        else _MAX_COMMENTS_PER_WINDOW[budget]
    )
    return _next_free_time(times, now, limits)


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

    `recent` are all incidents of its repository that notified for the first time in the last `UNCONFIRMED_PERIOD`, or
    are still on hold.  A few reports, each by another person, are not delayed, and none delays what another one that
    has notified people says later.
    """
    reports = {asking.number: asking for asking in recent}
    reports.setdefault(number, UnconfirmedReport(number, login))
    if reports[number].notified_at is not None:
        return now
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


def next_message_at(message_times: Sequence[datetime], now: datetime) -> datetime:
    """Return when the next message about an unconfirmed incident may go to one channel; `now`: at once.

    `message_times` are those of all such messages of one repository to that channel.
    """
    return _next_free_time(sorted(message_times), now, _MAX_UNCONFIRMED_MESSAGES_PER_WINDOW)


def _notified_times(reports: Iterable[UnconfirmedReport]) -> list[datetime]:
    return sorted(each.notified_at for each in reports if each.notified_at is not None)


def _next_free_time(times: Sequence[datetime], now: datetime, limits: tuple[tuple[timedelta, int], ...]) -> datetime:
    """Return the first time from `now` on at which one more stays within the limit of every window."""
    next_time = now
    for span, most in limits:
        if len(times) >= most:
            next_time = max(next_time, times[-most] + span)
    return next_time
