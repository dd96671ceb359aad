"""Every key of the policy language in one file, and the values they become."""

from __future__ import annotations

from datetime import date, datetime, time

from app.core.incident_report import Exposure, Kind
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
    OnCallOverride,
    Override,
    Person,
    Postmortem,
    Regulation,
    Retention,
    RoleHolders,
    Rotation,
    Runbook,
    Service,
    Since,
    Step,
    Target,
    Targets,
    Team,
    Until,
    Via,
    WarRoom,
)
from app.core.severity import Severity
from app.policy_file import load_profile, read_policy
from app.policy_file.field_rules import key_specs

from .errors import single_error

SEV1, SEV2, SEV3, SEV4 = Severity

WHOLE_FILE = """
extends: guide
scale: sev
aliases: {sev1: [critical, urgent]}
timezone: Europe/Berlin
severities:
  sev1: {commander: 5m, acknowledge: 5m, respond: {within: 15m, calendar: team}, update: 15m, resolve: 4h}
warnings: [50, 80]
silence: 2
audiences: {executives: {to: [ceo, owner], first: {sev1: 0m}, updates: {sev1: 2h}}}
regulations:
  gdpr-article-33: {within: 72h, since: awareness, types: [data privacy incident], personal-data: [yes], to: [dpo], do: decide}
calendars:
  business: {country: DE, region: BE, holidays: [2026-12-24], workdays: [2026-12-26]}
  late: {hours: 12:00-20:00, timezone: UTC}
escalation:
  sev1: [{after: 0m, to: on-call, via: [pager, chat], until: ack, repeat: 5m, do: look}, {after: 5m, to: owner}]
first-notice: {sev1: {within: 10m, via: [pager, webhook], to: [leadership]}}
channels: {ops: {kind: webhook, url: env:CHANNEL_OPS, secret: env:CHANNEL_OPS_SECRET, for: [pager, chat]}}
people: {mona: {name: Mona Lisa, mail: mona@example.com}}
contacts: {dpo: mona, leadership: [octocat]}
teams: {payments: {members: [mona], calendar: late, on-call: night}}
roles: {communications-lead: {holder: [hubot], backup: [mona]}}
rotations:
  on-call:
    people: [mona, hubot]
    secondary: [octocat]
    turn: two-weekly
    starts: 2026-01-05
    hand-off: 08:30
    overrides:
      - {from: 2026-12-24 18:00, until: 2026-12-26T09:00, person: hubot, instead-of: mona}
    feed: ops/on-call.ics
  night: {feed: env:FEED_NIGHT, timezone: Asia/Tokyo}
services: {checkout: {owner: payments, on-call: on-call, aliases: [shop], runbooks: [database]}}
runbooks: {database: {link: docs/runbooks/database.md, types: [service outage]}}
war-room: {severities: [sev1], name: "{{ id }}-{{ service }}", link: "https://meet.example.com/{{ room }}"}
overrides:
  - services: [checkout]
    types: [security breach]
    severities: {sev1: {respond: 5m, update: off}}
    escalation: {sev2: [{after: 1h, to: owner}]}
    first-notice: {sev1: {via: pager}}
    contacts: {cto: mona}
matrix: {high: {low: sev2}}
floors: [{because: the shop is down, at-least: sev1, service: checkout}]
labels: {incident: inc}
intake: {default: sev2, fields: {Art: type}}
alerts: {response time: {above: 5 s, severity: sev2, type: performance degradation}}
closing: {severities: [sev1], verify: [functional], checklist: [all done]}
postmortem: {required: [sev1], reviewers: [owner], document: 24h, review: 72h, overdue: 5bd, agenda: [15m, 15m]}
goals: {detect: 5m, respond: 15m, resolve: 4h, first-contact: 75, satisfaction: 4.5}
retention: {deliveries: 14d}
"""


def minutes(number: int) -> Duration:
    return Duration(seconds=number * 60)


