"""The lock on the data folder of the embedded server, which the kernel holds for as long as that server lives.

The server inherits the locked file, and so do its children.  Therefore the lock outlives the process that started the
server, and it is free as soon as the last process that could write to the folder is gone.  Process numbers decide
nothing: in another container, or after a power cut, they belong to other processes.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that locked the folder, and the folder of its server's socket."""

    host: str = ""
    process: int = 0
    machine: str = ""
    socket_folder: str = ""
    since: str = ""

    @property
    def is_on_this_machine(self) -> bool:
        """Return whether the holder and this process see the same processes: same boot, same container."""
        return bool(self.host) and self.machine == identify_machine()

    def __str__(self) -> str:
        return f"process {self.process} on host {self.host}, since {self.since}" if self.host else "an unknown process"


class FolderLock:
    """A lock file, and the record in it of the process that holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file: int | None = None
        """The open and locked file, to be inherited by the server; None while the lock is not held by us."""

    def acquire(self) -> bool:
        """Take the lock if it is free, and return whether it is held now.  Raises OSError."""
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        opened = os.open(self.path, flags, 0o600)
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(opened)
            return False
        except OSError:
            os.close(opened)
            raise
        self.file = opened
        return True

    def record_holder(self, socket_folder: Path) -> None:
        """Write into the file which process holds the lock, and where its server is reached."""
        assert self.file is not None
        record = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "machine": identify_machine(),
            "socket_folder": str(socket_folder),
        }
        text = json.dumps(record).encode() + b"\n"
        os.pwrite(self.file, text, 0)
        os.ftruncate(self.file, len(text))

    def read_holder(self) -> Holder:
        """Read which process holds the lock, or held it last; a holder without a host where nothing is written."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            record = json.loads(self.path.read_bytes())
            # The clock of the file system: when the record was written.
            since = datetime.fromtimestamp(self.path.stat().st_mtime, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            return Holder(
                str(record["host"]),
                int(record["process"]),
                str(record["machine"]),
                str(record["socket_folder"]),
                since,
            )
        return Holder()

    def close(self) -> None:
        """Let go of the file; a server that has inherited it keeps the lock."""
        if self.file is not None:
            os.close(self.file)
            self.file = None


def identify_machine() -> str:
    """Return a name for the set of processes that this process can see; empty where the system has none."""
    with contextlib.suppress(OSError):
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"  # noqa: PTH115 (no path, but a number in brackets)
    return ""
