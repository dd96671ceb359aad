"""Stories: readable texts of events, with the effects that the core decides for them.

    Nobody answers a sev1, then the second person takes it

    policy: guide

    09:00 mona opens sev1 checkout is down
          -> page mona
    09:05 (clock escalate)
          -> page mona, hubot
    09:07 hubot says /ack
          -> assign hubot

The first line is the title.  Then come headers:

    policy: guide           a shipped profile; guide when there is none
    starts: 2026-03-14      the day of the story; this one, a Saturday, when there is none
    zone: Europe/Berlin     the time zone of the story; UTC when there is none
    on-call: mona, hubot    the people of a contact, or `nobody`; the cast below when there is none
    | warnings: [50]        a line of the policy file; a contact that it gives people keeps them

Each line at the left edge is an event: a time (`09:00`, `09:00:30`, `+1d 09:00`), a person (with their role in
brackets where it is not that of the cast), a verb, the rest.  `(until)` fires the alarms that are due until then,
`(deadlines)` lists the deadlines.  Arrows, lines of clocks and the end are written by `pytest --update-stories`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from app.core import effects, events
from app.core.clocks import alarms, deadlines
from app.core.decide import decide
from app.core.effects import Effect
from app.core.events import AlarmFired, Event, Role
from app.core.incident import Incident
from app.core.incident_report import Exposure, IncidentReport, Kind, Level
from app.core.policy import Policy
from app.core.replay import replay
from app.core.slash_command import SlashCommand
from app.policy_file import read_policy

CAST = {
    "on-call": ("mona", "hubot"),
    "it-manager": ("ada",),
    "cto": ("grace",),
    "ceo": ("linus",),
    "board": ("board-chair",),
    "engineering-manager": ("erin",),
    "vp-engineering": ("vera",),
    "executives": ("grace", "linus"),
}
"""The people of each contact.  They may write in the repository; all others may only read."""

DEFAULT_START_DATE = date(2026, 3, 14)
INDENT = " " * 6

_LINE_PATTERN = re.compile(r"(?:\+(\d+)d )?(\d\d):(\d\d)(?::(\d\d))? (.*)")
_ACTION_PATTERN = re.compile(r"([\w-]+)(?: \((\w+)\))? (\w+)(?: (.*))?")
_HEADER_PATTERN = re.compile(r"([a-z-]+): (.*)")
_ANSWER_PATTERN = re.compile(r"(severity|impact|urgency|type|personal data|services?|detected|label|unclear) (.*)")


@dataclass
class Story:
    """The parsed left edge of a story file."""

    title: str
    header_lines: list[str] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    policy_file: list[str] = field(default_factory=list)
    event_lines: list[str] = field(default_factory=list)


def parse_story(text: str) -> Story:
    title, *lines = text.splitlines()
    story = Story(title)
    for line in lines:
        if not line.strip() or line.startswith((INDENT, "=")) or "(clock " in line:
            continue
        if _LINE_PATTERN.fullmatch(line):
            story.event_lines.append(line)
            continue
        story.header_lines.append(line)
        if line.startswith("| "):
            story.policy_file.append(line[2:])
        elif header := _HEADER_PATTERN.fullmatch(line):
            story.headers[header[1]] = header[2]
        else:
            raise ValueError(f"{title}: '{line}' is neither a header nor something that happened")
    return story


def render_story(story: Story) -> str:
    """Render the story with its arrows, as the core decides now."""
    playback = _Playback(story)
    body = [line for event_line in story.event_lines for line in playback.run_line(event_line)]
    head = [*story.header_lines, ""] if story.header_lines else []
    return "\n".join([story.title, "", *head, *body, *playback.summary_lines(), ""])


def policy_of(story: Story) -> Policy:
    lines = [f"extends: {story.headers.get('policy', 'guide')}", *story.policy_file]
    policy = read_policy("\n".join(lines))
    contacts = {name: people or CAST.get(name, ()) for name, people in policy.contacts.items()}
    for name, value in story.headers.items():
        if name in contacts:
            contacts[name] = () if value == "nobody" else tuple(value.split(", "))
    return replace(policy, contacts=contacts)


class _Playback:
    """One story during its playback: the incident so far, and the log that led to it."""

    def __init__(self, story: Story) -> None:
        self.policy = policy_of(story)
        self.zone = ZoneInfo(story.headers.get("zone", "UTC"))
        self.start_date = date.fromisoformat(story.headers.get("starts", DEFAULT_START_DATE.isoformat()))
        self.incident: Incident | None = None
        self.report = IncidentReport()
        self.title = ""
        self.log: list[tuple[datetime, Event]] = []
        self.effects: list[Effect] = []
        self.now = datetime.combine(self.start_date, time(), UTC)

    def run_line(self, line: str) -> Iterator[str]:
        """Yield the line with its arrows, after the alarms that fire before it."""
        found = _LINE_PATTERN.fullmatch(line)
        assert found
        at, action = self.parse_time(line.removesuffix(f" {found[5]}")), found[5]
        assert at >= self.now, f"'{line}' goes back in time"
        yield from self.fire_alarms(at, inclusive=action == "(until)")
        self.now = at
        yield line
        if action == "(deadlines)":
            yield from (f"{INDENT}-> {deadline}" for deadline in self.deadline_lines())
        elif action != "(until)":
            event = self.parse_event(action)
            self.log.append((at, event))
            yield from self.apply_event(event, at)

    def parse_time(self, text: str) -> datetime:
        """Parse a time as stories write it."""
        found = _LINE_PATTERN.fullmatch(f"{text} ")
        assert found, f"'{text}' is not a time"
        days, hours, minutes, seconds, _ = found.groups()
        wall = datetime.combine(self.start_date, time(int(hours), int(minutes), int(seconds or 0)), self.zone)
        return (wall + timedelta(days=int(days or 0))).astimezone(UTC)

    def fire_alarms(self, until: datetime, *, inclusive: bool) -> Iterator[str]:
        while self.incident and (waiting := alarms(self.incident, self.policy)):
            alarm = waiting[0]
            if alarm.due > until or (alarm.due == until and not inclusive):
                break
            about, _, what = alarm.mark.rpartition("@")[0].rpartition(".")
            what = {"escalate": "", "update": ""}.get(alarm.clock, f", {what}{'%' if what.isdigit() else ''}")
            what = ", silence" if "silence@" in alarm.mark else what
            yield f"{self.format_time(alarm.due)} (clock {alarm.clock}{f' {about}' if about and what else ''}{what})"
            yield from self.apply_event(AlarmFired(alarm=alarm, key=alarm.key), alarm.due)

    def apply_event(self, event: Event, at: datetime) -> Iterator[str]:
        decision = decide(self.incident, event, self.policy, at)
        self.incident = decision.incident
        self.effects += decision.effects
        shown = [line for effect in decision.effects if (line := self.describe_effect(effect))]
        if not shown and decision.effects:
            shown = ["board"]
        yield from (f"{INDENT}-> {line}" for line in shown)

    def summary_lines(self) -> Iterator[str]:
        """Yield the state at the end.

        The decisions made step by step must equal a replay of the log.
        """
        replayed = replay(self.log, self.policy, self.now)
        due = [alarm for alarm in alarms(self.incident, self.policy) if alarm.due <= self.now] if self.incident else []
        assert due or replayed.incident == self.incident
        assert due or _told_once(replayed.effects) == _told_once(self.effects)
        keys = [effect.key for effect in self.effects if effect.key]
        assert len(keys) == len(set(keys)), "an effect key was used twice"
        yield "="
        if self.incident is None:
            yield "= no incident"
            return
        found = self.incident
        parts = [f"{found.severity} {found.status}"]
        parts += [f"{found.commander} has it"] if found.commander else []
        parts += [f"graded by {found.grade.by}"] if found.grade.by else []
        parts += ["reopened"] * found.reopen_count
        parts += [f"closed by {found.disputed_closing.by} without rights"] if found.disputed_closing else []
        parts += [f"the report would be {found.pending_edit.severity}"] if found.pending_edit else []
        parts += [f"the issue is {found.unavailable}"] if found.unavailable else []
        yield f"= {', '.join(parts)}"
        yield from (f"= because {reason}" for reason in found.grade.reasons)
        yield from (f"= {deadline}" for deadline in self.deadline_lines())

    def deadline_lines(self) -> Iterator[str]:
        assert self.incident
        for deadline in deadlines(self.incident, self.policy):
            met = f", met {self.format_time(deadline.met_at)}" if deadline.met_at else ""
            missed = ", missed" if deadline.is_breached(self.incident) else ""
            about = f" {deadline.about}" if deadline.about else ""
            yield f"{deadline.clock}{about} by {self.format_time(deadline.due)}{met}{missed}"

    def format_time(self, at: datetime) -> str:
        local = at.astimezone(self.zone)
        days = (local.date() - self.start_date).days
        return (f"+{days}d " if days else "") + local.strftime("%H:%M:%S").removesuffix(":00")

    # Parsing lines into events.

    def parse_event(self, action: str) -> Event:
        found = _ACTION_PATTERN.fullmatch(action)
        assert found, f"'{action}' is not something that can happen"
        by, role, verb, rest = found.groups()
        cast = {login for logins in CAST.values() for login in logins}
        author_role = Role[role.upper()] if role else Role.WRITE if by in cast else Role.READ
        number = len(self.log) + 1
        common = {"by": by, "role": author_role, "key": f"event/{number}"}
        if verb == "says":
            commands = tuple(SlashCommand(*line.removeprefix("/").split(" ", 1)) for line in rest.split(" | "))
            return events.Commented(**{**common, "key": f"comment/{number}"}, comment=number, commands=commands)
        return _EVENT_PARSERS[verb](self, rest or "", common)

    def opening_event(self, rest: str, common: dict[str, Any], *, adopted: bool = False) -> Event:
        first, _, others = rest.partition(" ")
        severity = self.policy.scale.parse(first)
        self.title, _, answers = (others if severity else rest).partition(": ")
        self.report = IncidentReport(severity=severity)
        labels = self.apply_answers(answers)
        incident_id = f"INC-{self.start_date:%Y-%m%d}-001"
        return events.Opened(
            **common,
            id=incident_id,
            repo="acme/shop",
            number=7,
            title=self.title,
            report=self.report,
            labels=labels,
            adopted=adopted,
        )

    def edit_event(self, rest: str, common: dict[str, Any]) -> Event:
        if rest.startswith("title "):
            self.title = rest.removeprefix("title ")
        else:
            self.apply_answers(rest)
        return events.Edited(**common, role_known=True, title=self.title, report=self.report)

    def apply_answers(self, text: str) -> frozenset[str]:
        """Put the answers into the report, and return the labels among them."""
        labels = set()
        for answer in filter(None, text.split(", ")):
            found = _ANSWER_PATTERN.fullmatch(answer)
            assert found, f"'{answer}' is not an answer"
            match found.groups():
                case "label", value:
                    labels.add(value)
                case name, value:
                    self.report = replace(self.report, **_ANSWER_FIELDS[name](self, value))
        return frozenset(labels)

    def describe_effect(self, effect: Effect) -> str:
        """Describe the effect; empty for the board, which follows every change."""
        formatter = _EFFECT_FORMATTERS.get(type(effect))
        return formatter(self, effect) if formatter else ""


def _describe_escalation(play: _Playback, notice: effects.Escalate) -> str:
    if not notice.contacts:
        return f"ask {_format_recipients(notice)}: {notice.do} ({notice.because})"
    do = f", {notice.do}" if notice.do else ""
    return f"escalate {', '.join(notice.contacts)}: {_format_recipients(notice)}{do} ({notice.because})"


def _describe_reminder(play: _Playback, notice: effects.Remind) -> str:
    about = f"{notice.clock} {notice.about}" if notice.about else notice.clock
    return f"remind {about} {_format_recipients(notice)}, due {play.format_time(notice.due)}" + (
        f": {notice.do}" if notice.do else ""
    )


def _format_recipients(notice: effects.Notice) -> str:
    missing = f" [nobody is {', '.join(notice.unstaffed)}]" if notice.unstaffed else ""
    return (", ".join(notice.to) or "nobody") + missing


def _event_parser(kind: type[Event], **more: Any) -> Callable[[_Playback, str, dict[str, Any]], Event]:
    return lambda play, rest, common: kind(**common, **more)


_POSTMORTEM_EVENTS = {
    "opened": events.PostmortemOpened,
    "merged": events.PostmortemMerged,
    "dropped": events.PostmortemDropped,
}


def _told_once(found: Iterable[Effect]) -> list[Effect]:
    """Return the effects without the later pages and the boards: a fold over a stretch tells only the last of each."""
    return [
        effect
        for effect in found
        if not isinstance(effect, effects.ShowBoard) and not (isinstance(effect, effects.Page) and effect.attempt > 10)
    ]


def _postmortem_event(what: str, common: dict[str, Any]) -> Event:
    if what == "refused":
        return events.PostmortemRefused(**common, reason="Repository rule violations found", advice="Lift the rule.")
    return _POSTMORTEM_EVENTS[what](**{**common, "url": "https://github.com/acme/shop/pull/8"}, pull=8)


_ANSWER_FIELDS: dict[str, Callable[[_Playback, str], dict[str, Any]]] = {
    "severity": lambda play, value: {
        "severity": None if value == "none" else play.policy.scale.parse(value),
        "doubts": (),
    },
    "impact": lambda play, value: {"impact": Level(value)},
    "urgency": lambda play, value: {"urgency": Level(value)},
    "type": lambda play, value: {"kind": Kind(value)},
    "personal data": lambda play, value: {"personal_data": Exposure(value)},
    "service": lambda play, value: {"services": (*play.report.services, value)},
    "services": lambda play, value: {"services": (value,)},
    "detected": lambda play, value: {"detected_at": play.parse_time(value)},
    "unclear": lambda play, value: {"doubts": (*play.report.doubts, value)},
}
"""The fields of the report that each answer changes.

