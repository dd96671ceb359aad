"""Metrics: durations, SLA compliance and the state of postmortems."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from statistics import mean, median

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import PostmortemMerged
from app.core.incident import Incident
from app.core.incident_report import IncidentReport, Kind
from app.core.metrics import (
    Compliance,
    MetricsSummary,
    PostmortemState,
    SlaKey,
    distribution,
    durations,
    measure,
    summarize_metrics,
)
from app.core.policy import Audience, Duration, Policy
from app.core.severity import Severity
from tests.render.scenes import POLICY, REPORT, START, Scene, closed_scene, resolved_scene, watched_scene

ACKNOWLEDGE, RESPOND, UPDATE, RESOLVE = (SlaKey(name) for name in ("acknowledge", "respond", "update", "resolve"))


def sla_results(scene: Scene, minute: float) -> dict[SlaKey, bool]:
    incident, now = scene.state_at(minute)
    return dict(measure(incident, scene.policy, now).sla_results)


def postmortem_state(scene: Scene, minute: float) -> PostmortemState | None:
    incident, now = scene.state_at(minute)
    return measure(incident, scene.policy, now).postmortem


def minutes(n: float) -> timedelta:
    return timedelta(minutes=n)


def scene_in_time() -> Scene:
    return (
        Scene()
        .post_command(3, "hubot", "ack")
        .post_command(15, "hubot", "update", "on it")
        .post_command(25, "hubot", "resolve", "done")
    )


def test_times_count_from_what_the_report_says() -> None:
    report = replace(REPORT, started_at=START - minutes(20), detected_at=START - minutes(5))
    scene = (
        Scene(report=report)
        .post_command(3, "hubot", "ack")
        .post_command(8, "hubot", "status", "mitigated")
        .close(30, "mona")
    )
    took = durations(scene.state_at(40)[0])
    assert (took.to_detect, took.to_acknowledge, took.to_respond) == (minutes(15), minutes(8), minutes(8))
    assert (took.to_mitigate, took.to_resolve) == (minutes(28), minutes(50))


def test_what_nobody_told_has_no_time() -> None:
    took = durations(Scene(report=IncidentReport(severity=Severity.SEV3)).state_at(10)[0])
    assert {took.to_detect, took.to_acknowledge, took.to_respond, took.to_mitigate, took.to_resolve} == {None}


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60))
def test_a_spread_is_what_the_books_say(seconds: list[int]) -> None:
    times = [timedelta(seconds=each) for each in seconds]
    found = distribution([None, *times, None])
    assert found is not None
    assert found.count == len(times)
    assert found.median.total_seconds() == pytest.approx(median(seconds), abs=1e-5)
    assert found.mean.total_seconds() == pytest.approx(mean(seconds), abs=1e-5)
    assert found.p90 in times
    assert sum(each <= found.p90 for each in times) * 10 >= len(times) * 9
    assert sum(each < found.p90 for each in times) * 10 < len(times) * 9, "a shorter one would do"


def test_a_spread_of_nothing_is_none() -> None:
    assert distribution([None, None]) is None


@pytest.mark.parametrize(
    ("kept", "missed", "percent"), [(0, 0, None), (3, 0, 100.0), (0, 2, 0.0), (2, 1, 66.6), (1999, 1, 99.9)]
)
def test_only_all_of_them_are_a_hundred_per_cent(kept: int, missed: int, percent: float | None) -> None:
    assert Compliance(kept, missed).percent == percent


def test_an_incident_that_went_well_kept_everything() -> None:
    assert sla_results(scene_in_time().close(30, "mona"), 40) == {
        ACKNOWLEDGE: True,
        RESPOND: True,
        UPDATE: True,
        RESOLVE: True,
    }


def test_each_deadline_is_judged_apart() -> None:
    late = Scene().post_command(12, "hubot", "ack").post_command(40, "hubot", "resolve", "done").close(50, "mona")
    assert sla_results(late, 60) == {ACKNOWLEDGE: False, RESPOND: True, UPDATE: False, RESOLVE: True}


def test_nobody_answered_at_all() -> None:
    assert sla_results(Scene().close(300, "mona"), 310) == {ACKNOWLEDGE: False, RESPOND: False, RESOLVE: False}


def test_a_page_that_nobody_answered_stays_missed_when_the_next_was_answered() -> None:
    scene = Scene().post_command(12, "hubot", "ack").post_command(20, "hubot", "resolve", "done").close(21, "mona")
    again = (
        scene.reopen(60, "mona")
        .post_command(61, "hubot", "ack")
        .post_command(70, "hubot", "resolve", "now")
        .close(71, "mona")
    )
    assert sla_results(again, 80)[ACKNOWLEDGE] is False


def test_a_deadline_that_a_grade_moved_counts_as_it_stands() -> None:
    scene = Scene().post_command(3, "hubot", "ack").post_command(250, "hubot", "severity", "sev2 less than it seemed")
    lowered = scene.post_command(260, "hubot", "resolve", "done").close(261, "mona")
    assert sla_results(lowered, 270)[RESOLVE] is True
    assert sla_results(Scene().post_command(3, "hubot", "ack").close(260, "mona"), 270)[RESOLVE] is False


def test_audiences_and_laws_are_judged_by_their_names() -> None:
    found = sla_results(
        watched_scene().post_command(2, "hubot", "ack").post_command(4, "hubot", "update", "on it").close(20, "mona"),
        30,
    )
    named = {sla: met for sla, met in found.items() if sla.about}
    assert named
    assert all(named.values())
    silent = sla_results(watched_scene().post_command(2, "hubot", "ack").close(500, "mona"), 510)
    assert not any(met for sla, met in silent.items() if sla.clock == "audience")
    assert list(found) == sorted(found, key=lambda each: list(silent).index(each)), "in the order of the shelf"


def test_a_first_word_that_is_owed_at_once_is_late_when_a_page_would_be() -> None:
    page = SlaKey("audience", "status page")
    assert sla_results(watched_scene().post_command(4, "hubot", "update", "on it").close(20, "mona"), 30)[page] is True
    assert sla_results(watched_scene().post_command(6, "hubot", "update", "on it").close(20, "mona"), 30)[page] is False
    assert sla_results(watched_scene().close(4, "mona"), 30)[page] is True, (
        "it was over before the first update was due"
    )


def test_a_severity_that_owes_an_audience_nothing_is_not_judged_by_it() -> None:
    policy = replace(POLICY, audiences={"board": Audience(updates={Severity.SEV2: Duration(seconds=600)})})
    assert SlaKey("audience", "board") not in sla_results(Scene(policy=policy).close(30, "mona"), 40)


def test_what_became_of_the_postmortem() -> None:
    assert postmortem_state(Scene(report=IncidentReport(severity=Severity.SEV3)).close(30, "mona"), 40) is None
    hours = 60
    assert postmortem_state(closed_scene(), 125) is PostmortemState.DUE
    assert postmortem_state(closed_scene(), 95 + 48 * hours) is PostmortemState.DUE
    assert postmortem_state(closed_scene(), 96 + 48 * hours) is PostmortemState.OVERDUE

    def scene_merged_at(minute: float) -> Scene:
        return closed_scene().add_event(minute, PostmortemMerged(by="mona", key="pull/13/merged", pull=13))

    assert postmortem_state(scene_merged_at(24 * hours), 25 * hours) is PostmortemState.DONE
    assert postmortem_state(scene_merged_at(72 * hours), 73 * hours) is PostmortemState.LATE


def sample_incidents() -> tuple[list[Incident], Policy]:
    scenes = [
        Scene("quick").post_command(3, "hubot", "ack").close(10, "mona"),
        Scene("slow").post_command(3, "hubot", "ack").close(300, "mona"),
        Scene("small", replace(REPORT, severity=Severity.SEV3, impact=None, urgency=None, kind=None)).close(
            5000, "mona"
        ),
        resolved_scene().close(60, "mona"),
        closed_scene(),
    ]
    return [scene.state_at(6000)[0] for scene in scenes], POLICY


def sample_summary() -> MetricsSummary:
    incidents, policy = sample_incidents()
    return summarize_metrics(incidents, policy, START + minutes(6000))


def test_the_worst_comes_first() -> None:
    found = sample_summary()
    order = [(one.incident.severity, -len(one.missed_slas)) for one in found.incidents]
    assert order == sorted(order)
    assert (found.incidents[0].incident.title, found.incidents[-1].incident.title) == ("slow", "small")


def test_the_figures_are_the_sum_of_their_incidents() -> None:
    found = sample_summary()
    assert found.severities == {Severity.SEV1: 4, Severity.SEV3: 1}
    assert (found.kinds, list(found.kinds)[-1]) == ({Kind.OUTAGE: 4, None: 1}, None)
    for sla, compliance in found.clocks.items():
        results = [one.sla_results[sla] for one in found.incidents if sla in one.sla_results]
        assert (compliance.met, compliance.missed) == (sum(results), len(results) - sum(results))
    assert found.compliance == Compliance(
        sum(each.met for each in found.clocks.values()), sum(each.missed for each in found.clocks.values())
    )
    assert found.postmortems == {PostmortemState.OVERDUE: 4}
    assert found.reopened_count == 0


def test_goals_count_from_the_opening_and_resolving_has_one_for_the_worst_alone() -> None:
    goals = sample_summary().goals
    assert goals["respond"] == Compliance(4, 1)
    assert goals["resolve"] == Compliance(3, 1)


def test_nothing_has_no_figures() -> None:
    found = summarize_metrics([], POLICY, START)
    assert (found.incidents, found.compliance.percent, found.severities, found.postmortems) == ((), None, {}, {})
    assert set(found.times.values()) == {None}
