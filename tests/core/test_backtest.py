"""Backtest: past incidents replayed under two policies, and the differences between the outcomes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings

from app.core.backtest import Backtest, IncidentDiff, OutcomeDifference, PastIncident, backtest
from app.core.events import Closed, Commented, Event, Labeled, Opened, Role
from app.core.incident_report import IncidentReport, Kind
from app.core.policy import Policy
from app.core.severity import Severity
from app.core.slash_command import SlashCommand
from app.policy_file import read_policy

from .event_logs import Log, logs, profiles, staffed_policy

START = datetime(2026, 3, 6, 9, 0, tzinfo=UTC)
TEAM = "contacts: {on-call: [mona, hubot], it-manager: [ada], cto: [grace]}\nsilence: 100\n"
MANAGER_ESCALATION = (
    "escalation: {sev2: [{after: 0m, to: on-call, until: ack, repeat: 10m}, {after: %s, to: it-manager}]}\n"
)


def policy(*lines: str) -> Policy:
    return read_policy(TEAM + "\n".join(lines))


def past_incident(
    *comments: tuple[int, str], name: str = "octo/shop#12", report: IncidentReport | None = None
) -> PastIncident:
    """Build a past incident with these comments, each at so many minutes.

    The text `closed` closes it; it ends with the last comment.
    """
    report = report or IncidentReport(severity=Severity.SEV2)
    opened = Opened(id="INC-1", repo="octo/shop", number=12, title="down", report=report, key="issue/12")
    log: list[tuple[datetime, Event]] = [(START, opened)]
    for number, (minutes, text) in enumerate(comments):
        at, author = START + timedelta(minutes=minutes), {"by": "mona", "role": Role.WRITE}
        commands = (SlashCommand(*text.removeprefix("/").split(" ", 1)),)
        event = (
            Closed(key="closed", **author)
            if text == "closed"
            else Commented(comment=number, commands=commands, key=f"comment/{number}", **author)
        )
        log.append((at, event))
    return PastIncident(name, "down", log, log[-1][0])


def difference_lines(result: Backtest) -> list[str]:
    return [str(difference) for each in result.diffs for difference in each.differences]


def test_a_rung_is_reached_later() -> None:
    found = backtest(
        [past_incident((5, "/ack"), (90, "/resolve"))],
        policy(MANAGER_ESCALATION % "30m"),
        policy(MANAGER_ESCALATION % "1h"),
    )
    (diff,) = found.diffs
    assert difference_lines(found) == ["it-manager hears of it at +1h instead of +30m"]
    assert (diff.escalated_later, diff.escalated_earlier, diff.name) == (True, False, "octo/shop#12")
    assert found.summary == "1 of 1 past incident would have been escalated later"


def test_a_rung_is_reached_no_more_and_another_for_the_first_time() -> None:
    new = MANAGER_ESCALATION.replace("it-manager", "cto") % "30m"
    found = backtest([past_incident((5, "/ack"), (45, "/resolve"))], policy(MANAGER_ESCALATION % "30m"), policy(new))
    (diff,) = found.diffs
    assert difference_lines(found) == ["it-manager does not hear of it (was +30m)", "cto hears of it, at +30m"]
    assert (diff.escalated_later, diff.escalated_earlier) == (True, True)


def test_what_was_resolved_before_the_rung_is_the_same() -> None:
    found = backtest(
        [past_incident((5, "/ack"), (25, "/resolve"))],
        policy(MANAGER_ESCALATION % "30m"),
        policy(MANAGER_ESCALATION % "1h"),
    )
    assert (found.incident_count, found.diffs) == (1, ())
    assert found.summary == "none of 1 past incident would have gone otherwise"


def test_a_tighter_target_is_missed() -> None:
    old, new = policy(), policy("severities: {sev2: {respond: 10m}}")
    found = backtest([past_incident((20, "/ack"), (50, "/resolve"))], old, new)
    assert difference_lines(found) == ["respond is missed, at +10m", "respond is due +10m instead of +1h"]
    assert found.diffs[0].breach_changes == (1, 0)
    assert found.summary == "1 of 1 past incident would have gone otherwise, 1 breach more"
    back = backtest([past_incident((20, "/ack"), (50, "/resolve"))], new, old)
    assert back.diffs[0].breach_changes == (0, 1)
    assert difference_lines(back)[0] == "respond is not missed (was at +10m)"


def test_a_target_that_only_one_of_them_has() -> None:
    found = backtest(
        [past_incident((2, "/ack"), (5, "/resolve"))], policy("severities: {sev2: {resolve: off}}"), policy()
    )
    assert difference_lines(found) == ["resolve is due +8h instead of never"]


def test_other_people_are_asked() -> None:
    new = read_policy(TEAM.replace("[ada]", "[octocat]"))
    found = backtest([past_incident((5, "/ack"), (45, "/resolve"))], policy(), new)
    assert difference_lines(found) == ["it-manager is asked of octocat instead of ada"]
    assert not found.diffs[0].escalated_later


def test_another_grade_is_told_first() -> None:
    report = IncidentReport(severity=Severity.SEV3, kind=Kind.INTEGRATION)
    floor = "floors: [{because: a partner is cut off, at-least: sev2, type: integration failure}]"
    found = backtest([past_incident((5, "/ack"), (45, "/resolve"), report=report)], policy(), policy(floor))
    assert difference_lines(found)[0] == "severity is sev2 instead of sev3"
    assert found.summary.startswith("1 of 1 past incident would have been graded otherwise")
    assert found.diffs[0].severity is Severity.SEV2


def test_fewer_pages_are_counted() -> None:
    new = policy(MANAGER_ESCALATION.replace("repeat: 10m", "repeat: 20m") % "30m")
    found = backtest([past_incident((25, "/ack"), (28, "/resolve"))], policy(MANAGER_ESCALATION % "30m"), new)
    assert difference_lines(found) == ["page on-call is told 2 times instead of 3 times"]
    assert found.notice_counts == (3, 2)


def test_each_incident_is_counted_by_its_name() -> None:
    found = backtest(
        [
            past_incident((5, "/ack"), (25, "/resolve"), name="octo/shop#1"),
            past_incident((5, "/ack"), (90, "/resolve"), name="octo/shop#2"),
        ],
        policy(MANAGER_ESCALATION % "30m"),
        policy(MANAGER_ESCALATION % "20m"),
    )
    assert [each.name for each in found.diffs] == ["octo/shop#1", "octo/shop#2"]
    assert found.summary == "2 of 2 past incidents would have been escalated earlier"


def test_a_log_that_never_opens_is_not_counted() -> None:
    log = [(START, Labeled(label="sev1", key="labeled/1"))]
    found = backtest(
        [PastIncident("octo/shop#1", "", log, START), PastIncident("octo/shop#2", "", (), START)],
        policy(),
        policy(MANAGER_ESCALATION % "1h"),
    )
    assert found == Backtest()
    assert found.summary == "there is no past incident to try it on"


def test_what_rings_for_weeks_after_the_last_event_is_left_out() -> None:
    forgotten = PastIncident("octo/shop#1", "down", past_incident().log, START + timedelta(days=3000))
    escalation = "escalation: {sev2: [{after: %s, to: it-manager}]}"
    found = backtest([forgotten], policy(escalation % "6d"), policy(escalation % "8d"))
    assert "it-manager does not hear of it (was +6d)" in difference_lines(found)


def make_diff(
    *differences: OutcomeDifference, escalated_later: bool = False, escalated_earlier: bool = False
) -> IncidentDiff:
    return IncidentDiff("octo/shop#1", "down", START, Severity.SEV1, differences, escalated_later, escalated_earlier)


BREACH_ADDED = OutcomeDifference("breach", "respond", None, "+15m")
BREACH_REMOVED = OutcomeDifference("breach", "respond", "+15m", None)
SEVERITY_CHANGED = OutcomeDifference("severity", "severity", "sev2", "sev1")


@pytest.mark.parametrize(
    ("tried", "found", "wanted"),
    [
        (11, (), "none of 11 past incidents would have gone otherwise"),
        (
            11,
            (make_diff(BREACH_ADDED, escalated_later=True), make_diff(escalated_later=True)),
            "2 of 11 past incidents would have been escalated later, 1 breach more",
        ),
        (
            11,
            (
                make_diff(BREACH_ADDED, escalated_earlier=True),
                make_diff(BREACH_REMOVED, escalated_later=True),
                make_diff(BREACH_ADDED),
            ),
            "1 of 11 past incidents would have been escalated later, 1 would have been escalated earlier, 2 breaches more, 1 breach fewer",
        ),
        (2, (make_diff(SEVERITY_CHANGED),), "1 of 2 past incidents would have been graded otherwise"),
        (2, (make_diff(BREACH_REMOVED),), "1 of 2 past incidents would have gone otherwise, 1 breach fewer"),
    ],
)
def test_the_sentence(tried: int, found: Sequence[IncidentDiff], wanted: str) -> None:
    assert Backtest(tried, tuple(found)).summary == wanted


@settings(max_examples=40, deadline=None)
@given(log=logs(), profile=profiles)
def test_the_same_policy_makes_no_difference(log: Log, profile: str) -> None:
    found = backtest(
        [PastIncident("octo/shop#1", "down", log, log[-1][0])], staffed_policy(profile), staffed_policy(profile)
    )
    assert (found.incident_count, found.diffs) == (1, ())
    assert found.notice_counts[0] == found.notice_counts[1]
