"""The JSON schema: what it accepts, and what it refuses before the reader does."""

from __future__ import annotations

import pytest
from jsonschema import Draft202012Validator

from app.core.policy import Policy
from app.policy_file import PROFILES, PolicyFaults, read_policy, schema
from app.policy_file.field_docs import KEY_DESCRIPTIONS, KIND_EXAMPLES
from app.policy_file.field_rules import key_specs
from app.policy_file.inheritance import load_profile_text
from app.policy_file.value_parsers import PARSERS, WeekdayRange

from .core_yaml import is_valid, load_yaml, schema_errors
from .large import large_policy


def test_the_schema_is_one() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_shipped_profile_is_valid(profile: str) -> None:
    assert schema_errors(load_profile_text(profile)) == []


def test_the_large_policy_is_valid() -> None:
    assert schema_errors(large_policy()) == []


def test_every_key_has_a_meaning_and_says_it() -> None:
    for part, meaning in KEY_DESCRIPTIONS.items():
        assert meaning.keys() == key_specs(part).keys(), part
        printed = schema() if part is Policy else schema()["$defs"][part.__name__]
        assert all(printed["properties"][key]["description"] for key in meaning)


@pytest.mark.parametrize("kind", KIND_EXAMPLES, ids=lambda kind: kind.__name__)
def test_every_example_is_read(kind: object) -> None:
    for example in KIND_EXAMPLES[kind]:
        assert PARSERS[kind](example) is not None
    assert set(KIND_EXAMPLES) | {WeekdayRange} <= set(PARSERS)


VALID_FILES = [
    "",
    "people:\n  mona:\n",
    "scale: P\nseverities: {P0: {respond: OFF}, SEV2: off, sev3: ~}",
    "warnings: [50, '80']\nsilence: 3",
    "goals: {satisfaction: 4, first-contact: 80}",
    "floors: [{because: 5, at-least: Sev2, type: Performance Degradation}]",
    "calendars: {business: {days: [Mon, wed-fri], country: DE, region: BE, holidays: 2026-12-24}}",
    "labels: {severities: [a, b, c, d]}",
    "labels: {severities: {P1: b}}\nscale: p",
    "rotations: {night: {people: mona, turn: Weekly, feed: env:FEED_ON_CALL}}",
    "regulations: {gdpr-article-33: off}\nretention: {deliveries: off}",
    "people: {'123': {name: true}}\ncontacts: {cto: 123}",
    "war-room: {link: off}",
]


@pytest.mark.parametrize("text", VALID_FILES)
def test_what_the_reader_reads_the_schema_lets_through(text: str) -> None:
    read_policy(text)
    assert schema_errors(text) == []


INVALID_FILES = [
    "extends: guides",
    "extends: [guide]",
    "slience: 2",
    "silence: two",
    "silence: 0",
    "warnings: [50, 101]",
    "scale: q",
    "severities: {sev5: {}}",
    "severities: {sev1: {resond: 1h}}",
    "severities: {sev1: {respond: soon}}",
    "severities: {sev1: {respond: [1h]}}",
    "severities: {sev1: {respond: {within: 1h, calender: business}}}",
    "severities: {sev1: 15m}",
    "escalation: {sev1: [{to: cto}]}",
    "escalation: {sev1: {after: 1h, to: cto}}",
    "escalation: {sev1: [{after: 1h, to: cto, until: acked}]}",
    "escalation: {sev1: [{after: 1h, to: cto, until: ack, repeat: 0m}]}",
    "first-notice: {sev1: {via: [phone]}}",
    "calendars: {business: {hours: 9-5}}",
    "calendars: {business: {holidays: [24.12.2026]}}",
    "calendars: {business: {country: Germany}}",
    "calendars: {business: off}",
    "people: {mona: {mail: mona}}",
    "people: {Mona Lisa: {}}",
    "contacts: {cto: acme/sre}",
    "contacts: {'@cto': mona}",
    "contacts: {cto: {person: mona}}",
    "rotations: {night: {people: mona, turn: 2bd}}",
    "rotations: {night: {feed: ../x.ics}}",
    "rotations: {night: {feed: on-call.txt}}",
    "rotations: {night: {people: mona, overrides: [{from: 2026-12-24, until: 2026-12-25 09:00, person: hubot}]}}",
    "rotations: {night: {people: mona, overrides: [{person: hubot}]}}",
    "runbooks: {a: {}}",
    "runbooks: {a: {link: 'javascript:alert(1)'}}",
    "regulations: {law: {within: 3bd}}",
    "matrix: {high: {hihg: sev1}}",
    "floors: [{because: x}]",
    "floors: [{because: x, at-least: sev1, type: outage}]",
    f"labels: {{paused: {'a' * 51}}}",
    "labels: {severities: [a, b, c]}",
    "intake: {fields: {Wann: when}}",
    "alerts: {x: {above: slow, severity: sev1}}",
    "overrides: [{severities: {sev1: {respnd: 5m}}}]",
    "goals: {satisfaction: 5.5}",
    "retention: {deliveries: for ever}",
]


@pytest.mark.parametrize("text", INVALID_FILES)
def test_what_the_schema_refuses_the_reader_refuses_too(text: str) -> None:
    assert not is_valid(text)
    with pytest.raises(PolicyFaults):
        read_policy(text)


def test_the_schema_sees_a_file_as_an_editor_does() -> None:
    assert load_yaml("a: 80\nb: off\nc: 4.0\nd:\ne: 'x'\nf: [true, 09:00]") == {
        "a": 80, "b": "off", "c": 4.0, "d": None, "e": "x", "f": [True, "09:00"],
    }  # fmt: skip
