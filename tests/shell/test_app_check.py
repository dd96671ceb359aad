"""FC-O1: an operator's first mistakes are told apart, at the start and on /readyz, and the door stays open."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from flask import Flask

from app.bootstrap import admin_server, build, http_server
from app.github.app_check import AppCheck, AppIdentity
from app.github.auth import AppKey
from app.github.client import Client
from app.settings import Settings
from app.store.database import Database
from app.web.server import HttpServer, find_free_port
from app.worker.jobs import Queue
from tests.shell.night import Night


def now() -> datetime:
    return datetime.now(UTC)


@contextmanager
def check_of(api_url: str, app_id: int, key: str, clock: Any = now) -> Iterator[tuple[AppCheck, list[AppIdentity]]]:
    found: list[AppIdentity] = []
    client = Client(api_url, AppKey(app_id, key), clock)
    try:
        yield AppCheck(client, retry_seconds=0.05, on_identified=found.append), found
    finally:
        client.close()


def other_key() -> str:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_it_says_which_app_this_is_and_where_it_is_installed(tonight: Night) -> None:
    app = tonight.github.app
    with check_of(tonight.github.api_url, app.app_id, app.private_key_pem, tonight.clock) as (check, found):
        assert check.check_once()
    assert check.problem == ""
    assert found[0].slug == app.slug
    assert found[0].installations == ("octo",)
    assert "installed on: octo" in found[0].sentence


@pytest.mark.parametrize("mistake", ["wrong id", "key of another app"])
def test_what_github_refuses_is_said(tonight: Night, mistake: str) -> None:
    app = tonight.github.app
    app_id, key = (app.app_id, other_key()) if "key" in mistake else (app.app_id + 7, app.private_key_pem)
    with check_of(tonight.github.api_url, app_id, key, tonight.clock) as (check, _):
        assert not check.check_once()
    assert "GITHUB_APP_ID and the private key do not belong together" in check.problem
    assert "PRIVATE KEY" not in check.problem


def test_an_address_that_is_not_githubs_is_said(tonight: Night) -> None:
    app, other = tonight.github.app, Flask("other")
    other.add_url_rule("/pages/app", "pages", view_func=lambda: "<html>hello</html>")
    other.add_url_rule("/json/app", "json", view_func=lambda: {"hello": "world"})
    served = HttpServer(other, "127.0.0.1", 0, name="other")
    try:
        for path in ("/nothing", "/pages", "/json"):
            url = f"http://127.0.0.1:{served.port}{path}"
            with check_of(url, app.app_id, app.private_key_pem, tonight.clock) as (check, _):
                assert not check.check_once()
            assert "GITHUB_API_URL" in check.problem
            assert "/api/v3" in check.problem
    finally:
        served.stop()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:{free}", "127.0.0.1 refuses connections at port"),
        ("http://no-such-host.invalid", "DNS does not know this name"),
        ("https://127.0.0.1:{tls}", "that is not trusted: self-signed certificate"),
    ],
    ids=["refused", "name", "tls"],
)
def test_why_there_is_no_connection_is_said(tonight: Night, tmp_path: Path, url: str, reason: str) -> None:
    app = tonight.github.app
    with serve_tls(tmp_path) as port:
        address = url.format(free=find_free_port(), tls=port)
        with check_of(address, app.app_id, app.private_key_pem, tonight.clock) as (check, _):
            assert not check.check_once()
    assert reason in check.problem


@contextmanager
def serve_tls(folder: Path) -> Iterator[int]:
    """Serve TLS handshakes with a certificate that nobody trusts, and give the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(write_certificate(folder))
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection, suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def write_certificate(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Some Company")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now() - timedelta(days=1))
        .not_valid_after(now() + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "certificate.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(pem + certificate.public_bytes(serialization.Encoding.PEM))
    return path


def test_not_ready_with_the_reason_while_the_door_is_open(database: Database, tonight: Night) -> None:
    app = tonight.github.app
    settings = Settings(
        port=0,
        admin_port=0,
        api_url=f"http://127.0.0.1:{find_free_port()}",
        app_id=app.app_id,
        private_key=app.private_key_pem,
        webhook_secrets=(app.webhook_secret,),
    )
    application = build(settings, database, tonight.clock)
    check = AppCheck(application.client, retry_seconds=0.05)
    served = http_server(application, Queue(application.ctx), check)
    admin = admin_server(application, check)
    assert admin is not None
    try:
        with structlog.testing.capture_logs() as logs:
            check.check_once()
            check.check_once()
        assert [entry["event"] for entry in logs] == ["app not identified"], "once, not once a minute"
        answer = httpx.get(f"http://127.0.0.1:{admin.port}/readyz")
        assert answer.status_code == 503
        assert any("refuses connections" in reason for reason in answer.json()["reasons"])
        assert httpx.get(f"http://127.0.0.1:{served.port}/readyz").json() == {"status": "not ready"}
        assert httpx.get(f"http://127.0.0.1:{served.port}/healthz/door").status_code == 200
    finally:
        served.stop()
        admin.stop()
        application.client.close()
