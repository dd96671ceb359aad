"""Properties of every replay, whatever events the log holds."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.clocks import alarms, deadlines
from app.core.decide import decide
from app.core.effects import Effect, Notice, Page, Remind, SetLabels, UntouchedQuestion
from app.core.errors import FoldTooLong
from app.core.events import (
    AlarmFired,
    Closed,
    Commented,
    Event,
    Labeled,
    Opened,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    Role,
)
from app.core.fold_budget import ALARMS_PER_EVENT, MAX_ALARMS_PER_FOLD, FoldBudget
from app.core.incident import Incident
from app.core.incident_report import IncidentReport, Kind
from app.core.labels import desired_labels
from app.core.lifecycle import Status
from app.core.notice_relevance import not_before, still_relevant
from app.core.policy import Duration, Policy, Step, Until
from app.core.replay import fire_due_alarms, replay, sort_log
from app.core.severity import Severity
from app.core.simulate import replay_steps
from app.core.slash_command import SlashCommand
from app.github.slash_commands import parse_commands
from app.policy_file import PROFILES

from .event_logs import DECLARED, Log, logs, profiles, staffed_policy, told_once

TICK = timedelta(microseconds=1)
FOLLOW_UP_PERIOD = timedelta(hours=5)
OPENED = Opened(id="INC-1", repo="acme/shop", number=7, title="down", key="issue/7", by="ada")
property_settings = settings(max_examples=50, deadline=None)


def steps(
    log: Log, policy: Policy, until: datetime
) -> list[tuple[Incident, Event, datetime, Incident, tuple[Effect, ...]]]:
    """Return every decision on the way: incident before, event, time, incident after, effects."""
    decisions = []
    incident = None
    for at, event in [*sort_log(log), (until + TICK, AlarmFired(alarm=None))]:  # type: ignore[arg-type]
        while incident and (waiting := alarms(incident, policy)) and waiting[0].due < at:
            fired = AlarmFired(alarm=waiting[0], key=waiting[0].key)
            decision = decide(incident, fired, policy, waiting[0].due)
            decisions.append((incident, fired, waiting[0].due, decision.incident, decision.effects))
            incident = decision.incident
        if at <= until:
            decision = decide(incident, event, policy, at)
            decisions.append((incident, event, at, decision.incident, decision.effects))
            incident = decision.incident
    return decisions


@property_settings
@given(log=logs(), profile=profiles, random=st.randoms(use_true_random=False))
def test_any_order_with_doubles_is_the_same_incident(log: Log, profile: str, random: Random) -> None:
    shuffled = [*log, *random.sample(log, len(log) // 2)]
    random.shuffle(shuffled)
    until = log[-1][0] + FOLLOW_UP_PERIOD
    assert replay(shuffled, staffed_policy(profile), until) == replay(log, staffed_policy(profile), until)


@property_settings
@given(log=logs(), profile=profiles)
def test_one_go_is_the_same_as_step_by_step(log: Log, profile: str) -> None:
    until = log[-1][0] + FOLLOW_UP_PERIOD
    incident, effects = None, []
    for at, event in sort_log(log):
        if incident is not None:
            rest = fire_due_alarms(incident, staffed_policy(profile), at - TICK)
            incident, effects = rest.incident, [*effects, *rest.effects]
        decision = decide(incident, event, staffed_policy(profile), at)
        incident, effects = decision.incident, [*effects, *decision.effects]
    rest = fire_due_alarms(incident, staffed_policy(profile), until)
    assert replay(log, staffed_policy(profile), until) == type(rest)(rest.incident, (*effects, *rest.effects))


@property_settings
@given(log=logs(), profile=profiles, cut=st.integers(0, 25))
def test_the_fold_goes_on_from_any_moment(log: Log, profile: str, cut: int) -> None:
    until = log[-1][0] + FOLLOW_UP_PERIOD
    middle = log[min(cut, len(log) - 1)][0]
    first = replay([row for row in log if row[0] <= middle], staffed_policy(profile), middle)
    rest = replay([row for row in log if row[0] > middle], staffed_policy(profile), until, initial=first.incident)
    whole = replay(log, staffed_policy(profile), until)
    assert whole.incident == rest.incident
    assert told_once(whole.effects) == told_once((*first.effects, *rest.effects))


@property_settings
@given(log=logs(), profile=profiles)
def test_nothing_is_said_twice(log: Log, profile: str) -> None:
    keys = [
        effect.key
        for effect in replay(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD).effects
        if effect.key
    ]
    assert len(keys) == len(set(keys))


@property_settings
@given(log=logs(), profile=profiles)
def test_alarms_have_not_rung_and_are_not_in_the_past(log: Log, profile: str) -> None:
    for _, _, at, incident, _ in steps(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD):
        waiting = alarms(incident, staffed_policy(profile))
        keys = [alarm.key for alarm in waiting]
        assert len(keys) == len(set(keys))
        assert not incident.fired_alarms.intersection(keys)
        assert all(alarm.due >= at for alarm in waiting)
        assert all(before.due <= after.due for before, after in pairwise(waiting))


@pytest.mark.parametrize("again", [PostmortemOpened(pull=8), PostmortemOpened(pull=9), PostmortemDropped(pull=8)])
def test_a_merged_postmortem_stays_merged_whatever_is_proposed_later(again: Event) -> None:
    """Otherwise the reminders that ended with the merge would be due again, in the past."""
    policy, hour, later = staffed_policy("guide"), timedelta(hours=1), timedelta(days=60)
    log: Log = [
        (DECLARED, OPENED),
        (DECLARED + hour, Closed(by="mona", role=Role.WRITE, key="event/98")),
        (DECLARED + 2 * hour, PostmortemOpened(pull=8, key="event/99")),
        (DECLARED + 3 * hour, PostmortemMerged(pull=8, key="event/100")),
    ]
    merged = replay(log, policy, DECLARED + later).incident
    proposed = [*log, (DECLARED + later, replace(again, key="event/101"))]
    assert merged
    assert replay(proposed, policy, DECLARED + later).incident == merged
    assert not alarms(merged, policy)


@pytest.mark.parametrize(
    "asked",
    [
        PostmortemOpened(pull=8, key="event/101"),
        Commented(comment=101, commands=(SlashCommand("postmortem"),), by="mona", role=Role.WRITE, key="comment/101"),
    ],
)
def test_a_postmortem_asked_for_late_is_late_from_then_on(asked: Event) -> None:
    """Its deadlines count from the resolution, but no reminder fires in the past."""
    policy, late = staffed_policy("guide"), DECLARED + timedelta(days=60)
    log: Log = [
        (DECLARED, replace(OPENED, report=IncidentReport(severity=Severity.SEV4))),
        (DECLARED + TICK, Closed(by="mona", role=Role.WRITE, key="event/98")),
    ]
    closed = replay(log, policy, late).incident
    assert closed
    assert not alarms(closed, policy)
    incident = decide(closed, asked, policy, late).incident
    assert incident
    assert {alarm.due for alarm in alarms(incident, policy)} == {late}
    reminders = [effect for effect in fire_due_alarms(incident, policy, late).effects if isinstance(effect, Remind)]
    assert {reminder.at for reminder in reminders} == {late}


@property_settings
@given(log=logs(), profile=profiles)
def test_every_alarm_that_rings_has_its_effect_on_the_incident(log: Log, profile: str) -> None:
    for before, event, _, after, _ in steps(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD):
        if isinstance(event, AlarmFired):
            assert after.fired_alarms >= {event.alarm.key}
            removed = before.fired_alarms - after.fired_alarms
            assert all("/page" in key for key in removed), (
                "only a page is removed: the next one takes its place and counts it"
            )
            assert len(removed) <= 1
            assert decide(after, event, staffed_policy(profile), event.alarm.due).incident is after


@property_settings
@given(log=logs(), profile=profiles)
def test_what_is_over_or_out_of_reach_is_quiet(log: Log, profile: str) -> None:
    for _, _, _, incident, _ in steps(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD):
        active_clocks = {alarm.clock for alarm in alarms(incident, staffed_policy(profile))}
        if incident.unavailable:
            assert not active_clocks
        if not incident.status.open:
            assert active_clocks <= ({"postmortem"} if incident.closed_at else {"postmortem", "regulatory"})
            assert not incident.is_paging


@property_settings
@given(log=logs(), profile=profiles)
def test_there_is_always_exactly_one_severity_label(log: Log, profile: str) -> None:
    """Also on the issue, if every effect is carried out before the next event."""
    on_issue: set[str] = set()
    for before, event, _, incident, effects in steps(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD):
        assert (
            len(
                desired_labels(incident, staffed_policy(profile)).intersection(
                    staffed_policy(profile).labels.severities
                )
            )
            == 1
        )
        if before is not None and isinstance(event, Labeled):
            on_issue.add(event.label)
        on_issue = set().union(*[e.labels for e in effects if isinstance(e, SetLabels)][-1:]) or on_issue
        if not incident.unavailable:
            assert len(on_issue.intersection(staffed_policy(profile).labels.severities)) == 1 or not on_issue


@property_settings
@given(log=logs(), profile=profiles)
def test_d4_a_clock_that_jumps_rings_each_alarm_once_and_in_order(log: Log, profile: str) -> None:
    """Alarms fired at irregular times, forwards or backwards, have the effects of a steady replay, in its order."""
    policy = staffed_policy(profile)
    incident, effects = None, []
    for at, event in sort_log(log):
        for jump in (timedelta(hours=-2), timedelta(), timedelta(hours=-2)):
            if incident is not None:
                rest = fire_due_alarms(incident, policy, at - TICK + jump)
                incident, effects = rest.incident, [*effects, *rest.effects]
        decision = decide(incident, event, policy, at)
        incident, effects = decision.incident, [*effects, *decision.effects]
    steady = replay(log, policy, log[-1][0])
    rest = fire_due_alarms(incident, policy, log[-1][0]) if incident else decision
    assert rest.incident == steady.incident
    assert told_once((*effects, *rest.effects)) == told_once(steady.effects)


@property_settings
@given(log=logs(max_events=6), profile=profiles)
def test_d7_a_delivery_hours_late_has_the_deadlines_of_a_prompt_one(log: Log, profile: str) -> None:
    """Deadlines count from when an event happened; alarms missed meanwhile fire with their own due times."""
    policy, late = staffed_policy(profile), log[-1][0] + timedelta(hours=4, minutes=30)
    prompt = replay(log, policy, log[-1][0])
    assert prompt.incident
    caught_up, steady = replay(log, policy, late), fire_due_alarms(prompt.incident, policy, late)
    assert caught_up.incident == steady.incident
    assert told_once(caught_up.effects) == told_once((*prompt.effects, *steady.effects))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("severity", list(Severity))
def test_fc_g8_repeats_of_days_are_counted_as_if_each_had_been_fired(profile: str, severity: Severity) -> None:
    """FC-G8: one fold over two days, and a fold at the time of each alarm, end in the same incident."""
    log = [(DECLARED, replace(OPENED, report=IncidentReport(severity=severity)))]
    policy, until = staffed_policy(profile), DECLARED + timedelta(days=2, hours=3)
    *_, last = replay_steps(log, policy, until)
    assert replay(log, policy, until).incident == last.after
    assert len(last.after.timeline) < 60


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("severity", list(Severity))
def test_fc_g8_a_year_without_an_answer_is_folded_at_once(profile: str, severity: Severity) -> None:
    """FC-G8: what has to be told decides the cost, not how long ago it was."""
    log = [(DECLARED, replace(OPENED, report=IncidentReport(severity=severity)))]
    until, started = DECLARED + timedelta(days=365), time.perf_counter()
    year = replay(log, staffed_policy(profile), until, budget=FoldBudget(max_alarms=200))
    assert time.perf_counter() - started < 2
    assert year.incident
    questions = [effect for effect in year.effects if isinstance(effect, UntouchedQuestion)]
    assert len(questions) == 1
    for effect in year.effects:
        if isinstance(effect, Notice) and not isinstance(effect, UntouchedQuestion):
            assert not still_relevant(effect, year.incident, frozenset(), until), "nothing old is told as new"
    assert still_relevant(questions[0], year.incident, frozenset(), until)
    last_page = max((e.at for e in year.effects if isinstance(e, Page)), default=DECLARED)
    assert last_page <= DECLARED + timedelta(days=7)


def test_fc_g8_it_is_asked_by_daylight_and_anything_else_at_any_hour() -> None:
    question = UntouchedQuestion(key="x", to=("mona",), at=DECLARED, since=DECLARED)
    page = Page(key="y", to=("mona",), at=DECLARED, attempt=1)
    night, policy = datetime(2026, 3, 14, 3, tzinfo=UTC), replace(staffed_policy("guide"), zone="Europe/Berlin")
    assert not_before([question], policy, night) == datetime(2026, 3, 16, 8, tzinfo=UTC), "on Monday at 9 in Berlin"
    assert not_before([question, page], policy, night) == night


@pytest.mark.parametrize("touch", ["/ack", "/severity sev1 it is worse", "/escalate we are stuck"])
def test_fc_g8_a_touch_pages_at_any_hour_again(touch: str) -> None:
    """A month later, at night: a command or a rise is heard at once."""
    log: Log = [(DECLARED, replace(OPENED, report=IncidentReport(severity=Severity.SEV2)))]
    at = datetime(2026, 4, 14, 3, tzinfo=UTC)
    said = Commented(by="mona", role=Role.WRITE, key="comment/9", comment=9, commands=parse_commands(touch))
    after = replay([*log, (at, said)], staffed_policy("guide"), at + timedelta(hours=2))
    assert after.incident
    told = [
        effect
        for effect in after.effects
        if isinstance(effect, Notice) and still_relevant(effect, after.incident, frozenset(), at + timedelta(hours=2))
    ]
    assert told
    assert all(effect.at >= at for effect in told)


def test_fc_s1_a_fold_beyond_its_budget_says_so() -> None:
    log = [(DECLARED, replace(OPENED, report=IncidentReport(severity=Severity.SEV1)))]
    five = FoldBudget(max_alarms=5 - ALARMS_PER_EVENT)
    with pytest.raises(FoldTooLong, match="6 alarms until 2026-"):
        replay(log, staffed_policy("guide"), DECLARED + timedelta(hours=4), budget=five)
    with pytest.raises(FoldTooLong):
        replay(
            log, staffed_policy("guide"), DECLARED + timedelta(hours=4), budget=FoldBudget(is_exhausted=lambda: True)
        )
    with pytest.raises(FoldTooLong):
        list(replay_steps(log, frequent_pages(), DECLARED + timedelta(days=6)))


def test_fc_s1_an_incident_that_was_worked_on_for_weeks_is_within_the_budget() -> None:
    """Each update starts a clock anew, so the alarms grow with the answers: those are no reason to give up."""
    log: Log = [(DECLARED, replace(OPENED, report=IncidentReport(severity=Severity.SEV1)))]
    for number in range(1, 21 * 12):
        update = Commented(
            comment=number,
            commands=parse_commands("/update we are on it"),
            by="mona",
            role=Role.WRITE,
            key=f"comment/{number}",
        )
        log.append((DECLARED + timedelta(hours=2 * number), update))
    until = log[-1][0]
    policy = staffed_policy("guide")
    with pytest.raises(FoldTooLong):
        replay(log, policy, until, budget=FoldBudget(max_alarms=-len(log) * ALARMS_PER_EVENT + MAX_ALARMS_PER_FOLD))
    assert replay(log, policy, until).incident


def frequent_pages() -> Policy:
    step = Step(Duration(), (), until=Until.ACK, repeat=Duration(seconds=60))
    return replace(staffed_policy("guide"), ladders=dict.fromkeys(Severity, (step,)))


def test_m38_a_detection_after_the_declaration_moves_no_deadline() -> None:
    opened = Opened(
        id="INC-1",
        repo="acme/shop",
        number=7,
        title="down",
        key="issue/7",
        by="ada",
        report=IncidentReport(kind=Kind.PRIVACY, detected_at=DECLARED + timedelta(days=3)),
    )
    incident = replay([(DECLARED, opened)], staffed_policy("guide"), DECLARED).incident
    assert incident
    law = [found for found in deadlines(incident, staffed_policy("guide")) if found.clock == "regulatory"]
    assert [(found.about, found.due) for found in law] == [("gdpr-article-33", DECLARED + timedelta(hours=72))]


@property_settings
@given(log=logs(), profile=profiles)
def test_the_times_of_an_incident_make_sense(log: Log, profile: str) -> None:
    for _, _, at, incident, _ in steps(log, staffed_policy(profile), log[-1][0] + FOLLOW_UP_PERIOD):
        assert incident.status.open == (incident.resolved_at is None)
        assert (incident.status is Status.CLOSED) == (incident.closed_at is not None)
        assert incident.status is not Status.TRIGGERED or incident.page_acknowledged_at is None
        assert [entry.at for entry in incident.timeline] == sorted(entry.at for entry in incident.timeline)
        known = (
            incident.acknowledged_at,
            incident.page_acknowledged_at,
            incident.responded_at,
            incident.last_activity_at,
        )
        assert all(incident.declared_at <= known_at <= at for known_at in known if known_at)


def test_comments_of_one_second_count_by_number() -> None:
    def comment_row(number: int) -> tuple[datetime, Event]:
        return DECLARED, Commented(comment=number, key=f"comment/{number}")

    opened = (DECLARED, Opened(id="INC-1", repo="acme/shop", number=7, title="down", key="issue/77777"))
    log = [comment_row(100), comment_row(9), opened, comment_row(99)]
    assert [event.key for _, event in sort_log(log)] == ["issue/77777", "comment/9", "comment/99", "comment/100"]


def test_an_event_with_two_times_counts_at_the_first() -> None:
    early = (DECLARED, Labeled(label="sev1", key="event/1"))
    late = (DECLARED + TICK, Labeled(label="sev1", key="event/1"))
    assert sort_log([late, early]) == sort_log([early, late]) == [early]


def test_what_happens_after_the_end_is_left_out() -> None:
    policy = staffed_policy("guide")
    opened = Opened(id="INC-1", repo="acme/shop", number=7, title="down", key="issue/7", by="ada")
    assert replay([(DECLARED, opened)], policy, DECLARED - TICK).incident is None
    assert replay([], policy, DECLARED).incident is None
