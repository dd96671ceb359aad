"""Generate the policy page: the keys of the policy file by topic, from the tables of the reader."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import date, time
from enum import Enum
from itertools import chain
from types import NoneType
from typing import Any, get_args, get_origin

from app.core.incident_report import Level
from app.core.policy import (
    MATRIX,
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
from app.policy_file import DEFAULT_PROFILE, POLICY_PATH, PROFILES
from app.policy_file.field_docs import KEY_DESCRIPTIONS, KIND_DESCRIPTIONS, type_description
from app.policy_file.field_rules import SHORTHAND_FIELDS, KeySpec, key_specs
from app.policy_file.inheritance import load_profile_text
from app.policy_file.value_parsers import ENUM_NOUNS, NAMED_TURNS, WEEKDAY_NAMES, Zone

_STARTER_POLICY = """\
# yaml-language-server: $schema=incidents.schema.json

people:
  mona: {name: Mona Lisa, mail: mona@example.com}

contacts:
  it-manager: hubot
  cto: octocat

rotations:
  on-call:
    people: [mona, hubot]
    turn: weekly
    starts: 2026-01-05

severities:
  sev2:
    respond: 30m
"""
"""The short policy file that the page begins with."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A section of the page: keys of the policy file, and the record types below them.

    Each record type is listed with the path that the page shows for it.
    """

    title: str
    lead: str
    example: str
    keys: tuple[str, ...]
    record_types: tuple[tuple[str, type], ...]


TOPICS = (
    Topic(
        "Clocks",
        "A clock runs where it has a target. `15m` counts every hour, `1bd` is one day of a calendar, and "
        "`{within: 4h, calendar: business}` counts the open hours only. `off` stops a clock. Clocks of a law cannot be "
        "paused. National holidays come from the country and region of a calendar. Dates lie between 2000 and 2100; at "
        "most 10 warnings, 20 audiences and 20 regulations are read.",
        """\
timezone: Europe/Berlin
severities:
  sev2: {respond: 30m, resolve: {within: 8h, calendar: business}}
  sev3: {respond: {within: 4h, calendar: team}}
calendars:
  business: {hours: 08:30-17:30, days: mon-fri, country: DE, region: BE}
audiences:
  executives: {to: cto, first: {sev1: 15m}, updates: {sev1: 2h}}
""",
        ("timezone", "severities", "warnings", "silence", "calendars", "audiences", "regulations"),
        (
            ("severities.sev1", Targets),
            ("A target", Target),
            ("calendars.<name>", Calendar),
            ("audiences.<name>", Audience),
            ("regulations.<name>", Regulation),
        ),
    ),
    Topic(
        "Escalation",
        "A ladder counts from the declaration. A step with `until: ack` pages, repeats, and ends with an "
        "acknowledgement; any other runs on until the incident is resolved. `to` names contacts, roles, teams or "
        "rotations, never logins; `owner` is the team that owns "
        "the affected service. A channel carries the notices whose "
        "`via` it serves, also while GitHub is away: see [Channels](channels.md). "
        "Of one severity at most 100 steps are read, 12 of which page, and the repeats may add up to 60 pages an hour.",
        """\
escalation:
  sev1:
    - {after: 0m, to: on-call, via: [pager, chat], until: ack, repeat: 5m}
    - {after: 30m, to: [it-manager, owner]}
    - {after: 1h, do: customer communication required}
first-notice:
  sev1: {within: 15m, via: [pager, chat, mail], to: leadership}
channels:
  ops: {url: env:CHANNEL_OPS, for: [pager, chat]}
war-room: {severities: sev1, link: "https://meet.example.com/{{ room }}"}
""",
        ("escalation", "first-notice", "channels", "war-room"),
        (
            ("escalation.sev1[]", Step),
            ("first-notice.sev1", FirstNotice),
            ("channels.<name>", ChannelConfig),
            ("war-room", WarRoom),
        ),
    ),
    Topic(
        "People",
        "People, not teams of GitHub, are mentioned. A profile "
        "declares contacts and roles that nobody holds; your file "
        "says who does. A name stands for one thing: a contact, a role, a team or a rotation, which may fill a contact "
        "that the profile left empty. A feed whose address is a secret is written as `env:FEED_NAME`.",
        """\
people:
  mona: {name: Mona Lisa, mail: mona@example.com}
contacts:
  it-manager: hubot
roles:
  communications-lead: {holder: hubot, backup: mona}
rotations:
  on-call:
    people: [mona, hubot]
    secondary: octocat
    turn: two-weekly
    starts: 2026-01-05
    overrides:
      - {from: 2026-12-24 18:00, until: 2026-12-26 09:00, person: hubot, instead-of: mona}
  database: {feed: env:FEED_DATABASE}
teams:
  payments: {members: [mona, hubot], on-call: database}