def test_every_key_is_read() -> None:
    policy = read_policy(WHOLE_FILE)
    assert policy.aliases == {SEV1: ("critical", "urgent")}
    assert policy.targets[SEV1] == Targets(
        *map(Target, (minutes(5), minutes(5))), Target(minutes(15), "team"), Target(minutes(15)), Target(minutes(240))
    )
    executives = policy.audiences["executives"]
    assert executives == Audience(("ceo", "owner"), {SEV1: Duration()}, {SEV1: minutes(120)})
    assert policy.regulations == {
        "gdpr-article-33": Regulation(
            minutes(72 * 60), Since.AWARENESS, (Kind.PRIVACY,), (Exposure.YES,), ("dpo",), "decide"
        )
    }
    assert policy.calendars == {
        "business": Calendar(
            "Europe/Berlin",
            country="DE",
            region="BE",
            holidays=frozenset({date(2026, 12, 24)}),
            workdays=frozenset({date(2026, 12, 26)}),
        ),
        "late": Calendar("UTC", time(12), time(20)),
    }
    assert policy.ladders[SEV1] == (
        Step(Duration(), ("on-call",), (Via.PAGER, Via.CHAT), Until.ACK, minutes(5), "look"),
        Step(minutes(5), ("owner",)),
    )
    assert policy.first_notice[SEV1] == FirstNotice(minutes(10), (Via.PAGER, Via.WEBHOOK), ("leadership",))
    assert policy.channels == {
        "ops": ChannelConfig("env:CHANNEL_OPS", "env:CHANNEL_OPS_SECRET", serves=(Via.PAGER, Via.CHAT))
    }
    assert policy.people == {"mona": Person("Mona Lisa", "mona@example.com")}
    assert policy.teams == {"payments": Team(("mona",), "late", "night")}
    assert policy.roles["communications-lead"] == RoleHolders(("hubot",), ("mona",))
    assert policy.rotations == {
        "on-call": Rotation(
            ("mona", "hubot"),
            ("octocat",),
            minutes(14 * 1440),
            date(2026, 1, 5),
            time(8, 30),
            "Europe/Berlin",
            (OnCallOverride(datetime(2026, 12, 24, 18), datetime(2026, 12, 26, 9), "hubot", "mona"),),  # noqa: DTZ001 - wall clock
            "ops/on-call.ics",
        ),
        "night": Rotation(zone="Asia/Tokyo", feed="env:FEED_NIGHT"),
    }
    assert policy.services == {"checkout": Service("payments", "on-call", ("shop",), ("database",))}
    assert policy.runbooks == {"database": Runbook("docs/runbooks/database.md", (Kind.OUTAGE,))}
    assert policy.war_room == WarRoom(
        frozenset({SEV1}), "{{ id }}-{{ service }}", "https://meet.example.com/{{ room }}"
    )
    assert policy.overrides == (
        Override(
            ("checkout",),
            (Kind.SECURITY,),
            {SEV1: {"respond": Target(minutes(5)), "update": None}},
            {SEV2: (Step(minutes(60), ("owner",)),)},
            {SEV1: FirstNotice(via=(Via.PAGER,))},
            {"cto": ("mona",)},
        ),
    )
    assert policy.floors == (Floor("the shop is down", SEV1, service="checkout"),)
    assert policy.alerts["response time"] == AlertRule("5 s", SEV2, Kind.DEGRADATION)
    assert policy.alerts.keys() == load_profile("guide").alerts.keys()
    assert policy.closing == Closing(frozenset({SEV1}), ("functional",), ("all done",))
    assert policy.postmortem == Postmortem(
        frozenset({SEV1}), ("owner",), minutes(1440), minutes(72 * 60), Duration(business_days=5), (minutes(15),) * 2
    )
    assert policy.goals == Goals(minutes(5), minutes(15), minutes(240), 75, "4.5")
    assert policy.retention == Retention(minutes(14 * 1440))


def test_the_text_above_has_every_key() -> None:
    written = {line.partition(":")[0] for line in WHOLE_FILE.splitlines()}
    assert written >= key_specs(type(load_profile("guide"))).keys()


