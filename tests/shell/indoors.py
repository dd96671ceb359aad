"""Runs a night in process: the same parts and the same sandbox GitHub, without a network and in one thread.

Requests are handed over as the same bytes that a socket would carry, and a connection can still break. That makes
thousands of examples affordable.
"""

from __future__ import annotations

import io
import socket
import sys
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import unquote

import httpx
import psycopg
from psycopg.sql import SQL, Identifier

from app.sandbox.github import SandboxGitHub
from app.sandbox.github.faults import Faults
from app.sandbox.github.hooks import Delivery, Hooks
from app.sandbox.github.limits import Limits, Meter
from app.sandbox.github.world import World
from app.store.database import Database
from app.web.application import create_app
from tests.shell.night import POLICY, TABLES, HandClock, Night, registered

PEOPLE = ("mona", "hubot", "ada", "grace")


class HostClock(HandClock):
    """The clock of our own host, which may be wrong: `at` is the true time, `skew` is how far ours is ahead of it."""

    skew = timedelta()

    def __call__(self) -> datetime:
        return self.at + self.skew


class _Socket(socket.socket):
    """A socket that is never connected and records whether it was shut down."""

    cut = False

    def shutdown(self, how: int) -> None:
        self.cut = True


class _Line:
    def __init__(self) -> None:
        self.socket = _Socket()

    def gone(self) -> bool:
        return self.socket.cut


class Indoors(httpx.BaseTransport):
    """An HTTP transport that hands each request to a WSGI application in the calling thread."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._line = _Line()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._line.socket.cut = False
        answered: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], problem: Any = None) -> Any:
            answered[:] = [int(status[:3]), headers]

        parts = self._application(self._environment(request), start)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        if self._line.socket.cut:
            raise httpx.RemoteProtocolError("server disconnected without a response", request=request)
        status, headers = answered
        whole = next((int(value) for name, value in headers if name.lower() == "content-length"), len(body))
        if request.method != "HEAD" and whole > len(body):
            raise httpx.RemoteProtocolError("the answer broke off", request=request)
        return httpx.Response(status, headers=headers, content=body, request=request)

    def end(self) -> None:
        self._line.socket.close()

    def _environment(self, request: httpx.Request) -> dict[str, Any]:
        body, url = request.read(), request.url
        named = {
            f"HTTP_{name.decode().upper().replace('-', '_')}": value.decode() for name, value in request.headers.raw
        }
        return {
            **named,
            "REQUEST_METHOD": request.method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote(url.path, "latin-1"),
            "QUERY_STRING": url.query.decode(),
            "SERVER_NAME": url.host,
            "SERVER_PORT": str(url.port or 80),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_LENGTH": str(len(body)),
            "CONTENT_TYPE": request.headers.get("content-type", ""),
            "waitress.client_disconnected": self._line.gone,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": False,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }


class Stage:
    """The parts that are costly to build, built once and reset for each example."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clock = HostClock(HandClock.tonight().at)
        self.github = SandboxGitHub(lambda: self.clock.at, registered())
        self.github.serializer.url = "http://github.test"
        self._own = dict(self.github.world.accounts)
        flask = create_app(database, (self.github.app.webhook_secret,), self.clock)
        self._wire, self._door = Indoors(self.github.wsgi), Indoors(flask)
        self._brought: set[str] = set()

    def night(self, policy: str = POLICY) -> Night:
        """Return a night on an emptied database and a reset GitHub; deliveries wait until `deliver` is called."""
        with self.database.transaction() as db:
            for table in TABLES:
                db.execute(SQL("DELETE FROM {}").format(Identifier(table)))
        self.clock.at, self.clock.skew = HandClock.tonight().at, timedelta()
        self._brought.clear()
        github = self._anew()
        for login in (*PEOPLE, "stranger"):
            github.add_person(login)
        shop = github.add_repository("octo/shop", files={"README.md": "# shop\n", ".github/incidents.yml": policy})
        for login in PEOPLE:
            shop.permit(login, "write")
        found = Night(self.clock, github, self.database, shop, wire=self._wire)
        found.move_in()
        return found

    def waiting(self) -> list[Delivery]:
        """Return the deliveries not yet delivered, oldest first."""
        return [one for one in self.github.hooks.held_deliveries if one.guid not in self._brought]

    def bring(self, deliveries: Iterable[Delivery]) -> None:
        """Post these deliveries to the web receiver, in this order."""
        for one in deliveries:
            asked = httpx.Request("POST", "http://door.test/webhook", content=one.body, headers=one.headers)
            answer = self._door.handle_request(asked)
            assert answer.status_code == 202, f"the web receiver answered {answer.status_code}"
            self._brought.add(one.guid)

    def end(self) -> None:
        self._wire.end()
        self._door.end()

    def _anew(self) -> SandboxGitHub:
        """Reset the sandbox GitHub to its own two accounts.

        Its object is kept, since building its URL map takes long.
        """
        github, fresh = self.github, World()
        for _ in self._own:
            fresh.new_id()
        vars(github.world).update(vars(fresh), accounts=dict(self._own))
        for part, new in (
            (github.hooks, Hooks(github.app, lambda: self.clock.at)),
            (github.meter, Meter(Limits(), lambda: self.clock.at)),
            (github.faults, Faults()),
        ):
            vars(part).update(vars(new))
        vars(github.auth).update(_tokens={}, _personal={}, _issued_count=0)
        github.hooks.hold()
        return github


def hasty(url: str) -> Database:
    """Open a database that commits without waiting for the disk.

    Only our process crashes in these tests, never the server, so nothing committed is lost.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(SQL("ALTER DATABASE {} SET synchronous_commit = off").format(Identifier(name)))
    return Database(url, max_connections=2).open()
