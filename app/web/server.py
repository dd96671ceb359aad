"""Serve a WSGI application with waitress in a background thread that can be stopped."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Any

import waitress
from waitress import wasyncore

_MAX_ACCEPTS = 256
"""The largest number of new clients accepted at a time."""
_RESERVED_FILES = 200
"""The number of open files that a process needs besides its client connections."""


def find_free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _raise_open_file_limit(files: int) -> None:
    """Raise this process's limit of open files to that number, as far as it may; only Unix has such a limit."""
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


def _require_free_port(host: str, port: int) -> None:
    """Raise OSError if the port cannot be listened on; waitress itself would leave its sockets open then."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        return


class HttpServer:
    """A WSGI server that answers on a port from its creation until `stop`.

    Slow clients may hold `max_connections`: in waitress each holds a socket, not a thread.  Port 0 picks a free one.

    Raises OSError if the port is taken.
    """

    def __init__(
        self,
        application: Any,
        host: str,
        port: int,
        *,
        name: str,
        max_connections: int = 2500,
        max_body_bytes: int = 2**30,
    ) -> None:
        _require_free_port(host, port)
        _raise_open_file_limit(max_connections + _RESERVED_FILES)
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            application,
            map=self._sockets,
            host=host,
            port=port,
            threads=8,
            connection_limit=max_connections,
            channel_timeout=60,
            asyncore_use_poll=True,  # select() fails for all clients at the 1,024th file
            max_request_body_size=max_body_bytes,
            clear_untrusted_proxy_headers=True,
            ident=name,
        )
        self._accept_one, self._server.handle_accept = self._server.handle_accept, self._accept_waiting_clients
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close every connection and stop the threads; running requests have five seconds.  Idempotent."""
        if not self._thread.is_alive():
            return
        # Close the sockets in the loop's own thread; without sockets the loop ends.  The trigger is closed last, since
        # pulling it writes to it.
        self._server.trigger.pull_trigger(self._close_connections)
        self._thread.join(5)
        self._server.trigger.close()
        self._server.task_dispatcher.shutdown(timeout=5)

    def _accept_waiting_clients(self) -> None:
        """Accept all waiting clients.

        By itself waitress polls every client it has before it accepts a single new one.
        """
        for _ in range(_MAX_ACCEPTS):
            inside = len(self._sockets)
            self._accept_one()
            if len(self._sockets) == inside:
                return

    def _close_connections(self) -> None:
        for connection in list(self._sockets.values()):
            if connection is not self._server.trigger:
                wasyncore.dispatcher.close(connection)
        self._sockets.clear()
