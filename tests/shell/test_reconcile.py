"""Finds what we missed: failed deliveries, an absence of days, drift, and a receiver that is never reachable."""

from __future__ import annotations

import hashlib
import json
import os
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

import app
from app.cli.reconcile import format_report
from app.core.lifecycle import Status
from app.ports import DeliveryFailed, IncidentKey
from app.sandbox.github import Limits, SandboxGitHub
from app.store import inbox, incidents, sync_state
from app.store.database import Database
from app.worker.jobs import Queue
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.routing import route_deliveries
from app.worker.sync import drift
from app.worker.sync.reconciler import Reconciler, ReconcileReport
from tests.figures import Figures
from tests.shell.night import SEV1, TABLES, Night, Wire
from tests.shell.processes import read_log_tail, start_worker, wait_until
from tests.shell.test_commands_line import run_muster
from tests.shell.test_github_contract import CheckedWire, checked, description, openapi, shared_data
from tests.shell.test_rate_limiter import another_process
from tests.soak import choose_size

__all__ = ["checked", "description", "openapi", "shared_data"]

REPORTER = "grace"
"""A person with rights: reports of others are throttled together (M30), which is not the subject here."""
SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


def utc_now() -> datetime:
    return datetime.now(UTC)


def create_reconciler(tonight: Night) -> Reconciler:
    """Create a reconciler, as after a restart."""
    return Reconciler(tonight.application.ctx, tonight.application.client)


def reconcile(tonight: Night, reconciler: Reconciler | None = None) -> ReconcileReport:
    """Reconcile what is due, and process everything that follows from it."""
    report = (reconciler or create_reconciler(tonight)).run_due()
    assert report is not None, "nothing was due"
    assert report.failures == []
    tonight.advance_and_settle()
    return report


def reconcile_within_budget(tonight: Night) -> int:
    """Reconcile in as many sweeps as GitHub's hourly budget requires.  Return how many deliveries were missed."""
    reconciler, missed = create_reconciler(tonight), 0
    while (report := reconciler.run_due()) is None or report.failures:
        missed += report.deliveries.missed if report is not None else 0
        tonight.clock.at += timedelta(minutes=1)
    tonight.advance_and_settle()
    return missed + report.deliveries.missed


def open_incident(tonight: Night, body: str = SEV1, login: str = REPORTER) -> int:
    return tonight.github.person(login).opens(tonight.shop, "Checkout is down", body, ["incident"])


def settle_and_reconcile(tonight: Night) -> None:
    """Process everything so far, and reconcile."""
    tonight.advance_and_settle()
    reconcile(tonight)
    tonight.clock.at += timedelta(minutes=2)
    reconcile(tonight)


def disconnect(tonight: Night) -> None:
    tonight.github.hooks.settle(60)
    tonight.github.hooks.url = None


def reconnect(tonight: Night, url: str | None) -> None:
    tonight.github.hooks.settle(60)
    tonight.github.hooks.url = url
    tonight.restart()


def count_calls(tonight: Night, mark: int, path_suffix: str) -> int:
    return sum(call.path.endswith(path_suffix) for call in tonight.github.calls_since(mark))


# E2: seventy-one hours.


