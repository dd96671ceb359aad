"""Records a played night of each profile: the state dump, the database, and the boards as they are on GitHub.

    python -m tests.shell.recorded.record FOLDER

Later releases have to read what this one has written, so a recording is made before names change and is kept for ever.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from app.policy_file import PROFILES
from app.sandbox.github.people import Person
from app.sandbox.github.server import ACTIONS_BOT_LOGIN
from app.sandbox.github.world import Comment, Repository
from app.store import embedded
from app.store.database import Database, migrate, read_schema_version
from app.store.serialization import canonical_json
from app.worker.monitoring.self_audit import run_audit
from app.worker.monitoring.state_dump import dump_state
from tests.runner.actions import Actions
from tests.runner.conftest import POLICY_PATH, Runner, start_runner
from tests.shell.night import POLICY, SEV1, TABLES, Night, run_night

NIGHTS_FOLDER = Path(__file__).parent / "nights"
GITHUB_URL = "http://github.test"
COMMENT_FIELDS = ("id", "body", "user", "performed_via_github_app", "created_at", "updated_at", "html_url")
"""The fields of a comment, as GitHub returns it, that are recorded."""
SEV2 = SEV1.replace("SEV1", "SEV2")
SEV3 = SEV1.replace("SEV1", "SEV3").replace("High", "Low")


@dataclass
class _RunnerWithApiUrl(Runner):
    """A runner of a GitHub whose pages and API have different URLs, so that no port appears in a recording."""

    api_url: str = ""

    def environment(self, event: str, payload: Any) -> dict[str, str]:
        return super().environment(event, payload) | {"GITHUB_API_URL": self.api_url}


def play(host: Night | Actions) -> None:
    """Play a whole incident, a reopened one, a locked one, and one still unanswered when the night ends."""
    closed = _open_incident(host, SEV1)
    host.run_for(minutes=6)
    _add_comment(host, "mona", closed, "/ack")
    update = _add_comment(host, "mona", closed, "/update the pool is being enlarged\n/status mitigated")
    _person(host, "mona").edits_comment(host.shop, update, "The pool is being enlarged.")
    host.advance_and_settle()
    _person(host, "stranger").edits_issue(host.shop, closed, body=SEV2)
    host.advance_and_settle()
    _person(host, "ada").labels(host.shop, closed, "sev1")
    host.advance_and_settle()
    _add_comment(host, "stranger", closed, "/resolve me too")
    _add_comment(host, "mona", closed, "/resolve the pool is larger now")
    _person(host, "mona").closes(host.shop, closed)
    host.advance_and_settle()
    host.run_for(minutes=2)
    pulls = [issue.number for issue in host.shop.issues.values() if issue.pull is not None]
    for pull in pulls:
        _person(host, "ada").merges(host.shop, pull)
    host.advance_and_settle()

    reopened = _open_incident(host, SEV2)
    _add_comment(host, "hubot", reopened, "/ack\n/resolve a new index")
    _person(host, "hubot").closes(host.shop, reopened)
    host.advance_and_settle()
    host.run_for(minutes=3)
    _person(host, "ada").reopens(host.shop, reopened)
    host.advance_and_settle()

    locked = _open_incident(host, SEV3)
    _add_comment(host, "mona", locked, "/ack\n/postmortem")
    _person(host, "ada").locks(host.shop, locked)
    host.advance_and_settle()

    _open_incident(host, SEV1)
    host.run_for(minutes=40)


def record_app(home: Path, url: str, folder: Path, policy: str) -> None:
    """Record a night served by the app, which ends while GitHub accepts no comments."""
    with psycopg.connect(url.format("postgres"), autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS recorded WITH (FORCE)")
        connection.execute("CREATE DATABASE recorded")
    migrate(url.format("recorded"))
    database = Database(url.format("recorded")).open()
    try:
        with run_night(database, policy) as tonight:
            tonight.github.serializer.url = GITHUB_URL
            play(tonight)
            tonight.github.faults.add("post5", method="POST", path="/comments", times=1)
            tonight.github.faults.add("status", method="POST", path="/comments", times=50, status=502)
            tonight.run_for(minutes=20)
            run_audit(tonight.application.ctx)
            with database.transaction() as db:
                db.execute("UPDATE delivery SET body = '' WHERE state NOT IN ('received', 'routed')")
            schema_version = read_schema_version(database.url)
            (folder / "state.json").write_text(canonical_json(dump_state(database)) + "\n")
            secret, app_id = tonight.github.app.webhook_secret, tonight.github.app.app_id
            recording = {
                "schema": schema_version,
                "secrets": [secret],
                "app_id": app_id,
                **_dump_issues(tonight, tonight.shop),
            }
            (folder / "app.json").write_text(canonical_json(recording) + "\n")
    finally:
        database.close()
    (folder / "database.sql").write_text(_dump_rows(url.format("recorded")))


def record_runner(folder: Path, policy: str) -> None:
    """Record the same night served by workflows."""
    with TemporaryDirectory() as place, start_runner(Path(place)) as runner:
        runner.github.person("ada").pushes(runner.shop, POLICY_PATH, policy)
        host = Actions(
            _RunnerWithApiUrl(runner.github, runner.shop, runner.clock, runner.folder, api_url=runner.github.api_url)
        )
        runner.github.serializer.url = GITHUB_URL
        play(host)
        recording = {
            "secrets": [f"repository {host.shop.id}"],
            "bot": ACTIONS_BOT_LOGIN,
            **_dump_issues(host, host.shop),
        }
        (folder / "runner.json").write_text(canonical_json(recording) + "\n")


def _dump_issues(host: Any, shop: Repository) -> dict[str, Any]:
    serializer = host.github.serializer
    return {
        "repository": shop.id,
        "issues": [
            {
                "number": issue.number,
                "title": issue.title,
                "body": issue.body,
                "labels": sorted(issue.labels),
                "comments": [
                    {
                        name: value
                        for name, value in serializer.comment(issue, comment).items()
                        if name in COMMENT_FIELDS
                    }
                    for comment in issue.comments
                ],
            }
            for issue in shop.issues.values()
            if issue.pull is None
        ],
    }


def _dump_rows(url: str) -> str:
    """Return the rows of all our tables as SQL, without generated columns."""
    lines = []
    with psycopg.connect(url) as connection:
        connection.execute("SET timezone TO 'UTC'")
        for table in TABLES:
            columns = [
                name
                for (name,) in connection.execute(
                    "SELECT column_name FROM information_schema.columns WHERE table_schema = 'public'"
                    " AND table_name = %s AND is_generated = 'NEVER' ORDER BY ordinal_position",
                    (table,),
                )
            ]
            head = f"INSERT INTO {table} ({', '.join(columns)}) OVERRIDING SYSTEM VALUE VALUES"
            row = SQL("SELECT concat_ws(', ', {}) AS one FROM {} ORDER BY one").format(
                SQL(", ").join(SQL("format('%L', {})").format(Identifier(name)) for name in columns), Identifier(table)
            )
            lines += [f"{head} ({one});" for (one,) in connection.execute(row)]
    return "\n".join(lines) + "\n"


def _person(host: Night | Actions, login: str) -> Person:
    return host.github.person(login)


def _open_incident(host: Night | Actions, body: str) -> int:
    number = _person(host, "stranger").opens(host.shop, "Checkout is down", body, ["incident"])
    host.advance_and_settle()
    return number


def _add_comment(host: Night | Actions, login: str, number: int, text: str) -> Comment:
    comment = _person(host, login).comments(host.shop, number, text)
    host.advance_and_settle()
    return comment


def main(target: Path) -> None:
    with TemporaryDirectory() as home:
        server = embedded.start(Path(home))
        try:
            url = server.url.replace("/postgres?", "/{}?")
            for profile in PROFILES:
                folder, policy = target / profile, POLICY.replace("extends: guide", f"extends: {profile}")
                folder.mkdir(parents=True, exist_ok=True)
                (folder / "policy.yml").write_text(policy)
                record_app(Path(home), url, folder, policy)
                record_runner(folder, policy)
                print(f"{profile}: recorded", json.dumps([file.name for file in sorted(folder.iterdir())]))
        finally:
            server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else NIGHTS_FOLDER)
