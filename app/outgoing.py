"""How connections leave this machine: which certificates are trusted, and through which proxy they go.

A company's own certificates are added to those of the system and to the public ones, since GitHub Enterprise Server
and the public receivers of messages are reached by one process.
"""

from __future__ import annotations

import base64
import re
import socket
import ssl
import sys
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from cryptography import x509

_SYSTEM_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/cert.pem",
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",
)
_PEM_CERTIFICATE = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----.+?-----END (?:X509 |TRUSTED )?CERTIFICATE-----", re.DOTALL
)
_MAX_PROXY_ANSWER_BYTES = 16 * 1024
_HTTP_STATUS = re.compile(rb"HTTP/1\.[01] ([0-9]{3})")


class ProxyFailure(OSError):
    """The proxy did not let a connection through; the message says why."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; its credentials stay out of its `repr`."""

    scheme: str
    host: str
    port: int
    authorization: str = field(default="", repr=False)
    """The value of `Proxy-Authorization`; empty: it asks for none."""

    @property
    def url(self) -> str:
        """The address without credentials."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def open_tunnel(self, connection: socket.socket, host: str, port: int) -> None:
        """Ask the proxy, on a connection to it, for a tunnel to the host.  Raises ProxyFailure and OSError."""
        name = f"[{host}]" if ":" in host else host
        lines = [f"CONNECT {name}:{port} HTTP/1.1", f"Host: {name}:{port}", "User-Agent: muster"]
        if self.authorization:
            lines.append(f"Proxy-Authorization: {self.authorization}")
        connection.sendall("\r\n".join([*lines, "", ""]).encode())
        head = b""
        while b"\r\n\r\n" not in head:
            piece = connection.recv(1)  # what follows the head belongs to the tunnel
            head += piece
            if not piece or len(head) > _MAX_PROXY_ANSWER_BYTES:
                raise ProxyFailure(f"the proxy {self.host} does not speak HTTP")
        status = _HTTP_STATUS.match(head)
        if status is None or not status[1].startswith(b"2"):
            answer = status[1].decode() if status else "no status"
            raise ProxyFailure(f"the proxy {self.host} answered {answer}{_PROXY_HINTS.get(answer, '')}")


_PROXY_HINTS = {"407": ": it wants other credentials in HTTPS_PROXY", "403": ": it does not allow this host"}


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The operator's settings for outgoing connections, by the names of their variables."""

    certificate_file: str = ""
    https_proxy: str = field(default="", repr=False)
    no_proxy: str = ""

    @classmethod
    def from_variables(cls, variables: Mapping[str, str]) -> Outgoing:
        """Read SSL_CERT_FILE, HTTPS_PROXY and NO_PROXY, the latter two also in lower case."""
        return cls(
            variables.get("SSL_CERT_FILE", ""),
            variables.get("HTTPS_PROXY") or variables.get("https_proxy", ""),
            variables.get("NO_PROXY") or variables.get("no_proxy", ""),
        )

    def tls_context(self) -> ssl.SSLContext:
        """Return the context that trusts the system's, the public and the operator's certificates."""
        return _tls_context(self.certificate_file)

    def proxy_for(self, scheme: str, host: str, port: int) -> Proxy | None:
        """Return the proxy for connections to that host; None: they are direct.

        Only https goes through a proxy.  Raises ProxyFailure if the setting is no address of one.
        """
        if scheme != "https" or not self.https_proxy or _is_exempt(self.no_proxy, host.lower(), port):
            return None
        return _parse_proxy(self.https_proxy)

    def find_problems(self, now: datetime) -> list[str]:
        """Return what is wrong with the certificates, one line each; what is good in them is used all the same."""
        problems: list[str] = []
        if self.certificate_file and not _is_system_bundle(self.certificate_file):
            with warnings.catch_warnings(action="ignore"):  # about public certificates that break minor rules
                problems += _find_certificate_problems(self.certificate_file, now)
        return [" ".join(problem.split()) for problem in problems]


def read_shown_issuer(connection: socket.socket, host: str) -> str:
    """Return who issued the certificate that the other end of a connection shows, whether it holds or not.

    Nothing is sent but the beginning of a handshake.  Closes the connection.  Returns an empty text if it shows none.
    """
    from cryptography import x509  # noqa: PLC0415 -- loads slowly, and most commands make no connection

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    session = context.wrap_bio(incoming, outgoing, server_hostname=host)
    try:
        while not _shake_hands(session):
            connection.sendall(outgoing.read())
            if not (data := connection.recv(16 * 1024)):
                return ""
            incoming.write(data)
        shown = session.getpeercert(binary_form=True)  # the end of the handshake is not sent
        return _name_of(x509.load_der_x509_certificate(shown).issuer) if shown else ""
    except (OSError, ValueError):
        return ""
    finally:
        connection.close()


def _shake_hands(session: ssl.SSLObject) -> bool:
    """Go on with a handshake; return True once the other end has shown its certificate, False if it has to say more."""
    try:
        session.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


