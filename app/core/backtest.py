"""Compare how past incidents would have gone under another policy.

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
class PastIncident:
    """A past incident: its name, such as `octo/shop#12`, and its log up to `until`.

    All of it is untrusted data from outside.
    """

    name: str
    title: str
    log: Sequence[tuple[datetime, Event]]
    until: datetime


@dataclass(frozen=True, slots=True)
class OutcomeDifference:
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
        what = self.kind if self.kind == "severity" else self.what
        none = "nobody" if self.kind == "people" else "never"
        return f"{what} {whose} {now or none} instead of {was or none}"


@dataclass(frozen=True, slots=True)
class IncidentDiff:
    """The differences of one incident between the two policies; `declared_at` is UTC.

    `escalated_later`: a contact would have been notified later, or not at all; `escalated_earlier`: earlier, or at all.
    """

    name: str
    title: str
    declared_at: datetime
    severity: Severity
    differences: tuple[OutcomeDifference, ...]
    escalated_later: bool
    escalated_earlier: bool

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

    incident_count: int = 0
    diffs: tuple[IncidentDiff, ...] = ()
    notice_counts: tuple[int, int] = (0, 0)

    @property
    def summary(self) -> str:
        """One sentence: `2 of 11 past incidents would have been escalated later, 1 breach more`."""
        if not self.incident_count:
            return "there is no past incident to try it on"
        incidents = f"{self.incident_count} past incident" + ("s" if self.incident_count > 1 else "")
        if not self.diffs:
            return f"none of {incidents} would have gone otherwise"
        counts = (
            ("graded otherwise", sum(each.severity_changed for each in self.diffs)),
            ("escalated later", sum(each.escalated_later for each in self.diffs)),
            ("escalated earlier", sum(each.escalated_earlier for each in self.diffs)),
        )
        parts = [f"{count} would have been {how}" for how, count in counts if count]
        parts = parts or [f"{len(self.diffs)} would have gone otherwise"]
        parts[0] = parts[0].replace(" would", f" of {incidents} would", 1)
        more = sum(each.breach_changes[0] for each in self.diffs)
        fewer = sum(each.breach_changes[1] for each in self.diffs)
        breaches = [
            f"{count} breach{'es' if count > 1 else ''} {how}"
            for count, how in ((more, "more"), (fewer, "fewer"))
            if count
        ]
        return ", ".join((*parts, *breaches))


def backtest(past_incidents: Iterable[PastIncident], old: Policy, new: Policy) -> Backtest:
    """Replay past incidents under both policies and return what differs.  A log without an opening is not counted."""
    incident_count, notices_before, notices_after = 0, 0, 0
    diffs: list[IncidentDiff] = []
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
class _ReplayResult:
    """The replay of one incident under one policy; `first_rows` maps each contact to the first row that notifies it."""

    incident: Incident
    rows: list[Row]
    first_rows: dict[str, Row]
    notice_counts: Counter[str]
    deadlines: dict[str, timedelta]

    @property
    def notice_count(self) -> int:
        return sum(bool(row.to) for row in self.rows)


def _replay_past(past: PastIncident, policy: Policy) -> _ReplayResult | None:
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
    return _ReplayResult(incident, rows, first_rows, notice_counts, offsets)


def _diff_results(
    past: PastIncident, was: _ReplayResult, now: _ReplayResult, new_policy: Policy
) -> IncidentDiff | None:
    differences = (
        *_severity_changes(was, now, new_policy),
        *_notification_changes(was, now),
        *_breach_changes(was, now),
        *_notice_count_changes(was, now),
        *_deadline_changes(was, now),
    )
    if not differences:
        return None
    both = was.first_rows.keys() & now.first_rows.keys()
    return IncidentDiff(
        past.name,
        past.title,
        now.incident.declared_at,
        now.incident.severity,
        differences,
        escalated_later=bool(was.first_rows.keys() - now.first_rows.keys())
        or any(now.first_rows[each].at > was.first_rows[each].at for each in both),
        escalated_earlier=bool(now.first_rows.keys() - was.first_rows.keys())
        or any(now.first_rows[each].at < was.first_rows[each].at for each in both),
    )


def _severity_changes(was: _ReplayResult, now: _ReplayResult, new_policy: Policy) -> Iterator[OutcomeDifference]:
    before, after = was.incident.severity, now.incident.severity
    if before is not after:
        yield OutcomeDifference(
            "severity", "severity", before.inline_name(new_policy.scale), after.inline_name(new_policy.scale)
        )


def _notification_changes(was: _ReplayResult, now: _ReplayResult) -> Iterator[OutcomeDifference]:
    for contact in {**was.first_rows, **now.first_rows}:
        before, after = was.first_rows.get(contact), now.first_rows.get(contact)
        if before is None or after is None or before.at != after.at:
            yield OutcomeDifference("told", contact, _format_row_offset(before), _format_row_offset(after))
        if before and after and before.to != after.to:
            yield OutcomeDifference("people", contact, ", ".join(before.to), ", ".join(after.to))


def _breach_changes(was: _ReplayResult, now: _ReplayResult) -> Iterator[OutcomeDifference]:
    """Compare the breaches: yield those that only one policy has, each at its first time."""
    before, after = _first_breaches(was), _first_breaches(now)
    for clock in {**before, **after}:
        if (clock in before) != (clock in after):
            yield OutcomeDifference(
                "breach", clock, _format_row_offset(before.get(clock)), _format_row_offset(after.get(clock))
            )


def _first_breaches(result: _ReplayResult) -> dict[str, Row]:
    breaches: dict[str, Row] = {}
    for row in result.rows:
        if row.kind == "breach":
            breaches.setdefault(row.step, row)
    return breaches


def _notice_count_changes(was: _ReplayResult, now: _ReplayResult) -> Iterator[OutcomeDifference]:
    for what in {**was.notice_counts, **now.notice_counts}:
        before, after = was.notice_counts[what], now.notice_counts[what]
        if before != after:
            yield OutcomeDifference("notices", what, _format_count(before), _format_count(after))


def _format_count(number: int) -> str:
    return {0: "never", 1: "once"}.get(number, f"{number} times")


def _deadline_changes(was: _ReplayResult, now: _ReplayResult) -> Iterator[OutcomeDifference]:
    for clock in {**was.deadlines, **now.deadlines}:
        before, after = was.deadlines.get(clock), now.deadlines.get(clock)
        if before != after:
            yield OutcomeDifference(
                "deadline",
                clock,
                None if before is None else format_offset(before),
                None if after is None else format_offset(after),
            )


def _format_row_offset(row: Row | None) -> str | None:
    return None if row is None else format_offset(row.offset)
