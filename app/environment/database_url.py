"""Check the address of the database before anything connects, without ever showing its password."""

from __future__ import annotations

import re

from app.environment.fault import SettingsFault

_EXAMPLE = "postgresql://user:password@host:5432/database"
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.:-]{0,30})://")
_ENCODE = "percent-encode the password: %23 for #, %2F for /, %40 for @, %25 for %, %3A for :, %3F for ?"


def check_database_url(text: str) -> str:
    """Return the address as PostgreSQL's library takes it: a URL, or `host=... dbname=...`.

    Raises SettingsFault, with a message that shows nothing of the address but its scheme.
    """
    text = text.strip()
    if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"":  # as docker's --env-file hands them on
        text = text[1:-1]
    if not text:
        return ""
    scheme = _SCHEME.match(text)
    if scheme is not None:
        rest = text[scheme.end() :]
        _check_scheme(scheme[1].lower())
        _check_delimiters(rest)
        text = f"postgresql://{rest}"
    _check_parameters(text, is_url=scheme is not None)
    return text


def find_unencoded_characters(text: str) -> str:
    """Return the characters of the URL's password that only PostgreSQL's own library reads as they stand."""
    if not text.startswith("postgresql://") or "@" not in text:
        return ""
    _, _, password = text.removeprefix("postgresql://").partition("@")[0].partition(":")
    return "".join(dict.fromkeys(character for character in password if character in "#?:[]"))


def _check_scheme(scheme: str) -> None:
    if scheme in ("postgresql", "postgres"):
        return
    if scheme.startswith(("postgresql+", "postgres+", "jdbc:postgresql")):
        raise SettingsFault(
            f"DATABASE_URL: '{scheme}://' is the spelling of another program; write it as postgresql://, such as"
            f" {_EXAMPLE}"
        )
    raise SettingsFault(f"DATABASE_URL: '{scheme}://' is not PostgreSQL, the only database that works: {_EXAMPLE}")


def _check_delimiters(rest: str) -> None:
    """Check that the parts of a URL are where they seem to be.

    PostgreSQL's library takes the first @ for the end of the password, unless a / comes before it.
    """
    credentials, at, place = rest.partition("@")
    if not at or "/" in credentials:
        place = rest
    host, _, database = place.partition("?")[0].partition("/")
    ports = [part.rpartition(":")[2] for part in host.split(",") if ":" in part and not part.endswith("]")]
    if (
        re.search(r"[@#\s]", host + database)
        or "/" in database
        or not all(port.isascii() and port.isdigit() and 0 < int(port) < 65536 for port in ports if port)
    ):
        raise SettingsFault(f"DATABASE_URL: its parts cannot be told apart; {_ENCODE}")


def _check_parameters(text: str, *, is_url: bool) -> None:
    import psycopg  # noqa: PLC0415 - slow import, needed only where there is an address
    from psycopg.conninfo import conninfo_to_dict  # noqa: PLC0415

    try:
        if "\0" not in text and conninfo_to_dict(text):
            return
    except (psycopg.Error, UnicodeDecodeError):
        pass  # these messages quote the address
    if is_url:
        raise SettingsFault(
            f"DATABASE_URL: it cannot be read, such as {_EXAMPLE}; {_ENCODE}, and take parameters out"
            " that PostgreSQL's library does not know"
        )
    raise SettingsFault(
        f"DATABASE_URL: it is neither a URL, such as {_EXAMPLE}, nor host=... dbname=... with values that hold"
        " blanks or quotes in single quotes"
    )
