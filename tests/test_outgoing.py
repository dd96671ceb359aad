"""A company's own authority and its proxy, with real TLS and a real proxy on loopback (FC-O3, TS-30)."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from app.channels import ChannelRegistry
from app.core.policy import ChannelConfig
from app.github.auth import AppKey
from app.github.client import Client
from app.outgoing import Outgoing
from app.ports import ConnectionFailed, DeliveryFailed, Message
from app.safe_http import SafeHttpClient
from app.sandbox.github import AppRegistration
from app.settings import SettingsFault, read_settings
from app.tenancy import Tenant
from tests.test_safe_http import LoopbackServer, server

NOW = datetime.now(UTC)
APP_ANSWER = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 26\r\n\r\n{"id":7,"slug":"muster"}  '
)
CREDENTIALS = "ops:sesame%20open"


@dataclass
class Authority:
    """A company's own authority, and what it issued."""

    folder: Path
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))

    def name(self, common_name: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])

    def issue(
        self, common_name: str, hosts: Sequence[str] = (), *, is_authority: bool = False, days: int = 30
    ) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
        """Issue a certificate, by default one that is valid from yesterday on; `days` below 0: it has expired."""
        key = self.key if is_authority else ec.generate_private_key(ec.SECP256R1())
        names = [x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host) for host in hosts]
        builder = (
            x509.CertificateBuilder()
            .subject_name(self.name(common_name))
            .issuer_name(self.name("Our Own Root"))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW - timedelta(days=60))
            .not_valid_after(NOW + timedelta(days=days))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
        )
        if names:
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        return builder.sign(self.key, hashes.SHA256()), key

    @property
    def root(self) -> x509.Certificate:
        return self.issue("Our Own Root", is_authority=True)[0]

    def write(self, name: str, content: bytes | x509.Certificate) -> str:
        if isinstance(content, x509.Certificate):
            content = content.public_bytes(serialization.Encoding.PEM)
        path = self.folder / name
        path.write_bytes(content)
        return str(path)

    def server_context(self, *hosts: str) -> ssl.SSLContext:
        certificate, key = self.issue(hosts[0], hosts)
        secret = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.write(f"{hosts[0]}.pem", secret + certificate.public_bytes(serialization.Encoding.PEM))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(path)
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture(scope="module")
def registration() -> AppRegistration:
    return AppRegistration.generate()