""",
        ("people", "contacts", "roles", "rotations", "teams"),
        (
            ("people.<login>", Person),
            ("roles.<name>", RoleHolders),
            ("rotations.<name>", Rotation),
            ("rotations.<name>.overrides[]", OnCallOverride),
            ("teams.<name>", Team),
        ),
    ),
    Topic(
        "Services",
        "A report names services as affected, by their names or aliases. The team that owns the first of them is "
        "`owner` in a ladder, its hours are the calendar `team`, and its rotation is paged as `on-call`. An override "
        "changes single clocks, and replaces ladders, first notices and contacts.",
        """\
teams:
  payments: {members: [mona, hubot]}
services:
  checkout: {owner: payments, aliases: [shop, basket], runbooks: database}
runbooks:
  database: {link: docs/runbooks/database.md, types: service outage}
overrides:
  - services: checkout
    severities: {sev2: {respond: 10m, update: off}}
    escalation:
      sev2: [{after: 0m, to: owner, until: ack, repeat: 5m}, {after: 15m, to: cto}]
""",
        ("services", "runbooks", "overrides"),
        (("services.<name>", Service), ("runbooks.<name>", Runbook), ("overrides[]", Override)),
    ),
    Topic(
        "Grading",
        "Severity by urgency and impact; a floor may raise it, and when two grounds differ the higher severity holds. "
        "Names of severities are read on the scale of the file; `sev1` to `sev4` work on both.",
        """\
aliases: {sev1: [critical, urgent]}
matrix: {low: {low: sev3}}
floors:
  - {because: the shop is down, at-least: sev1, type: service outage, service: checkout}
services: {checkout: {}}
labels: {incident: "kind: incident", severities: {sev1: critical}}
intake: {fields: {Dringlichkeit: urgency}}
alerts:
  response time: {above: 5 s, severity: sev2, type: performance degradation}
""",
        ("scale", "aliases", "matrix", "floors", "labels", "intake", "alerts"),
        (("floors[]", Floor), ("labels", Labels), ("intake", Intake), ("alerts.<name>", AlertRule)),
    ),
    Topic(
        "The end and after",
        "What the board lists before an incident is closed, when the postmortem is due, what reports measure against, "
        "and what is kept.",
        """\
