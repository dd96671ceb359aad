"""Per-field rules of the policy file, where it says more than the types of `app.core.policy` or spells them otherwise.

A field is a key of its own name with dashes, read by its type, unless one of these tables says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from datetime import timedelta
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from app.core.escalation import wait_time
from app.core.policy import (
    ENV_PREFIX,
    OWNER,
    TEAM,
    AlertRule,
    Audience,
    Calendar,
    ChannelConfig,
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
    Until,
    WarRoom,
    channel_name,
    feed_name,
)
from app.core.severity import Scale, Severity
from app.policy_file.fault import FormerName, InvalidValue, quoted_excerpt
from app.policy_file.value_parsers import (
    CalendarName,
    ChannelUrl,
    ClockName,
    Contact,
    Count,
    Country,
    Elapsed,
    FeedAddress,
    Heading,
    Hours,
    LabelName,
    Link,
    Login,
    Mail,
    MetricReading,
    Moment,
    Name,
    OwnCalendar,
    OwnContact,
    Percent,
    Region,
    RepeatInterval,
    ReportField,
    RoomLink,
    RoomName,
    RotationName,
    RunbookName,
    Score,
    ServiceName,
    TeamName,
    TimeOfDay,
    Turn,
    Variable,
    Weekdays,
    Zone,
    regions,
    unknown_choice,
)

FIELD_KINDS: Mapping[type, Mapping[str, Any]] = {
    Policy: {
        "aliases": Mapping[Severity, tuple[Name, ...]],
        "zone": Zone,
        "warnings": tuple[Percent, ...],
        "silence": Count,
        "audiences": Mapping[Name, Audience],
        "regulations": Mapping[Name, Regulation],
        "calendars": Mapping[Name, Calendar],
        "channels": Mapping[Name, ChannelConfig],
        "people": Mapping[Login, Person],
        "contacts": Mapping[Name, tuple[Login, ...]],
        "teams": Mapping[Name, Team],
        "roles": Mapping[Name, RoleHolders],
        "rotations": Mapping[Name, Rotation],
        "services": Mapping[Name, Service],
        "runbooks": Mapping[Name, Runbook],
        "alerts": Mapping[Name, AlertRule],
    },
    Calendar: {"zone": Zone, "days": Weekdays, "country": Country, "region": Region},
    Target: {"calendar": CalendarName | None},
    Audience: {"to": tuple[Contact, ...], "updates": Mapping[Severity, RepeatInterval]},
    Regulation: {"within": Elapsed, "to": tuple[Contact, ...]},
    Step: {"to": tuple[Contact, ...], "repeat": RepeatInterval | None},
    FirstNotice: {"to": tuple[Contact, ...]},
    ChannelConfig: {"url": ChannelUrl, "secret": Variable},
    Person: {"mail": Mail},
    Team: {"members": tuple[Login, ...], "calendar": OwnCalendar | None, "on_call": RotationName | None},
    RoleHolders: {"holder": tuple[Login, ...], "backup": tuple[Login, ...]},
    OnCallOverride: {"since": Moment, "until": Moment, "person": Login, "instead_of": Login | None},
    Rotation: {
        "people": tuple[Login, ...],
        "secondary": tuple[Login, ...],
        "turn": Turn,
        "hand_off": TimeOfDay,
        "zone": Zone,
        "feed": FeedAddress,
    },
    Service: {
        "owner": TeamName | None,
        "on_call": RotationName | None,
        "aliases": tuple[Name, ...],
        "runbooks": tuple[RunbookName, ...],
    },
    Runbook: {"link": Link},
    WarRoom: {"name": RoomName, "link": RoomLink},
    Override: {
        "services": tuple[ServiceName, ...],
        "targets": Mapping[Severity, Mapping[ClockName, Target | None]],
        "contacts": Mapping[OwnContact, tuple[Login, ...]],
    },
    Floor: {"service": ServiceName | None},
    Labels: {
        field.name: tuple[LabelName, LabelName, LabelName, LabelName] if field.name == "severities" else LabelName
        for field in fields(Labels)
    },
    Intake: {"fields": Mapping[Heading, ReportField]},
    AlertRule: {"above": MetricReading},
    Postmortem: {"reviewers": tuple[Contact, ...], "agenda": tuple[Elapsed, ...]},
    Goals: {"detect": Elapsed, "respond": Elapsed, "resolve": Elapsed, "first_contact": Percent, "satisfaction": Score},
    Retention: {"deliveries": Elapsed | None},
}
"""The kind of value in a field, where its type alone says too little."""

FIELD_KEYS: Mapping[type, Mapping[str, str]] = {
    Policy: {"zone": "timezone", "targets": "severities", "ladders": "escalation"},
    Calendar: {"zone": "timezone"},
    Rotation: {"zone": "timezone"},
    OnCallOverride: {"since": "from"},
    Regulation: {"kinds": "types"},
    Runbook: {"kinds": "types"},
    Override: {"kinds": "types", "targets": "severities", "ladders": "escalation"},
    Floor: {"kind": "type"},
    AlertRule: {"kind": "type"},
    ChannelConfig: {"serves": "for"},
}
"""The key of a field in the file, where it is not the field's own name."""

