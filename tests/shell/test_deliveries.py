"""GitHub's deliveries in every form: real payloads, twice, late, out of order, and with hostile content."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.core.events import Opened
from app.core.policy import Labels, Policy
from app.github import inbound
from app.github.inbound import TimedEvent
from app.github.signature import signature
from app.github.signed_marker import Signer
from app.ports import IncidentKey
from app.sandbox.github.hooks import Delivery
from app.store import inbox
from app.worker.jobs import Queue
from app.worker.pipeline.routing import route_deliveries
from tests.sandbox.conftest import NO_CERTIFICATES, shared_data
from tests.shell.conftest import run_night_on_new_database
from tests.shell.night import SEV1, Night

__all__ = ["shared_data"]


def open_incident(tonight: Night, body: str = SEV1, title: str = "Checkout is down") -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, title, body, ["incident"])
    tonight.advance_and_settle()
    return number


def test_every_published_payload_is_accepted_and_harms_nobody(tonight: Night, shared_data: Path) -> None:
    found = json.loads((shared_data / "webhook-examples.json").read_text())
    payloads = [(entry["name"], payload) for entry in found for payload in entry["examples"]]
    assert payloads
    with httpx.Client(verify=NO_CERTIFICATES, trust_env=False) as client:
        for nth, (name, payload) in enumerate(payloads):
            assert send_delivery(tonight, client, f"example-{nth}", name, payload) == 202
    tonight.settle()
    states = tonight.load_delivery_states()
    ours = {guid: state for guid, state in states.items() if guid.startswith("example-")}
    assert len(ours) == len(payloads)
    assert set(ours.values()) <= {"processed", "ignored"}


def send_delivery(tonight: Night, client: httpx.Client, guid: str, name: str, payload: Any) -> int:
    body = json.dumps(payload).encode()
    url = tonight.github.hooks.url
    assert url
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": guid,
        "X-GitHub-Event": name,
        "X-GitHub-Hook-ID": "examples",
        "X-Hub-Signature-256": signature(tonight.github.app.webhook_secret, body),
    }
    return client.post(url, content=body, headers=headers).status_code


def test_the_same_event_by_two_hooks_has_one_effect(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack\n/escalate now")
    tonight.advance_and_settle()
    before, keys_before = tonight.dump_lines(), tonight.list_posted_keys(number)
    with tonight.database.transaction() as db:
        rows = db.execute("SELECT guid, event, body FROM delivery ORDER BY arrival").fetchall()
        for row in rows:
            tonight.store_delivery(db, row["guid"], row["event"], bytes(row["body"]))
    tonight.advance_and_settle()
    tonight.expect(before)
    assert tonight.list_posted_keys(number) == keys_before


def test_of_two_who_sort_one_goes_on_and_takes_what_the_other_one_found(tonight: Night) -> None:
    tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.github.hooks.settle(10)
    with tonight.database.transaction() as db:
        assert inbox.acquire_routing_lock(db)
        assert route_deliveries(tonight.application.ctx) == []
        assert inbox.has_received_deliveries(db)
    assert route_deliveries(tonight.application.ctx) == [IncidentKey(tonight.shop.id, 1)]
    assert route_deliveries(tonight.application.ctx) == []


def test_nobody_who_sorts_waits_for_what_is_known(tonight: Night) -> None:
    """Another process has the repository row locked; it is unchanged, so routing need not write it."""
    number = open_incident(tonight)
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.github.hooks.settle(10)
    with tonight.database.transaction() as db:
        db.execute("SELECT 1 FROM repository FOR UPDATE")
        assert route_deliveries(tonight.application.ctx) == [IncidentKey(tonight.shop.id, number)]


def test_what_people_say_to_each_other_wakes_nobody(tonight: Night) -> None:
    """Conversation enqueues no processing, nor do the echoes of our own comments and labels."""
    number = open_incident(tonight)
    tonight.settle()
    tonight.github.person("stranger").comments(tonight.shop, number, "Down here as well.")
    tonight.github.person("ada").assigns(tonight.shop, number, "mona")
    tonight.github.hooks.settle(10)
    assert route_deliveries(tonight.application.ctx) == []
    assert set(tonight.load_delivery_states().values()) <= {"processed", "ignored"}


def test_what_a_comment_shows_of_its_issue_is_seen(tonight: Night) -> None:
    """The delivery about the removed label is lost; the next comment's payload shows the labels as they are."""
    number = open_incident(tonight)
    tonight.settle()
    hooks = tonight.github.hooks
    hooks.drop_next(1)
    tonight.github.person("ada").unlabels(tonight.shop, number, "sev1")
    hooks.settle(10)
    tonight.clock.at += timedelta(seconds=5)
    tonight.github.person("stranger").comments(tonight.shop, number, "Down here as well.")
    hooks.settle(10)
    assert route_deliveries(tonight.application.ctx) == [IncidentKey(tonight.shop.id, number)]
    tonight.advance_and_settle()
    assert "sev1" in tonight.labels(number)


