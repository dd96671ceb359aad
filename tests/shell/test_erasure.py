"""Texts of issues that were deleted on GitHub are erased after a week, and those of forgotten ones at once (FC-S17)."""

from __future__ import annotations

import hashlib
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from app.bootstrap import create_offline_context, rebuild_incidents
from app.cli.forget import ForgetError, run_forget
from app.store.database import Database
from app.worker.monitoring.retention import delete_expired_deliveries
from app.worker.sync.reconciler import Reconciler
from tests.shell.night import SEV1, TABLES, Night
from tests.shell.test_commands_line import run_muster

REGULATED = f"{SEV1}\n### May personal data be exposed?\n\nYes\n"
SECRET = "the secret cause is the cache"


def open_incident(tonight: Night, title: str = "Checkout is down", body: str = SEV1) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, title, body, ["incident"])
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, f"/update {SECRET}")
    tonight.advance_and_settle()
    return number


def dump_everything(database: Database) -> str:
    """Return every value of every table, as text; bodies decoded."""
    with database.transaction() as db:
        tables = [
            row["name"]
            for row in db.execute(
                "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema()"
                " AND table_type = 'BASE TABLE'"
            )
        ]
        assert set(TABLES) <= set(tables)
        rows = [row for table in tables for row in db.execute(f"SELECT * FROM {table}").fetchall()]  # noqa: S608
    return "\n".join(
        bytes(value).decode("utf-8", "replace") if isinstance(value, bytes | memoryview) else str(value)
        for row in rows
        for value in row.values()
    )


def load_tombstone(tonight: Night, number: int) -> dict[str, Any]:
    with tonight.database.transaction() as db:
        row = db.execute("SELECT * FROM tombstone WHERE number = %s", (number,)).fetchone()
    assert row is not None
    return dict(row)


def delete_issue(tonight: Night, number: int) -> None:
    tonight.shop.permit("ada", "admin")
    tonight.github.person("ada").deletes_issue(tonight.shop, number)
    tonight.settle()


def test_fc_s17_a_deleted_issue_is_erased_after_a_week(tonight: Night) -> None:
    number, other = open_incident(tonight), open_incident(tonight, "The site is down")
    delete_issue(tonight, number)
    tonight.clock.at += timedelta(days=6, hours=23)
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    assert "Checkout is down" in dump_everything(tonight.database)
    tonight.clock.at += timedelta(hours=1)
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    text = dump_everything(tonight.database)
    assert "Checkout is down" not in text
    assert text.count(SECRET) > 0, "that of the other incident stays"
    assert tonight.incident(other).title == "The site is down"
    tombstone = load_tombstone(tonight, number)
    assert (tombstone["reason"], tombstone["incident_id"]) == ("deleted", "INC-2026-0314-001")
    assert tombstone["regulatory"] == {}, "no regulation applied"


def test_fc_s17_an_issue_that_was_no_incident_is_erased_too(tonight: Night) -> None:
    number = tonight.github.person("stranger").opens(tonight.shop, "My phone number", "555 0199")
    tonight.settle()
    delete_issue(tonight, number)
    tonight.clock.at += timedelta(days=7)
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    assert "555 0199" not in dump_everything(tonight.database)


def test_fc_s17_what_a_regulation_needs_stays(tonight: Night) -> None:
    number = open_incident(tonight, body=REGULATED)
    with tonight.database.transaction() as db:
        row = db.execute("SELECT guid, body FROM delivery WHERE number = %s LIMIT 1", (number,)).fetchone()
    assert row is not None
    guid, body = row["guid"], bytes(row["body"])
    delete_issue(tonight, number)
    tonight.clock.at += timedelta(days=7)
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    found = load_tombstone(tonight, number)
    assert SECRET not in dump_everything(tonight.database)
    (deadline,) = found["regulatory"]["deadlines"]
    assert deadline["regulation"] == "gdpr-article-33"
    assert deadline["start"] == "2026-03-14T09:00:00+00:00"
    assert deadline["due"] == "2026-03-17T09:00:00+00:00"
    assert found["regulatory"]["entries"]
    salt, hashes = bytes(found["salt"]), found["text_hashes"]
    assert hashes["title"] == hashlib.sha256(salt + b"Checkout is down").hexdigest()
    assert hashes[f"delivery/{guid}"] == hashlib.sha256(salt + body).hexdigest()


def test_fc_s17_nothing_brings_an_erased_text_back(tonight: Night) -> None:
    number = open_incident(tonight)
    with tonight.database.transaction() as db:
        late = [
            (row["event"], bytes(row["body"]))
            for row in db.execute("SELECT event, body FROM delivery WHERE number = %s", (number,)).fetchall()
        ]
    delete_issue(tonight, number)
    tonight.clock.at += timedelta(days=7)
    delete_expired_deliveries(tonight.application.ctx, tonight.clock())
    with tonight.database.transaction() as db:
        for nth, (event, body) in enumerate(late):
            tonight.store_delivery(db, f"late-{nth}", event, body)
    tonight.settle()
    assert SECRET not in dump_everything(tonight.database)
    assert "Checkout is down" not in dump_everything(tonight.database)
    Reconciler(tonight.application.ctx, tonight.application.client).run_now(lambda line: None, deep=True)
    tonight.settle()
    assert "Checkout is down" not in dump_everything(tonight.database)


