"""Connections and schema."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.resources import files
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, Connection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

Row = dict[str, Any]
Db = Connection[Row]

_BELIEVED = 0.25
"""Seconds in which a connection that worked is taken to work still, which saves asking it before each transaction."""


class _Belief:
    """Which connections have worked a moment ago: a server is not back as soon as that."""

    def __init__(self) -> None:
        self._worked: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    def worked(self, connection: object) -> None:
        self._worked[connection] = time.monotonic()

    def doubts(self, connection: object) -> bool:
        return time.monotonic() - self._worked.get(connection, -_BELIEVED) >= _BELIEVED


class _Pool(ConnectionPool[Db]):
    """Asks a connection whether it works only where it has not worked a moment ago.

    Not by `reset`: for that the pool hands each connection to another thread, which costs more than most statements.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self._belief = _Belief()
        super().__init__(url, check=self._ask, **settings)

    def putconn(self, conn: Db) -> None:
        self._belief.worked(conn)
        super().putconn(conn)

    def _ask(self, connection: Db) -> None:
        if self._belief.doubts(connection):
            self.check_connection(connection)


class _AsyncPool(AsyncConnectionPool[AsyncConnection]):
    """The same for an event loop."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._belief = _Belief()
        super().__init__(url, check=self._ask, **settings)

    async def putconn(self, conn: AsyncConnection) -> None:
        self._belief.worked(conn)
        await super().putconn(conn)

    async def _ask(self, connection: AsyncConnection) -> None:
        if self._belief.doubts(connection):
            await self.check_connection(connection)


class Database:
    """A pool of connections to one PostgreSQL (14 or newer).

    `patience` is how long anybody waits for one, in seconds; `silence` after how many the server ends a transaction in
    which nothing is said.
    """

    def __init__(self, url: str, *, size: int = 12, patience: float = 8, silence: float = 10) -> None:
        self.url = url
        self._patience = patience
        self.pool = _Pool(
            url,
            min_size=1,
            max_size=size,
            open=False,
            timeout=patience,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,
                # A process that is stopped in mid-transaction would keep its locks, such as that of an installation's pace.
                "options": "-c timezone=UTC -c lock_timeout=8s"
                f" -c idle_in_transaction_session_timeout={silence * 1000:.0f}",
            },
        )

    def open(self) -> Database:
        """Raises psycopg.OperationalError when nothing answers there in time."""
        try:
            self.pool.open(wait=True, timeout=self._patience)
        except psycopg.OperationalError:
            self.pool.close()
            raise
        return self

    def close(self) -> None:
        self.pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Db]:
        """One transaction: committed at the end of the block, rolled back when an exception leaves it."""
        with self.look() as connection, connection.transaction():
            yield connection

    @contextmanager
    def look(self) -> Iterator[Db]:
        """For reading: each statement is as of its own moment, and none costs more than its own way there and back."""
        with self.pool.connection() as connection:
            yield connection

    def single(self) -> AbstractContextManager[Db]:
        """For one statement that writes, which is a transaction by itself: committed as it ends."""
        return self.look()


def async_pool(url: str, size: int) -> AsyncConnectionPool[AsyncConnection]:
    """Connections for an event loop, where each statement stands for itself.  To be opened, and closed, by who asks."""

    async def configure(connection: AsyncConnection) -> None:
        await connection.set_autocommit(True)

    return _AsyncPool(url, min_size=1, max_size=size, open=False, configure=configure)


@cache
def migrations() -> list[tuple[int, str, str]]:
    """The steps of our schema, in order: number, name, SQL."""
    folder = files("app.store") / "schema"
    found = sorted((item.name, item.read_text()) for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), name, sql) for name, sql in found]


def version(url: str) -> int:
    """How many steps the schema has had; 0 for an empty database."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return _version(connection)


def migrate(
    url: str,
    reach: Callable[[str], None] = lambda _: None,
    steps: Sequence[tuple[int, str, str]] | None = None,
) -> list[str]:
    """Bring the schema up to date, all of it or nothing, and say which steps were taken.

    Two who try at once wait for each other.  `reach` is told of the failpoint between two steps; `steps`: others than ours.
    """
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(720219)")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_step (number integer PRIMARY KEY, name text NOT NULL)")
        done = _version(connection)
        missing = [step for step in (migrations() if steps is None else steps) if step[0] > done]
        if done == 0:
            # The queue's schema comes as one script, whose % signs are its own.
            connection.execute(SchemaManager.get_schema().encode(), prepare=False)
        for number, name, sql in missing:
            connection.execute(sql.encode(), prepare=False)
            reach("mid_migration")
            connection.execute("INSERT INTO schema_step VALUES (%s, %s)", (number, name))
        return [name for _, name, _ in missing]


def fits(db: Db) -> bool:
    """Whether this program knows every step that the schema has had.  One that does not must leave the rows alone."""
    row = db.execute("SELECT max(number) AS number FROM schema_step").fetchone()
    assert row is not None
    return int(row["number"]) <= max(number for number, _, _ in migrations())


def _version(connection: Db) -> int:
    exists = connection.execute("SELECT to_regclass('schema_step') AS found").fetchone()
    if exists is None or exists["found"] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) AS number FROM schema_step").fetchone()
    return int(row["number"]) if row else 0
