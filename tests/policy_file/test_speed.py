"""How fast the largest allowed policy is read: within 100 ms."""

from __future__ import annotations

import time

import pytest

from app.core.severity import Severity
from app.policy_file import read_policy
from app.policy_file.explain import explain_policy
from app.policy_file.value_parsers import regions
from app.policy_file.yaml_tree import MAX_FILE_BYTES

from .large import large_policy


@pytest.fixture(scope="module")
def text() -> str:
    regions("DE")  # loads the library of national holidays, which a process does once
    return large_policy()


def test_the_large_policy_is_large_and_whole(text: str) -> None:
    policy = read_policy(text)
    assert 0.98 * MAX_FILE_BYTES < len(text.encode()) <= MAX_FILE_BYTES
    assert (len(policy.people), len(policy.teams), len(policy.rotations), len(policy.overrides)) == (180, 30, 30, 30)
    assert len(policy.services) > 100
    assert policy.targets[Severity.SEV1].respond is not None


def test_64_kib_are_read_quickly(text: str) -> None:
    """Measure the fastest of five reads, each of another text, so that no cache helps.

    The target is 100 ms, which `make bench` measures; the limit here leaves room
    for a slow machine, not for a slow reader.
    """
    spent = []
    for n in range(5):
        other = text.replace("person-", f"who-{n}-")
        began = time.process_time()
        read_policy(other)
        spent.append(time.process_time() - began)
    assert min(spent) <= 0.4, spent


def test_64_kib_are_explained_quickly(text: str) -> None:
    began = time.process_time()
    explain_policy(text, severity=Severity.SEV1)
    assert time.process_time() - began < 5