def test_fc_s17_a_deleted_comment_under_another_name_deletes_no_issue(tonight: Night) -> None:
    number = open_incident(tonight)
    comment = tonight.github.person("mona").comments(tonight.shop, number, "never mind")
    tonight.github.person("mona").deletes_comment(tonight.shop, comment)
    tonight.settle()
    with tonight.database.transaction() as db:
        bodies = [bytes(row["body"]) for row in db.execute("SELECT body FROM delivery WHERE event = 'issue_comment'")]
        (body,) = [one for one in bodies if json.loads(one)["action"] == "deleted"]
        tonight.store_delivery(db, "renamed", "issues", body)
    tonight.settle()
    with tonight.database.transaction() as db:
        assert db.execute("SELECT 1 FROM tombstone").fetchone() is None


def forget(tonight: Night, repo: str, issue: int | None, *, yes: bool = True, answer: str | None = None) -> int:
    ctx = create_offline_context(tonight.database, tonight.clock)
    ask = None if answer is None else (lambda question: answer)
    return run_forget(ctx, repo, issue, yes=yes, as_json=True, ask=ask)


def test_fc_s17_a_forgotten_incident_is_erased_at_once_and_stays_so(
    tonight: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    number, other = open_incident(tonight), open_incident(tonight, "The site is down")
    capsys.readouterr()
    assert forget(tonight, "Octo/Shop", number) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["repository"] == "octo/shop"
    assert told["erased"]["incidents"] == 1
    assert told["erased"]["deliveries"] > 1
    assert "Checkout is down" not in dump_everything(tonight.database)
    assert tonight.incident(other).title == "The site is down"
    # The issue still stands on GitHub: neither what happens there nor a rebuild or a comparison brings it back.
    tonight.github.person("mona").comments(tonight.shop, number, f"/update {SECRET} for all")
    tonight.run_for(minutes=30)
    assert next(iter(rebuild_incidents(tonight.application, "octo/shop", None))).endswith("is not restored")
    Reconciler(tonight.application.ctx, tonight.application.client).run_now(lambda line: None, deep=True)
    tonight.settle()
    text = dump_everything(tonight.database)
    assert "Checkout is down" not in text
    assert f"{SECRET} for all" not in text


def test_fc_s17_a_forgotten_repository_leaves_nothing_but_tombstones(
    tonight: Night, capsys: pytest.CaptureFixture[str]
) -> None:
    number = open_incident(tonight)
    tonight.github.person("stranger").opens(tonight.shop, "No incident", "555 0199")
    tonight.settle()
    capsys.readouterr()
    assert forget(tonight, str(tonight.shop.id), None) == 0
    assert json.loads(capsys.readouterr().out)["tombstones"] == 1
    text = dump_everything(tonight.database)
    for erased in ("Checkout is down", SECRET, "555 0199", "octo/shop", "Mona Lisa"):
        assert erased not in text
    assert load_tombstone(tonight, number)["reason"] == "forgotten"
    with pytest.raises(ForgetError, match="nothing is stored"):
        forget(tonight, "octo/shop", None)
    new = open_incident(tonight, "Down again")
    assert tonight.incident(new).id == "INC-2026-0314-002", "a number is never given twice"


def test_fc_s17_forgetting_is_confirmed(tonight: Night, capsys: pytest.CaptureFixture[str]) -> None:
    number = open_incident(tonight)
    with pytest.raises(ForgetError, match="add --yes"):
        forget(tonight, "octo/shop", number, yes=False)
    with pytest.raises(ForgetError, match="nothing was erased"):
        forget(tonight, "octo/shop", number, yes=False, answer="no\n")
    assert tonight.incident(number)
    assert forget(tonight, "octo/shop", number, yes=False, answer="yes\n") == 0


def test_fc_s17_the_command_line(tmp_path: Path, tonight: Night) -> None:
    number = open_incident(tonight)
    url = tonight.database.url
    done = run_muster("forget", "--repo", "octo/shop", "--issue", str(number), folder=tmp_path, DATABASE_URL=url)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    done = run_muster("forget", "--repo", "octo/none", "--yes", folder=tmp_path, DATABASE_URL=url)
    assert (done.returncode, done.stdout) == (1, "")
    words = ("forget", "--repo", "octo/shop", "--issue", str(number), "--yes")
    done = run_muster(*words, folder=tmp_path, DATABASE_URL=url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("octo/shop#1 is forgotten: 1 incident, ")
    assert "Checkout is down" not in dump_everything(tonight.database)
