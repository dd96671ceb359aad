"""Every number of the product page that a policy can hold, compared with the four shipped profiles.

A row of the table is a value and what each profile holds for it; `-` means nothing at all, since a row of the page
binds only the profiles whose documents it comes from.  Durations are
written as on the page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from importlib import resources
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.calendar import due_time
from app.core.incident_report import Level
from app.core.policy import AlertRule, Audience, Duration, Policy, RoleHolders, Step, Target, Until
from app.core.severity import Scale, Severity
from app.policy_file import DEFAULT_PROFILE, PROFILES, load_profile, read_policy

PROFILE_VALUES = """
id    value                                   | guide           | procedure       | p-scale         | strict
A3    matrix.high.high                        | sev1            | sev1            | sev1            | sev1
A3    matrix.high.medium                      | sev2            | sev2            | sev2            | sev2
A3    matrix.high.low                         | sev3            | sev3            | sev3            | sev3
A3    matrix.medium.high                      | sev2            | sev2            | sev2            | sev2
A3    matrix.medium.medium                    | sev3            | sev3            | sev3            | sev3
A3    matrix.medium.low                       | sev4            | sev4            | sev4            | sev4
A3    matrix.low.high                         | sev3            | sev3            | sev3            | sev3
A3    matrix.low.medium                       | sev4            | sev4            | sev4            | sev4
A3    matrix.low.low                          | sev4            | sev4            | sev4            | sev4
A9    alerts.response time                    | 5 s sev2        | 5 s sev2        | -               | 5 s sev2
A9    alerts.error rate                       | 5 % sev1        | 5 % sev1        | -               | 5 % sev1
A9    alerts.CPU                              | 90 % sev3       | 90 % sev3       | -               | 90 % sev3
A9    alerts.disk                             | 85 % sev2       | 85 % sev2       | -               | 85 % sev2
B1,B4 severities.sev1.respond                 | 15m             | 15m             | 0m              | 0m
B1    severities.sev1.resolve                 | 4h              | 4h              | 4h              | 4h
B1,B4 severities.sev2.respond                 | 1h              | 1h              | 15m             | 15m
B1    severities.sev2.resolve                 | 8h              | 8h              | -               | 8h
B2,B4 severities.sev3.respond                 | 4h              | 4h              | 1h              | 1h
B2    severities.sev3.resolve                 | 3d              | 24h             | -               | 24h
B3,B4 severities.sev4.respond                 | 1bd             | 24h             | 1bd             | 24h
B3    severities.sev4.resolve                 | 5d              | 72h             | -               | 72h
B5    severities.sev1.acknowledge             | 5m              | -               | 5m              | 5m
B5    severities.sev2.acknowledge             | 5m              | -               | 5m              | 5m
B5    severities.sev3.acknowledge             | -               | -               | -               | -
B5    severities.sev4.acknowledge             | -               | -               | -               | -
B6    severities.sev1.update                  | 15m             | -               | -               | 15m
B6    severities.sev2.update                  | 30m             | -               | -               | 30m
B6    severities.sev3.update                  | -               | -               | -               | -
B6    severities.sev4.update                  | -               | -               | -               | -
B7    audiences.executives.updates            | -               | sev1 2h         | -               | sev1 2h
B7    audiences.business-units.updates        | -               | sev1 4h, sev2 4h | -              | sev1 4h, sev2 4h
B7    audiences.customer-support.updates      | -               | sev1 30m, sev2 30m | -            | sev1 30m, sev2 30m
B7    audiences.partners                      | -               | as needed       | -               | as needed
B8    severities.sev1.commander               | -               | -               | 5m              | 5m
B8    severities.sev2.commander               | -               | -               | 5m              | 5m
B8    severities.sev3.commander               | -               | -               | -               | -
B8    severities.sev4.commander               | -               | -               | -               | -
B10   calendars.business.days                 | 0, 1, 2, 3, 4   | 0, 1, 2, 3, 4   | 0, 1, 2, 3, 4   | 0, 1, 2, 3, 4
B10   calendars.business.zone                 | UTC             | UTC             | UTC             | UTC
B11   warnings                                | 50, 80          | 50, 80          | 50, 80          | 50, 80
D3    war-room.severities                     | sev1            | -               | sev1            | sev1
D3    war-room.name                           | {{ id }}-{{ service }} | {{ id }}-{{ service }} | {{ id }}-{{ service }} | {{ id }}-{{ service }}
D5    audiences.public-status.first           | -               | sev1 0m, sev2 30m | sev1 0m, sev2 30m | sev1 0m, sev2 30m
D6    closing.verify                          | functional, user, monitoring | - | -            | functional, user, monitoring
D7    closing.severities                      | sev1, sev2      | -               | -               | sev1, sev2
E3    silence                                 | 2               | 2               | 2               | 2
E4    first-notice.sev1.within                | 15m             | 15m             | -               | 15m
E4    first-notice.sev2.within                | 15m             | 15m             | -               | 15m
E4    first-notice.sev3.within                | 15m             | 15m             | -               | 15m
E4    first-notice.sev4.within                | 15m             | 15m             | -               | 15m
E4    first-notice.sev1.via                   | pager, chat, mail | pager, chat, mail | -           | pager, chat, mail
E4    first-notice.sev2.via                   | chat, mail      | chat, mail      | -               | chat, mail
E4    first-notice.sev3.via                   | mail, chat      | mail, chat      | -               | mail, chat
E4    first-notice.sev4.via                   | mail            | mail            | -               | mail
E4    first-notice.sev1.to                    | leadership      | leadership      | -               | leadership
E4    first-notice.sev2.to                    | leadership      | leadership      | -               | leadership
E4    first-notice.sev3.to                    | -               | -               | -               | -
E4    first-notice.sev4.to                    | -               | -               | -               | -
P1    postmortem.required                     | sev1, sev2      | sev1, sev2      | sev1, sev2      | sev1, sev2
P4    postmortem.document                     | 48h             | 48h             | 48h             | 48h
P4    postmortem.review                       | 72h             | 72h             | 72h             | 72h
P4    postmortem.overdue                      | 5bd             | 5bd             | 5bd             | 5bd
P4    postmortem.agenda                       | 10m, 20m, 30m, 20m, 10m | 10m, 20m, 30m, 20m, 10m | 10m, 20m, 30m, 20m, 10m | 10m, 20m, 30m, 20m, 10m
M1    goals.detect                            | 5m              | 5m              | 5m              | 5m
M1    goals.respond                           | 15m             | 15m             | 15m             | 15m
M1    goals.resolve                           | 4h              | 4h              | 4h              | 4h
M1    goals.first-contact                     | 80              | 80              | 80              | 80
M1    goals.satisfaction                      | 4.0             | 4.0             | 4.0             | 4.0
G2    regulations.gdpr-article-33.within      | 72h             | -               | 72h             | 72h
G2    regulations.gdpr-article-33.since       | awareness       | -               | awareness       | awareness
G2    regulations.gdpr-article-33.kinds       | data privacy incident | -         | data privacy incident | data privacy incident
G2    regulations.gdpr-article-33.personal-data | yes           | -               | yes             | yes
G2    regulations.gdpr-article-33.to          | data-protection | -               | data-protection | data-protection
"""

# E1 and E2.  `!` is a page until acknowledged, repeated every 5 minutes; `=` is a task.

ESCALATION_POLICIES = """
E1,E2 guide sev1:     0m on-call! | 30m it-manager | 1h cto | 2h ceo | 4h board
E1,E2 guide sev2:     0m on-call! | 30m it-manager | 1h it-manager | 2h cto | 4h cto
E1    guide sev3:     1h it-manager | 4h cto
E1    guide sev4:
E1    procedure sev1: 30m it-manager | 1h cto | 2h ceo | 4h board
E1    procedure sev2: 30m it-manager | 1h it-manager | 2h cto | 4h cto
E1    procedure sev3: 1h it-manager | 4h cto
E1    procedure sev4:
E2    p-scale sev1:   0m on-call! | 5m engineering-manager | 15m vp-engineering | 30m executives | 1h =customer communication required
E2    p-scale sev2:   0m on-call! | 30m engineering-manager | 2h vp-engineering | 4h =customer communication if needed
E2    p-scale sev3:   4h engineering-manager
E2    p-scale sev4:
E1,E2 strict sev1:    0m on-call! | 5m engineering-manager | 15m vp-engineering | 30m it-manager+executives | 1h cto | 1h =customer communication required | 2h ceo | 4h board
E1,E2 strict sev2:    0m on-call! | 30m it-manager+engineering-manager | 1h it-manager | 2h cto+vp-engineering | 4h cto | 4h =customer communication if needed
E1,E2 strict sev3:    1h it-manager | 4h cto+engineering-manager
E1,E2 strict sev4:
"""

FLOORS = {
    ("a security breach", "sev1", "security breach", "-", "-"),
    ("a confirmed data breach", "sev1", "-", "-", "yes"),
    ("a full outage", "sev1", "service outage", "high", "-"),
    ("a major data loss", "sev1", "data loss or corruption", "high", "-"),
}

ROLES = {
    "commander",
    "technical-lead",
    "communications-lead",
    "scribe",
    "business-liaison",
    "on-call-engineer",
    "subject-matter-expert",
}

CHECKLIST = (
    "service restored",
    "root cause found or a problem issue linked",
    "actions documented",
    "users told",
    "monitoring stable",
    "follow-ups created",
    "knowledge base updated",
)

TARGET_KEYS = ("commander", "acknowledge", "respond", "update", "resolve")
POSTMORTEM_DEADLINES = ("document", "review", "overdue")
GOALS = ("detect", "respond", "resolve")


def parse_rows(page: str) -> Iterator[tuple[str, str, str, str]]:
    """Yield the id, the value's path, the profile and what that profile holds for it."""
    head, *lines = page.strip().splitlines()
    profiles = [cell.strip() for cell in head.split("|")[1:]]
    for line in lines:
        first, *cells = line.split("|")
        name, value = first.split(maxsplit=1)
        for profile, cell in zip(profiles, cells, strict=True):
            yield name, value.strip(), profile, cell.strip()


