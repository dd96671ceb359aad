"""A WSGI application behind waitress, in a thread of its own, that can be stopped."""

from __future__ import annotations

import socket
import threading
from typing import Any

import waitress
from waitress import wasyncore


def free_port() -> int:
    """A port on loopback that was free a moment ago."""
    with socket.socket() as asked:
        asked.bind(("127.0.0.1", 0))
        return int(asked.getsockname()[1])


class Served:
    """An application that answers on a port from the moment this exists until `stop`.

    `connections` are what slow clients may hold: in waitress they hold a socket, not a thread.  Port 0 is a free one.
    """

    def __init__(
        self, application: Any, host: str, port: int, *, name: str, connections: int = 2500, largest: int = 2**30
    ) -> None:
        self._sockets: dict[int, Any] = {}
        self._server = waitress.create_server(
            application,
            map=self._sockets,
            host=host,
            port=port,
            threads=8,
            connection_limit=connections,
            channel_timeout=60,
            max_request_body_size=largest,
            clear_untrusted_proxy_headers=True,
            ident=name,
        )
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

    def _close(self) -> None:
        for connection in list(self._sockets.values()):
            if connection is not self._server.trigger:
                wasyncore.dispatcher.close(connection)
        self._sockets.clear()
