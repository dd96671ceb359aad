"""The web receiver: who may deliver, what is stored, and what every other client is answered."""

from __future__ import annotations

import ast
import gzip
import json
import math
import re
import socket
import ssl
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import generate_latest

from app.bootstrap import admin_server, build
from app.github.signature import signature
from app.settings import Settings
from app.store.database import Database
from app.web.application import create_admin_app, create_app, create_head_check
from app.web.server import HttpServer
from app.web.webhook import MAX_BODY_BYTES
from tests.figures import Figures
from tests.shell.night import SEV1, HandClock, Night
from tests.soak import choose_size

SECRET, OLD_SECRET = "a-secret-that-nobody-could-guess-1", "the-secret-of-the-year-before-that"
GITHUB_EXAMPLE_SECRET = "It's a Secret to Everybody"


@dataclass
class Receiver:
    """A running web receiver and a client for it."""

    port: int
    database: Database
    client: httpx.Client
    wake_ups: list[str]

    def deliver(
        self, body: bytes = b"{}", *, signature_header: str | None = None, secret: str = SECRET, **headers: str
    ) -> httpx.Response:
        """Send a delivery.

        A `signature_header` replaces the right signature, and underscores in `headers` stand for dashes.
        """
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        head = {
            "Content-Type": "application/json",
            "X-GitHub-Delivery": "guid-1",
            "X-GitHub-Event": "issues",
            "X-GitHub-Hook-ID": "7",
            "X-Hub-Signature-256": signature(secret, body) if signature_header is None else signature_header,
            **named,
        }
        return self.client.post(
            "/webhook", content=body, headers=[(k.encode(), v.encode()) for k, v in head.items() if v]
        )

    def list_deliveries(self) -> list[tuple[Any, ...]]:
        with self.database.transaction() as db:
            rows = db.execute("SELECT hook, guid, body FROM delivery ORDER BY arrival").fetchall()
        return [(row["hook"], row["guid"], bytes(row["body"])) for row in rows]

    def count_outcomes(self) -> dict[str, float]:
        """Return how often each outcome was counted."""
        lines = generate_latest().decode().splitlines()
        rows = (line.rpartition(" ") for line in lines if line.startswith("muster_deliveries_total{"))
        return {name.partition('outcome="')[2].rstrip('"}'): float(value) for name, _, value in rows}


@contextmanager
def run_receiver(database: Database, secrets: tuple[str, ...], **more: Any) -> Iterator[Receiver]:
    wake_ups: list[str] = []
    clock = HandClock.at_default_start()
    flask = create_app(database, secrets, clock, on_delivery=lambda: wake_ups.append("woken"), **more)
    served = HttpServer(
        flask,
        "127.0.0.1",
        0,
        name="door",
        max_body_bytes=MAX_BODY_BYTES + 65536,
        check_head=create_head_check(flask),
    )
    plain = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        with httpx.Client(
            base_url=f"http://127.0.0.1:{served.port}", verify=plain, trust_env=False, timeout=20
        ) as client:
            yield Receiver(served.port, database, client, wake_ups)
    finally:
        served.stop()


@pytest.fixture
def door(database: Database) -> Iterator[Receiver]:
    with run_receiver(database, (SECRET, OLD_SECRET)) as found:
        yield found


@pytest.mark.parametrize(
    "given", ["", "sha1=da39a3", "sha256=" + "0" * 64, "sha256=é", "sha256=", "sha256=" + "é" * 64]
)
def test_a2_m01_without_the_right_signature_nothing_is_read_or_stored(door: Receiver, given: str) -> None:
    before = door.count_outcomes().get("bad signature", 0)
    assert door.deliver(b"[" * 100_000, signature_header=given).status_code == 401
    assert door.list_deliveries() == []
    assert door.count_outcomes()["bad signature"] == before + 1


