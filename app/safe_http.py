"""SSRF-safe HTTP client for addresses that a user or an operator named, such as a calendar feed or a webhook.

The law of this file: user input must not reach what only this machine can reach.  So the address is https on the usual
ports, its name is resolved once, only addresses of the public Internet are dialled, and the address that was checked is
the one that is connected to.  Redirects are not followed, credentials of the environment are not used, and the whole
exchange has a maximum size and duration.  The response is treated as data.

The operator's own certificates count for everybody.  The operator's proxy is used only for addresses that the operator
named: it resolves names itself, and what it makes of a user's name could not be checked.
"""

from __future__ import annotations

import copy
import queue
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from app.outgoing import Outgoing, Proxy, ProxyFailure, read_shown_issuer
from app.ports import DeliveryFailed, NotFound

Resolver = Callable[[str, int], Sequence[str]]
"""Returns the IP addresses of a host and port; raises OSError if it has none."""

_ALLOWED_PORTS = {"https": (443, 8443), "http": ()}
_CONNECT_TIMEOUT_SECONDS = 3.0
"""Seconds for each attempt to connect."""
_RETRY_SECONDS = {"GET": 60.0, "POST": 0.0}
"""Seconds until a temporary failure is retried; callers of POST have a retry policy of their own."""
_MAX_RETRY_SECONDS = 3600.0
_MAX_POST_RESPONSE_BYTES = 4096
"""How many bytes of the response to a POST are read."""
_MAX_URL_CHARACTERS = 2000

# Depending on its version, Python's is_global accepts some of these; and only an eighth of IPv6 is public.
_PUBLIC_IPV6_NETWORK = IPv6Network("2000::/3")
_NON_PUBLIC_NETWORKS: tuple[IPv4Network | IPv6Network, ...] = (
    IPv4Network("0.0.0.0/8"),
    IPv4Network("100.64.0.0/10"),  # carrier-grade NAT; the metadata service of one cloud
    IPv4Network("168.63.129.16/32"),  # the metadata service of one cloud, in public space
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("198.18.0.0/15"),
    IPv4Network("224.0.0.0/3"),  # multicast and reserved
    IPv6Network("2001::/23"),  # Teredo, among others: it embeds an IPv4 address
    IPv6Network("2001:db8::/32"),
    IPv6Network("2002::/16"),  # 6to4: it embeds an IPv4 address
    IPv6Network("3fff::/20"),
)

_FORBIDDEN_CHARACTER = re.compile(r"[^\x21-\x7e]|[\\<>\"`{}|^]|%(?:[01][0-9a-f]|7f)", re.IGNORECASE)
_HOST_NAME = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.?")
_NUMERIC_LABEL = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)\.?")


@dataclass(frozen=True, slots=True)
class Address:
    """A well-formed address, which may be requested if its host turns out to be public."""

    url: str
    scheme: str
    host: str
    port: int

    @property
    def redacted_url(self) -> str:
        """The address without path and query, which are often secrets."""
        return f"{self.scheme}://{self.host}/…"


@dataclass(frozen=True, slots=True)
class SafeHttpResponse:
    """An HTTP response; the names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def is_not_modified(self) -> bool:
        """True if the server answered 304 Not Modified."""
        return self.status == 304


def parse_address(text: str, *, loopback: bool = False) -> Address:
    """Parse and check the address without using the network.

    Raises ValueError, with a message that can be shown to users.  `loopback` allows http and any port, as in tests.
    """
    if len(text) > _MAX_URL_CHARACTERS:
        raise ValueError(f"an address is at most {_MAX_URL_CHARACTERS} characters long")
    if _FORBIDDEN_CHARACTER.search(text):
        raise ValueError("the address holds characters that an address does not have")
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise ValueError("the address cannot be read, such as https://example.com/path") from None
    if parts.scheme != "https" and not (loopback and parts.scheme == "http"):
        raise ValueError("the address has to begin with https://")
    if "@" in parts.netloc:
        raise ValueError("the address holds a name or password before its host, and must not")
    _check_host(host, bracketed="[" in parts.netloc)
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if not loopback and port not in _ALLOWED_PORTS[parts.scheme]:
        raise ValueError(f"port {port} is not asked, only 443 and 8443")
    return Address(text, parts.scheme, host, port)


def is_public_ip(text: str) -> bool:
    """Return True if that is an IP address of the public Internet."""
    try:
        found = ip_address(text)
    except ValueError:
        return False
    if isinstance(found, IPv6Address) and (found.scope_id or found not in _PUBLIC_IPV6_NETWORK):
        return False
    return found.is_global and not any(
        found in network for network in _NON_PUBLIC_NETWORKS if network.version == found.version
    )


def is_ip(text: str) -> bool:
    """Return True if that is an IP address, not a host name."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def resolve_host(host: str, port: int) -> Sequence[str]:
    """Return the addresses that the system resolver knows for a host."""
    rows = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


