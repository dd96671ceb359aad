"""How long deliveries are kept, on the real database: as each repository's policy says, and never under a week."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import pytest

from app.store import inbox, policies
from app.store.inbox import Delivery, InboxResult
from app.store.policies import PolicyScope
from app.worker.jobs import Queue
from app.worker.monitoring.retention import delete_expired_deliveries
from tests.shell.night import POLICY, SEV1, Night

AGES_DAYS = (0, 6, 8, 13, 15, 29, 31, 59, 61, 400)


def add_deliveries(
    tonight: Night, repo: int | None, state: str = "processed", ages: tuple[float, ...] = AGES_DAYS
) -> None:
    """Add deliveries of that repository, one of each age in days."""
    with tonight.database.transaction() as db:
        for age in ages:
            guid, received = f"{repo}/{state}/{age}", tonight.clock() - timedelta(days=age)
            inbox.store_delivery(db, Delivery("hook", guid, "issues", b"body of " + guid.encode(), received))
            db.execute("UPDATE delivery SET state = %s, repo_id = %s WHERE guid = %s", (state, repo, guid))


def list_remaining_ages(tonight: Night, repo: int | None, state: str = "processed") -> tuple[float, ...]:
    """Return the ages in days of those that are still stored."""
    found = [guid.rsplit("/", 1) for guid in tonight.load_delivery_states()]
    return tuple(sorted(float(age) for of, age in found if of == f"{repo}/{state}"))


def save_policy(tonight: Night, repo: int, text: str | None, base: str | None = None) -> None:
    with tonight.database.transaction() as db:
        policies.save_stored_policy(db, PolicyScope.repository(repo), policies.StoredPolicy(text=text, base_text=base))


def policy_with_retention(length: str) -> str:
    return POLICY + f"retention: {{deliveries: {length}}}\n"


@pytest.mark.parametrize(
    ("text", "base", "oldest"),
    [
        (None, None, 29),
        (POLICY, None, 29),
        ("", None, 29),
        (policy_with_retention("7d"), None, 6),
        (policy_with_retention("2w"), None, 13),
        (policy_with_retention("60d"), None, 59),
        (policy_with_retention("365d"), None, 61),
        (policy_with_retention("off"), None, 400),
        ("extends: org\n", policy_with_retention("2w"), 13),
        (None, policy_with_retention("2w"), 13),
        ("extends: org\nretention: {deliveries: 60d}\n", policy_with_retention("2w"), 59),
        (POLICY + "# no retention here\n", None, 29),
        (policy_with_retention("3d"), None, 400),  # no valid file, so its retention is unknown
    ],
)
def test_each_repository_keeps_them_as_its_policy_says(
    tonight: Night, text: str | None, base: str | None, oldest: int
) -> None:
    save_policy(tonight, 71, text, base)
    for repo in (71, 72, None):
        add_deliveries(tonight, repo)
    assert delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    assert list_remaining_ages(tonight, 71) == tuple(age for age in AGES_DAYS if age <= oldest)
    assert list_remaining_ages(tonight, 72) == list_remaining_ages(tonight, None) == (0, 6, 8, 13, 15, 29), (
        "the neighbours keep theirs"
    )


@pytest.mark.parametrize(
    ("state", "goes"), [("processed", True), ("ignored", True), ("dead", False), ("received", False), ("routed", False)]
)
def test_only_what_is_settled_goes(tonight: Night, state: str, goes: bool) -> None:
    add_deliveries(tonight, 71, state)
    assert delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    assert list_remaining_ages(tonight, 71, state) == ((0, 6, 8, 13, 15, 29) if goes else AGES_DAYS)


def test_what_comes_again_within_a_week_is_known(tonight: Night) -> None:
    save_policy(tonight, 71, policy_with_retention("7d"))
    add_deliveries(tonight, 71, ages=(6.99, 7.01))
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    with tonight.database.transaction() as db:
        again = [
            inbox.store_delivery(
                db,
                Delivery(
                    "hook", f"71/processed/{age}", "issues", f"body of 71/processed/{age}".encode(), tonight.clock()
                ),
            )
            for age in (6.99, 7.01)
        ]
    assert again == [InboxResult.KNOWN, InboxResult.NEW]


def test_a_batch_at_a_time_the_oldest_first(tonight: Night) -> None:
    save_policy(tonight, 72, policy_with_retention("2w"))
    add_deliveries(tonight, 71, ages=(31, 32, 33, 34, 35))
    add_deliveries(tonight, 72, ages=(15, 16))
    steps = []
    for _ in range(3):
        done = delete_expired_deliveries(tonight.application.ctx, tonight.clock(), max_rows=2)
        steps.append((done, list_remaining_ages(tonight, 71), list_remaining_ages(tonight, 72)))
    assert steps == [(False, (31, 32, 33), ()), (False, (31,), ()), (True, (), ())]


@contextmanager
def lock_delivery(tonight: Night, guid: str) -> Iterator[None]:
    """Hold a lock on that row."""
    with tonight.database.transaction() as db:
        db.execute("SELECT 1 FROM delivery WHERE guid = %s FOR UPDATE", (guid,))
        yield


def test_it_waits_for_nobody(tonight: Night) -> None:
    add_deliveries(tonight, 71, ages=(31, 32))
    with lock_delivery(tonight, "71/processed/32"):
        assert delete_expired_deliveries(tonight.application.ctx, tonight.clock())
        assert list_remaining_ages(tonight, 71) == (32,)
    assert delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    assert list_remaining_ages(tonight, 71) == ()


def test_the_beat_forgets_and_the_incident_stays(tonight: Night) -> None:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    before = [line for line in tonight.dump_lines() if "deliver" not in line]
    settled = {guid for guid, state in tonight.load_delivery_states().items() if state in ("processed", "ignored")}
    assert settled
    queue = Queue(tonight.application.ctx)
    queue.sweep()
    assert settled <= tonight.load_delivery_states().keys()
    tonight.clock.at += timedelta(days=31)
    queue.sweep()
    assert settled <= tonight.load_delivery_states().keys(), "once an hour is enough"
    Queue(tonight.application.ctx).sweep()
    assert settled.isdisjoint(tonight.load_delivery_states())
    assert [line for line in tonight.dump_lines() if "deliver" not in line] == before
    assert tonight.board(number)
