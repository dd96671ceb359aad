"""Muster audits itself: what it reports, whom it alerts, and what a person can do about it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client import REGISTRY

from app.bootstrap import AuditLoop, admin_server, build, http_server
from app.cli import dead_letters
from app.rate_limit import APP, UNLIMITED, Budget
from app.safe_http import SafeHttpClient
from app.sandbox.github import SandboxGitHub
from app.settings import Settings
from app.store import incidents, outbox, rate_limits, sync_state
from app.store.database import Database
from app.store.rate_limits import DatabaseRateLimiter
from app.web.application import create_admin_app
from app.web.server import HttpServer
from app.worker.jobs import Queue
from app.worker.monitoring.self_audit import FINDING_NAMES, readiness_problems, run_audit, update_gauges
from app.worker.sync.reconciler import Reconciler
from tests.figures import Figures
from tests.shell import storm
from tests.shell.night import SEV1, Night
from tests.shell.processes import start_worker, wait_until
from tests.shell.test_receiver import IGNORED, POISON
from tests.soak import choose_size

ROOT = Path(__file__).parents[2]


def record_heartbeat(tonight: Night) -> None:
    """Record a heartbeat of a worker."""
    with tonight.database.transaction() as db:
        db.execute("DELETE FROM procrastinate_workers")
        db.execute("INSERT INTO procrastinate_workers (last_heartbeat) VALUES (%s)", (tonight.clock(),))


def list_alarm_names(logs: list[Any]) -> list[str]:
    return [row["name"] for row in logs if row["event"] == "alarm"]


def load_gauges(url: str) -> dict[str, float]:
    text = httpx.get(f"{url}/metrics").text
    return {name: float(value) for name, value in re.findall(r"^(muster_\S+) (\S+)$", text, re.MULTILINE)}


@contextmanager
def listen_for_heartbeats() -> Iterator[tuple[str, list[str]]]:
    """Run a monitor that waits for heartbeats; yield its address and the list of methods it received."""
    methods: list[str] = []

    def listen(environ: dict[str, Any], start: Callable[..., object]) -> list[bytes]:
        methods.append(environ["REQUEST_METHOD"])
        start("200 OK", [])
        return [b"ok"]

    served = HttpServer(listen, "127.0.0.1", 0, name="monitor")
    try:
        yield f"http://127.0.0.1:{served.port}/ping/secret", methods
    finally:
        served.stop()


def open_incident(tonight: Night) -> int:
    number = tonight.github.person("stranger").opens(tonight.shop, "Checkout is down", SEV1, ["incident"])
    tonight.advance_and_settle()
    record_heartbeat(tonight)
    return number


# What the audit finds.


def test_g3_an_overdue_incident_is_found_though_its_alarm_is_lost_and_woken(tonight: Night) -> None:
    """The row of the alarm is gone: only the incident itself shows that it is overdue."""
    number = open_incident(tonight)
    assert run_audit(tonight.application.ctx) == []
    with tonight.database.transaction() as db:
        db.execute("DELETE FROM alarm")
    tonight.clock.at += timedelta(minutes=6)
    record_heartbeat(tonight)
    enqueued: list[int] = []
    audit_loop = AuditLoop(
        tonight.application.ctx,
        enqueue=lambda incident_keys: enqueued.extend(incident_key.number for incident_key in incident_keys),
    )
    with structlog.testing.capture_logs() as logs:
        assert not audit_loop.run_once()
        assert not audit_loop.run_once()
    assert list_alarm_names(logs) == ["overdue"], "one alert, however often it is found"
    assert enqueued == [number, number]
    tonight.run_job(number)
    assert "An alarm of this incident was late" in tonight.board(number)
    assert "page0.2" in "".join(tonight.list_posted_keys(number)), "processing the incident fires the lost alarm"
    with structlog.testing.capture_logs() as logs:
        audit_loop.run_once()
    assert [row["event"] for row in logs if row.get("name") == "overdue"] == ["alarm over"]
    tonight.advance_and_settle()
    assert "An alarm of this incident was late" not in tonight.board(number)


def test_g3_an_alarm_that_was_moved_away_is_found(tonight: Night, figures: Figures) -> None:
    open_incident(tonight)
    with tonight.database.transaction() as db:
        db.execute("UPDATE alarm SET due = due + interval '9 days'")
    tonight.clock.at += timedelta(minutes=5)
    record_heartbeat(tonight)
    assert run_audit(tonight.application.ctx) == [], "five minutes are not over yet"
    tonight.clock.at += timedelta(seconds=61)
    record_heartbeat(tonight)
    assert [concern.name for concern in run_audit(tonight.application.ctx)] == ["overdue"]
    figures.record(
        "G3",
        size="an alarm moved by nine days in the database",
        measured="by the first audit after 61 s; there is one a minute",
    )


def test_g2_many_dead_letters_are_one_alarm_and_the_board_says_so(tonight: Night, figures: Figures) -> None:
    number = open_incident(tonight)
    tonight.github.faults.refuse("too long", path="/reactions", times=10**6)
    with structlog.testing.capture_logs() as logs:
        for _ in range(5):
            tonight.github.person("mona").comments(tonight.shop, number, "/update still looking")
            tonight.advance_and_settle()
            record_heartbeat(tonight)
            run_audit(tonight.application.ctx)
        tonight.restart()
        run_audit(tonight.application.ctx)
    assert list_alarm_names(logs) == ["dead-letters"]
    tonight.github.person("mona").comments(tonight.shop, number, "/update more")
    tonight.advance_and_settle()
    assert "6 of our messages could not be delivered here" in tonight.board(number)
    figures.record("G2", size="6 dead letters", measured="1 alarm")


def test_g2_the_breaker_is_one_alarm(tonight: Night, figures: Figures) -> None:
    with structlog.testing.capture_logs() as logs:
        for _ in range(2):
            open_incident_as_ada(tonight)
        tonight.settle()
        tonight.run_for(minutes=50)
        record_heartbeat(tonight)
        found = run_audit(tonight.application.ctx)
        run_audit(tonight.application.ctx)
    assert [(concern.name, len(concern.incident_keys)) for concern in found] == [("breaker", 2)]
    assert list_alarm_names(logs) == ["breaker"]
    figures.record("G2", size="2 issues held back", measured="1 alarm")


def open_incident_as_ada(tonight: Night) -> int:
    return tonight.github.person("ada").opens(tonight.shop, "Down", SEV1, ["incident"])


def test_g2_a_small_budget_is_one_alarm_until_its_hour_is_over(tonight: Night, figures: Figures) -> None:
    open_incident(tonight)
    budget = Budget(5000, 999, tonight.clock() + timedelta(seconds=600))
    for installation in (tonight.installation, APP):
        DatabaseRateLimiter(tonight.database, UNLIMITED).record_response(installation, "GET", budget, tonight.clock())
    message = (
        "less than 20% of GitHub's budget is left for the App itself and 1 installation:"
        " all but sev1 may wait for its next hour"
    )
    assert readiness_problems(tonight.application.ctx) == [message]
    with structlog.testing.capture_logs() as logs:
        assert [(concern.name, concern.message) for concern in run_audit(tonight.application.ctx)] == [
            ("budget", message)
        ]
        run_audit(tonight.application.ctx)
    assert list_alarm_names(logs) == ["budget"]
    tonight.clock.at += timedelta(seconds=601)
    tonight.settle()
    record_heartbeat(tonight)
    assert run_audit(tonight.application.ctx) == []
    assert readiness_problems(tonight.application.ctx) == []
    figures.record("G2", size="2 budgets at 999 of 5000", measured="1 alarm, and /readyz")


def test_g2_drift_is_one_alarm_until_a_comparison_finds_nothing(tonight: Night, figures: Figures) -> None:
    """However many incidents were wrong; `muster_drift` counts them."""
    numbers = [open_incident_as_ada(tonight) for _ in range(choose_size(4, 40))]
    tonight.advance_and_settle()
    reconciler = Reconciler(tonight.application.ctx, tonight.application.client)
    reconciler.run_due()
    record_heartbeat(tonight)
    assert run_audit(tonight.application.ctx) == []
    with tonight.database.transaction() as db:
        db.execute("DELETE FROM alarm WHERE number <> %s", (numbers[0],))
    tonight.clock.at += timedelta(minutes=61)
    with tonight.database.transaction() as db:  # so that the reconciler finds drift, not an absence
        sync_state.save_checkpoint(db, "deliveries", tonight.clock())
    with structlog.testing.capture_logs() as logs:
        reconciler.run_due()
        tonight.settle()
        record_heartbeat(tonight)
        for _ in range(3):
            (found,) = [concern for concern in run_audit(tonight.application.ctx) if concern.name == "drift"]
        assert len(found.incident_keys) == len(numbers) - 1
        assert found.message.startswith(f"{len(numbers) - 1} incidents were not what GitHub shows")
        assert list_alarm_names(logs).count("drift") == 1
        assert sum(row["event"] == "drift" for row in logs) == len(numbers) - 1
        reconciler.run_now(lambda _: None)
        assert "drift" not in [concern.name for concern in run_audit(tonight.application.ctx)]
    figures.record("G2", size=f"{len(numbers) - 1} incidents that differ", measured="1 alarm, which ends")


def test_g2_a_wake_up_that_hangs_is_found(tonight: Night) -> None:
    queue = Queue(tonight.application.ctx)
    queue.enqueue_incidents(list_incident_keys(tonight))
    open_incident(tonight)
    queue.enqueue_incidents(list_incident_keys(tonight))
    tonight.clock.at = datetime.now(UTC)  # the queue takes its times from the database's clock
    with tonight.database.transaction() as db:
        assert db.execute("SELECT 1 FROM procrastinate_jobs").fetchone()
        db.execute("DELETE FROM alarm")
        db.execute("UPDATE incident SET state = jsonb_set(state, '{status}', '\"closed\"')")
    record_heartbeat(tonight)
    assert run_audit(tonight.application.ctx) == []
    tonight.clock.at += timedelta(minutes=6)
    record_heartbeat(tonight)
    assert [concern.name for concern in run_audit(tonight.application.ctx)] == ["stuck"]


def list_incident_keys(tonight: Night) -> list[Any]:
    with tonight.database.transaction() as db:
        return [incident_key for incident_key, _ in incidents.list_incidents(db)]


# Who is alerted.


def test_g3_the_sign_of_life_is_sent_only_while_all_is_well(tonight: Night) -> None:
    open_incident(tonight)
    with listen_for_heartbeats() as (url, pings):
        audit_loop = AuditLoop(tonight.application.ctx, heartbeat_url=url, http_client=SafeHttpClient(loopback=True))
        assert audit_loop.run_once()
        assert pings == ["POST"]
        with tonight.database.transaction() as db:
            db.execute("DELETE FROM alarm")
        tonight.clock.at += timedelta(minutes=7)
        record_heartbeat(tonight)
        assert not audit_loop.run_once()
        assert pings == ["POST"]
        for number in (1,):
            tonight.run_job(number)
        record_heartbeat(tonight)
        assert audit_loop.run_once()
        assert pings == ["POST", "POST"]


def test_a_monitor_that_is_away_harms_nobody(tonight: Night) -> None:
    open_incident(tonight)
    audit_loop = AuditLoop(
        tonight.application.ctx, heartbeat_url="http://127.0.0.1:9/ping", http_client=SafeHttpClient(loopback=True)
    )
    with structlog.testing.capture_logs() as logs:
        assert not audit_loop.run_once()
    assert [row["event"] for row in logs] == ["heartbeat failed"]
    guarded = AuditLoop(tonight.application.ctx, heartbeat_url="https://127.0.0.1/ping", http_client=SafeHttpClient())
    assert not guarded.run_once(), "this client refuses private addresses"


def test_the_watch_goes_on_when_an_audit_fails(tonight: Night) -> None:
    open_incident(tonight)
    with listen_for_heartbeats() as (url, pings):
        audit_loop = AuditLoop(
            tonight.application.ctx, heartbeat_url=url, http_client=SafeHttpClient(loopback=True), interval_seconds=0.05
        )
        with tonight.database.transaction() as db:
            db.execute("ALTER TABLE audit_finding RENAME TO elsewhere")
        audit_loop.start()
        time.sleep(0.3)
        assert pings == []
        with tonight.database.transaction() as db:
            db.execute("ALTER TABLE elsewhere RENAME TO audit_finding")
        assert wait_until(lambda: len(pings) >= 2, 10)
        audit_loop.stop()
        count = len(pings)
        time.sleep(0.2)
        assert len(pings) == count


# Readiness and metrics.


def test_readiness_gives_every_reason(tonight: Night) -> None:
    assert readiness_problems(tonight.application.ctx) == ["no worker has been heard for 20 seconds"]
    open_incident(tonight)
    assert readiness_problems(tonight.application.ctx) == []
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "late", "issues", b"{}")
        db.execute("INSERT INTO schema_step VALUES (9999, 'of tomorrow')")
    tonight.clock.at += timedelta(minutes=6)
    assert readiness_problems(tonight.application.ctx) == [
        "no worker has been heard for 20 seconds",
        "a delivery has been waiting for 6 minutes",
        "an alarm is 80 seconds late",
        "the schema is newer than this code: upgrade it",
    ]


def test_readiness_without_a_database(tonight: Night) -> None:
    """The web receiver of the real application gives the reason, and so do its gauges."""
    opened = Database(tonight.database.url, acquire_timeout_seconds=0.5).open()
    application = build(
        Settings(
            port=0, admin_port=0, app_id=1, webhook_secrets=("s" * 32,), private_key=tonight.github.app.private_key_pem
        ),
        opened,
        tonight.clock,
    )
    served = http_server(application, Queue(application.ctx))
    admin = admin_server(application)
    assert admin is not None
    door, url = f"http://127.0.0.1:{served.port}", f"http://127.0.0.1:{admin.port}"
    try:
        assert load_gauges(url)["muster_database_up"] == 1
        opened.close()
        answer = httpx.get(f"{url}/readyz", timeout=20)
        assert (answer.status_code, answer.json()["reason"]) == (503, "the database does not answer")
        assert httpx.get(f"{door}/healthz").status_code == 200
        assert httpx.get(f"{door}/healthz/door", timeout=20).status_code == 503
        assert load_gauges(url)["muster_database_up"] == 0
    finally:
        served.stop()
        admin.stop()
        application.client.close()


def test_g1_all_workers_are_killed(database: Database, tmp_path: Path, figures: Figures) -> None:
    """Within 30 seconds readiness fails, no heartbeat is sent any more, and the age of waiting work grows.

    At the quick size the web receiver's clock is advanced by some of those seconds.
    """
    clock = storm.DelayedClock()
    with SandboxGitHub(lambda: datetime.now(UTC)) as github, listen_for_heartbeats() as (monitor, pings):
        shop = github.add_repository("octo/shop")
        github.add_person("mona")
        settings = Settings(
            port=0,
            admin_port=0,
            api_url=github.api_url,
            app_id=github.app.app_id,
            private_key=github.app.private_key_pem,
            webhook_secrets=(github.app.webhook_secret,),
        )
        application = build(settings, database, clock)
        queue = Queue(application.ctx)
        served, admin = http_server(application, queue), admin_server(application)
        assert admin is not None
        url = f"http://127.0.0.1:{admin.port}"
        github.hooks.url = f"http://127.0.0.1:{served.port}/webhook"
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": database.url,
            "GITHUB_API_URL": github.api_url,
            "GITHUB_APP_ID": str(github.app.app_id),
            "GITHUB_APP_PRIVATE_KEY": github.app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": github.app.webhook_secret,
        }
        audit_loop = AuditLoop(application.ctx, heartbeat_url=monitor, http_client=SafeHttpClient(loopback=True))
        try:
            with start_worker(environment, tmp_path) as first, start_worker(environment, tmp_path) as second:
                assert wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 200)
                assert audit_loop.run_once()
                for each in (first, second):
                    os.kill(each.pid, signal.SIGKILL)
            killed = clock()
            clock.behind = -choose_size(timedelta(seconds=12), timedelta())
            github.person("mona").opens(shop, "Checkout is down", SEV1, ["incident"])
            assert httpx.get(f"{url}/readyz").status_code == 200, "not at once: a worker may be slow for a moment"
            assert wait_until(lambda: httpx.get(f"{url}/readyz").status_code == 503)
            not_ready_seconds = (clock() - killed).total_seconds()
            assert not_ready_seconds <= 30
            assert httpx.get(f"{url}/readyz").json()["reason"] == "no worker has been heard for 20 seconds"
            before = load_gauges(url)["muster_oldest_unprocessed_seconds"]
            time.sleep(1.1)
            assert load_gauges(url)["muster_oldest_unprocessed_seconds"] - before > 1
            assert not audit_loop.run_once()
            assert pings == ["POST"], "the monitor misses the next one"
            figures.record(
                "G1",
                size="2 of 2 workers killed with -9",
                measured=f"red in {not_ready_seconds:.0f} s, missing from the next minute on, it rises",
            )
        finally:
            served.stop()
            admin.stop()
            application.client.close()


def test_every_metric_and_reason_is_explained() -> None:
    page = (ROOT / "docs/operating.md").read_text()
    sources = "".join(path.read_text() for path in (ROOT / "app").rglob("*.py"))
    names = set(re.findall(r'(?:Gauge|Counter|Histogram)\(\s*"(muster_\w+)"', sources))
    assert len(names) >= 15
    assert [name for name in sorted(names) if f"`{name}" not in page] == []
    assert [name for name in FINDING_NAMES if f"| `{name}` |" not in page] == []


def test_the_gauges_say_what_is_there(tonight: Night) -> None:
    number = open_incident(tonight)
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "poison", "issues", b"[")
        for incident_key in list_incident_keys(tonight):
            for item in outbox.list_unfinished(db, incident_key, tonight.clock()):
                outbox.dead_letter(db, item, "never")
    tonight.settle()
    tonight.github.faults.refuse("too long", path="/reactions")
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    with tonight.database.transaction() as db:
        left = rate_limits.load_remaining_fractions(db, tonight.clock())[tonight.installation]
    assert 0 < left < 1
    update_gauges(tonight.application.ctx)
    assert REGISTRY.get_sample_value("muster_github_budget", {"installation": str(tonight.installation)}) == left
    tonight.clock.at += timedelta(hours=1)
    served = HttpServer(create_web_app(tonight), "127.0.0.1", 0, name="metrics")
    try:
        found = load_gauges(f"http://127.0.0.1:{served.port}")
    finally:
        served.stop()
    assert found["muster_inbox_dead"] == 1
    assert found["muster_dead_letters"] == 1
    assert found["muster_overdue_alarms"] >= 1
    assert found["muster_oldest_alarm_seconds"] > 60
    assert found["muster_comment_limit_active"] == 0
    assert not any(name.startswith("muster_github_budget{") for name in found), "its hour is over: unknown"


def create_web_app(tonight: Night) -> Any:
    ctx = tonight.application.ctx
    return create_admin_app(tonight.database, lambda: readiness_problems(ctx), lambda: update_gauges(ctx))


# What a person can do.


def run_command_line(tonight: Night, *words: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = dead_letters.run_command(
        dead_letters.parse_arguments(words), dead_letters.DeadLetterContext(tonight.database, tonight.clock, out, err)
    )
    return code, out.getvalue(), err.getvalue()


def test_a6_poison_is_parked_after_one_try_and_everything_else_is_done(
    database: Database, tonight: Night, figures: Figures
) -> None:
    """A real worker survives as many good deliveries as there is time for, with unreadable ones in between."""
    good = choose_size(60, 9_999)
    tonight.clock.at = datetime.now(UTC)
    queue = Queue(tonight.application.ctx, poll_interval_seconds=0.2)
    with tonight.database.transaction() as db:
        for n in range(good):
            tonight.store_delivery(db, f"good-{n}", "issues", IGNORED[n % len(IGNORED)])
            if n % 20 == 0:
                tonight.store_delivery(db, f"poison-{n}", "issues", POISON[n // 20 % len(POISON)] + b" " * n)
        for n, body in enumerate(POISON):
            tonight.store_delivery(db, f"poison-x{n}", "issues", body + b"\n")
    number = tonight.github.person("ada").opens(tonight.shop, "Down", SEV1, ["incident"])
    tonight.github.hooks.settle()
    pid, working = os.getpid(), threading.Thread(target=queue.run)
    working.start()
    try:
        assert wait_until(
            lambda: not set(tonight.load_delivery_states().values()) & {"received", "routed"}, choose_size(20, 300)
        )
        assert wait_until(lambda: bool(tonight.notices(number)), 20)
    finally:
        queue.stop()
        working.join(30)
    assert pid == os.getpid()
    states = tonight.load_delivery_states()
    assert {states[guid] for guid in states if guid.startswith("poison")} == {"dead"}
    assert {states[guid] for guid in states if guid.startswith("good")} == {"ignored"}
    rows = json.loads(run_command_line(tonight, "inbox", "list", "--json")[1])
    assert {row["tries"] for row in rows} == {1}
    assert len(rows) == len([guid for guid in states if guid.startswith("poison")])
    figures.record(
        "A6",
        size=f"{good:,} good deliveries, {len(rows)} that nobody can read among them, one worker",
        measured="each of those set aside after 1 try, all others done, the worker lives on",
    )


def test_a_parked_delivery_is_listed_shown_put_back_and_dropped(tonight: Night) -> None:
    evil = b'{"issue": {"number": 1, "title": "\\u001b]0;owned\\u0007\\u202e"}, "repository": 5'
    twice = b'{"action":"opened","action":"deleted"}'
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "evil\x1b[2J", "issues", evil + b"\x1b[2J\x9b\xff")
        tonight.store_delivery(db, "twice", "issues", twice)
    tonight.settle()
    code, out, err = run_command_line(tonight, "inbox", "list")
    assert (code, err) == (0, "2 deliveries wait\n")
    assert out.isascii()
    assert "\x1b" not in out
    assert "twice  2026-03-14 09:00:00 UTC  issues  38 bytes  tried 1 time  " in out
    code, out, _ = run_command_line(tonight, "inbox", "show", "evil\x1b[2J")
    assert code == 0
    assert re.fullmatch(r"[\n -~]+", out)
    assert r"\x1b[2J" in out
    assert run_command_line(tonight, "inbox", "show", "twice")[1].splitlines()[1] == twice.decode()
    assert json.loads(run_command_line(tonight, "inbox", "show", "twice", "--json")[1])[0]["body"] == twice.decode()

    assert (
        run_command_line(tonight, "inbox", "retry", "twice")[1]
        == "twice is put back: a worker takes it within a few seconds\n"
    )
    assert tonight.load_delivery_states()["twice"] == "received"
    tonight.settle()
    assert json.loads(run_command_line(tonight, "inbox", "list", "--json")[1])[1]["tries"] == 2
    assert run_command_line(tonight, "inbox", "drop", "twice", "--note", "a test")[:2] == (
        0,
        "twice is settled: nothing is done about it\n",
    )
    with tonight.database.transaction() as db:
        row = db.execute("SELECT state, note FROM delivery WHERE guid = 'twice'").fetchone()
    assert row == {"state": "ignored", "note": "dropped by hand at 2026-03-14 09:00 UTC: a test"}
    for word in ("show", "retry", "drop"):
        assert run_command_line(tonight, "inbox", word, "twice") == (
            1,
            "",
            "muster: no parked delivery is called twice: muster inbox list\n",
        )


def test_a_long_delivery_is_shown_in_part(tonight: Night) -> None:
    with tonight.database.transaction() as db:
        tonight.store_delivery(db, "long", "issues", b"[" * 100_000)
    tonight.settle()
    assert "(80000 more bytes: --all)" in run_command_line(tonight, "inbox", "show", "long")[1]
    assert run_command_line(tonight, "inbox", "show", "long", "--all")[1].count("[") == 100_000


def test_a_dead_letter_is_carried_out_after_all_and_never_twice(tonight: Night) -> None:
    """The first try was refused; the second succeeded without our knowledge: the comment is found, not posted again."""
    number = open_incident(tonight)
    tonight.github.faults.refuse("too long", method="POST", path="/comments")
    tonight.github.person("mona").comments(tonight.shop, number, "/help")
    tonight.advance_and_settle()
    (row,) = json.loads(run_command_line(tonight, "outbox", "list", "--json")[1])
    assert (row["repo"], row["issue"], row["kind"]) == ("octo/shop", number, "Help")
    assert f"octo/shop#{number}  Help" in run_command_line(tonight, "outbox", "list")[1]
    before = len(tonight.notices(number))
    code, out, _ = run_command_line(tonight, "outbox", "retry", str(row["number"]))
    assert (code, out) == (
        0,
        f"{row['number']} is put back: a worker looks whether it was done, and does it if not\n",
    )
    tonight.advance_and_settle()
    assert len(tonight.notices(number)) == before + 1
    with tonight.database.transaction() as db:
        db.execute("UPDATE outbox SET state = 'dead' WHERE position = %s", (row["number"],))
    assert run_command_line(tonight, "outbox", "retry", str(row["number"]))[0] == 0
    tonight.advance_and_settle()
    assert len(tonight.notices(number)) == before + 1
    assert run_command_line(tonight, "outbox", "list")[1:] == ("", "no orders wait\n")


def test_a_dead_letter_is_dropped(tonight: Night) -> None:
    number = open_incident(tonight)
    tonight.github.faults.refuse("too long", path="/reactions")
    tonight.github.person("mona").comments(tonight.shop, number, "/ack")
    tonight.advance_and_settle()
    record_heartbeat(tonight)
    assert [concern.name for concern in run_audit(tonight.application.ctx)] == ["dead-letters"]
    (row,) = json.loads(run_command_line(tonight, "outbox", "list", "--json")[1])
    assert (
        run_command_line(tonight, "outbox", "drop", str(row["number"]))[1]
        == f"{row['number']} is settled: it is not carried out\n"
    )
    assert run_audit(tonight.application.ctx) == []
    missing = (1, "", f"muster: no dead letter has the number {row['number']}: muster outbox list\n")
    assert run_command_line(tonight, "outbox", "drop", str(row["number"])) == missing
    assert run_command_line(tonight, "outbox", "retry", str(row["number"])) == missing


@pytest.mark.parametrize("words", [["inbox"], ["outbox", "retry", "x"], ["inbox", "drop"]], ids=" ".join)
def test_what_is_written_wrong_is_said_before_a_database_is_started(words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dead_letters.parse_arguments(words)
    assert ended.value.code == 2
