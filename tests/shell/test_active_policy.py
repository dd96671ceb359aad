"""Which policy is active: the repository's file, its last good version, or the guide."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from app.core.on_call import people_of
from app.policy_source.active_policy import ActivePolicy, PolicySource
from app.ports import DeliveryFailed, PolicyFile, Repository
from app.store.database import Database
from app.store.policies import PolicyScope, mark_policy_stale
from tests.shell.night import POLICY, SEV1, Night, run_night

FILE = ".github/incidents.yml"
FAULTY_POLICY = POLICY.replace("extends: guide", "extends: nothing").replace("mona, hubot", "7")
SLOWER_POLICY = POLICY + "severities:\n  sev1: {acknowledge: 30m}\n"


@pytest.fixture
def bare(database: Database) -> Iterator[Night]:
    """Yield a night in a repository without a policy file."""
    with run_night(database, policy=None) as found:
        yield found


def open_incident(tonight: Night, by: str = "stranger") -> int:
    number = tonight.github.person(by).opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    return number


def push_policy(tonight: Night, text: str | None) -> None:
    tonight.github.person("ada").pushes(tonight.shop, FILE, text)
    tonight.advance_and_settle()


def load_active_policy(tonight: Night) -> ActivePolicy:
    ctx, repository = tonight.application.ctx, Repository(tonight.shop.id, "octo/shop", tonight.installation)
    return ctx.policies.load(ctx.database, ctx.tracker(repository), repository, tonight.clock())


def list_fault_notices(tonight: Night) -> list[str]:
    return [
        body for issue in tonight.shop.issues for body in tonight.notices(issue) if FILE in body and "last good" in body
    ]


def test_without_a_file_the_guide_holds_and_the_reporter_is_asked(bare: Night) -> None:
    number = open_incident(bare)
    assert "@stranger" in bare.notices(number)[0], "the policy names no one, so the reporter is mentioned"
    assert load_active_policy(bare).policy.profile == "guide"


def test_a_file_that_is_added_holds_at_once(bare: Night) -> None:
    number = open_incident(bare)
    push_policy(bare, POLICY)
    bare.run_for(minutes=5)
    assert "@hubot" in bare.notices(number)[-1]


def test_a_faulty_file_changes_nothing_and_is_told_once(tonight: Night) -> None:
    number, other = open_incident(tonight, by="ada"), open_incident(tonight, by="ada")
    push_policy(tonight, FAULTY_POLICY)
    assert people_of(("on-call",), load_active_policy(tonight).policy, tonight.clock()) == ("mona", "hubot")
    (found,) = list_fault_notices(tonight)
    assert f"{FILE}:1:10: extends: 'nothing'" in found
    tonight.run_for(minutes=12)
    open_incident(tonight)
    assert len(list_fault_notices(tonight)) == 1, "once a version and repository, not once an incident"
    for issue in (number, other):
        assert any("page0.3" in key for key in tonight.list_posted_keys(issue)), "the clocks run on"

    push_policy(tonight, FAULTY_POLICY + "\nzone: 7\n")
    assert len(list_fault_notices(tonight)) == 2, "another faulty version is reported once more"
    tonight.lose_and_rebuild_database()
    tonight.advance_and_settle()
    assert len(list_fault_notices(tonight)) == 2


def test_a_fault_that_is_mended_before_it_could_be_told_is_not_told(tonight: Night) -> None:
    open_incident(tonight)
    tonight.github.faults.add("status", status=502, method="POST", path="/comments", times=9)
    push_policy(tonight, FAULTY_POLICY)
    push_policy(tonight, POLICY)
    tonight.github.faults.clear()
    tonight.run_for(minutes=3)
    assert list_fault_notices(tonight) == []


def test_with_no_incident_open_the_fault_waits_for_the_next_one(tonight: Night) -> None:
    push_policy(tonight, FAULTY_POLICY)
    number = open_incident(tonight)
    assert len(list_fault_notices(tonight)) == 1
    assert tonight.labels(number) == {"incident", "sev1"}, "a team without a good file has the guide"


def test_a_mended_file_is_in_force_at_once_and_the_board_follows(tonight: Night) -> None:
    number = open_incident(tonight)
    push_policy(tonight, FAULTY_POLICY)
    before = tonight.board(number)
    push_policy(tonight, POLICY.replace("hubot]", "grace]"))
    tonight.run_for(minutes=5)
    assert "@grace" in tonight.notices(number)[-1]
    assert tonight.board(number) != before


def test_what_is_known_holds_while_github_is_away(tonight: Night) -> None:
    open_incident(tonight)
    tonight.github.person("ada").pushes(tonight.shop, FILE, POLICY.replace("extends: guide", "extends: strict"))
    tonight.github.faults.add("status", status=503, path="/contents/", times=3)
    tonight.github.hooks.settle()
    tonight.settle()
    assert load_active_policy(tonight).policy.profile == "guide"
    tonight.github.faults.clear()
    assert load_active_policy(tonight).policy.profile == "strict"


def test_a_lost_push_is_found_after_two_hours(tonight: Night) -> None:
    open_incident(tonight)
    tonight.github.hooks.drop_next()
    push_policy(tonight, POLICY.replace("extends: guide", "extends: strict"))
    assert load_active_policy(tonight).policy.profile == "guide"
    tonight.clock.at += timedelta(minutes=121)
    assert load_active_policy(tonight).policy.profile == "strict"


def test_an_unchanged_file_costs_nothing(tonight: Night) -> None:
    open_incident(tonight)
    tonight.clock.at += timedelta(minutes=121)
    mark = tonight.github.call_log_position()
    for _ in range(3):
        load_active_policy(tonight)
    assert [call.status for call in tonight.github.calls_since(mark) if "contents" in call.path] == [304]


class TrackerPushedDuringRead:
    """A tracker whose policy file gets a push while it is being read."""

    def __init__(self, night: Night) -> None:
        self.night = night

    def policy(self, etag: str) -> PolicyFile:
        with self.night.database.transaction() as db:
            mark_policy_stale(db, PolicyScope.repository(1))
        return PolicyFile(POLICY, "before the push")


class UnreachableTracker:
    def policy(self, etag: str) -> PolicyFile:
        raise DeliveryFailed("GitHub is away", retry_after=5)

    organisation_policy = policy


def test_a_push_while_the_file_is_read_is_not_overlooked(tonight: Night) -> None:
    policies, repository = PolicySource(), Repository(1, "octo/other", 1)
    read = policies.load(tonight.database, TrackerPushedDuringRead(tonight), repository, tonight.clock())  # type: ignore[arg-type]
    assert read.policy.people
    later_policy = policies.load(tonight.database, UnreachableTracker(), repository, tonight.clock())  # type: ignore[arg-type]
    assert not later_policy.policy.people, "what was read before the push is not kept"
