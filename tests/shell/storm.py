"""The delivery storm `D(n, dup, shuffled)`: many incidents at once.

Their deliveries come twice and in any order; the oracle says what must have come of it in the end.

Everything happens on GitHub first, while no worker runs; then it is delivered. The oracle processes the same deliveries
once and in order into its own database, and sends nothing. It evaluates them as of the moment at which the workers
ended, so that the same alarms have fired.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any

from flask import Request

from app.bootstrap import build
from app.github.signed_marker import Signer
from app.github.tracker import comment_from
from app.ports import IncidentKey
from app.sandbox.github import Limits, SandboxGitHub
from app.sandbox.github.faults import Fault, FaultKind
from app.sandbox.github.hooks import Delivery
from app.sandbox.github.world import Repository
from app.settings import Settings
from app.store import inbox
from app.store.database import Database
from app.worker.monitoring.state_dump import dump_state
from app.worker.pipeline.ingest import process_incident
from app.worker.pipeline.routing import route_deliveries
from tests.shell.night import POLICY, SEV1, get_app_registration

DELIVERIES_PER_INCIDENT = 10
"""How many deliveries concern one incident."""
_INCIDENT_AGE = timedelta(minutes=20, seconds=30)
"""Age of the incidents: some pages have gone unanswered since, and no alarm is due for some minutes."""
_STEP_INTERVAL = timedelta(seconds=10)
_MAX_REPOSITORIES = 50
"""The most repositories that incidents are spread over, each in its own organisation."""

FAULT_RATES: Mapping[FaultKind, float] = {"pre": 0.03, "lost": 0.03, "post5": 0.02}
"""The share of POST requests that fail, by kind of fault (row 3)."""


def now() -> datetime:
    """Return the real time, the only one that the processes under test know."""
    return datetime.now(UTC)


@dataclass
class DelayedClock:
    """The real time, minus a delay."""

    behind: timedelta = timedelta(0)

    def __call__(self) -> datetime:
        return now() - self.behind


def create_fault_chooser(
    seed: int, rates: Mapping[FaultKind, float] = FAULT_RATES
) -> Callable[[Request], Fault | None]:
    """Create a function that fails this share of POST requests at random, except those for tokens."""
    dice = random.Random(seed)

    def choose_fault(request: Request) -> Fault | None:
        if request.method != "POST" or "access_tokens" in request.path:
            return None
        number = dice.random()
        for kind, rate in rates.items():
            if number < rate:
                return Fault(kind)
            number -= rate
        return None

    return choose_fault


@dataclass
class Storm:
    """A GitHub on which everything has happened, and the deliveries that report it."""

    github: SandboxGitHub
    seed: int
    shops: list[Repository]
    deliveries: list[Delivery] = field(default_factory=list)

    def environment(self, **more: str) -> dict[str, str]:
        """Return the settings of a process under test."""
        app = self.github.app
        return {
            "GITHUB_API_URL": self.github.api_url,
            "GITHUB_APP_ID": str(app.app_id),
            "GITHUB_APP_PRIVATE_KEY": app.private_key_pem,
            "GITHUB_WEBHOOK_SECRET": app.webhook_secret,
            "MUSTER_LOG": "json",
            **more,
        }

    def start_faults(self, rates: Mapping[FaultKind, float] = FAULT_RATES) -> None:
        """Let this share of POST requests fail from now on."""
        self.github.faults.choose_fault = create_fault_chooser(self.seed, rates)

    def shuffle_deliveries(self, duplicates: float = 0.2) -> list[Delivery]:
        """Return the deliveries shuffled, with this share of them twice."""
        dice = random.Random(self.seed)
        twice = dice.sample(self.deliveries, int(len(self.deliveries) * duplicates))
        mixed = [*self.deliveries, *twice]
        dice.shuffle(mixed)
        return mixed

    def fill_oracle(self, database: Database, at: datetime) -> None:
        """Fill the database with the expected state at that time: each delivery processed once, in order."""
        app = self.github.app
        settings = Settings(
            api_url=self.github.api_url,
            app_id=app.app_id,
            private_key=app.private_key_pem,
            webhook_secrets=(app.webhook_secret,),
        )
        application = build(settings, database, lambda: at)
        try:
            with database.transaction() as db:
                for delivery in self.deliveries:
                    inbox.store_delivery(db, inbox.Delivery("oracle", delivery.guid, delivery.event, delivery.body, at))
            while incident_keys := route_deliveries(application.ctx):
                for incident_key in incident_keys:
                    assert process_incident(application.ctx, incident_key)
        finally:
            application.client.close()

    def count_lost_deliveries(self, database: Database) -> int:
        """Return how many acknowledged deliveries were not processed."""
        acknowledged = {d.guid for d in self.github.hooks.deliveries() if d.status_code == 202}
        with database.transaction() as db:
            rows = db.execute("SELECT guid FROM delivery WHERE state IN ('processed', 'ignored')").fetchall()
        return len(acknowledged - {row["guid"] for row in rows})

    def count_posted_keys(self) -> Counter[tuple[str, str]]:
        """Count each key in the markers of our comments, by issue (such as `octo-1/shop-1#2`) and key."""
        signer = Signer((self.github.app.webhook_secret,), self.github.app.app_id)
        found: Counter[tuple[str, str]] = Counter()
        for shop in self.shops:
            for issue in shop.issues.values():
                for comment in issue.comments:
                    shape = comment_from(self.github.serializer.comment(issue, comment))
                    content = signer.read(IncidentKey(shop.id, issue.number), shape) or {}
                    found.update((f"{shop.full_name}#{issue.number}", key) for key in content.get("keys", ()))
        return found

    def list_duplicates(self) -> list[tuple[str, str]]:
        """Return what was posted more than once, by issue and key."""
        return [what for what, times in self.count_posted_keys().items() if times > 1]

    def list_missing(self, database: Database) -> list[tuple[str, str, str]]:
        """Return decided effects that are not done, or marked done but not visible on GitHub, and missing boards."""
        posted, wrong = self.count_posted_keys(), []
        for effect in dump_state(database)["effects"]:
            place, key, state = f"{effect['repo']}#{effect['number']}", effect["key"], effect["state"]
            is_comment = key.partition("/")[0] not in ("react", "assign", "postmortem")
            if state not in ("done", "skipped") or (is_comment and state == "done" and not posted[place, key]):
                wrong.append((place, key, state))
        for shop in self.shops:
            for number in shop.issues:
                place = f"{shop.full_name}#{number}"
                if posted[place, "board"] != 1:
                    wrong.append((place, "board", str(posted[place, "board"])))
        return wrong


def dump_comparable_state(database: Database) -> dict[str, Any]:
    """Return the canonical dump of incidents and alarms, without what sending adds (board URLs, labels).

    Incidents of one day are numbered in order of arrival, which differs between runs; the issue's number replaces
    the id.
    """
    found = dump_state(database)
    bare = [{k: v for k, v in one.items() if k not in ("board", "labels")} for one in found["incidents"]]
    for one in bare:
        one["incident"]["id"] = f"#{one['number']}"
    return {"incidents": bare, "alarms": found["alarms"]}


def list_decided_effects(database: Database) -> set[tuple[str, str]]:
    """Return every effect that was decided, by issue and key."""
    return {(f"{effect['repo']}#{effect['number']}", effect["key"]) for effect in dump_state(database)["effects"]}


@contextmanager
def create_storm(deliveries: int, seed: int = 1) -> Iterator[Storm]:
    """Create the storm `D(deliveries, ...)`, with everything having happened a while ago."""
    clock = DelayedClock(_INCIDENT_AGE)
    with SandboxGitHub(clock, get_app_registration(), limits=Limits(per_hour=10**9)) as github:
        github.hooks.hold()
        for login in ("mona", "hubot", "ada", "grace", "stranger"):
            github.add_person(login)
        found = Storm(github, seed, [])
        issues = max(1, deliveries // DELIVERIES_PER_INCIDENT)
        for nth in range(min(issues, _MAX_REPOSITORIES)):
            shop = github.add_repository(f"octo-{nth}/shop-{nth}", files={".github/incidents.yml": POLICY})
            for login in ("mona", "hubot", "ada", "grace"):
                shop.permit(login, "write")
            found.shops.append(shop)
        settled = len(github.hooks.held_deliveries)
        shops = islice(cycle(found.shops), issues)
        scripts = [
            _play_unanswered(found, shop) if nth % 4 == 0 else _play_answered(found, shop)
            for nth, shop in enumerate(shops)
        ]
        for step in range(DELIVERIES_PER_INCIDENT):
            clock.behind = _INCIDENT_AGE - step * _STEP_INTERVAL
            for script in scripts:
                next(script, None)
        clock.behind = timedelta(0)
        found.deliveries = github.hooks.held_deliveries[settled:]
        github.hooks.release(github.hooks.held_deliveries[:settled])
        yield found


def _play_answered(storm: Storm, shop: Repository) -> Iterator[None]:
    """Play a sev4 incident from its report to its end."""
    person = storm.github.person
    number = person("grace").opens(
        shop, "Search is slow", SEV1.replace("SEV1", "SEV4").replace("High", "Low"), ["incident"]
    )
    yield
    steps: list[Callable[[], object]] = [
        lambda: person("mona").comments(shop, number, "/ack"),
        lambda: person("stranger").comments(shop, number, "Still slow here."),
        lambda: person("hubot").comments(shop, number, "/update It is the index."),
        lambda: person("ada").labels(shop, number, "area/search"),
        lambda: person("stranger").comments(shop, number, "Thanks for the news."),
        lambda: person("mona").comments(shop, number, "/help"),
        lambda: person("mona").comments(shop, number, "/resolve The index is back."),
        lambda: person("mona").closes(shop, number),
    ]
    for step in steps:
        step()
        yield


def _play_unanswered(storm: Storm, shop: Repository) -> Iterator[None]:
    """Play a sev1 incident that people discuss and none acknowledges."""
    person = storm.github.person
    number = person("grace").opens(shop, "Checkout is down", SEV1, ["incident"])
    yield
    for nth in range(DELIVERIES_PER_INCIDENT - 2):
        person("stranger").comments(shop, number, f"Down here as well, {nth}.")
        yield