`service` adds one, `services` names the only one.
"""

_EVENT_PARSERS: dict[str, Callable[[_Playback, str, dict[str, Any]], Event]] = {
    "opens": _Playback.opening_event,
    "adopts": lambda play, rest, common: play.opening_event(rest, common, adopted=True),
    "edits": _Playback.edit_event,
    "labels": lambda play, rest, common: events.Labeled(**common, label=rest),
    "unlabels": lambda play, rest, common: events.Unlabeled(**common, label=rest),
    "closes": _event_parser(events.Closed, role_known=True),
    "reopens": _event_parser(events.Reopened, role_known=True),
    "locks": _event_parser(events.ConversationLocked),
    "deletes": _event_parser(events.IssueUnavailable, reason="deleted"),
    "transfers": _event_parser(events.IssueUnavailable, reason="transferred"),
    "unlocks": _event_parser(events.ConversationUnlocked),
    "vanishes": _event_parser(events.IssueUnavailable, reason="gone"),
    "reappears": _event_parser(events.IssueAvailable),
    "postmortem": lambda play, rest, common: _postmortem_event(rest, common),
}

_EFFECT_FORMATTERS: dict[type[Effect], Callable[[_Playback, Any], str]] = {
    effects.Page: lambda play, page: f"page {_format_recipients(page)}",
    effects.Escalate: _describe_escalation,
    effects.Announce: lambda play, notice: (
        f"announce to {', '.join(notice.contacts)}: {_format_recipients(notice)} ({notice.because})"
    ),
    effects.Remind: _describe_reminder,
    effects.SeverityQuestion: lambda play, ask: f'ask {_format_recipients(ask)} "{" ".join(ask.doubts)}"',
    effects.ClosingQuestion: lambda play, ask: f"ask {_format_recipients(ask)} whether {ask.closed_by} is right",
    effects.Reply: lambda play, reply: f'reply {reply.to} "{reply.text}"',
    effects.Help: lambda play, answer: f"help {answer.to}",
    effects.React: lambda play, reaction: "react",
    effects.Assign: lambda play, assign: f"assign {assign.login}",
    effects.UntouchedQuestion: lambda play, ask: f"ask {_format_recipients(ask)} whether it still is an incident",
    effects.RetryRefused: lambda play, effect: "retry what was refused",
    effects.RefusalNotice: lambda play, notice: f"tell {_format_recipients(notice)}: GitHub refuses {notice.what}",
    effects.OpenPostmortem: lambda play, effect: "postmortem",
    effects.SetLabels: lambda play, effect: f"labels {' '.join(sorted(effect.labels))}",
}
