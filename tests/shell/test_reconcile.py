"""What came past us is found again: deliveries that failed, an absence of days, drift, and a door that is never open."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import app
from app import ports
from app.ports import DeliveryFailed, Lane
from app.sandbox import PretendGitHub
from app.store import inbox
from app.store.database import Database
from app.worker.reconcile import Reconciler, Report
from app.worker.sort import sort
from app.worker.take import take
from tests.shell.conftest import a_night
from tests.shell.night import SEV1, TABLES, Night
from tests.shell.test_crashes import comes, now
from tests.soak import size

SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def comparing(tonight: Night) -> Reconciler:
    """Whoever compares, as after a restart."""
    return Reconciler(tonight.built.desk, tonight.built.client)


def compared(tonight: Night, reconciler: Reconciler | None = None) -> Report:
    """What is due is compared, and everything that follows from it happens."""
    report = (reconciler or comparing(tonight)).turn()
    assert report is not None, "nothing was due"
    assert report.failures == []
    tonight.later()
    return report


def opens(tonight: Night, body: str = SEV1, login: str = "stranger") -> int:
    return tonight.github.person(login).opens(tonight.shop, "Checkout is down", body, ["incident"])


def in_touch(tonight: Night) -> None:
    """Everything so far has come in, and was compared."""
    tonight.later()
    compared(tonight)
    tonight.clock.at += timedelta(minutes=2)
    compared(tonight)


def away(tonight: Night) -> None:
    tonight.github.hooks.url = None


def back(tonight: Night, url: str | None) -> None:
    tonight.github.hooks.settle(60)
    tonight.github.hooks.url = url
    tonight.move_in()


def calls(tonight: Night, mark: int, end: str) -> int:
    return sum(call.path.endswith(end) for call in tonight.github.calls_since(mark))


# E2: seventy-one hours.


def three_days(tonight: Night, events: int) -> None:
    """About so many deliveries over 71 hours: incidents that open, change and mostly end."""
    shop, clock = tonight.shop, tonight.clock
    stranger, mona, ada = (tonight.github.person(login) for login in ("stranger", "mona", "ada"))
    deeds: list[Callable[[], object]] = []
    for nth in range(events // 8):
        number = opens_at(deeds, tonight, nth)
        deeds += [
            lambda number=number: mona.comments(shop, number, "/ack"),
            lambda number=number: ada.labels(shop, number, "blue", "green"),
            lambda number=number: stranger.edits_issue(shop, number, body=SEV3.replace("502", "503")),
            lambda number=number: mona.comments(shop, number, "/update we are on it"),
        ]
        if nth % 4:
            deeds.append(lambda number=number: mona.comments(shop, number, "/resolve"))
            deeds.append(lambda number=number: mona.closes(shop, number))
    pause = timedelta(hours=71) / len(deeds)
    for deed in deeds:
        clock.at += pause
        deed()


def opens_at(deeds: list[Callable[[], object]], tonight: Night, nth: int) -> int:
    """The number that the issue will have: they are counted from the ones there are."""
    first = max(tonight.shop.issues, default=0) + 1
    deeds.append(lambda: opens(tonight, SEV3))
    return first + nth


def test_e2_a_receiver_that_was_off_for_71_hours_misses_nothing(tonight: Night, elsewhere: Night) -> None:
    for night in (tonight, elsewhere):
        opens(night, SEV3)
        in_touch(night)
    events = size(200, 2000)
    elsewhere.github.hooks.hold()
    three_days(elsewhere, events)
    url = tonight.github.hooks.url
    away(tonight)
    tonight.github.hooks.scattered_ids = True
    three_days(tonight, events)
    tonight.github.hooks.settle(60)
    everything = list(tonight.github.hooks.deliveries())
    missed = [one for one in everything if not one.ok]
    assert len(missed) >= events * 0.9
    for one in (late := missed[: min(100, len(missed) // 4)]):  # the newest page comes into the list in two hours only
        assert one.delivered_at is not None
        tonight.github.hooks.list_late([one], tonight.clock.at - one.delivered_at + timedelta(hours=2))
    back(tonight, url)

    # The incidents are right before a single delivery is fetched.
    tonight.github.faults.add("pre", path="/app/hook/deliveries", status=502, times=1)
    reconciler, began = comparing(tonight), time.monotonic()
    with pytest.raises(DeliveryFailed):
        reconciler.turn()
    assert time.monotonic() - began < 120, "the incidents are usable within two minutes"
    statuses = {number: str(tonight.incident(number).status) for number in elsewhere.shop.issues}
    tonight.clock.at += timedelta(minutes=1)
    report = reconciler.turn()
    assert time.monotonic() - began < 600, "2,000 missed deliveries are there within ten minutes"
    assert report is not None
    tonight.settle()
    assert {one.guid for one in everything} - set(tonight.deliveries()) == {one.guid for one in late}

    # What was listed late is found by a later pass over the whole list, and by no other.
    tonight.clock.at += timedelta(minutes=50)
    assert (compared(tonight, reconciler)).deliveries.missed == 0
    tonight.clock.at += timedelta(minutes=71)
    found = compared(tonight, reconciler).deliveries
    assert found.taken == len(late)
    known = tonight.deliveries()
    assert {one.guid for one in everything} <= set(known)
    assert {known[one.guid] for one in everything} <= {"taken", "ignored"}
    assert statuses == {number: str(tonight.incident(number).status) for number in elsewhere.shop.issues}
    for number in elsewhere.shop.issues:
        said = tonight.said(number)
        assert len(said) == len(set(said)), "each is applied once"

    elsewhere.github.hooks.release()
    elsewhere.clock.at = tonight.clock.at
    elsewhere.github.hooks.settle(60)
    elsewhere.later()
    tonight.later(0)
    tonight.clock.at = elsewhere.clock.at
    tonight.settle()
    assert whole(tonight) == whole(elsewhere), "as if all of them had come in order"


def whole(night: Night) -> dict[str, Any]:
    """What is known of every incident; their ids are given in the order in which they were heard of."""
    found = json.loads("\n".join(night.state()))
    for row in found["incidents"]:
        row["incident"]["id"] = f"#{row['number']}"
    return {"incidents": found["incidents"], "alarms": found["alarms"]}
