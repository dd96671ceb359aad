"""Servers on loopback that stand where a PostgreSQL should: another protocol, an old server, a connection pooler."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104
Answer = Callable[[socket.socket], None]


@contextmanager
def run_fake_server(answer: Answer) -> Iterator[int]:
    """Answer each connection in a thread of its own, and yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listening.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError, EOFError):
                answer(client)

        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    accepting.join(5)


def answer_http(client: socket.socket) -> None:
    """Answer as a web server does that reads no HTTP."""
    client.recv(100)
    client.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")


def refuse_with(text: str) -> Answer:
    """Answer the start-up with an error, as PgBouncer does."""

    def answer(client: socket.socket) -> None:
        read_startup(client)
        fields = b"SFATAL\0VFATAL\0C08P01\0M" + text.encode() + b"\0\0"
        client.sendall(message(b"E", fields))

    return answer


def welcome_as(version: str) -> Answer:
    """Welcome every client as a server of that version, and answer nothing more."""

    def answer(client: socket.socket) -> None:
        read_startup(client)
        client.sendall(greeting(version))
        client.recv(1000)

    return answer


def greeting(version: str) -> bytes:
    parameters = {"server_version": version, "client_encoding": "UTF8", "standard_conforming_strings": "on"}
    told = b"".join(message(b"S", f"{name}\0{value}\0".encode()) for name, value in parameters.items())
    invented_key = struct.pack("!I", 2_000_000) + os.urandom(4)
    return message(b"R", struct.pack("!I", 0)) + told + message(b"K", invented_key) + message(b"Z", b"I")


class TransactionPooler:
    """A pooler in transaction mode: all clients take turns on one session of the real server."""

    def __init__(self, host: str, port: int, user: str, database: str) -> None:
        self._turn = threading.Lock()
        self._server = socket.create_connection((host, port))
        start = f"user\0{user}\0database\0{database}\0\0".encode()
        self._server.sendall(struct.pack("!II", 8 + len(start), 196608) + start)
        while read_message(self._server)[0] != b"Z":
            pass

    def answer(self, client: socket.socket) -> None:
        read_startup(client)
        client.sendall(greeting("18.0"))
        while True:
            kind, body = read_message(client)
            if kind == b"X":
                return
            with self._turn:
                state = self._pass_on(client, kind, body)
                while state != b"I":
                    state = self._pass_on(client, *read_message(client))

    def _pass_on(self, client: socket.socket, kind: bytes, body: bytes) -> bytes:
        """Pass on one message, and the answers if it asks for them; return the state of the transaction."""
        self._server.sendall(message(kind, body))
        if kind not in (b"Q", b"S"):
            return b"T"
        while True:
            kind, body = read_message(self._server)
            client.sendall(message(kind, body))
            if kind == b"Z":
                return body

    def close(self) -> None:
        self._server.close()


def read_startup(client: socket.socket) -> bytes:
    """Read the first message of a client, and refuse encryption until it comes."""
    while True:
        (length,) = struct.unpack("!I", read_bytes(client, 4))
        body = read_bytes(client, length - 4)
        if struct.unpack("!I", body[:4])[0] not in (_SSL_REQUEST, _GSS_REQUEST):
            return body
        client.sendall(b"N")


def read_message(connection: socket.socket) -> tuple[bytes, bytes]:
    kind, length = struct.unpack("!cI", read_bytes(connection, 5))
    return kind, read_bytes(connection, length - 4)


def read_bytes(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = connection.recv(count - len(found))
        if not more:
            raise EOFError
        found += more
    return found


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body