@dataclass(frozen=True, slots=True)
class _Request:
    """What is sent to an address, and how much comes back within how much time."""

    method: str
    url: str
    body: bytes | None
    headers: Mapping[str, str]
    max_bytes: int
    timeout_seconds: float


class SafeHttpClient:
    """Sends requests to addresses that a user named.

    Raises DeliveryFailed, with a message that can be shown to users, and nothing else.

    `loopback` allows this machine, also by http: for tests, and operators who ask for it.  `certificates` is the path
    of a file of certificates to trust besides the usual ones.  `outgoing` names the operator's certificates and proxy.
    """

    def __init__(
        self,
        *,
        resolve: Resolver = resolve_host,
        loopback: bool = False,
        certificates: str | None = None,
        outgoing: Outgoing = Outgoing(),  # noqa: B008 - it is frozen
    ) -> None:
        self._resolve = resolve
        self._loopback = loopback
        self._uses_proxy = False
        self._outgoing = replace(outgoing, certificate_file=certificates) if certificates else outgoing

    def get(
        self,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 1024 * 1024,
        timeout_seconds: float = 10.0,
    ) -> SafeHttpResponse:
        """Fetch at most `max_bytes` from the address within `timeout_seconds`; a 304 has no body."""
        return self._exchange(_Request("GET", url, None, headers or {}, max_bytes, timeout_seconds))

    def post(
        self, url: str, body: bytes, *, headers: Mapping[str, str] | None = None, timeout_seconds: float = 5.0
    ) -> SafeHttpResponse:
        """Send `body` to the address once, and read the first 4 KiB of the response."""
        return self._exchange(_Request("POST", url, body, headers or {}, _MAX_POST_RESPONSE_BYTES, timeout_seconds))

    def for_operator(self) -> SafeHttpClient:
        """Return the same client for addresses that the operator named, which the operator's proxy may reach."""
        client = copy.copy(self)
        client._uses_proxy = True  # noqa: SLF001 -- of our own class
        return client

    def _exchange(self, request: _Request) -> SafeHttpResponse:
        method, deadline = request.method, time.monotonic() + request.timeout_seconds
        try:
            target = parse_address(request.url, loopback=self._loopback)
        except ValueError as problem:
            raise DeliveryFailed(str(problem), retry_after=None) from None
        connection = self._prepare_connection(target, deadline, method)
        headers = {"User-Agent": "muster", **request.headers, "Accept-Encoding": "identity"}
        with connection.enforce_deadline(), requests.Session() as session:
            session.trust_env = False
            tls_context = self._outgoing.tls_context() if target.scheme == "https" else None
            session.mount(f"{target.scheme}://", _PinnedAdapter(connection, tls_context))
            try:
                with session.request(
                    method,
                    target.url,
                    data=request.body,
                    headers=headers,
                    timeout=(_CONNECT_TIMEOUT_SECONDS, request.timeout_seconds),
                    allow_redirects=False,
                    stream=True,
                ) as response:
                    _check_status(target, method, response)
                    content = _read_body(target, response, request.max_bytes, truncate=method == "POST")
            except (requests.RequestException, HTTPError, OSError, ValueError) as problem:
                raise connection.to_delivery_failure(method, request.timeout_seconds, problem) from None
            if connection.timed_out:
                raise connection.timeout_error(method, request.timeout_seconds)
        response_headers = {name.lower(): value for name, value in response.headers.items()}
        return SafeHttpResponse(response.status_code, response_headers, content)

    def _prepare_connection(self, target: Address, deadline: float, method: str) -> _GuardedConnection:
        """Return the connection to the target: to its checked addresses, or through the operator's proxy."""
        retry_after = _RETRY_SECONDS[method]
        try:
            proxy = self._outgoing.proxy_for(target.scheme, target.host, target.port) if self._uses_proxy else None
        except ProxyFailure as problem:
            raise DeliveryFailed(str(problem), retry_after=None) from None
        if proxy is None:
            return _GuardedConnection(target, self._resolve_checked_addresses(target, deadline, retry_after), deadline)
        if proxy.scheme != "http":
            raise DeliveryFailed(f"{target.host}: a proxy is reached by http:// only", retry_after=None)
        if is_ip(target.host) and not self._may_be_dialled(target.host):
            raise DeliveryFailed(f"{target.host} is not on the public Internet, so it is not asked", retry_after=None)
        try:
            addresses = _run_before(deadline, lambda: self._resolve(proxy.host, proxy.port))
        except (OSError, UnicodeError):
            raise DeliveryFailed(f"the proxy {proxy.host}: nobody knows this name", retry_after=retry_after) from None
        return _GuardedConnection(target, addresses, deadline, proxy)

    def _may_be_dialled(self, place: str) -> bool:
        return is_public_ip(place) or (self._loopback and _is_loopback(place))

    def _resolve_checked_addresses(self, target: Address, deadline: float, retry_after: float) -> Sequence[str]:
        """Return the checked IP addresses of the host; if one of them is not public, the host is refused."""
        try:
            found = _run_before(deadline, lambda: self._resolve(target.host, target.port))
        except TimeoutError:
            raise DeliveryFailed(f"{target.host}: its name was not resolved in time", retry_after=retry_after) from None
        except (OSError, UnicodeError):
            raise DeliveryFailed(f"{target.host}: nobody knows this name", retry_after=retry_after) from None
        if not found:
            raise DeliveryFailed(f"{target.host}: nobody knows this name", retry_after=retry_after)
        if not all(map(self._may_be_dialled, found)):
            raise DeliveryFailed(f"{target.host} is not on the public Internet, so it is not asked", retry_after=None)
        return found


