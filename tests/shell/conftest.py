"""Fixtures for the shell tests: one real PostgreSQL server per run, one database per test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from app.store import embedded
from app.store.database import Database, migrate
from tests.shell.night import Night, run_night
from tests.shell.server import Server, ServerUnavailable, run_server
from tests.soak import choose_size, runs_on_server

_TEMPLATE = "muster_template"
_database_numbers = itertools.count(1)


@dataclass(frozen=True)
class DatabaseServer:
    """A running PostgreSQL server with the migrated template database.

    `url`: `{}` stands for the name of a database. `name` is what figures call it.
    `server` is None for the embedded one.
    """

    name: str
    url: str
    server: Server | None = None

    @contextmanager
    def database(self) -> Iterator[Database]:
        """Open a new database, migrated and empty, and drop it at the end."""
        with open_new_database(self.url) as opened:
            yield opened


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """Run the embedded PostgreSQL server."""
    home: Path = tmp_path_factory.mktemp("muster")
    server = embedded.start(home)
    url = server.url.replace("/postgres?", "/{}?")
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(url.format(_TEMPLATE))
        yield DatabaseServer("embedded", url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def by_url() -> Iterator[DatabaseServer]:
    """Run a server of the machine's own PostgreSQL, as `DATABASE_URL` would name it; skip the test if there is none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(run_server())
        except ServerUnavailable as reason:
            pytest.skip(f"no server to try: {reason}")
        with psycopg.connect(server.url.format("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(server.url.format(_TEMPLATE))
        yield DatabaseServer(server.name, server.url, server)


@pytest.fixture(scope="session")
def usual(request: pytest.FixtureRequest) -> DatabaseServer:
    """Pick the server for tests that accept either kind: embedded, or the machine's own if MUSTER_ON says so."""
    found: DatabaseServer = request.getfixturevalue("by_url" if runs_on_server() else "own")
    return found


@pytest.fixture(scope="session")
def postgres(usual: DatabaseServer) -> str:
    """Return the URL of the usual server; `{}` stands for the name of a database."""
    return usual.url


def _select_server(request: pytest.FixtureRequest, usual: DatabaseServer) -> DatabaseServer:
    found: DatabaseServer = request.getfixturevalue("by_url") if request.param == "server" else usual
    return found


@pytest.fixture(params=["server"] if runs_on_server() else ["embedded", "server"])
def place(request: pytest.FixtureRequest, usual: DatabaseServer) -> DatabaseServer:
    """Run the test on the embedded PostgreSQL and on a server."""
    return _select_server(request, usual)


@pytest.fixture(params=["server"] if runs_on_server() else choose_size(["embedded"], ["embedded", "server"]))
def places(request: pytest.FixtureRequest, usual: DatabaseServer) -> DatabaseServer:
    """Run the test on the embedded PostgreSQL, and at full size on a server as well."""
    return _select_server(request, usual)


@pytest.fixture
def fresh_url(postgres: str) -> Iterator[str]:
    with _create_database(postgres) as url:
        yield url


@contextmanager
def _create_database(postgres: str) -> Iterator[str]:
    """Create a migrated, empty database from the template, give its URL, and drop it at the end."""
    name = f"test_{next(_database_numbers)}"
    with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
    try:
        yield postgres.format(name)
    finally:
        with psycopg.connect(postgres.format("postgres"), autocommit=True) as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def database(fresh_url: str) -> Iterator[Database]:
    opened = Database(fresh_url).open()
    try:
        yield opened
    finally:
        opened.close()


@pytest.fixture
def beside(postgres: str) -> Iterator[Database]:
    """Open a second database to compare with."""
    with open_new_database(postgres) as opened:
        yield opened


@pytest.fixture
def tonight(database: Database) -> Iterator[Night]:
    with run_night(database) as found:
        yield found


@pytest.fixture
def elsewhere(postgres: str) -> Iterator[Night]:
    """Run a second night on its own database, to compare with."""
    with run_night_on_new_database(postgres) as found:
        yield found


@contextmanager
def open_new_database(postgres: str) -> Iterator[Database]:
    """Open a new, empty database in addition to the test's own."""
    with _create_database(postgres) as url:
        opened = Database(url).open()
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def run_night_on_new_database(postgres: str) -> Iterator[Night]:
    """Run a night on a new database."""
    with open_new_database(postgres) as opened, run_night(opened) as found:
        yield found