def test_only_what_says_nothing_to_any_policy_wakes_nobody(shared_data: Path) -> None:
    """Whatever the labels are called: for a known incident, a second opening carries no new information."""
    found = json.loads((shared_data / "webhook-examples.json").read_text())
    at, known = datetime(2026, 3, 14, 9, tzinfo=UTC), 0
    for entry in found:
        for payload in entry["examples"]:
            if entry["name"] not in ("issues", "issue_comment") or payload["action"] == "opened":
                continue
            label = (payload.get("label") or {}).get("name", "")
            read = inbound.read_event(entry["name"], payload, Policy(labels=Labels(incident=label or "incident")), at)
            shown = inbound.read_labels_only(entry["name"], payload, at)
            if shown is not None:
                known += 1
                assert read is None or (isinstance(read, TimedEvent) and isinstance(read.event, Opened)), payload
    assert known


def test_what_is_done_is_forgotten_after_a_month_and_what_nobody_could_read_is_not(tonight: Night) -> None:
    number = open_incident(tonight)
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "unreadable", "issues", b"[]")
    tonight.advance_and_settle()
    for days, known in ((29, True), (2, False)):
        tonight.clock.at += timedelta(days=days)
        Queue(tonight.application.ctx).sweep()
        assert (len(tonight.load_delivery_states()) > 1) is known
    assert tonight.load_delivery_states() == {"unreadable": "dead"}
    assert tonight.incident(number)


def play_incident(tonight: Night) -> None:
    """Play everything that people do to one incident, at fixed times."""
    shop, mona, ada = tonight.shop, tonight.github.person("mona"), tonight.github.person("ada")
    stranger = tonight.github.person("stranger")
    number = stranger.opens(shop, "Checkout is down", SEV1, ["incident"])
    deeds: list[Callable[[], object]] = [
        lambda: stranger.edits_issue(shop, number, title="Checkout is down for all"),
        lambda: mona.comments(shop, number, "/ack"),
        lambda: ada.labels(shop, number, "sev2"),
        lambda: ada.labels(shop, number, "resolved", "blue"),
        lambda: stranger.comments(shop, number, "/severity sev4"),
        lambda: mona.closes(shop, number),
        lambda: stranger.reopens(shop, number),
        lambda: mona.comments(shop, number, "/update all is well again\n/resolve"),
        lambda: ada.locks(shop, number),
        lambda: ada.unlocks(shop, number),
    ]
    for deed in deeds:
        tonight.clock.at += timedelta(seconds=50)
        deed()


@pytest.fixture(scope="module")
def in_order(postgres: str) -> list[str]:
    with run_night_on_new_database(postgres) as quiet:
        quiet.github.hooks.hold()
        play_incident(quiet)
        quiet.github.hooks.release()
        quiet.advance_and_settle()
        return quiet.dump_lines()


