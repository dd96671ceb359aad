"""Notifications through channels other than GitHub: sent once, signed, and in time whatever the receiver does."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from app import settings
from app.core.policy import ChannelConfig
from app.failpoints import Failpoints
from app.ports import DeliveryFailed, IncidentKey, Message
from app.safe_http import SafeHttpClient
from app.store import channel_outbox, inbox
from app.store.database import Database
from app.tenancy import Tenant
from app.worker.pipeline.ingest import process_incident
from tests.shell.night import POLICY, SEV1, Night, run_night
from tests.shell.sink import SECRET, Sink, connect_sink, run_sink

CHANNEL_POLICY = "channels: {ops: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [chat]}}\n"
QUIET_POLICY = POLICY + (
    "first-notice: {sev1: {via: off, to: off}}\n"
    "escalation:\n  sev1:\n    - {after: 0m, to: on-call, until: ack}\n    - {after: 15m, to: it-manager, via: chat}\n"
)
"""A policy that sends exactly one message, after 15 minutes."""


@pytest.fixture
def heard(database: Database) -> Iterator[tuple[Night, Sink]]:
    """Yield a night whose channel `ops` serves chat notifications, and the sink that receives them."""
    with run_night(database, QUIET_POLICY + CHANNEL_POLICY) as tonight, run_sink(tonight.clock) as ours:
        connect_sink(tonight, ours)
        yield tonight, ours


def open_incident(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down @octo/team", SEV1, ["incident"])
    tonight.settle()
    return number


def list_messages(tonight: Night) -> list[dict[str, Any]]:
    with tonight.database.transaction() as db:
        return db.execute("SELECT * FROM outbox WHERE channel <> '' ORDER BY position").fetchall()


def count_dead_messages() -> float:
    return REGISTRY.get_sample_value("muster_messages_total", {"outcome": "dead"}) or 0.0


def load_documented_receiver() -> dict[str, Any]:
    """Return the names defined by the sample receiver of docs/channels.md."""
    (text,) = re.findall(r"```python\n(.*?)```", Path("docs/channels.md").read_text("utf-8"), re.DOTALL)
    found: dict[str, Any] = {}
    exec(text, found)  # noqa: S102 -- the page is ours, and has to work as it stands
    return found


def test_an_escalation_is_sent_once_and_can_be_verified_as_the_page_says(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    open_incident(tonight)
    tonight.run_for(minutes=40)
    (one,) = ours.requests
    payload = one.payload
    assert payload["subject"] == "SEV1 escalated to it-manager: Checkout is down @\u200bocto/team"
    assert payload["text"].splitlines() == [
        payload["subject"],
        "Asked: find somebody to take it, or /ack.",
        "Why: " + payload["text"].splitlines()[2].removeprefix("Why: "),
        "For: ada",
        payload["link"],
    ]
    assert (payload["kind"], payload["severity"], payload["to"]) == ("escalate", "sev1", ["ada"])
    assert payload["at"] == "2026-03-14T09:15:00Z"
    assert payload["link"].endswith("/octo/shop/issues/1")
    assert payload["incident"] == {"id": "INC-2026-0314-001", "repository": "octo/shop", "number": 1}
    assert payload["key"] == one.key
    receive = load_documented_receiver()["receive"]
    headers = {"X-Muster-Signature-256": one.headers["x-muster-signature-256"]}
    assert receive(headers, one.body, SECRET) == (200, payload)
    assert receive(headers, one.body, SECRET) == (200, None), "the key is known"
    assert receive(headers, one.body + b" ", SECRET) == (401, None)
    assert receive(headers, one.body, SECRET + "x") == (401, None)
    assert receive({}, one.body, SECRET) == (401, None)


def test_each_channel_that_serves_it_is_told_and_no_other(database: Database) -> None:
    policy = QUIET_POLICY + (
        "channels:\n  ops: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [pager, chat]}\n"
        "  team: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: chat}\n"
        "  press: {url: env:CHANNEL_OPS_URL, secret: env:CHANNEL_OPS_SECRET, for: [mail, webhook]}\n"
    )
    with run_night(database, policy) as tonight, run_sink(tonight.clock) as ours:
        connect_sink(tonight, ours)
        open_incident(tonight)
        tonight.run_for(minutes=20)
        assert len({one.key for one in ours.requests}) == len(ours.requests) == 2
        assert [row["channel"] for row in list_messages(tonight)] == ["ops", "team"]


def test_a_channel_that_joins_late_is_not_told_of_the_past(database: Database) -> None:
    with run_night(database, QUIET_POLICY) as tonight, run_sink(tonight.clock) as ours:
        connect_sink(tonight, ours)
        number = open_incident(tonight)
        tonight.run_for(minutes=20)
        tonight.github.person("ada").pushes(tonight.shop, ".github/incidents.yml", QUIET_POLICY + CHANNEL_POLICY)
        tonight.advance_and_settle()
        with tonight.database.transaction() as db:
            db.execute("UPDATE incident SET replayed_until = replayed_until + interval '1 hour'")
        tonight.github.person("mona").comments(tonight.shop, number, "/update still looking")
        tonight.advance_and_settle()  # it counts as a late event, so the whole log is replayed
        assert ours.requests == []


def test_c6_a_sink_that_fails_for_an_hour_is_told_in_the_end_and_once(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    number = open_incident(tonight)
    ours.respond_with(500)
    tonight.run_for(minutes=15)
    began = tonight.clock.at
    while tonight.clock.at < began + timedelta(hours=1):
        tonight.clock.at += timedelta(seconds=1 if tonight.clock.at < began + timedelta(minutes=4) else 20)
        tonight.settle()
    assert any("it-manager" in key for key in tonight.list_posted_keys(number)), "GitHub's comments go on meanwhile"
    ours.respond_with(200)
    tonight.run_for(minutes=2)
    assert len(ours.accepted) == 1
    assert len({one.key for one in ours.requests}) == len({one.body for one in ours.requests}) == 1
    assert [row["state"] for row in list_messages(tonight)] == ["done"]
    waits = [(b.at - a.at).total_seconds() for a, b in pairwise(ours.requests)]
    assert waits[0] <= 3
    assert all(b >= 2 * a - 1 for a, b in pairwise(waits[:5])), f"each wait at least twice the one before: {waits}"
    assert max(waits[:-1]) <= 80, "and no longer than a minute, as the clock was moved in steps of 20 seconds"
    assert tonight.notices(number)[-1].find("📡") == -1, "a passing failure raises no alarm"


def test_c6_what_a_sink_refuses_is_set_aside_after_one_try_and_told(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    number = open_incident(tonight)
    ours.respond_with(400)
    before = count_dead_messages()
    tonight.run_for(minutes=15)
    tonight.advance_and_settle()
    assert len(ours.requests) == 1
    assert [row["state"] for row in list_messages(tonight)] == ["dead"]
    assert count_dead_messages() == before + 1
    (alarm,) = [body for body in tonight.notices(number) if "will not take a message" in body]
    assert "hooks.example answered 400" in alarm
    assert "@ada" in alarm, "its recipient is mentioned here"
    assert "secret-path" not in alarm
    tonight.run_for(hours=3)
    assert len(ours.requests) == 1
    assert len([body for body in tonight.notices(number) if "will not take a message" in body]) == 1


@pytest.mark.parametrize("status", [301, 404, 410, 413, 422])
def test_what_is_no_for_ever(heard: tuple[Night, Sink], status: int) -> None:
    tonight, ours = heard
    open_incident(tonight)
    ours.respond_with(status, {"Location": "http://169.254.169.254/"})
    tonight.run_for(minutes=25)
    assert len(ours.requests) == 1
    assert [row["state"] for row in list_messages(tonight)] == ["dead"]


@pytest.mark.parametrize("status", [0, 408, 429, 503])
def test_what_is_no_for_now(heard: tuple[Night, Sink], status: int) -> None:
    tonight, ours = heard
    open_incident(tonight)
    ours.respond_with(status)
    tonight.run_for(minutes=16)
    assert len(ours.requests) > 1
    ours.respond_with(202)
    tonight.run_for(minutes=2)
    assert (len(ours.accepted), len({one.key for one in ours.requests})) == (1, 1)


def test_a_sink_that_asks_for_patience_is_given_it(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    open_incident(tonight)
    ours.respond_with(429, {"Retry-After": "600"})
    tonight.run_for(minutes=24)
    assert len(ours.requests) == 1
    tonight.run_for(minutes=2)
    assert len(ours.requests) == 2


def test_what_was_answered_in_the_meantime_is_not_sent(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    number = open_incident(tonight)
    ours.respond_with(500)
    tonight.run_for(minutes=16)
    count = len(ours.requests)
    tonight.github.person("mona").comments(tonight.shop, number, "/resolve it was the cache")
    tonight.settle()
    tonight.run_for(minutes=5)
    assert len(ours.requests) <= count + 1
    assert [row["state"] for row in list_messages(tonight)] == ["skipped"]


class Died(BaseException):
    """The process is gone."""


def die() -> None:
    raise Died


@pytest.mark.parametrize("gap", ["before_post", "after_post_before_mark", "after_mark"])
def test_b3_whoever_dies_over_a_message_has_a_successor_who_says_the_same(heard: tuple[Night, Sink], gap: str) -> None:
    tonight, ours = heard
    open_incident(tonight)
    tonight.clock.at += timedelta(minutes=14)
    tonight.settle()
    tonight.github.faults.add("pre", times=10**6)  # so that only the message reaches these fail points
    tonight.create_failpoints = lambda: Failpoints(f"{gap}:1", on_reach=die)
    tonight.restart()
    tonight.clock.at += timedelta(minutes=1)
    ctx = tonight.application.ctx
    process_incident(ctx, IncidentKey(tonight.shop.id, 1))
    with pytest.raises(Died):
        tonight.send_due_messages()
    tonight.create_failpoints = Failpoints
    tonight.restart()
    assert tonight.send_due_messages() == 0, "the lease of the dead process still holds"
    tonight.clock.at += timedelta(seconds=31)
    tonight.send_due_messages()
    assert [row["state"] for row in list_messages(tonight)] == ["done"]
    assert len(ours.requests) == (2 if gap == "after_post_before_mark" else 1)
    assert len({one.key for one in ours.requests}) == len({one.body for one in ours.requests}) == 1


def test_whoever_comes_late_has_no_say(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    open_incident(tonight)
    ours.respond_with(500)
    tonight.run_for(minutes=15)
    lease = timedelta(seconds=30)
    tonight.clock.at += timedelta(minutes=2)
    with tonight.database.transaction() as db:
        (first,) = channel_outbox.claim_messages(db, tonight.clock(), lease, limit=8, limit_per_sink=8)
        assert channel_outbox.claim_messages(db, tonight.clock(), lease, limit=8, limit_per_sink=8) == []
        (second,) = channel_outbox.claim_messages(db, tonight.clock() + lease, lease, limit=8, limit_per_sink=8)
        assert not channel_outbox.retry_message_at(db, first, tonight.clock(), "too late")
        assert channel_outbox.finish_message(db, second, "done")
        assert not channel_outbox.finish_message(db, first, "dead")
    assert [row["state"] for row in list_messages(tonight)] == ["done"]


def add_messages(tonight: Night, channel: str, count: int, interval: timedelta = timedelta(seconds=1)) -> None:
    """Add `count` messages for the channel, copies of the one for `ops`, of which the last is due now."""
    with tonight.database.transaction() as db:
        db.execute(
            "INSERT INTO outbox (repo_id, number, key, kind, data, created_at, not_before, channel, message)"
            " SELECT repo_id, number, %(channel)s || nth, kind, data, created_at, %(now)s - nth * %(apart)s, %(channel)s, message"
            " FROM outbox, generate_series(0, %(count)s - 1) AS nth WHERE channel = 'ops' ON CONFLICT DO NOTHING",
            {"channel": channel, "now": tonight.clock.at, "apart": interval, "count": count},
        )


def claim_messages(tonight: Night, full_channels: Sequence[str] = (), limit: int = 24) -> tuple[list[str], int]:
    """Claim messages, at most eight per channel; return their keys and how many rows were read for it."""
    with tonight.database.transaction() as db:
        sinks = [(tonight.shop.id, channel) for channel in full_channels]
        found = channel_outbox.claim_messages(
            db, tonight.clock.at, timedelta(seconds=30), limit=limit, limit_per_sink=8, full_sinks=sinks
        )
        read = db.execute(
            "SELECT seq_tup_read + idx_tup_fetch AS read FROM pg_stat_xact_user_tables WHERE relname = 'outbox'"
        ).fetchone()
        assert read
    return [sending.key for sending in found], read["read"]


@pytest.fixture
def crowded(heard: tuple[Night, Sink]) -> Night:
    """Return a night with 6,000 messages waiting for `slow`, three for `quick` and one for `ops`."""
    tonight, _ = heard
    open_incident(tonight)
    tonight.clock.at += timedelta(minutes=15)
    process_incident(tonight.application.ctx, IncidentKey(tonight.shop.id, 1))
    add_messages(tonight, "slow", 6000)
    add_messages(tonight, "quick", 3)
    return tonight


def test_every_channel_has_its_turn_and_a_full_one_holds_up_nobody(crowded: Night) -> None:
    both, _ = claim_messages(crowded, full_channels=["ops"])
    assert sorted(both) == ["quick0", "quick1", "quick2", *(f"slow{nth}" for nth in range(5992, 6000))]
    assert claim_messages(crowded, full_channels=["ops", "slow"])[0] == [], "what is claimed is not claimed again"
    assert claim_messages(crowded, full_channels=["slow"], limit=1)[0] == ["escalate/it-manager@15m>ops"]


def test_what_was_not_tried_yet_goes_first(crowded: Night) -> None:
    first, _ = claim_messages(crowded, full_channels=["ops", "slow"], limit=2)
    assert sorted(first) == ["quick1", "quick2"]
    crowded.clock.at += timedelta(seconds=31)  # the process that claimed them died
    add_messages(crowded, "quick", 4)  # one is new, the keys of the others exist already
    assert sorted(claim_messages(crowded, full_channels=["ops", "slow"], limit=2)[0]) == ["quick0", "quick3"]


@pytest.mark.parametrize("full", [(), ("slow",)], ids=["a hand is free", "none is"])
def test_the_next_message_is_found_without_a_look_at_all_that_wait(crowded: Night, full: Sequence[str]) -> None:
    _, read = claim_messages(crowded, full_channels=full)
    assert read < 1000, "of 6,004"


def test_several_who_claim_at_once_never_have_the_same(crowded: Night) -> None:
    claims: list[str] = []

    def claim_all() -> None:
        while found := claim_messages(crowded, full_channels=["slow", "ops"])[0]:
            claims.extend(found)

    add_messages(crowded, "quick", 400)
    with ThreadPoolExecutor(4) as pool:
        for worker in [pool.submit(claim_all) for _ in range(4)]:
            worker.result()
    assert Counter(claims) == Counter(f"quick{nth}" for nth in range(400))


def test_a_rebuild_sends_nothing_again(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    open_incident(tonight)
    tonight.run_for(minutes=20)
    assert len(ours.requests) == 1
    tonight.lose_and_rebuild_database()
    tonight.run_for(minutes=3)
    assert len(ours.requests) == 1
    assert [row["state"] for row in list_messages(tonight)] == ["skipped"]


@pytest.mark.parametrize("unset", ["URL", "SECRET"])
def test_a_channel_that_is_not_set_up_is_told_and_its_name_alone(heard: tuple[Night, Sink], unset: str) -> None:
    tonight, ours = heard
    tonight.channels = {name: text for name, text in tonight.channels.items() if not name.endswith(unset)}
    tonight.restart()
    number = open_incident(tonight)
    tonight.run_for(minutes=16)
    assert ours.requests == []
    assert any(
        "env:CHANNEL\\_OPS is no channel of this repository: only the operator of Muster can set it up" in body
        for body in tonight.notices(number)
    )


def test_the_former_way_to_name_the_address_is_still_read(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    tonight.channels = {"CHANNEL_OPS": ours.url, "CHANNEL_OPS_SECRET": SECRET}
    tonight.restart()
    open_incident(tonight)
    tonight.run_for(minutes=16)
    assert len(ours.accepted) == 1


def test_fc_s3_an_address_in_the_policy_gets_no_signature(database: Database) -> None:
    """FC-S3: an address that a policy names is sent to, but never with a secret of the operator."""
    with run_night(database, QUIET_POLICY) as tonight, run_sink(tonight.clock) as ours:
        connect_sink(tonight, ours)
        tenant, message = Tenant("octo/shop", 1), render_any_message()
        ctx = tonight.application.ctx
        ctx.channels.send(ChannelConfig(ours.url), message, tenant)
        (request,) = ours.requests
        assert "x-muster-signature-256" not in request.headers
        for secret in ("env:CHANNEL_OPS_SECRET", "env:GITHUB_WEBHOOK_SECRET"):
            with pytest.raises(DeliveryFailed, match="signed with no secret of the operator"):
                ctx.channels.send(ChannelConfig(ours.url, secret), message, tenant)
        for url in ("env:OPS_URL", "env:CHANNEL_OPS_SECRET", "env:CHANNEL_OPS_URL_URL", "env:PATH"):
            with pytest.raises(DeliveryFailed, match="is no name of a channel"):
                ctx.channels.send(ChannelConfig(url, "env:CHANNEL_OPS_SECRET"), message, tenant)
        assert len(ours.requests) == 1


def render_any_message() -> Message:
    return Message(
        "key", "page", "sev1", "subject", "text", "https://github.com/octo/shop/issues/1", ("ada",),
        datetime(2026, 3, 14, tzinfo=UTC), "INC-2026-0314-001", "octo/shop", 1,
    )  # fmt: skip


def test_m24_an_address_inside_is_not_sent_to(heard: tuple[Night, Sink]) -> None:
    tonight, ours = heard
    tonight.http_client = SafeHttpClient(resolve=lambda host, port: ["127.0.0.1"])
    tonight.channels = {"CHANNEL_OPS_URL": "https://hooks.example/", "CHANNEL_OPS_SECRET": SECRET}
    tonight.restart()
    open_incident(tonight)
    tonight.run_for(minutes=16)
    assert ours.requests == []
    assert [row["note"] for row in list_messages(tonight)] == [
        "hooks.example is not on the public Internet, so it is not asked"
    ]


def test_m35_a_secret_stands_nowhere(heard: tuple[Night, Sink], capfd: pytest.CaptureFixture[str]) -> None:
    tonight, ours = heard
    ours.respond_with(400)
    open_incident(tonight)
    tonight.run_for(minutes=16)
    assert list_messages(tonight)
    assert SECRET not in str(list_messages(tonight)) + "".join(capfd.readouterr()) + repr(tonight.application.settings)
    assert "secret-path" not in str(list_messages(tonight))
    with tonight.database.transaction() as db:
        assert not inbox.has_received_deliveries(db)


def test_only_what_can_be_a_channel_is_taken_from_the_environment() -> None:
    environment = {
        "CHANNEL_OPS_URL": "https://hooks.example/muster",
        "CHANNEL_OPS_SECRET": "x" * 16,
        "CHANNEL_OPS_FOR": "octo, hub/shop",
        "CHANNEL_CHAT": "https://chat.example/",
        "CHANNEL_SHORT_SECRET": "x" * 15,
        "CHANNEL_EMPTY_URL": "",
        "ONCALL_SECRET": "x" * 16,
        "AWS_SECRET_ACCESS_KEY": "x" * 40,
        "GITHUB_CLIENT_SECRET": "x" * 40,
        "CHANNEL_PLAIN_URL": "http://hooks.example/",
        "PASSWORD": "x" * 40,
    }
    found = settings.read_settings(environment)
    assert set(found.channels) == {"CHANNEL_OPS_URL", "CHANNEL_OPS_SECRET", "CHANNEL_OPS_FOR", "CHANNEL_CHAT"}
    assert [warning.partition(":")[0] for warning in found.warnings] == ["CHANNEL_SHORT_SECRET", "CHANNEL_PLAIN_URL"]
    assert "xxxx" not in repr(found)
