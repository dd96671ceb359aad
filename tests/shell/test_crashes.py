"""The process dies at every fail point and the next one continues: nothing is lost and nothing is posted twice."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from app.failpoints import Failpoints
from tests.figures import Figures
from tests.shell.conftest import run_night_on_new_database
from tests.shell.night import SEV1, Night, Wire

WORKER_FAILPOINTS = (
    "after_claim",
    "mid_reduce",
    "before_commit",
    "after_commit",
    "before_post",
    "after_post_before_mark",
    "after_mark",
)
FATAL_CALLS = (
    ("POST", "/reactions"),
    ("POST", "/labels"),
    ("POST", "/comments"),
    ("POST", "/comments"),
    ("PATCH", "/comments/"),
    ("DELETE", "/labels/"),
    ("POST", "/assignees"),
    ("POST", "/git/refs"),
    ("PUT", "/contents/"),
    ("POST", "/pulls"),
    ("POST", "/requested_reviewers"),
    ("POST", "/comments"),
)
RECEIVER_FAILPOINTS = ("after_body_read", "after_insert", "before_202")


class Died(BaseException):
    """The process is gone: it does nothing after this."""


def die() -> None:
    raise Died


class DyingWire(Wire):
    """A wire on which the process dies after GitHub has carried out a call, before the response arrives.

    Each entry of `fatal_calls`, a method and a part of the path, kills once.
    """

    def __init__(self, fatal_calls: list[tuple[str, str]]) -> None:
        super().__init__()
        self.fatal_calls = fatal_calls

    def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
        found = next((one for one in self.fatal_calls if one[0] == request.method and one[1] in request.url.path), None)
        if found is not None and response.is_success:
            self.fatal_calls.remove(found)
            raise Died


def play_incident(tonight: Night) -> Iterator[None]:
    """Play a whole incident, with a pause wherever time passes."""
    shop, mona = tonight.shop, tonight.github.person("mona")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    yield
    yield
    mona.comments(shop, number, "/ack")
    yield
    tonight.github.person("ada").labels(shop, number, "sev2")
    yield
    mona.comments(shop, number, "/resolve\n/resolve")
    yield
    mona.closes(shop, number)
    yield


def run_through_deaths(tonight: Night) -> int:
    """Play the incident at fixed times and restart after each death.  Return the number of deaths."""
    deaths = 0
    for _ in play_incident(tonight):
        for seconds in (0, 20, 200):
            tonight.clock.at += timedelta(seconds=seconds)
            while True:
                try:
                    tonight.settle()
                except Died:
                    deaths += 1
                    assert deaths < 50, "it dies again and again"
                    tonight.restart()
                else:
                    break
    return deaths


def load_visible_state(tonight: Night) -> dict[str, Any]:
    """Return what people see in the end."""
    (pull,) = [issue for issue in tonight.shop.issues.values() if issue.pull is not None]
    assert pull.pull is not None
    git = tonight.shop.git
    commits = [commit for commit in git.commits.values() if commit.message != "Initial commit"]
    return {
        "labels": tonight.labels(1),
        "said": tonight.list_posted_keys(1),
        "board": bool(tonight.board(1)),
        "branches": sorted(git.refs),
        "commits": len(commits),
        "pull": pull.title,
        "assignees": [account.login for account in tonight.shop.issue(1).assignees],
    }


@pytest.fixture(scope="module")
def undisturbed(postgres: str) -> tuple[dict[str, Any], list[str]]:
    with run_night_on_new_database(postgres) as quiet:
        assert run_through_deaths(quiet) == 0
        assert len(quiet.list_posted_keys(1)) == len(set(quiet.list_posted_keys(1)))
        return load_visible_state(quiet), quiet.dump_lines()


@pytest.mark.parametrize("gap", WORKER_FAILPOINTS)
def test_every_process_dies_in_that_gap(tonight: Night, undisturbed: Any, gap: str) -> None:
    """The first process dies the first time it reaches the fail point, the next one the second time, and so on."""
    nth = itertools.count(1)
    tonight.lease = timedelta(0)  # the next process continues at once, so that the same happens at the same times
    tonight.create_failpoints = lambda: Failpoints(f"{gap}:{next(nth)}", die)
    tonight.restart()
    assert run_through_deaths(tonight) >= 3
    assert load_visible_state(tonight) == undisturbed[0]
    tonight.expect(undisturbed[1])


def test_every_process_dies_after_a_call_that_github_has_heard(tonight: Night, undisturbed: Any) -> None:
    wire = DyingWire([*FATAL_CALLS])
    tonight.wire, tonight.lease = wire, timedelta(0)
    tonight.restart()
    try:
        assert run_through_deaths(tonight) == len(FATAL_CALLS)
        assert wire.fatal_calls == []
        assert load_visible_state(tonight) == undisturbed[0]
        tonight.expect(undisturbed[1])
    finally:
        wire.end()


def test_b7_the_process_dies_between_the_branch_the_file_and_the_pull_request(tonight: Night, figures: Figures) -> None:
    """One of each exists in the end, and a repeated /postmortem is answered with its link."""
    wire = DyingWire([("POST", "/git/refs"), ("PUT", "/contents/"), ("POST", "/pulls")])
    tonight.wire, tonight.lease = wire, timedelta(0)
    tonight.restart()
    try:
        assert run_through_deaths(tonight) == 3
        found = load_visible_state(tonight)
        assert (len(found["branches"]), found["commits"]) == (2, 1), "the main one, and ours"
        (pull,) = [issue for issue in tonight.shop.issues.values() if issue.pull is not None]
        before = len(tonight.notices(1))
        tonight.github.person("mona").comments(tonight.shop, 1, "/postmortem")
        tonight.advance_and_settle()
        (answer,) = tonight.notices(1)[before:]
        assert f"/pull/{pull.number}" in answer
        assert load_visible_state(tonight)["commits"] == 1
    finally:
        wire.end()
    figures.record(
        "B7",
        size="killed after the branch, after the file, and after the pull request",
        measured="1 of each; the link",
    )


@pytest.mark.parametrize("gap", RECEIVER_FAILPOINTS)
def test_the_door_dies_and_github_is_asked_to_deliver_again(tonight: Night, gap: str) -> None:
    """An unacknowledged delivery is redelivered on request; one that was stored already is recognized."""
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    before = tonight.dump_lines()
    deaths = itertools.count(1)

    def abort() -> None:
        next(deaths)
        raise ConnectionAbortedError

    with tonight.serve_webhook(Failpoints(f"{gap}:1", abort)):
        tonight.github.person("mona").comments(tonight.shop, number, "/ack")
        tonight.github.hooks.settle()
    assert next(deaths) == 2
    (lost,) = [one for one in tonight.github.hooks.deliveries() if one.event == "issue_comment" and not one.ok]
    if gap == "after_body_read":
        tonight.settle()
        tonight.expect(before)
    tonight.github.hooks.redeliver(lost)
    tonight.advance_and_settle()
    assert "acknowledged" in tonight.labels(number)
    assert len([key for key in tonight.list_posted_keys(number) if key.startswith("reply/")]) == 0
