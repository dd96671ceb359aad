"""Errors of a database connection, in one line each: what was found, where it stands, and what works.

No message contains a password, nor a piece of an address that could be one.
"""

from __future__ import annotations

import re
import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import ExecStatus

_MIN_SERVER_VERSION = 140000
"""PostgreSQL 14, as libpq counts versions."""

_CONNECT_TIMEOUT_SECONDS = 8
_POOLER_WAIT_SECONDS = 3.0
"""Seconds in which a pooler gives a second connection its server; longer, and the pool is full."""

_MAX_POOLER_PROBES = 5
"""How often is asked: in a busy pool another client may hold the session at that moment."""

_SCHEMES = ("postgresql://", "postgres://")

_ENCODING_HINT = (
    "DATABASE_URL cannot be read as it is written. In the user name and the password the characters"
    " # / @ % : ? & and blanks must be percent-encoded (# is %23, / is %2F, @ is %40, % is %25, : is %3A):"
    " postgresql://user:password@host:5432/database."
)

_POOLER_HINT = (
    "use the direct address of PostgreSQL, or a pool in session mode (pool_mode = session): workers are woken by"
    " LISTEN, and settings and locks belong to a session"
)


class _KnownError(NamedTuple):
    """A pattern of what libpq and the server say, and our two halves of a line for it: found, and what works."""

    pattern: str
    found: str
    works: str


class DatabaseUnavailable(ConnectionError):
    """The database cannot be used; the message is one line for the operator, without any password."""


def check_url(url: str) -> None:
    """Refuse a DATABASE_URL that does not name a PostgreSQL server.  Raises DatabaseUnavailable."""
    scheme, sign, _ = url.partition("://")
    if sign and not url.startswith(_SCHEMES):
        raise DatabaseUnavailable(
            f"DATABASE_URL begins with {_shorten(scheme)}://, and Muster works with PostgreSQL only:"
            " postgresql://user:password@host:5432/database."
        )
    parts = _parse(url)
    hosts, ports = parts.get("host", ""), parts.get("port", "")
    if "@" in hosts or not all(port.isdigit() for port in ports.split(",") if port):
        raise DatabaseUnavailable(_ENCODING_HINT)


def describe_place(url: str) -> str:
    """Return host, port, database and user of an address, never its password."""
    parts = _parse(url)
    host = parts.get("host") or parts.get("hostaddr") or "this machine"
    port, user = parts.get("port") or "5432", parts.get("user") or "the operating system's"
    database = parts.get("dbname") or parts.get("user") or "the user's own"
    return ", ".join((f"host {host}", f"port {port}", f"database {database}", f"user {user}"))


