"""Differences between two policies, in the words of the policy file."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, date, datetime, time
from typing import Any

import pytest

from app.core.incident_report import Kind, Level
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
    Shift,
    Step,
    Target,
    Targets,
    Team,
    Until,
    Via,
    WarRoom,
)
from app.core.policy_diff import diff_policies
from app.core.severity import Scale, Severity
from app.policy_file import PROFILES, load_profile, read_policy

SEV1 = Severity.SEV1
HOUR = Duration(seconds=3600)

CHRISTMAS_EVE, BOXING_DAY = datetime(2026, 12, 24, 18), datetime(2026, 12, 26, 9)  # noqa: DTZ001  wall clock times


def change_lines(old: Policy, new: Policy) -> list[str]:
    return [
        f"{change.severity.inline_name(new.scale)}: {change}" if change.severity else str(change)
        for change in diff_policies(old, new)
    ]


def policy_with_steps(*steps: Step) -> Policy:
    return Policy(ladders={SEV1: steps})


def step(after: int, *to: str, **more: Any) -> Step:
    return Step(Duration(seconds=after * 60), to, **more)


PAGE = step(0, "on-call", until=Until.ACK, repeat=Duration(seconds=300))

STEP_CHANGES = [
    ((step(30, "it-manager"),), (step(20, "it-manager"),), ["sev1: it-manager 30m -> 20m"]),
    ((), (PAGE,), ["sev1: + page on-call at once until ack every 5m"]),
    ((PAGE,), (), ["sev1: - page on-call at once until ack every 5m"]),
    (
        (PAGE,),
        (replace(PAGE, repeat=HOUR),),
        ["sev1: page on-call at once until ack every 5m -> at once until ack every 1h"],
    ),
    ((step(30, "it-manager"), step(60, "cto")), (step(60, "cto"), step(30, "it-manager")), []),
    ((step(60, "cto"),), (step(5, "lead"), step(60, "cto")), ["sev1: + lead 5m"]),
    (
        (step(30, "it-manager"), step(60, "it-manager")),
        (step(60, "it-manager"),),
        ["sev1: - it-manager 30m"],
    ),
    (
        (step(30, "it-manager"), step(60, "it-manager")),
        (step(20, "it-manager"), step(60, "it-manager")),
        ["sev1: it-manager 30m -> 20m"],
    ),
    (
        (step(30, "it-manager"),),
        (step(30, "it-manager", "ceo"),),
        ["sev1: after 30m it-manager -> it-manager, ceo"],
    ),
    ((step(30, "it-manager"),), (step(30, "ceo"),), ["sev1: - it-manager 30m", "sev1: + ceo 30m"]),
    ((step(60, do="tell customers"),), (step(90, do="tell customers"),), ["sev1: do: tell customers 1h -> 90m"]),
    (
        (step(60, do="tell customers"),),
        (step(60, do="tell all"),),
        ["sev1: - do: tell customers 1h", "sev1: + do: tell all 1h"],
    ),
    (
        (step(60, "ceo"),),
        (step(60, "ceo", do="decide", via=(Via.PAGER, Via.CHAT)),),
        ["sev1: ceo 1h -> 1h via pager, chat do: decide"],
    ),
    # A paging step and a single notice reach the same people in different ways: one is not a change of the other.
    ((step(0, "on-call"),), (PAGE,), ["sev1: - on-call at once", "sev1: + page on-call at once until ack every 5m"]),
]


@pytest.mark.parametrize(("old", "new", "wanted"), STEP_CHANGES)
def test_steps_are_known_by_whom_they_tell(old: tuple[Step, ...], new: tuple[Step, ...], wanted: list[str]) -> None:
    assert change_lines(policy_with_steps(*old), policy_with_steps(*new)) == wanted


FILE_CHANGES = [
    ("severities: {sev1: {respond: 10m}}", ["sev1: respond 15m -> 10m"]),
    ("severities: {sev1: {respond: off}}", ["sev1: - respond 15m"]),
    ("severities: {sev1: {respond: {within: 15m, calendar: business}}}", ["sev1: respond 15m -> 15m of business hours"]),
    ("scale: p\nseverities: {P0: {respond: 10m}}", ["P0: respond 15m -> 10m", "scale sev -> p"]),
    ("contacts: {on-call: [mona, hubot]}", ["+ contacts.on-call mona, hubot"]),
    ("timezone: Europe/Berlin", ["timezone UTC -> Europe/Berlin", "calendars.business.timezone UTC -> Europe/Berlin"]),
    ("calendars: {business: {holidays: [2026-12-24, 2026-12-31]}}", [
        "+ calendars.business.holidays 2026-12-24",
        "+ calendars.business.holidays 2026-12-31",
    ]),
    ("calendars: {business: {hours: 08:00-18:00, days: [mon-thu, sat]}}", [
        "calendars.business.hours 09:00-17:00 -> 08:00-18:00",
        "calendars.business.days mon-fri -> mon-thu, sat",
    ]),
    ("postmortem: {document: 24h, required: sev1, agenda: [15m, 15m]}", [
        "postmortem.required sev1, sev2 -> sev1",
        "postmortem.document 2d -> 1d",
        "postmortem.agenda 10m, 20m, 30m, 20m, 10m -> 15m, 15m",
    ]),
    ("people: {mona: {name: Mona Lisa}}", ["+ people.mona.name Mona Lisa"]),
    ("retention: {deliveries: off}", ["- retention.deliveries 30d"]),
    ("warnings: [75]", ["warnings 50, 80 -> 75"]),
    ("matrix: {high: {low: sev1}}", ["matrix.high.low sev3 -> sev1"]),
    ("audiences: {board-members: {first: {sev1: 30m}}}", ["sev1: + audiences.board-members.first 30m"]),
    ("overrides: [{types: [security breach], severities: {sev1: {respond: 5m, update: off}}, contacts: {cto: [grace]}}]", [
        "sev1: + overrides[security breach].respond 5m",
        "sev1: + overrides[security breach].update off",
        "+ overrides[security breach].contacts.cto grace",
    ]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "wanted"), FILE_CHANGES, ids=[text.partition(":")[0] for text, _ in FILE_CHANGES])
def test_a_file_against_its_profile(text: str, wanted: list[str]) -> None:
    assert change_lines(load_profile("guide"), read_policy(text)) == wanted


@pytest.mark.parametrize("profile", PROFILES)
def test_nothing_moves_to_itself(profile: str) -> None:
    assert diff_policies(load_profile(profile), load_profile(profile)) == ()


@pytest.mark.parametrize("old", PROFILES)
@pytest.mark.parametrize("new", PROFILES)
def test_the_way_back_is_the_way_there_turned_round(old: str, new: str) -> None:
    there = {
        (move.severity, move.what, move.was is None, move.now is None)
        for move in diff_policies(load_profile(old), load_profile(new))
    }
    back = {
        (move.severity, move.what, move.now is None, move.was is None)
        for move in diff_policies(load_profile(new), load_profile(old))
    }
    assert there == back
    assert bool(there) is (old != new)


FIELD_CHANGES: dict[str, tuple[Any, str]] = {
    "profile": ("strict", "extends guide -> strict"),
    "scale": (Scale.P, "scale sev -> p"),
    "aliases": ({SEV1: ("critical",)}, "sev1: + aliases critical"),
    "zone": ("Europe/Berlin", "timezone UTC -> Europe/Berlin"),
    "targets": ({SEV1: Targets(commander=Target(HOUR))}, "sev1: + commander 1h"),
    "warnings": ((50,), "warnings 50, 80 -> 50"),
    "silence": (3, "silence 2 -> 3"),
    "audiences": ({"board": Audience(to=("ceo",), updates={SEV1: HOUR})}, "sev1: + audiences.board.updates 1h"),
    "regulations": (
        {"gdpr": Regulation(HOUR, kinds=(Kind.PRIVACY,))},
        "+ regulations.gdpr.types data privacy incident",
    ),
    "calendars": (
        {"business": Calendar(workdays=frozenset({date(2026, 5, 2)}))},
        "+ calendars.business.workdays 2026-05-02",
    ),
    "ladders": ({SEV1: (step(30, "cto"),)}, "sev1: + cto 30m"),
    "first_notice": ({SEV1: FirstNotice(via=(Via.MAIL,))}, "sev1: + first-notice.via mail"),
    "channels": ({"ops": ChannelConfig("env:CHANNEL_OPS_URL", "env:CHANNEL_OPS_SECRET")}, "+ channels.ops.for webhook"),
    "people": ({"mona": Person(mail="m@example.com")}, "+ people.mona.mail m@example.com"),
    "contacts": ({"cto": ("mona",)}, "+ contacts.cto mona"),
    "teams": ({"payments": Team(members=("mona",))}, "+ teams.payments.members mona"),
    "roles": ({"lead": RoleHolders(backup=("mona",))}, "+ roles.lead.backup mona"),
    "rotations": (
        {"on-call": Rotation(overrides=(OnCallOverride(CHRISTMAS_EVE, BOXING_DAY, "hubot"),))},
        "+ rotations.on-call.overrides from 2026-12-24 18:00, until 2026-12-26 09:00, person hubot",
    ),
    "services": ({"checkout": Service(aliases=("shop",))}, "+ services.checkout.aliases shop"),
    "runbooks": ({"database": Runbook("docs/db.md")}, "+ runbooks.database.link docs/db.md"),
    "war_room": (WarRoom(link="https://meet.example"), "+ war-room.link https://meet.example"),
    "overrides": ((Override(contacts={"cto": ("mona",)}),), "+ overrides[all].contacts.cto mona"),
    "matrix": ({Level.HIGH: {Level.HIGH: Severity.SEV2}}, "matrix.high.high sev1 -> sev2"),
    "floors": (
        (Floor("checkout is hit", SEV1, service="checkout"),),
        "+ floors checkout is hit, at-least sev1, service checkout",
    ),
    "labels": (Labels(paused="resting"), "labels.paused paused -> resting"),
    "intake": (Intake(fields={"Dringlichkeit": "urgency"}), "+ intake.fields.Dringlichkeit urgency"),
    "alerts": ({"errors": AlertRule("5 %", SEV1)}, "+ alerts.errors.above 5 %"),
    "closing": (Closing(checklist=("told",)), "+ closing.checklist told"),
    "postmortem": (Postmortem(review=HOUR), "postmortem.review 3d -> 1h"),
    "goals": (Goals(first_contact=90), "goals.first-contact 80 -> 90"),
    "retention": (Retention(HOUR), "retention.deliveries 30d -> 1h"),
}


@pytest.mark.parametrize("field", [field.name for field in fields(Policy)])
def test_every_part_of_a_policy_is_compared(field: str) -> None:
    value, wanted = FIELD_CHANGES[field]
    assert wanted in change_lines(Policy(), replace(Policy(), **{field: value}))
    assert diff_policies(Policy(), replace(Policy(), **{field: getattr(Policy(), field)})) == ()


def test_what_a_feed_said_is_no_move_of_the_file() -> None:
    shift = Shift(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC), 1, "mona")
    old = Policy(rotations={"on-call": Rotation(feed="on-call.ics", hand_off=time(8))})
    new = replace(old, rotations={"on-call": replace(old.rotations["on-call"], shifts=(shift,))})
    assert diff_policies(old, new) == ()


def test_two_overrides_for_the_same_are_told_apart() -> None:
    first, second = (Override(services=("shop",), contacts={"cto": (who,)}) for who in ("mona", "hubot"))
    assert change_lines(Policy(overrides=(first,)), Policy(overrides=(first, second))) == [
        "+ overrides[shop] (2).contacts.cto hubot"
    ]
