"""A real PostgreSQL for the tests of the shell: one server a run, one database a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from app.store import embedded
from app.store.database import Database, migrate
from tests.shell.night import Night, night

_TEMPLATE = "muster_template"


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server with a migrated template database; `{}` stands for the name of a database."""
    home: Path = tmp_path_factory.mktemp("muster")
    server = embedded.start(home)
    url = server.url.replace("/postgres?", "/{}?")
    try:
        with psycopg.connect(server.url, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {_TEMPLATE}")
        migrate(url.format(_TEMPLATE))
        yield url
    finally:
        server.stop()


_numbers = itertools.count(1)


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
