"""The cookbook is true: each of its policies can be read, and each simulation shown is what the tool prints.

`MUSTER_UPDATE_GOLDEN=1 pytest tests/test_cookbook.py` prints the simulations into the page, and you read the diff.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import NoReturn
from zoneinfo import ZoneInfo

import pytest

from app.cli import policy as policy_commands
from app.core.calendar import due_time
from app.core.effective_policy import policy_for_report
from app.core.incident_report import IncidentReport
from app.core.on_call import people_of, people_on_call
from app.core.policy import Policy
from app.core.severity import Severity
from app.feeds import match_people, read_occurrences
from app.policy_file import read_policy

PAGE = Path(__file__).parents[1] / "docs" / "cookbook.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
NOTIFYING_KINDS = frozenset({"page", "announce", "escalate", "remind", "do", "ask", "breach"})
"""Kinds of rows that notify people, beside warnings."""


@dataclass(frozen=True)
class Recipe:
    """One section of the page.

    `files` are its policies, the team's own last; `command` is the line typed, `printed` the output shown below it.
    """

    title: str
    files: tuple[str, ...]
    command: str
    printed: str
    feed: str = ""

    @property
    def policy(self) -> Policy:
        *org, own = self.files
        return read_policy(own, org=org[0] if org else None)

    def arguments_in(self, folder: Path) -> list[str]:
        """Write the recipe's files into that folder, and return the command's arguments with their paths."""
        places = {".github/incidents.yml": folder / "incidents.yml", "org.yml": folder / "org.yml"}
        for path, text in zip(places.values(), reversed(self.files), strict=False):
            path.write_text(text, "utf-8")
        muster, policy, *arguments = shlex.split(self.command)
        assert (muster, policy) == ("muster", "policy")
        return [str(places.get(argument, argument)) for argument in arguments]


def recipes() -> Iterator[Recipe]:
    for section in PAGE.read_text("utf-8").split("\n## ")[1:]:
        fences = FENCE.findall(section)
        (console,) = (text for language, text in fences if language == "console")
        command, _, printed = console.partition("\n")
        yield Recipe(
            title=section.partition("\n")[0],
            files=tuple(text for language, text in fences if language == "yaml"),
            command=command.removeprefix("$ "),
            printed=printed,
            feed="".join(text for language, text in fences if language == "ics"),
        )


def run_policy_command(*words: str) -> str:
    """Return what `muster policy` prints; it uses neither a clock nor GitHub."""
    out, err = StringIO(), StringIO()
    context = policy_commands.PolicyCommandContext(out, err, _fail_if_called, _fail_if_called)
    assert (policy_commands.main(words, _fail_if_called, context), err.getvalue()) == (0, "")
    return out.getvalue()


def _fail_if_called(*_: object) -> NoReturn:
    raise AssertionError("a simulation needs nothing from outside")


RECIPES = {recipe.title: recipe for recipe in recipes()}
FOUR, OFFICE, SUN, ORGANISATION, P_SCALE, CALENDAR = RECIPES.values()

# Who is notified when, in the simulation of each recipe.
NIGHTS = {
    FOUR.title: """
        +0m page mona
        +5m page mona kai
        +10m page mona kai
        +27m remind mona
        +30m escalate ada
    """,
    OFFICE.title: f"""
        +{(3 * 24 + 17) * 60}m breach jonas lena
        +{4 * 24 * 60}m breach jonas lena
    """,
    SUN.title: """
        +0m page emre
        +5m page carlos joan
        +10m page carlos joan
        +15m page carlos joan
    """,
    ORGANISATION.title: """
        +0m announce sam vera
        +0m page mona
        +30m escalate priya
        +60m escalate sam
        +120m breach mona kai
        +120m escalate vera
    """
    + "".join(f"+{minutes}m page mona kai\n" for minutes in range(5, 125, 5)),
    P_SCALE.title: f"""
        +0m remind tove priya
        +0m page mona
        +5m escalate priya
        +15m remind tove priya
        +15m escalate sam
        +30m escalate sam
        +60m do mona
        +{(2 + 48) * 60}m breach mona
        +{72 * 60}m breach udo
    """,
    CALENDAR.title: """
        +0m page ada
        +3m page ada grace
        +6m page ada grace
        +10m escalate ada grace
        +20m escalate priya
    """,
}


@pytest.mark.parametrize("title", RECIPES)
def test_the_page_shows_what_is_printed(title: str, tmp_path: Path) -> None:
    recipe = RECIPES[title]
    printed = run_policy_command(*recipe.arguments_in(tmp_path))
    if os.environ.get("MUSTER_UPDATE_GOLDEN"):
        text, shown = PAGE.read_text("utf-8"), f"$ {recipe.command}\n{recipe.printed}```"
        PAGE.write_text(text.replace(shown, f"$ {recipe.command}\n{printed}```"), "utf-8")
    else:
        assert printed == recipe.printed


@pytest.mark.parametrize("title", RECIPES)
def test_who_is_told_when(title: str, tmp_path: Path) -> None:
    rows = json.loads(run_policy_command(*RECIPES[title].arguments_in(tmp_path), "--json"))
    notified = [
        f"+{row['offset_s'] // 60}m {row['kind']} {' '.join(row['to'])}"
        for row in rows
        if row["kind"] in NOTIFYING_KINDS and row["to"]
    ]
    assert sorted(notified) == sorted(line.strip() for line in NIGHTS[title].splitlines() if line.strip())


@pytest.mark.parametrize("title", RECIPES)
def test_each_policy_passes_the_check(title: str, tmp_path: Path) -> None:
    _, file, *rest = RECIPES[title].arguments_in(tmp_path)
    org = rest[:2] if "--org" in rest else []
    assert run_policy_command("check", file, *org) == ""


def test_the_page_has_six_recipes_and_each_has_its_place_in_the_contents() -> None:
    assert len(RECIPES) == 6
    assert set(NIGHTS) == set(RECIPES)
    contents = PAGE.read_text("utf-8").partition("\n## ")[0]
    for title in RECIPES:
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        assert f"[{title}](#{anchor})" in contents


# What the page's texts say beside the simulations.


def parse_time(text: str) -> datetime:
    return datetime.fromisoformat(text)


def primary_on_call(policy: Policy, moment: str) -> str:
    return people_on_call(policy.rotations["on-call"], parse_time(moment))[0]


def test_a_team_of_four_hands_over_on_monday_at_ten_and_kai_covers_christmas() -> None:
    policy = FOUR.policy
    assert primary_on_call(policy, "2026-03-02T09:59+01:00") == "ada"
    assert primary_on_call(policy, "2026-03-02T10:00+01:00") == "mona"
    assert primary_on_call(policy, "2026-03-30T10:00+02:00") == "mona", "the clocks went forward the night before"
    assert primary_on_call(policy, "2026-12-24T09:59+01:00") == "grace"
    assert primary_on_call(policy, "2026-12-24T10:00+01:00") == "kai"
    assert primary_on_call(policy, "2026-12-27T10:00+01:00") == "grace"


def test_the_office_counts_its_own_hours_and_only_a_sev1_counts_all() -> None:
    policy = OFFICE.policy
    friday = parse_time("2027-03-05T16:30+01:00")
    due_times = {
        severity: due_time(friday, respond, policy.calendars)
        for severity, targets in policy.targets.items()
        if (respond := targets.respond)
    }
    assert due_times == {
        Severity.SEV1: parse_time("2027-03-05T16:45+01:00"),
        Severity.SEV2: parse_time("2027-03-09T09:30+01:00"),
        Severity.SEV3: parse_time("2027-03-09T12:30+01:00"),
        Severity.SEV4: parse_time("2027-03-09T16:30+01:00"),
    }
    assert [severity for severity, steps in policy.ladders.items() if steps] == [Severity.SEV1]


@pytest.mark.parametrize("day", ["2026-01-15", "2026-07-15"])
def test_the_sun_finds_somebody_awake_at_every_hour(day: str) -> None:
    rotation = SUN.policy.rotations["on-call"]
    zones = {"chloe": "Australia/Sydney", "emre": "Europe/Berlin", "carlos": "America/New_York"}
    secondary_of = {"chloe": "liam", "emre": "nina", "carlos": "joan"}
    midnight = parse_time(f"{day}T00:00+00:00")
    for hour in range(24):
        moment = midnight + timedelta(hours=hour)
        first, second = people_on_call(rotation, moment)
        assert second == secondary_of[first]
        assert 6 <= moment.astimezone(ZoneInfo(zones[first])).hour < 19, (moment, first)


def test_the_team_keeps_what_the_organisation_says() -> None:
    org, own = ORGANISATION.files
    policy = read_policy(own, org=org)
    assert _targets_text(policy, Severity.SEV1) == "5m 15m 15m 2h"
    assert _targets_text(policy, Severity.SEV2) == "5m 30m 30m 8h"
    assert _targets_text(read_policy(org), Severity.SEV2) == "5m 1h 30m 8h"
    changed = read_policy(own, org=org.replace("cto: sam", "cto: vera"))
    assert people_of(("cto", "on-call"), changed, parse_time("2026-03-03T02:00+01:00")) == ("vera", "mona", "kai")


def _targets_text(policy: Policy, severity: Severity) -> str:
    targets = policy.targets[severity]
    all_targets = (targets.acknowledge, targets.respond, targets.update, targets.resolve)
    return " ".join(str(target.within) for target in all_targets if target)


def test_the_clock_of_the_law_rings_at_night_and_after_the_resolution(tmp_path: Path) -> None:
    printed = json.loads(run_policy_command(*P_SCALE.arguments_in(tmp_path), "--json"))
    rows = [row for row in printed if "gdpr-article-33" in row["step"]]
    assert {tuple(row["to"]) for row in rows} == {("udo",)}
    assert [(row["kind"], row["offset_s"] / 3600) for row in rows] == [("warn", 36), ("warn", 57.6), ("breach", 72)]


def test_the_calendar_says_who_is_on_call_and_the_turns_hold_until_it_is_read() -> None:
    policy = CALENDAR.policy
    rotation = policy.rotations["on-call"]
    since, until = parse_time("2026-02-16T00:00+00:00"), parse_time("2026-05-01T00:00+00:00")
    found = match_people(read_occurrences(CALENDAR.feed.encode(), since, until), policy.people, rotation.zone, since)
    assert found.unmatched == ()
    night = parse_time("2026-03-03T03:07+01:00")
    assert people_on_call(replace(rotation, shifts=found.shifts), night) == ("kai", "mona")
    assert set(people_on_call(rotation, night)) == {"mona", "kai"}


def test_the_shop_is_the_payments_teams() -> None:
    policy = CALENDAR.policy
    shop = policy_for_report(policy, IncidentReport(services=("Shop",)))
    assert _targets_text(shop, Severity.SEV2) == "3m 15m 30m 4h"
    assert (
        _targets_text(policy_for_report(policy, IncidentReport(services=("search",))), Severity.SEV2) == "5m 1h 30m 8h"
    )
    assert _targets_text(shop, Severity.SEV1) == _targets_text(policy, Severity.SEV1)
    night = parse_time("2026-03-03T03:07+01:00")
    assert people_of(("on-call",), shop, night) == ("ada", "grace")
    assert people_of(("owner",), shop, night) == ("ada", "grace")
    assert policy.services["checkout"].runbooks == ("payment provider",)


# The README's policy and commands.

README = PAGE.parents[1] / "README.md"
EVENT_LOG = """\
{"incident": "octo/shop#1", "at": "2026-03-03T02:07:00Z", "event": "opened", "by": "jonas", "severity": "sev1"}
{"incident": "octo/shop#1", "at": "2026-03-03T02:19:00Z", "event": "said", "by": "mona", "text": "/ack"}
{"incident": "octo/shop#1", "at": "2026-03-03T04:00:00Z", "event": "closed", "by": "mona"}
"""


def test_the_policy_of_the_readme_is_a_whole_one_and_its_commands_are_there(tmp_path: Path) -> None:
    readme = README.read_text("utf-8")
    (policy,) = (text for language, text in FENCE.findall(readme) if language == "yaml")
    for name in ("FILE", "OLD", "NEW"):
        (tmp_path / name).write_text(policy, "utf-8")
    (tmp_path / "PAST.jsonl").write_text(EVENT_LOG, "utf-8")
    commands = re.findall(r"`muster policy ([^`]+)`", readme)
    assert [command.split()[0] for command in commands] == ["check", "explain", "simulate", "diff", "replay"]
    for command in commands:
        words = shlex.split(command)
        printed = run_policy_command(*(str(tmp_path / word) if (tmp_path / word).exists() else word for word in words))
        assert bool(printed) != (words[0] == "check"), command


@pytest.mark.parametrize("page", ["README.md", "docs/cookbook.md", "docs/install.md"])
def test_every_link_leads_somewhere(page: str) -> None:
    text = (README.parent / page).read_text("utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if not link.startswith(("https://", "#"))]
    assert links
    assert [link for link in links if not ((README.parent / page).parent / link.partition("#")[0]).exists()] == []
