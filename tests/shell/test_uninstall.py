"""Uninstalling the App stops all work at once and deletes the data within a day."""

from __future__ import annotations

from datetime import timedelta

from app.rate_limit import APP
from app.store.database import Database
from app.worker.pipeline.uninstall import delete_uninstalled
from app.worker.sync.reconciler import Reconciler
from tests.figures import Figures
from tests.shell.night import SEV1, TABLES, Night

UNCHECKED_TABLES = frozenset({"delivery", "uninstalled_repository", "sync_checkpoint", "audit_finding"})
"""Tables that hold nothing about a repository, or only the ids of deliveries."""


def open_incident(tonight: Night) -> int:
    """Open an incident that has posted its notices and has one comment waiting for GitHub."""
    number = tonight.github.person("mona").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.github.faults.add("status", status=503, method="POST", path="/comments", times=1)
    tonight.github.person("mona").comments(tonight.shop, number, "/update the secret cause is the cache")
    tonight.settle()
    return number


def count_rows_by_table(database: Database) -> dict[str, int]:
    """Count the rows about repositories in each table; empty tables are left out."""
    found = {table: count_rows(database, f"FROM {table}") for table in TABLES if table not in UNCHECKED_TABLES}
    found["rate_limit"] = count_rows(database, f"FROM rate_limit WHERE installation <> {APP}")
    return {table: n for table, n in found.items() if n}


def count_pending_work(database: Database) -> int:
    return count_rows(database, "FROM outbox WHERE state IN ('pending', 'in_flight')") + count_rows(
        database, "FROM alarm"
    )


def count_rows(database: Database, from_clause: str) -> int:
    with database.transaction() as db:
        row = db.execute(f"SELECT count(*) AS n {from_clause}").fetchone()
    return int(row["n"]) if row else 0


def load_body_text(database: Database) -> str:
    """Return the stored bodies of all deliveries, joined."""
    with database.transaction() as db:
        return " ".join(bytes(row["body"]).decode() for row in db.execute("SELECT body FROM delivery").fetchall())


def test_c6_an_app_that_is_uninstalled_asks_no_more_and_forgets_within_a_day(tonight: Night, figures: Figures) -> None:
    open_incident(tonight)
    assert count_pending_work(tonight.database) > 1
    assert "secret cause" in load_body_text(tonight.database)
    tonight.github.uninstall("octo")
    tonight.settle()
    assert count_pending_work(tonight.database) == 0, "cancelled at once"
    mark, uninstalled_at = tonight.github.call_log_position(), tonight.clock()
    tonight.run_for(minutes=59)
    assert tonight.github.calls_since(mark) == [], "and no alarm fires"
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0, (
        "the grace period of one hour, so that an accidental uninstall can be undone"
    )
    tonight.run_for(minutes=1)
    Reconciler(tonight.application.ctx, tonight.application.client).run_due()
    tonight.settle()  # deliveries listed by GitHub that never arrived, such as the first installation
    elapsed = tonight.clock() - uninstalled_at
    assert count_rows_by_table(tonight.database) == {}
    assert "secret cause" not in load_body_text(tonight.database)
    with tonight.database.transaction() as db:
        found = db.execute("SELECT event, state, repo_id FROM delivery WHERE position('octo/shop'::bytea in body) > 0")
        assert found.fetchall() == []
    assert count_rows(tonight.database, "FROM delivery") > 0, "their ids stay, so that none is fetched or taken again"
    figures.record(
        "C6",
        size="uninstalled, an order that waits, simulated clock",
        measured=f"0 calls and 0 alarms from the event on, 0 rows and 0 bodies after {elapsed.total_seconds() / 3600:g} h",
    )


def test_c6_one_repository_of_several_is_forgotten_and_its_neighbour_is_not(tonight: Night) -> None:
    """The repository is public, so it could still be read: what counts is the installation."""
    number = open_incident(tonight)
    site = tonight.github.add_repository("octo/site")
    site.permit("mona", "write")
    other = tonight.github.person("mona").opens(site, "The site is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.github.uninstall("octo", site)
    tonight.settle()
    tonight.run_for(minutes=61)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    assert tonight.incident(number).unavailable == ""
    assert count_rows(tonight.database, f"FROM incident WHERE number = {other} AND repo_id = {site.id}") == 0
    assert "The site is down" not in load_body_text(tonight.database)
    assert "secret cause" in load_body_text(tonight.database)


def test_c6_whoever_installs_it_again_within_the_hour_keeps_everything(tonight: Night) -> None:
    """Also when only GitHub's list shows the installation, because the delivery has not arrived yet."""
    for webhook_arrives in (True, False):
        number = open_incident(tonight)
        tonight.github.uninstall("octo", tonight.shop)
        tonight.settle()
        tonight.clock.at += timedelta(minutes=10)
        if not webhook_arrives:
            url, tonight.github.hooks.url = tonight.github.hooks.url, None
        tonight.github.install(tonight.shop)
        tonight.settle()
        if not webhook_arrives:
            tonight.github.hooks.url = url
        tonight.clock.at += timedelta(hours=1)
        assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 0
        assert count_rows(tonight.database, "FROM uninstalled_repository") == 0
        assert tonight.incident(number).number == number


def test_c6_while_github_does_not_answer_it_waits_but_not_beyond_the_day(tonight: Night) -> None:
    open_incident(tonight)
    tonight.github.uninstall("octo")
    tonight.settle()
    tonight.github.faults.add("status", status=503, path="/app/installations", times=1000)
    uninstalled_at = tonight.clock()
    while count_rows_by_table(tonight.database) and tonight.clock() < uninstalled_at + timedelta(days=2):
        tonight.clock.at += timedelta(hours=1)
        delete_uninstalled(tonight.application.ctx, tonight.application.client)
    assert timedelta(hours=20) <= tonight.clock() - uninstalled_at <= timedelta(hours=24)


def test_c6_what_comes_late_is_forgotten_too(tonight: Night) -> None:
    open_incident(tonight)
    with tonight.database.transaction() as db:
        found = db.execute("SELECT body FROM delivery WHERE event = 'issue_comment'").fetchall()
    body = next(bytes(row["body"]) for row in found if b"secret cause" in bytes(row["body"]))
    tonight.github.uninstall("octo")
    tonight.settle()
    tonight.clock.at += timedelta(hours=2)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "late", "issue_comment", body + b" ")
    tonight.settle()
    assert "secret cause" in load_body_text(tonight.database)
    tonight.clock.at += timedelta(hours=6)
    assert delete_uninstalled(tonight.application.ctx, tonight.application.client) == 1
    assert count_rows_by_table(tonight.database) == {}
    assert "secret cause" not in load_body_text(tonight.database)
    tonight.clock.at += timedelta(days=5)
    delete_uninstalled(tonight.application.ctx, tonight.application.client)
    assert count_rows(tonight.database, "FROM uninstalled_repository") == 0, "and in the end the fact itself"