def test_a2_m02_the_signature_is_over_the_raw_bytes(door: Receiver) -> None:
    raw = '{"t":"é 🚀 \\u0041"}'.encode()
    again = json.dumps(json.loads(raw)).encode()
    assert door.deliver(raw, signature_header=signature(SECRET, again)).status_code == 401
    assert door.deliver(raw).status_code == 202
    assert door.list_deliveries() == [("7", "guid-1", raw)]


def test_a2_githubs_own_example() -> None:
    expected = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert signature(GITHUB_EXAMPLE_SECRET, b"Hello, World!") == expected


def test_a4_m03_m04_a_delivery_is_known_by_its_hook_and_id(door: Receiver) -> None:
    answers = [door.deliver(b'{"a":1}') for _ in range(100)]
    assert {answer.status_code for answer in answers} == {202}
    assert [answer.text for answer in answers[:2]] == ["new\n", "known\n"]
    assert door.deliver(b'{"a":2}').text == "reused\n"
    assert door.list_deliveries() == [("7", "guid-1", b'{"a":1}')]
    assert door.deliver(b'{"a":1}', X_GitHub_Hook_ID="8").text == "new\n"
    assert door.wake_ups == ["woken", "woken"]


def test_a4_m04_two_hooks_tell_the_same_and_it_happens_once(tonight: Night) -> None:
    number = tonight.github.person("ada").opens(tonight.shop, "Down", SEV1, ["incident"])
    tonight.advance_and_settle()
    tonight.github.person("mona").comments(tonight.shop, number, "/severity seven")  # refused, and answered
    tonight.github.hooks.settle()
    with tonight.database.transaction() as db:
        twice = db.execute("SELECT guid, event, body FROM delivery WHERE event = 'issue_comment'").fetchall()
        for row in twice:
            tonight.store_delivery(db, row["guid"], row["event"], bytes(row["body"]), hook="the App's")
    tonight.advance_and_settle()
    assert len([key for key in tonight.list_posted_keys(number) if key.startswith("reply/")]) == 1


@pytest.mark.parametrize(
    ("event", "body"),
    [("ping", b'{"zen":"Keep it logically awesome."}'), ("brand_new", b"{}"), ("issues", b'{"action":"brand_new"}')],
    ids=["ping", "unknown event", "unknown action"],
)
def test_a4_what_means_nothing_to_us_is_taken_and_does_nothing(tonight: Night, event: str, body: bytes) -> None:
    head = {
        "Content-Type": "application/json",
        "X-GitHub-Delivery": "guid-1",
        "X-GitHub-Event": event,
        "X-Hub-Signature-256": signature(tonight.github.app.webhook_secret, body),
    }
    assert httpx.post(tonight.github.hooks.url, content=body, headers=head, trust_env=False).status_code == 202
    tonight.settle()
    with tonight.database.transaction() as db:
        assert db.execute("SELECT 1 FROM incident UNION ALL SELECT 1 FROM outbox").fetchall() == []
    assert set(tonight.load_delivery_states().values()) <= {"ignored"}


def find_unsafe_comparisons(source: str) -> list[int]:
    """Return the lines that compare a digest by an operator that stops at the first difference."""
    digests = re.compile(r"signature|digest|\bmac\b|hmac", re.IGNORECASE)
    if not digests.search(source):
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Compare)
        and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops)
        and any(
            digests.search(ast.unparse(side))
            for side in (node.left, *node.comparators)
            if not isinstance(side, ast.Constant)
        )
    ]


def test_a2_no_digest_is_compared_by_its_first_difference() -> None:
    assert find_unsafe_comparisons("def good(a, b):\n    return hmac.new(a, b).hexdigest() == b") == [2], (
        "the rule can fail"
    )
    found = {str(file): find_unsafe_comparisons(file.read_text("utf-8")) for file in Path("app").rglob("*.py")}
    assert {file: lines for file, lines in found.items() if lines} == {}


