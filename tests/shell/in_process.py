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
from tests.shell.night import POLICY, TABLES, HandClock, Night, get_app_registration

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


class _FakeConnection:
    def __init__(self) -> None:
        self.socket = _Socket()

    def is_disconnected(self) -> bool:
        return self.socket.cut


class InProcessTransport(httpx.BaseTransport):
    """An HTTP transport that hands each request to a WSGI application in the calling thread."""

    def __init__(self, application: Any) -> None:
        self._application = application
        self._connection = _FakeConnection()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self._connection.socket.cut = False
        answered: list[Any] = []

        def start(status: str, headers: list[tuple[str, str]], problem: Any = None) -> Any:
            answered[:] = [int(status[:3]), headers]

        parts = self._application(self._environment(request), start)
        try:
            body = b"".join(parts)
        finally:
            if hasattr(parts, "close"):
                parts.close()
        if self._connection.socket.cut:
            raise httpx.RemoteProtocolError("server disconnected without a response", request=request)
        status, headers = answered
        whole = next((int(value) for name, value in headers if name.lower() == "content-length"), len(body))
        if request.method != "HEAD" and whole > len(body):
            raise httpx.RemoteProtocolError("the answer broke off", request=request)
        return httpx.Response(status, headers=headers, content=body, request=request)

    def end(self) -> None:
        self._connection.socket.close()

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
            "waitress.client_disconnected": self._connection.is_disconnected,
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
        self.clock = HostClock(HandClock.at_default_start().at)
        self.github = SandboxGitHub(lambda: self.clock.at, get_app_registration())
        self.github.serializer.url = "http://github.test"
        self._initial_accounts = dict(self.github.world.accounts)
        flask = create_app(database, (self.github.app.webhook_secret,), self.clock)
        self._wire, self._web_receiver = InProcessTransport(self.github.wsgi), InProcessTransport(flask)
        self._delivered_guids: set[str] = set()

    def new_night(self, policy: str = POLICY) -> Night:
        """Return a night on an emptied database and a reset GitHub; deliveries wait until `deliver` is called."""
        with self.database.transaction() as db:
            for table in TABLES:
                db.execute(SQL("DELETE FROM {}").format(Identifier(table)))
        self.clock.at, self.clock.skew = HandClock.at_default_start().at, timedelta()
        self._delivered_guids.clear()
        github = self._reset_github()
        for login in (*PEOPLE, "stranger"):
            github.add_person(login)
        shop = github.add_repository("octo/shop", files={"README.md": "# shop\n", ".github/incidents.yml": policy})
        for login in PEOPLE:
            shop.permit(login, "write")
        found = Night(self.clock, github, self.database, shop, wire=self._wire)
        found.restart()
        return found

    def list_undelivered(self) -> list[Delivery]:
        """Return the deliveries not yet delivered, oldest first."""
        return [one for one in self.github.hooks.held_deliveries if one.guid not in self._delivered_guids]

    def deliver(self, deliveries: Iterable[Delivery]) -> None:
        """Post these deliveries to the web receiver, in this order."""
        for delivery in deliveries:
            request = httpx.Request("POST", "http://door.test/webhook", content=delivery.body, headers=delivery.headers)
            response = self._web_receiver.handle_request(request)
            assert response.status_code == 202, f"the web receiver answered {response.status_code}"
            self._delivered_guids.add(delivery.guid)

    def end(self) -> None:
        self._wire.end()
        self._web_receiver.end()

    def _reset_github(self) -> SandboxGitHub:
        """Reset the sandbox GitHub to its own two accounts.

        Its object is kept, since building its URL map takes long.
        """
        github, fresh = self.github, World()
        for _ in self._initial_accounts:
            fresh.new_id()
        vars(github.world).update(vars(fresh), accounts=dict(self._initial_accounts))
        for part, new in (
            (github.hooks, Hooks(github.app, lambda: self.clock.at)),
            (github.meter, Meter(Limits(), lambda: self.clock.at)),
            (github.faults, Faults()),
        ):
            vars(part).update(vars(new))
        vars(github.auth).update(_tokens={}, _personal={}, _issued_count=0)
        github.hooks.hold()
        return github


def open_fast_database(url: str) -> Database:
    """Open a database that commits without waiting for the disk.

    Only our process crashes in these tests, never the server, so nothing committed is lost.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(SQL("ALTER DATABASE {} SET synchronous_commit = off").format(Identifier(name)))
    return Database(url, max_connections=2).open()