COMBINED_KEYS: Mapping[type, Mapping[str, tuple[tuple[str, ...], Any]]] = {
    Calendar: {"hours": (("opens", "closes"), Hours)}
}
"""Keys that hold several fields at once."""

SHORTHAND_FIELDS: Mapping[type, str] = {Target: "within"}
"""The field that a scalar stands for, where a map could be written."""

FIELDS_WITHOUT_KEY: Mapping[type, frozenset[str]] = {Policy: frozenset({"profile"}), Rotation: frozenset({"shifts"})}
"""Fields without a key: `extends` is read first and decides the profile; shifts are read from the feed."""

NOT_REMOVABLE_KINDS: frozenset[Any] = frozenset({Calendar, Severity, Targets})
"""Kinds that `off` cannot remove from an inherited map.

Clocks fall back on calendars, and every severity has a value.
"""

_MAX_ENTRIES: Mapping[str, int] = {"warnings": 10, "audiences": 20, "regulations": 20}
"""The most entries of each: all of their deadlines are followed for every incident."""
MAX_HOLIDAYS = 400
"""The most days off that a calendar may list."""


@dataclass(frozen=True, slots=True)
class KeySpec:
    """One key of a map: the fields it fills, and the kind of its value.

    A clearable key holds a text that `off` makes empty.
    """

    key: str
    fields: tuple[str, ...]
    kind: Any
    required: bool = False
    clearable: bool = False


@cache
def key_specs(cls: type) -> Mapping[str, KeySpec]:
    """Return the keys that the file may have where a `cls` is written."""
    field_kinds = FIELD_KINDS.get(cls, {})
    field_keys = FIELD_KEYS.get(cls, {})
    combined_keys = COMBINED_KEYS.get(cls, {})
    hidden = FIELDS_WITHOUT_KEY.get(cls, frozenset()) | {name for names, _ in combined_keys.values() for name in names}
    kinds = get_type_hints(cls)
    found = [KeySpec(key, names, kind) for key, (names, kind) in combined_keys.items()]
    for field in fields(cls):
        if field.name not in hidden:
            key = field_keys.get(field.name, field.name.replace("_", "-"))
            required = field.default is MISSING and field.default_factory is MISSING
            found.append(
                KeySpec(
                    key, (field.name,), field_kinds.get(field.name, kinds[field.name]), required, field.default == ""
                )
            )
    return {entry.key: entry for entry in found}


@dataclass(frozen=True, slots=True)
class Shape:
    """How a type is read: as one of these forms, with the types inside it.

    `removable`: `off` may remove a name of the map.
    """

    form: str
    inner: tuple[Any, ...] = ()
    removable: bool = False


