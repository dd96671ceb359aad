"""Deadlines and alarms, where a story would be long: channels, reminders that are skipped, and edge cases."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.clocks import alarms, deadlines, still_due
from app.core.effects import Announce, Effect, Escalate, Notice, Page, Remind
from app.core.events import (
    Closed,
    Commented,
    Event,
    Opened,
    PostmortemDropped,
    PostmortemMerged,
    PostmortemOpened,
    Reopened,
    Role,
)
from app.core.incident import Incident
from app.core.incident_report import IncidentReport
from app.core.policy import (
    ON_CALL,
    Audience,
    Duration,
    FirstNotice,
    Policy,
    Postmortem,
    Regulation,
    Since,
    Step,
    Target,
    Targets,
    Until,
    Via,
)
from app.core.replay import replay
from app.core.severity import Severity
from app.core.slash_command import SlashCommand

NOW = datetime(2026, 3, 13, 9, tzinfo=UTC)
SEV1, SEV3 = Severity.SEV1, Severity.SEV3
HOUR = Duration(seconds=3600)
PEOPLE = {ON_CALL: ("mona",), "cto": ("grace",), "leadership": ("linus",), "it-manager": ("ada",)}
MONA: dict[str, Any] = {"by": "mona", "role": Role.WRITE}


def minutes(number: float) -> Duration:
    return Duration(seconds=int(number * 60))


def comment_event(line: str, **author: Any) -> Commented:
    return Commented(comment=1, commands=(SlashCommand(*line.split(" ", 1)),), **(MONA | author))


def replay_incident(
    policy: Policy, *events: tuple[float, Event], until: float, severity: Severity = SEV1, **report_fields: Any
) -> tuple[Incident, tuple[Effect, ...]]:
    """Return the incident `until` minutes after its declaration, and all effects on the way.

    The times of the events are minutes after the declaration, too.
    """
    opened = Opened(
        id="INC-1",
        repo="acme/shop",
        number=7,
        title="down",
        by="octocat",
        key="issue/7",
        report=IncidentReport(severity=severity, **report_fields),
    )
    rows = [(NOW + timedelta(minutes=at), replace(event, key=f"event/{n}")) for n, (at, event) in enumerate(events)]
    found = replay([(NOW, opened), *rows], policy, NOW + timedelta(minutes=until))
    assert found.incident
    return found.incident, found.effects


def due_minutes(incident: Incident, policy: Policy, clock: str) -> dict[str, float]:
    """Return the deadlines of that clock, in minutes after the declaration, by what they are about."""
    return {
        each.about: (each.due - NOW) / timedelta(minutes=1)
        for each in deadlines(incident, policy)
        if each.clock == clock
    }


# Channels (E4).


def test_e4_a_notice_goes_out_by_its_step_or_else_by_the_first_notice_of_its_severity() -> None:
    chat, mail, pager = (Via.CHAT,), (Via.MAIL,), (Via.PAGER,)
    policy = Policy(
        contacts=PEOPLE,
        targets={SEV1: Targets(resolve=Target(minutes(30)))},
        ladders={
            SEV1: (
                Step(Duration(), (ON_CALL,), via=pager, until=Until.ACK),
                Step(minutes(10), ("cto",)),
                Step(minutes(20), ("it-manager",), via=mail),
            )
        },
        first_notice={SEV1: FirstNotice(via=chat, to=("leadership",))},
    )
    _, effects = replay_incident(policy, (25, comment_event("escalate help")), until=40)
    by = [(type(each), each.to, each.via) for each in effects if isinstance(each, Notice)]
    assert by == [
        (Announce, ("linus",), chat),
        (Page, ("mona",), pager),
        (Escalate, ("grace",), chat),
        (Escalate, ("ada",), mail),
        (Remind, ("mona",), chat),  # 80 % of the resolution
        (Escalate, ("ada",), mail),  # `/escalate` notifies the highest step again
        (Remind, ("mona",), chat),
    ]


# Audiences (B7).

AUDIENCE_POLICY = Policy(
    contacts=PEOPLE,
    audiences={
        "support": Audience(first={SEV1: minutes(30)}, updates={SEV1: minutes(30)}),
        "partners": Audience(first={SEV1: minutes(30)}),
        "board": Audience(updates={SEV1: HOUR}),
        "nobody": Audience(),
    },
)


def test_b7_what_each_audience_is_owed() -> None:
    fresh, _ = replay_incident(AUDIENCE_POLICY, until=0)
    assert due_minutes(fresh, AUDIENCE_POLICY, "audience") == {"support": 30, "partners": 30, "board": 60}
    updated, _ = replay_incident(AUDIENCE_POLICY, (10, comment_event("update we look")), until=10)
    assert due_minutes(updated, AUDIENCE_POLICY, "audience") == {"support": 40, "partners": 30, "board": 70}
    lower, _ = replay_incident(AUDIENCE_POLICY, until=0, severity=SEV3)
    assert due_minutes(lower, AUDIENCE_POLICY, "audience") == {}


def test_b7_audiences_that_are_due_together_ring_at_one_moment() -> None:
    _, effects = replay_incident(AUDIENCE_POLICY, until=31)
    reminders = [each for each in effects if isinstance(each, Remind)]
    assert [(each.about, each.at) for each in reminders] == [
        (name, NOW + timedelta(minutes=30)) for name in ("support", "partners")
    ]
    updated, _ = replay_incident(AUDIENCE_POLICY, (35, comment_event("update all of you")), until=35)
    assert not any(still_due(each, updated) for each in reminders), "one update serves both"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), max_size=6, unique=True).map(sorted))
def test_b7_between_two_updates_each_audience_is_asked_for_twice_at_most(updates: list[int]) -> None:
    """Twice only where there was no update at all: for the first one and for the next one.  Otherwise once."""
    _, effects = replay_incident(
        AUDIENCE_POLICY, *((at, comment_event("update it goes on")) for at in updates), until=600
    )
    for name in AUDIENCE_POLICY.audiences:
        reminder_times = [each.at for each in effects if isinstance(each, Remind) and each.about == name]
        ends = [0, *updates, 601]
        for since, until in pairwise(ends):
            between = [at for at in reminder_times if since <= (at - NOW) / timedelta(minutes=1) < until]
            assert len(between) <= (2 if since == 0 else 1)


# The commander (B8).


def test_b8_nobody_has_to_lead_what_was_closed() -> None:
    policy = Policy(contacts=PEOPLE, targets={SEV1: Targets(commander=Target(minutes(5)))})
    closed, effects = replay_incident(policy, (2, Closed(**MONA)), until=60)
    assert due_minutes(closed, policy, "commander") == {}
    assert not [each for each in effects if isinstance(each, Remind)]
    still_open, effects = replay_incident(policy, until=60)
    assert due_minutes(still_open, policy, "commander") == {"": 5}
    assert [(each.to, each.clock) for each in effects if isinstance(each, Remind)] == [(("mona",), "commander")]


# Regulations (G2).


@pytest.mark.parametrize(
    ("since", "detected", "start"),
    [
        (Since.AWARENESS, None, 0),
        (Since.AWARENESS, -60, -60),
        (Since.AWARENESS, 60, 0),  # awareness begins with the declaration at the latest
        (Since.DECLARATION, -60, 0),
    ],
)
def test_g2_what_a_law_counts_from(since: Since, detected: int | None, start: int) -> None:
    policy = Policy(regulations={"law": Regulation(HOUR, since)})
    at = NOW + timedelta(minutes=detected) if detected is not None else None
    found, _ = replay_incident(policy, until=0, detected_at=at)
    assert due_minutes(found, policy, "regulatory") == {"law": start + 60}


def test_g2_a_law_ends_with_the_closing_and_goes_on_with_a_reopening() -> None:
    policy = Policy(contacts=PEOPLE, regulations={"law": Regulation(HOUR, to=("cto",), do="decide")}, warnings=(50,))
    steps: list[tuple[float, Event]] = [
        (5, comment_event("resolve done")),
        (40, Closed(**MONA)),
        (80, Reopened(**MONA)),
    ]
    closed, effects = replay_incident(policy, *steps[:2], until=79)
    (law,) = (each for each in deadlines(closed, policy) if each.clock == "regulatory")
    assert (law.met_at, law.is_breached(closed)) == (NOW + timedelta(minutes=40), False)
    (warned,) = (each for each in effects if isinstance(each, Remind))
    assert (warned.to, warned.about, warned.do, warned.at) == (("grace",), "law", "decide", NOW + timedelta(minutes=30))
    reopened, effects = replay_incident(policy, *steps, until=90)
    late = [each for each in effects if isinstance(each, Remind)][-1]
    assert (late.at, late.due) == (NOW + timedelta(minutes=80), NOW + timedelta(minutes=60))
    assert due_minutes(reopened, policy, "regulatory") == {"law": 60}, "the time at rest counts"


# The postmortem (P4).

POSTMORTEM_POLICY = Policy(
    contacts=PEOPLE, postmortem=Postmortem(document=HOUR, review=minutes(120), overdue=minutes(180))
)
URL = "https://github.com/acme/shop/pull/8"
OPENED, MERGED, DROPPED = (kind(pull=8, url=URL) for kind in (PostmortemOpened, PostmortemMerged, PostmortemDropped))


def postmortem_reminders(effects: tuple[Effect, ...]) -> list[str]:
    return [each.key.partition("@")[0].partition(".")[0] for each in effects if each.key.startswith("postmortem/")]


@pytest.mark.parametrize(
    ("severity", "happened", "asked"),
    [
        (SEV1, [(10, Closed(**MONA))], ["document", "review", "overdue"]),
        (SEV1, [(10, comment_event("resolve done"))], ["document", "review"]),  # never closed, so never overdue
        (SEV3, [(10, Closed(**MONA))], []),
        (SEV3, [(5, comment_event("postmortem")), (10, Closed(**MONA))], ["document", "review", "overdue"]),
        (SEV1, [(10, Closed(**MONA)), (20, OPENED), (60, MERGED)], []),
        (SEV1, [(10, Closed(**MONA)), (20, OPENED), (100, MERGED)], ["document"]),
        (SEV1, [(10, Closed(**MONA)), (20, OPENED), (60, DROPPED)], ["document", "review", "overdue"]),
        (SEV1, [(10, Closed(**MONA)), (60, Reopened(**MONA))], []),
        (SEV1, [(10, Closed(**MONA)), (60, Reopened(**MONA)), (70, Closed(**MONA))], ["document", "review", "overdue"]),
    ],
)
def test_p4_the_postmortem_is_asked_for(severity: Severity, happened: Any, asked: list[str]) -> None:
    _, effects = replay_incident(POSTMORTEM_POLICY, *happened, until=600, severity=severity)
    assert postmortem_reminders(effects) == [f"postmortem/{what}" for what in asked]


def test_p4_a_policy_that_wants_it_later_does_not_wake_what_was_closed() -> None:
    closed, _ = replay_incident(POSTMORTEM_POLICY, (10, Closed(**MONA)), until=20, severity=SEV3)
    stricter = replace(
        POSTMORTEM_POLICY, postmortem=replace(POSTMORTEM_POLICY.postmortem, required=frozenset(Severity))
    )
    assert alarms(closed, stricter) == ()
    assert deadlines(closed, stricter) == ()


def test_p4_the_document_is_asked_of_whoever_had_it_and_the_rest_of_the_reviewers() -> None:
    _, effects = replay_incident(
        POSTMORTEM_POLICY, (5, comment_event("ack", by="hubot")), (10, Closed(**MONA)), until=600
    )
    notices = [each for each in effects if isinstance(each, Remind | Escalate)]
    assert [each.to for each in notices] == [("hubot",), ("ada",), ("ada",)]
    unstaffed = replace(POSTMORTEM_POLICY, contacts={**PEOPLE, "it-manager": ()})
    _, effects = replay_incident(unstaffed, (10, Closed(**MONA)), until=600)
    notices = [each for each in effects if isinstance(each, Remind | Escalate)]
    assert [(each.to, each.unstaffed) for each in notices] == [(("octocat",), ("it-manager",))] * 3


# Notices that are skipped because they are no longer due.


@pytest.mark.parametrize(
    ("clock", "happened", "stands"),
    [
        ("update", [], True),
        ("update", [(20, comment_event("update it goes on"))], False),
        ("audience", [(20, comment_event("update it goes on"))], False),
        ("audience", [(5, comment_event("update it goes on"))], True),
        ("resolve", [(20, comment_event("resolve done"))], False),
        ("resolve", [(20, comment_event("update it goes on"))], True),
        ("regulatory", [(20, comment_event("resolve done"))], True),
        ("regulatory", [(20, Closed(**MONA))], False),
        ("postmortem", [(20, Closed(**MONA))], True),
        ("postmortem", [(20, Closed(**MONA)), (21, Reopened(**MONA))], False),
        ("postmortem", [(20, Closed(**MONA)), (21, OPENED), (22, MERGED)], False),
        ("postmortem", [(20, Closed(**MONA)), (21, OPENED), (22, DROPPED)], True),
    ],
)
def test_whether_a_reminder_is_still_worth_saying(clock: str, happened: Any, stands: bool) -> None:
    found, _ = replay_incident(Policy(contacts=PEOPLE), *happened, until=30)
    at = NOW + timedelta(minutes=10)
    assert still_due(Remind(key=f"{clock}/breach@x", to=(), at=at, clock=clock, due=at), found) is stands


def test_an_escalation_is_moot_when_it_is_over_but_not_that_of_a_postmortem() -> None:
    over, _ = replay_incident(Policy(contacts=PEOPLE), (5, Closed(**MONA)), until=10)
    incident_step, postmortem_step = (
        Escalate(key=key, to=(), at=NOW, contacts=("cto",), because="")
        for key in ("escalate/cto@1h", "postmortem/overdue@x")
    )
    assert (still_due(incident_step, over), still_due(postmortem_step, over)) == (False, True)