def test_a2_the_time_tells_nothing_of_the_signature(door: Receiver, figures: Figures) -> None:
    """Wrong in the first character or in the last: Welch's t-test over interleaved timings.

    One run in a hundred differs by chance alone, so only three in a row count as a difference.
    """
    body, many = b"{}", choose_size(200, 5_000)
    right = signature(SECRET, body)
    first = "sha256=" + ("0" if right[7] != "0" else "1") + right[8:]
    last = right[:-1] + ("0" if right[-1] != "0" else "1")
    for _ in range(3):
        times: dict[str, list[float]] = {first: [], last: []}
        for nth in range(many):
            for given in (first, last) if nth % 2 else (last, first):
                began = time.perf_counter()
                assert door.deliver(body, signature_header=given).status_code == 401
                times[given].append(time.perf_counter() - began)
        p = p_value(times[first], times[last])
        if p > 0.01:
            break
    assert p > 0.01
    figures.record(
        "A2",
        size=f"{2 * many:,} wrong signatures, half of them right up to the last character",
        measured=f"times cannot be told apart: p = {p:.2f}",
    )


def p_value(some: list[float], others: list[float]) -> float:
    """Return the probability of such a difference by chance.

    The slowest tenth is left out: it is noise of the machine.
    """
    fastest = [sorted(times)[: len(times) * 9 // 10] for times in (some, others)]
    (a, b), (va, vb) = map(statistics.fmean, fastest), map(statistics.variance, fastest)
    t = (a - b) / math.sqrt(va / len(fastest[0]) + vb / len(fastest[1]))
    return math.erfc(abs(t) / math.sqrt(2))


def test_a5_m05_too_large(door: Receiver) -> None:
    """By its declared length, whole, or in chunks without a declared length: it is not stored."""
    body = b"x" * (MAX_BODY_BYTES + 1)
    assert door.deliver(body).status_code == 413
    assert door.deliver(b"".join([body]), signature_header="sha256=" + "0" * 64).status_code == 413
    pieces = (b"x" * 2**20 for _ in range(27))
    chunked = door.client.post("/webhook", content=pieces, headers={"Content-Type": "application/json"})
    assert chunked.status_code in (401, 413)
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as line:
        line.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 10737418240\r\n\r\n")
        assert b" 413 " in line.recv(100)
    assert door.list_deliveries() == []
    assert door.count_outcomes()["too large"] >= 2


def test_a5_m05_what_is_compressed_stays_compressed(door: Receiver) -> None:
    bomb = gzip.compress(b"0" * 2**24)
    assert door.deliver(bomb, Content_Encoding="gzip").status_code == 202
    assert door.list_deliveries()[0][2] == bomb


def test_a_body_that_breaks_off_is_not_stored(door: Receiver) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=10) as line:
        line.sendall(b"POST /webhook HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    assert door.client.get("/healthz").status_code == 200
    assert door.list_deliveries() == []


def test_a4_who_knocks_in_another_way_is_told_how(door: Receiver) -> None:
    assert door.client.get("/webhook").status_code == 405
    assert door.client.post("/hook").status_code == 404
    assert door.deliver(Content_Type="application/x-www-form-urlencoded").status_code == 415
    assert door.deliver(Content_Type="").status_code == 415
    assert door.deliver(X_GitHub_Delivery="").status_code == 400
    assert door.deliver(X_GitHub_Event="").status_code == 400
    assert door.deliver(X_GitHub_Delivery="x" * 101).status_code == 400
    assert door.list_deliveries() == []


def test_two_secrets_are_good_while_one_replaces_the_other(door: Receiver) -> None:
    assert door.deliver(b'{"a":1}', secret=OLD_SECRET).status_code == 202
    assert door.deliver(b'{"a":2}', secret=SECRET, X_GitHub_Delivery="guid-2").status_code == 202
    assert door.deliver(b'{"a":3}', secret=GITHUB_EXAMPLE_SECRET, X_GitHub_Delivery="guid-3").status_code == 401


def test_without_a_database_nothing_is_accepted() -> None:
    away = Database("postgresql://127.0.0.1:9/nowhere", acquire_timeout_seconds=0.2)
    with run_receiver(away, (SECRET,)) as door:
        assert door.deliver().status_code == 503
        assert door.wake_ups == []
        assert door.client.get("/healthz").status_code == 200
        answer = door.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
        assert door.client.get("/healthz/door").status_code == 503


def test_fc_s18_the_public_port_says_whether_and_not_why(database: Database) -> None:
    """FC-S18: reasons and metrics are on the admin port; the door stays open while something else is wrong."""
    with run_receiver(database, (SECRET,), readiness_problems=lambda: ["no worker has been heard"]) as door:
        answer = door.client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"status": "not ready"})
        assert door.client.get("/healthz/door").json() == {"status": "open"}
        assert door.client.get("/metrics").status_code == 404
    with run_receiver(database, (SECRET,)) as door:
        assert door.client.get("/readyz").json() == {"status": "ready"}