@cache
def shape_of(kind: Any) -> Shape:
    """Return how that type is read."""
    origin, args = get_origin(kind), get_args(kind)
    shape = Shape("word")
    if origin in (Union, UnionType):
        shape = Shape("optional", tuple(arg for arg in args if arg is not NoneType))
    elif origin is tuple:
        shape = Shape("list", args[:1]) if Ellipsis in args else Shape("row", args)
    elif origin is frozenset:
        shape = Shape("set", args)
    elif origin is Mapping:
        shape = Shape("map", args, removable=_is_removable(args[1]))
    elif kind is Weekdays:
        shape = Shape("weekdays")
    elif is_dataclass(kind) and kind is not Duration:
        shape = Shape("record")
    return shape


def _is_removable(kind: Any) -> bool:
    """Return whether `off` removes a name of such a map; where a value can be `off` itself, it means just that."""
    return get_origin(kind) is None and kind not in NOT_REMOVABLE_KINDS


CheckFailure = tuple[tuple[str, ...], InvalidValue]
"""An error in a record as a whole: the keys it may be placed at, and the error.

It is placed at the first of these keys that the file has, otherwise at the whole record. A key may be a path, such
as `severities.sev1.update`.
"""


def _check_targets(targets: Targets) -> Iterator[CheckFailure]:
    if targets.update is not None and targets.update.within.is_immediate:
        yield ("update",), InvalidValue("'0m' would repeat without a pause", "such as 15m")


def _check_step(step: Step) -> Iterator[CheckFailure]:
    if not step.to and not step.do:
        yield (), InvalidValue("the step does nothing", "write to: with a contact, or do: with what is asked for")
    if step.repeat is not None and step.until is not Until.ACK:
        yield (
            ("repeat",),
            InvalidValue("only a page is repeated, and this step is none", "write until: ack, or take repeat: out"),
        )


def _check_channel(channel: ChannelConfig) -> Iterator[CheckFailure]:
    if not channel.serves:
        yield ("for",), InvalidValue("the channel carries nothing", "such as [pager, chat], or take the channel out")
    name = channel_name(channel.url, part="_URL")
    if channel.url.startswith(ENV_PREFIX) and not name:
        example = _channel_example(channel.url)
        wanted = f"write env:{example}, for which the operator sets {example}_URL and {example}_SECRET"
        yield ("url",), FormerName(f"{quoted_excerpt(channel.url)} is no channel of the operator", wanted)
    elif channel.secret and not name:
        wanted = "take secret: out, or write url: env:CHANNEL_NAME for an address that the operator keeps"
        yield ("secret",), FormerName("an address in this file is signed with no secret of the operator", wanted)
    elif channel.secret and channel_name(channel.secret, part="_SECRET") != name:
        wrong = f"{quoted_excerpt(channel.secret)} is not the secret of {name}"
        yield ("secret",), FormerName(wrong, "take secret: out, the channel has its own")


def _channel_example(reference: str) -> str:
    """Return the name to write instead of a former one, such as CHANNEL_OPS for `env:OPS_URL`."""
    former = reference.removeprefix(ENV_PREFIX)
    stem = former.removesuffix("_URL").removeprefix("CHANNEL_")
    return f"CHANNEL_{stem}" if stem != former and channel_name(f"env:CHANNEL_{stem}", part="") else "CHANNEL_OPS"


def _check_on_call_override(override: OnCallOverride) -> Iterator[CheckFailure]:
    if override.until <= override.since:
        yield (
            ("until",),
            InvalidValue("it ends before it begins", f"write a time after {override.since:%Y-%m-%d %H:%M}"),
        )


def _check_rotation(rotation: Rotation) -> Iterator[CheckFailure]:
    if not rotation.people and not rotation.feed:
        yield (), InvalidValue("nobody takes a turn", "write people: with their logins, or feed: with an iCalendar")
    if rotation.feed.startswith(ENV_PREFIX) and not feed_name(rotation.feed):
        wanted = "write env:FEED_NAME, such as env:FEED_ON_CALL, for which the operator sets FEED_ON_CALL"
        yield ("feed",), FormerName(f"{quoted_excerpt(rotation.feed)} is no feed of the operator", wanted)