def look_up(policy: Policy, value: str) -> Any:
    """Return the policy's value at that path; None where there is none."""
    top, *keys = value.split(".")
    found: Any = policy.targets if top == "severities" else getattr(policy, top.replace("-", "_"))
    for word in keys:
        if isinstance(found, Mapping):
            found = next((entry for key, entry in found.items() if _key_text(key) == word), None)
        elif found is not None:
            found = getattr(found, word.replace("-", "_"))
    return found


def _key_text(key: Any) -> str:
    return str(key) if isinstance(key, Severity) else key.value if isinstance(key, Enum) else key


@pytest.mark.parametrize(
    ("value", "profile", "says"),
    [pytest.param(*row, id=f"{name} {row[0]} {row[1]}") for name, *row in parse_rows(PROFILE_VALUES)],
)
def test_every_value_of_every_profile(value: str, profile: str, says: str) -> None:
    assert table_text(look_up(load_profile(profile), value)) == normalize_durations(says)


def table_text(value: Any) -> str:
    """Return a value in the notation of the table."""
    match value:
        case Target(within, None):
            return str(within)
        case Severity():
            return str(value)
        case Enum():
            return str(value.value)
        case frozenset() | tuple():
            return ", ".join(map(table_text, sorted(value) if isinstance(value, frozenset) else value)) or "-"
        case Mapping():
            return ", ".join(f"{table_text(key)} {table_text(kept)}" for key, kept in sorted(value.items())) or "-"
    return "-" if value is None else TEXT_BY_TYPE.get(type(value), str)(value)


