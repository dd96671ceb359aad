"""The process dies in every gap, and whoever comes next goes on: nothing is lost and nothing is said twice."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tests.shell.night import SEV1, Night

from app.failpoint import Failpoints
from app.ports import Repository, Tracker

GAPS = ("after_claim", "before_commit", "after_commit", "before_post", "after_post_before_mark", "after_mark")
AT_THE_DOOR = ("after_body_read", "after_insert", "before_202")


class Died(BaseException):
    """The process is gone: nothing that comes after is done by it."""


def die() -> None:
    raise Died


@dataclass(frozen=True)
class Mortal:
    """A tracker whose process dies right after its nth writing call, whatever came of that on GitHub."""

    inner: Tracker
    left: list[int]

    def __getattr__(self, name: str) -> Any:
        deed = getattr(self.inner, name)
        return self._then_maybe_die(deed) if name in ("comment", "edit_comment", "set_labels") else deed

    def _then_maybe_die(self, deed: Callable[..., Any]) -> Callable[..., Any]:
        def done(*given: Any, **named: Any) -> Any:
            answer = deed(*given, **named)
            self.left[0] -= 1
            if self.left[0] == 0:
                raise Died
            return answer

        return done


def life(tonight: Night) -> Iterator[None]:
    """A whole incident, with a pause wherever time goes on."""
    shop, mona = tonight.shop, tonight.github.person("mona")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    yield
    tonight.clock.at = tonight.clock.at.replace(minute=6)
    yield
    mona.comments(shop, number, "/ack")
    yield
    tonight.github.person("ada").labels(shop, number, "sev2")
    yield
    mona.comments(shop, number, "/resolve\n/resolve")
    yield
    mona.closes(shop, number)
    yield


def live(tonight: Night) -> int:
    """Live through it, moving in again after each death.  Returns the number of deaths."""
    deaths = 0
    for _ in life(tonight):
        for step in (tonight.settle, tonight.later, lambda: tonight.passes(minutes=2)):
            while True:
                try:
                    step()
                except Died:
                    deaths += 1
                    assert deaths < 50, "it dies again and again"
                    tonight.move_in()
                else:
                    break
    return deaths


def shown(tonight: Night) -> dict[str, Any]:
    """What people see in the end."""
    (pull,) = [issue for issue in tonight.shop.issues.values() if issue.pull is not None]
    assert pull.pull is not None
    git = tonight.shop.git
    commits = [commit for commit in git.commits.values() if commit.message != "Initial commit"]
    return {
        "labels": tonight.labels(1),
        "said": tonight.said(1),
        "board": bool(tonight.board(1)),
        "branches": sorted(git.refs),
        "commits": len(commits),
        "pull": pull.title,
        "assignees": [account.login for account in tonight.shop.issue(1).assignees],
    }


@pytest.fixture(scope="module")
def undisturbed(postgres: str) -> tuple[dict[str, Any], list[str]]:
    from tests.shell.conftest import a_night

    with a_night(postgres) as quiet:
        assert live(quiet) == 0
        assert len(quiet.said(1)) == len(set(quiet.said(1)))
        return shown(quiet), quiet.state()


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("gap", GAPS)
def test_a_worker_dies_in_a_gap(tonight: Night, undisturbed: Any, gap: str, nth: int) -> None:
    tonight.move_in(Failpoints(f"{gap}:{nth}", die))
    assert live(tonight) == 1
    assert shown(tonight) == undisturbed[0]
    tonight.expect(undisturbed[1])


def test_a_worker_dies_at_every_step(tonight: Night, undisturbed: Any) -> None:
    """The worst night: each process gets through two gaps and dies in the third."""
    gaps = iter([*GAPS * 3])
    tonight.failpoints = lambda: Failpoints(f"{next(gaps)}:2", die) if True else None  # replaced below
    tonight.move_in()
    assert live(tonight) >= len(GAPS)
    assert shown(tonight) == undisturbed[0]
    tonight.expect(undisturbed[1])