def _check_override(override: Override) -> Iterator[CheckFailure]:
    if not (override.targets or override.ladders or override.first_notice or override.contacts):
        wanted = "write severities:, escalation:, first-notice: or contacts:"
        yield (), InvalidValue("the override changes nothing", wanted)
    for severity, clocks in override.targets.items():
        update = clocks.get("update")
        if update is not None and update.within.is_immediate:
            paths = tuple(f"severities.{name}.update" for name in _severity_spellings(severity))
            yield paths, InvalidValue("'0m' would repeat without a pause", "such as 15m")


def _check_floor(floor: Floor) -> Iterator[CheckFailure]:
    if floor.kind is None and floor.impact is None and floor.personal_data is None and floor.service is None:
        yield (
            (),
            InvalidValue("the floor is under every incident", "give it a type, an impact, personal-data or a service"),
        )


def _check_calendar(calendar: Calendar) -> Iterator[CheckFailure]:
    if not calendar.days:
        yield ("days",), InvalidValue("the calendar has no open day", "such as mon-fri")
    if len(calendar.holidays) > MAX_HOLIDAYS:
        yield ("holidays",), InvalidValue(f"{len(calendar.holidays)} days off", f"at most {MAX_HOLIDAYS} are read")
    if calendar.region and not calendar.country:
        yield ("region",), InvalidValue("a region without its country", "write country: beside it, such as DE")
    elif calendar.region and calendar.region not in regions(calendar.country):
        what = f"a region of {calendar.country} with holidays of its own"
        known = regions(calendar.country)
        wrong = unknown_choice(calendar.region, what, known)
        yield ("region", "country"), wrong if known else InvalidValue(wrong.found, "take it out")
    both = sorted(calendar.holidays & calendar.workdays)
    if both:
        yield ("workdays", "holidays"), InvalidValue(f"{both[0]} is a day off and a day of work", "keep one")


def _check_labels(labels: Labels) -> Iterator[CheckFailure]:
    used_by: dict[str, str] = {}
    for entry in key_specs(Labels).values():
        value = getattr(labels, entry.fields[0])
        for name in value if isinstance(value, tuple) else (value,):
            holder = used_by.get(name.lower())
            if holder is not None:
                wrong = InvalidValue(
                    f"the label {quoted_excerpt(name)} is used for {holder} and for {entry.key}", "give each its own"
                )
                yield (entry.key, holder), wrong
            used_by[name.lower()] = entry.key


def _check_retention(retention: Retention) -> Iterator[CheckFailure]:
    period = retention.deliveries
    if period is not None and period.seconds < 7 * 86400:
        wrong = InvalidValue(
            f"'{period}' is too short: GitHub may send a delivery again within a week", "from 7d, or off"
        )
        yield ("deliveries",), wrong


def _check_policy(policy: Policy) -> Iterator[CheckFailure]:
    if any(a >= b for a, b in zip(policy.warnings, policy.warnings[1:], strict=False)):
        yield ("warnings",), InvalidValue("the warnings do not rise", "such as [50, 80]")
    for key, most in _MAX_ENTRIES.items():
        if len(getattr(policy, key)) > most:
            yield (key,), InvalidValue(f"these are {len(getattr(policy, key))} {key}", f"at most {most}")
    yield from _check_reserved_names(policy)
    yield from _check_severity_aliases(policy)
    yield from _check_service_aliases(policy)


def _check_reserved_names(policy: Policy) -> Iterator[CheckFailure]:
    words = [("calendars", TEAM, "the calendar of the team that owns a service")]
    words += [(part, OWNER, "the team that owns a service") for part in RECIPIENT_PARTS]
    for part, word, meaning in words:
        for name in getattr(policy, part):
            if name.lower() == word:
                yield (
                    (f"{part}.{name}",),
                    InvalidValue(f"{quoted_excerpt(name)} stands for {meaning}", "give it another name"),
                )


def _check_severity_aliases(policy: Policy) -> Iterator[CheckFailure]:
    used_by: dict[str, Severity] = {}
    for severity, names in policy.aliases.items():
        for name in names if isinstance(names, tuple) else ():
            holder = used_by.setdefault(name.casefold(), policy.scale.parse(name) or severity)
            if holder is not severity:
                wrong = InvalidValue(
                    f"{quoted_excerpt(name)} is {holder.inline_name(policy.scale)} already", "give each its own"
                )
                yield tuple(f"aliases.{spelled}" for spelled in _severity_spellings(severity)), wrong


