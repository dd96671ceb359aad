"""Procrastinate's part of the schema: which of its migrations a database has had, and which come next.

Procrastinate ships its migrations as SQL files, whose names sort in the order to apply them.  A *pre* file works under
old and new programs alike and comes before the new one starts; a *post* file removes what only old programs use.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from procrastinate.schema import SchemaManager
from psycopg import Connection
from psycopg.rows import DictRow

_BASELINE = "03.04.00_50_post_add_retry_failed_job_procedure.sql"
"""The newest file of Procrastinate 3.10, with which every database was made that has no record of these files."""

_VERSION_CHARACTERS = len("03.04.00_50")
_APPLICATION_NAME = "muster"


@dataclass(frozen=True, slots=True)
class QueueStep:
    """One migration file."""

    name: str
    sql: str

    @property
    def is_post(self) -> bool:
        """Return whether programs that do not know this file may stop working after it."""
        return "_post_" in self.name


@dataclass(frozen=True, slots=True)
class QueueSchema:
    """The schema of one version of Procrastinate: all of it for an empty database, and the steps that lead to it."""

    whole: str
    steps: tuple[QueueStep, ...]

    @property
    def newest(self) -> str:
        """The version of its newest step, as at the beginning of the file's name."""
        return self.steps[-1].name[:_VERSION_CHARACTERS]


@cache
def load_queue_schema(folder: Path | None = None) -> QueueSchema:
    """Load the schema of the installed Procrastinate; `folder` replaces its migrations in tests."""
    where = folder or Path(SchemaManager.get_migrations_path())
    steps = tuple(QueueStep(path.name, path.read_text("utf-8")) for path in sorted(where.glob("*.sql")))
    return QueueSchema(SchemaManager.get_schema(), steps)


def application_name(schema: QueueSchema | None = None) -> str:
    """Return the name that our sessions carry, by which a migration sees what the program behind them knows."""
    return f"{_APPLICATION_NAME} {(schema or load_queue_schema()).newest}"


def has_queue(db: Connection[DictRow]) -> bool:
    """Return whether the database has Procrastinate's tables."""
    return _exists(db, "procrastinate_jobs")


def create_queue(db: Connection[DictRow], schema: QueueSchema) -> None:
    """Create Procrastinate's tables in a database without them, and record all of its steps as applied."""
    # The script contains % signs, so it is sent without parameters.
    db.execute(schema.whole.encode(), prepare=False)
    _record(db, [step.name for step in schema.steps])


def record_baseline(db: Connection[DictRow], schema: QueueSchema) -> None:
    """Record the steps of a database that was made before they were recorded."""
    if not _exists(db, "queue_step"):
        _record(db, [step.name for step in schema.steps if step.name <= _BASELINE])


def list_pending(db: Connection[DictRow], schema: QueueSchema) -> list[QueueStep]:
    """List the steps that the database has not had, in the order of their names."""
    applied = {row["name"] for row in db.execute("SELECT name FROM queue_step")}
    return [step for step in schema.steps if step.name not in applied]


def apply_step(db: Connection[DictRow], step: QueueStep) -> None:
    """Apply one step and record it."""
    db.execute(step.sql.encode(), prepare=False)
    _record(db, [step.name])


def split_trailing_posts(steps: Sequence[QueueStep]) -> tuple[list[QueueStep], list[QueueStep]]:
    """Split the steps into those that this program needs now, and the *post* steps behind them, which can wait."""
    needed = max((place for place, step in enumerate(steps, 1) if not step.is_post), default=0)
    return list(steps[:needed]), list(steps[needed:])


def is_older_program_connected(db: Connection[DictRow], step: QueueStep) -> bool:
    """Return whether a session of a program is open that does not know this step.

    Sessions of releases before these names were given have none.
    """
    row = db.execute(
        "SELECT count(*) AS sessions FROM pg_stat_activity"
        " WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()"
        " AND (application_name = '' OR (application_name LIKE %s AND application_name COLLATE \"C\" < %s))",
        (f"{_APPLICATION_NAME} %", f"{_APPLICATION_NAME} {step.name[:_VERSION_CHARACTERS]}"),
    ).fetchone()
    return bool(row and row["sessions"])


def is_queue_known(db: Connection[DictRow]) -> bool:
    """Return whether this program knows every *post* step that was applied; an unknown *pre* step harms nothing."""
    row = db.execute(
        "SELECT max(name COLLATE \"C\") AS name FROM queue_step WHERE strpos(name, '_post_') > 0"
    ).fetchone()
    newest: Any = row["name"] if row else None
    return newest is None or newest <= load_queue_schema().steps[-1].name


def _exists(db: Connection[DictRow], table: str) -> bool:
    row = db.execute("SELECT to_regclass(%s) IS NOT NULL AS found", (table,)).fetchone()
    return bool(row and row["found"])


def _record(db: Connection[DictRow], names: Sequence[str]) -> None:
    db.execute("CREATE TABLE IF NOT EXISTS queue_step (name text PRIMARY KEY)")
    with db.cursor() as cursor:
        cursor.executemany("INSERT INTO queue_step (name) VALUES (%s) ON CONFLICT DO NOTHING", [(n,) for n in names])
