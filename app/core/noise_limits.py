"""How much is too much: what one issue, and what people without rights, may make us say.

A breaker of our own, far below GitHub's limits: bots that answer each other have stayed below those for half a day.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.effects import Effect, Escalate, Page, ShowBoard, ShowDigest
from app.core.events import RESPONDER
from app.core.incident import Incident

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)

_MOST = ((HOUR, 10), (DAY, 30))
"""So many comments of ours on one issue, whatever happens (reliability, row 11)."""
_ORDINARY = ((HOUR, 9), (DAY, 27))
"""So many that do not press; the rest is kept for those that do."""
_BRISK, _SPACE = 12, timedelta(minutes=90)
"""After so many in a day, this long between two that do not press: so the rest lasts until the day is over."""

_PUT_BACK = ((MINUTE, 6),)
"""How often the same labels are put back on one issue, whoever takes them off (M29)."""

WINDOW = timedelta(minutes=10)
_OF_REPOSITORY = 3
"""So many comments that notify people for incidents nobody has confirmed, in a window (M30)."""


@dataclass(frozen=True, slots=True)
class Asking:
    """An incident of somebody without rights that wants to notify people, or did at `said_at`."""

    number: int
    login: str
    said_at: datetime | None = None


def pressing(effects: Sequence[Effect]) -> bool:
    """Whether one of them may use the last of the budget: the first page, an escalation, and what shows how it stands."""
    return any(
        isinstance(each, Escalate | ShowBoard | ShowDigest) or (isinstance(each, Page) and each.times == 1)
        for each in effects
    )


def comment_at(said: Sequence[datetime], now: datetime, *, presses: bool) -> datetime:
    """When the next comment may be written on an issue; `now`: at once.  `said` are those of the last day."""
    times = sorted(said)
    free = _free(times, now, _MOST if presses else _ORDINARY)
    of_day = [at for at in times if at > now - DAY]
    if not presses and len(of_day) >= _BRISK:
        free = max(free, of_day[-1] + _SPACE)
    return free


def labels_at(set_at: Sequence[datetime], now: datetime) -> datetime:
    """When the same labels may be put back again on an issue; `now`: at once."""
    return _free(sorted(set_at), now, _PUT_BACK)


def confirmed(incident: Incident) -> bool:
    """Whether somebody who may command it has: a command or a label, by the role that GitHub told us."""
    return any(known.role >= RESPONDER for known in incident.authorities)


def notify_at(number: int, login: str, recent: Sequence[Asking], now: datetime) -> datetime:
    """When an incident that nobody has confirmed may notify people; `now`: at once.

    `recent` are all of its repository that did, or wanted to, in the last window or wait since.  As long as they are few,
    each of another person, nothing is held back.
    """
    everybody = {asking.number: asking for asking in recent}
    everybody.setdefault(number, Asking(number, login))
    own = [asking for asking in everybody.values() if asking.login == login]
    free = now
    if len(own) > 1:
        free = max(free, _free(_said(own), now, ((WINDOW, 1),)))
    if len(everybody) > _OF_REPOSITORY:
        free = max(free, _free(_said(everybody.values()), now, ((WINDOW, _OF_REPOSITORY),)))
    return free


def _said(asking: Iterable[Asking]) -> list[datetime]:
    return sorted(each.said_at for each in asking if each.said_at is not None)


def _free(times: Sequence[datetime], now: datetime, limits: tuple[tuple[timedelta, int], ...]) -> datetime:
    """The first moment from `now` on at which no window holds more than its most, with one more."""
    free = now
    for span, most in limits:
        if len(times) >= most:
            free = max(free, times[-most] + span)
    return free