def test_off_takes_a_name_or_a_text_away() -> None:
    guide = load_profile("guide")
    assert read_policy("regulations: {gdpr-article-33: off}").regulations == {}
    assert read_policy("alerts: {disk: OFF}").alerts.keys() == guide.alerts.keys() - {"disk"}
    assert SEV3 not in read_policy("first-notice: {sev3: off}").first_notice
    assert read_policy("retention: {deliveries: off}").retention == Retention(None)
    org = "calendars: {business: {country: DE, region: BE}}"
    assert read_policy("extends: org\ncalendars: {business: {country: US, region: off}}", org=org).calendars[
        "business"
    ] == Calendar(country="US")


def test_what_others_still_name_cannot_be_taken_away() -> None:
    org = "rotations: {night: {people: mona}}\nteams: {payments: {members: mona, on-call: night}}"
    assert single_error("extends: org\nrotations: {night: off}", org=org) == (
        "2:20: rotations.night: 'night' is still named by teams.payments.on-call, change that too"
    )
    policy = read_policy("extends: org\nrotations: {night: off}\nteams: {payments: {on-call: off}}", org=org)
    assert policy.rotations == {}
    assert policy.teams == {"payments": Team(("mona",))}


def test_a_rotation_fills_a_contact_that_nobody_holds_and_a_role_too() -> None:
    policy = read_policy("rotations: {on-call: {people: mona}, on-call-engineer: {people: hubot}}")
    assert policy.contacts["on-call"] == ()
    assert policy.rotations.keys() == {"on-call", "on-call-engineer"}


def test_an_override_may_ask_others_than_a_rotation() -> None:
    policy = read_policy(
        "rotations: {on-call: {people: mona}}\noverrides: [{types: security breach, contacts: {on-call: hubot}}]"
    )
    assert policy.overrides[0].contacts == {"on-call": ("hubot",)}


# The organisation's file.

ORG = "extends: strict\ntimezone: Europe/Berlin\ncontacts: {cto: octocat}\nseverities: {sev1: {respond: 10m}}"


def test_a_team_builds_on_its_organisation_and_that_on_a_profile() -> None:
    policy = read_policy(
        "extends: org\nseverities: {sev1: {update: 10m}}\ncalendars: {late: {hours: 12:00-20:00}}", org=ORG
    )
    strict = load_profile("strict")
    assert policy.profile == "strict"
    assert policy.contacts["cto"] == ("octocat",)
    assert policy.targets[SEV1].respond == Target(minutes(10))
    assert policy.targets[SEV1].update == Target(minutes(10))
    assert policy.targets[SEV1].resolve == strict.targets[SEV1].resolve
    assert {calendar.zone for calendar in policy.calendars.values()} == {"Europe/Berlin"}
    assert read_policy("extends: guide", org=ORG) == load_profile("guide")
    assert read_policy("extends: org", org="") == load_profile("guide")


def test_a_zone_that_the_organisation_names_stays_and_the_others_follow() -> None:
    org = "timezone: Europe/Berlin\ncalendars: {business: {timezone: UTC}, late: {timezone: Europe/Berlin}, early: {}}"
    policy = read_policy("extends: org\ntimezone: Asia/Tokyo", org=org)
    assert {name: calendar.zone for name, calendar in policy.calendars.items()} == {
        "business": "UTC", "late": "Europe/Berlin", "early": "Asia/Tokyo",
    }  # fmt: skip


def test_an_organisation_that_cannot_be_extended_is_said_at_that_line() -> None:
    assert single_error("# ours\nextends: org\nslience: 2") == (
        "2:10: extends: there is no policy of an organisation to extend, use one of guide, procedure, p-scale, strict"
    )
    assert single_error("extends: org\ncontacts: {cto: mona}", org="silence: two") == (
        "1:10: extends: the organisation's policy has a fault: org: .github/incidents.yml:1:10: silence: 'two' is not a "
        "number from 1, such as 2, mend it there, or extend a profile"
    )
    assert single_error("extends: org", org="silence: two\nwarnings: x").startswith(
        "1:10: extends: the organisation's policy has 2 faults, the first: org: .github/incidents.yml:1:10: silence: "
    )
    assert "there is no policy of an organisation" in single_error("extends: org", org="extends: org")