closing: {severities: [sev1, sev2], verify: [functional, user, monitoring]}
postmortem: {required: sev1, reviewers: [it-manager, cto], document: 3bd}
goals: {respond: 10m}
retention: {deliveries: 14d}
""",
        ("closing", "postmortem", "goals", "retention"),
        (("closing", Closing), ("postmortem", Postmortem), ("goals", Goals), ("retention", Retention)),
    ),
)
"""The sections in their order; together they cover every key of the file."""

_RECORD_TYPES_BY_TITLE = {title: part for topic in TOPICS for title, part in topic.record_types}


def policy_page() -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# The policy\n"
    yield (
        f"A repository's policy stands in `{POLICY_PATH}`. Without "
        f"that file the profile `{DEFAULT_PROFILE}` holds, and a file says "
        "only what differs. This is all that most teams write:\n"
    )
    yield from _yaml_block(_STARTER_POLICY)
    yield (
        "The first line gives your editor completion and help: `muster policy schema > .github/incidents.schema.json` "
        "writes the schema beside the file.\n"
    )
    yield (
        "- `muster policy check FILE` names every fault with its line. A file with a fault changes nothing: "
        "the last good one stays in force."
    )
    yield "- `muster policy explain FILE --sev sev1` shows every value with where it comes from."
    yield (
        "- `muster policy simulate FILE --sev sev1 --at 2026-03-06T16:40:00Z --for 6h` shows who would be told what, "
        "and when.\n"
    )
    yield "## How it is read\n"
    yield (
        f"- `extends:` names what the file builds on: a profile "
        f"({_join_choices(PROFILES)}; without it, `{DEFAULT_PROFILE}`), or `org`: "
        f"the file of the organisation, `{POLICY_PATH}` in its repository `.github`, which builds on a profile itself."
    )
    yield "- A map is merged into what it builds on, key by key. A list or a single value replaces it."
    yield "- Where a list stands, a single value is a list of one."
    yield (
        "- `off` takes away: a clock, a repetition, a list, a text, or a name of a map such as `regulations: "
        "{gdpr-article-33: off}`."
    )
    yield "- A file is one plain YAML document of up to 64 KiB, without anchors, tags and merge keys.\n"
    yield f"Topics: {' · '.join(f'[{topic.title}]({_anchor(topic.title)})' for topic in TOPICS)}\n"
    for topic in TOPICS:
        yield from _topic_section(topic)
    yield "## Durations\n"
    yield (
        f"{type_description(Duration)} `d` is 24 elapsed hours, and "
        f"`bd` a day of a calendar; `0m` is at once. From 1 minute to 365 "
        "days, in `s`, `m`, `h`, `d` or `w`, and from `1bd` to `365bd`.\n"
    )
    yield f"## The profile `{DEFAULT_PROFILE}`\n"
    yield "Behind each value stands the document it comes from, or what it goes back to; `choice` is our own.\n"
    yield from _yaml_block(load_profile_text(DEFAULT_PROFILE))


def _topic_section(topic: Topic) -> Iterator[str]:
    yield f"## {topic.title}\n"
    yield f"{topic.lead}\n"
    yield from _yaml_block(topic.example)
    specs = key_specs(Policy)
    yield markdown_table(("Key", "Is", "Holds", "Built in"), (_key_row(Policy, specs[key]) for key in topic.keys))
    if "matrix" in topic.keys:
        levels = [f"impact {level.value}" for level in Level]
        rows = ((f"**urgency {u.value}**", *(str(MATRIX[u][i]) for i in Level)) for u in Level)
        yield "The built-in matrix:\n"
        yield markdown_table(("", *levels), rows)
    for title, record_type in topic.record_types:
        yield f"### {_format_title(title)}\n"
        yield f"{type_description(record_type)}\n"
        if short := SHORTHAND_FIELDS.get(record_type):
            yield f"A single value stands for `{short}`.\n"
        yield markdown_table(
            ("Key", "Is", "Holds", "Without it"),
            (_key_row(record_type, spec) for spec in key_specs(record_type).values()),
        )


def _yaml_block(text: str) -> Iterator[str]:
    yield f"```yaml\n{text.rstrip()}\n```\n"


def _format_title(title: str) -> str:
    return title if title[0].isupper() else f"`{title}`"


def _key_row(record_type: type, spec: KeySpec) -> tuple[str, str, str, str]:
    allowed = f"{_describe_kind(spec.kind)}, or `off`" if spec.clearable else _describe_kind(spec.kind)
    return f"`{spec.key}`", KEY_DESCRIPTIONS[record_type][spec.key], allowed, _describe_default(record_type, spec)


def _describe_kind(kind: Any) -> str:
    """Describe in words what a key of this kind may hold."""
    args = tuple(arg for arg in get_args(kind) if arg is not NoneType)
    if get_origin(kind) is Mapping:
        return f"for each {_kind_noun(args[0])}: {_describe_kind(args[1])}"
    if get_origin(kind) in (tuple, frozenset):
        many = Ellipsis in args or len(args) == 1
        return f"a list, each {_describe_kind(args[0])}" if many else f"for each severity: {_describe_kind(args[0])}"
    if args:
        return f"{_describe_kind(args[0])}, or `off`"
    if kind in KIND_DESCRIPTIONS:
        return KIND_DESCRIPTIONS[kind]
    if is_dataclass(kind):
        return _link_to_type(kind)
    return _join_choices(member.value for member in kind)


def _kind_noun(kind: Any) -> str:
    return re.sub("^(?:the name of )?an? ", "", ENUM_NOUNS.get(kind.__name__) or KIND_DESCRIPTIONS[kind])


def _link_to_type(record_type: Any) -> str:
    title = next(title for title, known in _RECORD_TYPES_BY_TITLE.items() if known is record_type)
    return f"[{_format_title(title)}]({_anchor(title)})"


def _anchor(title: str) -> str:
    return "#" + re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")


def _describe_default(record_type: type, spec: KeySpec) -> str:
    """Describe the value of a key that is not written, before any profile."""
    record_field = {field.name: field for field in fields(record_type)}[spec.fields[0]]
    if spec.required:
        return "must be written"
    default = (
        record_field.default if record_field.default is not MISSING else _call_factory(record_field.default_factory)
    )
    if spec.kind is Zone and record_type is not Policy:
        return "that of the policy"
    if len(spec.fields) > 1:
        return f"`{'-'.join(_format_scalar(getattr(record_type(), name)) for name in spec.fields)}`"
    if default is MATRIX:
        return "below"
    if is_dataclass(default) and not isinstance(default, Duration):
        return "see there"
    return _format_value(default)


def _call_factory(factory: Any) -> Any:
    return factory() if callable(factory) else None


def _format_value(value: Any) -> str:
    if value is None or value in ("", (), {}, frozenset()):
        return "–"
    if isinstance(value, Mapping):
        return ", ".join(f"`{_format_scalar(key)}`" for key in value)
    if isinstance(value, frozenset):
        return ", ".join(f"`{_format_day(one)}`" for one in sorted(value))
    if isinstance(value, tuple):
        return "; ".join(f"{one.because}" if isinstance(one, Floor) else f"`{_format_scalar(one)}`" for one in value)
    return f"`{_format_scalar(value)}`"


def _format_day(value: Any) -> str:
    return WEEKDAY_NAMES[value] if type(value) is int else _format_scalar(value)


def _format_scalar(value: Any) -> str:
    if isinstance(value, Duration):
        return next((word for word, length in NAMED_TURNS.items() if length == value), str(value))
    if isinstance(value, Enum) and not isinstance(value, Severity):
        return str(value.value)
    if isinstance(value, time):
        return f"{value:%H:%M}"
    return value.isoformat() if isinstance(value, date) else str(value)


def _join_choices(values: Any) -> str:
    return " · ".join(f"`{value}`" for value in values)


def markdown_table(head: Sequence[str], rows: Any) -> str:
    """Return a table in Markdown."""
    lines = chain((head, ["---"] * len(head)), rows)
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines) + "\n"
