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
from tests.shell.processes import count_rows
from tests.shell.storm import create_fault_chooser
from tests.soak import choose_size

ARRIVAL_DELAY = timedelta(seconds=9)


class LateWire(Wire):
    """A wire on which each comment number `late_every` times out and arrives `ARRIVAL_DELAY` after it was sent.

    Never several in a row, since the circuit breaker would then stop all calls for a while.
    """

    def __init__(self, clock: HandClock, late_every: int) -> None:
        super().__init__()
        self.clock, self.sent_count, self.late_count, self.arrived_count = clock, 0, 0, 0
        self._late_every = late_every
        self.in_transit: list[tuple[datetime, httpx.Request]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.deliver_due()
        if request.method == "POST" and request.url.path.endswith("/comments"):
            self.sent_count += 1
            if self.sent_count % self._late_every == 0:
                self.late_count += 1
                self.in_transit.append((self.clock() + ARRIVAL_DELAY, request))
                raise httpx.ReadTimeout("nobody answers", request=request)
        return super().handle_request(request)

    def deliver_due(self) -> None:
        """Send the delayed requests that are due; a transport error loses the request."""
        due = [request for at, request in self.in_transit if at <= self.clock()]
        self.in_transit = [one for one in self.in_transit if one[0] > self.clock()]
        for request in due:
            with suppress(httpx.TransportError):
                self.arrived_count += super().handle_request(request).status_code == 201


@contextmanager
def use_wire(tonight: Night, wire: LateWire, lease: timedelta) -> Iterator[None]:
    tonight.wire, tonight.lease = wire, lease
    tonight.restart()
    try:
        yield
    finally:
        wire.end()


def run_incidents(tonight: Night, wire: LateWire, incident_count: int) -> None:
    """Open the incidents, with commands to answer, and run second by second until all is done."""
    shop, person = tonight.shop, tonight.github.person
    for _ in range(incident_count):
        number = person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
        person("mona").comments(shop, number, "/help")
        person("mona").comments(shop, number, "/verify")
        tonight.github.hooks.settle(60)
    for nth in range(600):
        wire.deliver_due()
        tonight.settle()
        tonight.clock.at += timedelta(seconds=1)
        if nth >= 60 and not wire.in_transit and not count_rows(tonight.database, "FROM outbox WHERE state <> 'done'"):
            break


def count_duplicates(tonight: Night) -> int:
    """Count the keys that were posted more than once."""
    count = 0
    for number in tonight.shop.issues:
        times_by_key: Counter[str] = Counter(tonight.list_posted_keys(number))
        count += sum(times > 1 for times in times_by_key.values())
    return count


@pytest.mark.parametrize(("lease", "safe"), [(30, True), (6, False)])
def test_b4_row3_a_comment_that_arrives_late_is_not_said_again(
    tonight: Night, figures: Figures, lease: int, safe: bool
) -> None:
    """With a lease shorter than the delay the test must find duplicates, which proves that it can fail."""
    incidents = choose_size(8, 420)
    wire = LateWire(tonight.clock, late_every=5 if incidents < 100 else 19)
    with use_wire(tonight, wire, timedelta(seconds=lease)):
        if safe:
            tonight.github.faults.choose_fault = create_fault_chooser(3)
        run_incidents(tonight, wire, incidents)
        found = count_duplicates(tonight)
        assert wire.late_count >= 5
        assert wire.arrived_count >= 4
        assert (found == 0) is safe
        effects = count_rows(tonight.database, "FROM outbox WHERE state = 'done'")
        if safe:
            assert count_rows(tonight.database, "FROM outbox") == effects
            assert effects >= choose_size(40, 2_000)
    figures.record(
        "B4, Row 3",
        size=f"{effects} effects{', 8 % of the writes go wrong' if safe else ''}; {wire.late_count} comments of {incidents} incidents arrive {ARRIVAL_DELAY.seconds} s late, lease {lease} s",
        measured=f"{found} twice",
    )


def test_b5_the_look_up_reads_every_page_of_a_list_that_lags(tonight: Night, figures: Figures) -> None:
    """The response is lost; people write 350 more comments; ours is found on the last of four pages."""
    shop, mona = tonight.shop, tonight.github.person("mona")
    number = tonight.github.person("stranger").opens(shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    for nth in range(350):
        mona.comments(shop, number, f"Comment {nth}.")
    tonight.advance_and_settle()
    mark = tonight.github.call_log_position()
    tonight.github.faults.comment_lag_seconds = 3.0
    tonight.github.faults.add("lost", method="POST", path="/comments")
    mona.comments(shop, number, "/help")
    tonight.settle()
    ours = sum(key.startswith("help/") for key in tonight.list_posted_keys(number))
    assert ours == 0, "it does not show yet"
    for _ in range(60):
        tonight.clock.at += timedelta(seconds=1)
        tonight.settle()
    assert sum(key.startswith("help/") for key in tonight.list_posted_keys(number)) == 1
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
    tonight.advance_and_settle()
    tonight.github.faults.add("lost", method="POST", path=path)
    mark = tonight.github.call_log_position()
    mona.comments(shop, number, "/help\n/ack")
    tonight.settle()
    assert count_rows(tonight.database, "FROM outbox WHERE state = 'in_flight'") == 1
    tonight.advance_and_settle(7)
    assert not count_rows(tonight.database, "FROM outbox WHERE state IN ('pending', 'in_flight')")
    comments = [
        call for call in tonight.github.calls_since(mark) if (call.method, call.path[-9:]) == ("POST", "/comments")
    ]
    assert len(comments) == len(set(tonight.list_posted_keys(number)[2:])) == len(tonight.list_posted_keys(number)[2:])


def test_what_has_not_arrived_is_not_said_again_before_it_cannot_any_more(tonight: Night) -> None:
    """It is looked for twice, and then sent again."""
    wire = LateWire(tonight.clock, late_every=3)  # after the page and the board
    with use_wire(tonight, wire, timedelta(seconds=30)):
        number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
        tonight.advance_and_settle()
        tonight.github.person("mona").comments(tonight.shop, number, "/help")
        tonight.settle()
        assert wire.in_transit
        wire.in_transit.clear()  # it never arrives
        help_counts = []
        for _ in range(20):
            help_counts.append(sum(key.startswith("help/") for key in tonight.list_posted_keys(number)))
            tonight.clock.at += timedelta(seconds=1)
            tonight.settle()
    assert help_counts.index(1) == 15