class _GuardedConnection:
    """One connection to a checked address, closed at its deadline, however slowly data still arrives.

    With a proxy, `addresses` are those of the proxy.
    """

    def __init__(self, target: Address, addresses: Sequence[str], deadline: float, proxy: Proxy | None = None) -> None:
        self.timed_out = False
        self._target = target
        self._addresses = addresses
        self._proxy = proxy
        self._proxy_failure = ""
        self._deadline = deadline
        self._connected = False
        self._duplicate_socket: socket.socket | None = None
        self._lock = threading.Lock()

    @contextmanager
    def enforce_deadline(self) -> Iterator[None]:
        """Close the connection at the deadline, even if data still arrives."""
        timer = threading.Timer(max(0.0, self._deadline - time.monotonic()), self._abort)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                if self._duplicate_socket is not None:
                    self._duplicate_socket.close()
                    self._duplicate_socket = None

    def dial(self) -> socket.socket:
        """Return a socket to the first of the checked addresses that answers."""
        problem: OSError = TimeoutError("no time left")
        for address in self._addresses:
            seconds_left = self._deadline - time.monotonic()
            if seconds_left <= 0:
                break
            try:
                dialled = socket.create_connection(
                    (address, (self._proxy or self._target).port), min(_CONNECT_TIMEOUT_SECONDS, seconds_left)
                )
            except OSError as failed:
                problem = failed
                continue
            with self._lock:
                # TLS takes over the socket; the duplicate can still shut it down.
                if self._duplicate_socket is not None:
                    self._duplicate_socket.close()
                self._duplicate_socket = dialled.dup()
            self._pass_proxy(dialled)
            self._connected = True
            return dialled
        raise problem

    def _pass_proxy(self, dialled: socket.socket) -> None:
        """Have the proxy, if there is one, connect us to the target.  Raises OSError."""
        if self._proxy is None:
            return
        try:
            self._proxy.open_tunnel(dialled, self._target.host, self._target.port)
        except OSError as failed:
            dialled.close()
            self._proxy_failure = str(failed) if isinstance(failed, ProxyFailure) else f"the proxy {self._proxy.host}"
            raise

    def _read_issuer(self) -> str:
        """Connect once more, and return who issued the certificate that is shown; empty if that cannot be said."""
        try:
            return read_shown_issuer(self.dial(), self._target.host)
        except OSError:
            return ""

    def timeout_error(self, method: str, timeout_seconds: float) -> DeliveryFailed:
        return DeliveryFailed(
            f"{self._target.host} did not finish within {timeout_seconds:g} seconds",
            retry_after=_RETRY_SECONDS[method],
            outcome_unknown=self._connected and method == "POST",
        )

    def to_delivery_failure(self, method: str, timeout_seconds: float, problem: Exception) -> DeliveryFailed:
        host = self._target.host
        if self.timed_out or isinstance(problem, requests.Timeout):
            return self.timeout_error(method, timeout_seconds)
        if isinstance(problem, requests.exceptions.SSLError) and "CERTIFICATE" in str(problem):
            issuer = self._read_issuer()
            shown = f": it shows one issued by {issuer}" if issuer else ""
            return DeliveryFailed(f"{host} has no certificate that holds for it{shown}", retry_after=None)
        if self._proxy is not None and not self._connected:
            why = self._proxy_failure or f"the proxy {self._proxy.host} does not answer"
            return DeliveryFailed(f"{host}: {why}", retry_after=_RETRY_SECONDS[method])
        if not self._connected:
            return DeliveryFailed(f"{host} does not answer", retry_after=_RETRY_SECONDS[method])
        return DeliveryFailed(f"{host} broke off", retry_after=_RETRY_SECONDS[method], outcome_unknown=method == "POST")

    def _abort(self) -> None:
        with self._lock:
            self.timed_out = True
            if self._duplicate_socket is not None:
                try:
                    self._duplicate_socket.shutdown(socket.SHUT_RDWR)
                except OSError:
                    return  # the peer has closed the connection already


