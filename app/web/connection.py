"""Connections of the HTTP server, with bounds on what an unfinished request may hold, and for how long.

A request is answered only once it is complete, so until then a stranger pays nothing for what it occupies.  So a head
and a body have a maximum time, bodies stay in memory and have a maximum size together, and a request that its head
alone refuses is answered at once.  Nothing is written to files.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from io import BytesIO
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.receiver import ChunkedReceiver, FixedStreamReceiver
from waitress.utilities import BadRequest, RequestEntityTooLarge

from app.web.request_head import EarlyAnswer, HeadCheck, RequestHead

Network = IPv4Network | IPv6Network

LOOPBACK: tuple[Network, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
"""The addresses of this machine, where a proxy usually runs."""

_MAX_CHUNK_LINE_BYTES = 1024
"""Longest size line of a chunk."""
_MAX_TRAILER_BYTES = 8192
"""Longest trailer of a body in chunks."""
_MAX_DISCARDED_BYTES = 32 * 1024 * 1024
"""How much of the body of a refused request is read and thrown away, so that its client gets to read the answer."""
_DISCARD_BYTES = 256 * 1024
"""How much of it is read at a time."""
_SMALL_BODY_BYTES = 16 * 1024
"""Bodies up to this size are not given up for others: ordinary deliveries get through while large ones arrive."""


@dataclass(frozen=True, slots=True)
class RequestLimits:
    """What unfinished requests may hold.

    `head_seconds` is the time for a head, from the first byte or from the connection's beginning; `body_seconds` that
    for a body, and for the rest of a refused request.  After `slow_body_seconds` a body must have arrived with at least
    `min_bytes_per_second`.  A connection that was answered before may be idle for `idle_seconds`, and a client may let
    an answer wait for `unread_seconds` before its connection makes room for others.  `body_bytes` is the memory of all
    bodies together.  An address has at most `connections_per_address`, except those of `proxies`, which stand for many
    clients.
    """

    head_seconds: float = 10.0
    body_seconds: float = 30.0
    slow_body_seconds: float = 10.0
    min_bytes_per_second: int = 1024
    idle_seconds: float = 75.0
    unread_seconds: float = 10.0
    body_bytes: int = 64 * 1024 * 1024
    connections_per_address: int = 100
    proxies: tuple[Network, ...] = LOOPBACK


@dataclass
class BodyMemory:
    """Counts the bytes of all bodies that are held, from any thread."""

    limit: int
    used: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, count: int) -> None:
        """Count further bytes, or with a negative number fewer."""
        with self._lock:
            self.used += count

    @property
    def is_exceeded(self) -> bool:
        """True while bodies hold more than the limit."""
        return self.used > self.limit


class _MemoryBuffer:
    """A body in memory, with the methods that waitress asks of a buffer."""

    def __init__(self) -> None:
        self._bytes = BytesIO()

    def __len__(self) -> int:
        return self._bytes.getbuffer().nbytes

    def append(self, data: bytes) -> None:
        """Append a piece of the body."""
        self._bytes.write(data)

    def getfile(self) -> BytesIO:
        """Return the whole body as a file at its beginning; reading it whole makes no copy."""
        self._bytes = BytesIO(self._bytes.getvalue())
        return self._bytes

    def close(self) -> None:
        """Let go of the body."""
        self._bytes = BytesIO()


class RequestParser(HTTPRequestParser):  # type: ignore[misc]  # waitress has no types
    """Parses one request; `check_head` may refuse it before its body is read."""

    headers_finished: bool
    error: Any
    body_rcv: Any

    def __init__(self, adj: Any, memory: BodyMemory, check_head: HeadCheck) -> None:
        super().__init__(adj)
        self.started_at = time.monotonic()
        self.body_started_at: float | None = None
        self.is_refused = False
        self.held = 0
        self._memory = memory
        self._check_head = check_head

    def received(self, data: bytes) -> int:
        """Consume data and return how much; a refused request consumes everything that follows it."""
        had_head = self.headers_finished
        consumed = int(super().received(data))
        if self.headers_finished and not had_head:
            self._begin_body()
        elif self.body_rcv is not None and not self.is_refused:
            self._count_body()
        if self.error is not None:
            self._stop_body()
            return len(data)
        return consumed

    def refuse(self, refusal: EarlyAnswer) -> None:
        """Answer with the refusal instead of reading on."""
        self.error = refusal
        self._stop_body()

    def close(self) -> None:
        """Let go of the body."""
        super().close()
        self._memory.add(-self.held)
        self.held = 0

    def _begin_body(self) -> None:
        """Check the head of a request with a body, and prepare for the body."""
        if self.body_rcv is None or not (self.error is None or isinstance(self.error, RequestEntityTooLarge)):
            return
        self.body_started_at = time.monotonic()
        buffer = _MemoryBuffer()
        self.body_rcv = ChunkedReceiver(buffer) if self.chunked else FixedStreamReceiver(self.content_length, buffer)
        headers = {name.lower().replace("_", "-"): value for name, value in self.headers.items()}
        length = None if self.chunked else self.content_length
        refusal = self._check_head(RequestHead(self.command, self.path, headers, length))
        if refusal is not None:
            self.refuse(refusal)

    def _count_body(self) -> None:
        held = len(self.body_rcv)
        self._memory.add(held - self.held)
        self.held = held
        # waitress bounds neither: it would copy the line collected so far again and again.
        if self.chunked and (
            len(self.body_rcv.control_line) > _MAX_CHUNK_LINE_BYTES or len(self.body_rcv.trailer) > _MAX_TRAILER_BYTES
        ):
            self.error = BadRequest("a line of the chunked body is too long")

    def _stop_body(self) -> None:
        self.completed = True
        self.expect_continue = False
        self.is_refused = self.body_started_at is not None
        self.close()


class Connection(HTTPChannel):  # type: ignore[misc]  # waitress has no types
    """One connection of a client."""

    request: Any
    close_when_flushed: bool
    will_close: bool
    total_outbufs_len: int

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: Any = None) -> None:  # noqa: A002
        self._limits: RequestLimits = server.limits
        self._memory: BodyMemory = server.memory
        self._give_up_body: Callable[[], None] = server.give_up_body
        self.parser_class = partial(RequestParser, memory=server.memory, check_head=server.check_head)
        self._idle_since = time.monotonic()
        self._was_answered: bool = False
        self._is_refused: bool = False
        self._discards: bool = False
        self._discard_until = 0.0
        self._discarded = 0
        super().__init__(server, sock, addr, adj, map=map)

    @property
    def is_unfinished(self) -> bool:
        """True unless a complete request is being answered, and its client reads the answer."""
        if self.requests or self.will_close:
            return False
        return not self.total_outbufs_len or self._is_unread_for(self._limits.unread_seconds)

    @property
    def eviction_order(self) -> tuple[int, float]:
        """The smallest is given up first: what is refused or not read, then what has been sent for longest."""
        if self._discards or self.total_outbufs_len:
            return 0, self._discard_until
        if self.request is not None:
            return 1, float(self.request.started_at)
        return (2 if self._was_answered else 1), self._idle_since

    @property
    def memory_cost(self) -> float:
        """How much memory the unfinished body holds, times how long it has; 0 for a small one."""
        request = self.request
        if request is None or self.requests or request.completed or request.held <= _SMALL_BODY_BYTES:
            return 0.0  # `refuse` does nothing while an earlier request is being answered
        return float(request.held * (time.monotonic() - request.body_started_at + 0.001))

    def received(self, data: bytes) -> bool:
        """Receive data of a request, and give up the costliest body if all together hold too much."""
        result = bool(super().received(data))
        if self._memory.is_exceeded:
            self._give_up_body()
        return result

    def service(self) -> None:
        """Answer the oldest complete request."""
        self._is_refused = self.requests[0].is_refused
        super().service()
        self._was_answered, self._idle_since = True, time.monotonic()

    def refuse(self, refusal: EarlyAnswer) -> None:
        """Answer the unfinished request with the refusal, and read no more of it."""
        with self.requests_lock:
            request = self.request
            if request is None or self.requests:
                return
            request.refuse(refusal)
            self.requests.append(request)
            self.request = None
        self.server.add_task(self)

    def expire(self, now: float) -> None:
        """Give the connection up if its time is over."""
        if self.total_outbufs_len and not self.requests:
            if self._is_unread_for(self._limits.idle_seconds):
                self.close_soon()
        elif self.is_unfinished and now > self._deadline():
            if self.request is not None and self.request.body_started_at is not None:
                self.refuse(EarlyAnswer(408, "request timeout"))
            else:
                self.close_soon()

    def close_soon(self) -> None:
        """Close the connection in the loop's next round, or at once if its client does not read."""
        if self.total_outbufs_len:
            self.handle_close()  # the system would never call it writable
        else:
            self.will_close = True

    def _is_unread_for(self, seconds: float) -> bool:
        return bool(self.last_activity < self.server.checked_at - seconds)

    def _deadline(self) -> float:
        """Return when an unfinished request, or the wait for the next one, is given up."""
        if self._discards:
            return self._discard_until
        request = self.request
        if request is not None and request.body_started_at is not None:
            # Like a timeout that grows with each byte, up to the longest one.
            earned_seconds = self._limits.slow_body_seconds + request.held / self._limits.min_bytes_per_second
            return float(request.body_started_at + min(self._limits.body_seconds, earned_seconds))
        if not self._was_answered:
            return self._idle_since + self._limits.head_seconds
        if request is not None:
            return float(request.started_at) + self._limits.head_seconds
        return self._idle_since + self._limits.idle_seconds

    def readable(self) -> bool:
        """Return True if data is wanted."""
        if self.socket is None:
            return False  # closed in this round, and its number may be the next client's
        return not self.will_close if self._discards else bool(super().readable())

    def writable(self) -> bool:
        """Return True if there is something to send, or the connection is to be closed."""
        if self.socket is None:
            return False
        return bool(self.will_close) if self._discards else bool(super().writable())

    def handle_read(self) -> None:
        """Read what has arrived."""
        if not self._discards:
            super().handle_read()
            return
        try:
            data = self.recv(_DISCARD_BYTES)  # closes at the end of the stream
        except OSError:
            self.handle_close()
            return
        self._discarded += len(data)
        if self._discarded > _MAX_DISCARDED_BYTES:
            self.will_close = True

    def handle_write(self) -> None:
        """Send what waits to be sent, and close if that was asked for."""
        if not (self._is_refused and self.close_when_flushed) or self.will_close or self._discards:
            super().handle_write()
            return
        self._flush_exception(self._flush_some)
        if not self.total_outbufs_len and not self.will_close:
            self._begin_discarding()

    def handle_close(self) -> None:
        """Close the connection."""
        super().handle_close()
        if self.request is not None:
            self.request.close()

    def _begin_discarding(self) -> None:
        """Read the rest of a refused request and throw it away.

        Closing at once would make the system reset the connection, and the client lose the answer while it sends.
        """
        self.close_when_flushed = False
        self._discards = True
        self._discard_until = time.monotonic() + self._limits.body_seconds
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_WR)
