"""Simulated incidents: their rows, and that they equal the replay of a real incident."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from app.core.incident_report import Kind
from app.core.policy import Policy
from app.core.replay import replay
from app.core.severity import Severity
from app.core.simulate import ROW_KINDS, Row, Scenario, format_offset, replay_steps, simulate
from app.policy_file import PROFILES, load_profile, read_policy

from .event_logs import Log, logs, profiles, staffed_policy, told_once

START = datetime(2026, 3, 6, 21, 40, tzinfo=UTC)  # a Friday
TEAM = """\
extends: guide
contacts: {on-call: [mona, hubot], it-manager: [ada], cto: [grace]}
first-notice: {sev1: {via: [pager, chat]}}
silence: 100
"""


def scenario(severity: Severity = Severity.SEV1, hours: float = 2, **more: Any) -> Scenario:
    return Scenario(severity=severity, at=START, length=timedelta(hours=hours), **more)


def minutes(number: int) -> timedelta:
    return timedelta(minutes=number)


def row_lines(rows: tuple[Row, ...]) -> list[str]:
    """Format the rows as lines: `+30m escalate ada (it-manager after 30m)`."""
    return [
        f"{format_offset(row.offset)} {row.kind} {', '.join(row.to)} ({row.step})".replace("  ", " ") for row in rows
    ]


def test_nobody_answers_a_sev1() -> None:
    policy = read_policy(
        TEAM + "escalation: {sev1: [{after: 0m, to: on-call, until: ack, repeat: 30m}, {after: 30m, to: it-manager}]}"
    )
    assert row_lines(simulate(policy, scenario(hours=2))) == [
        "+0m declared (sev1)",
        "+0m page mona (on-call)",
        "+5m breach (acknowledge)",
        "+7m30s warn (respond 50 %)",
        "+12m warn (respond 80 %)",
        "+15m breach (respond)",
        "+30m page mona, hubot (on-call)",
        "+30m escalate ada (it-manager after 30m)",
        "+1h page mona, hubot (on-call)",
        "+1h30m page mona, hubot (on-call)",
        "+2h warn (resolve 50 %)",
        "+2h page mona, hubot (on-call)",
    ]


def test_whoever_is_paged_first_answers_and_resolves() -> None:
    rows = simulate(read_policy(TEAM), scenario(hours=2, ack=minutes(12), resolve=minutes(50)))
    assert row_lines(rows) == [
        "+0m declared (sev1)",
        "+0m page mona (on-call)",
        "+5m breach (acknowledge)",
        "+5m page mona, hubot (on-call)",
        "+7m30s warn (respond 50 %)",
        "+10m page mona, hubot (on-call)",
        "+12m acknowledge mona (acknowledge)",
        "+27m remind mona (update)",
        "+30m escalate ada (it-manager after 30m)",
        "+50m resolve mona (resolve)",
    ]
    assert [row.note for row in rows if row.kind == "page"] == ["", "page 2", "page 3"]
    assert {tuple(via.value for via in row.via) for row in rows if row.kind == "page"} == {("pager", "chat")}


def test_an_answer_at_the_moment_of_the_page_goes_before_it() -> None:
    rows = simulate(read_policy(TEAM), scenario(ack=minutes(0), hours=0.5))
    assert row_lines(rows)[:2] == ["+0m declared (sev1)", "+0m acknowledge mona (acknowledge)"]
    assert not [row for row in rows if row.kind == "page"]


def test_what_comes_after_the_window_does_not_happen() -> None:
    rows = simulate(read_policy(TEAM), scenario(hours=1, ack=minutes(61), resolve=minutes(62)))
    assert max(row.offset for row in rows) == timedelta(hours=1)
    assert not {"acknowledge", "resolve"} & {row.kind for row in rows}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("severity", Severity)
def test_a_bare_profile_names_the_contacts(profile: str, severity: Severity) -> None:
    rows = simulate(load_profile(profile), scenario(severity, hours=24))
    known = set(load_profile(profile).contacts) | set(load_profile(profile).roles)
    asked = [row for row in rows if row.kind in ("page", "escalate")]
    assert all(row.to == row.contacts for row in asked)
    assert {name for row in rows for name in row.to} <= known
    assert {row.kind for row in rows} <= set(ROW_KINDS)
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    assert all(row.at - row.offset == START for row in rows)


def test_a_contact_that_nobody_holds_is_told_as_missing() -> None:
    policy = read_policy(TEAM.replace("it-manager: [ada]", "it-manager: []"))
    (row,) = (row for row in simulate(policy, scenario(hours=0.6)) if row.kind == "escalate")
    assert (row.to, row.unstaffed, row.contacts) == (("grace",), ("it-manager",), ("it-manager",))


ROTATION = TEAM.replace("on-call: [mona, hubot], ", "") + (
    "rotations: {on-call: {people: [mona, hubot], turn: 1d, starts: 2026-03-01, hand-off: 22:00}}\n"
)


def test_somebody_else_comes_on_call_in_the_window() -> None:
    rows = simulate(read_policy(ROTATION), scenario(hours=0.5))
    (hand_off,) = (row for row in rows if row.kind == "hand-off")
    before, after = (
        [row.to for row in rows if row.kind == "page" and (row.at < hand_off.at) is early] for early in (True, False)
    )
    assert (format_offset(hand_off.offset), hand_off.to, hand_off.step) == ("+20m", ("hubot", "mona"), "on-call")
    assert hand_off.note == "from mona, hubot"
    assert before[0] == ("mona",)
    assert after[0] == ("hubot", "mona")
    assert rows.index(hand_off) < next(n for n, row in enumerate(rows) if row.kind == "page" and row.at == hand_off.at)


def test_no_hand_off_is_told_once_it_is_resolved() -> None:
    rows = simulate(read_policy(ROTATION), scenario(hours=72, ack=minutes(5), resolve=minutes(10)))
    assert not [row for row in rows if row.kind == "hand-off"]


def test_no_hand_off_where_no_rotation_is_asked() -> None:
    policy = read_policy(
        TEAM + "rotations: {other: {people: [mona, hubot], turn: 1d, starts: 2026-03-01, hand-off: 22:00}}"
    )
    assert not [row for row in simulate(policy, scenario(hours=48)) if row.kind == "hand-off"]


def test_a_floor_raises_the_severity_and_says_why() -> None:
    declared, *_ = simulate(load_profile("guide"), scenario(Severity.SEV3, kind=Kind.SECURITY))
    assert (declared.step, declared.note) == ("sev1", "a security breach is at least sev1")


def test_a_service_brings_its_rotation_and_its_own_targets() -> None:
    policy = read_policy(
        TEAM
        + """\