def _audience(audience: Audience) -> str:
    assert audience == Audience(), audience
    return "as needed"


TEXT_BY_TYPE: Mapping[type, Callable[[Any], str]] = {
    AlertRule: lambda alert: f"{alert.above} {alert.severity}",
    Audience: _audience,
}


def normalize_durations(text: str) -> str:
    """Return the text with each duration as `Duration` prints it: the page's 72h become 3d."""
    return re.sub(r"\b[0-9]+(?:m|h|d|bd)\b", lambda found: str(Duration.parse(found[0])), text)


@pytest.mark.parametrize("row", ESCALATION_POLICIES.strip().splitlines(), ids=lambda row: row.partition(":")[0])
def test_the_ladders_of_every_profile(row: str) -> None:
    name, _, steps_text = row.partition(":")
    _, profile, severity = name.split()
    steps = load_profile(profile).ladders[Severity(int(severity[-1]))]
    assert " | ".join(map(step_text, steps)) == steps_text.strip()


def step_text(step: Step) -> str:
    assert (step.until is Until.ACK) == (step.repeat is not None)
    assert step.repeat in (None, Duration(seconds=300))
    assert step.via == (), "the channels are those of the first notice"
    return f"{step.after} {'+'.join(step.to)}{'!' * (step.until is Until.ACK)}{'=' * bool(step.do)}{step.do}"


def test_the_table_speaks_of_all_profiles_and_of_every_clock() -> None:
    covered = {(profile, value) for _, value, profile, _ in parse_rows(PROFILE_VALUES)}
    clocks = {
        f"severities.{severity}.{clock}" for severity in Severity for clock in ("respond", "resolve", *TARGET_KEYS)
    }
    assert covered >= {(profile, clock) for profile in PROFILES for clock in clocks}
    assert {row.split(":")[0].partition(" ")[2].strip() for row in ESCALATION_POLICIES.strip().splitlines()} == {
        f"{profile} {severity}" for profile in PROFILES for severity in Severity
    }


