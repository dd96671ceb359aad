"""The SSRF-safe HTTP client, over real loopback sockets: which addresses it refuses, and how little a server can do."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from app.ports import DeliveryFailed, NotFound
from app.safe_http import SafeHttpClient, is_public_ip, parse_address

OK_RESPONSE = b'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nETag: "one"\r\nConnection: close\r\n\r\nhello'
Responder = Callable[[socket.socket], None]


class LoopbackServer:
    """A server on loopback, and the requests it received."""

    def __init__(self) -> None:
        self.requests: list[bytes] = []
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://feeds.example:{self.port}/on-call.ics"


@contextmanager
def server(respond: Responder | bytes, tls: ssl.SSLContext | None = None) -> Iterator[LoopbackServer]:
    """Run a server that answers each request with `respond` and closes the connection."""
    loopback_server = LoopbackServer()
    listening = socket.create_server(("127.0.0.1", 0))
    loopback_server.port = listening.getsockname()[1]
    stopped = threading.Event()

    def serve() -> None:
        while not stopped.is_set():
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            try:
                with tls.wrap_socket(connection, server_side=True) if tls else connection as stream:
                    stream.settimeout(5)
                    loopback_server.requests.append(_read_request(stream))
                    if isinstance(respond, bytes):
                        stream.sendall(respond)
                    else:
                        respond(stream)
            except OSError:
                continue  # the client closed the connection, which several tests are about

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield loopback_server
    finally:
        stopped.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(timeout=10)
        assert not thread.is_alive()


def _read_request(stream: socket.socket) -> bytes:
    """Read one whole request."""
    found = stream.recv(65536)
    head, _, body = found.partition(b"\r\n\r\n")
    length = re.search(rb"Content-Length: ([0-9]+)", head)
    while length and len(body) < int(length[1]):
        piece = stream.recv(65536)
        found, body = found + piece, body + piece
    return found


def resolve_to_loopback(host: str, port: int) -> Sequence[str]:
    """Resolve every name to this machine."""
    return ["127.0.0.1"]


def loopback_client() -> SafeHttpClient:
    return SafeHttpClient(resolve=resolve_to_loopback, loopback=True)


def get_failure(client: SafeHttpClient, url: str) -> DeliveryFailed:
    """Return the error that getting the URL raises."""
    with pytest.raises(DeliveryFailed) as found:
        client.get(url)
    return found.value


def http_response(status: str, *headers: str, body: bytes = b"") -> bytes:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close"))
    return head.encode() + b"\r\n\r\n" + body


HOSTILE_URLS = [  # M24, verbatim
    "http://127.0.0.1/",
    "http://0/",
    "http://[::ffff:127.0.0.1]/",
    "http://0x7f.1/",
    "http://169.254.169.254/latest/",
    "http://[64:ff9b::7f00:1]/",
    "http://[fec0::1]/",
    "http://224.0.0.1/",
    "ftp://x/",
    "gopher://x",
    "https://a.example@127.0.0.1/",
    "http://x/%0d%0aHost:y",
]
NON_PUBLIC_ADDRESSES = [
    "127.0.0.1",
    "127.8.9.1",
    "0.0.0.0",  # noqa: S104 -- to be refused
    "10.0.0.1",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "224.0.0.1",
    "239.255.255.255",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:8.8.8.8",
    "64:ff9b::7f00:1",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%lo",
    "2606:4700::1%lo",
    "fec0::1",
    "ff02::1",
    "not an address",
]


@pytest.mark.parametrize("url", HOSTILE_URLS)
def test_hostile_addresses_are_refused_for_good(url: str) -> None:
    assert get_failure(SafeHttpClient(), url).retry_after is None
    assert get_failure(SafeHttpClient(), url.replace("http://", "https://")).retry_after is None, (
        "also where only the host is bad"
    )


@pytest.mark.parametrize("place", NON_PUBLIC_ADDRESSES)
def test_what_is_not_public_is_not_dialled(place: str) -> None:
    assert not is_public_ip(place)
    with server(OK_RESPONSE) as heard:
        found = get_failure(SafeHttpClient(resolve=lambda host, port: ["8.8.8.8", place]), "https://feeds.example/")
    assert "not on the public Internet" in str(found), "one of its addresses is enough"
    assert found.retry_after is None
    assert heard.requests == []


@pytest.mark.parametrize("place", ["8.8.8.8", "140.82.121.4", "2606:50c0:8000::153", "2a00:1450:4001::1"])
def test_what_is_public_may_be_dialled(place: str) -> None:
    assert is_public_ip(place)


def test_loopback_is_allowed_where_the_operator_says_so_and_nothing_else_of_the_inside() -> None:
    outbound = SafeHttpClient(resolve=lambda host, port: [host], loopback=True)
    for inside in ("10.0.0.1", "169.254.169.254", "192.168.1.1"):
        assert "not on the public Internet" in str(get_failure(outbound, f"http://{inside}/"))


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://feeds.example/", "https://"),
        ("HTTP://feeds.example/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("//feeds.example/", "https://"),
        ("feeds.example", "https://"),
        ("https://feeds.example:80/", "port 80"),
        ("https://feeds.example:22/", "port 22"),
        ("https://feeds.example:99999/", "cannot be read"),
        ("https://mona@feeds.example/", "name or password"),
        ("https://mona:secret@feeds.example/", "name or password"),
        ("https://@feeds.example/", "name or password"),
        ("https:///path", "no host"),
        ("https://0/", "no host"),
        ("https://2130706433/", "no host"),
        ("https://0x7f000001/", "no host"),
        ("https://127.1/", "no host"),
        ("https://0177.0.0.1/", "no host"),
        ("https://[::1", "cannot be read"),
        ("https://[fe80::1%25lo]/", "no host"),
        ("https://feeds..example/", "no host"),
        ("https://-feeds.example/", "no host"),
        ("https://feeds%2eexample/", "no host"),
        ("https://fee\u0064s.ex\u0430mple/", "characters"),
        ("https://feeds.example/a b", "characters"),
        ("https://feeds.example/\r\nHost: other", "characters"),
        ("https://feeds.example\\@other/", "characters"),
        ("https://feeds.example/%0D%0aHost:y", "characters"),
        ("https://feeds.example/%00", "characters"),
        ("https://feeds.example/" + "a" * 2000, "long"),
    ],
)
def test_an_address_is_refused_before_any_look_at_the_network(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_address(url)


def test_a_good_address_is_shown_without_what_may_be_secret() -> None:
    found = parse_address("https://Feeds.Example:8443/secret/on-call.ics?token=secret")
    assert (found.host, found.port, found.redacted_url) == ("feeds.example", 8443, "https://feeds.example/…")
    assert parse_address("https://[2606:4700::1111]/").host == "2606:4700::1111"


def test_a_name_is_resolved_once_and_the_checked_address_is_connected_to() -> None:
    resolved_names: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        resolved_names.append(host)
        return ["127.0.0.1"] if len(resolved_names) == 1 else ["10.0.0.1"]

    with server(OK_RESPONSE) as heard:
        found = SafeHttpClient(resolve=rebinding, loopback=True).get(heard.url, headers={"If-None-Match": '"none"'})
    assert found.body == b"hello"
    assert found.headers["etag"] == '"one"'
    assert resolved_names == ["feeds.example"]
    head = heard.requests[0].decode()
    assert head.startswith("GET /on-call.ics HTTP/1.1\r\n")
    assert f"Host: feeds.example:{heard.port}\r\n" in head, "the name it is asked under is the one that was written"
    assert 'If-None-Match: "none"' in head


def test_the_next_address_is_dialled_where_the_first_does_not_answer() -> None:
    with server(OK_RESPONSE) as heard:
        outbound = SafeHttpClient(resolve=lambda host, port: ["::1", "127.0.0.1"], loopback=True)
        assert outbound.get(heard.url).status == 200


def test_nothing_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The variables of the process itself are set, since they must have no effect."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine feeds.example login mona password secret\n")
    with server(OK_RESPONSE) as proxy, server(OK_RESPONSE) as heard:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NETRC", str(netrc))
        loopback_client().get(heard.url)
    assert proxy.requests == []
    assert b"Authorization" not in heard.requests[0]


def test_a_redirect_is_not_followed() -> None:
    with server(OK_RESPONSE) as inside, server(http_response("302 Found", f"Location: {inside.url}")) as heard:
        found = get_failure(loopback_client(), heard.url)
    assert "points elsewhere" in str(found)
    assert found.retry_after is None
    assert inside.requests == []


def test_unchanged_is_an_answer() -> None:
    with server(b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n") as heard:
        assert loopback_client().get(heard.url).is_not_modified


def drip_body(stream: socket.socket) -> None:
    stream.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    for _ in range(100):
        stream.sendall(b"x")
        time.sleep(0.1)


def drip_headers(stream: socket.socket) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 200:
        stream.sendall(bytes([byte]))
        time.sleep(0.1)


def stay_silent(stream: socket.socket) -> None:
    stream.recv(1)  # until the client closes the connection


@pytest.mark.parametrize("says", [drip_body, drip_headers, stay_silent])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_the_whole_exchange_has_an_end(says: Responder, method: str) -> None:
    with server(says) as heard:
        began = time.monotonic()
        send = (
            partial(loopback_client().get, heard.url)
            if method == "GET"
            else partial(loopback_client().post, heard.url, b"{}")
        )
        with pytest.raises(DeliveryFailed) as found:
            send(timeout_seconds=0.6)
        assert time.monotonic() - began < 4.5
    assert "did not finish within 0.6 seconds" in str(found.value)
    assert found.value.retry_after == (60.0 if method == "GET" else 0.0), "the sender has its own retry schedule"
    assert found.value.outcome_unknown == (method == "POST"), "what was sent may have been taken all the same"


def test_a_name_that_is_not_resolved_in_time_is_left() -> None:
    released = threading.Event()

    def slow(host: str, port: int) -> Sequence[str]:
        released.wait(5)
        return ["127.0.0.1"]

    began = time.monotonic()
    with pytest.raises(DeliveryFailed, match="not resolved in time"):
        SafeHttpClient(resolve=slow, loopback=True).get("http://feeds.example/", timeout_seconds=0.3)
    assert time.monotonic() - began < 4.5
    released.set()


def send_huge_body(stream: socket.socket) -> None:
    stream.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
    for _ in range(1000):
        stream.sendall(b"x" * 1_000_000)


def test_a_large_answer_is_refused_early_and_one_to_what_was_sent_is_cut() -> None:
    with server(send_huge_body) as heard:
        found = get_failure(loopback_client(), heard.url)
        assert "more than 1048576 bytes" in str(found)
        assert found.retry_after is None
        assert loopback_client().post(heard.url, b"{}").body == b"x" * 4096


def test_a_bomb_is_not_unpacked() -> None:
    with server(http_response("200 OK", "Content-Encoding: gzip", body=b"\x1f\x8b\x08")) as heard:
        assert "compressed" in str(get_failure(loopback_client(), heard.url))
    assert b"Accept-Encoding: identity" in heard.requests[0]


@pytest.mark.parametrize(
    ("status", "header", "wait"),
    [
        ("500 Oops", "X: y", 60.0),
        ("503 Away", "Retry-After: 120", 120.0),
        ("429 Slow", "Retry-After: 9", 9.0),
        ("429 Slow", "Retry-After: 99999999", 3600.0),
        ("429 Slow", "Retry-After: soon", 60.0),
        ("408 Late", "X: y", 60.0),
        ("400 Bad", "X: y", None),
        ("401 Who", "X: y", None),
        ("403 No", "X: y", None),
    ],
)
def test_what_an_answer_means(status: str, header: str, wait: float | None) -> None:
    with server(http_response(status, header, body=b"<b>@everyone</b>" * 100_000)) as heard:
        found = get_failure(loopback_client(), heard.url)
    assert found.retry_after == wait
    assert str(found) == f"feeds.example answered {status[:3]}"


@pytest.mark.parametrize("status", ["404 Nothing", "410 Gone"])
def test_nothing_there_is_gone(status: str) -> None:
    with server(http_response(status)) as heard:
        assert isinstance(get_failure(loopback_client(), heard.url), NotFound)


def test_what_breaks_off_is_not_an_answer() -> None:
    with server(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\nBEGIN") as heard:
        found = get_failure(loopback_client(), heard.url)
    assert "broke off" in str(found)
    assert found.retry_after
    with server(b"no HTTP at all\r\n\r\n") as heard, pytest.raises(DeliveryFailed) as sent:
        loopback_client().post(heard.url, b"{}")
    assert sent.value.outcome_unknown


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    found = get_failure(loopback_client(), f"http://feeds.example:{port}/")
    assert str(found) == "feeds.example does not answer"
    assert found.retry_after
    assert not found.outcome_unknown

    def unknown(host: str, port: int) -> Sequence[str]:
        raise socket.gaierror(-2, "Name or service not known")

    assert "nobody knows this name" in str(get_failure(SafeHttpClient(resolve=unknown), "https://feeds.example/"))
    assert "nobody knows this name" in str(
        get_failure(SafeHttpClient(resolve=lambda h, p: []), "https://feeds.example/")
    )


def test_a_post_is_sent_once_as_it_is() -> None:
    with server(OK_RESPONSE) as heard:
        found = loopback_client().post(heard.url, b'{"a": 1}', headers={"X-Signature": "s"})
    assert (found.status, found.body) == (200, b"hello")
    assert len(heard.requests) == 1
    assert heard.requests[0].startswith(b"POST /on-call.ics")
    assert heard.requests[0].endswith(b'\r\n\r\n{"a": 1}')


@pytest.fixture(scope="module")
def vouched(tmp_path_factory: pytest.TempPathFactory) -> tuple[ssl.SSLContext, str]:
    """Return a TLS server context for feeds.example, and the file of the certificates that vouch for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "feeds.example")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("feeds.example")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(file)
    return context, str(file)