def _parse(url: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        # Its message quotes what could not be read, which may be the password.
        raise DatabaseUnavailable(_ENCODING_HINT) from None


@contextmanager
def explain_errors(url: str) -> Iterator[None]:
    """Turn what psycopg raises about the connection or about permissions into DatabaseUnavailable."""
    try:
        yield
    except (
        psycopg.OperationalError,
        psycopg.errors.InsufficientPrivilege,
        psycopg.errors.InvalidSchemaName,
        psycopg.errors.ReadOnlySqlTransaction,
    ) as problem:
        raise DatabaseUnavailable(explain(problem, url)) from problem
    except psycopg.ProgrammingError as problem:
        if problem.sqlstate:
            raise
        raise DatabaseUnavailable(_ENCODING_HINT) from None


def explain(problem: psycopg.Error, url: str) -> str:
    """Return what the database or the way to it refused, in one line: found, where, and what works."""
    try:
        place, parts = describe_place(url), _parse(url)
    except DatabaseUnavailable as unreadable:
        return str(unreadable)
    text = " ".join(str(problem).split())
    user = parts.get("user", "the user")
    database = parts.get("dbname") or user
    for known in _KNOWN_ERRORS:
        if re.search(known.pattern, text):
            names = {"user": user, "database": database}
            return f"{known.found.format(**names)} ({place}): {known.works.format(**names)}."
    return f"the database does not answer ({place}): {_without_secret(text, parts)[:300]}"


_KNOWN_ERRORS = (
    _KnownError(
        r"unsupported startup parameter|pooler error|no such database in pool|server_login_retry",
        "a connection pooler such as PgBouncer refused the connection",
        _POOLER_HINT,
    ),
    _KnownError(
        r"password authentication failed|[Aa]uthentication failed|no password supplied|no PostgreSQL user name",
        "the database refused the user name or the password",
        "set both in DATABASE_URL as the server knows them; special characters in the password must be"
        " percent-encoded, such as %23 for #",
    ),
    _KnownError(
        r"role \".*\" does not exist",
        "the server knows no user '{user}'",
        "create it (CREATE ROLE ... LOGIN PASSWORD ...), or name another one in DATABASE_URL",
    ),
    _KnownError(
        r"database \".*\" does not exist",
        "the server has no database '{database}'",
        'create it (CREATE DATABASE "{database}" OWNER "{user}"), or name another one in DATABASE_URL',
    ),
    _KnownError(r"role \".*\" is not permitted to log in", "user '{user}' may not log in", 'ALTER ROLE "{user}" LOGIN'),
    _KnownError(
        r"permission denied for database",
        "user '{user}' may not connect to database '{database}'",
        'its owner runs: GRANT CONNECT ON DATABASE "{database}" TO "{user}"',
    ),
    _KnownError(
        r"permission denied for (schema|table|sequence|function|type)|must be owner of|no schema has been selected",
        "user '{user}' may not create or change tables in database '{database}'",
        'its owner runs: GRANT USAGE, CREATE ON SCHEMA public TO "{user}", or ALTER DATABASE "{database}" OWNER TO'
        ' "{user}"; tables that another role has created must belong to "{user}"',
    ),
    _KnownError(
        r"read-only transaction|in recovery mode|hot standby",
        "the server accepts no writes: it is a standby, or in recovery",
        "name the primary server in DATABASE_URL",
    ),
    _KnownError(
        r"no pg_hba\.conf entry",
        "the server does not accept this user from this machine",
        "add a line for it to pg_hba.conf there, or use the address and the encryption that the server accepts"
        " (sslmode=require)",
    ),
    _KnownError(
        r"could not translate host name|[Nn]ame or service not known|failed to resolve host|No address associated"
        r"|nodename nor servname|[Nn]ame resolution",
        "the name of the database's host is not known",
        "check the host in DATABASE_URL and the DNS of this machine; a special character in the password that is not"
        " percent-encoded also cuts the address",
    ),
    _KnownError(
        r"invalid response to (SSL|GSSAPI) negotiation|expected authentication request|unsupported frontend protocol",
        "what answers there is not PostgreSQL",
        "check host and port in DATABASE_URL",
    ),
    _KnownError(
        r"server closed the connection unexpectedly|invalid message length|SSL SYSCALL error: EOF",
        "what answers there closed the connection at once; it may not be PostgreSQL",
        "check host and port in DATABASE_URL, and the log of the server",
    ),
    _KnownError(
        r"Connection refused", "no server listens", "start PostgreSQL there, or check host and port in DATABASE_URL"
    ),
    _KnownError(
        r"No such file or directory",
        "no server listens on that local socket",
        "start PostgreSQL there, or name a host in DATABASE_URL",
    ),
    _KnownError(
        r"timeout expired|timed out|pool initialization incomplete|couldn't get a connection",
        "the server did not answer in time",
        "check the host in DATABASE_URL, and the firewall between here and there",
    ),
    _KnownError(
        r"certificate verify failed|root certificate file|does not support SSL|SSL error",
        "no encrypted connection could be made",
        "check sslmode and sslrootcert in DATABASE_URL against what the server offers",
    ),
    _KnownError(
        r"too many clients|remaining connection slots|too many connections",
        "the server has no connection left",
        "raise max_connections there, or stop other clients",
    ),
    _KnownError(
        r"lock timeout|deadlock detected",
        "other sessions hold locks on the tables, for longer than a minute",
        "end their transactions (SELECT * FROM pg_stat_activity), and try again",
    ),
)
"""What is looked for in this order; the first that fits counts."""


def _without_secret(text: str, parts: dict[str, str]) -> str:
    """Cut the password out of words that are not ours."""
    secret = parts.get("password", "")
    return text.replace(secret, "***") if secret else text


def _shorten(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9+.-]{1,30}", text) else "something else"


def check_server(url: str) -> None:
    """Connect once, and refuse a server or pooler that Muster cannot work with.  Raises DatabaseUnavailable."""
    check_url(url)
    with explain_errors(url), psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_SECONDS) as first:
        version = first.info.server_version
        if version < _MIN_SERVER_VERSION:
            raise DatabaseUnavailable(
                f"the server is PostgreSQL {_name_version(version)} ({describe_place(url)}), and Muster needs"
                " PostgreSQL 14 or newer: upgrade it, or name another one in DATABASE_URL."
            )
        if _shares_sessions(first, url):
            raise DatabaseUnavailable(
                f"a connection pooler in transaction mode answers, such as PgBouncer ({describe_place(url)}):"
                f" {_POOLER_HINT}."
            )


def _name_version(version: int) -> str:
    return str(version // 10000) if version >= 100000 else f"{version // 10000}.{version // 100 % 100}"


def _shares_sessions(first: psycopg.Connection, url: str) -> bool:
    """Return whether a pooler gives the server session of one idle connection to another.

    A pooler invents the process number that a client is told at the start; PostgreSQL tells its own.  If there is one,
    a connection keeps its session in session mode; in transaction mode it changes, or serves a second connection too.
    """
    session = _ask_session(first)
    if session == first.info.backend_pid:
        return False
    with psycopg.connect(url, autocommit=True, connect_timeout=_CONNECT_TIMEOUT_SECONDS) as second:
        for _ in range(_MAX_POOLER_PROBES):
            other = _ask_session(second)
            if other is None:
                return False
            if other == session or _ask_session(first) != session:
                return True
    return False


def _ask_session(connection: psycopg.Connection) -> int | None:
    """Return the process number of the server session behind the connection; None if a full pool has none for it."""
    connection.pgconn.send_query(b"SELECT pg_backend_pid()")
    if not select.select([connection.pgconn.socket], [], [], _POOLER_WAIT_SECONDS)[0]:
        connection.pgconn.finish()
        return None
    found = None
    while (result := connection.pgconn.get_result()) is not None:
        found = int(result.get_value(0, 0) or 0) if result.ntuples else None
        if result.status == ExecStatus.FATAL_ERROR:
            raise psycopg.OperationalError(result.get_error_message())
    return found
