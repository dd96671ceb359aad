"""Labels of an incident: a table of states and the labels derived from them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings

from app.core.clocks import alarms
from app.core.decide import decide
from app.core.events import AlarmFired, Opened
from app.core.incident import Grade, Incident, PostmortemPull
from app.core.labels import desired_labels, labels_unchanged, own_labels
from app.core.lifecycle import Status
from app.core.policy import Labels
from app.core.replay import sort_log
from app.core.severity import Severity

from .event_logs import DECLARED, Log, logs, profiles, staffed_policy

GUIDE = staffed_policy("guide")
PULL = PostmortemPull(8, "https://github.com/acme/shop/pull/8")


def incident(**fields: Any) -> Incident:
    opened = Opened(id="INC-1", repo="acme/shop", number=7, title="down", key="issue/7", by="ada")
    found = decide(None, opened, GUIDE, DECLARED).incident
    assert found
    return replace(found, **{"grade": Grade(Severity.SEV2), **fields})


def after_minutes(minutes: int) -> datetime:
    return DECLARED + timedelta(minutes=minutes)


@pytest.mark.parametrize(
    ("now", "labels"),
    [
        ({}, ""),
        ({"status": Status.ACKNOWLEDGED}, "acknowledged"),
        ({"status": Status.INVESTIGATING}, "acknowledged"),
        ({"status": Status.IDENTIFIED}, "acknowledged"),
        ({"status": Status.MITIGATED}, "mitigated"),
        ({"status": Status.RESOLVED, "resolved_at": after_minutes(5)}, "resolved"),
        ({"status": Status.VERIFIED, "resolved_at": after_minutes(5)}, "resolved"),
        ({"status": Status.CLOSED, "resolved_at": after_minutes(5)}, "resolved"),
        ({"grade": Grade(Severity.SEV2, uncertain=True)}, "needs-triage"),
        (
            {"grade": Grade(Severity.SEV2, uncertain=True), "status": Status.CLOSED, "resolved_at": after_minutes(5)},
            "resolved",
        ),
        ({"fired_alarms": frozenset({"respond/50@2026-03-13T16:59:58Z"})}, "sla-at-risk"),
        ({"fired_alarms": frozenset({"respond/50@2026-03-13T16:59:58Z"}), "responded_at": after_minutes(40)}, ""),
        ({"fired_alarms": frozenset({"respond/50@2020-01-01T00:00:00Z"})}, ""),
        (
            {"fired_alarms": frozenset({"respond/80@2026-03-13T16:59:58Z", "respond/breach@2026-03-13T16:59:58Z"})},
            "sla-breached",
        ),
        (
            {"fired_alarms": frozenset({"respond/breach@2026-03-13T16:59:58Z"}), "responded_at": after_minutes(70)},
            "sla-breached",
        ),
        (
            {"fired_alarms": frozenset({"resolve/80@2026-03-13T23:59:58Z"}), "responded_at": after_minutes(1)},
            "sla-at-risk",
        ),
        (
            {"fired_alarms": frozenset({"resolve/breach@2026-03-13T23:59:58Z"}), "responded_at": after_minutes(1)},
            "sla-breached",
        ),
        (
            {"status": Status.CLOSED, "resolved_at": after_minutes(481), "responded_at": after_minutes(1)},
            "resolved sla-breached",
        ),
        ({"postmortem_wanted": True}, "postmortem-due"),
        ({"postmortem_wanted": True, "postmortem": PULL}, "postmortem-due"),
        ({"postmortem_wanted": True, "postmortem": replace(PULL, state="dropped")}, "postmortem-due"),
        ({"postmortem_wanted": True, "postmortem": replace(PULL, state="merged")}, ""),
    ],
)
def test_wanted(now: dict[str, Any], labels: str) -> None:
    assert desired_labels(incident(**now), GUIDE) == {"incident", "sev2", *labels.split()}


def test_the_names_are_those_of_the_policy() -> None:
    names = Labels(incident="störung", severities=("s1", "s2", "s3", "s4"), acknowledged="angenommen")
    policy = replace(GUIDE, labels=names)
    assert desired_labels(incident(status=Status.ACKNOWLEDGED), policy) == {"störung", "s2", "angenommen"}


def test_what_is_wanted_is_managed_and_people_keep_theirs() -> None:
    assert not {"paused", "confidential"} & own_labels(GUIDE.labels)
    assert desired_labels(incident(postmortem_wanted=True), GUIDE) <= own_labels(GUIDE.labels)


@settings(max_examples=40, deadline=None)
@given(log=logs(), profile=profiles)
def test_what_is_surely_the_same_is_the_same(log: Log, profile: str) -> None:
    policy, before = staffed_policy(profile), None
    for at, event in sort_log(log):
        while before and (waiting := alarms(before, policy)) and waiting[0].due < at:
            fired = AlarmFired(alarm=waiting[0], key=waiting[0].key)
            after = decide(before, fired, policy, waiting[0].due).incident
            assert desired_labels(before, policy) == desired_labels(after, policy) or not labels_unchanged(
                before, after, fired
            )
            before = after
        after = decide(before, event, policy, at).incident
        if before:
            assert desired_labels(before, policy) == desired_labels(after, policy) or not labels_unchanged(
                before, after, event
            )
        before = after
