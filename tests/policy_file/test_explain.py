"""Every value with its origin: the file, the organisation's file, a profile with its document, or built in."""

from __future__ import annotations

import re

import pytest

from app.core.severity import Severity
from app.policy_file import PROFILES, PolicyFaults, read_policy
from app.policy_file.explain import BUILT_IN_DOCUMENTS, ExplainedValue, explain_policy, format_inline
from app.policy_file.field_rules import key_specs
from app.policy_file.inheritance import load_profile_text
from app.policy_file.yaml_tree import parse_yaml

from .errors import single_error

ORG = """
extends: guide
timezone: Europe/Berlin
contacts:
  cto: octocat
severities:
  sev1:
    respond: 10m
    update: 20m
overrides:
  - types: security breach
    severities: {sev1: {respond: 5m}}
"""

TEAM = """
extends: org
people:
  mona:
contacts: {it-manager: [mona, hubot]}
severities:
  sev1: {respond: 72h, resolve: {calendar: business}}
  sev4: off
escalation:
  sev2:
    - {after: 1h, to: [cto, it-manager], do: "call, then write"}
rotations:
  on-call: {people: mona, starts: 2026-01-05}
postmortem: {required: sev1}
labels: {incident: "off"}
"""

EXPLAINED = """
timezone                      Europe/Berlin                 org: .github/incidents.yml:3
severities.sev1.acknowledge   5m                            profile guide                 004
severities.sev1.respond       72h                           incidents.yml:7
severities.sev1.update        20m                           org: .github/incidents.yml:9
severities.sev1.resolve.within    4h                        profile guide                 002
severities.sev1.resolve.calendar  business                  incidents.yml:7
severities.sev2.respond       1h                            profile guide                 002
severities.sev4.respond       off                           incidents.yml:8
severities.sev4.resolve       off                           incidents.yml:8
escalation.sev1[0]            {after: 0m, to: on-call, until: ack, repeat: 5m}  profile guide  004
escalation.sev2[0]            {after: 1h, to: [cto, it-manager], do: "call, then write"}  incidents.yml:11
escalation.sev4               []                            profile guide                 003
contacts.cto                  octocat                       org: .github/incidents.yml:5
contacts.it-manager           [mona, hubot]                 incidents.yml:5
contacts.board                []                            profile guide                 003
people.mona                   {}                            incidents.yml:4
rotations.on-call.starts      2026-01-05                    incidents.yml:13
rotations.on-call.turn        weekly                        built in                      004
rotations.on-call.timezone    Europe/Berlin                 org: .github/incidents.yml:3
calendars.business.timezone   Europe/Berlin                 org: .github/incidents.yml:3
calendars.business.hours      09:00-17:00                   built in                      choice
overrides[0].types            security breach               org: .github/incidents.yml:11
overrides[0].severities.sev1.respond  5m                    org: .github/incidents.yml:12
warnings                      [50, 80]                      built in                      choice
silence                       2                             built in                      choice
matrix.high.high              sev1                          profile guide                 003
floors[1]                     {because: a confirmed data breach, at-least: sev1, personal-data: yes}  profile guide  000, 003, 004
regulations.gdpr-article-33.within    72h                   profile guide                 004, external
closing.checklist             [service restored, root cause found or a problem issue linked, actions documented, users told, monitoring stable, follow-ups created, knowledge base updated]  profile guide  002
postmortem.required           sev1                          incidents.yml:14
postmortem.review             72h                           profile guide                 003
labels.incident               "off"                         incidents.yml:15
retention.deliveries          30d                           built in                      choice
"""


def by_path(values: tuple[ExplainedValue, ...]) -> dict[str, ExplainedValue]:
    paths = {one.where: one for one in values}
    assert len(paths) == len(values), "each value is explained once"
    return paths


@pytest.mark.parametrize("row", EXPLAINED.strip().splitlines(), ids=lambda row: row.partition(" ")[0])
def test_where_each_value_comes_from(row: str) -> None:
    where, value, origin, document = (*re.split(" {2,}", row), "")[:4]
    values = by_path(explain_policy(TEAM, name="/home/mona/incidents.yml", org=ORG))
    assert values[where] == ExplainedValue(where, value, origin, document)


def test_nothing_is_told_that_is_nothing() -> None:
    values = by_path(explain_policy(TEAM, org=ORG))
    assert not [one for one in values.values() if one.origin == "built in" and one.value in ("off", "[]", "{}", '""')]
    assert "severities.sev2.commander" not in values
    assert "escalation.sev2[1]" not in values, "the list of the profile is replaced"


def test_without_a_file_the_organisation_or_the_default_holds() -> None:
    values = by_path(explain_policy(None, org=ORG))
    assert values["severities.sev1.respond"].origin == "org: .github/incidents.yml:8"
    assert by_path(explain_policy(None))["severities.sev1.respond"] == ExplainedValue(
        "severities.sev1.respond", "15m", "profile guide", "002"
    )


