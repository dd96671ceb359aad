"""The values of every shipped profile, compared with the numbers of the documents."""

from __future__ import annotations

import re

import pytest
import yaml

from app.core.policy import (
    FLOORS,
    MATRIX,
    Duration,
    Step,
    Target,
    Targets,
    Until,
)
from app.core.severity import Scale, Severity
from app.policy_file import PROFILES, load_profile, read_policy
from app.policy_file.inheritance import load_profile_text

SEV1, SEV2, SEV3, SEV4 = Severity

# The numbers of B1 to B6 and M1, for every profile.

CLOCKS = """
                commander  acknowledge  respond  update  resolve
guide     sev1  -          5m           15m      15m     4h
guide     sev2  -          5m           1h       30m     8h
guide     sev3  -          -            4h       -       3d
guide     sev4  -          -            1bd      -       5d
procedure sev1  -          -            15m      -       4h
procedure sev2  -          -            1h       -       8h
procedure sev3  -          -            4h       -       1d
procedure sev4  -          -            1d       -       3d
p-scale   sev1  5m         5m           0m       -       4h
p-scale   sev2  5m         5m           15m      -       -
p-scale   sev3  -          -            1h       -       -
p-scale   sev4  -          -            1bd      -       -
strict    sev1  5m         5m           0m       15m     4h
strict    sev2  5m         5m           15m      30m     8h
strict    sev3  -          -            1h       -       1d
strict    sev4  -          -            1d       -       3d
"""

# E1 and E2.  `!` is a page until acknowledged, repeated every 5 minutes; `=` is something to do.

GUIDE_SEV1 = "0m on-call! | 30m it-manager | 1h cto | 2h ceo | 4h board"
GUIDE_SEV2 = "0m on-call! | 30m it-manager | 1h it-manager | 2h cto | 4h cto"
ESCALATIONS = {
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


def format_step(step: Step) -> str:
    assert (step.until is Until.ACK) == (step.repeat is not None)
    assert step.repeat in (None, Duration(seconds=300))
    return f"{step.after} {','.join(step.to)}{'!' * (step.until is Until.ACK)}{'=' * bool(step.do)}{step.do}"


@pytest.mark.parametrize("row", [line.split() for line in CLOCKS.splitlines()[2:]], ids=lambda row: " ".join(row[:2]))
def test_the_clocks_of_every_profile(row: list[str]) -> None:
    profile, severity, *lengths = row
    assert load_profile(profile).targets[Severity(int(severity[-1]))] == Targets(
        *(None if length == "-" else Target(Duration.parse(length)) for length in lengths)
    )


@pytest.mark.parametrize(("profile", "severity"), ESCALATIONS)
def test_the_ladders_of_every_profile(profile: str, severity: Severity) -> None:
    assert " | ".join(map(format_step, load_profile(profile).ladders[severity])) == ESCALATIONS[profile, severity]


def shortest(*values: Duration) -> Duration:
    """Return the shortest; a business day is never shorter than 24 hours."""
    return min(values, key=lambda value: (value.seconds + value.business_days * 86400, value.business_days))


@pytest.mark.parametrize("severity", Severity)
@pytest.mark.parametrize("clock", ["commander", "acknowledge", "respond", "update", "resolve"])
def test_strict_is_the_shortest_of_all(severity: Severity, clock: str) -> None:
    others = [getattr(load_profile(profile).targets[severity], clock) for profile in PROFILES if profile != "strict"]
    lengths = [target.within for target in others if target]
    assert getattr(load_profile("strict").targets[severity], clock) == (Target(shortest(*lengths)) if lengths else None)


@pytest.mark.parametrize("profile", PROFILES)
def test_what_all_profiles_share(profile: str) -> None:
    policy = load_profile(profile)
    assert policy.profile == profile
    assert policy.scale is (Scale.P if profile == "p-scale" else Scale.SEV)
    assert (policy.warnings, policy.silence, policy.matrix, policy.floors) == ((50, 80), 2, MATRIX, FLOORS)
    assert policy.postmortem.required == {SEV1, SEV2}
    deadlines = (policy.postmortem.document, policy.postmortem.review, policy.postmortem.overdue)
    assert deadlines == tuple(map(Duration.parse, ("48h", "72h", "5bd")))
    named = {name for steps in policy.ladders.values() for step in steps for name in step.to}
    assert named | set(policy.postmortem.reviewers) <= set(policy.contacts)
    assert not any(policy.contacts.values()), "a profile knows nobody by name"
    assert read_policy(f"extends: {profile}") == policy
    assert load_profile(profile) is policy


@pytest.mark.parametrize("profile", PROFILES)
def test_every_value_of_a_profile_names_its_document(profile: str) -> None:
    text = load_profile_text(profile)
    for line in text.splitlines():
        value = line.partition("#")[0].rstrip()
        assert not value or value.endswith(":") or re.search(r"# .*00[0-4]", line), line


def test_only_four_profiles_are_shipped() -> None:
    with pytest.raises(KeyError):
        load_profile("../../etc/passwd")


def test_the_profiles_are_plain_yaml_for_everyone() -> None:
    for profile in PROFILES:
        text = load_profile_text(profile)
        assert isinstance(yaml.safe_load(text), dict)