@pytest.mark.parametrize("handfuls", [False, True], ids=["at once", "in handfuls"])
@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_deliveries_does_not_matter(
    tonight: Night, in_order: list[str], seed: int, handfuls: bool
) -> None:
    """Shuffled, and some of them twice.  Comments posted meanwhile stay, but the stored state is the same."""
    chance = random.Random(seed)
    tonight.github.hooks.hold()
    play_incident(tonight)
    deliveries = tonight.github.hooks.held_deliveries
    order = [*deliveries, *chance.sample(deliveries, k=len(deliveries) // 3)]
    chance.shuffle(order)
    deliver_in_batches(tonight, order, chance if handfuls else None)
    tonight.advance_and_settle()
    tonight.expect(in_order, ignoring="effects" if handfuls else "")
    keys = tonight.list_posted_keys(1)
    assert len(keys) == len(set(keys))


def deliver_in_batches(tonight: Night, order: list[Delivery], chance: random.Random | None) -> None:
    """Deliver each one; given `chance`, process those so far now and then."""
    tonight.github.hooks.release([])
    with httpx.Client(verify=NO_CERTIFICATES, trust_env=False) as client:
        for delivery in order:
            assert tonight.github.hooks.url
            client.post(tonight.github.hooks.url, content=delivery.body, headers=delivery.headers)
            if chance and chance.random() < 0.3:
                tonight.settle()


def test_an_acknowledgement_that_comes_late_counts_from_when_it_was_given(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.github.hooks.hold()
    tonight.run_for(minutes=3)
    acknowledged_at = tonight.clock.at
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.run_for(minutes=12)
    pages = [key for key in tonight.list_posted_keys(number) if "page" in key]
    assert len(pages) == 4, "the acknowledgement had not arrived, so paging went on"
    tonight.github.hooks.release()
    tonight.advance_and_settle()
    incident = tonight.incident(number)
    assert incident.acknowledged_at == acknowledged_at
    assert "sla-breached" not in tonight.labels(number)
    tonight.run_for(minutes=12)
    assert [key for key in tonight.list_posted_keys(number) if "page" in key] == pages


def test_m38_a_time_that_cannot_be_is_the_time_of_receipt(tonight: Night) -> None:
    number, received = open_incident(tonight), tonight.clock.at
    issue = {"number": number, "created_at": "2026-02-30T00:00:00Z", "updated_at": "2099-01-01T00:00:00Z"}
    with tonight.database.transaction() as db:
        row = db.execute("SELECT body FROM delivery WHERE event = 'issues' ORDER BY arrival LIMIT 1").fetchone()
        assert row is not None
        payload = json.loads(bytes(row["body"]))
        payload["action"] = "closed"
        payload["issue"] = {**payload["issue"], **issue, "closed_at": "2016-12-31T23:59:60Z"}
        tonight.store_delivery(db, "impossible", "issues", json.dumps(payload).encode())
    tonight.advance_and_settle()
    assert tonight.incident(number).closed_at == received


TRICKS = ["a\0b", "x\\u0000y", "lone \ud800 surrogate", "\x1b[31mred", "\u202eevil"]


@pytest.mark.parametrize("trick", TRICKS)
def test_m08_m09_what_cannot_be_stored_is_replaced_everywhere(tonight: Night, trick: str) -> None:
    number = open_incident(tonight, body=SEV1.replace("502", trick), title=f"Down {trick}")
    mona = tonight.github.person("mona")
    mona.comments(tonight.shop, number, f"/ack\n/update {trick}\n/severity {trick}")
    mona.labels(tonight.shop, number, f"label {trick}")
    tonight.advance_and_settle()
    state = "\n".join(tonight.dump_lines())
    for comment in [tonight.board(number), *tonight.notices(number), state]:
        assert "\0" not in comment
        comment.encode()
    assert "acknowledged" in tonight.labels(number)
    tonight.lose_and_rebuild_database()
    tonight.expect(state.splitlines())


COMMANDS: list[tuple[str, str, str, bool]] = [
    ("nobody", "none", "/resolve", False),
    ("a reader", "read", "/resolve", False),
    ("a triager", "triage", "/resolve", True),
    ("a writer", "write", "/ResoLve", True),
    ("an administrator who quotes", "admin", "> /resolve", False),
    ("an administrator who asks", "admin", "please /resolve", False),
    ("an administrator with code", "admin", "```\n/resolve\n```", False),
]


@pytest.mark.parametrize(("who", "role", "text", "obeyed"), COMMANDS, ids=[row[0] + row[2][:3] for row in COMMANDS])
def test_m26_authority_is_what_the_permission_endpoint_says(
    tonight: Night, who: str, role: Any, text: str, obeyed: bool
) -> None:
    number = open_incident(tonight)
    tonight.github.add_person("somebody")
    tonight.shop.permit("somebody", role)
    tonight.github.person("somebody").comments(tonight.shop, number, text)
    tonight.advance_and_settle()
    assert ("resolved" in tonight.labels(number)) is obeyed


def test_m27_an_edited_comment_commands_nothing(tonight: Night) -> None:
    number = open_incident(tonight)
    mona = tonight.github.person("mona")
    comment = mona.comments(tonight.shop, number, "I am looking at it")
    tonight.advance_and_settle()
    before = tonight.dump_lines()
    mona.edits_comment(tonight.shop, comment, "/resolve")
    tonight.advance_and_settle()
    tonight.expect(before)


def test_m28_bots_are_not_answered(tonight: Night) -> None:
    number = open_incident(tonight)
    before = tonight.list_posted_keys(number)
    bot = tonight.github.add_person("other-bot")
    bot.account.kind = "Bot"
    tonight.shop.permit("other-bot", "admin")
    for _ in range(5):
        bot.comments(tonight.shop, number, "/ack\n/help\n/severity sev4")
        tonight.advance_and_settle()
    assert tonight.list_posted_keys(number) == before
    assert tonight.labels(number) == {"incident", "sev1"}


def test_m29_a_label_that_flickers(tonight: Night) -> None:
    number = open_incident(tonight)
    ada = tonight.github.person("ada")
    mark, count_before = tonight.github.call_log_position(), len(tonight.notices(number))
    for nth in range(40):
        ada.labels(tonight.shop, number, "sev2" if nth % 2 else "sev3")
        ada.unlabels(tonight.shop, number, "sev2" if nth % 2 else "sev3")
        if nth % 10 == 9 or nth == 38:
            tonight.clock.at += timedelta(seconds=1)
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev2"}
    assert len(tonight.notices(number)) - count_before <= 2
    assert len(tonight.github.calls_since(mark)) <= 20


def test_the_board_is_put_back(tonight: Night) -> None:
    number = open_incident(tonight)
    ada = tonight.github.person("ada")
    (board,) = [one for one in tonight.shop.issue(number).comments if one.body.startswith("## ")]
    was = board.body
    ada.edits_comment(tonight.shop, board, "## Nothing to see here")
    tonight.advance_and_settle()
    assert tonight.board(number).splitlines()[0] == was.splitlines()[0]
    ada.deletes_comment(tonight.shop, board)
    tonight.advance_and_settle()
    assert tonight.board(number).splitlines()[0] == was.splitlines()[0]


def test_deleted_labels_are_put_back_and_others_left_alone(tonight: Night) -> None:
    number = open_incident(tonight)
    ada = tonight.github.person("ada")
    ada.labels(tonight.shop, number, "blue")
    ada.unlabels(tonight.shop, number, "sev1", "incident")
    tonight.advance_and_settle()
    assert tonight.labels(number) == {"incident", "sev1", "blue"}


def delete_issue(tonight: Night, number: int) -> None:
    tonight.shop.permit("ada", "admin")
    tonight.github.person("ada").deletes_issue(tonight.shop, number)


def transfer_issue(tonight: Night, number: int) -> None:
    other = tonight.github.add_repository("octo/other")
    other.permit("ada", "write")
    tonight.github.person("ada").transfers(tonight.shop, number, other)


@pytest.mark.parametrize("heard", [True, False], ids=["told", "untold"])
@pytest.mark.parametrize("end", [delete_issue, transfer_issue], ids=lambda end: end.__name__)
def test_an_issue_that_goes_away_ends_quietly(tonight: Night, end: Callable[[Night, int], None], heard: bool) -> None:
    """Also when no delivery reports it: the first call that does not find the issue ends the incident."""
    number = open_incident(tonight)
    tonight.github.hooks.drop_next(0 if heard else 9)
    end(tonight, number)
    tonight.advance_and_settle()
    mark = tonight.github.call_log_position()
    tonight.run_for(minutes=30)
    if heard:
        assert tonight.github.calls_since(mark) == []
    assert tonight.incident(number).unavailable
    assert len(tonight.github.calls_since(mark)) <= 12


def test_an_unlocked_issue_comes_back(tonight: Night) -> None:
    number = open_incident(tonight)
    ada = tonight.github.person("ada")
    ada.locks(tonight.shop, number)
    tonight.run_for(minutes=20)
    count_before = len(tonight.notices(number))
    ada.unlocks(tonight.shop, number)
    tonight.run_for(minutes=8)
    assert not tonight.incident(number).unavailable
    assert len(tonight.notices(number)) > count_before


def forge_markers(tonight: Night, number: int) -> Iterator[str]:
    """Yield markers that look like ours: made up, signed with another secret, copied from elsewhere."""
    incident_key = IncidentKey(tonight.shop.id, number)
    yield "<!-- muster:1 e30= 0000 -->"
    yield Signer(("x" * 40,), tonight.github.app.app_id).marker(incident_key, {"keys": ["escalate/page0.2"]})
    yield from (comment.body for comment in tonight.shop.issue(number).comments if comment.author.kind == "Bot")


def test_m17_only_our_own_markers_count(tonight: Night) -> None:
    number = open_incident(tonight)
    keys_before = tonight.list_posted_keys(number)
    for text in list(forge_markers(tonight, number)):
        tonight.github.person("ada").comments(tonight.shop, number, text)
    assert tonight.list_posted_keys(number) == keys_before
    other = tonight.github.person("mona").opens(tonight.shop, "Another one", SEV1, ["incident"])
    tonight.advance_and_settle()
    stolen = next(c for c in tonight.shop.issue(number).comments if "escalate" in str(c.body) or c.author.kind == "Bot")
    theirs = next(
        c for c in tonight.shop.issue(other).comments if not c.body.startswith("## ") and c.author.kind == "Bot"
    )
    tonight.github.person("ada").edits_comment(tonight.shop, theirs, stolen.body)
    assert [key for key in tonight.list_posted_keys(other) if key != "board"] == []
    tonight.lose_and_rebuild_database()
    tonight.run_for(minutes=6)
    for issue in (number, other):
        assert any("page0.2" in key for key in tonight.list_posted_keys(issue)), "a forged marker suppresses no page"
