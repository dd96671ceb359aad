"""A policy that is written to a file reads back as the same policy."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from app.core.policy import Policy
from app.core.severity import Scale, Severity
from app.policy_file import PROFILES, PolicyFaults, load_profile, read_policy, schema
from app.policy_file.field_rules import key_specs
from app.policy_file.writer import dump_policy, policy_to_dict

from .core_yaml import is_valid
from .files import ORG, values_of
from .test_whole_language import WHOLE_FILE


@pytest.mark.parametrize("key", key_specs(Policy))
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_what_is_written_is_read_as_the_same_policy(key: str, data: st.DataObject) -> None:
    org = ORG.format(profile=data.draw(st.sampled_from(PROFILES)))
    file: dict[str, Any] = {"extends": "org", key: data.draw(values_of(key_specs(Policy)[key].kind))}
    text = yaml.safe_dump(file, allow_unicode=True)
    assert is_valid(text), "the schema refuses nothing that may be read"
    try:
        policy = read_policy(text, org=org)
    except PolicyFaults:
        assume(False)
    assert read_policy(dump_policy(policy)) == policy


@pytest.mark.parametrize(
    "text", [*(f"extends: {profile}" for profile in PROFILES), WHOLE_FILE], ids=lambda text: text[:20]
)
def test_whole_files_are_written_and_read_again(text: str) -> None:
    policy = read_policy(text)
    assert read_policy(dump_policy(policy)) == policy
    assert is_valid(text)
    assert is_valid(dump_policy(policy))


def test_a_policy_is_written_in_its_own_language() -> None:
    policy = read_policy(
        "scale: p\nseverities: {P1: {respond: {within: 30m, calendar: business}, update: off}}\nregulations: {gdpr-article-33: off}"
    )
    file = policy_to_dict(policy)
    assert file["severities"]["P1"]["respond"] == {"within": "30m", "calendar": "business"}
    assert file["severities"]["P1"]["update"] is None
    assert file["severities"]["P0"]["respond"] == "15m"
    assert file["regulations"] == {"gdpr-article-33": None}
    assert file["calendars"]["business"]["days"] == ["mon-fri"]
    assert file["postmortem"]["required"] == ["P0", "P1"]
    assert policy_to_dict(policy, Scale.SEV)["severities"].keys() == {str(severity) for severity in Severity}
    assert schema()["properties"].keys() >= file.keys()
    assert policy_to_dict(load_profile("guide"))["extends"] == "guide"
