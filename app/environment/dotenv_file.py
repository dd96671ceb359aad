"""Read the `.env` file of a folder by the rules of python-dotenv, if only its owner can have written it.

Quotes, `export`, values over several lines and comments behind a value are read as python-dotenv reads them.  `${NAME}`
and `$NAME` are not expanded: a password may hold a dollar sign.
"""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from dotenv.parser import parse_stream

from app.environment.fault import SettingsFault

_ROOT_USER_ID = 0


@dataclass(frozen=True, slots=True)
class DotenvFile:
    """The variables of a `.env` file, without the empty ones, and what an operator should know of the file."""

    variables: dict[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()


def read_dotenv_file(path: Path) -> DotenvFile:
    """Read the file; one that does not exist has no variables.

    Raises SettingsFault for a file that cannot be read, or that others may have written.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # such as the folder of a virtual environment
            return DotenvFile()
        warnings = tuple(_check_permissions(path, status)) if os.name == "posix" else ()
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        return DotenvFile()
    except OSError as problem:
        raise SettingsFault(f"{path} cannot be read ({problem.strerror}).") from None
    except UnicodeDecodeError as problem:
        line = problem.object[: problem.start].count(b"\n") + 1
        raise SettingsFault(f"{path}: line {line} is not UTF-8; save the file in that encoding.") from None
    variables: dict[str, str] = {}
    for binding in parse_stream(StringIO(text)):
        if binding.error:
            warnings += (f"{path}: line {binding.original.line} cannot be read; write NAME=value, or NAME='value'.",)
        elif binding.key is not None:
            variables[binding.key] = (binding.value or "").strip()
    return DotenvFile({name: value for name, value in variables.items() if value}, warnings)


def _check_permissions(path: Path, status: os.stat_result) -> Iterator[str]:
    """Yield warnings about readers; raises SettingsFault about writers.

    What is written there decides where the token of the App is sent.
    """
    target = path.resolve()
    name, mode = shlex.quote(str(path)), status.st_mode
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise SettingsFault(f"{path}: others may write it, and with it decide what Muster does. Run: chmod 600 {name}")
    if status.st_uid not in (_ROOT_USER_ID, os.geteuid()):
        sentence = f"{path}: it belongs to another user (id {status.st_uid}), who may write it."
        if os.geteuid() != _ROOT_USER_ID:
            raise SettingsFault(f"{sentence} Run, as one who may: chown {os.geteuid()} {name}")
        yield f"{sentence} To change that: chown {_ROOT_USER_ID} {name}"
    for folder in dict.fromkeys((path.absolute().parent, target.parent)):
        folder_mode = folder.stat().st_mode
        if folder_mode & stat.S_IWOTH and not folder_mode & stat.S_ISVTX:
            command = f"chmod o-w {shlex.quote(str(folder))}"
            raise SettingsFault(f"{path}: others may replace it, since all may write its folder. Run: {command}")
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        yield f"{path}: others may read the secrets in it. To change that: chmod 600 {name}"
