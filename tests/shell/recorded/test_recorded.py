"""Tests that today's program reads what earlier releases have written: state, database, boards and markers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from app.core.clocks import alarms, untouched
from app.core.effects import ChannelFailure, Effect, Page, PolicyFaultNotice, SeverityQuestion
from app.core.events import Commented, ConversationLocked, Event, IssueAvailable, IssueUnavailable
from app.core.incident import Incident
from app.core.policy import Policy
from app.core.replay import replay
from app.core.slash_command import SlashCommand
from app.github.board_state import find_board, marker_content
from app.github.signed_marker import Signer
from app.github.tracker import comment_from
from app.policy_file import PROFILES, read_policy
from app.ports import IncidentKey
from app.store import incidents
from app.store.database import Database, load_migrations, migrate
from app.store.serialization import (
    comparable_incident,
    kind_of,
    parse_effect,
    parse_event,
    parse_incident,
    serialize_effect,
    serialize_event,
)
from app.worker.monitoring.state_dump import dump_state
from tests.shell.conftest import DatabaseServer
from tests.shell.recorded.record import NIGHTS_FOLDER

TODAYS_STATES = {"waiting": "pending", "trying": "in_flight", "done": "done", "moot": "skipped", "dead": "dead"}
"""Today's names of the effect states in the recordings."""

profiles = pytest.mark.parametrize("profile", PROFILES)


def load_recording(profile: str, name: str) -> Any:
    return json.loads((NIGHTS_FOLDER / profile / name).read_text())


def load_policy(profile: str) -> Policy:
    return read_policy((NIGHTS_FOLDER / profile / "policy.yml").read_text())


