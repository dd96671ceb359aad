"""The table of a simulated incident in a terminal."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from app.core.policy import Person, Policy
from app.core.severity import Severity
from app.core.simulate import Scenario, simulate
from app.policy_file import load_profile, read_policy
from app.render.terminal.simulation_table import TableLine, render_simulation

TEAM = """\
extends: guide
timezone: America/New_York
people: {mona: {name: Mona Lisa}, hubot: {name: Hugh Bot}}
contacts: {on-call: [mona, hubot], it-manager: [ada]}
first-notice: {sev1: {via: [pager, chat]}}
silence: 100
"""


def scenario(at: str, hours: float, severity: Severity = Severity.SEV1, **more: Any) -> Scenario:
    return Scenario(severity=severity, at=datetime.fromisoformat(at), length=timedelta(hours=hours), **more)


def table_lines(policy: Policy, scenario: Scenario, width: int = 80) -> list[str]:
    return [line.text for line in render_simulation(simulate(policy, scenario), policy, scenario, width=width)]


def test_an_evening_in_new_york() -> None:
    evening = scenario("2026-03-06T16:40:00-05:00", 2.5, ack=timedelta(minutes=12), resolve=timedelta(minutes=140))
    assert table_lines(read_policy(TEAM), evening) == [
        "sev1 on Fri 2026-03-06 16:40 EST (21:40 UTC), the next 2h30m",
        "acknowledged after 12m, resolved after 2h20m; within business hours",
        "",
        "Fri 2026-03-06, EST (UTC-05:00) and UTC",
        " 16:40 21:40       +0m declared    sev1",
        " 16:40 21:40       +0m page        mona (Mona Lisa) · on-call · by pager, chat",
        " 16:45 21:45       +5m breach      acknowledge missed",
        " 16:45 21:45       +5m page        mona, hubot (Hugh Bot) · on-call · by pager,",
        "                                   chat · page 2",
        " 16:47 21:47    +7m30s warn        respond 50 %",
        " 16:50 21:50      +10m page        mona, hubot · on-call · by pager, chat · page",
        "                                   3",
        " 16:52 21:52      +12m acknowledge mona",
        "-- business hours have ended",
        " 17:07 22:07      +27m remind      mona · update due · by pager, chat",
        " 17:10 22:10      +30m escalate    ada · it-manager after 30m · by pager, chat",
        " 17:40 22:40       +1h escalate    ada · cto after 1h · by pager, chat",
        " 18:40 23:40       +2h warn        resolve 50 %",
        " 18:40 23:40       +2h escalate    ada · ceo after 2h · by pager, chat",
        " 19:00 00:00+1d +2h20m resolve     mona",
        "",
        "Woken: mona (Mona Lisa) 3 times, hubot (Hugh Bot) twice.",
        "Told: ada.",
        "Missed: acknowledge at +5m.",
        "Nobody is named for cto, ceo: say who under contacts.",
    ]


def test_pages_that_go_on_are_one_line() -> None:
    lines = table_lines(read_policy(TEAM), scenario("2026-03-07T12:00:00-05:00", 1))
    pages = [number for number, line in enumerate(lines) if line.split()[3:4] == ["page"]]
    assert len(pages) == 2
    assert "page 2, and 11 more, every 5m, until +1h" in " ".join(" ".join(lines[pages[1] : pages[1] + 3]).split())
    assert "Woken: mona (Mona Lisa) 13 times, hubot (Hugh Bot) 12 times." in lines


def test_the_night_the_clocks_go_forward() -> None:
    policy = read_policy(TEAM.replace("America/New_York", "Europe/Berlin"))
    lines = table_lines(policy, scenario("2026-03-29T00:30:00+01:00", 5, Severity.SEV2))
    assert "Sun 2026-03-29, CET (UTC+01:00) and UTC" in lines
    assert "-- the clocks have gone forward: CET (UTC+01:00) is CEST (UTC+02:00) now" in lines
    after = lines[lines.index("-- the clocks have gone forward: CET (UTC+01:00) is CEST (UTC+02:00) now") + 1]
    assert after.split()[:2] == ["03:30", "01:30"]


def test_the_night_the_clocks_go_back() -> None:
    lines = table_lines(read_policy(TEAM), scenario("2026-11-01T00:30:00-04:00", 3))
    assert "-- the clocks have gone back: EDT (UTC-04:00) is EST (UTC-05:00) now" in lines


def test_a_new_day_gets_a_line_of_its_own_and_business_hours_begin() -> None:
    policy = read_policy(TEAM + "severities: {sev4: {respond: {within: 2h, calendar: business}}}")
    lines = table_lines(policy, scenario("2026-03-06T20:00:00-05:00", 72, Severity.SEV4))
    monday = lines.index("Mon 2026-03-09, EDT (UTC-04:00) and UTC")
    assert lines[monday + 1 : monday + 3] == [
        "-- the clocks have gone forward: EST (UTC-05:00) is EDT (UTC-04:00) now",
        "-- business hours have begun",
    ]


def test_in_utc_one_clock_is_enough() -> None:
    lines = table_lines(load_profile("guide"), scenario("2026-03-07T12:00:00Z", 0.1))
    assert "Sat 2026-03-07, UTC" in lines
    assert " 12:00 +0m declared sev1" in lines


def test_a_bare_profile_says_that_nobody_is_named() -> None:
    lines = table_lines(load_profile("guide"), scenario("2026-03-07T12:00:00Z", 0.6))
    assert any("it-manager after 30m (nobody is named)" in line for line in lines)
    assert "Nobody is named for on-call, it-manager: say who under contacts." in lines


def test_a_feed_that_was_not_read_is_said() -> None:
    rotation = "rotations: {on-call: {people: [mona, hubot], starts: 2026-01-05, feed: docs/on-call.ics}}\n"
    policy = read_policy(TEAM.replace("on-call: [mona, hubot], ", "") + rotation)
    assert "feeds are not read here, so by turns: on-call" in table_lines(policy, scenario("2026-03-07T12:00:00Z", 1))


def test_nothing_to_miss() -> None:
    lines = table_lines(load_profile("guide"), scenario("2026-03-07T12:00:00Z", 0.1, Severity.SEV4))
    assert lines[-2:] == ["Nobody is woken.", "No target is missed."]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("severity", Severity)
def test_no_line_is_too_wide(width: int, severity: Severity) -> None:
    names = tuple(f"somebody-with-a-long-login-{n}" for n in range(9))
    policy = replace(read_policy(TEAM), contacts={"on-call": names, "it-manager": names})
    lines = table_lines(policy, scenario("2026-03-06T16:40:00-05:00", 30, severity), width)
    assert max(map(len, lines)) <= width


def test_names_cannot_speak_to_the_terminal() -> None:
    evil = "mona\x1b]0;owned\x07\u202e\n"
    policy = replace(
        read_policy(TEAM), contacts={"on-call": (evil,), evil: ()}, people={evil: Person(name=f"Mona {evil}")}
    )
    text = "\n".join(table_lines(policy, scenario("2026-03-07T12:00:00Z", 2, services=(evil,))))
    assert not {"\x1b", "\x07", "\u202e"} & set(text)
    assert "mona\\u001b" in text


def test_every_kind_that_matters_has_its_tone() -> None:
    evening = scenario("2026-03-06T16:40:00-05:00", 2, ack=timedelta(minutes=12))
    lines = render_simulation(simulate(read_policy(TEAM), evening), read_policy(TEAM), evening)
    tones = {
        line.text.split()[3]: line.tone for line in lines if line.text.startswith(" 1") and line.text[7:8].isdigit()
    }
    assert tones["page"] == "strong"
    assert tones["breach"] == "bad"
    assert tones["acknowledge"] == "good"
    assert TableLine("Missed: acknowledge at +5m.", "bad") in lines
