"""Serve a WSGI application with waitress in a background thread that can be stopped.

There is always room for one more client: beyond `max_connections`, in all and from one address, connections with an
unfinished request are closed, those first that have taken longest.
"""

from __future__ import annotations

import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

import structlog
from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.server import TcpWSGIServer
from waitress.task import ThreadedTaskDispatcher

from app.web.connection import BodyMemory, Connection, RequestLimits
from app.web.request_head import EarlyAnswer, HeadCheck, accept_every_head

_MAX_ACCEPTS = 256
"""The largest number of new clients accepted at a time."""
_RESERVED_FILES = 200
"""The number of open files that a process needs besides its client connections."""
_MIN_CONNECTIONS = 64
"""How many connections are allowed at least, however few files the process may open."""
_MAX_HEAD_BYTES = 32 * 1024
"""Longest head of a request; GitHub's have about one KiB."""
_MAX_THREADS = 8
"""How many requests are answered at a time."""
_LOG_PAUSE_SECONDS = 60.0
"""Shortest time between two log lines about connections that were closed to make room."""

log = structlog.get_logger()


def find_free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _allow_open_files(files: int) -> int:
    """Raise this process's limit of open files to that number, as far as it may, and return what it may open.

    Only Unix has such a limit.
    """
    try:
        import resource  # noqa: PLC0415
    except ImportError:
        return files
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= files:
        return files
    with suppress(OSError, ValueError):
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (files if hard == resource.RLIM_INFINITY else min(files, hard), hard)
        )
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return files if soft == resource.RLIM_INFINITY else min(files, soft)


class _Server(TcpWSGIServer):  # type: ignore[misc]  # waitress has no types
    """A server of waitress whose clients share its room."""

    channel_class = Connection

    def __init__(
        self,
        application: Any,
        *,
        limits: RequestLimits,
        check_head: HeadCheck,
        max_connections: int,
        **settings: Any,
    ) -> None:
        self.limits = limits
        self.check_head = check_head
        self.memory = BodyMemory(limits.body_bytes)
        self._max_connections = max_connections
        self._max_per_address = limits.connections_per_address
        self._proxies = limits.proxies
        self._next_log_at = 0.0
        self.checked_at = 0.0
        adjustments = Adjustments(**settings)
        dispatcher = ThreadedTaskDispatcher()
        dispatcher.set_thread_count(_MAX_THREADS)
        super().__init__(
            application,
            map={},
            dispatcher=dispatcher,
            adj=adjustments,
            sockinfo=min(adjustments.listen, key=lambda info: info[0] != socket.AF_INET),
        )

    @property
    def connections(self) -> dict[int, Any]:
        """Everything that the loop serves: connections, the listening socket and the trigger."""
        return dict(self._map)

    def forget_connections(self) -> None:
        """Leave the loop nothing to serve, so that it ends."""
        self._map.clear()

    def handle_accept(self) -> None:
        """Accept all waiting clients, and make room for them.

        By itself waitress polls every client it has before it accepts a single new one.
        """
        for _ in range(_MAX_ACCEPTS):
            inside = len(self._map)
            super().handle_accept()
            if len(self._map) == inside:
                break
        self._make_room()

    def maintenance(self, now: float) -> None:
        """Close the connections whose time is over; waitress calls this about every second with the time of day."""
        self.checked_at = now
        monotonic_now = time.monotonic()
        for connection in list(self.active_channels.values()):
            connection.expire(monotonic_now)

    def give_up_body(self) -> None:
        """Refuse the unfinished bodies that cost most memory, until all together are within the limit."""
        while self.memory.is_exceeded:
            costliest = max(self.active_channels.values(), key=lambda each: each.memory_cost, default=None)
            if costliest is None or not costliest.memory_cost:
                return
            self._log_once_a_minute("unfinished requests hold too much memory: the largest are refused")
            costliest.refuse(EarlyAnswer(503, "too many large requests at once", (("Retry-After", "60"),)))

    def _make_room(self) -> None:
        """Close unfinished connections beyond the limits, in all and for each address."""
        if len(self.active_channels) <= min(self._max_connections, self._max_per_address):
            return
        # What is about to be closed still is in the loop's map, and would be made room for a second time.
        staying = [each for each in self.active_channels.values() if not each.will_close]
        unfinished = [each for each in staying if each.is_unfinished]
        by_address = defaultdict[str, list[Any]](list)
        for connection in unfinished:
            by_address[_client_network(connection.addr[0])].append(connection)
        surplus = len(staying) - self._max_connections
        if surplus > 0:
            self._log_once_a_minute("too many connections: the slowest are closed")
            _close_slowest(unfinished, surplus)
        for address, connections in by_address.items():
            if len(connections) > self._max_per_address and not self._is_exempt(address):
                self._log_once_a_minute("too many connections of one address: the slowest are closed", address=address)
                _close_slowest(connections, len(connections) - self._max_per_address)

    def _is_exempt(self, address: str) -> bool:
        """Return True for the address of a proxy, which stands for all its clients."""
        try:
            found = ip_address(address)
        except ValueError:
            return False
        return any(found in network for network in self._proxies if network.version == found.version)

    def _log_once_a_minute(self, message: str, **details: str) -> None:
        now = time.monotonic()
        if now >= self._next_log_at:
            self._next_log_at = now + _LOG_PAUSE_SECONDS
            log.warning(message, connections=len(self.active_channels), **details)


def _client_network(address: str) -> str:
    """Return the address that a client counts under: an IPv6 network of 64 bits belongs to one customer."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(found, IPv6Address):
        return str(found)
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found) if found.is_loopback else str(ip_network((int(found) >> 64 << 64, 64)).network_address)


def _close_slowest(connections: Iterable[Any], count: int) -> None:
    for connection in sorted(connections, key=lambda each: each.eviction_order)[:count]:
        connection.close_soon()


def _require_free_port(host: str, port: int) -> None:
    """Raise OSError if the port cannot be listened on; waitress itself would leave its sockets open then."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, port), family=family):
        return


class HttpServer:
    """A WSGI server that answers on a port from its creation until `stop`.

    Slow clients hold a socket, not a thread.  `check_head` may refuse requests before their bodies are read.  Port 0
    picks a free one.

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
        limits: RequestLimits | None = None,
        check_head: HeadCheck = accept_every_head,
    ) -> None:
        _require_free_port(host, port)
        files = _allow_open_files(max_connections + _MAX_ACCEPTS + _RESERVED_FILES)
        max_connections = max(_MIN_CONNECTIONS, min(max_connections, files - _MAX_ACCEPTS - _RESERVED_FILES))
        self._server = _Server(
            application,
            limits=limits or RequestLimits(),
            check_head=check_head,
            max_connections=max_connections,
            host=host,
            port=port,
            connection_limit=max_connections + _MAX_ACCEPTS,
            cleanup_interval=1,
            asyncore_use_poll=True,  # select() fails for all clients at the 1,024th file
            max_request_header_size=_MAX_HEAD_BYTES,
            max_request_body_size=max_body_bytes,
            clear_untrusted_proxy_headers=True,
            ident=name,
        )
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()

    @property
    def connection_count(self) -> int:
        """How many clients are connected."""
        return len(self._server.active_channels)

    @property
    def body_bytes(self) -> int:
        """How many bytes of bodies are held."""
        return self._server.memory.used

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

    def _close_connections(self) -> None:
        for connection in self._server.connections.values():
            if isinstance(connection, Connection):
                connection.handle_close()
            elif connection is not self._server.trigger:
                wasyncore.dispatcher.close(connection)
        self._server.forget_connections()
