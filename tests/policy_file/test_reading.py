"""A team's file on top of its profile, and properties of every text."""

from __future__ import annotations

import re
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from types import NoneType
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.core.calendar import BUSINESS, due_time
from app.core.incident_report import Exposure, Kind, Level
from app.core.policy import (
    MATRIX,
    Calendar,
    Duration,
    Floor,
    Labels,
    Person,
    Policy,
    Step,
    Target,
    Targets,
    Until,
)
from app.core.severity import Severity
from app.policy_file import PolicyFault, PolicyFaults, load_profile, read_policy
from app.policy_file.field_rules import key_specs
from app.policy_file.inheritance import load_profile_text
from app.policy_file.value_parsers import PARSERS, Weekdays
from app.policy_file.yaml_tree import PARSER, ListNode, Node, PurePythonParser, ScalarNode, UnsupportedYaml, parse_yaml

SEV1, SEV2, SEV3, SEV4 = Severity

# A team's own file.


@pytest.mark.parametrize(
    "text", ["", "\n# nothing yet\n", "---\n", "extends: guide", "severities:\n  # sev1:\npeople:\n"]
)
def test_a_file_that_says_nothing_is_the_guide(text: str) -> None:
    assert read_policy(text) == load_profile("guide")


def test_a_policy_as_a_team_writes_it() -> None:
    policy = read_policy("""
extends: guide
timezone: Europe/Berlin
severities:
  sev1: {acknowledge: off, respond: 10m}
  sev3: {respond: {within: 4h, calendar: business}, resolve: {calendar: business}}
  sev4: off
escalation:
  sev3:
    - {after: 0m, to: [on-call, cto], until: ack, repeat: 10m}
    - after: 1bd
      to: sre
      do: "call @acme: 12:30"
  sev2: off
warnings: [25, 50, 100]
silence: 3
calendars:
  business: {hours: 08:30-16:45, days: mon-thu, holidays: [2026-12-24, 2026-12-31]}
  sydney: {timezone: Australia/Sydney, days: [mon, wed-fri], hours: "22:00-06:00"}
  always: {days: mon-sun, hours: 00:00-24:00}
people:
  mona: {name: Mona Lisa}
  hubot:
contacts:
  on-call: [mona, hubot]
  sre: hubot
matrix:
  low: {low: sev3}
floors:
  - {because: personal data, at-least: sev2, personal-data: yes}
  - {because: a slow shop, at-least: sev3, type: Performance degradation, impact: high}
labels: {incident: "kind: incident", severities: {sev1: critical}, at-risk: soon}
intake:
  default: sev2
  fields: {Dringlichkeit: urgency, Art: type, "Seit wann?": started-at}
postmortem: {required: sev1, reviewers: [cto, sre], document: 3bd}
""")
    guide = load_profile("guide")
    assert policy.zone == "Europe/Berlin"
    assert policy.targets[SEV1] == Targets(
        None, None, Target(Duration(600)), Target(Duration(900)), Target(Duration(4 * 3600))
    )
    assert policy.targets[SEV2] == guide.targets[SEV2]
    assert policy.targets[SEV3] == Targets(
        respond=Target(Duration(4 * 3600), BUSINESS), resolve=Target(Duration(3 * 86400), BUSINESS)
    )
    assert policy.targets[SEV4] == Targets()
    assert policy.ladders == {
        SEV1: guide.ladders[SEV1],
        SEV2: (),
        SEV3: (
            Step(Duration(), ("on-call", "cto"), (), Until.ACK, Duration(600)),
            Step(Duration(business_days=1), ("sre",), do="call @acme: 12:30"),
        ),
        SEV4: (),
    }
    assert (policy.warnings, policy.silence) == ((25, 50, 100), 3)
    assert policy.calendars == {
        "business": Calendar(
            "Europe/Berlin",
            time(8, 30),
            time(16, 45),
            frozenset(range(4)),
            holidays=frozenset({date(2026, 12, 24), date(2026, 12, 31)}),
        ),
        "sydney": Calendar("Australia/Sydney", time(22), time(6), frozenset({0, 2, 3, 4})),
        "always": Calendar("Europe/Berlin", time(0), time(0), frozenset(range(7))),
    }
    assert policy.people == {"mona": Person("Mona Lisa"), "hubot": Person()}
    assert policy.contacts == {**guide.contacts, "on-call": ("mona", "hubot"), "sre": ("hubot",)}
    assert policy.matrix == {**MATRIX, Level.LOW: {**MATRIX[Level.LOW], Level.LOW: SEV3}}
    assert policy.floors == (
        Floor("personal data", SEV2, personal_data=Exposure.YES),
        Floor("a slow shop", SEV3, kind=Kind.DEGRADATION, impact=Level.HIGH),
    )
    assert policy.labels == Labels("kind: incident", ("critical", "sev2", "sev3", "sev4"), at_risk="soon")
    assert policy.intake.default is SEV2
    assert policy.intake.fields == {"Dringlichkeit": "urgency", "Art": "kind", "Seit wann?": "started_at"}
    assert policy.postmortem.required == {SEV1}
    assert policy.postmortem.reviewers == ("cto", "sre")
    assert (policy.postmortem.document, policy.postmortem.review) == (Duration(business_days=3), Duration(72 * 3600))


