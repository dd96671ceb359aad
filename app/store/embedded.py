"""The embedded PostgreSQL server, used when no DATABASE_URL is set.

It runs in the data folder, listens on a local socket only, and survives the death of the process that started it.  A
lock that the server itself holds decides which process may start one (`folder_lock`).  The server lets in the owner of
its folder and root, by the user id that the kernel reports; no other user can reach its socket or its files.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import shlex
import shutil
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg

from app.store.connection_errors import DatabaseUnavailable
from app.store.folder_lock import FolderLock, Holder
from app.store.postgres_programs import Account, Programs, choose_account, find_programs, wheel_version

_LOCK_WAIT_SECONDS = 30.0
"""Long enough for a container that stops beside us to end its server."""

_START_TIMEOUT_SECONDS = 20.0
"""Long enough for the remains of a killed server (shared memory, orphaned backends) to be gone."""

_PORT = 5432
"""Part of the name of the socket; the server listens on no network."""

_MAX_SOCKET_PATH_BYTES = 103
"""The longest path of a socket on every system; Linux allows four more."""

_SOCKET_NAME = f".s.PGSQL.{_PORT}"
_SOCKET_FOLDER_PREFIX = "muster-socket-"

_ACCESS_RULES = """\
# Written by Muster at every start.  The owner of this folder and root get in, by the user id that the kernel reports.
local all postgres peer map=muster
"""


@dataclass(frozen=True, slots=True)
class ServerProcess:
    """The server of a data folder, running or not."""

    folder: Path
    programs: Programs
    socket_folder: Path

    @property
    def url(self) -> str:
        """The URL by which the owner of the folder, or root, connects."""
        return f"postgresql://postgres:@/postgres?host={quote(str(self.socket_folder), safe='/')}&port={_PORT}"

    def start(self, lock: FolderLock) -> None:
        """Start the server, which inherits the lock.  Raises DatabaseUnavailable, with the end of its log."""
        assert lock.file is not None
        # A relative name for the socket where the folders above are closed to the account.
        listens_in = "." if self.socket_folder == self.folder else str(self.socket_folder)
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": f'"{listens_in}"',
            "unix_socket_permissions": "0700",
            "port": str(_PORT),
        }
        options = " ".join(f"-c {name}={shlex.quote(value)}" for name, value in settings.items())
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while True:
            code, output = self._control("start", "-w", "-l", "log", "-o", options, files=(lock.file,))
            if code == 0:
                return
            log = _read_log_tail(self.folder) or output[-400:]
            if "shared memory block" not in log or time.monotonic() > deadline:
                raise DatabaseUnavailable(f"the embedded PostgreSQL in {self.folder} does not start: {log}")
            time.sleep(0.3)

    def stop(self) -> None:
        """Stop the server: end its connections, write everything, and exit."""
        self._control("stop", "-w", "-m", "fast")
        if self.socket_folder != self.folder:
            _remove_socket_folder(self.socket_folder)

    def reload(self) -> None:
        """Make the server read its access rules again."""
        self._control("reload")

    def is_answering(self) -> bool:
        """Return whether we can connect to it."""
        try:
            with psycopg.connect(self.url, connect_timeout=3):
                return True
        except psycopg.OperationalError:
            return False

    def _control(self, command: str, *arguments: str, files: tuple[int, ...] = ()) -> tuple[int, str]:
        where = self.programs.name_folder(self.folder)
        return self.programs.run(self.folder, "pg_ctl", command, "-s", "-D", where, *arguments, files=files)


@dataclass(frozen=True, slots=True)
class EmbeddedServer:
    """A running embedded server.

    `started_by_us` is False when another process had started it, which will also stop it.
    """

    url: str
    server: ServerProcess
    started_by_us: bool

    def stop(self) -> None:
        """Stop the server if we started it."""
        if self.started_by_us:
            self.server.stop()


def start(home: Path, *, lock_wait_seconds: float = _LOCK_WAIT_SECONDS) -> EmbeddedServer:
    """Return the server of that data folder, started if it does not answer yet.

    `lock_wait_seconds` is the longest wait for another process that holds the folder and cannot be reached.  Raises
    DatabaseUnavailable, with one line for the operator, when the server does not come up or is out of reach.
    """
    folder = _prepare_home(home)
    account = choose_account(folder)
    _check_version(folder)
    programs = find_programs(account)
    lock = FolderLock(folder.with_name(f"{folder.name}.lock"))
    deadline = time.monotonic() + lock_wait_seconds
    while not _acquire(lock):
        holder = lock.read_holder()
        running = ServerProcess(folder, programs, Path(holder.socket_folder or folder))
        if holder.is_on_this_machine and running.is_answering():
            return EmbeddedServer(running.url, running, started_by_us=False)
        if time.monotonic() > deadline:
            raise DatabaseUnavailable(
                f"the embedded PostgreSQL in {folder} is in use by {holder}, and does not answer from here:"
                " stop that process first, or use DATABASE_URL where several machines or containers share a database."
            )
        time.sleep(0.2)
    with closing(lock):
        return _start_locked(folder, programs, lock)


def _start_locked(folder: Path, programs: Programs, lock: FolderLock) -> EmbeddedServer:
    """Start the server while we hold the lock, or use one that runs without holding it."""
    unlocked = ServerProcess(folder, programs, _find_socket_folder(folder))
    if (folder / "postmaster.pid").exists() and unlocked.is_answering():  # of an earlier release, or started by hand
        _write_access_rules(folder, programs.account)
        unlocked.reload()
        return EmbeddedServer(unlocked.url, unlocked, started_by_us=False)
    _remove_remains(folder, lock.read_holder())
    _make_cluster(folder, programs, lock)
    server = ServerProcess(folder, programs, _make_socket_folder(folder, programs.account))
    lock.record_holder(server.socket_folder)
    server.start(lock)
    if not server.is_answering():
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL in {folder} does not answer: {_read_log_tail(folder) or 'it left no log'}"
        )
    return EmbeddedServer(server.url, server, started_by_us=True)


def _prepare_home(home: Path) -> Path:
    """Create the home folder, and return the data folder in it.  Raises DatabaseUnavailable."""
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = (home / "postgres").resolve()
        if folder.exists() and not folder.is_dir():
            raise NotADirectoryError(20, "there is a file of that name")
        if not folder.exists() and not os.access(folder.parent, os.W_OK | os.X_OK):
            raise PermissionError(13, "not writable")
    except OSError as problem:
        raise DatabaseUnavailable(
            f"the embedded PostgreSQL cannot use {home / 'postgres'}: {problem.strerror}. Name a folder that this user"
            " may write to in MUSTER_HOME, or set DATABASE_URL."
        ) from problem
    return folder


def _check_version(folder: Path) -> None:
    """Refuse a data folder of another major version, before anything starts.  Raises DatabaseUnavailable."""
    try:
        found = (folder / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        if folder.exists() and any(folder.iterdir()):
            raise DatabaseUnavailable(
                f"{folder} holds files, but no complete PostgreSQL data folder: move it away, or restore it from a"
                " backup (docs/backup.md)."
            ) from None
        return
    except OSError as problem:
        raise DatabaseUnavailable(f"{folder} cannot be read: {problem.strerror}.") from problem
    expected = str(wheel_version())
    if found != expected:
        raise DatabaseUnavailable(
            f"the data folder {folder} is of PostgreSQL {found[:20]}, and this program brings PostgreSQL {expected}:"
            f" dump it with the programs of {found[:20]}, move the folder away, and restore the dump"
            " (docs/backup.md, 'Another major version of PostgreSQL'). Nothing was changed."
        )


def _acquire(lock: FolderLock) -> bool:
    try:
        return lock.acquire()
    except OSError as problem:
        raise DatabaseUnavailable(
            f"{lock.path} cannot be locked ({problem.strerror}): the embedded PostgreSQL needs a local disk that this"
            " user may write to. Name another folder in MUSTER_HOME, or set DATABASE_URL."
        ) from problem


def _find_socket_folder(folder: Path) -> Path:
    """Return where the server that wrote the pid file listens."""
    with contextlib.suppress(OSError, IndexError):
        return folder / (folder / "postmaster.pid").read_text(errors="replace").splitlines()[4].strip()
    return folder


def _remove_remains(folder: Path, last_holder: Holder) -> None:
    """Remove what a killed server left, so that its process number, which may be another process's now, counts no more.

    The lock is ours, so no server of this release is running.  One that was started without the lock is left alone.
    """
    pid_file = folder / "postmaster.pid"
    if not pid_file.exists() or not _is_server_of(folder, pid_file):
        for name in ("postmaster.pid", _SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
            (folder / name).unlink(missing_ok=True)
    if last_holder.socket_folder and Path(last_holder.socket_folder) != folder:
        _remove_socket_folder(Path(last_holder.socket_folder))


def _is_server_of(folder: Path, pid_file: Path) -> bool:
    """Return whether the pid file names a live server of this folder, which is then its working folder."""
    try:
        pid = int(pid_file.read_text().splitlines()[0])
        if pid <= 0:
            return False
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/cwd").samefile(folder)
    except FileNotFoundError:
        return not Path("/proc/self").exists()  # without /proc the server decides for itself
    except (OSError, ValueError, IndexError):
        return False


def _make_cluster(folder: Path, programs: Programs, lock: FolderLock) -> None:
    """Make the data folder complete: its files, its owner, and who gets in.  Raises DatabaseUnavailable."""
    if (folder / "PG_VERSION").exists():
        _adopt(folder, programs.account)
    elif folder.exists():  # empty, perhaps where a volume is mounted
        _init_cluster(folder, programs, lock)
    else:
        # Made beside its place, so that a process that dies half-way leaves no half data folder.
        fresh = folder.with_name(f"{folder.name}.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=0o700)
        _init_cluster(fresh, programs, lock)
        fresh.rename(folder)
    _write_access_rules(folder, programs.account)


def _init_cluster(folder: Path, programs: Programs, lock: FolderLock) -> None:
    programs.account.take_ownership(folder)
    assert lock.file is not None
    rules = ("--auth-local=peer", "--auth-host=reject")
    where = programs.name_folder(folder)
    code, output = programs.run(
        folder, "initdb", *rules, "--encoding=utf8", "-U", "postgres", "-D", where, files=(lock.file,)
    )
    if code:
        last_lines = " ".join(line.strip() for line in output.splitlines()[-4:])
        raise DatabaseUnavailable(f"no PostgreSQL data folder could be made in {folder}: {last_lines[-400:]}")


def _adopt(folder: Path, account: Account) -> None:
    """Close the data folder to others, and give one that root had copied here to the account of the server."""
    if account.is_other and folder.stat().st_uid != account.uid:
        for path in folder.rglob("*"):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)
    account.take_ownership(folder)


def _write_access_rules(folder: Path, account: Account) -> None:
    """Let in the owner of the folder and root only; earlier releases let in every user of the machine."""
    names = dict.fromkeys((account.name, pwd.getpwuid(0).pw_name))
    quoted = (name.replace('"', '""') for name in names)
    user_map = "".join(f'muster "{name}" postgres\n' for name in quoted)
    for name, text in (("pg_hba.conf", _ACCESS_RULES), ("pg_ident.conf", user_map)):
        path = folder / name
        with contextlib.suppress(OSError):
            if path.read_text() == text:
                continue
        file, made = tempfile.mkstemp(dir=folder, prefix=f"{name}.")
        with open(file, "w") as opened:  # noqa: PTH123 (an open file, not a path)
            opened.write(text)
            if account.is_other:
                os.fchown(file, account.uid, account.gid)
        Path(made).replace(path)


def _make_socket_folder(folder: Path, account: Account) -> Path:
    """Return the data folder where its path is short enough for a socket, else a new short one of the account's own."""
    if _fits(folder):
        return folder
    runtime = Path(f"/run/user/{account.uid}")
    candidates = [] if account.is_other else [runtime]  # that of another account might end with its login
    for above in (*candidates, Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 (made by mkdtemp)
        with contextlib.suppress(OSError):
            if _fits(above / f"{_SOCKET_FOLDER_PREFIX}12345678"):
                made = Path(tempfile.mkdtemp(dir=above, prefix=_SOCKET_FOLDER_PREFIX))
                account.take_ownership(made)
                return made
    raise DatabaseUnavailable(
        f"the path of {folder} is too long for a socket, and no short folder could be made in /tmp: name a shorter one"
        f" in MUSTER_HOME, at most {_MAX_SOCKET_PATH_BYTES - len(_SOCKET_NAME) - len('/postgres/')} characters long."
    )


def _fits(folder: Path) -> bool:
    return len(os.fsencode(folder / _SOCKET_NAME)) <= _MAX_SOCKET_PATH_BYTES


def _remove_socket_folder(folder: Path) -> None:
    if folder.name.startswith(_SOCKET_FOLDER_PREFIX):
        with contextlib.suppress(OSError):
            for name in (_SOCKET_NAME, f"{_SOCKET_NAME}.lock"):
                (folder / name).unlink(missing_ok=True)
            folder.rmdir()


def _read_log_tail(folder: Path) -> str:
    """Return the end of the server's log in one line."""
    with contextlib.suppress(OSError):
        return " ".join((folder / "log").read_text(errors="replace")[-400:].split())
    return ""