def test_fc_s18_the_admin_port_says_why(database: Database) -> None:
    app = create_admin_app(database, lambda: ["no worker has been heard", "late"], lambda: None)
    served = HttpServer(app, "127.0.0.1", 0, name="admin")
    try:
        answer = httpx.get(f"http://127.0.0.1:{served.port}/readyz")
        assert answer.status_code == 503
        assert answer.json()["reasons"] == ["no worker has been heard", "late"]
        assert "muster_deliveries_total" in httpx.get(f"http://127.0.0.1:{served.port}/metrics").text
        assert httpx.get(f"http://127.0.0.1:{served.port}/healthz").json() == {"status": "alive"}
        assert httpx.post(f"http://127.0.0.1:{served.port}/webhook").status_code == 404
    finally:
        served.stop()


def test_fc_s18_a_taken_admin_port_stops_nothing(database: Database) -> None:
    with run_receiver(database, (SECRET,)) as taken:
        settings = Settings(app_id=1, webhook_secrets=(SECRET,), admin_port=taken.port)
        application = build(settings, database, HandClock.at_default_start())
        try:
            assert admin_server(application) is None
        finally:
            application.client.close()


POISON = [
    b"[" * 100_000,
    b"9" * 5000,
    b'{"action":"opened","action":"deleted"}',
    b"[]",
    b'"x"',
    b"NaN",
    b"\xff\xfe",
    b'{"issue":{"number":-1},"repository":{"id":1,"full_name":"o/r"},"installation":{"id":1}}',
    b'{"issue":{"number":1},"repository":{"id":1e400,"full_name":"o/r"},"installation":{"id":1}}',
    b'{"issue":{"number":1},"repository":{"id":%d,"full_name":"o/r"},"installation":{"id":1}}' % 2**70,
    b'{"issue":{"number":true},"repository":{"id":1,"full_name":"o/r"},"installation":{"id":1}}',
    b'{"issue":[],"repository":{"id":1,"full_name":"o/r"},"installation":{"id":1}}',
    b'{"action":"labeled","issue":{"number":1,"labels":7},"repository":{"id":1,"full_name":"o/r"},"installation":{"id":1}}',
]
IGNORED = [b"{}", b'{"action":"brand_new_action"}', b'{"zen":"Keep it logically awesome."}']


def test_a6_m06_m07_poison_is_set_aside_once_and_holds_up_nobody(tonight: Night) -> None:
    """The signature is right, so it is stored; but it gets one try only, and the delivery behind it is processed."""
    with tonight.database.transaction() as db:
        for n, body in enumerate([*POISON, *IGNORED]):
            tonight.store_delivery(db, f"poison-{n}", "issues", body)
    number = tonight.github.person("stranger").opens(tonight.shop, "Down", "It is down.", ["incident"])
    tonight.advance_and_settle()
    assert "incident" in tonight.labels(number)
    states = tonight.load_delivery_states()
    assert [states[f"poison-{n}"] for n in range(len(POISON))] == ["dead"] * len(POISON)
    assert {states[f"poison-{n}"] for n in range(len(POISON), len(POISON) + len(IGNORED))} == {"ignored"}
