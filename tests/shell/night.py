"""One night on call: all of Muster except its queue, on a clock moved by hand.

GitHub is the sandbox GitHub over real HTTP; the database and the web receiver are real. Only the jobs are run by
`settle` instead of a worker, so that a test decides when they run.
"""

from __future__ import annotations

import itertools
import json
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from difflib import unified_diff
from functools import cache

import httpx

from app import ports
from app.bootstrap import Application, build, rebuild_incidents
from app.core.incident import Incident
from app.failpoints import Failpoints
from app.github.manifest import EVENTS, PERMISSIONS
from app.ports import IncidentKey
from app.safe_http import SafeHttpClient
from app.sandbox.github import AppRegistration, SandboxGitHub
from app.sandbox.github.world import Repository
from app.settings import Settings
from app.store import channel_outbox, inbox, incidents, outbox, policy_reviews
from app.store.database import Database, Db
from app.store.inbox import Delivery
from app.store.serialization import canonical_json
from app.web.application import create_app
from app.web.server import HttpServer
from app.worker.monitoring.state_dump import dump_state
from app.worker.pipeline.channel_sender import CLAIM_PERIOD, send_message
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.outbox_relay import relay_outbox
from app.worker.pipeline.policy_check import run_next_review
from app.worker.pipeline.routing import route_deliveries

POLICY = """\
extends: guide
timezone: Europe/Berlin
people:
  mona: {name: Mona Lisa}
  hubot: {name: Hubot}
  ada: {name: Ada Lovelace}
  grace: {name: Grace Hopper}
contacts:
  on-call: [mona, hubot]
  it-manager: [ada]
  cto: [grace]
"""
SEV1 = """\
### What is happening?

The checkout answers 502 to everybody.

### Severity

SEV1

### Impact

High

### Urgency

High
"""


TABLES = (
    *("delivery", "repository", "incident", "event", "alarm", "outbox", "incident_number", "policy", "feed"),
    *(
        "rate_limit",
        "sync_checkpoint",
        "comment_log",
        "comment_limit",
        "unconfirmed_report",
        "unconfirmed_digest",
        "unconfirmed_message",
        "audit_finding",
        "uninstalled_repository",
        "failed_processing",
        "policy_review",
        "suspended_alarm",
        "tombstone",
    ),
)


