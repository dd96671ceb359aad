"""One night on call: the whole of Muster but its queue, on a clock moved by hand.

GitHub is the pretend one over real HTTP, the database is real, the door is the real one; only the wake-ups come from
`settle` instead of a worker, so that a test says when they happen.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from app.failpoint import Failpoints
from app.house import House, furnished
from app.sandbox.server import PretendGitHub
from app.sandbox.world import Repository
from app.serving import Served
from app.settings import Settings
from app.store import inbox, incidents, outbox
from app.store.database import Database
from app.web.application import application
from app.worker.perform import perform
from app.worker.sort import sort
from app.worker.take import take

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


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def __call__(self) -> datetime:
        return self.at


@dataclass
class Night:
    """The parts, and what happens to them."""

    clock: HandClock
    github: PretendGitHub
    database: Database
    shop: Repository
    built: House = field(init=False)

    def move_in(self, failpoint: str = "", end: object = None) -> None:
        """Put the parts together anew, as after a restart."""
        settings = Settings(
            api_url=self.github.api_url,
            app_id=self.github.app.app_id,
            private_key=self.github.app.private_key_pem,
            webhook_secrets=(self.github.app.webhook_secret,),
        )
        self.built = furnished(settings, self.database, self.clock)
        if failpoint:
            object.__setattr__(self.built.desk, "failpoints", Failpoints(failpoint, end))  # type: ignore[arg-type]

    def later(self, seconds: int = 20) -> None:
        """A moment passes, and everything due happens: GitHub tells times to the second only."""
        self.settle()
        self.clock.at += timedelta(seconds=seconds)
        self.settle()

    def settle(self) -> None:
        """Let everything happen that is due now."""
        while True:
            self.github.hooks.settle(10)
            lanes = dict.fromkeys(sort(self.built.desk))
            now = self.clock()
            with self.database.transaction() as db:
                lanes.update(dict.fromkeys(inbox.waiting_lanes(db)))
                lanes.update(dict.fromkeys(incidents.lanes_due(db, now)))
                lanes.update(dict.fromkeys(outbox.lanes_waiting(db, now)))
            if not lanes:
                self.github.hooks.settle(10)
                with self.database.transaction() as db:
                    if not inbox.any_new(db):
                        return
            for lane in lanes:
                take(self.built.desk, lane)
                perform(self.built.desk, lane)

    def passes(self, **time: float) -> None:
        """Time goes by, minute after minute, and everything due on the way happens."""
        end = self.clock.at + timedelta(**time)
        while self.clock.at < end:
            self.clock.at = min(end, self.clock.at + timedelta(minutes=1))
            self.settle()

    def board(self, number: int) -> str:
        """The text of the one board of that issue."""
        boards = [comment.body for comment in self.shop.issue(number).comments if comment.body.startswith("## ")]
        assert len(boards) == 1, f"{len(boards)} boards"
        return boards[0]

    def notices(self, number: int) -> list[str]:
        """The texts of all comments of ours but the board."""
        return [
            comment.body
            for comment in self.shop.issue(number).comments
            if comment.author.kind == "Bot" and not comment.body.startswith("## ")
        ]

    def labels(self, number: int) -> set[str]:
        return set(self.shop.issue(number).labels)


@contextmanager
def night(database: Database, policy: str | None = POLICY) -> Iterator[Night]:
    """A night that begins at 09:00 UTC on Saturday, 14 March 2026."""
    clock = HandClock(datetime(2026, 3, 14, 9, 0, tzinfo=UTC))
    with PretendGitHub(clock) as github:
        for login in ("mona", "hubot", "ada", "grace"):
            github.add_person(login)
        github.add_person("stranger")
        files = {"README.md": "# shop\n"} | ({".github/incidents.yml": policy} if policy is not None else {})
        shop = github.add_repository("octo/shop", files=files)
        for login in ("mona", "hubot", "ada", "grace"):
            shop.permit(login, "write")
        found = Night(clock, github, database, shop)
        found.move_in()
        secrets = (github.app.webhook_secret,)
        door = Served(application(database, secrets, clock), "127.0.0.1", 0, name="door")
        github.hooks.url = f"http://127.0.0.1:{door.port}/webhook"
        try:
            yield found
        finally:
            github.hooks.url = None
            door.stop()
            found.built.client.close()
