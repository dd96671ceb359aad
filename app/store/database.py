"""Database connections and schema migrations."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache, partial
from importlib.resources import files
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, Connection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, ConnectionPool

from app.store import queue_schema
from app.store.queue_schema import QueueSchema, QueueStep

_Result = TypeVar("_Result")

_MIGRATION_LOCK_ID = 720219

_STEP_LOCK_TIMEOUT_SECONDS = 2
"""How long a migration queues for the lock of a table: for so long everything else queues behind it."""

_MAX_LOCK_WAIT_SECONDS = 60.0
"""How long a step is tried again while other sessions hold its locks, or deadlock with it."""

_LOCK_RETRY_SECONDS = 0.3

_SILENT_MIGRATOR_SECONDS = 60
"""After this time the server ends a migrator that has stopped, and the next one goes on."""

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


def _configure(idle_timeout_seconds: float, connection: Db) -> None:
    """Apply the settings of a new session, by a statement, since poolers refuse or drop those of the start-up."""
    connection.execute(
        "SELECT set_config('timezone', 'UTC', false), set_config('lock_timeout', '8s', false),"
        # A process stopped in mid-transaction would keep its locks, such as that of a rate limit.
        " set_config('idle_in_transaction_session_timeout', %s, false)",
        (f"{idle_timeout_seconds * 1000:.0f}",),
    )


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
                "application_name": queue_schema.application_name(),
            },
            configure=partial(_configure, idle_timeout_seconds),
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

    name = {"application_name": queue_schema.application_name()}
    return _AsyncPool(url, min_size=1, max_size=size, open=False, configure=configure, kwargs=name)


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
    queue: QueueSchema | None = None,
) -> list[str]:
    """Bring the schema up to date, and return the names of the migrations that were applied.

    First come the steps of Procrastinate that this program needs, each in a transaction; then ours, all in one; then
    the *post* steps of Procrastinate, once no older program is connected.  Concurrent callers wait for each other.
    `reach_failpoint` is called between two migrations; `steps` and `queue` replace those installed in tests.
    """
    ours = load_migrations() if steps is None else steps
    queue = queue or queue_schema.load_queue_schema()
    name = queue_schema.application_name(queue)
    with psycopg.connect(url, row_factory=dict_row, autocommit=True, application_name=name) as connection:
        # Of the session, so that it lasts over several transactions and ends with its holder.
        connection.execute("SET lock_timeout = 0")
        connection.execute("SELECT pg_advisory_lock(%s)", (_MIGRATION_LOCK_ID,))
        for setting, seconds in (
            ("lock_timeout", _STEP_LOCK_TIMEOUT_SECONDS),
            ("idle_in_transaction_session_timeout", _SILENT_MIGRATOR_SECONDS),
            ("idle_session_timeout", _SILENT_MIGRATOR_SECONDS),
        ):
            connection.execute("SELECT set_config(%s, %s, false)", (setting, f"{seconds}s"))
        needed, later = _plan_queue_steps(connection, queue)
        applied = _apply_queue_steps(connection, needed, reach_failpoint)
        applied += _run_with_retries(connection, partial(_apply_ours, connection, ours, queue, reach_failpoint))
        for step in later:
            if queue_schema.is_older_program_connected(connection, step):
                break
            applied += _apply_queue_steps(connection, [step], reach_failpoint)
        return applied


def _plan_queue_steps(connection: Db, queue: QueueSchema) -> tuple[list[QueueStep], list[QueueStep]]:
    """Return the steps of Procrastinate that come before ours, and those that can wait; none for an empty database."""
    if not queue_schema.has_queue(connection):
        return [], []
    with connection.transaction():
        queue_schema.record_baseline(connection, queue)
    return queue_schema.split_trailing_posts(queue_schema.list_pending(connection, queue))


def _apply_queue_steps(connection: Db, steps: Sequence[QueueStep], reach_failpoint: Callable[[str], None]) -> list[str]:
    def apply(step: QueueStep) -> None:
        queue_schema.apply_step(connection, step)
        reach_failpoint("mid_migration")

    for step in steps:
        _run_with_retries(connection, partial(apply, step))
    return [f"procrastinate/{step.name}" for step in steps]


def _apply_ours(
    connection: Db,
    steps: Sequence[tuple[int, str, str]],
    queue: QueueSchema,
    reach_failpoint: Callable[[str], None],
) -> list[str]:
    connection.execute("CREATE TABLE IF NOT EXISTS schema_step (number integer PRIMARY KEY, name text NOT NULL)")
    current = _read_version(connection)
    if not queue_schema.has_queue(connection):
        queue_schema.create_queue(connection, queue)
    missing = [step for step in steps if step[0] > current]
    for number, name, sql in missing:
        connection.execute(sql.encode(), prepare=False)
        reach_failpoint("mid_migration")
        connection.execute("INSERT INTO schema_step VALUES (%s, %s)", (number, name))
    return [name for _, name, _ in missing]


def _run_with_retries(connection: Db, work: Callable[[], _Result]) -> _Result:
    """Run the work in a transaction, and again while other sessions keep it from its locks.

    A worker of the previous release may hold rows that a migration needs and want a table that it has locked: ending
    our transaction lets it finish.
    """
    deadline = time.monotonic() + _MAX_LOCK_WAIT_SECONDS
    while True:
        try:
            with connection.transaction():
                return work()
        except (psycopg.errors.LockNotAvailable, psycopg.errors.DeadlockDetected):
            if time.monotonic() > deadline:
                raise
        time.sleep(_LOCK_RETRY_SECONDS)


def is_schema_known(db: Db) -> bool:
    """Return whether this program knows every migration that was applied; if not, it must leave the rows alone."""
    row = db.execute("SELECT coalesce(max(number), 0) AS number FROM schema_step").fetchone()
    assert row is not None
    newest = max(number for number, _, _ in load_migrations())
    return int(row["number"]) <= newest and queue_schema.is_queue_known(db)


def _read_version(connection: Db) -> int:
    exists = connection.execute("SELECT to_regclass('schema_step') AS found").fetchone()
    if exists is None or exists["found"] is None:
        return 0
    row = connection.execute("SELECT coalesce(max(number), 0) AS number FROM schema_step").fetchone()
    return int(row["number"]) if row else 0
