"""A write without a response arrives later, or a list does not show it yet: it is not posted twice (B4, B5)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta

import httpx
import pytest

from tests.figures import Figures
from tests.shell.night import SEV1, HandClock, Night, Wire
from tests.shell.processes import count
from tests.shell.storm import weather
from tests.soak import size

LATE = timedelta(seconds=9)


class LateWire(Wire):
    """A wire on which each comment number `late_every` times out and arrives `ARRIVAL_DELAY` after it was sent.

    Never several in a row, since the circuit breaker would then stop all calls for a while.
    """

    def __init__(self, clock: HandClock, nth: int) -> None:
        super().__init__()
        self.clock, self.sent, self.late, self.arrived = clock, 0, 0, 0
        self._nth = nth
        self.under_way: list[tuple[datetime, httpx.Request]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.arrive()
        if request.method == "POST" and request.url.path.endswith("/comments"):
            self.sent += 1
            if self.sent % self._nth == 0:
                self.late += 1
                self.under_way.append((self.clock() + LATE, request))
                raise httpx.ReadTimeout("nobody answers", request=request)
        return super().handle_request(request)

    def arrive(self) -> None:
        """Send the delayed requests that are due; a transport error loses the request."""
        due = [request for at, request in self.under_way if at <= self.clock()]
        self.under_way = [one for one in self.under_way if one[0] > self.clock()]
        for request in due:
            with suppress(httpx.TransportError):
                self.arrived += super().handle_request(request).status_code == 201


@contextmanager
def wired(tonight: Night, wire: LateWire, lease: timedelta) -> Iterator[None]:
    tonight.wire, tonight.lease = wire, lease
    tonight.move_in()
    try:
        yield
    finally:
        wire.end()


def a_minute_each(tonight: Night, wire: LateWire, incidents: int) -> None:
    """Open the incidents, with commands to answer, and run second by second until all is done."""
    shop, person = tonight.shop, tonight.github.person
    for _ in range(incidents):
        number = person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
        person("mona").comments(shop, number, "/help")
        person("mona").comments(shop, number, "/verify")
        tonight.github.hooks.settle(60)
    for nth in range(600):
        wire.arrive()
        tonight.settle()
        tonight.clock.at += timedelta(seconds=1)
        if nth >= 60 and not wire.under_way and not count(tonight.database, "FROM outbox WHERE state <> 'done'"):
            break


def twice(tonight: Night) -> int:
    """Count the keys that were posted more than once."""
    count = 0
    for number in tonight.shop.issues:
        said: Counter[str] = Counter(tonight.said(number))
        count += sum(times > 1 for times in said.values())
    return count


@pytest.mark.parametrize(("lease", "safe"), [(30, True), (6, False)])
def test_b4_row3_a_comment_that_arrives_late_is_not_said_again(
    tonight: Night, figures: Figures, lease: int, safe: bool
) -> None:
    """With a lease shorter than the delay the test must find duplicates, which proves that it can fail."""
    incidents = size(8, 420)
    wire = LateWire(tonight.clock, nth=5 if incidents < 100 else 19)
    with wired(tonight, wire, timedelta(seconds=lease)):
        if safe:
            tonight.github.faults.choose_fault = weather(3)
        a_minute_each(tonight, wire, incidents)
        found = twice(tonight)
        assert wire.late >= 5
        assert wire.arrived >= 4
        assert (found == 0) is safe
        effects = count(tonight.database, "FROM outbox WHERE state = 'done'")
        if safe:
            assert count(tonight.database, "FROM outbox") == effects
            assert effects >= size(40, 2_000)
    figures.record(
        "B4, Row 3",
        size=f"{effects} effects{', 8 % of the writes go wrong' if safe else ''}; {wire.late} comments of {incidents} incidents arrive {LATE.seconds} s late, lease {lease} s",
        measured=f"{found} twice",
    )


def test_b5_the_look_up_reads_every_page_of_a_list_that_lags(tonight: Night, figures: Figures) -> None:
    """The response is lost; people write 350 more comments; ours is found on the last of four pages."""
    shop, mona = tonight.shop, tonight.github.person("mona")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    tonight.later()
    for nth in range(350):
        mona.comments(shop, number, f"Comment {nth}.")
    tonight.later()
    mark = tonight.github.call_log_position()
    tonight.github.faults.comment_lag_seconds = 3.0
    tonight.github.faults.add("lost", method="POST", path="/comments")
    mona.comments(shop, number, "/help")
    tonight.settle()
    ours = sum(key.startswith("help/") for key in tonight.said(number))
    assert ours == 0, "it does not show yet"
    for _ in range(60):
        tonight.clock.at += timedelta(seconds=1)
        tonight.settle()
    assert sum(key.startswith("help/") for key in tonight.said(number)) == 1
    lists = [
        call for call in tonight.github.calls_since(mark) if call.method == "GET" and call.path.endswith("/comments")
    ]
    posts = [
        call for call in tonight.github.calls_since(mark) if call.method == "POST" and call.path.endswith("/comments")
    ]
    assert len(posts) == 1
    figures.record(
        "B5",
        size="351 comments, the marker on the last page, the list lags 3 s",
        measured=f"0 twice; {len(lists)} pages read",
    )


@pytest.mark.parametrize("path", ["/comments", "/reactions", "/assignees"])
def test_what_arrived_is_found_at_the_first_look(tonight: Night, path: str) -> None:
    """Only the response was lost: the item does not wait for the time in which a write may still arrive."""
    shop, mona = tonight.shop, tonight.github.person("mona")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    tonight.later()
    tonight.github.faults.add("lost", method="POST", path=path)
    mark = tonight.github.call_log_position()
    mona.comments(shop, number, "/help\n/ack")
    tonight.settle()
    assert count(tonight.database, "FROM outbox WHERE state = 'in_flight'") == 1
    tonight.later(7)
    assert not count(tonight.database, "FROM outbox WHERE state IN ('pending', 'in_flight')")
    comments = [
        call for call in tonight.github.calls_since(mark) if (call.method, call.path[-9:]) == ("POST", "/comments")
    ]
    assert len(comments) == len(set(tonight.said(number)[2:])) == len(tonight.said(number)[2:])


def test_what_has_not_arrived_is_not_said_again_before_it_cannot_any_more(tonight: Night) -> None:
    """It is looked for twice, and then sent again."""
    wire = LateWire(tonight.clock, nth=3)  # after the page and the board
    with wired(tonight, wire, timedelta(seconds=30)):
        number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
        tonight.later()
        tonight.github.person("mona").comments(tonight.shop, number, "/help")
        tonight.settle()
        assert wire.under_way
        wire.under_way.clear()  # it never arrives
        helped = []
        for _ in range(20):
            helped.append(sum(key.startswith("help/") for key in tonight.said(number)))
            tonight.clock.at += timedelta(seconds=1)
            tonight.settle()
    assert helped.index(1) == 15