@pytest.mark.parametrize("profile", PROFILES)
def test_no_profile_says_more_than_the_page(profile: str) -> None:
    """A profile has no clock, audience, regulation, alert or role that the table does not name."""
    policy = load_profile(profile)
    named = {
        tuple(value.split(".")[:2])
        for _, value, of, says in parse_rows(PROFILE_VALUES)
        if of == profile and says != "-"
    }
    for field, what in (("audiences", policy.audiences), ("regulations", policy.regulations)):
        assert set(what) == {name[1] for name in named if name[0] == field}
    alerts = {name[1] for name in named if name[0] == "alerts"}
    assert set(policy.alerts) == alerts | ({"failed logins"} if alerts else set())
    left_to_teams = ("people", "teams", "rotations", "services", "runbooks", "overrides", "aliases")
    assert not [part for part in left_to_teams if getattr(policy, part)]
    assert set(policy.calendars) == {"business"}


@pytest.mark.parametrize("profile", PROFILES)
def test_a5_facts_that_make_it_sev1(profile: str) -> None:
    floors = load_profile(profile).floors
    assert {
        (floor.because, *map(table_text, (floor.at_least, floor.kind, floor.impact, floor.personal_data)))
        for floor in floors
    } == FLOORS
    assert len(floors) == len(FLOORS)


@pytest.mark.parametrize("profile", ["guide", "procedure", "strict"])
def test_a9_failed_logins_are_a_matter_of_security(profile: str) -> None:
    alert = load_profile(profile).alerts["failed logins"]
    assert (alert.above, alert.severity, table_text(alert.kind)) == ("100/min", Severity.SEV2, "security breach")


@pytest.mark.parametrize("profile", PROFILES)
def test_d1_seven_roles_that_nobody_holds_yet(profile: str) -> None:
    policy = load_profile(profile)
    assert dict(policy.roles) == dict.fromkeys(ROLES, RoleHolders())
    assert not ROLES & set(policy.contacts), "a contact of the same name would never be asked"


@pytest.mark.parametrize(
    ("profile", "holds"), [("guide", True), ("procedure", False), ("p-scale", False), ("strict", True)]
)
def test_d7_the_checklist_of_seven(profile: str, holds: bool) -> None:
    assert load_profile(profile).closing.checklist == (CHECKLIST if holds else ())


@pytest.mark.parametrize("profile", PROFILES)
def test_p4_the_review_takes_ninety_minutes(profile: str) -> None:
    assert sum(part.seconds for part in load_profile(profile).postmortem.agenda) == 90 * 60


@pytest.mark.parametrize(
    ("profile", "reviewers"),
    [
        ("guide", ("it-manager",)),
        ("procedure", ("it-manager",)),
        ("p-scale", ("engineering-manager",)),
        ("strict", ("it-manager", "engineering-manager")),
    ],
)
def test_the_first_rung_of_management_reviews(profile: str, reviewers: tuple[str, ...]) -> None:
    assert load_profile(profile).postmortem.reviewers == reviewers


# What a profile is.


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_reads_without_a_fault_and_is_what_extending_it_gives(profile: str) -> None:
    assert load_profile(profile).profile == profile
    assert read_policy(f"extends: {profile}") == load_profile(profile)
    assert load_profile(profile).scale is (Scale.P if profile == "p-scale" else Scale.SEV)


def test_the_guide_is_the_default() -> None:
    assert DEFAULT_PROFILE == "guide"
    assert read_policy("") == load_profile("guide")


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_names_its_contacts_and_knows_nobody(profile: str) -> None:
    policy = load_profile(profile)
    named = {name for steps in policy.ladders.values() for step in steps for name in step.to}
    named |= {name for notice in policy.first_notice.values() for name in notice.to}
    named |= {name for regulation in policy.regulations.values() for name in regulation.to}
    named |= {*policy.postmortem.reviewers, "on-call"}
    assert set(policy.contacts) == named, "each contact is asked for something, and each that is asked is there"
    assert not any(policy.contacts.values())


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_of_a_profile_names_its_document(profile: str) -> None:
    text = resources.files("app").joinpath("policies", f"{profile}.yml").read_text("utf-8")
    unnamed = [line for line in text.splitlines() if _line_value(line) and not re.search(r"# 00[0-4]\b", line)]
    assert unnamed == []


def _line_value(line: str) -> str:
    """Return the value on a line without its comment; empty for keys that only open a block."""
    value = line.partition("#")[0].strip()
    return "" if value.endswith(":") else value


