"""A real PostgreSQL for the tests of the shell: one server a run, one database a test."""

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
from tests.shell.night import Night, night
from tests.shell.server import Absent, Server, a_server
from tests.soak import on_server, size

_TEMPLATE = "muster_template"
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """A server that runs, with the migrated template database.  `url`: `{}` stands for the name of a database.

    `name` is how figures call it; `server` is None for the embedded one.
    """

    name: str
    url: str
    server: Server | None = None

    @contextmanager
    def database(self) -> Iterator[Database]:
        """A migrated, empty database, open."""
        with another_database(self.url) as opened:
            yield opened


@pytest.fixture(scope="session")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """The embedded PostgreSQL."""
    home: Path = tmp_path_factory.mktemp("muster")
    server = embedded.start(home)
    url = server.url.replace("/postgres?", "/{}?")
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(url.format(_TEMPLATE))
        yield Place("embedded", url)
    finally:
        server.stop()


@pytest.fixture(scope="session")
def by_url() -> Iterator[Place]:
    """A server of the machine's own PostgreSQL, as `DATABASE_URL` would name it; skipped where there is none."""
    with ExitStack() as stack:
        try:
            server = stack.enter_context(a_server())
        except Absent as reason:
            pytest.skip(f"no server to try: {reason}")
        with psycopg.connect(server.url.format("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(server.url.format(_TEMPLATE))
        yield Place(server.name, server.url, server)


@pytest.fixture(scope="session")
def usual(request: pytest.FixtureRequest) -> Place:
    """Where tests run that are about either database: the embedded one, or a server where that is asked for."""
    found: Place = request.getfixturevalue("by_url" if on_server() else "own")
    return found


@pytest.fixture(scope="session")
def postgres(usual: Place) -> str:
    """The URL of a server with a migrated template database; `{}` stands for the name of a database."""
    return usual.url


def _place(request: pytest.FixtureRequest, usual: Place) -> Place:
    found: Place = request.getfixturevalue("by_url") if request.param == "server" else usual
    return found


@pytest.fixture(params=["server"] if on_server() else ["embedded", "server"])
def place(request: pytest.FixtureRequest, usual: Place) -> Place:
    """The embedded PostgreSQL, and a server."""
    return _place(request, usual)


@pytest.fixture(params=["server"] if on_server() else size(["embedded"], ["embedded", "server"]))
def places(request: pytest.FixtureRequest, usual: Place) -> Place:
    """The embedded PostgreSQL, and at full size a server as well."""
    return _place(request, usual)


@pytest.fixture
def fresh_url(postgres: str) -> Iterator[str]:
    with _database(postgres) as url:
        yield url


@contextmanager
def _database(postgres: str) -> Iterator[str]:
    """A migrated, empty database of the test's own."""
    name = f"test_{next(_numbers)}"
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
    """A second database, for comparing."""
    with another_database(postgres) as opened:
        yield opened


@pytest.fixture
def tonight(database: Database) -> Iterator[Night]:
    with night(database) as found:
        yield found


@pytest.fixture
def elsewhere(postgres: str) -> Iterator[Night]:
    """A second night of its own, for comparing."""
    with a_night(postgres) as found:
        yield found


@contextmanager
def another_database(postgres: str) -> Iterator[Database]:
    """An empty database beside the test's own, open."""
    with _database(postgres) as url:
        opened = Database(url).open()
        try:
            yield opened
        finally:
            opened.close()


@contextmanager
def a_night(postgres: str) -> Iterator[Night]:
    """A night on a database of its own."""
    with another_database(postgres) as opened, night(opened) as found:
        yield found