def play_three_days(tonight: Night, events: int) -> None:
    """Play about `events` deliveries over 71 hours: incidents that open, change and mostly end."""
    shop, clock = tonight.shop, tonight.clock
    reporter, mona, ada = (tonight.github.person(login) for login in (REPORTER, "mona", "ada"))
    deeds: list[Callable[[], object]] = []
    for nth in range(events // 8):
        number = add_opening(deeds, tonight, nth)
        deeds += [
            lambda number=number: mona.comments(shop, number, "/ack"),
            lambda number=number: ada.labels(shop, number, "blue", "green"),
            lambda number=number: reporter.edits_issue(shop, number, body=SEV3.replace("502", "503")),
            lambda number=number: mona.comments(shop, number, "/update we are on it"),
        ]
        if nth % 4:
            deeds.append(lambda number=number: mona.comments(shop, number, "/resolve"))
            deeds.append(lambda number=number: mona.closes(shop, number))
    pause = timedelta(hours=71) / len(deeds)
    for deed in deeds:
        clock.at += pause
        deed()


def add_opening(deeds: list[Callable[[], object]], tonight: Night, nth: int) -> int:
    """Append an opening to `deeds`; return the number that its issue will have.

    Numbers count on from the issues that exist.
    """
    first = max(tonight.shop.issues, default=0) + 1
    deeds.append(lambda: open_incident(tonight, SEV3))
    return first + nth


@pytest.mark.parametrize(("events", "minutes"), choose_size([(100, 10)], [(2000, 10), (5000, 90)]))
def test_e2_a_receiver_that_was_off_for_71_hours_misses_nothing(
    tonight: Night, elsewhere: Night, figures: Figures, events: int, minutes: int
) -> None:
    """At GitHub's published limits; the hand clock takes the waiting."""
    for night in (tonight, elsewhere):
        open_incident(night, SEV3)
        settle_and_reconcile(night)
    elsewhere.github.hooks.hold()
    play_three_days(elsewhere, events)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.github.hooks.scattered_ids = True
    play_three_days(tonight, events)
    tonight.github.hooks.settle(60)
    everything = list(tonight.github.hooks.deliveries())
    before = tonight.load_delivery_states()
    missed = [one for one in everything if one.guid not in before]
    assert len(missed) >= events * 0.9
    for one in (late := missed[: min(100, len(missed) // 4)]):  # the newest page is listed two hours late
        assert one.delivered_at is not None
        tonight.github.hooks.delay_listing([one], tonight.clock.at - one.delivered_at + timedelta(hours=2))
    reconnect(tonight, url)

    # The incidents are right before the deliveries have been fetched.
    began, tonight.github.meter.limits = tonight.clock.at, Limits.strict()
    tonight.github.faults.add("pre", path="/app/hook/deliveries", status=502, times=1)
    with another_process(tonight) as application:
        reconciler = Reconciler(application.ctx, application.client)
        sweeps, statuses, fetched = run_until_fetched(tonight, reconciler, len(missed) - len(late))
    whole_time = tonight.clock.at - began
    assert fetched == len(missed) - len(late), "each is fetched once"
    assert tonight.github.meter.refused_count == 0, "no secondary limit was met"
    usable = next(at for at, found in sweeps if found == {number: tonight.incident(number).status for number in found})
    assert usable - began <= timedelta(minutes=2)
    assert whole_time <= timedelta(minutes=minutes)
    tonight.github.meter.limits = Limits()
    tonight.settle()
    assert {one.guid for one in everything} - set(tonight.load_delivery_states()) == {one.guid for one in late}

    # What is listed late is found by the later scan of the whole list only.
    tonight.clock.at = began + timedelta(minutes=110)
    assert reconcile_within_budget(tonight) == 0
    tonight.clock.at = max(tonight.clock.at, began + timedelta(minutes=181))
    assert reconcile_within_budget(tonight) == len(late)
    known = tonight.load_delivery_states()
    assert {one.guid for one in everything} <= set(known)
    assert {known[one.guid] for one in everything} <= {"processed", "ignored"}
    assert statuses == {number: str(tonight.incident(number).status) for number in elsewhere.shop.issues}
    for number in elsewhere.shop.issues:
        keys = tonight.list_posted_keys(number)
        assert len(keys) == len(set(keys)), "each is applied once"

    elsewhere.github.hooks.release()
    elsewhere.clock.at = tonight.clock.at
    elsewhere.github.hooks.settle(60)
    ingest_only(elsewhere)
    assert load_incident_state(tonight) == load_incident_state(elsewhere), "as if all of them had come in order"
    figures.record(
        "E2",
        size=f"71 h away, {len(missed)} deliveries missed, {len(late)} of them listed 2 h late, ids in no order",
        measured=f"open incidents right in {format_seconds(usable - began)}, all in {format_seconds(whole_time)} of GitHub's pace, 0 lost, 0 twice",
    )


Sweeps = list[tuple[datetime, dict[int, Status | None]]]
"""The status of each incident that GitHub shows as open, sweep by sweep; None: not stored yet."""


def run_until_fetched(tonight: Night, reconciler: Reconciler, deliveries: int) -> tuple[Sweeps, dict[int, str], int]:
    """Sweep every five seconds until that many deliveries have been fetched.

    Return the status of the open incidents at each sweep until the catch-up of the issues was done, the status of all
    of them then, and how many deliveries were fetched.
    """
    shown = [number for number, issue in tonight.shop.issues.items() if issue.state == "open"]
    sweeps, statuses = Sweeps(), dict[int, str]()
    before, end = len(tonight.load_delivery_states()), tonight.clock.at + timedelta(hours=2)
    while not statuses or len(tonight.load_delivery_states()) - before < deliveries:
        with suppress(DeliveryFailed):  # the next sweep tries again
            reconciler.run_due()
        with tonight.database.transaction() as db:
            behind = sync_state.list_repositories_to_catch_up(db)
            if not statuses:
                found = (
                    (number, incidents.load_incident(db, IncidentKey(tonight.shop.id, number))) for number in shown
                )
                sweeps.append((tonight.clock.at, {number: one and one.incident.status for number, one in found}))
        if not statuses and not behind:
            statuses = {number: str(tonight.incident(number).status) for number in tonight.shop.issues}
        tonight.clock.at += timedelta(seconds=5)
        assert tonight.clock.at < end
    return sweeps, statuses, len(tonight.load_delivery_states()) - before


def format_seconds(time: timedelta) -> str:
    return f"{time.total_seconds():.0f} s"


def ingest_only(night: Night) -> None:
    """Ingest everything that has arrived, without relaying its effects."""
    for incident_key in route_deliveries(night.application.ctx):
        assert process_incident(night.application.ctx, incident_key)
    with night.database.transaction() as db:
        incident_keys = {*inbox.list_routed_incident_keys(db), *incidents.list_due_incident_keys(db, night.clock())}
    for incident_key in incident_keys:
        assert process_incident(night.application.ctx, incident_key)


def load_incident_state(night: Night, like: Night | None = None) -> dict[str, Any]:
    """Return what is stored about every incident, with ids independent of the order of arrival."""
    found = json.loads("\n".join(night.dump_lines(like)))
    for row in found["incidents"]:
        row["incident"]["id"] = f"#{row['number']}"
        del row["board"], row["labels"]  # the results of effects, which the other night has not carried out
    return {"incidents": found["incidents"], "alarms": found["alarms"]}


# E3: eighty hours, which is longer than GitHub's list goes back.


def test_e3_after_80_hours_everything_is_right_and_nothing_is_raked_up(tonight: Night, figures: Figures) -> None:
    shop, mona, ada = tonight.shop, tonight.github.person("mona"), tonight.github.person("ada")
    quiet = [open_incident(tonight, SEV3) for _ in range(choose_size(4, 200))]
    over, answered, edited, locked = (open_incident(tonight) for _ in range(4))
    settle_and_reconcile(tonight)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.clock.at += timedelta(minutes=3)
    mona.comments(shop, over, "/ack\n/resolve it was the cable")
    mona.closes(shop, over)
    mona.comments(shop, answered, "/ack")
    ada.labels(shop, answered, "sev2")
    tonight.github.person(REPORTER).edits_issue(shop, edited, body=SEV1.replace("502", "503 for some"))
    ada.locks(shop, locked)
    came_and_went = open_incident(tonight)
    mona.closes(shop, came_and_went)
    still_there = open_incident(tonight, SEV3)
    unlabelled = tonight.github.person("mona").opens(shop, "A question", "How does one log in?")
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(hours=80)
    reconnect(tonight, url)
    notice_counts = {number: len(tonight.notices(number)) for number in shop.issues}
    keys = {number: tonight.list_posted_keys(number) for number in shop.issues}

    mark, report = tonight.github.call_log_position(), reconcile(tonight)
    assert report.absent_since is not None
    assert report.deliveries.missed == 0, "the list has forgotten them all"
    listings = count_calls(tonight, mark, "/octo/shop/issues")
    assert listings <= -(-len(shop.issues) // 100)
    assert str(tonight.incident(over).status) == "closed"
    assert tonight.incident(over).commander == "mona"
    assert tonight.incident(answered).acknowledged_at is not None
    assert "sev2" in tonight.labels(answered)
    assert "503 for some" in str(tonight.incident(edited).report)
    assert tonight.incident(locked).conversation_locked
    assert tonight.incident(came_and_went).closed_at == tonight.incident(over).closed_at
    assert tonight.incident(still_there).declared_at < tonight.clock.at - timedelta(hours=79)
    assert is_stored(tonight, unlabelled) is False
    assert shop.issue(over).state == shop.issue(came_and_went).state == "closed"
    for number in (over, came_and_went, locked):
        new = set(tonight.list_posted_keys(number)) - set(keys[number])
        assert not [key for key in new if key.startswith("escalate")], "events of the past page no one"
    for number in (*quiet, still_there, answered, edited):
        assert len(tonight.notices(number)) - notice_counts[number] <= 1, "one comment says where it stands"
    figures.record(
        "E3",
        size=f"80 h away, {len(shop.issues)} issues",
        measured=f"0 missing, 0 stale, 0 raked up, {listings} pages",
    )


def is_stored(tonight: Night, number: int) -> bool:
    return any(row["number"] == number for row in json.loads("\n".join(tonight.dump_lines()))["incidents"])


def test_e3_where_nothing_differs_the_list_is_all_that_is_asked_for(tonight: Night) -> None:
    numbers = [open_incident(tonight, SEV3) for _ in range(choose_size(3, 200))]
    settle_and_reconcile(tonight)
    tonight.clock.at += timedelta(hours=80)
    mark = tonight.github.call_log_position()
    report = create_reconciler(tonight).run_due()
    assert report is not None
    assert report.issues.looked == 0
    assert count_calls(tonight, mark, "/octo/shop/issues") <= -(-len(numbers) // 100)
    assert count_calls(tonight, mark, "/timeline") == 0


def test_an_incident_from_before_we_came_is_not_taken_up(tonight: Night) -> None:
    tonight.settle()
    with tonight.database.transaction() as db:
        db.execute("TRUNCATE delivery")
    url = tonight.github.hooks.url
    disconnect(tonight)
    old = open_incident(tonight)
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(hours=90)
    reconnect(tonight, url)
    known = open_incident(tonight, SEV3)
    settle_and_reconcile(tonight)
    tonight.clock.at += timedelta(hours=1)
    disconnect(tonight)
    tonight.github.person("mona").comments(tonight.shop, old, "is this still so?")
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(hours=80)
    reconnect(tonight, url)
    reconcile(tonight)
    reconcile(tonight)
    assert is_stored(tonight, known)
    assert not is_stored(tonight, old)


# E4: drift.


def test_e4_drift_is_told_and_set_right_within_the_hour(tonight: Night, figures: Figures) -> None:
    numbers = [open_incident(tonight, SEV3) for _ in range(choose_size(6, 100))]
    settle_and_reconcile(tonight)
    wrong, stripped, silent = numbers[-3:]
    assert sum(report.drift.open > 0 for report in reconcile_repeatedly(tonight, 16)) == 1, "once an hour"
    with tonight.database.transaction() as db:
        db.execute(
            "UPDATE incident SET state = jsonb_set(state, '{status}', '\"mitigated\"') WHERE number = %s", (wrong,)
        )
        db.execute("DELETE FROM alarm WHERE number = %s", (silent,))
        sync_state.save_checkpoint(db, "drift", tonight.clock.at - timedelta(minutes=57))
    issue = tonight.shop.issue(stripped)
    issue.label_list = [label for label in issue.label_list if label.name != "sev3"]
    drift_before = sum(drift.DRIFT_TOTAL.labels(kind)._value.get() for kind in ("stored", "labels", "alarms"))
    tonight.clock.at += timedelta(minutes=3)
    reports = [reconcile(tonight)]
    found = {one.number: one.kind for report in reports for one in report.drift.differences}
    assert found == {wrong: "stored", stripped: "labels", silent: "alarms"}
    assert sum(
        drift.DRIFT_TOTAL.labels(kind)._value.get() for kind in ("stored", "labels", "alarms")
    ) == drift_before + sum(len(report.drift.differences) for report in reports)
    assert max(report.drift.in_full for report in reports) <= 3 + -(-len(numbers) // 100)
    assert str(tonight.incident(wrong).status) == "triggered"
    assert tonight.labels(wrong) >= {"incident", "sev3"}
    assert "mitigated" not in tonight.labels(wrong)
    assert "sev3" in tonight.labels(stripped)
    assert not [one for report in reconcile_repeatedly(tonight, 16) for one in report.drift.differences], (
        "all is well again"
    )
    figures.record(
        "E4",
        size=f"{len(numbers)} open incidents, 3 rows changed by hand",
        measured=f"{max(report.drift.in_full for report in reports)} in full, 3 reported and healed by the hourly comparison",
    )


def reconcile_repeatedly(tonight: Night, times: int) -> list[ReconcileReport]:
    """Reconcile what is due after each of that many steps of four minutes."""
    reports = []
    for _ in range(times):
        tonight.clock.at += timedelta(minutes=4)
        reports.append(reconcile(tonight))
    return reports


def test_e4_a_board_that_was_lost_comes_back_and_what_is_gone_ends(tonight: Night) -> None:
    lost, gone, closed = (open_incident(tonight, SEV3) for _ in range(3))
    settle_and_reconcile(tonight)
    disconnect(tonight)
    tonight.shop.permit("ada", "admin")
    ada = tonight.github.person("ada")
    (board,) = [one for one in tonight.shop.issue(lost).comments if one.body.startswith("## ")]
    ada.deletes_comment(tonight.shop, board)
    ada.deletes_issue(tonight.shop, gone)
    ada.closes(tonight.shop, closed)
    forget_deliveries(tonight)
    tonight.clock.at += timedelta(minutes=10)
    report = create_reconciler(tonight).run_now(lambda line: None, deep=True)
    tonight.advance_and_settle()
    assert {(one.number, one.kind) for one in report.drift.differences} >= {(lost, "board"), (gone, "gone")}
    assert tonight.board(lost)
    assert tonight.incident(gone).unavailable
    assert str(tonight.incident(closed).status) == "closed"


def forget_deliveries(tonight: Night) -> None:
    """Hide all deliveries so far from GitHub's list."""
    tonight.github.hooks.settle(30)
    everything = list(tonight.github.hooks.deliveries())
    tonight.github.hooks.delay_listing(everything, timedelta(days=30))


# Row 10: a late delivery gives the same result as a prompt one.


@pytest.mark.parametrize("answered", [True, False], ids=["answered", "overdue"])
def test_d7_row10_a_delivery_four_and_a_half_hours_late_gives_the_same_due_times(
    tonight: Night, elsewhere: Night, figures: Figures, answered: bool
) -> None:
    for night in (tonight, elsewhere):
        open_incident(night, SEV3)
        settle_and_reconcile(night)
        url = night.github.hooks.url
        if night is tonight:
            disconnect(night)
        number = open_incident(night)
        night.clock.at += timedelta(minutes=1)
        if answered:
            night.github.person("mona").comments(night.shop, number, "/ack")
        night.github.hooks.settle()
        if night is elsewhere:
            night.settle()
        night.clock.at += timedelta(hours=4.5)
        reconnect(night, url)
        reconcile(night)
        night.settle()
    found, prompt = (load_incident_state(night)["alarms"] for night in (tonight, elsewhere))
    assert found == prompt
    assert found, "there is something to compare"
    if not answered:
        (one,) = tonight.notices(number)
        assert "@ada" in one, "one comment, at the level that is reached by now"
        assert "@grace" in one
    figures.record(
        "D7, Row 10",
        size=f"{'an acknowledged' if answered else 'an unanswered'} sev1 that is heard of 4.5 h late",
        measured="the same" + ("" if answered else ", 1 comment, to the last level"),
    )


def test_a_command_that_came_before_its_opening_counts_once_the_opening_is_found(tonight: Night) -> None:
    open_incident(tonight, SEV3)
    settle_and_reconcile(tonight)
    tonight.github.hooks.hold()
    number = open_incident(tonight)
    tonight.clock.at += timedelta(seconds=30)
    tonight.github.person("ada").unlabels(tonight.shop, number, "incident")
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    held_deliveries = tonight.github.hooks.held_deliveries
    first = [one for one in held_deliveries if one.event == "issue_comment"]
    tonight.github.hooks.release(first)  # the others are lost
    tonight.settle()
    assert not is_stored(tonight, number)
    tonight.clock.at += timedelta(minutes=2)
    assert reconcile(tonight).deliveries.fetched == len(held_deliveries) - len(first)
    assert tonight.incident(number).commander == "mona"
    assert "acknowledged" in tonight.labels(number)


# E1: order.


def play_200_deliveries(tonight: Night) -> None:
    """Play 200 deliveries about 5 issues, 50 seconds apart."""
    shop, people = tonight.shop, [tonight.github.person(login) for login in ("mona", "ada", "hubot")]
    chance, clock = random.Random(7), tonight.clock
    numbers = [open_incident(tonight, body) for body in (SEV1, SEV3, SEV3, SEV1, SEV3)]
    while len(tonight.github.hooks.held_deliveries) < 200:
        clock.at += timedelta(seconds=50)
        number, person = chance.choice(numbers), chance.choice(people)
        deeds: list[Callable[[], object]] = [
            lambda who=person, number=number: who.comments(
                shop, number, chance.choice(["/ack", "/update on it", "/resolve"])
            ),
            lambda who=person, number=number: who.labels(shop, number, chance.choice(["sev2", "sev3", "blue"])),
            lambda who=person, number=number: (who.closes if shop.issue(number).state == "open" else who.reopens)(
                shop, number
            ),
            lambda who=person, number=number: who.edits_issue(shop, number, body=chance.choice([SEV1, SEV3])),
        ]
        chance.choice(deeds)()


@pytest.mark.parametrize(("seed", "many"), choose_size([(0, 6)], [(seed, 250) for seed in range(4)]))
def test_e1_the_order_of_200_events_on_5_issues_does_not_matter(
    tonight: Night, elsewhere: Night, figures: Figures, seed: int, many: int
) -> None:
    """In order in one night, and in random order in another, which knows nothing of the first.

    The thousand orders are split into four tests, so that they can run on several cores.
    """
    elsewhere.github.hooks.hold()
    play_200_deliveries(elsewhere)
    tonight.clock.at = elsewhere.clock.at
    held_deliveries = elsewhere.github.hooks.held_deliveries
    (serial,) = collect_dumps(elsewhere, [held_deliveries], like=elsewhere)
    orders, chance = [], random.Random(seed)
    for _ in range(many):
        order = [*held_deliveries, *chance.sample(held_deliveries, k=len(held_deliveries) // 5)]
        chance.shuffle(order)
        orders.append(order)
    dumps = {serial, *collect_dumps(tonight, orders, like=elsewhere)}
    figures.record(
        "E1",
        size=f"{many} random permutations of {len(held_deliveries)} events on 5 issues, 20 % of them twice, seed {seed}",
        measured=f"{len(dumps)} state, {hashlib.sha256(serial.encode()).hexdigest()[:12]}",
    )
    assert len(dumps) == 1


def collect_dumps(night: Night, orders: list[list[Any]], like: Night) -> set[str]:
    """Return the distinct final states after each of these orders of the deliveries of the night `like`."""
    dumps, chance = set(), random.Random(2)
    for nth, order in enumerate(orders):
        with night.database.transaction() as db:
            for table in TABLES:  # quicker than TRUNCATE, which creates all their files anew
                db.execute(f"DELETE FROM {table}")  # noqa: S608
        for part in split_into_batches(order, chance if nth % 2 else None):
            with night.database.transaction() as db:
                for delivery in part:
                    night.store_delivery(db, delivery.guid, delivery.event, delivery.body)
            ingest_only(night)
        dumps.add(json.dumps(load_incident_state(night, like), sort_keys=True))
    return dumps


def split_into_batches(order: list[Any], chance: random.Random | None) -> Iterator[list[Any]]:
    """Yield all at once or, given `chance`, in two to four batches."""
    places = sorted(chance.sample(range(1, len(order)), k=chance.randint(1, 3))) if chance else []
    for start, end in zip([0, *places], [*places, len(order)], strict=True):
        yield order[start:end]


# MUSTER_PULL: no web receiver is open.


def test_pulling_is_enough_and_costs_nothing_while_nothing_happens(tonight: Night) -> None:
    disconnect(tonight)
    tonight.settle()
    pulling = Reconciler(
        tonight.application.ctx, tonight.application.client, scan_interval=timedelta(seconds=5), pull=True
    )
    pulling.run_due()
    number = open_incident(tonight)
    for text in ("", "/ack", "/resolve"):
        if text:
            tonight.github.person("mona").comments(tonight.shop, number, text)
        tonight.github.hooks.settle()
        tonight.clock.at += timedelta(seconds=5)
        assert pulling.run_due() is not None
        tonight.settle()
    assert "resolved" in tonight.labels(number)
    for _ in range(4):  # our own changes are delivered as well
        tonight.clock.at += timedelta(seconds=5)
        pulling.run_due()
        tonight.settle()
    mark = tonight.github.call_log_position()
    for _ in range(20):
        tonight.clock.at += timedelta(seconds=5)
        assert pulling.run_due() is not None
    made = [call for call in tonight.github.calls_since(mark) if "deliveries" in call.path]
    assert len(made) == 20
    assert {call.status for call in made} == {304}, "unchanged, and free"
    assert pulling.run_due() is None, "not more often than every five seconds"


def test_who_is_told_to_wait_waits(tonight: Night) -> None:
    open_incident(tonight)
    settle_and_reconcile(tonight)
    tonight.github.faults.add("status", path="/app/hook/deliveries", status=429, headers={"retry-after": "137"})
    reconciler = create_reconciler(tonight)
    tonight.clock.at += timedelta(minutes=1)
    with pytest.raises(DeliveryFailed):
        reconciler.run_due()
    mark = tonight.github.call_log_position()
    tonight.clock.at += timedelta(seconds=136)
    assert reconciler.run_due() is None
    assert tonight.github.calls_since(mark) == []
    tonight.clock.at += timedelta(seconds=2)
    assert reconciler.run_due() is not None


def test_only_one_process_compares(tonight: Night) -> None:
    open_incident(tonight)
    tonight.advance_and_settle()
    with sync_state.acquire_sync_lock(tonight.database) as mine:
        assert mine
        assert create_reconciler(tonight).run_due() is None
    assert create_reconciler(tonight).run_due() is not None


def test_a_crash_in_the_middle_of_it_forgets_nothing(tonight: Night) -> None:
    """The catch-up of a repository stays due, whatever the next process finds out about the absence."""
    number = open_incident(tonight)
    settle_and_reconcile(tonight)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(hours=80)
    reconnect(tonight, url)
    tonight.github.faults.add("status", path="/octo/shop/issues", status=502, times=1)
    report = create_reconciler(tonight).run_due()
    assert report is not None
    assert report.failures
    assert tonight.incident(number).acknowledged_at is None
    tonight.clock.at += timedelta(minutes=1)
    assert reconcile(tonight).absent_since is None
    assert tonight.incident(number).acknowledged_at is not None


@pytest.fixture
def outside(database: Database, tmp_path: Path) -> Iterator[tuple[SandboxGitHub, dict[str, str]]]:
    """Yield a sandbox GitHub on the real clock, and the environment of a process that opens no port."""
    with SandboxGitHub(utc_now) as github:
        github.add_person("mona")
        github.add_repository("octo/shop").permit("mona", "write")
        yield (
            github,
            {
                "PATH": os.environ["PATH"],
                "PYTHONPATH": str(Path(app.__file__).parents[1]),
                "DATABASE_URL": database.url,
                "GITHUB_API_URL": github.api_url,
                "GITHUB_APP_ID": str(github.app.app_id),
                "GITHUB_APP_PRIVATE_KEY": github.app.private_key_pem,
                "GITHUB_WEBHOOK_SECRET": github.app.webhook_secret,
                "MUSTER_PULL": "1",
                "MUSTER_PULL_SECONDS": "1",
                "MUSTER_LOG": "json",
            },
        )


def test_a_worker_alone_serves_without_an_open_port(
    outside: tuple[SandboxGitHub, dict[str, str]], tmp_path: Path
) -> None:
    github, environment = outside
    shop = github.world.repository("octo", "shop")
    first = github.person("mona").opens(shop, "Checkout is down", SEV1, ["incident"])
    github.hooks.settle()
    done = run_muster("reconcile", "--json", folder=tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["deliveries"]["taken"] >= 2

    def count_own_comments(number: int) -> int:
        return sum(one.author.kind == "Bot" for one in shop.issue(number).comments)

    with start_worker(environment, tmp_path):
        assert wait_until(lambda: count_own_comments(first) == 2), read_log_tail(tmp_path)
        second = github.person("mona").opens(shop, "Login is down", SEV1, ["incident"])
        assert wait_until(lambda: count_own_comments(second) == 2), read_log_tail(tmp_path)
        again = run_muster("reconcile", "--repo", "octo/shop", folder=tmp_path, **environment)
    assert again.returncode == 0
    assert "Open incidents: 2" in again.stdout


def test_what_is_asked_is_as_github_describes_it(tonight: Night, checked: CheckedWire) -> None:
    number = open_incident(tonight)
    settle_and_reconcile(tonight)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(minutes=6)
    reconnect(tonight, url)
    report = create_reconciler(tonight).run_now(lambda line: None, deep=True)
    assert report.deliveries.fetched == 1
    assert report.issues.events == 1
    tonight.advance_and_settle()
    tonight.clock.at += timedelta(minutes=3)
    assert create_reconciler(tonight).run_now(lambda line: None, deep=True).drift.in_full == 1
    assert checked.faults == []


def test_what_was_found_is_told_so_that_a_person_knows_what_to_do(tonight: Night) -> None:
    number = open_incident(tonight)
    settle_and_reconcile(tonight)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(minutes=6)
    tonight.github.person("mona").comments(tonight.shop, number, "we look into it")
    reconnect(tonight, url)
    found = format_report(create_reconciler(tonight).run_now(lambda line: None))
    assert found[0] == "Nothing was compared since 2026-03-14 09:02 UTC."
    assert found[1].startswith(
        "Issues: 1 updated in 1 repository, 1 looked into: 0 incidents and 1 event had been missed"
    )
    assert found[2].endswith(" listed, 1 of them missing, 1 fetched.")
    assert found[3:5] == [
        "A running `muster serve` or `muster worker` takes them in.",
        "1 delivery of the last seconds may still come in: left for now.",
    ]
    assert found[5].startswith("Open incidents: 1, ")


class SlowListWire(Wire):
    """A wire on which the list of issues takes two seconds."""

    def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
        if request.url.path.endswith("/octo/shop/issues"):
            time.sleep(2)


def test_e3_no_alarm_rings_before_the_issues_have_been_looked_at(tonight: Night) -> None:
    """A real queue starts after 80 hours, with alarms long overdue for an incident that has been closed."""
    number = open_incident(tonight)
    settle_and_reconcile(tonight)
    url = tonight.github.hooks.url
    disconnect(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack\n/resolve")
    tonight.github.person("mona").closes(tonight.shop, number)
    tonight.github.hooks.settle()
    tonight.clock.at += timedelta(hours=80)
    wire = tonight.wire = SlowListWire()
    reconnect(tonight, url)
    keys_before = set(tonight.list_posted_keys(number))
    queue = Queue(tonight.application.ctx, poll_interval_seconds=0.1, reconciler=create_reconciler(tonight))
    working = threading.Thread(target=queue.run)
    working.start()
    try:
        assert wait_until(lambda: load_status(tonight, number) == "closed" and "resolved" in tonight.labels(number))
        assert wait_until(queue.is_idle)
    finally:
        queue.stop()
        working.join(30)
        wire.end()
    assert not [key for key in set(tonight.list_posted_keys(number)) - keys_before if key.startswith("escalate")]


def load_status(tonight: Night, number: int) -> str:
    return str(tonight.incident(number).status)