def test_a_certificate_has_to_hold_for_the_name_that_was_written(vouched: tuple[ssl.SSLContext, str]) -> None:
    tls, certificates = vouched
    outbound = SafeHttpClient(resolve=resolve_to_loopback, loopback=True, certificates=certificates)
    with server(OK_RESPONSE, tls) as heard:
        assert outbound.get(f"https://feeds.example:{heard.port}/").body == b"hello"
        other = get_failure(outbound, f"https://other.example:{heard.port}/")
        by_number = get_failure(outbound, f"https://127.0.0.1:{heard.port}/")
        stranger = get_failure(loopback_client(), f"https://feeds.example:{heard.port}/")
    for found in (other, by_number, stranger):
        assert "no certificate" in str(found)
        assert found.retry_after is None
    assert len(heard.requests) == 1, "nothing is sent before the certificate is verified"


def test_an_end_comes_through_tls_too(vouched: tuple[ssl.SSLContext, str]) -> None:
    tls, certificates = vouched
    with server(drip_body, tls) as heard:
        outbound = SafeHttpClient(resolve=resolve_to_loopback, loopback=True, certificates=certificates)
        with pytest.raises(DeliveryFailed, match="did not finish"):
            outbound.get(f"https://feeds.example:{heard.port}/", timeout_seconds=0.6)


def test_every_way_to_write_this_machine_ends_nowhere() -> None:
    """The address that the system makes of a name is checked, however it was written."""
    for number in (2130706433, 0):
        spelled = str(ipaddress.ip_address(number))
        for host in (spelled, f"{spelled}.", f"[::ffff:{spelled}]", "localhost", "localhost."):
            assert get_failure(SafeHttpClient(), f"https://{host}/").args
