"""The demo's stage: all of Muster next to a sandbox GitHub, on a clock that is moved by hand."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from app import bootstrap, ports
from app.core.incident import Incident
from app.core.policy import Policy
from app.github.manifest import EVENTS, PERMISSIONS
from app.sandbox.github import AppRegistration, SandboxGitHub
from app.sandbox.github.world import Repository
from app.settings import Settings
from app.store import incidents
from app.worker.jobs import Queue

_SETTLE_TIMEOUT_SECONDS = 60.0
"""Wall-clock time in which all due work must finish."""


@dataclass
class ManualClock:
    """A clock that stands still until it is moved, so that the demo of an hour takes seconds."""

    at: datetime

    def __call__(self) -> datetime:
        """Return the time to which the clock was moved last."""
        return self.at


@dataclass
class Stage:
    """What the demo runs on: the application, its GitHub, the clock and one repository."""

    clock: ManualClock
    github: SandboxGitHub
    application: bootstrap.Application
    queue: Queue
    shop: Repository

    def advance_to(self, until: datetime) -> None:
        """Advance the clock to `until`; every alarm on the way fires at its own time, one after the other."""
        while True:
            with self.application.ctx.database.transaction() as db:
                due = min((due for _, _, due in incidents.list_alarms(db) if due <= until), default=until)
            self.clock.at = max(self.clock.at, due)
            self.settle()
            if due >= until:
                return

    def settle(self) -> None:
        """Wait until all due work is done: deliveries sent and processed, alarms fired, effects carried out.

        Raises TimeoutError after 60 s of the wall clock.
        """
        end = time.monotonic() + _SETTLE_TIMEOUT_SECONDS
        idle_checks = 0
        self.queue.sweep()
        while idle_checks < 2:
            self.github.hooks.settle(_SETTLE_TIMEOUT_SECONDS)
            idle_checks = idle_checks + 1 if self.queue.is_idle() else 0
            if time.monotonic() > end:
                raise TimeoutError("the workers did not get done; their log says why")
            time.sleep(0.01)

    def incident(self, number: int) -> Incident | None:
        """Return the stored incident of an issue, if there is one."""
        with self.application.ctx.database.transaction() as db:
            stored = incidents.load_incident(db, ports.IncidentKey(self.shop.id, number))
        return stored.incident if stored else None

    def policy(self) -> Policy:
        """Return the policy that is active for the repository."""
        ctx, repository = self.application.ctx, self._load_repository()
        return ctx.policies.load(ctx.database, ctx.tracker(repository), repository, self.clock()).policy

    def _load_repository(self) -> ports.Repository:
        with self.application.ctx.database.transaction() as db:
            found = incidents.load_repository(db, self.shop.id)
        assert found is not None
        return found


@contextmanager
def open_stage(
    at: datetime, *, name: str, files: dict[str, str], labels: dict[str, str], refresh: int | None
) -> Iterator[Stage]:
    """Open a stage with one repository, on the embedded database, in a temporary folder."""
    clock = ManualClock(at)
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="muster-demo-", ignore_cleanup_errors=True))
        )
        github = SandboxGitHub(clock, AppRegistration.generate(permissions=PERMISSIONS, events=EVENTS), refresh=refresh)
        github.start()
        stack.callback(github.stop)
        shop = github.add_repository(name, files=files, labels=labels)
        settings = Settings(
            home=folder,
            port=0,
            api_url=github.api_url,
            app_id=github.app.app_id,
            private_key=github.app.private_key_pem,
            webhook_secrets=(github.app.webhook_secret,),
        )
        application = stack.enter_context(bootstrap.open_application(settings, clock))
        queue = Queue(application.ctx, poll_interval_seconds=0.2)
        server = bootstrap.http_server(application, queue)
        stack.callback(server.stop)
        github.hooks.url = f"http://127.0.0.1:{server.port}/webhook"
        worker_thread = threading.Thread(target=queue.run, name="workers")
        worker_thread.start()
        stack.callback(worker_thread.join)
        stack.callback(queue.stop)
        yield Stage(clock, github, application, queue, shop)
