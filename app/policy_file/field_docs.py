"""Descriptions of all policy keys and their values, printed into the JSON Schema and the documentation."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from inspect import cleandoc
from typing import Any

from app.core.policy import (
    AlertRule,
    Audience,
    Calendar,
    ChannelConfig,
    Closing,
    Duration,
    FirstNotice,
    Floor,
    Goals,
    Intake,
    Labels,
    OnCallOverride,
    Override,
    Person,
    Policy,
    Postmortem,
    Regulation,
    Retention,
    RoleHolders,
    Rotation,
    Runbook,
    Service,
    Step,
    Target,
    Targets,
    Team,
    WarRoom,
)
from app.core.severity import Severity
from app.policy_file import value_parsers
from app.policy_file.field_rules import key_specs
from app.policy_file.value_parsers import REPORT_FIELDS, ROOM_PLACEHOLDERS, WEEKDAY_NAMES, report_field_key

KEY_DESCRIPTIONS: Mapping[type, Mapping[str, str]] = {
    Policy: {
        "scale": "the names of severities: SEV1 to SEV4, or P0 to P3",
        "aliases": "further names of severities, for labels, forms and commands",
        "timezone": "the zone in which times are shown beside UTC, and of calendars and rotations that name none",
        "severities": "the clocks of each severity",
        "warnings": "at how many per cent of a target a warning is given, rising",
        "silence": "after how many missed updates an acknowledged incident pages again",
        "audiences": "people who wait for news without working on it, and how often they hear",
        "regulations": "clocks that a law sets; they count every hour and cannot be paused",
        "calendars": "when a team works; `business` is there already",
        "escalation": "who is told what when nobody acts, by severity, counted from the declaration",
        "first-notice": "how word of a new incident spreads, by severity",
        "channels": "where notices go beside the issue, by name",
        "people": "who there is, by GitHub login, and how a calendar feed may call them",
        "contacts": "who is meant by the names that steps use, such as `on-call` or `it-manager`",
        "teams": "people who own services together",
        "roles": "who holds a role in incidents, and who stands in",
        "rotations": "who is on call by turns, or by a calendar feed",
        "services": "what can break, whose it is, and what reports may call it",
        "runbooks": "what to do, linked on the board",
        "war-room": "where responders meet",
        "overrides": "what holds otherwise for some services or types of incident; of two that match, "
        "the later goes first",
        "matrix": "the severity by urgency, then impact",
        "floors": "facts that make an incident at least that severe",
        "labels": "the names of Muster's labels",
        "intake": "how reports are read",
        "alerts": "readings of monitoring at which an incident is to be opened; kept for alert intake, "
        "which reads them",
        "closing": "what the board lists once an incident is resolved, to be true before it is closed",
        "postmortem": "when a postmortem is written and reviewed",
        "goals": "what a team wants to reach over many incidents; kept for reports, which measure against them",
        "retention": "how long Muster keeps what it was sent; incidents themselves stay on GitHub",
    },
    Targets: {
        "commander": "how soon somebody has to lead",
        "acknowledge": "how soon a page is answered",
        "respond": "how soon work on it begins",
        "update": "how often responders say how it goes",
        "resolve": "how soon it is over",
    },
    Target: {
        "within": "how long it may take",
        "calendar": "whose hours count: a calendar, or `team` for that of the team that owns the service; "
        "every hour without it",
    },
    Audience: {
        "to": "who informs them; without it, whoever leads communications",
        "first": "when they hear of it at the latest, by severity",
        "updates": "how often from then on, by severity",
    },
    Regulation: {
        "within": "how long the law gives",
        "since": "what it counts from: the detection that the report gives, or the opening of the issue",
        "types": "it runs for incidents of these types",
        "personal-data": "it runs for reports with these answers; where neither is written, for all",
        "to": "who decides",
        "do": "what is asked of them",
    },
    Calendar: {
        "hours": "wall clock times; an earlier second time is on the next day, `00:00-24:00` is the whole day",
        "timezone": "the zone of the hours; without it, that of the policy",
        "days": "the days of the week that are worked",
        "country": "a country whose national holidays are days off",
        "region": "a subdivision of the country, for its own holidays",
        "holidays": "further days off",
        "workdays": "days that are never off",
    },
    Step: {
        "after": "how long after the declaration",
        "to": "contacts, roles, teams or rotations; `owner` is the team that owns the service",
        "via": "the channels; without them, those of the first notice of that severity",
        "until": "what ends the step: `ack` pages the person on call, `resolved` runs on after an acknowledgement",
        "repeat": "how often a page is repeated; told once without it",
        "do": "what is asked for in words, such as customer communication",
    },
    FirstNotice: {
        "within": "the time that the channels have",
        "via": "the channels of that severity",
        "to": "who hears of it at once beside those on the ladder",
    },
    ChannelConfig: {
        "url": "the operator's channel, or an address, to which messages go unsigned",
        "secret": "the channel's own secret; it need not be written",
        "kind": "what stands at the other end",
        "for": "it carries the notices that go out by one of these",
    },
    Person: {"name": "as a calendar feed may call them", "mail": "as a calendar feed may address them"},
    Team: {
        "members": "their logins",
        "calendar": "when they work; `business` without it",
        "on-call": "the rotation that is paged for their services; without it, `on-call`",
    },
    RoleHolders: {"holder": "who holds it", "backup": "who stands in"},
    Rotation: {
        "people": "who takes turns, in order",
        "secondary": "who takes turns beside them; without it, the next of `people`",
        "turn": "how long one person is on call",
        "starts": "the day of the first hand-off",
        "hand-off": "the time of the hand-off, by the clocks of the zone",
        "timezone": "the zone; without it, that of the policy",
        "overrides": "who is on call instead; later ones go before earlier ones",
        "feed": "an iCalendar with the shifts; while it cannot be read, the turns hold",
    },
    OnCallOverride: {
        "from": "the first moment, by the clocks of the rotation's zone",
        "until": "the moment after the last",
        "person": "who is on call",
        "instead-of": "whom they replace; without it, whoever is the primary then",
    },
    Service: {
        "owner": "the team it belongs to",
        "on-call": "the rotation that is paged for it, before the team's",
        "aliases": "what reports may call it too, in any case",
        "runbooks": "what to do for it, by the names under `runbooks`",
    },
    Runbook: {"link": "where it stands", "types": "for incidents of these types, whatever the service"},
    WarRoom: {
        "severities": "for which severities there is one",
        "name": "the name of the room, with blanks",
        "link": "its address, with blanks, of which `room` is the name; without it, the name alone is shown",
    },
    Override: {
        "services": "for incidents that affect one of these; all without it",
        "types": "for incidents of one of these types; all without it",
        "severities": "single clocks that change, by severity; `off` stops one",
        "escalation": "ladders that replace those of the policy, by severity",
        "first-notice": "first notices that replace those of the policy, by severity",
        "contacts": "other holders of contacts, by name",
    },
    Floor: {
        "because": "the reason in words, as the board gives it",
        "at-least": "how severe it is at least",
        "type": "the type of the incident",
        "impact": "the impact that the report gives",
        "personal-data": "the answer on personal data",
        "service": "a service that the report names as affected",
    },
    Labels: {
        "incident": "on every incident",
        "severities": "one for each severity",
        "acknowledged": "somebody has it",
        "mitigated": "the harm is stopped",
        "resolved": "it is over",
        "paused": "its clocks stand still",
        "escalate": "a request for help, taken off when obeyed",
        "needs-triage": "a report that could not be graded",
        "at-risk": "a target is close",
        "breached": "a target was missed",
        "postmortem-due": "a postmortem is owed",
        "confidential": "never shown in public",
    },
    Intake: {
        "default": "the severity of a report that gives none",
        "fields": 'a heading of your own form, such as "Dringlichkeit", names a field of the report',
    },
    AlertRule: {
        "above": "the reading, with its unit",
        "severity": "how severe that is",
        "type": "the type of the incident",
    },
    Closing: {
        "severities": "for which severities it holds",
        "verify": "the ways in which the recovery is verified",
        "checklist": "what should be true before it is closed",
    },
    Postmortem: {
        "required": "for which severities one is owed",
        "reviewers": "who reviews it",
        "document": "how long after the resolution it is written",
        "review": "how long after the resolution it is reviewed",
        "overdue": "how long after the closing it is late",
        "agenda": "the parts of the review, by their lengths",
    },
    Goals: {
        "detect": "from the start to the detection",
        "respond": "from the opening to the response",
        "resolve": "from the opening to the resolution",
        "first-contact": "resolved by whoever was asked first, in per cent",
        "satisfaction": "out of five",
    },
    Retention: {
        "deliveries": "for the bodies of webhooks that have been worked off; at least a week, `off` is for ever"
    },
}
"""The description of each key; a test fails when one is missing."""

KIND_DESCRIPTIONS: Mapping[Any, str] = {
    str: "a line of text",
    Duration: "a duration",
    date: "a date, such as `2026-12-24`",
    Severity: "a severity",
    value_parsers.Zone: "an IANA time zone, such as `Europe/Berlin`",
    value_parsers.Login: "a GitHub login",
    value_parsers.Name: "a name",
    value_parsers.Contact: "a contact, role, team or rotation",
    value_parsers.OwnContact: "the name of a contact",
    value_parsers.CalendarName: "the name of a calendar, or `team`",
    value_parsers.OwnCalendar: "the name of a calendar",
    value_parsers.TeamName: "the name of a team",
    value_parsers.RotationName: "the name of a rotation",
    value_parsers.RunbookName: "the name of a runbook",
    value_parsers.ServiceName: "the name of a service",
    value_parsers.ClockName: "a clock",
    value_parsers.LabelName: "a label of up to 50 characters",
    value_parsers.Heading: "a heading of the form",
    value_parsers.ReportField: f"one of {', '.join(f'`{report_field_key(name)}`' for name in REPORT_FIELDS)}",
    value_parsers.RepeatInterval: "a duration, not `0m`",
    value_parsers.Elapsed: "a duration that counts every hour",
    value_parsers.Turn: "`weekly`, `two-weekly`, or a duration from `1h`",
    value_parsers.TimeOfDay: "a time of the day, such as `09:00`",
    value_parsers.Moment: "a date with a time, such as `2026-12-24 18:00`",
    value_parsers.Percent: "per cent, 1 to 100",
    value_parsers.Count: "a number from 1",
    value_parsers.Hours: "hours, such as `09:00-17:00`",
    value_parsers.Weekdays: f"days of {', '.join(WEEKDAY_NAMES)}, or a range such as `mon-fri`",
    value_parsers.WeekdayRange: "a day, or a range such as `mon-fri`",
    value_parsers.Country: "an ISO 3166-1 code, such as `DE`",
    value_parsers.Region: "an ISO 3166-2 subdivision without its country, such as `BE`",
    value_parsers.Mail: "a mail address",
    value_parsers.Link: "an https address, or a path in the repository",
    value_parsers.FeedAddress: "a path in the repository that ends in `.ics`, `env:FEED_NAME`, or an https address",
    value_parsers.ChannelUrl: "`env:CHANNEL_NAME`, or an https address",
    value_parsers.Variable: "`env:CHANNEL_NAME_SECRET`",
    value_parsers.RoomName: "a line of text with blanks: "
    f"{', '.join(f'`{{{{ {word} }}}}`' for word in ROOM_PLACEHOLDERS[:-1])}",
    value_parsers.RoomLink: "an https address with blanks: "
    f"{', '.join(f'`{{{{ {word} }}}}`' for word in ROOM_PLACEHOLDERS)}",
    value_parsers.MetricReading: "a number with its unit, such as `5 s`",
    value_parsers.Score: "a number from 0.0 to 5.0",
}
"""The description of each kind of word."""

KIND_EXAMPLES: Mapping[Any, tuple[str, ...]] = {
    str: ("customer communication required",),
    Duration: ("15m", "4h", "3d", "1bd"),
    date: ("2026-12-24",),
    value_parsers.Zone: ("Europe/Berlin", "America/New_York"),
    value_parsers.Login: ("mona", "hubot"),
    value_parsers.Name: ("payments",),
    value_parsers.Contact: ("on-call", "it-manager", "owner"),
    value_parsers.OwnContact: ("it-manager",),
    value_parsers.CalendarName: ("business", "team"),
    value_parsers.OwnCalendar: ("business",),
    value_parsers.TeamName: ("payments",),
    value_parsers.RotationName: ("on-call",),
    value_parsers.RunbookName: ("database",),
    value_parsers.ServiceName: ("checkout",),
    value_parsers.LabelName: ("sev1", "kind: incident"),
    value_parsers.Heading: ("Dringlichkeit",),
    value_parsers.RepeatInterval: ("5m", "30m"),
    value_parsers.Elapsed: ("72h",),
    value_parsers.Turn: ("weekly", "two-weekly", "10d", "12h"),
    value_parsers.TimeOfDay: ("09:00",),
    value_parsers.Moment: ("2026-12-24 18:00",),
    value_parsers.Percent: ("50", "80"),
    value_parsers.Count: ("2",),
    value_parsers.Hours: ("09:00-17:00", "22:00-06:00", "00:00-24:00"),
    value_parsers.WeekdayRange: ("mon-fri", "sat"),
    value_parsers.Country: ("DE", "US"),
    value_parsers.Region: ("BE", "CA"),
    value_parsers.Mail: ("mona@example.com",),
    value_parsers.Link: ("docs/runbooks/database.md", "https://example.com/runbook"),
    value_parsers.FeedAddress: ("on-call.ics", "env:FEED_ON_CALL", "https://example.com/on-call.ics"),
    value_parsers.ChannelUrl: ("env:CHANNEL_OPS", "https://hooks.example.com/muster"),
    value_parsers.Variable: ("env:CHANNEL_OPS_SECRET",),
    value_parsers.RoomName: ("{{ id }}-{{ service }}",),
    value_parsers.RoomLink: ("https://meet.example.com/{{ room }}",),
    value_parsers.MetricReading: ("5 s", "90 %", "100/min"),
    value_parsers.Score: ("4.0",),
}
"""Readable examples of each kind of word."""

_RULE_NUMBERS = re.compile(r" \([A-Z][0-9]{1,2}(?:(?:, | to )[A-Z][0-9]{1,2})*\)")


def type_description(record_type: type) -> str:
    """Return the first sentence of a type's docstring, with keys as the file spells them and without rule numbers."""
    text = _RULE_NUMBERS.sub("", " ".join(cleandoc(record_type.__doc__ or "").split())).replace("`Policy.", "`")
    for entry in key_specs(record_type).values():
        for name in entry.fields:
            text = text.replace(f"`{name}`", f"`{entry.key}`")
    return re.split(r"(?<=\.) ", text)[0]