class Wire(httpx.BaseTransport):
    """The HTTP transport to the sandbox GitHub; subclasses observe each call and its response.

    It stays open until `end`, for clients that come and go close their transport, and `close` does nothing here.
    """

    def __init__(self) -> None:
        # Loopback is plain HTTP: an empty context saves loading the machine's certificates.
        self._inner = httpx.HTTPTransport(verify=ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = self._inner.handle_request(request)
        response.read()
        self.on_response(request, response)
        return response

    def on_response(self, request: httpx.Request, response: httpx.Response) -> None:
        """Observe a response; subclasses override it."""

    def end(self) -> None:
        self._inner.close()


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at

    @classmethod
    def at_default_start(cls) -> HandClock:
        """Return a clock at 09:00 UTC on Saturday, 14 March 2026."""
        return cls(datetime(2026, 3, 14, 9, 0, tzinfo=UTC))


@dataclass
class Night:
    """The parts of the application under test, and what a test does to them."""

    clock: HandClock
    github: SandboxGitHub
    database: Database
    shop: Repository
    wire: httpx.BaseTransport | None = None
    """The transport for calls to GitHub; None: the network."""
    create_failpoints: Callable[[], Failpoints] = Failpoints
    """Makes the fail points of each process that `restart` starts."""
    http_client: SafeHttpClient | None = None
    """The HTTP client for hosts other than GitHub; None: the network."""
    lease: timedelta = timedelta(seconds=30)
    """How long an attempt keeps other workers from the same outbox item."""
    feeds: Mapping[str, str] = field(default_factory=dict)
    """The values of `env:NAME` where a policy names an on-call feed."""
    channels: Mapping[str, str] = field(default_factory=dict)
    """The values of `env:NAME` where a policy names a channel."""
    application: Application = field(init=False)

    def restart(self) -> None:
        """Build the application anew, as after a restart."""
        settings = Settings(
            api_url=self.github.api_url,
            app_id=self.github.app.app_id,
            private_key=self.github.app.private_key_pem,
            webhook_secrets=(self.github.app.webhook_secret,),
            feeds=self.feeds,
            channels=self.channels,
        )
        if hasattr(self, "application"):
            self.application.client.close()
        self.application = build(
            settings,
            self.database,
            self.clock,
            transport=self.wire,
            http_client=self.http_client,
            failpoints=self.create_failpoints(),
            lease=self.lease,
        )

    @contextmanager
    def serve_webhook(self, failpoints: Failpoints) -> Iterator[str]:
        """Serve the web receiver, let GitHub deliver to it meanwhile, and give its URL."""
        flask = create_app(self.database, (self.github.app.webhook_secret,), self.clock, failpoints=failpoints)
        served, before = HttpServer(flask, "127.0.0.1", 0, name="door"), self.github.hooks.url
        self.github.hooks.url = f"http://127.0.0.1:{served.port}/webhook"
        try:
            yield self.github.hooks.url
        finally:
            self.github.hooks.url = before
            served.stop()

    def advance_and_settle(self, seconds: int = 20) -> None:
        """Settle, advance the clock and settle again, since GitHub's timestamps have a resolution of one second."""
        self.settle()
        self.clock.at += timedelta(seconds=seconds)
        self.settle()

    def run_job(self, number: int) -> bool:
        """Run one job for one incident; return False when some of its deliveries have to wait."""
        route_deliveries(self.application.ctx)
        incident_key = IncidentKey(self.shop.id, number)
        all_processed = process_incident(self.application.ctx, incident_key)
        relay_outbox(self.application.ctx, incident_key)
        return all_processed

    def send_due_messages(self) -> int:
        """Send the channel messages that are due, one after the other, and return the number of attempts."""
        tries = 0
        while self._has_pending_messages():
            with self.database.single_statement() as db:
                claimed = channel_outbox.claim_messages(db, self.clock(), CLAIM_PERIOD, limit=8, limit_per_sink=8)
            if not claimed:
                break
            for sending in claimed:
                send_message(self.application.ctx, sending)
            tries += len(claimed)
        return tries

    def _has_pending_messages(self) -> bool:
        with self.database.autocommit() as db:
            return channel_outbox.oldest_message_age(db, self.clock()) is not None

    def settle(self) -> None:
        """Process everything that is due now and not blocked."""
        stuck: set[IncidentKey] = set()
        while True:
            self.send_due_messages()
            self.github.hooks.settle(10)
            incident_keys = dict.fromkeys(route_deliveries(self.application.ctx))
            self.run_due_reviews()
            now = self.clock()
            with self.database.transaction() as db:
                incident_keys.update(dict.fromkeys(inbox.list_routed_incident_keys(db)))
                incident_keys.update(dict.fromkeys(incidents.list_due_incident_keys(db, now)))
                incident_keys.update(dict.fromkeys(outbox.list_due_incident_keys(db, now)))
            if not incident_keys.keys() - stuck:
                self.github.hooks.settle(10)
                with self.database.transaction() as db:
                    if not inbox.has_received_deliveries(db):
                        return
            for incident_key in incident_keys:
                if not process_incident(self.application.ctx, incident_key):
                    stuck.add(incident_key)
                relay_outbox(self.application.ctx, incident_key)

    def run_due_reviews(self) -> None:
        """Make the reviews of proposed policies that are due."""
        with self.database.transaction() as db:
            installations = policy_reviews.list_due_installations(db, self.clock())
        for installation in installations:
            while run_next_review(self.application.ctx, installation):
                pass

    def run_for(self, **time: float) -> None:
        """Advance the clock minute by minute, and settle after each."""
        end = self.clock.at + timedelta(**time)
        while self.clock.at < end:
            self.clock.at = min(end, self.clock.at + timedelta(minutes=1))
            self.settle()

    def dump_lines(self, normalize_as: Night | None = None) -> list[str]:
        """Return the canonical dump line by line, without the URLs and ids that differ from night to night.

        `normalize_as` is the night whose comment ids the dump contains, if that is another one.
        """
        return (normalize_as or self).normalize(canonical_json(dump_state(self.database))).splitlines()

    def normalize(self, text: str) -> str:
        people = itertools.count(1)
        for issue in self.shop.issues.values():
            for comment in issue.comments:
                name = "ours" if comment.author.kind == "Bot" else f"{next(people)}-by-{comment.login}"
                text = text.replace(str(comment.id), name)
        return text.replace(self.github.url, "")

    def expect(self, state: list[str], ignoring: str = "") -> None:
        """Compare the state with the expected one, except for the part `ignoring`, and show only differences."""
        found = [{**json.loads("\n".join(lines)), ignoring: None} for lines in (state, self.dump_lines())]
        before, now = (canonical_json(each).splitlines() for each in found)
        difference = "\n".join(unified_diff(before, now, "expected", "found", lineterm="", n=6))
        assert not difference, difference

    def lose_and_rebuild_database(self) -> None:
        """Empty the database and rebuild it from GitHub alone."""
        with self.database.transaction() as db:
            db.execute(f"TRUNCATE {', '.join(TABLES)}")
        self.restart()
        assert list(rebuild_incidents(self.application, None, None))

    def list_posted_keys(self, number: int) -> list[str]:
        """Return the keys in the markers of our comments on that issue, each as often as it was posted."""
        incident_key = IncidentKey(self.shop.id, number)
        tracker = self.application.ctx.tracker(ports.Repository(self.shop.id, "octo/shop", self.installation))
        contents = (self.application.ctx.signer.read(incident_key, comment) for comment in tracker.comments(number))
        return sorted(self.normalize(key) for content in contents if content for key in content["keys"])

    @property
    def installation(self) -> int:
        assert self.shop.installation is not None
        return self.shop.installation.id

    def store_delivery(self, db: Db, guid: str, event: str, body: bytes, hook: str = "other") -> None:
        """Store a delivery."""
        inbox.store_delivery(db, Delivery(hook, guid, event, body, self.clock()))

    def load_delivery_states(self) -> dict[str, str]:
        """Return the state of each delivery by its id."""
        with self.database.transaction() as db:
            return {row["guid"]: row["state"] for row in db.execute("SELECT guid, state FROM delivery")}

    def incident(self, number: int) -> Incident:
        with self.database.transaction() as db:
            stored = incidents.load_incident(db, IncidentKey(self.shop.id, number))
        assert stored is not None
        return stored.incident

    def board(self, number: int) -> str:
        """Return the text of the issue's board; fail unless there is exactly one."""
        boards = [comment.body for comment in self.shop.issue(number).comments if comment.body.startswith("## ")]
        assert len(boards) == 1, f"{len(boards)} boards"
        return boards[0]

    def notices(self, number: int) -> list[str]:
        """Return the texts of all our comments except the board."""
        return [
            comment.body
            for comment in self.shop.issue(number).comments
            if comment.author.kind == "Bot" and not comment.body.startswith("## ")
        ]

    def labels(self, number: int) -> set[str]:
        return set(self.shop.issue(number).labels)


@cache
def get_app_registration() -> AppRegistration:
    """Return the App registration that all nights share, with our manifest's permissions.

    Generating its key takes a while, so it is cached.
    """
    return AppRegistration.generate(permissions=PERMISSIONS, events=EVENTS)


@contextmanager
def run_night(database: Database, policy: str | None = POLICY) -> Iterator[Night]:
    """Run a night that begins at 09:00 UTC on Saturday, 14 March 2026."""
    clock = HandClock.at_default_start()
    with SandboxGitHub(clock, get_app_registration()) as github:
        for login in ("mona", "hubot", "ada", "grace"):
            github.add_person(login)
        github.add_person("stranger")
        files = {"README.md": "# shop\n"} | ({".github/incidents.yml": policy} if policy is not None else {})
        shop = github.add_repository("octo/shop", files=files)
        for login in ("mona", "hubot", "ada", "grace"):
            shop.permit(login, "write")
        found = Night(clock, github, database, shop)
        found.restart()
        try:
            with found.serve_webhook(Failpoints()):
                yield found
        finally:
            found.application.client.close()
