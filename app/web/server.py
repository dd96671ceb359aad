"""A WSGI application behind waitress, in a thread of its own, that can be stopped."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import waitress
from waitress import wasyncore

_ADMITTED = 256
"""At most so many new clients at a time."""
_BESIDE = 200
"""Files that a process holds beside the connections of its clients."""


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


def _make_room(files: int) -> None:
    """Let this process open so many files, or as many as it may.  Elsewhere than on Unix this does nothing."""
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return
    with suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard)
        )


class Served:
    """An application that answers on a port from the moment this exists until `stop`.

    `connections` are what slow clients may hold: in waitress they hold a socket, not a thread.  Port 0 is a free one.
    """

    def __init__(
        self, application: Any, host: str, port: int, *, name: str, connections: int = 2500, largest: int = 2**30
    ) -> None:
        _make_room(connections + _BESIDE)
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            application,
            map=self._sockets,
            host=host,
            port=port,
            threads=8,
            connection_limit=connections,
            channel_timeout=60,
            asyncore_use_poll=True,  # select() fails at the 1,024th file, for everybody
            max_request_body_size=largest,
            clear_untrusted_proxy_headers=True,
            ident=name,
        )
        self._accept_one, self._server.handle_accept = self._server.handle_accept, self._accept
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End every connection and the threads; what is being answered has five seconds.  Twice does no harm."""
        if not self._thread.is_alive():
            return
        # Closed from within the loop's own thread; without sockets the loop ends.  The trigger goes last, since pulling
        # it writes to it.
        self._server.trigger.pull_trigger(self._close)
        self._thread.join(5)
        self._server.trigger.close()
        self._server.task_dispatcher.shutdown(timeout=5)

    def _accept(self) -> None:
        """Let in everybody who waits at the door: waitress asks each client that it has whether it has something to say, and
        then lets in one."""
        for _ in range(_ADMITTED):
            inside = len(self._sockets)
            self._accept_one()
            if len(self._sockets) == inside:
                return

    def _close(self) -> None:
        for connection in list(self._sockets.values()):
            if connection is not self._server.trigger:
                wasyncore.dispatcher.close(connection)
        self._sockets.clear()