@pytest.fixture
def restored(request: pytest.FixtureRequest, own: DatabaseServer) -> Iterator[Database]:
    """Load the profile's recorded database into the schema of its time, then migrate it."""
    profile = request.getfixturevalue("profile")
    name = f"recorded_{profile.replace('-', '_')}"
    schema_version = load_recording(profile, "app.json")["schema"]
    with psycopg.connect(own.url.format("postgres"), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {name}")
    url = own.url.format(name)
    migrate(url, steps=[each for each in load_migrations() if each[0] <= schema_version])
    with psycopg.connect(url) as connection:
        connection.execute((NIGHTS_FOLDER / profile / "database.sql").read_bytes(), prepare=False)
    migrate(url)
    opened = Database(url).open()
    try:
        yield opened
    finally:
        opened.close()


@profiles
def test_the_database_of_then_holds_the_state_of_then(profile: str, restored: Database) -> None:
    then, now = load_recording(profile, "state.json"), dump_state(restored)
    assert now["alarms"] == then["alarms"]
    assert now["effects"] == [effect | {"state": TODAYS_STATES[effect["state"]]} for effect in then["effects"]]
    names = ("repo", "number", "board", "labels")
    assert [[each[name] for name in names] for each in now["incidents"]] == [
        [each[name] for name in names] for each in then["incidents"]
    ]
    assert [parse_incident(each["incident"]) for each in now["incidents"]] == [
        parse_incident(each["incident"]) for each in then["incidents"]
    ]
    assert {effect["state"] for effect in now["effects"]} >= {"done", "in_flight"}


@profiles
def test_the_log_of_then_is_folded_into_the_incident_of_then(profile: str, restored: Database) -> None:
    policy = load_policy(profile)
    with restored.transaction() as db:
        stored = incidents.list_incidents(db)
        assert len(stored) == 4
        for incident_key, found in stored:
            replayed = replay(incidents.load_log(db, incident_key), policy, found.replayed_until).incident
            assert replayed
            assert without_locks(replayed) == without_locks(found.incident)
            if replayed.conversation_locked:
                assert alarms(replayed, policy), "a lock ends nothing any more"
                continue
            # Nothing was asked then about an incident that is left untouched.
            expected = {(alarm.key, alarm.due) for alarm in alarms(replayed, policy) if alarm.clock != untouched.NAME}
            assert expected == {(key, due) for other, key, due in incidents.list_alarms(db) if other == incident_key}


def without_locks(incident: Incident) -> dict[str, Any]:
    """Return the incident without its entries about locks, which ended an incident then and end nothing today."""
    facts = comparable_incident(incident)
    entries = [entry for entry in facts["timeline"] if entry["kind"] != "left"]
    return facts | {"timeline": entries, "returned_at": None, "conversation_locked": None, "unavailable": None}


@profiles
def test_the_markers_of_then_say_what_was_said_on_the_issue(profile: str) -> None:
    recording = load_recording(profile, "app.json")
    signer, state = Signer(tuple(recording["secrets"]), recording["app_id"]), load_recording(profile, "state.json")
    for issue in recording["issues"]:
        number = issue["number"]
        comments = [comment_from(row) for row in issue["comments"]]
        marked = [
            (each, content)
            for each in comments
            if (content := signer.read(IncidentKey(recording["repository"], number), each))
        ]
        assert len(marked) == sum(each.bot for each in comments)
        keys = {key for _, content in marked for key in content["keys"]}
        done = {each["key"] for each in state["effects"] if each["number"] == number and each["state"] == "done"}
        known = {each["key"] for each in state["effects"] if each["number"] == number}
        assert {key for key in keys - {"board"} if not key.startswith("digest/")} <= known
        assert {key for key in done if key.startswith("escalate/page")} <= keys
        (incident,) = (parse_incident(each["incident"]) for each in state["incidents"] if each["number"] == number)
        board, board_state = find_board(marked)
        assert board
        assert board_state
        assert (board_state.id, board_state.grading_inputs, board_state.role_history, board_state.initial_labels) == (
            incident.id,
            incident.grading_inputs,
            incident.role_history,
            incident.initial_labels,
        )
        assert board_state.snapshot is None
        (content,) = (content for comment, content in marked if comment is board)
        assert marker_content(incident) == content, "a marker keeps its keys for ever"
        assert board.body.rstrip().endswith(signer.marker(IncidentKey(recording["repository"], number), content))


@profiles
def test_the_boards_of_runs_say_what_the_next_run_has_to_know(profile: str) -> None:
    recording = load_recording(profile, "runner.json")
    signer, snapshots = Signer(tuple(recording["secrets"]), bot_login=recording["bot"]), []
    for issue in recording["issues"]:
        comments = [comment_from(row) for row in issue["comments"]]
        incident_key = IncidentKey(recording["repository"], issue["number"])
        marked = [(each, content) for each in comments if (content := signer.read(incident_key, each))]
        board, board_state = find_board(marked)
        assert board
        assert board_state
        assert board_state.snapshot
        assert board_state.grading_inputs
        assert board_state.snapshot.processed_comments <= {each.id for each in comments if not each.bot}
        snapshots.append(board_state.snapshot)
        (content,) = (content for comment, content in marked if comment is board)
        assert board_state.snapshot.marker_content().items() <= content.items(), "a marker keeps its keys for ever"
    assert any(shown.processed_comments for shown in snapshots)
    assert any(event.commands for shown in snapshots for _, event in shown.changed_commands)
    assert any(shown.next_alarm_at for shown in snapshots)


AT = datetime(2026, 3, 14, 9, tzinfo=UTC)
NOTICE = {"key": "k", "to": ["mona"], "at": "2026-03-14T09:00:00Z", "missing": ["cto"], "via": []}
FORMER_EFFECTS: list[tuple[str, dict[str, Any], Effect]] = [
    ("Page", {"times": 2}, Page(key="k", to=("mona",), at=AT, unstaffed=("cto",), attempt=2)),
    ("Ask", {"doubts": ["?"]}, SeverityQuestion(key="k", to=("mona",), at=AT, unstaffed=("cto",), doubts=("?",))),
    ("Mend", {"faults": ["1:1"]}, PolicyFaultNotice(key="k", to=("mona",), at=AT, unstaffed=("cto",), faults=("1:1",))),
    (
        "Undelivered",
        {"channel": "ops", "what": "Page", "why": "gone"},
        ChannelFailure(
            key="k", to=("mona",), at=AT, unstaffed=("cto",), channel="ops", notice_kind="Page", reason="gone"
        ),
    ),
]


@pytest.mark.parametrize(("kind", "fields", "effect"), FORMER_EFFECTS, ids=lambda each: str(each)[:12])
def test_an_effect_under_its_former_name_is_the_effect_of_today(
    kind: str, fields: dict[str, Any], effect: Effect
) -> None:
    assert parse_effect(kind, NOTICE | fields) == effect
    assert parse_effect(kind_of(effect), json.loads(serialize_effect(effect))) == effect


@pytest.mark.parametrize(
    ("kind", "fields", "event"),
    [
        (
            "Said",
            {"comment": 7, "spoken": [{"name": "ack", "argument": ""}]},
            Commented(comment=7, commands=(SlashCommand("ack"),)),
        ),
        ("Left", {"how": "deleted"}, IssueUnavailable(reason="deleted")),
        ("Left", {"how": "locked"}, ConversationLocked()),
        ("IssueUnavailable", {"reason": "locked"}, ConversationLocked()),
        ("Returned", {}, IssueAvailable()),
    ],
)
def test_an_event_under_its_former_name_is_the_event_of_today(kind: str, fields: dict[str, Any], event: Event) -> None:
    assert parse_event(kind, fields) == event
    assert parse_event(kind_of(event), json.loads(serialize_event(event))) == event


def test_every_profile_was_recorded() -> None:
    assert {folder.name for folder in Path(NIGHTS_FOLDER).iterdir()} == set(PROFILES)
