"""Uninstalling the App stops all work at once and deletes the data within a day."""

from __future__ import annotations

from datetime import timedelta

from app.rate_limit import APP
from app.store.database import Database
from app.worker.pipeline.uninstall import delete_uninstalled
from app.worker.sync.reconciler import Reconciler
from tests.figures import Figures
from tests.shell.night import SEV1, TABLES, Night

KEPT = frozenset({"delivery", "uninstalled_repository", "sync_checkpoint", "audit_finding"})
"""Tables that hold nothing about a repository, or only the ids of deliveries."""


def opens(tonight: Night) -> int:
    """Open an incident that has posted its notices and has one comment waiting for GitHub."""
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.later()
    tonight.github.faults.add("status", status=503, method="POST", path="/comments", times=1)
    tonight.github.person("mona").comments(tonight.shop, number, "/update the secret cause is the cache")
    tonight.settle()
    return number


def rows(database: Database) -> dict[str, int]:
    """Count the rows about repositories in each table; empty tables are left out."""
    found = {table: count(database, f"FROM {table}") for table in TABLES if table not in KEPT}
    found["rate_limit"] = count(database, f"FROM rate_limit WHERE installation <> {APP}")
    return {table: n for table, n in found.items() if n}


def undone(database: Database) -> int:
    return count(database, "FROM outbox WHERE state IN ('pending', 'in_flight')") + count(database, "FROM alarm")


def count(database: Database, what: str) -> int:
    with database.transaction() as db:
        row = db.execute(f"SELECT count(*) AS n {what}").fetchone()
    return int(row["n"]) if row else 0


def bodies(database: Database) -> str:
    """Return the stored bodies of all deliveries, joined."""
    with database.transaction() as db:
        return " ".join(bytes(row["body"]).decode() for row in db.execute("SELECT body FROM delivery").fetchall())


def test_c6_an_app_that_is_uninstalled_asks_no_more_and_forgets_within_a_day(tonight: Night, figures: Figures) -> None:
    opens(tonight)
    assert undone(tonight.database) > 1
    assert "secret cause" in bodies(tonight.database)
    tonight.github.uninstall("octo")
    tonight.settle()
    assert undone(tonight.database) == 0, "cancelled at once"
    mark, left = tonight.github.call_log_position(), tonight.clock()
    tonight.passes(minutes=59)
    assert tonight.github.calls_since(mark) == [], "and no alarm fires"
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0, (
        "the grace period of one hour, so that an accidental uninstall can be undone"
    )
    tonight.passes(minutes=1)
    Reconciler(tonight.application.ctx, tonight.application.client).run_due()
    tonight.settle()  # deliveries listed by GitHub that never arrived, such as the first installation
    gone = tonight.clock() - left
    assert rows(tonight.database) == {}
    assert "secret cause" not in bodies(tonight.database)
    with tonight.database.transaction() as db:
        found = db.execute("SELECT event, state, repo_id FROM delivery WHERE position('octo/shop'::bytea in body) > 0")
        assert found.fetchall() == []
    assert count(tonight.database, "FROM delivery") > 0, "their ids stay, so that none is fetched or taken again"
    figures.record(
        "C6",
        size="uninstalled, an order that waits, simulated clock",
        measured=f"0 calls and 0 alarms from the event on, 0 rows and 0 bodies after {gone.total_seconds() / 3600:g} h",
    )


def test_c6_one_repository_of_several_is_forgotten_and_its_neighbour_is_not(tonight: Night) -> None:
    """The repository is public, so it could still be read: what counts is the installation."""
    number = opens(tonight)
    site = tonight.github.add_repository("octo/site")
    site.permit("mona", "write")
    other = tonight.github.person("mona").opens(site, "The site is down", SEV1, ["incident"])
    tonight.later()
    tonight.github.uninstall("octo", site)
    tonight.settle()
    tonight.passes(minutes=61)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    assert tonight.incident(number).unavailable == ""
    assert count(tonight.database, f"FROM incident WHERE number = {other} AND repo_id = {site.id}") == 0
    assert "The site is down" not in bodies(tonight.database)
    assert "secret cause" in bodies(tonight.database)


def test_c6_whoever_installs_it_again_within_the_hour_keeps_everything(tonight: Night) -> None:
    """Also when only GitHub's list shows the installation, because the delivery has not arrived yet."""
    for told in (True, False):
        number = opens(tonight)
        tonight.github.uninstall("octo", tonight.shop)
        tonight.settle()
        tonight.clock.at += timedelta(minutes=10)
        if not told:
            url, tonight.github.hooks.url = tonight.github.hooks.url, None
        tonight.github.install(tonight.shop)
        tonight.settle()
        if not told:
            tonight.github.hooks.url = url
        tonight.clock.at += timedelta(hours=1)
        assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0
        assert count(tonight.database, "FROM uninstalled_repository") == 0
        assert tonight.incident(number).number == number


def test_c6_while_github_does_not_answer_it_waits_but_not_beyond_the_day(tonight: Night) -> None:
    opens(tonight)
    tonight.github.uninstall("octo")
    tonight.settle()
    tonight.github.faults.add("status", status=503, path="/app/installations", times=1000)
    left = tonight.clock()
    while rows(tonight.database) and tonight.clock() < left + timedelta(days=2):
        tonight.clock.at += timedelta(hours=1)
        delete_uninstalled(tonight.application.ctx, tonight.application.client)
    assert timedelta(hours=20) <= tonight.clock() - left <= timedelta(hours=24)


def test_c6_what_comes_late_is_forgotten_too(tonight: Night) -> None:
    opens(tonight)
    with tonight.database.transaction() as db:
        found = db.execute("SELECT body FROM delivery WHERE event = 'issue_comment'").fetchall()
    body = next(bytes(row["body"]) for row in found if b"secret cause" in bytes(row["body"]))
    tonight.github.uninstall("octo")
    tonight.settle()
    tonight.clock.at += timedelta(hours=2)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    with tonight.database.transaction() as db:
        tonight.delivered(db, "late", "issue_comment", body)
    tonight.settle()
    assert "secret cause" in bodies(tonight.database)
    tonight.clock.at += timedelta(hours=6)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    assert rows(tonight.database) == {}
    assert "secret cause" not in bodies(tonight.database)
    tonight.clock.at += timedelta(days=5)
    delete_uninstalled(tonight.application.ctx, tonight.application.client)
    assert count(tonight.database, "FROM uninstalled_repository") == 0, "and in the end the fact itself"