@cache
def _tls_context(certificate_file: str) -> ssl.SSLContext:
    """Build the context, cached because loading the certificates is slow."""
    import certifi  # noqa: PLC0415
    import truststore  # noqa: PLC0415

    # On Linux the system's trust is files; there OpenSSL itself would let SSL_CERT_FILE replace them.
    context = (
        truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        if sys.platform in ("darwin", "win32")
        else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    )
    context.load_verify_locations(cafile=certifi.where())
    defaults = ssl.get_default_verify_paths()
    for bundle in (defaults.openssl_cafile, *_SYSTEM_BUNDLES):
        if Path(bundle).is_file():
            with suppress(OSError):  # ssl.SSLError is one
                context.load_verify_locations(cafile=bundle)
                break
    if Path(defaults.openssl_capath).is_dir():
        with suppress(OSError):
            context.load_verify_locations(capath=defaults.openssl_capath)
    for block in _read_blocks(certificate_file):
        with suppress(OSError):
            context.load_verify_locations(cadata=block.decode("ascii", "replace"))
    return context


def _is_system_bundle(certificate_file: str) -> bool:
    """Return True for the system's own file, whose expired entries are not the operator's mistakes."""
    path = Path(certificate_file)
    return any(Path(bundle).is_file() and path.is_file() and path.samefile(bundle) for bundle in _SYSTEM_BUNDLES)


def _read_blocks(certificate_file: str) -> list[bytes]:
    """Return the entries of a file that look like certificates in PEM."""
    if not certificate_file:
        return []
    try:
        return _PEM_CERTIFICATE.findall(Path(certificate_file).read_bytes())
    except OSError:
        return []


def _find_certificate_problems(certificate_file: str, now: datetime) -> list[str]:
    from cryptography import x509  # noqa: PLC0415 -- loads slowly, and most commands make no connection

    prefix = f"SSL_CERT_FILE: {certificate_file}"
    try:
        content = Path(certificate_file).read_bytes()
    except OSError as problem:
        return [f"{prefix} cannot be read ({problem.strerror}): only the system's and the public certificates count"]
    blocks = _PEM_CERTIFICATE.findall(content)
    if not blocks:
        return [f"{prefix} {_describe_other_format(content)}"]
    problems = []
    for place, block in enumerate(blocks, 1):
        try:
            certificate = x509.load_pem_x509_certificate(block)
        except ValueError:
            problems.append(f"{prefix}: entry {place} is no certificate that can be read")
            continue
        subject = _name_of(certificate.subject)
        if certificate.not_valid_after_utc < now:
            problems.append(
                f"{prefix}: entry {place}, {subject}, expired on {certificate.not_valid_after_utc:%Y-%m-%d}"
            )
        elif certificate.not_valid_before_utc > now:
            since = f"{certificate.not_valid_before_utc:%Y-%m-%d}"
            problems.append(f"{prefix}: entry {place}, {subject}, is not valid before {since}")
        if not _is_authority(certificate):
            problems.append(
                f"{prefix}: entry {place}, {subject}, is the certificate of a host, not of an authority: "
                f"the one of its issuer is needed, {_name_of(certificate.issuer)}"
            )
    return problems


def _describe_other_format(content: bytes) -> str:
    """Say what a file without a certificate in PEM is, and what would help."""
    from cryptography import x509  # noqa: PLC0415 -- loads slowly, and most commands make no connection

    if b"-----BEGIN PKCS7-----" in content or _is_pkcs7(content):
        return "is PKCS#7, not PEM: openssl pkcs7 -print_certs -in OLD -out NEW (with -inform der if it is binary)"
    try:
        x509.load_der_x509_certificate(content)
    except ValueError:
        return "holds no certificate: it has to begin with -----BEGIN CERTIFICATE-----"
    return "is DER, not PEM: openssl x509 -inform der -in OLD -out NEW"


def _is_pkcs7(content: bytes) -> bool:
    from cryptography.hazmat.primitives.serialization import pkcs7  # noqa: PLC0415

    try:
        return bool(pkcs7.load_der_pkcs7_certificates(content))
    except Exception:  # noqa: BLE001 -- of several libraries; none of them says more than that it is none
        return False


def _is_authority(certificate: x509.Certificate) -> bool:
    """Return True if the certificate may vouch for others; those of version 1 do not say."""
    from cryptography import x509  # noqa: PLC0415 -- loads slowly, and most commands make no connection

    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1
    except ValueError:
        return False


def _name_of(name: x509.Name) -> str:
    """Return a name as `CN=..., O=...`, in one line of printable characters."""
    return "".join(each if each.isprintable() else "?" for each in name.rfc4514_string())[:200]


def _parse_proxy(text: str) -> Proxy:
    """Parse the address of a proxy.  Raises ProxyFailure, which shows no part of it."""
    try:
        parts = urlsplit(text if "://" in text else f"http://{text}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        host, port = "", None
    if not host or parts.scheme not in ("http", "https"):
        raise ProxyFailure("HTTPS_PROXY: it is no address of a proxy, such as http://proxy.example:3128")
    authorization = ""
    if parts.username:
        credentials = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        authorization = f"Basic {base64.b64encode(credentials).decode()}"
    return Proxy(parts.scheme, host, port or (443 if parts.scheme == "https" else 80), authorization)


def _is_exempt(no_proxy: str, host: str, port: int) -> bool:
    """Return True if NO_PROXY names the host: by name, as part of a domain, or by address or network."""
    for entry in no_proxy.lower().replace(",", " ").split():
        if entry == "*":
            return True
        with suppress(ValueError):
            network = ip_network(entry.strip("[]"), strict=False)
            with suppress(ValueError):
                if ip_address(host) in network:
                    return True
            continue
        name, colon, wanted_port = entry.rpartition(":")
        if not colon:
            name, wanted_port = entry, str(port)
        name = name.removeprefix("*").removeprefix(".").strip("[]")
        if wanted_port == str(port) and name and (host == name or host.endswith(f".{name}")):
            return True
    return False
