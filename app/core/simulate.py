"""An imagined incident: who would be told what, and when.

It is the fold of `replay` over events that never happened, so what it says is what would be done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from app.core.clocks import alarms, audience, escalate, update
from app.core.decide import decide
from app.core.effective_policy import rules
from app.core.effects import Announce, Ask, Effect, Escalate, Notice, Page, Remind
from app.core.escalation import paging_steps
from app.core.events import Event, Opened, Rang, Role, Said
from app.core.incident import Incident
from app.core.incident_report import Exposure, Kind, Report
from app.core.on_call import next_hand_off, on_call, people_of
from app.core.policy import ON_CALL, Duration, Policy, Via
from app.core.replay import Log, ordered
from app.core.severity import Severity
from app.core.slash_command import Spoken

KINDS = (
    *("declared", "page", "escalate", "announce", "do", "remind", "ask", "warn", "breach"),
    *("acknowledge", "resolve", "hand-off"),
)
"""What a row can be: `announce` tells those who hear of such an incident at once and asks nothing of them, `warn` is a part of a target that is over, `do` a rung that only asks for something, `remind` any
other notice of a clock, `hand-off` that somebody else comes on call."""

_NEWS = (update.NAME, audience.NAME)
"""The clocks that ask for news when they are over; what comes then is a reminder, not yet a broken promise."""

_HAND_OFFS = 100
"""So many turns of one rotation are looked at: a feed may hold thousands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """What is imagined.  `at` has a zone; `ack` and `resolve` count from it, None: nobody does."""

    severity: Severity
    at: datetime
    length: timedelta
    ack: timedelta | None = None
    resolve: timedelta | None = None
    services: tuple[str, ...] = ()
    kind: Kind | None = None
    personal_data: Exposure | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that happens, at `at` (UTC), `offset` after the declaration.

    `kind` is one of KINDS.  `to` are logins, or the names of the `contacts` where the policy names nobody for them.
    `step` says which rung or clock it comes from, in the words of the policy file: `it-manager after 30m`,
    `respond 50 %`.  `via` are the channels beside the comment on the issue.  `missing` are contacts that nobody holds.
    """

    at: datetime
    offset: timedelta
    kind: str
    to: tuple[str, ...] = ()
    step: str = ""
    via: tuple[Via, ...] = ()
    missing: tuple[str, ...] = ()
    note: str = ""
    contacts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Beat:
    """One decision of a fold: the event at `at`, the incident before (None: there was none) and after, what was to do."""

    at: datetime
    event: Event
    before: Incident | None
    after: Incident
    effects: tuple[Effect, ...]


def simulate(policy: Policy, scene: Scene) -> tuple[Row, ...]:
    """Everything that happens in the scene, in order, hand-offs before what is told at the same moment."""
    start = scene.at.astimezone(UTC)
    until = start + scene.length
    beats = [_beat(None, _opening(scene), policy, start)]
    acts = sorted((at, say) for say, at in (("ack", scene.ack), ("resolve", scene.resolve)) if at is not None)
    for offset, say in acts:
        at = start + offset
        if at > until:
            break
        beats += rung(beats[-1].after, policy, at, itself=False)
        beats.append(_beat(beats[-1].after, _says(say, _answering(beats, policy, at)), policy, at))
    beats += rung(beats[-1].after, policy, until, itself=True)
    rows = [row for beat in beats for row in rows_of(beat, policy)]
    over = next((row.at for row in rows if row.kind == "resolve"), until)
    rows += _hand_offs(beats[0].after, policy, over)
    return tuple(sorted(rows, key=lambda row: (row.at, row.kind != "declared", row.kind != "hand-off")))


def beats(log: Log, policy: Policy, until: datetime) -> Iterator[Beat]:
    """The fold of `replay`, decision by decision.  What happened before there was an incident is left out."""
    incident: Incident | None = None
    for at, event in ordered(log):
        if at > until:
            break
        if incident is not None:
            for beat in rung(incident, policy, at, itself=False):
                yield beat
                incident = beat.after
        elif not isinstance(event, Opened):
            continue
        beat = _beat(incident, event, policy, at)
        yield beat
        incident = beat.after
    if incident is not None:
        yield from rung(incident, policy, until, itself=True)


def rung(incident: Incident, policy: Policy, until: datetime, *, itself: bool) -> Iterator[Beat]:
    """The alarms that ring until then.  `itself`: whether one due exactly at `until` does, or yields to what happens."""
    while True:
        alarm = next(iter(alarms(incident, policy)), None)
        if alarm is None or alarm.due > until or (alarm.due == until and not itself):
            return
        beat = _beat(incident, Rang(alarm=alarm, key=alarm.key), policy, alarm.due)
        yield beat
        incident = beat.after


def rows_of(beat: Beat, policy: Policy) -> Iterator[Row]:
    """What a decision means for people; nothing for most of what people do themselves."""
    event, after = beat.event, beat.after
    offset = beat.at - after.declared_at
    if beat.before is None:
        yield Row(
            at=beat.at, offset=offset, kind="declared", step=after.severity.said(policy.scale), note=_graded(after)
        )
    elif after.acknowledged_at != beat.before.acknowledged_at:
        yield Row(at=beat.at, offset=offset, kind="acknowledge", to=(event.by,), step="acknowledge")
    if beat.before is not None and after.resolved_at is not None and beat.before.resolved_at is None:
        yield Row(at=beat.at, offset=offset, kind="resolve", to=(event.by,), step="resolve")
    ruled = rules(policy, after)
    notices = [effect for effect in beat.effects if isinstance(effect, Notice)]
    for notice in notices:
        yield _told(notice, beat, ruled, offset)
    if not notices and isinstance(event, Rang) and after is not beat.before:
        kind, step = _of_clock(event)
        if kind in ("warn", "breach"):
            yield Row(at=beat.at, offset=offset, kind=kind, step=step)


def _told(notice: Notice, beat: Beat, policy: Policy, offset: timedelta) -> Row:
    kind, step, note = "remind", "", ""
    contacts: tuple[str, ...] = ()
    if isinstance(notice, Page) and isinstance(beat.event, Rang) and beat.before is not None:
        rung = paging_steps(beat.before, policy)[_index(beat.event)]
        kind, contacts = "page", rung.to or (ON_CALL,)
        step, note = _rung(contacts, str(rung.after)), _again(notice, beat)
    elif isinstance(notice, Escalate) and isinstance(beat.event, Rang) and beat.event.alarm.clock == escalate.NAME:
        contacts, wait = notice.contacts, beat.event.alarm.mark.rpartition("@")[2].partition("#")[0]
        kind, step, note = ("escalate" if contacts else "do"), _rung(contacts, wait), notice.do
    elif isinstance(notice, Escalate | Announce):
        kind = "escalate" if isinstance(notice, Escalate) else "announce"
        contacts, note = notice.contacts, notice.because
        step = _of_clock(beat.event)[1] if isinstance(beat.event, Rang) else ", ".join(contacts)
    elif isinstance(notice, Ask):
        kind, step, note = "ask", "severity", "; ".join(notice.doubts)
    elif isinstance(beat.event, Rang):
        kind, step = _of_clock(beat.event)
        note = notice.do if isinstance(notice, Remind) else ""
    return Row(
        at=beat.at,
        offset=offset,
        kind=kind,
        to=notice.to or contacts or notice.missing[:1],
        step=step,
        via=notice.via,
        missing=notice.missing,
        note=note,
        contacts=contacts,
    )


def _of_clock(rang: Rang) -> tuple[str, str]:
    """What an alarm of a clock is, and its step: `respond/50@...` is `warn` and `respond 50 %`."""
    about, _, what = rang.alarm.mark.rpartition("@")[0].rpartition(".")
    clock = f"{rang.alarm.clock} {about}".strip()
    if what.isdigit():
        return "warn", f"{clock} {what} %"
    return "breach" if what == "breach" and rang.alarm.clock not in _NEWS else "remind", clock


def _index(rang: Rang) -> int:
    """Which paging step a page belongs to: `page0.2@...` is the second page of the first."""
    return int(rang.alarm.mark.removeprefix("page").partition(".")[0])


def _rung(contacts: tuple[str, ...], after: str) -> str:
    names = ", ".join(contacts) or "whoever has it"
    return names if after == str(Duration()) else f"{names} after {after}"


def _again(page: Page, beat: Beat) -> str:
    if page.times > 1:
        return f"page {page.times}"
    silent = beat.after.spoken_at is not None and beat.after.armed_at > beat.after.spoken_at
    return f"nothing was heard since {beat.after.spoken_at:%H:%M} UTC" if silent else ""


def _graded(incident: Incident) -> str:
    """Why it is graded otherwise than it was reported; empty where it is not."""
    reported = incident.report.severity
    return incident.grade.reasons[0] if reported is not None and reported is not incident.severity else ""


def _hand_offs(incident: Incident, policy: Policy, until: datetime) -> Iterator[Row]:
    """Where somebody else comes on call, of the rotations that the ladder of this incident asks."""
    policy = rules(policy, incident)
    steps = policy.ladders.get(incident.severity, ())
    for name in dict.fromkeys((ON_CALL, *(contact for step in steps for contact in step.to))):
        rotation = policy.rotations.get(name)
        at = incident.declared_at if rotation else None
        for _ in range(_HAND_OFFS):
            if rotation is None or at is None:
                break
            before, at = on_call(rotation, at), next_hand_off(rotation, at)
            if at is None or at > until:
                break
            people = on_call(rotation, at)
            if people != before:
                yield Row(
                    at=at,
                    offset=at - incident.declared_at,
                    kind="hand-off",
                    to=people,
                    step=name,
                    note=f"from {', '.join(before) or 'nobody'}",
                    contacts=(name,),
                )


def _answering(beats: list[Beat], policy: Policy, at: datetime) -> str:
    """Who acts: whoever has it, was paged first, or is on call."""
    if beats[-1].after.commander:
        return beats[-1].after.commander
    paged = (row.to[0] for beat in beats for row in rows_of(beat, policy) if row.kind == "page" and row.to)
    return next(paged, next(iter(people_of((ON_CALL,), rules(policy, beats[-1].after), at)), ON_CALL))


def _opening(scene: Scene) -> Opened:
    report = Report(
        severity=scene.severity, services=scene.services, kind=scene.kind, personal_data=scene.personal_data
    )
    return Opened(id="imagined", repo="", number=0, title="", report=report, key="issue/0")


def _says(command: str, by: str) -> Said:
    return Said(by=by, role=Role.WRITE, key=f"comment/{command}", comment=0, spoken=(Spoken(command),))


def _beat(incident: Incident | None, event: Event, policy: Policy, at: datetime) -> Beat:
    decision = decide(incident, event, policy, at)
    assert decision.incident is not None, "only an opening is decided without an incident"
    return Beat(at, event, incident, decision.incident, decision.effects)


def plus(offset: timedelta) -> str:
    """How long after the declaration: `+12m`, `+1h05m`, `+2d3h`, `+7m30s`."""
    seconds = int(offset.total_seconds())
    days, seconds = divmod(seconds, 86400)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    if days:
        return f"+{days}d" + (f"{hours}h" if hours else "") + (f"{minutes:02}m" if minutes else "")
    if hours:
        return f"+{hours}h" + (f"{minutes:02}m" if minutes else "")
    return f"+{minutes}m" + (f"{seconds:02}s" if seconds else "")
