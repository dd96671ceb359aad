"""The address of GitHub's API, the way to it, and why a connection to it fails."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from app.outgoing import Outgoing, Proxy, ProxyFailure, read_shown_issuer
from app.ports import ConnectionFailed

_CONNECT_TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where GitHub's API is reached, and through which proxy."""

    url: str
    scheme: str
    host: str
    port: int
    proxy: Proxy | None
    outgoing: Outgoing

    @classmethod
    def parse(cls, api_url: str, outgoing: Outgoing) -> Endpoint:
        """Parse the address of the API.  Raises ConnectionFailed if the operator's proxy cannot be used."""
        url = api_url.rstrip("/")
        parts = urlsplit(url)
        scheme, host = parts.scheme, parts.hostname or ""
        port = parts.port or (443 if scheme == "https" else 80)
        try:
            return cls(url, scheme, host, port, outgoing.proxy_for(scheme, host, port), outgoing)
        except ProxyFailure as problem:
            raise ConnectionFailed(str(problem), retry_after=0) from None

    def create_transport(self) -> httpx.HTTPTransport:
        """Create the transport for requests to the API."""
        context = self.outgoing.tls_context()
        proxy = None
        if self.proxy is not None:
            headers = {"Proxy-Authorization": self.proxy.authorization} if self.proxy.authorization else None
            proxy = httpx.Proxy(self.proxy.url, headers=headers, ssl_context=context if self._has_tls_proxy else None)
        return httpx.HTTPTransport(
            verify=context, limits=httpx.Limits(max_keepalive_connections=20), proxy=proxy, trust_env=False
        )

    def describe_failure(self, failed: BaseException) -> str:
        """Say why there was no answer, in one line.

        If the certificate was refused, it connects once more to say who issued it.
        """
        causes = list(_list_causes(failed))
        for cause in causes:
            if isinstance(cause, ssl.SSLCertVerificationError):
                return self._describe_certificate(cause, self._read_issuer())
            if found := self._describe_cause(cause):
                return found
        return f"{self._way}: {_one_line(causes[-1])}"

    def _describe_certificate(self, cause: ssl.SSLCertVerificationError, issuer: str) -> str:
        shown, why = f" issued by {issuer}" if issuer else "", cause.verify_message or "it does not hold"
        return (
            f"{self._way} shows a certificate{shown} that is not trusted: {why}; "
            "SSL_CERT_FILE may name the authority of a company"
        )

    def _describe_cause(self, cause: BaseException) -> str:
        """Describe one cause; empty if it says nothing on its own."""
        reached = self.proxy or self
        match cause:
            case httpx.ProxyError():
                found = f"the proxy {reached.host} refuses the connection to {self.host}: {_one_line(cause)}"
            case ssl.SSLError():
                found = f"{self._way}: TLS failed: {cause.reason or _one_line(cause)}"
            case socket.gaierror():
                found = f"{reached.host}: DNS does not know this name"
            case ConnectionRefusedError():
                found = f"{reached.host} refuses connections at port {reached.port}"
            case TimeoutError() | httpx.TimeoutException():
                found = f"{self._way} does not answer in time"
            case _:
                found = ""
        return found

    @property
    def _way(self) -> str:
        return f"{self.host} (through the proxy {self.proxy.host})" if self.proxy else self.host

    @property
    def _has_tls_proxy(self) -> bool:
        return self.proxy is not None and self.proxy.scheme == "https"

    def _read_issuer(self) -> str:
        """Return who issued the certificate that is shown at the end of the way; empty if that cannot be said."""
        if self._has_tls_proxy:
            return ""
        reached = self.proxy or self
        try:
            with socket.create_connection((reached.host, reached.port), _CONNECT_TIMEOUT_SECONDS) as connection:
                if self.proxy is not None:
                    self.proxy.open_tunnel(connection, self.host, self.port)
                return read_shown_issuer(connection, self.host)
        except OSError:
            return ""


def _list_causes(failed: BaseException) -> Iterator[BaseException]:
    """Yield the exception and those that it came from."""
    found: BaseException | None = failed
    seen = set[int]()
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _one_line(problem: BaseException) -> str:
    return " ".join(str(problem).split())[:200] or type(problem).__name__