def test_a_scale_brings_its_names_and_sev_names_always_work() -> None:
    policy = read_policy(
        "extends: p-scale\nseverities: {P1: {respond: 10m}, sev3: {respond: 2h}}\npostmortem: {required: [p0, sev2]}"
    )
    assert policy.targets[SEV2].respond == Target(Duration(600))
    assert policy.targets[SEV3].respond == Target(Duration(7200))
    assert policy.postmortem.required == {SEV1, SEV2}
    assert read_policy("severities: {P0: {respond: 10m}}\nscale: p").targets[SEV1].respond == Target(Duration(600))


def test_a_scalar_replaces_a_target_and_a_map_changes_it() -> None:
    text = "severities: {sev1: {respond: %s}}"
    assert read_policy(text % "1h").targets[SEV1].respond == Target(Duration(3600))
    assert read_policy(text % "{calendar: business}").targets[SEV1].respond == Target(Duration(900), BUSINESS)
    assert read_policy(text % "{within: 1h, calendar: off}").targets[SEV1].respond == Target(Duration(3600))


@pytest.mark.parametrize("word", ["off", "OFF", "null", "~"])
def test_off_takes_a_clock_away(word: str) -> None:
    assert read_policy(f"severities: {{sev1: {{update: {word}}}}}").targets[SEV1].update is None


def test_a_calendar_that_names_a_zone_keeps_it() -> None:
    policy = read_policy("timezone: Asia/Kolkata\ncalendars: {business: {timezone: UTC}, night: {hours: 20:00-04:00}}")
    assert policy.calendars["business"].zone == "UTC"
    assert policy.calendars["night"].zone == "Asia/Kolkata"


def test_64_kib_are_read() -> None:
    assert read_policy("#" * 65536) == load_profile("guide")


def test_every_type_of_the_policy_can_be_read() -> None:
    """A new policy field needs a parser for its type, or a more specific type in `field_rules`."""
    waiting: list[object] = [Policy]
    seen = set()
    while waiting:
        kind = waiting.pop()
        inner = [arg for arg in get_args(kind) if arg is not NoneType and arg is not Ellipsis]
        if inner:
            waiting += inner
        elif isinstance(kind, type) and is_dataclass(kind) and kind not in PARSERS:
            filled = {name for entry in key_specs(kind).values() for name in entry.fields}
            assert filled | {"profile", "shifts"} >= {field.name for field in fields(kind)}
            waiting += [entry.kind for entry in key_specs(kind).values() if kind not in seen]
            seen.add(kind)
        else:
            enumeration = isinstance(kind, type) and issubclass(kind, Enum)
            assert enumeration or kind in (*PARSERS, Weekdays), f"{kind} has no reader"


@pytest.mark.parametrize("length", ["365bd", "52d"])
def test_what_the_reader_lets_through_the_calendar_can_reach(length: str) -> None:
    mondays = ", ".join(str(date(2026, 1, 5) + timedelta(weeks=n)) for n in range(400))
    policy = read_policy(f"""
calendars: {{slow: {{days: mon, hours: 09:00-12:00, holidays: [{mondays}]}}}}
severities: {{sev4: {{resolve: {{within: {length}, calendar: slow}}}}}}
""")
    target = policy.targets[SEV4].resolve
    assert target is not None
    assert due_time(datetime(2026, 1, 1, tzinfo=UTC), target, policy.calendars).year in range(2040, 2046)


# Properties of every text.

PIECES = (
    "extends", "guide", "severities", "sev1", "respond", "15m", "escalation", "after", "to", "cto", "off", "labels", "paused", "people",
    "mona", ": ", ":", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "#", " #", "'", '"', "\\", "&a", "*a", "!!str ", "|", ">", "%",
    "---\n", "...", "\t", "\0", "é", "🚨", "\ud800", "? ", "<<", "~", "0x1", "\r\n", "\x85", "\u2028", "\ufeff",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_a_policy_or_faults_of_one_line_each(text: str) -> None:
    errors: tuple[PolicyFault, ...] = ()
    try:
        read_policy(text)
    except PolicyFaults as error:
        errors = error.errors
    assert all(str(fault).isprintable() and fault.line >= 1 and fault.column >= 1 for fault in errors)


def written_positions(node: Node) -> object:
    """Return the tree with the position of everything that is written; a missing value has none."""
    if isinstance(node, ScalarNode):
        return node if node.value or not node.plain else None
    if isinstance(node, ListNode):
        return node.position, [written_positions(inner) for inner in node.nodes]
    return node.position, [(written_positions(key), written_positions(inner)) for key, inner in node.pairs]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
@example("a: {b: 'c', d: }\ne:\n- \n- {f: , g: [ ]}\n")
@example(load_profile_text("strict"))
def test_both_parsers_see_the_same_file(text: str) -> None:
    """What both libyaml, where it is installed, and the pure Python parser accept they read alike, to the column."""
    seen = []
    for parser in (PARSER, PurePythonParser):
        try:
            tree, twice = parse_yaml(text, parser)
        except UnsupportedYaml:
            return
        seen.append(
            (written_positions(tree), [(written_positions(one.key), written_positions(one.first)) for one in twice])
        )
    assert seen[0] == seen[1]


def test_a_value_that_is_not_written_stands_behind_its_colon() -> None:
    for parser in (PARSER, PurePythonParser):
        tree, _ = parse_yaml("a: {b:   , c: }\nd:\n", parser)
        assert re.findall(r"value='', line=(\d), column=(\d+)", repr(tree)) == [("1", "7"), ("1", "14"), ("2", "3")]