# Strict.


@dataclass(frozen=True)
class TimeLimit:
    """Something that must happen in time, and how long a profile gives it."""

    name: str
    within: Duration


def time_limits(policy: Policy) -> Iterator[TimeLimit]:
    """Yield every duration of the policy within which people are notified, answer or finish something."""
    for severity in Severity:
        yield from _time_limits_of(policy, severity)
    for name, audience in policy.audiences.items():
        yield from (TimeLimit(f"{severity} {name} first", within) for severity, within in audience.first.items())
        yield from (TimeLimit(f"{severity} {name} updates", within) for severity, within in audience.updates.items())
    yield from (TimeLimit(name, regulation.within) for name, regulation in policy.regulations.items())
    yield from (TimeLimit(f"postmortem {name}", getattr(policy.postmortem, name)) for name in POSTMORTEM_DEADLINES)
    yield from (TimeLimit(f"goal {name}", getattr(policy.goals, name)) for name in GOALS)


def _time_limits_of(policy: Policy, severity: Severity) -> Iterator[TimeLimit]:
    for clock in TARGET_KEYS:
        if target := getattr(policy.targets_of(severity), clock):
            yield TimeLimit(f"{severity} {clock}", target.within)
    for step in policy.ladders[severity]:
        for recipient in step.to or (step.do,):
            yield TimeLimit(f"{severity} {step.until.value} {recipient}", step.after)
            if step.repeat:
                yield TimeLimit(f"{severity} again {recipient}", step.repeat)
    if severity in policy.first_notice:
        yield TimeLimit(f"{severity} first notice", policy.first_notice[severity].within)


def shortest_limits(limits: Iterable[TimeLimit]) -> dict[str, Duration]:
    """Return the shortest duration for each name; of 24 hours and a business day, the 24 hours."""
    found: dict[str, Duration] = {}
    for limit in sorted(limits, key=lambda p: (_min_seconds(p.within), p.within.business_days), reverse=True):
        found[limit.name] = limit.within
    return found


def _min_seconds(duration: Duration) -> int:
    """Return the minimal length in seconds; a business day is never shorter than 24 hours."""
    return duration.seconds + duration.business_days * 86400


@pytest.mark.parametrize("profile", PROFILES)
def test_strict_keeps_every_promise_of_any_profile_and_never_later(profile: str) -> None:
    strict = shortest_limits(time_limits(load_profile("strict")))
    other = shortest_limits(time_limits(load_profile(profile)))
    assert set(other) <= set(strict)
    assert {
        what: (within, strict[what])
        for what, within in other.items()
        if _min_seconds(strict[what]) > _min_seconds(within)
    } == {}


def test_strict_makes_no_promise_of_its_own() -> None:
    """Each duration of strict is the shortest that any other profile gives."""
    other_limits = [
        promise for profile in PROFILES if profile != "strict" for promise in time_limits(load_profile(profile))
    ]
    assert shortest_limits(time_limits(load_profile("strict"))) == shortest_limits(other_limits)


@given(
    hours=st.integers(0, 3 * 366 * 24),
    minutes=st.integers(0, 59),
    severity=st.sampled_from(Severity),
    clock=st.sampled_from(TARGET_KEYS),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Sydney"]),
)
def test_whenever_it_happens_strict_is_due_no_later(
    hours: int, minutes: int, severity: Severity, clock: str, zone: str
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=hours, minutes=minutes)
    due_times = {
        profile: _due_time(read_policy(f"extends: {profile}\ntimezone: {zone}"), severity, clock, start)
        for profile in PROFILES
    }
    strict = due_times.pop("strict")
    assert all(strict is not None and strict <= other for other in due_times.values() if other is not None)


def _due_time(policy: Policy, severity: Severity, clock: str, start: datetime) -> datetime | None:
    target = getattr(policy.targets_of(severity), clock)
    return due_time(start, target, policy.calendars) if target else None


def test_strict_weighs_facts_as_the_others_do() -> None:
    strict = load_profile("strict")
    for profile in PROFILES:
        policy = load_profile(profile)
        assert set(strict.floors) >= set(policy.floors)
        assert all(strict.matrix[u][i] <= policy.matrix[u][i] for u in Level for i in Level)
        assert strict.closing.severities >= policy.closing.severities
        assert set(strict.closing.checklist) >= set(policy.closing.checklist)
        assert strict.postmortem.required >= policy.postmortem.required
        assert all(set(strict.first_notice_of(s).via) >= set(policy.first_notice_of(s).via) for s in Severity)