@dataclass
class LoopbackProxy:
    """A proxy that connects every tunnel to one port of this machine, and what it was asked."""

    port: int
    heads: list[str] = field(default_factory=list)

    def setting(self, credentials: str = "", scheme: str = "http://") -> str:
        return f"{scheme}{credentials}{'@' if credentials else ''}127.0.0.1:{self.port}"


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass on what arrives until one end closes."""
    with suppress(OSError):
        while data := source.recv(65536):
            sink.sendall(data)
    for each in (source, sink):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def serve_tunnel(proxy: LoopbackProxy, client: socket.socket, target_port: int, answer: str) -> None:
    """Read what a client asks of the proxy, answer, and connect it if the answer says so."""
    with client:
        head = b""
        while b"\r\n\r\n" not in head:
            if not (piece := client.recv(1)):
                return
            head += piece
        proxy.heads.append(head.decode())
        client.sendall(f"HTTP/1.1 {answer}\r\n\r\n".encode())
        if not answer.startswith("2"):
            return
        with socket.create_connection(("127.0.0.1", target_port), 5) as target:
            back = threading.Thread(target=pump, args=(target, client), daemon=True)
            back.start()
            pump(client, target)
            back.join(5)


@contextmanager
def run_proxy(target_port: int, answer: str = "200 Connection established") -> Iterator[LoopbackProxy]:
    listening = socket.create_server(("127.0.0.1", 0))
    proxy = LoopbackProxy(listening.getsockname()[1])
    threads: list[threading.Thread] = []

    def serve() -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            client.settimeout(5)
            arguments = (proxy, client, target_port, answer)
            threads.append(threading.Thread(target=serve_tunnel, args=arguments, daemon=True))
            threads[-1].start()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        for each in (thread, *threads):
            each.join(10)


def probe(registration: AppRegistration, api_url: str, outgoing: Outgoing) -> int:
    """Ask `GET /app` there, and return the status.  Raises ConnectionFailed."""
    client = Client(api_url, AppKey(7, registration.private_key_pem), lambda: NOW, outgoing=outgoing)
    try:
        return client.call_as_app("GET", "/app").status
    finally:
        client.close()


def get_connection_failure(registration: AppRegistration, api_url: str, outgoing: Outgoing) -> str:
    with pytest.raises(ConnectionFailed) as found:
        probe(registration, api_url, outgoing)
    assert "\n" not in str(found.value)
    return str(found.value)


def loopback_client(outgoing: Outgoing) -> SafeHttpClient:
    return SafeHttpClient(resolve=lambda host, port: ["127.0.0.1"], loopback=True, outgoing=outgoing)


def test_an_own_authority_counts_for_github_and_for_receivers(
    authority: Authority, registration: AppRegistration
) -> None:
    own = Outgoing(certificate_file=authority.write("ca.pem", authority.root))
    context = authority.server_context("localhost", "hooks.example")
    with server(APP_ANSWER, context) as github:
        assert probe(registration, f"https://localhost:{github.port}", own) == 200
        assert loopback_client(own).post(f"https://hooks.example:{github.port}/", b"{}").status == 200


def test_a_refused_certificate_is_told_with_its_host_and_issuer(
    authority: Authority, registration: AppRegistration
) -> None:
    with server(APP_ANSWER, authority.server_context("localhost", "hooks.example")) as github:
        failure = get_connection_failure(registration, f"https://localhost:{github.port}", Outgoing())
        assert "localhost shows a certificate issued by CN=Our Own Root that is not trusted" in failure
        with pytest.raises(DeliveryFailed) as found:
            loopback_client(Outgoing()).post(f"https://hooks.example:{github.port}/", b"{}")
        assert "hooks.example has no certificate that holds for it: it shows one issued by CN=Our Own Root" in str(
            found.value
        )
        assert github.requests == [], "nothing is sent before the certificate is verified"


def test_own_authorities_are_added_to_the_public_ones(authority: Authority) -> None:
    usual = len(Outgoing().tls_context().get_ca_certs())
    assert usual > 50
    two = Authority(authority.folder)
    both = authority.root.public_bytes(serialization.Encoding.PEM) + two.root.public_bytes(serialization.Encoding.PEM)
    assert len(Outgoing(authority.write("both.pem", both)).tls_context().get_ca_certs()) == usual + 2


def test_one_bad_entry_does_not_take_the_others_along(authority: Authority, registration: AppRegistration) -> None:
    bad = b"-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n"
    content = b"# ours\n" + bad + authority.root.public_bytes(serialization.Encoding.PEM)
    own = Outgoing(certificate_file=authority.write("mixed.pem", content))
    with server(APP_ANSWER, authority.server_context("localhost")) as github:
        assert probe(registration, f"https://localhost:{github.port}", own) == 200
    (problem,) = own.find_problems(NOW)
    assert "entry 1 is no certificate that can be read" in problem


def test_each_mistake_in_the_file_is_one_line(authority: Authority) -> None:
    root = authority.root
    leaf, key = authority.issue("ghes.example", ["ghes.example"])
    pem, der = serialization.Encoding.PEM, serialization.Encoding.DER
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    cases: dict[str, bytes] = {
        "is DER, not PEM: openssl x509 -inform der": root.public_bytes(der),
        "is PKCS#7, not PEM": pkcs7.serialize_certificates([root], der),
        "PKCS#7, not PEM: openssl pkcs7 -print_certs": pkcs7.serialize_certificates([root], pem),
        "holds no certificate": secret,
        "has to begin with -----BEGIN CERTIFICATE-----": b"",
        f"Our Own Root, expired on {NOW - timedelta(days=5):%Y-%m-%d}": authority.issue(
            "Our Own Root", is_authority=True, days=-5
        )[0].public_bytes(pem),
        "the certificate of a host, not of an authority: the one of its issuer is needed, CN=Our Own Root": (
            leaf.public_bytes(pem)
        ),
    }
    for nth, (expected, content) in enumerate(cases.items()):
        outgoing = Outgoing(certificate_file=authority.write(f"case-{nth}.pem", content))
        (problem,) = outgoing.find_problems(NOW)
        assert expected in problem
        assert "\n" not in problem
        assert len(outgoing.tls_context().get_ca_certs()) > 50, "what is good counts all the same"
    (problem,) = Outgoing(certificate_file=str(authority.folder / "missing.pem")).find_problems(NOW)
    assert "missing.pem cannot be read (No such file or directory)" in problem
    assert Outgoing(certificate_file=authority.write("good.pem", root)).find_problems(NOW) == []


@contextmanager
def run_github_behind_proxy(
    authority: Authority, answer: str = "200 OK"
) -> Iterator[tuple[LoopbackServer, LoopbackProxy]]:
    context = authority.server_context("ghes.invalid", "hooks.invalid")
    with server(APP_ANSWER, context) as github, run_proxy(github.port, answer) as proxy:
        yield github, proxy


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy"])
def test_github_and_an_operators_receivers_are_reached_through_the_proxy(
    authority: Authority, registration: AppRegistration, name: str
) -> None:
    """The names are known to the proxy only."""
    file = authority.write("ca.pem", authority.root)
    with run_github_behind_proxy(authority) as (github, proxy):
        outgoing = Outgoing.from_variables({name: proxy.setting(CREDENTIALS), "SSL_CERT_FILE": file})
        assert probe(registration, "https://ghes.invalid", outgoing) == 200
        registry = ChannelRegistry(
            SafeHttpClient(outgoing=outgoing),
            {"CHANNEL_OPS_URL": "https://hooks.invalid/secret", "CHANNEL_OPS_SECRET": "x" * 20},
        )
        registry.send(ChannelConfig("env:CHANNEL_OPS"), a_message(), Tenant("o/r", 1))
        assert [head.split("\r\n")[0] for head in proxy.heads] == [
            "CONNECT ghes.invalid:443 HTTP/1.1",
            "CONNECT hooks.invalid:443 HTTP/1.1",
        ]
        assert all("Proxy-Authorization: Basic b3BzOnNlc2FtZSBvcGVu" in head for head in proxy.heads)
        assert len(github.requests) == 2
        assert not any(b"Proxy-Authorization" in request for request in github.requests)


def a_message() -> Message:
    return Message(
        key="k",
        kind="page",
        severity="sev1",
        subject="s",
        text="t",
        link="https://github.com/o/r/issues/1",
        to=("mona",),
        at=NOW,
        incident="INC-1",
        repository="o/r",
        number=1,
    )


def test_an_address_that_a_user_named_keeps_its_guard_and_does_not_use_the_proxy(authority: Authority) -> None:
    with run_github_behind_proxy(authority) as (_, proxy):
        outgoing = Outgoing(https_proxy=proxy.setting())
        for place, words in (("10.0.0.7", "not on the public Internet"), ("127.0.0.1", "not on the public Internet")):
            guarded = SafeHttpClient(resolve=lambda host, port, found=place: [found], outgoing=outgoing)
            with pytest.raises(DeliveryFailed, match=words):
                guarded.get("https://metadata.example/")
        with pytest.raises(DeliveryFailed, match="not on the public Internet"):
            SafeHttpClient(outgoing=outgoing).for_operator().get("https://169.254.169.254/")
        assert proxy.heads == []


def test_no_proxy_names_hosts_domains_addresses_and_networks() -> None:
    outgoing = Outgoing(https_proxy="proxy.example:3128", no_proxy=".corp.example, ghes.example:8443 10.0.0.0/8,*.lan")
    direct = [("a.corp.example", 443), ("corp.example", 443), ("ghes.example", 8443), ("10.1.2.3", 443), ("b.lan", 443)]
    assert [outgoing.proxy_for("https", *place) for place in direct] == [None] * len(direct)
    for place in [("notcorp.example", 443), ("ghes.example", 443), ("11.1.2.3", 443), ("slack.com", 443)]:
        found = outgoing.proxy_for("https", *place)
        assert found is not None
        assert (found.host, found.port) == ("proxy.example", 3128)
    assert outgoing.proxy_for("http", "slack.com", 80) is None
    assert Outgoing(https_proxy="p:1", no_proxy="*").proxy_for("https", "slack.com", 443) is None


@pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "403 Forbidden"])
def test_a_proxy_that_refuses_is_told_without_its_credentials(
    authority: Authority, registration: AppRegistration, answer: str
) -> None:
    with run_github_behind_proxy(authority, answer) as (_, proxy):
        outgoing = Outgoing(https_proxy=proxy.setting(CREDENTIALS))
        failures = [get_connection_failure(registration, "https://ghes.invalid", outgoing)]
        with pytest.raises(DeliveryFailed) as found:
            SafeHttpClient(outgoing=outgoing).for_operator().post("https://hooks.invalid/", b"{}")
        failures.append(str(found.value))
    for failure in failures:
        assert "the proxy 127.0.0.1" in failure
        assert answer[:3] in failure
    shown = [*failures, repr(outgoing), repr(outgoing.proxy_for("https", "x", 1))]
    assert not any("sesame" in text or "b3Bz" in text for text in shown)


def test_a_proxy_that_is_away_or_is_none_is_told(registration: AppRegistration) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    away = Outgoing(https_proxy=f"http://{CREDENTIALS}@127.0.0.1:{port}")
    assert f"127.0.0.1 refuses connections at port {port}" in get_connection_failure(
        registration, "https://ghes.invalid", away
    )
    wrong = f"socks5://{CREDENTIALS}@proxy:1080"
    sentence = "HTTPS_PROXY: it is no address of a proxy, such as http://proxy.example:3128"
    with pytest.raises(SettingsFault) as found:
        read_settings({"HTTPS_PROXY": wrong})
    assert str(found.value) == sentence
    assert sentence in get_connection_failure(registration, "https://ghes.invalid", Outgoing(https_proxy=wrong))
    with pytest.raises(DeliveryFailed, match=sentence):
        SafeHttpClient(outgoing=Outgoing(https_proxy=wrong)).for_operator().get("https://hooks.invalid/")


def test_a_certificate_refused_behind_the_proxy_is_told_with_its_issuer(
    authority: Authority, registration: AppRegistration
) -> None:
    with run_github_behind_proxy(authority) as (_, proxy):
        failure = get_connection_failure(registration, "https://ghes.invalid", Outgoing(https_proxy=proxy.setting()))
    assert "ghes.invalid (through the proxy 127.0.0.1) shows a certificate issued by CN=Our Own Root" in failure