class _PinnedAdapter(HTTPAdapter):
    """Connects through the given connection only, whatever the host name in the address.

    TLS still verifies host name and certificate as usual.
    """

    def __init__(self, connection: _GuardedConnection, tls_context: ssl.SSLContext | None) -> None:
        self._tls_context = tls_context
        super().__init__(max_retries=0)

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return connection.dial()

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return connection.dial()

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}

    def init_poolmanager(self, *arguments: Any, **settings: Any) -> None:
        """Create the pools with our TLS context."""
        super().init_poolmanager(*arguments, **settings, ssl_context=self._tls_context)

    def cert_verify(self, conn: Any, *_: Any) -> None:
        """Leave the certificates to the context; requests would load its own into it at each request."""
        conn.cert_reqs = "CERT_REQUIRED"


def _read_body(target: Address, response: requests.Response, max_bytes: int, *, truncate: bool) -> bytes:
    """Return the body as sent, at most `max_bytes`: a longer one is truncated or refused."""
    if response.headers.get("content-encoding", "identity").strip().lower() not in ("", "identity"):
        raise DeliveryFailed(f"{target.host} answers compressed, which was not asked for", retry_after=None)
    content = b""
    for piece in response.raw.stream(16 * 1024, decode_content=False):
        content += piece
        if len(content) > max_bytes:
            if not truncate:
                raise DeliveryFailed(f"{target.host} answers with more than {max_bytes} bytes", retry_after=None)
            return content[:max_bytes]
    return content


def _check_status(target: Address, method: str, response: requests.Response) -> None:
    """Raise DeliveryFailed unless the status is a success or 304."""
    status, host = response.status_code, target.host
    if 200 <= status < 300 or status == 304:
        return
    if 300 <= status < 400:
        raise DeliveryFailed(f"{host} answered {status}: it points elsewhere, which is not followed", retry_after=None)
    if status in (404, 410):
        raise NotFound(f"{host} answered {status}: there is nothing under this address")
    if status >= 500 or status in (408, 425, 429):
        wait = _parse_retry_after(response.headers.get("retry-after", ""), _RETRY_SECONDS[method])
        raise DeliveryFailed(f"{host} answered {status}", retry_after=wait, outcome_unknown=method == "POST")
    raise DeliveryFailed(f"{host} answered {status}", retry_after=None)


def _parse_retry_after(header: str, default: float) -> float:
    """Return the seconds of a `retry-after` header, limited to an hour."""
    return (
        min(float(header), _MAX_RETRY_SECONDS) if header.isascii() and header.isdigit() and len(header) < 9 else default
    )


def _check_host(host: str, *, bracketed: bool) -> None:
    """Raise ValueError unless it is an ASCII host name, or an IP address in its canonical form."""
    try:
        found = ip_address(host)
    except ValueError:
        found = None
    if (
        found is not None
        and "%" not in host
        and bracketed == isinstance(found, IPv6Address)
        and (bracketed or str(found) == host)
    ):
        return
    last = host.removesuffix(".").rpartition(".")[2]
    if bracketed or len(host) > 253 or not _HOST_NAME.fullmatch(host) or _NUMERIC_LABEL.fullmatch(last):
        raise ValueError("the address has no host that can be asked, such as example.com")


def _is_loopback(text: str) -> bool:
    found = ip_address(text)
    return found.is_loopback and (isinstance(found, IPv4Address) or found == IPv6Address("::1"))


def _run_before(deadline: float, resolve: Callable[[], Sequence[str]]) -> Sequence[str]:
    """Return the result of `resolve` if it comes before the deadline; system resolvers have no timeout of their own.

    Raises TimeoutError, and what `resolve` raises.
    """
    results: queue.Queue[Sequence[str] | BaseException] = queue.Queue()

    def answering() -> None:
        try:
            results.put(resolve())
        except Exception as problem:  # noqa: BLE001 -- raised again in the calling thread
            results.put(problem)

    threading.Thread(target=answering, name="resolve", daemon=True).start()
    try:
        found = results.get(timeout=max(0.0, deadline - time.monotonic()))
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, BaseException):
        raise found
    return found