rotations: {nights: {people: [octocat], turn: weekly, starts: 2026-01-05}}
teams: {payments: {members: [octocat], on-call: nights}}
services: {checkout: {owner: payments}}
overrides: [{services: [checkout], severities: {sev1: {respond: 5m}}}]
"""
    )
    rows = simulate(policy, scenario(hours=0.2, services=("checkout",)))
    assert next(row.to for row in rows if row.kind == "page") == ("octocat",)
    assert "+5m breach (respond)" in row_lines(rows)
    assert "+5m breach (respond)" not in row_lines(simulate(policy, scenario(hours=0.2)))


def test_a_target_of_business_hours_waits_for_monday() -> None:
    policy = read_policy(TEAM + "severities: {sev4: {respond: {within: 1h, calendar: business}}}")
    rows = simulate(policy, scenario(Severity.SEV4, hours=80))
    (breach,) = (row for row in rows if row.kind == "breach" and row.step == "respond")
    assert breach.at == datetime(2026, 3, 9, 10, tzinfo=UTC)
    assert breach.to == ("mona", "hubot")


def test_a_rung_without_contacts_asks_whoever_has_it() -> None:
    policy = read_policy(TEAM + "escalation: {sev2: [{after: 10m, do: tell the customers}]}")
    rows = simulate(policy, scenario(Severity.SEV2, hours=0.3))
    (row,) = (row for row in rows if row.kind == "do")
    assert (row.to, row.step, row.note) == (("mona", "hubot"), "whoever has it after 10m", "tell the customers")


def test_leadership_hears_of_it_at_once() -> None:
    policy = read_policy(TEAM.replace("via: [pager, chat]", "via: [chat], to: [cto]"))
    assert "+0m announce grace (cto)" in row_lines(simulate(policy, scenario(hours=0.1)))


def test_an_audience_is_reminded_of_and_a_law_warns() -> None:
    policy = read_policy(TEAM + "audiences: {press: {to: [cto], first: {sev1: 20m}}}")
    assert "+20m remind grace (audience press)" in row_lines(simulate(policy, scenario(hours=1)))
    law = TEAM + "regulations: {nis2: {within: 24h, types: [service outage], to: [cto], do: tell the authority}}"
    rows = simulate(read_policy(law), scenario(hours=25, kind=Kind.OUTAGE))
    (warned, _), (late,) = (
        [row for row in rows if row.step.startswith("regulatory nis2") and row.kind == kind]
        for kind in ("warn", "breach")
    )
    assert (warned.step, warned.to, format_offset(warned.offset)) == ("regulatory nis2 50 %", ("grace",), "+12h")
    assert (late.step, late.note, format_offset(late.offset)) == ("regulatory nis2", "tell the authority", "+1d")


def test_long_silence_pages_again_and_says_since_when() -> None:
    policy = read_policy(TEAM.replace("silence: 100", "silence: 2"))
    rows = simulate(policy, scenario(hours=1, ack=minutes(2)))
    again = [row for row in rows if row.kind == "page" and row.offset > minutes(2)]
    assert (format_offset(again[0].offset), again[0].note) == ("+32m", "nothing was heard since 21:42 UTC")


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "+0m"),
        (450, "+7m30s"),
        (720, "+12m"),
        (3600, "+1h"),
        (3900, "+1h05m"),
        (86400, "+1d"),
        (86400 + 3600 * 3 + 60, "+1d3h01m"),
    ],
)
def test_offsets_in_words(seconds: int, words: str) -> None:
    assert format_offset(timedelta(seconds=seconds)) == words


@settings(max_examples=60, deadline=None)
@given(log=logs(), profile=profiles)
def test_the_beats_are_the_fold_of_replay(log: Log, profile: str) -> None:
    policy: Policy = staffed_policy(profile)
    until = log[-1][0] + timedelta(hours=5)
    replayed = replay(log, policy, until)
    steps = list(replay_steps(log, policy, until))
    assert steps[-1].after == replayed.incident
    assert told_once(effect for step in steps for effect in step.effects) == told_once(replayed.effects)
