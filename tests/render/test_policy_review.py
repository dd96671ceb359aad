"""The policy check on a pull request."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest
from markdown_it import MarkdownIt

from app.core.backtest import Backtest, IncidentDiff, OutcomeDifference
from app.core.policy import Calendar, Duration, Policy, Step, Until
from app.core.policy_diff import diff_policies
from app.core.severity import Scale, Severity
from app.policy_file import load_profile, read_policy
from app.render.markdown.policy_review import describe_change, review_faulty_policy, review_policy
from app.text import github_length

NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)  # a Wednesday
TEAM = "contacts: {on-call: [mona, hubot], it-manager: [ada]}\n"
MANAGER_ESCALATION = (
    "escalation: {sev1: [{after: 0m, to: on-call, until: ack, repeat: 5m}, {after: %s, to: it-manager}]}\n"
)
OLD, NEW = read_policy(TEAM + MANAGER_ESCALATION % "30m"), read_policy(TEAM + MANAGER_ESCALATION % "20m")
EVIL = "@octo/all <img src=x onerror=alert(1)> | [x](javascript:1) #1 `` ` </details> {{ 7 }} fixes #2"


def backtest_result(
    *differences: OutcomeDifference,
    incident_count: int = 11,
    name: str = "octo/shop#12",
    title: str = "Checkout is down",
) -> Backtest:
    diff = IncidentDiff(name, title, NOW, Severity.SEV1, differences, escalated_later=True, escalated_earlier=False)
    return Backtest(incident_count, (diff,) * 2 if differences else (), (40, 42))


ESCALATED_LATER = OutcomeDifference("told", "it-manager", "+30m", "+1h")


def test_the_title_is_the_consequence() -> None:
    found = review_policy(OLD, NEW, backtest_result(ESCALATED_LATER), NOW)
    assert found.title == (
        "sev1: it-manager hears after 20m instead of 30m; 2 of 11 past incidents would have been escalated later"
    )


def test_the_summary_has_the_moves_the_nights_and_the_past() -> None:
    text = review_policy(OLD, NEW, backtest_result(ESCALATED_LATER), NOW).summary
    assert "| sev1 | it-manager | 30m | 20m |" in text
    assert "### A night: declared on Saturday, 2026-03-07 02:00 UTC, and nobody answers" in text
    assert "<details><summary>sev1: wakes 2 people, otherwise than before</summary>" in text
    assert "<details><summary>sev2: wakes 2 people, as before</summary>" in text
    assert "| 🔸 | `+20m` | escalate | `ada` | it-manager after 20m |" in text
    assert "|  | `+0m` | page | `mona` | on-call |" in text
    assert "2 of 11 past incidents would have been escalated later." in text
    assert "Notices to people: 42 instead of 40." in text
    assert text.count("it-manager hears of it at +1h instead of +30m") == 2
    assert text.count("<details>") == text.count("</details>") == 4


def test_the_saturday_is_one_of_the_team() -> None:
    here = replace(NEW, zone="Pacific/Auckland")
    friday = datetime(2026, 3, 6, 12, tzinfo=UTC)  # Saturday 01:00 there
    assert "2026-03-14 02:00 NZDT" in review_policy(OLD, here, Backtest(), friday).summary


def test_files_that_mean_the_same() -> None:
    found = review_policy(OLD, OLD, backtest_result(), NOW)
    assert found.title == "Nothing moves: the policy stays what it is"
    assert found.summary


def test_without_a_past_the_title_is_about_the_move_alone() -> None:
    assert review_policy(OLD, NEW, Backtest(), NOW).title == "sev1: it-manager hears after 20m instead of 30m"


PAGE = Step(Duration(), ("on-call",), until=Until.ACK)
STEP = Step(Duration(seconds=1800), ("cto",))
SENTENCES = [
    ((), (STEP,), "sev2: cto hears after 30m"),
    ((STEP,), (), "sev2: cto hears no more"),
    ((), (PAGE,), "sev2: on-call is paged at once until ack"),
    ((PAGE,), (), "sev2: on-call is paged no more"),
    ((STEP,), (replace(STEP, after=Duration()),), "sev2: cto hears at once instead of 30m"),
    ((), (Step(Duration(seconds=3600), do="tell all"),), "sev2: do: tell all is asked after 1h"),
]


@pytest.mark.parametrize(("old", "new", "says"), SENTENCES, ids=[says for *_, says in SENTENCES])
def test_a_move_as_a_sentence(old: tuple[Step, ...], new: tuple[Step, ...], says: str) -> None:
    policies = [Policy(ladders={Severity.SEV2: steps}) for steps in (old, new)]
    (change,) = diff_policies(*policies)
    assert describe_change(change, policies[1]) == says
    assert describe_change(change, replace(policies[1], scale=Scale.P)).startswith("P1: ")


def test_a_move_of_a_value_is_told_as_it_is() -> None:
    (change,) = diff_policies(Policy(), Policy(silence=3))
    assert describe_change(change, Policy()) == "silence 2 -> 3"


def test_nothing_of_the_files_or_the_past_does_anything() -> None:
    steps = (Step(Duration(), (EVIL,), until=Until.ACK), Step(Duration(seconds=60), (EVIL,), do=EVIL))
    new = replace(
        NEW, ladders={Severity.SEV1: steps}, contacts={EVIL: (EVIL,)}, calendars={**NEW.calendars, EVIL: Calendar()}
    )
    past = backtest_result(OutcomeDifference("people", EVIL, EVIL, EVIL), name=EVIL, title=EVIL)
    found = review_policy(OLD, new, past, NOW)
    html = MarkdownIt("commonmark").enable("table").render(found.summary)
    for active in ("<img", "href=", "onerror=alert(1)>", "@octo", "</details> "):
        assert active not in html.replace("onerror=alert(1)&gt;", "")
    assert html.count("<details>") == html.count("</details>") == 4
    assert "{{" not in found.summary
    assert "@octo" not in found.title
    assert "<img" not in found.title
    assert "\n" not in found.title


def test_the_longest_review_fits_a_check() -> None:
    words = "é<&|*_#@" * 40
    many = {f"{words}{n}": (words, words) for n in range(200)}
    steps = tuple(Step(Duration(seconds=60 * n), (f"{words}{n}",), do=words) for n in range(1, 60))
    new = replace(NEW, contacts=many, ladders=dict.fromkeys(Severity, steps))
    past = Backtest(500, tuple(IncidentDiff(words, words, NOW, Severity.SEV1, (OutcomeDifference("people", words, words, words),) * 30, escalated_later=True, escalated_earlier=True) for _ in range(400)), (1, 2))  # fmt: skip
    found = review_policy(OLD, new, past, NOW)
    assert github_length(found.summary) <= 62_000  # of 65,535: leaves room for the text before it
    assert github_length(found.title) <= 240
    for kept in ("### What moves", "### A night", "### Past incidents", "and 380 more"):
        assert kept in found.summary


@dataclass(frozen=True)
class Fault:
    line: int = 3
    column: int = 7
    where: str = "silence"
    found: str = "'many' is not a number"
    wanted: str = "such as 2"


def test_faults_are_told_with_their_places() -> None:
    found = review_faulty_policy([Fault(), Fault(9, 1, EVIL, EVIL, EVIL)])
    assert found.title == "The file cannot be obeyed, 2 faults: line 3: silence: 'many' is not a number"
    assert "- line 3, column 7: **silence**: 'many' is not a number, such as 2" in found.summary
    html = MarkdownIt("commonmark").enable("table").render(found.summary)
    assert not [active for active in ("<img", "href=", "@octo") if active in html]


def test_many_faults_are_cut() -> None:
    found = review_faulty_policy([Fault(line) for line in range(1, 500)])
    assert found.summary.count("- line ") == 50
    assert found.summary.endswith("- and 449 more")


def test_a_night_of_a_profile_takes_no_time_worth_naming() -> None:
    found = review_policy(load_profile("guide"), load_profile("strict"), Backtest(), NOW - timedelta(days=1))
    assert found.title.startswith("sev1: engineering-manager hears after 5m and ")
