"""The policy file: what every profile says, how a team's own file changes it, and what each mistake is answered."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import get_args

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.calendar import BUSINESS, due
from app.core.policy import (
    FLOORS,
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
from app.core.report import Exposure, Kind, Level
from app.core.severity import Scale, Severity
from app.policy_file import PROFILES, Fault, PolicyFaults, read, shipped
from app.policy_file.spelling import entries
from app.policy_file.words import WORDS, Weekdays

SEV1, SEV2, SEV3, SEV4 = Severity


def faults(text: str) -> list[str]:
    """What the file is told, without its name."""
    with pytest.raises(PolicyFaults) as caught:
        read(text, name="f")
    return [str(fault).removeprefix("f:") for fault in caught.value.faults]


def only(text: str) -> str:
    (fault,) = faults(text)
    return fault


# The numbers of the product page, B1 to B6 and M1, held against every profile.

CLOCKS = """
                acknowledge  respond  update  resolve
guide     sev1  5m           15m      15m     4h
guide     sev2  5m           1h       30m     8h
guide     sev3  -            4h       -       3d
guide     sev4  -            1bd      -       5d
procedure sev1  -            15m      -       4h
procedure sev2  -            1h       -       8h
procedure sev3  -            4h       -       1d
procedure sev4  -            1d       -       3d
p-scale   sev1  5m           0m       -       4h
p-scale   sev2  5m           15m      -       -
p-scale   sev3  -            1h       -       -
p-scale   sev4  -            1bd      -       -
strict    sev1  5m           0m       15m     4h
strict    sev2  5m           15m      30m     8h
strict    sev3  -            1h       -       1d
strict    sev4  -            1d       -       3d
"""

# E1 and E2.  `!` is a page until acknowledged, repeated every 5 minutes; `=` is something to do.

GUIDE_SEV1 = "0m on-call! | 30m it-manager | 1h cto | 2h ceo | 4h board"
GUIDE_SEV2 = "0m on-call! | 30m it-manager | 1h it-manager | 2h cto | 4h cto"
LADDERS = {
    ("guide", SEV1): GUIDE_SEV1,
    ("guide", SEV2): GUIDE_SEV2,
    ("guide", SEV3): "1h it-manager | 4h cto",
    ("guide", SEV4): "",
    ("procedure", SEV1): GUIDE_SEV1.removeprefix("0m on-call! | "),
    ("procedure", SEV2): GUIDE_SEV2.removeprefix("0m on-call! | "),
    ("procedure", SEV3): "1h it-manager | 4h cto",
    ("procedure", SEV4): "",
    ("p-scale", SEV1): (
        "0m on-call! | 5m engineering-manager | 15m vp-engineering | 30m executives | 1h =customer communication required"
    ),
    ("p-scale", SEV2): (
        "0m on-call! | 30m engineering-manager | 2h vp-engineering | 4h =customer communication if needed"
    ),
    ("p-scale", SEV3): "4h engineering-manager",
    ("p-scale", SEV4): "",
    ("strict", SEV1): (
        "0m on-call! | 5m engineering-manager | 15m vp-engineering | 30m it-manager,executives | 1h cto"
        " | 1h =customer communication required | 2h ceo | 4h board"
    ),
    ("strict", SEV2): (
        "0m on-call! | 30m it-manager,engineering-manager | 1h it-manager | 2h cto,vp-engineering | 4h cto"
        " | 4h =customer communication if needed"
    ),
    ("strict", SEV3): "1h it-manager | 4h cto,engineering-manager",
    ("strict", SEV4): "",
}


def spelled(step: Step) -> str:
    assert (step.until is Until.ACK) == (step.repeat is not None)
    assert step.repeat in (None, Duration(seconds=300))
    return f"{step.after} {','.join(step.to)}{'!' * (step.until is Until.ACK)}{'=' * bool(step.do)}{step.do}"


@pytest.mark.parametrize("row", [line.split() for line in CLOCKS.splitlines()[2:]], ids=lambda row: " ".join(row[:2]))
def test_the_clocks_of_every_profile(row: list[str]) -> None:
    profile, severity, *lengths = row
    assert shipped(profile).targets[Severity(int(severity[-1]))] == Targets(
        *(None if length == "-" else Target(Duration.parse(length)) for length in lengths)
    )


@pytest.mark.parametrize(("profile", "severity"), LADDERS)
def test_the_ladders_of_every_profile(profile: str, severity: Severity) -> None:
    assert " | ".join(map(spelled, shipped(profile).ladders[severity])) == LADDERS[profile, severity]


def shortest(*values: Duration) -> Duration:
    """The shorter; a business day is never shorter than 24 hours."""
    return min(values, key=lambda value: (value.seconds + value.business_days * 86400, value.business_days))


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("clock", ["acknowledge", "respond", "update", "resolve"])
def test_strict_is_the_shortest_of_all(severity: Severity, clock: str) -> None:
    others = [getattr(shipped(profile).targets[severity], clock) for profile in PROFILES if profile != "strict"]
    lengths = [target.within for target in others if target]
    assert getattr(shipped("strict").targets[severity], clock) == (Target(shortest(*lengths)) if lengths else None)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_all_profiles_share(profile: str) -> None:
    policy = shipped(profile)
    assert policy.profile == profile
    assert policy.scale is (Scale.P if profile == "p-scale" else Scale.SEV)
    assert (policy.warnings, policy.silence, policy.matrix, policy.floors) == ((50, 80), 2, MATRIX, FLOORS)
    assert policy.postmortem.required == {SEV1, SEV2}
    deadlines = (policy.postmortem.document, policy.postmortem.review, policy.postmortem.overdue)
    assert deadlines == tuple(map(Duration.parse, ("48h", "72h", "5bd")))
    named = {name for steps in policy.ladders.values() for step in steps for name in step.to}
    assert named | set(policy.postmortem.reviewers) <= set(policy.contacts)
    assert not any(policy.contacts.values()), "a profile knows nobody by name"
    assert read(f"extends: {profile}") == policy
    assert shipped(profile) is policy


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_of_a_profile_names_its_document(profile: str) -> None:
    text = Path(__file__).parents[1].joinpath("app", "policies", f"{profile}.yml").read_text("utf-8")
    for line in text.splitlines():
        value = line.partition("#")[0].rstrip()
        assert not value or value.endswith(":") or re.search(r"# .*00[0-4]", line), line


# A team's own file.


@pytest.mark.parametrize(
    "text", ["", "\n# nothing yet\n", "---\n", "extends: guide", "severities:\n  # sev1:\npeople:\n"]
)
def test_a_file_that_says_nothing_is_the_guide(text: str) -> None:
    assert read(text) == shipped("guide")


def test_a_policy_as_a_team_writes_it() -> None:
    policy = read("""
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
    guide = shipped("guide")
    assert policy.zone == "Europe/Berlin"
    assert policy.targets[SEV1] == Targets(
        None, Target(Duration(600)), Target(Duration(900)), Target(Duration(4 * 3600))
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
            Step(Duration(), ("on-call", "cto"), Until.ACK, Duration(600)),
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
            frozenset({date(2026, 12, 24), date(2026, 12, 31)}),
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
    policy = read(
        "extends: p-scale\nseverities: {P1: {respond: 10m}, sev3: {respond: 2h}}\npostmortem: {required: [p0, sev2]}"
    )
    assert policy.targets[SEV2].respond == Target(Duration(600))
    assert policy.targets[SEV3].respond == Target(Duration(7200))
    assert policy.postmortem.required == {SEV1, SEV2}
    assert read("severities: {P0: {respond: 10m}}\nscale: p").targets[SEV1].respond == Target(Duration(600))


def test_a_scalar_replaces_a_target_and_a_map_changes_it() -> None:
    text = "severities: {sev1: {respond: %s}}"
    assert read(text % "1h").targets[SEV1].respond == Target(Duration(3600))
    assert read(text % "{calendar: business}").targets[SEV1].respond == Target(Duration(900), BUSINESS)
    assert read(text % "{within: 1h, calendar: off}").targets[SEV1].respond == Target(Duration(3600))


@pytest.mark.parametrize("word", ["off", "OFF", "null", "~"])
def test_off_takes_a_clock_away(word: str) -> None:
    assert read(f"severities: {{sev1: {{update: {word}}}}}").targets[SEV1].update is None


def test_a_calendar_that_names_a_zone_keeps_it() -> None:
    policy = read("timezone: Asia/Kolkata\ncalendars: {business: {timezone: UTC}, night: {hours: 20:00-04:00}}")
    assert policy.calendars["business"].zone == "UTC"
    assert policy.calendars["night"].zone == "Asia/Kolkata"


# One mistake, one answer.

MISTAKES = [
    ("escalation: {sev1: [{after: soon, to: cto}]}", "1:29: escalation.sev1[0].after: 'soon' is not a duration, such as 15m, 4h, 3d or 1bd"),
    ("severities: {sev1: {respond: 59s}}", "1:30: severities.sev1.respond: '59s' is out of range, from 1m to 365d, or 0m for at once"),
    ("severities: {sev1: {respond: 366bd}}", "1:30: severities.sev1.respond: '366bd' is too long, at most 365bd"),
    ("severities: {sev1: {respond: }}", "1:29: severities.sev1.respond: nothing is written here, write a value, or take the key out"),
    ("severities: {sev1: {respond: [1h]}}", "1:30: severities.sev1.respond: a list stands here, write a map, such as key: value"),
    ("severities: {sev1: {update: 0m}}", "1:29: severities.sev1.update: '0m' would repeat without a pause, such as 15m"),
    ("severities: {sev1: 15m}", "1:20: severities.sev1: '15m' stands here, write a map, such as key: value"),
    ("severities: {sev1: {resond: 1h}}", "1:21: severities.sev1.resond: 'resond' is not a key here, did you mean respond? use one of acknowledge, respond, update, resolve"),
    ("severities: {sev4: {acknowledge: {calendar: business}}}", "1:34: severities.sev4.acknowledge: within is missing, write within: with its value"),
    ("severities: {sev1: {respond: {within: 1h, calendar: busines}}}", "1:53: severities.sev1.respond.calendar: 'busines' is not a calendar, did you mean business? use one of business"),
    ("severities: {sev5: {}}", "1:14: severities.sev5: 'sev5' is not a severity, did you mean sev4? use one of sev1, sev2, sev3, sev4"),
    ("severities: {P1: {}}", "1:14: severities.P1: 'P1' is a name of the other scale, use one of sev1, sev2, sev3, sev4, or write scale: p"),
    ("scale: p\nseverities: {sev1: {}, P0: {}}", "2:24: severities.P0: 'P0' is 'sev1' again, keep one"),
    ("escalation: {sev1: [{to: cto}]}", "1:21: escalation.sev1[0]: after is missing, write after: with its value"),
    ("escalation: {sev1: [{after: 1h}]}", "1:21: escalation.sev1[0]: the step does nothing, write to: with a contact, or do: with what is asked for"),
    ("escalation: {sev1: {after: 1h, to: cto}}", "1:20: escalation.sev1: a map stands here, write a list, each line beginning with a dash"),
    ("escalation: {sev1: [{after: 1h, to: ctoo}]}", "1:37: escalation.sev1[0].to: 'ctoo' is not a contact, did you mean cto? add it to contacts:"),
    ("people: {zoe: }\nescalation: {sev1: [{after: 1h, to: [zoe]}]}", "2:38: escalation.sev1[0].to[0]: 'zoe' is a person, name a contact that this person holds, see contacts:"),
    ("escalation: {sev1: [{after: 1h, to: cto, until: acked}]}", "1:49: escalation.sev1[0].until: 'acked' is not an end of a step, did you mean ack? use one of ack, resolved"),
    ("escalation: {sev1: [{after: 1h, to: cto, repeat: 0m}]}", "1:50: escalation.sev1[0].repeat: '0m' would repeat without a pause, such as 5m"),
    ("escalation: {sev1: }", "1:19: escalation.sev1: nothing is written here, write [] for none"),
    ("extends: org", "1:10: extends: 'org' cannot be extended yet, use one of guide, procedure, p-scale, strict"),
    ("extends: guides", "1:10: extends: 'guides' is not a profile, did you mean guide? use one of guide, procedure, p-scale, strict"),
    ("extends: [guide]", "1:10: extends: a list is not a profile, use one of guide, procedure, p-scale, strict"),
    ("scale: severity", "1:8: scale: 'severity' is not a scale, use one of sev, p"),
    ("timezone: europe/berlin", "1:11: timezone: 'europe/berlin' is not an IANA time zone, did you mean Europe/Berlin?"),
    ("timezone: Kolkata", "1:11: timezone: 'Kolkata' is not an IANA time zone, did you mean Asia/Kolkata?"),
    ("timezone: ../../etc/passwd", "1:11: timezone: '../../etc/passwd' is not an IANA time zone, such as Europe/Berlin"),
    ("warnings: [80, 50]", "1:11: warnings: the warnings do not rise, such as [50, 80]"),
    ("warnings: [50, 120]", "1:16: warnings[1]: '120' is more than the whole target, 1 to 100"),
    ("silence: two", "1:10: silence: 'two' is not a number from 1, such as 2"),
    ("silence: 0x10", "1:10: silence: '0x10' is not a number from 1, such as 2"),
    ("calendars: {business: {hours: 9-17}}", "1:31: calendars.business.hours: '9-17' are not hours, such as 09:00-17:00"),
    ("calendars: {business: {hours: 09:00-25:00}}", "1:31: calendars.business.hours: '09:00-25:00' has a time that no clock shows, such as 09:00-17:00 or 00:00-24:00"),
    ("calendars: {business: {hours: 09:00-09:00}}", "1:31: calendars.business.hours: '09:00-09:00' never opens, such as 09:00-17:00, or 00:00-24:00 for the whole day"),
    ("calendars: {business: {days: []}}", "1:30: calendars.business.days: the calendar has no open day, such as mon-fri"),
    ("calendars: {business: {days: [mon, Moonday]}}", "1:36: calendars.business.days[1]: 'Moonday' is not a weekday, use mon, tue, wed, thu, fri, sat, sun or a range such as mon-fri"),
    ("calendars: {business: {holidays: [2026-02-30]}}", "1:35: calendars.business.holidays[0]: '2026-02-30' is not in the calendar, such as 2026-12-24"),
    ("calendars: {business: {holidays: [24.12.2026]}}", "1:35: calendars.business.holidays[0]: '24.12.2026' is not a date, such as 2026-12-24"),
    ("calendars: {slow: {hours: 09:00-09:01, days: mon}}\nseverities: {sev4: {resolve: {within: 30d, calendar: slow}}}", "2:30: severities.sev4.resolve: 30d of the open hours of slow take over ten years, such as 4h"),
    ("people: {mona: {name: [a]}}", "1:23: people.mona.name: a list stands here, write a single value"),
    ("people: {mona: {name: ''}}", "1:23: people.mona.name: a text of 0 characters, 1 to 200"),
    ("people: {Mona Lisa: {}}", "1:10: people.Mona Lisa: 'Mona Lisa' is not a GitHub login, such as mona"),
    ("people: {mona: {}, Mona: {}}", "1:20: people.Mona: 'Mona' is 'mona' again, keep one"),
    ("contacts: {on-call: '@mona'}", "1:21: contacts.on-call: '@mona' begins with an @, write mona"),
    ("contacts: {on-call: [mona, acme/sre]}", "1:28: contacts.on-call[1]: 'acme/sre' is a team, people, not teams, are mentioned: write the logins of its members"),
    ("contacts: {on-call: mona-}", "1:21: contacts.on-call: 'mona-' is not a GitHub login, such as mona"),
    ("contacts: {On-Call: mona}", "1:12: contacts.On-Call: 'On-Call' is not written like 'on-call', write on-call"),
    ("contacts: {oncall: mona}", "1:12: contacts.oncall: 'oncall' is not written like 'on-call', write on-call"),
    ("contacts: {sre 1: mona, sre1: mona}", "1:25: contacts.sre1: 'sre1' is 'sre 1' again, keep one"),
    ("contacts: {'a,b': mona}", "1:12: contacts.a,b: 'a,b' is not a name, 1 to 50 characters without commas or a leading @, such as on-call"),
    ("matrix: {high: {hihg: sev1}}", "1:17: matrix.high.hihg: 'hihg' is not a level, did you mean high? use one of high, medium, low"),
    ("floors: [{because: all, at-least: sev1}]", "1:10: floors[0]: the floor is under every incident, give it a type, an impact or personal-data"),
    ("floors: [{because: x, at-least: sev1, type: outage}]", "1:45: floors[0].type: 'outage' is not a type of incident, did you mean service outage? use one of service outage, performance degradation, data loss or corruption, security breach, integration failure, data privacy incident"),
    ("labels: {paused: ''}", "1:18: labels.paused: a label without a name, 1 to 50 characters"),
    ("labels: {paused: 'a,b'}", "1:18: labels.paused: 'a,b' has a comma, a label's name has none"),
    ("labels: {paused: ' a'}", "1:18: labels.paused: ' a' begins or ends with a space, write 'a'"),
    (f"labels: {{paused: {'a' * 51}}}", f"1:18: labels.paused: '{'a' * 39}…' has 51 characters, GitHub's labels end at 50"),
    ("labels: {acknowledged: Resolved}", "1:24: labels.acknowledged: the label 'resolved' is used for acknowledged and for resolved, give each its own"),
    ("labels: {severities: [a, b, c]}", "1:22: labels.severities: a list stands here, write a list of 4, or a map by severity"),
    ("labels: {severities: [a, b, c, A]}", "1:22: labels.severities: the label 'A' is used for severities and for severities, give each its own"),
    ("intake: {fields: {Wann: when}}", "1:25: intake.fields.Wann: 'when' is not a field of a report, use one of summary, severity, impact, urgency, type, services, source, started-at, detected-at, symptoms, affected, revenue, workaround, personal-data"),
    ("intake: {fields: {Art: type, art: type}}", "1:30: intake.fields.art: 'art' is 'Art' again, keep one"),
    ("postmortem: {reviewers: nobody}", "1:25: postmortem.reviewers: 'nobody' is not a contact, add it to contacts:"),
    ("silence: 2\nsilence: 3", "2:1: silence: 'silence' stands in line 1 already, keep one"),
    ("slience: 2", "1:1: slience: 'slience' is not a key here, did you mean silence? use one of extends, scale, timezone, severities, escalation, warnings, silence, calendars, people, contacts, matrix, floors, labels, intake, postmortem"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), MISTAKES, ids=[text[:50] for text, _ in MISTAKES])
def test_one_mistake_one_answer(text: str, answer: str) -> None:
    assert only(text) == answer


NOT_PLAIN = [
    ("a: &a [*a]", "1:4: the file: the anchor '&a' is not read, write the value out where it is used"),
    ("a: *b", "1:4: the file: the alias '*b' is not read, write the value out"),
    ("a: !!int 5", "1:4: the file: the tag 'tag:yaml.org,2002:int' is not read, write the value without it"),
    ("<<: {a: b}", "1:1: the file: the merge key '<<' is not read, write the keys out"),
    ("? [a]\n: b", "1:3: the file: a key is a list or a map, a key is a word, such as extends"),
    ("a: b\n---\nc: d", "2:1: the file: a second document begins, a policy is one document"),
    ("- a", "1:1: the file: the file holds a list, a policy is a map, such as extends: guide"),
    ("policy", "1:1: the file: the file holds a text, a policy is a map, such as extends: guide"),
    ("a: b\nc: \x00", "2:4: the file: the character U+0000 is not allowed in YAML, take it out"),
    ('a: "\\0"', "1:4: the file: '\N{REPLACEMENT CHARACTER}' has the character U+0000, write plain text on one line"),
    ('a: "\\U00110000"', "1:1: the file: the file is not YAML, check its directives and its \\U escapes"),
    ("a: x\u202ey", "1:4: the file: 'x\N{REPLACEMENT CHARACTER}y' has the character U+202E, write plain text on one line"),
    ("a: b\n\tc: d", "2:1: the file: the file is not YAML: found character '\\t' that cannot start any token, indent with spaces"),
    ("a: b: c", "1:5: the file: the file is not YAML: mapping values are not allowed here, write key: value, indented with spaces"),
    ("a: " + "[" * 21, "1:24: the file: the file is nested too deeply, at most 20 levels are read"),
    ("\n".join(" " * n + "a:" for n in range(25)), "21:21: the file: the file is nested too deeply, at most 20 levels are read"),
    ("#" * 65537, "1:1: the file: the file is too large, at most 64 KiB are read"),
    ("# " + "é" * 32768, "1:1: the file: the file is too large, at most 64 KiB are read"),
    ("version https://git-lfs.github.com/spec/v1\noid sha256:1", "1:1: the file: the file is a Git LFS pointer, store the policy itself in the repository"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer"), NOT_PLAIN, ids=[text[:30] for text, _ in NOT_PLAIN])
def test_what_is_not_plain_yaml_is_refused_at_once(text: str, answer: str) -> None:
    assert only(text) == answer


def test_64_kib_are_read() -> None:
    assert read("#" * 65536) == shipped("guide")


@pytest.mark.parametrize(
    "length", ["0", "1e999h", "1h30", "5 minutes", "59s", "5m; drop", "9" * 400 + "d", "-5m", "5M", "५m"]
)
@pytest.mark.parametrize(
    "place", ["severities:\n  sev1:\n    respond: {}\n", "escalation:\n  sev1:\n  - to: cto\n    after: {}\n"]
)
def test_a_length_that_is_none_names_its_line(length: str, place: str) -> None:
    answer = only(place.format(length))
    assert answer.startswith(f"{place.count(chr(10))}:")
    assert re.search(r"is not a duration, such as 15m|is out of range, from 1m to 365d", answer)


def test_every_fault_at_once_from_top_to_bottom() -> None:
    text = """
extends: guides
timezone: Berlin
severities:
  sev1: {respond: soon, reslove: 4h}
  sev1: {respond: 1h}
escalation:
  sev2:
    - {after: 5 minutes, to: nobody}
    - {to: cto}
labels: {paused: "a,b", resolved: "a,b"}
contacts: {on-call: [acme/sre, "@mona"]}
"""
    found = [answer.split(": ")[:2] for answer in faults(text)]
    assert found == [
        ["2:10", "extends"],
        ["3:11", "timezone"],
        ["5:19", "severities.sev1.respond"],
        ["5:25", "severities.sev1.reslove"],
        ["6:3", "sev1"],
        ["9:15", "escalation.sev2[0].after"],
        ["9:30", "escalation.sev2[0].to"],
        ["10:7", "escalation.sev2[1]"],
        ["11:18", "labels.paused"],
        ["11:35", "labels.resolved"],
        ["12:22", "contacts.on-call[0]"],
        ["12:32", "contacts.on-call[1]"],
    ]


def test_a_contact_with_a_fault_is_still_a_contact() -> None:
    assert only("contacts: {sre: '@mona'}\nescalation: {sev4: [{after: 1h, to: sre}]}").startswith(
        "1:17: contacts.sre: "
    )


def test_every_type_of_the_policy_can_be_read() -> None:
    """A new field of the policy needs a reader for its type, or a finer type in the spelling."""
    waiting: list[object] = [Policy]
    seen = set()
    while waiting:
        kind = waiting.pop()
        inner = [arg for arg in get_args(kind) if arg is not NoneType and arg is not Ellipsis]
        if inner:
            waiting += inner
        elif isinstance(kind, type) and is_dataclass(kind) and kind not in WORDS:
            filled = {name for entry in entries(kind).values() for name in entry.fields}
            assert filled | {"profile"} >= {field.name for field in fields(kind)}
            waiting += [entry.kind for entry in entries(kind).values() if kind not in seen]
            seen.add(kind)
        else:
            enumeration = isinstance(kind, type) and issubclass(kind, Enum)
            assert enumeration or kind in (*WORDS, Weekdays), f"{kind} has no reader"


@pytest.mark.parametrize("length", ["365bd", "52d"])
def test_what_the_reader_lets_through_the_calendar_can_reach(length: str) -> None:
    mondays = ", ".join(str(date(2026, 1, 5) + timedelta(weeks=n)) for n in range(400))
    policy = read(f"""
calendars: {{slow: {{days: mon, hours: 09:00-12:00, holidays: [{mondays}]}}}}
severities: {{sev4: {{resolve: {{within: {length}, calendar: slow}}}}}}
""")
    target = policy.targets[SEV4].resolve
    assert target is not None
    assert due(datetime(2026, 1, 1, tzinfo=UTC), target, policy.calendars).year in range(2040, 2046)


def test_a_fault_can_be_shown_as_it_is() -> None:
    with pytest.raises(PolicyFaults) as caught:
        read("silence: two\nwarnings: [x]")
    assert caught.value.faults[0] == Fault(
        ".github/incidents.yml", 1, 10, "silence", "'two' is not a number from 1", "such as 2"
    )
    assert str(caught.value).splitlines() == [str(fault) for fault in caught.value.faults]


def test_a_hundred_faults_are_enough() -> None:
    assert len(faults("\n".join(f"key{n}: x" for n in range(5000)))) == 100


def test_a_calendar_lists_at_most_400_days_off() -> None:
    days = ", ".join(str(date(2026, 1, 1) + timedelta(days=n)) for n in range(401))
    answer = only(f"calendars: {{business: {{holidays: [{days}]}}}}")
    assert answer == "1:34: calendars.business.holidays: 401 days off, at most 400 are read"


def test_only_four_profiles_are_shipped() -> None:
    with pytest.raises(KeyError):
        shipped("../../etc/passwd")


# Hostile files, each in a process of its own with 256 MB: the named ones within 100 ms, any 64 KiB within two seconds of
# a busy machine.

HOSTILE = {
    "aliases of aliases": r"""'a: &a [lol,lol]\n' + ''.join(f'{c}: &{c} [{",".join(["*" + p] * 9)}]\n' for p, c in zip('abcdefgh', 'bcdefghi'))""",
    "merge keys": r"""'a: &a {x: 1}\n' + ''.join(f'b{n}: &b{n}\n  <<: [*a, *a, *a, *a]\n' for n in range(20))""",
    "open brackets": "'[' * 40000",
    "open braces": "'{' * 40000",
    "a list of lists of lists": "'- ' * 20000",
    "keys of keys": "'? ' * 20000",
    "an anchor in itself": "'a: &a [*a]'",
    "a key twice": r"'sla: 5m\nsla: 99d'",
    "a date that is none": "'a: 2026-02-30'",
    "a hundred megabytes": "'a' * 100_000_000",
    "a very long length": "'silence: ' + '9' * 60000",
    "a very long key": "'k' * 60000 + ': 1'",
    "very many keys": r"''.join(f'k{n}:\n' for n in range(8000))",
    "very many zones": r"'calendars:\n' + ''.join(f'  c{n}: {{timezone: Europ/Belrin{n}}}\n' for n in range(400))",
    "a long directive": r"'%YAML ' + '9' * 5000 + '.1\n---\na: b'",
    "quotes": "'a: ' + '\"' * 65000",
    "only dashes": "'-' * 65000",
    "pipes": "'| a ' * 16000",
    "line ends": r"'\n' * 65536",
    "percent signs": "'%' * 65000",
    "a NUL": r"'extends: guide\n\0'",
}  # fmt: skip

QUICK = {
    "aliases of aliases", "merge keys", "open brackets", "open braces", "an anchor in itself", "a key twice", "a date that is none",
    "a hundred megabytes", "a list of lists of lists", "a NUL",
}  # fmt: skip

CHILD = """
import resource, sys, time
resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20, 256 * 2**20))
from app.policy_file import PolicyFaults, read, shipped
shipped("guide")
text = {text}
began = time.process_time()
try:
    read(text, name="f")
except PolicyFaults as error:
    print(str(error).splitlines()[0])
spent = time.process_time() - began
assert spent < (0.1 if {quick} else 2), spent
"""


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_file_is_answered_at_once(what: str) -> None:
    program = CHILD.replace("{text}", HOSTILE[what]).replace("{quick}", str(what in QUICK))
    child = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=20)
    assert (child.returncode, child.stderr) == (0, "")
    assert not child.stdout or re.match(r"f:\d+:\d+: [^\n]+\n$", child.stdout)


# What holds for every text.

PIECES = (
    "extends", "guide", "severities", "sev1", "respond", "15m", "escalation", "after", "to", "cto", "off", "labels", "paused", "people",
    "mona", ": ", ":", "- ", "\n", "\n  ", "\n    ", "[", "]", "{", "}", ", ", "#", " #", "'", '"', "\\", "&a", "*a", "!!str ", "|", ">", "%",
    "---\n", "...", "\t", "\0", "é", "🚨", "\ud800", "? ", "<<", "~", "0x1", "\r\n", "\x85", "\u2028", "\ufeff",
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=30).map("".join) | st.text(max_size=60))
def test_any_text_is_a_policy_or_faults_of_one_line_each(text: str) -> None:
    told: tuple[Fault, ...] = ()
    try:
        read(text)
    except PolicyFaults as error:
        told = error.faults
    assert all(str(fault).isprintable() and fault.line >= 1 and fault.column >= 1 for fault in told)


def test_the_profiles_are_plain_yaml_for_everyone() -> None:
    for profile in PROFILES:
        text = Path(__file__).parents[1].joinpath("app", "policies", f"{profile}.yml").read_text("utf-8")
        assert isinstance(yaml.safe_load(text), dict)