def _check_service_aliases(policy: Policy) -> Iterator[CheckFailure]:
    used_by = {name.casefold(): name for name in policy.services}
    for name, service in policy.services.items():
        for alias in service.aliases if isinstance(service, Service) else ():
            holder = used_by.setdefault(alias.casefold(), name)
            if holder != name:
                wrong = InvalidValue(
                    f"{quoted_excerpt(alias)} is used for {holder} and for {name}", "give each its own"
                )
                yield (f"services.{name}.aliases", f"services.{holder}.aliases", f"services.{holder}"), wrong


def _severity_spellings(severity: Severity) -> tuple[str, ...]:
    """Return the ways a file may spell that severity, on either scale."""
    spelled = (str(severity), *(severity.display_name(scale) for scale in Scale))
    return (*spelled, *(name.lower() for name in spelled[1:]))


RECIPIENT_PARTS = ("contacts", "roles", "teams", "rotations")
"""The parts whose names a step can notify."""

CHECKS: Mapping[type, Callable[[Any], Iterator[CheckFailure]]] = {
    Targets: _check_targets,
    Step: _check_step,
    ChannelConfig: _check_channel,
    OnCallOverride: _check_on_call_override,
    Rotation: _check_rotation,
    Override: _check_override,
    Floor: _check_floor,
    Calendar: _check_calendar,
    Labels: _check_labels,
    Retention: _check_retention,
    Policy: _check_policy,
}
"""The checks of a record after its fields were read."""


_MAX_STEPS = 100
"""How many steps a severity may have, paging or not."""
_MAX_PAGING_STEPS = 12
"""How many steps of a severity may page until it is acknowledged."""
_MAX_PAGES_PER_HOUR = 60
"""How many pages an hour the repeats of a severity may add up to."""


def _check_pages(steps: tuple[Any, ...]) -> Iterator[tuple[int, InvalidValue]]:
    """Yield the step with which there are more paging steps, or more pages an hour, than people can stand."""
    paging = [(n, step) for n, step in enumerate(steps) if isinstance(step, Step) and step.until is Until.ACK]
    if len(paging) > _MAX_PAGING_STEPS:
        wrong = InvalidValue(f"{len(paging)} steps page at the same time", f"at most {_MAX_PAGING_STEPS}")
        yield paging[_MAX_PAGING_STEPS][0], wrong
        return
    pages = 0.0
    for n, step in paging:
        if step.repeat is not None:
            pages += timedelta(hours=1) / wait_time(step.repeat)
        if pages > _MAX_PAGES_PER_HOUR:
            wrong = InvalidValue(
                f"with this step it pages {pages:.0f} times an hour",
                f"at most {_MAX_PAGES_PER_HOUR}: repeat less often",
            )
            yield n, wrong
            return


def _check_steps(steps: tuple[Any, ...]) -> Iterator[tuple[int, InvalidValue]]:
    if len(steps) > _MAX_STEPS:
        yield _MAX_STEPS, InvalidValue(f"these are {len(steps)} steps", f"at most {_MAX_STEPS}")
    yield from _check_pages(steps)
    first_index: dict[tuple[Duration, frozenset[str]], int] = {}
    for n, step in enumerate(steps):
        if isinstance(step, Step):
            earlier = first_index.setdefault((step.after, frozenset(step.to)), n)
            if earlier != n:
                yield (
                    n,
                    InvalidValue(
                        f"the step is told to the same after the same time as [{earlier}]", "make one of them"
                    ),
                )


LIST_CHECKS: Mapping[Any, Callable[[tuple[Any, ...]], Iterator[tuple[int, InvalidValue]]]] = {Step: _check_steps}
"""The checks of a list, by the type of its items; each failure has the index of its item.

An item that already has an error is not of that type and has to be skipped.
"""
