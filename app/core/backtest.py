"""Compares how past incidents would have gone under another policy.

Each incident is replayed from its log under both policies, and the notifications of the two are compared.  The actions
of people are taken as they were: how they would have reacted to an earlier notification is unknown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.core.clocks import deadlines
from app.core.events import Event
from app.core.incident import Incident
from app.core.policy import Policy
from app.core.severity import Severity
from app.core.simulate import Row, format_offset, replay_steps, rows_of

_TRAILING_PERIOD = timedelta(days=7)
"""How long after the last event a replay goes on: alarms that fire later no longer distinguish the policies."""


@dataclass(frozen=True, slots=True)
class Past:
    """A past incident: its name, such as `octo/shop#12`, and its log up to `until`.

    All of it is untrusted data from outside.
    """

    name: str
    title: str
    log: Sequence[tuple[datetime, Event]]
    until: datetime


@dataclass(frozen=True, slots=True)
class Difference:
    """One difference in outcome: `was` under the old policy, `now` under the new one; None: it did not occur.

    `kind` is one of `severity`, `told` (when a contact is first notified), `people` (who that is), `notices` (how
    often), `breach` and `deadline`; `what` is the contact or the clock.
    """

    kind: str
    what: str
    was: str | None
    now: str | None

    def __str__(self) -> str:
        was, now = self.was or "", self.now or ""
        if self.kind == "told" and self.was and self.now:
            return f"{self.what} hears of it at {now} instead of {was}"
        if self.kind == "told":
            return f"{self.what} hears of it, at {now}" if self.now else f"{self.what} does not hear of it (was {was})"
        if self.kind == "breach":
            return f"{self.what} is missed, at {now}" if self.now else f"{self.what} is not missed (was at {was})"
        whose = {"people": "is asked of", "deadline": "is due", "notices": "is told"}.get(self.kind, "is")
        what, none = (
            (self.kind if self.kind == "severity" else self.what),
            ("nobody" if self.kind == "people" else "never"),
        )
        return f"{what} {whose} {now or none} instead of {was or none}"


@dataclass(frozen=True, slots=True)
class Compared:
    """The differences of one incident between the two policies; `declared_at` is UTC.

    `escalated_later`: a contact would have been notified later, or not at all; `escalated_earlier`: earlier, or at all.
    """

    name: str
    title: str
    declared_at: datetime
    severity: Severity
    differences: tuple[Difference, ...]
    later: bool
    earlier: bool

    @property
    def severity_changed(self) -> bool:
        """True if the severity would have been another one."""
        return any(found.kind == "severity" for found in self.differences)

    @property
    def breach_changes(self) -> tuple[int, int]:
        """How many more targets would have been breached, and how many fewer."""
        breach_differences = [difference for difference in self.differences if difference.kind == "breach"]
        return sum(each.was is None for each in breach_differences), sum(
            each.now is None for each in breach_differences
        )


@dataclass(frozen=True, slots=True)
class Backtest:
    """The result of a backtest: how many incidents were replayed, and those that would have differed, in their order.

    `notice_counts` is how many notices there would have been, under the old policy and under the new one.
    """

    tried: int = 0
    compared: tuple[Compared, ...] = ()
    notices: tuple[int, int] = (0, 0)

    @property
    def summary(self) -> str:
        """One sentence: `2 of 11 past incidents would have been escalated later, 1 breach more`."""
        if not self.tried:
            return "there is no past incident to try it on"
        incidents = f"{self.tried} past incident" + ("s" if self.tried > 1 else "")
        if not self.compared:
            return f"none of {incidents} would have gone otherwise"
        counts = (
            ("graded otherwise", sum(each.severity_changed for each in self.compared)),
            ("escalated later", sum(each.later for each in self.compared)),
            ("escalated earlier", sum(each.earlier for each in self.compared)),
        )
        parts = [f"{count} would have been {how}" for how, count in counts if count]
        parts = parts or [f"{len(self.compared)} would have gone otherwise"]
        parts[0] = parts[0].replace(" would", f" of {incidents} would", 1)
        more = sum(each.breach_changes[0] for each in self.compared)
        fewer = sum(each.breach_changes[1] for each in self.compared)
        breaches = [
            f"{count} breach{'es' if count > 1 else ''} {how}"
            for count, how in ((more, "more"), (fewer, "fewer"))
            if count
        ]
        return ", ".join((*parts, *breaches))


def backtest(past_incidents: Iterable[Past], old: Policy, new: Policy) -> Backtest:
    """Replay past incidents under both policies and return what differs.  A log without an opening is not counted."""
    incident_count, notices_before, notices_after = 0, 0, 0
    diffs: list[Compared] = []
    for each in past_incidents:
        was, now = _replay_past(each, old), _replay_past(each, new)
        if was is None or now is None:
            continue
        incident_count += 1
        notices_before += was.notice_count
        notices_after += now.notice_count
        if diff := _diff_results(each, was, now, new):
            diffs.append(diff)
    return Backtest(incident_count, tuple(diffs), (notices_before, notices_after))


@dataclass(frozen=True, slots=True)
class _Life:
    """The replay of one incident under one policy; `first_rows` maps each contact to the first row that notifies it."""

    incident: Incident
    rows: list[Row]
    first: dict[str, Row]
    counts: Counter[str]
    due: dict[str, timedelta]

    @property
    def notice_count(self) -> int:
        return sum(bool(row.to) for row in self.rows)


def _replay_past(past: Past, policy: Policy) -> _Life | None:
    incident, rows = None, []
    last_event_at = max((at for at, _ in past.log), default=past.until)
    for step in replay_steps(past.log, policy, min(past.until, last_event_at + _TRAILING_PERIOD)):
        incident = step.after
        if step.effects or step.before is None or step.after is not step.before:
            rows += [row for row in rows_of(step, policy) if row.kind not in ("declared", "acknowledge", "resolve")]
    if incident is None:
        return None
    first_rows: dict[str, Row] = {}
    for row in rows:
        for contact in row.contacts:
            first_rows.setdefault(contact, row)
    notice_counts = Counter(
        f"{row.kind} {row.step.partition(' after ')[0]}" for row in rows if row.kind in ("page", "remind")
    )
    offsets = {
        f"{each.clock} {each.about}".strip(): each.due - incident.declared_at for each in deadlines(incident, policy)
    }
    return _Life(incident, rows, first_rows, notice_counts, offsets)


def _diff_results(past: Past, was: _Life, now: _Life, new_policy: Policy) -> Compared | None:
    differences = (
        *_severity_changes(was, now, new_policy),
        *_notification_changes(was, now),
        *_breach_changes(was, now),
        *_notice_count_changes(was, now),
        *_deadline_changes(was, now),
    )
    if not differences:
        return None
    both = was.first.keys() & now.first.keys()
    return Compared(
        past.name,
        past.title,
        now.incident.declared_at,
        now.incident.severity,
        differences,
        later=bool(was.first.keys() - now.first.keys())
        or any(now.first[each].at > was.first[each].at for each in both),
        earlier=bool(now.first.keys() - was.first.keys())
        or any(now.first[each].at < was.first[each].at for each in both),
    )


def _severity_changes(was: _Life, now: _Life, new_policy: Policy) -> Iterator[Difference]:
    before, after = was.incident.severity, now.incident.severity
    if before is not after:
        yield Difference(
            "severity", "severity", before.inline_name(new_policy.scale), after.inline_name(new_policy.scale)
        )


def _notification_changes(was: _Life, now: _Life) -> Iterator[Difference]:
    for contact in {**was.first, **now.first}:
        before, after = was.first.get(contact), now.first.get(contact)
        if before is None or after is None or before.at != after.at:
            yield Difference("told", contact, _format_row_offset(before), _format_row_offset(after))
        if before and after and before.to != after.to:
            yield Difference("people", contact, ", ".join(before.to), ", ".join(after.to))


def _breach_changes(was: _Life, now: _Life) -> Iterator[Difference]:
    """Compare the breaches: yield those that only one policy has, each at its first time."""
    before, after = _first_breaches(was), _first_breaches(now)
    for clock in {**before, **after}:
        if (clock in before) != (clock in after):
            yield Difference(
                "breach", clock, _format_row_offset(before.get(clock)), _format_row_offset(after.get(clock))
            )


def _first_breaches(result: _Life) -> dict[str, Row]:
    breaches: dict[str, Row] = {}
    for row in result.rows:
        if row.kind == "breach":
            breaches.setdefault(row.step, row)
    return breaches


def _notice_count_changes(was: _Life, now: _Life) -> Iterator[Difference]:
    for what in {**was.counts, **now.counts}:
        before, after = was.counts[what], now.counts[what]
        if before != after:
            yield Difference("notices", what, _format_count(before), _format_count(after))


def _format_count(number: int) -> str:
    return {0: "never", 1: "once"}.get(number, f"{number} times")


def _deadline_changes(was: _Life, now: _Life) -> Iterator[Difference]:
    for clock in {**was.due, **now.due}:
        before, after = was.due.get(clock), now.due.get(clock)
        if before != after:
            yield Difference(
                "deadline",
                clock,
                None if before is None else format_offset(before),
                None if after is None else format_offset(after),
            )


def _format_row_offset(row: Row | None) -> str | None:
    return None if row is None else format_offset(row.offset)
