"""Database connections and schema migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import cache
from importlib.resources import files
from typing import Any
from weakref import WeakKeyDictionary

import psycopg
from procrastinate.schema import SchemaManager
from psycopg import AsyncConnection, Connection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

_MAX_DEADLOCKS = 5
"""How many deadlocks with running workers a migration survives, each of which lets one of them finish."""

Row = dict[str, Any]
Db = Connection[Row]

_LIVENESS_TRUST_SECONDS = 0.25
"""A connection that worked this recently is not checked again, which saves a round trip."""


class _LivenessCache:
    """Tracks recently used connections, so that their liveness check can be skipped.

    A server does not restart within the trusted time.
    """

    def __init__(self) -> None:
        self._used_at: WeakKeyDictionary[object, float] = WeakKeyDictionary()

    def record_success(self, connection: object) -> None:
        """Record that a connection worked just now."""
        self._used_at[connection] = time.monotonic()

    def needs_check(self, connection: object) -> bool:
        """Return whether a connection has not worked recently and must be checked."""
        return time.monotonic() - self._used_at.get(connection, -_LIVENESS_TRUST_SECONDS) >= _LIVENESS_TRUST_SECONDS


class _Pool(ConnectionPool[Db]):
    """A connection pool that checks a connection only when it was not used recently.

    It does not use `reset`: for that the pool hands each connection to another thread, which costs more than most
    statements.
    """

    def __init__(self, url: str, **settings: Any) -> None:
        self._liveness = _LivenessCache()
        super().__init__(url, check=self._check_if_needed, **settings)

    def putconn(self, conn: Db) -> None:
        self._liveness.record_success(conn)
        super().putconn(conn)

    def _check_if_needed(self, connection: Db) -> None:
        if self._liveness.needs_check(connection):
            self.check_connection(connection)


class _AsyncPool(AsyncConnectionPool[AsyncConnection]):
    """The same pool for an event loop."""

    def __init__(self, url: str, **settings: Any) -> None:
        self._liveness = _LivenessCache()
        super().__init__(url, check=self._check_if_needed, **settings)

    async def putconn(self, conn: AsyncConnection) -> None:
        self._liveness.record_success(conn)
        await super().putconn(conn)

    async def _check_if_needed(self, connection: AsyncConnection) -> None:
        if self._liveness.needs_check(connection):
            await self.check_connection(connection)


class Database:
    """A pool of connections to one PostgreSQL (14 or newer).

    `acquire_timeout_seconds` is the longest wait for a free connection; after `idle_timeout_seconds` without a
    statement the server ends an open transaction.
    """

    def __init__(
        self,
        url: str,
        *,
        max_connections: int = 12,
        acquire_timeout_seconds: float = 8,
        idle_timeout_seconds: float = 10,
    ) -> None:
        self.url = url
        self._acquire_timeout_seconds = acquire_timeout_seconds
        self.pool = _Pool(
            url,
            min_size=1,
            max_size=max_connections,
            open=False,
            timeout=acquire_timeout_seconds,
            kwargs={
                "row_factory": dict_row,
                "autocommit": True,
                # A process stopped in mid-transaction would keep its locks, such as that of a rate limit.
                "options": "-c timezone=UTC -c lock_timeout=8s"
                f" -c idle_in_transaction_session_timeout={idle_timeout_seconds * 1000:.0f}",
            },
        )

    def open(self) -> Database:
        """Open the pool.

        Raises psycopg.OperationalError when the server does not answer in time.
        """
        try:
            self.pool.open(wait=True, timeout=self._acquire_timeout_seconds)
        except psycopg.OperationalError:
            self.pool.close()
            raise
        return self

    def close(self) -> None:
        """Close all connections."""
        self.pool.close()

    @contextmanager
    def transaction(self) -> Iterator[Db]:
        """Open a transaction: committed at the end of the block, rolled back when an exception leaves it."""
        with self.autocommit() as connection, connection.transaction():
            yield connection

    @contextmanager
    def autocommit(self) -> Iterator[Db]:
        """Lend a connection in autocommit mode, for reads.

        Each statement sees its own snapshot and costs one round trip.
        """
        with self.pool.connection() as connection:
            yield connection

    def single_statement(self) -> AbstractContextManager[Db]:
        """Lend a connection for one writing statement, which is committed as it ends."""
        return self.autocommit()


def create_async_pool(url: str, size: int) -> AsyncConnectionPool[AsyncConnection]:
    """Create a pool for an event loop, in autocommit mode; the caller opens and closes it."""

    async def configure(connection: AsyncConnection) -> None:
        await connection.set_autocommit(True)

    return _AsyncPool(url, min_size=1, max_size=size, open=False, configure=configure)


@cache
def load_migrations() -> list[tuple[int, str, str]]:
    """Load the migrations of our schema in order: number, name, SQL."""
    folder = files("app.store") / "schema"
    found = sorted((item.name, item.read_text()) for item in folder.iterdir() if item.name.endswith(".sql"))
    return [(int(name.partition("_")[0]), name, sql) for name, sql in found]


def read_schema_version(url: str) -> int:
    """Read the number of the newest migration that was applied; 0 for an empty database."""
    with psycopg.connect(url, row_factory=dict_row) as connection:
        return _read_version(connection)


def migrate(
    url: str,
    reach_failpoint: Callable[[str], None] = lambda _: None,
    steps: Sequence[tuple[int, str, str]] | None = None,
) -> list[str]:
    """Bring the schema up to date in one transaction, and return the names of the migrations that were applied.

    Concurrent callers wait for each other.  A worker of the previous release may hold rows that a migration needs and
    want a table that it has locked; when the server ends our side of that deadlock, all is tried again.
    `reach_failpoint` is called between two migrations; `steps` replaces ours in tests.
    """
    pending = load_migrations() if steps is None else steps
    for _ in range(_MAX_DEADLOCKS):
        with suppress(psycopg.errors.DeadlockDetected):
            return _apply_migrations(url, reach_failpoint, pending)
    return _apply_migrations(url, reach_failpoint, pending)


def _apply_migrations(
    url: str, reach_failpoint: Callable[[str], None], steps: Sequence[tuple[int, str, str]]
) -> list[str]:
    with psycopg.connect(url, row_factory=dict_row) as connection:
        connection.execute("SELECT pg_advisory_xact_lock(720219)")
        connection.execute("CREATE TABLE IF NOT EXISTS schema_step (number integer PRIMARY KEY, name text NOT NULL)")
        current = _read_version(connection)
        missing = [step for step in steps if step[0] > current]
        if current == 0:
            # Procrastinate's schema is one script that contains % signs, so it is sent without parameters.
            connection.execute(SchemaManager.get_schema().encode(), prepare=False)
        for number, name, sql in missing:
            connection.execute(sql.encode(), prepare=False)
            reach_failpoint("mid_migration")
            connection.execute("INSERT INTO schema_step VALUES (%s, %s)", (number, name))
        return [name for _, name, _ in missing]


def is_schema_known(db: Db) -> bool:
    """Return whether this program knows every migration that was applied; if not, it must leave the rows alone."""
    row = db.execute("SELECT max(number) AS number FROM schema_step").fetchone()
    assert row is not None
    return int(row["number"]) <= max(number for number, _, _ in load_migrations())


def _read_version(connection: Db) -> int:
    exists = connection.execute("SELECT to_regclass('schema_step') AS found").fetchone()
    if exists is None or exists["found"] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) AS number FROM schema_step").fetchone()
    return int(row["number"]) if row else 0