def test_a_zone_that_is_followed_is_told_with_the_line_it_follows() -> None:
    org = "timezone: Europe/Berlin\ncalendars:\n  late: {timezone: UTC}\n  early: {}"
    values = by_path(explain_policy("extends: org\ntimezone: Asia/Tokyo", org=org))
    assert values["calendars.late.timezone"].origin == "org: .github/incidents.yml:3"
    assert values["calendars.early.timezone"] == ExplainedValue(
        "calendars.early.timezone", "Asia/Tokyo", "incidents.yml:2", ""
    )
    assert by_path(explain_policy(None))["calendars.business.timezone"].origin == "built in"


def test_severities_are_told_on_the_scale_of_the_file_and_found_on_that_of_the_profile() -> None:
    values = by_path(explain_policy("scale: p\nseverities: {P1: {respond: 20m}}"))
    assert values["severities.P1.respond"].origin == "incidents.yml:2"
    assert values["severities.P0.respond"] == ExplainedValue("severities.P0.respond", "15m", "profile guide", "002")
    assert values["postmortem.required"].value == "[P0, P1]"
    assert values["matrix.high.high"].value == "P0"
    values = by_path(explain_policy("extends: org\nscale: p", org="severities:\n  sev4: off\ncontacts: {'[a': mona}"))
    assert values["severities.P3.respond"] == ExplainedValue(
        "severities.P3.respond", "off", "org: .github/incidents.yml:2", ""
    )
    assert values["contacts.[a"].origin == "org: .github/incidents.yml:3"


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_of_a_profile_has_a_document(profile: str) -> None:
    for one in explain_policy(f"extends: {profile}"):
        assert one.origin in (f"profile {profile}", "built in"), one
        assert re.fullmatch(r"(00[0-4]|external|choice)(, (00[0-4]|external))*", one.document), one


@pytest.mark.parametrize("profile", PROFILES)
def test_every_line_of_a_profile_is_told(profile: str) -> None:
    """Every key that a profile writes is the origin of a value, so each of its comments is shown."""
    tree, _ = parse_yaml(load_profile_text(profile))
    sections = {one.where.partition(".")[0].partition("[")[0] for one in explain_policy(f"extends: {profile}")}
    assert sections >= {key.value for key, _ in tree.pairs} - {"extends", "roles"}


def test_the_built_in_documents_are_of_keys_that_there_are() -> None:
    for path in BUILT_IN_DOCUMENTS:
        first, _, second = path.partition(".")
        kind = key_specs(type(read_policy("")))[first].kind
        assert not second or second in key_specs(kind)


def test_one_severity_alone() -> None:
    values = by_path(explain_policy(TEAM, org=ORG, severity=Severity.SEV2))
    assert {"severities.sev2.respond", "escalation.sev2[0]", "first-notice.sev2.via", "warnings"} <= values.keys()
    assert {"contacts.cto", "contacts.it-manager", "people.mona"} <= values.keys(), "whom its ladder names"
    assert not [where for where in values if re.search(r"sev[134]", where)]
    assert not [
        where for where in values if where.startswith(("labels", "goals", "postmortem", "war-room", "contacts.board"))
    ]
    assert {where for where in values if where.startswith("matrix")} == {"matrix.high.medium", "matrix.medium.high"}
    sev1 = by_path(explain_policy(TEAM, org=ORG, severity=Severity.SEV1))
    assert {"postmortem.review", "war-room.name", "closing.checklist", "overrides[0].types", "floors[0]"} <= sev1.keys()
    assert sev1.keys() < by_path(explain_policy(TEAM, org=ORG)).keys()


def test_a_faulty_file_is_not_explained() -> None:
    with pytest.raises(PolicyFaults):
        explain_policy("silence: two")
    assert single_error("silence: two") == "1:10: silence: 'two' is not a number from 1, such as 2"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "off"), ("off", '"off"'), ("5m", "5m"), ("a: b", '"a: b"'), ("a, b", '"a, b"'), ("#x", '"#x"'), ("x:", '"x:"'),
        ("09:00-17:00", "09:00-17:00"), ("2026-12-24 18:00", "2026-12-24 18:00"), ("https://a.b/c", "https://a.b/c"),
        ([], "[]"), (["a"], "a"), (["a", "b"], "[a, b]"), ({"a": ["b"], "c": None}, "{a: b, c: off}"), ("", '""'), ("*a", '"*a"'),
    ],
)  # fmt: skip
def test_a_value_is_shown_as_it_may_stand_in_a_file(value: object, shown: str) -> None:
    assert format_inline(value) == shown
