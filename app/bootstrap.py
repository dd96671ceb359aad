"""Build the application from settings, and serve it."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import logging
import os
import shlex
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import NoReturn

import httpx
import structlog

from app.channels import ChannelRegistry
from app.failpoints import Failpoints
from app.github.app_check import AppCheck
from app.github.auth import AppKey
from app.github.client import Client
from app.github.installations import RepositoryDirectory, list_installed_repositories, locate_repository
from app.github.signed_marker import Signer
from app.github.tracker import GitHubTracker
from app.policy_source.active_policy import PolicySource
from app.policy_source.installations import InstallationCounter
from app.policy_source.on_call_feeds import OnCallFeeds
from app.ports import DeliveryFailed, IncidentKey
from app.rate_limit import GITHUB_RATES, UNLIMITED
from app.safe_http import SafeHttpClient
from app.settings import Settings, SettingsFault, require_app_credentials
from app.store import embedded, tombstones
from app.store.connection_errors import check_server, explain_errors
from app.store.database import Database, migrate
from app.store.rate_limits import DatabaseRateLimiter
from app.web.application import create_admin_app, create_app, create_head_check
from app.web.connection import LOOPBACK, RequestLimits
from app.web.server import HttpServer
from app.web.webhook import MAX_BODY_BYTES
from app.worker.context import LEASE_PERIOD, WorkerContext
from app.worker.jobs import Queue
from app.worker.monitoring.self_audit import AuditLoop, readiness_problems, update_gauges
from app.worker.pipeline.fold import FoldFailed
from app.worker.pipeline.repository_mapping import save_located
from app.worker.sync.rebuild import rebuild_incident as rebuild_one
from app.worker.sync.reconciler import Reconciler

TimeSource = Callable[[], datetime]

_SHUTDOWN_SECONDS = 28.0
"""Seconds from a signal to the end of the process at the latest (reliability, B8)."""

_M_MMAP_THRESHOLD = -3
"""The constant of that name in glibc's malloc.h."""

_WORKER_NICE_LEVEL = 10
"""How much a separate worker process lowers its CPU priority below that of the web process."""

_MAX_INCIDENTS_PER_INSTALLATION = 4
"""How many incidents of an installation are enqueued for its next turns; the others stay in the outbox."""

log = structlog.get_logger()


@dataclass(frozen=True)
class Application:
    """Everything one process needs: the settings, the worker context and the GitHub client."""

    settings: Settings
    ctx: WorkerContext
    client: Client


@contextmanager
def open_database_server(settings: Settings) -> Iterator[str]:
    """Yield the URL of the PostgreSQL server in the settings, or that of the embedded one, which runs meanwhile.

    Raises DatabaseUnavailable, a ConnectionError with one line for the operator, when it cannot be used.
    """
    embedded_server = None
    if settings.database_url:
        check_server(settings.database_url)
    else:
        embedded_server = _start_embedded_server(settings)
    url = embedded_server.url if embedded_server else settings.database_url
    try:
        with explain_errors(url):
            yield url
    finally:
        if embedded_server:
            embedded_server.stop()


def _start_embedded_server(settings: Settings) -> embedded.EmbeddedServer:
    """Start the embedded server.

    Raises SettingsFault when its folder cannot be written, and ConnectionError when it does not start.
    """
    home = settings.home.absolute()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as problem:
        reason = problem.strerror or type(problem).__name__
        raise SettingsFault(
            f"MUSTER_HOME: {home} cannot be written ({reason}). Set it to a folder that this user may write,"
            " or DATABASE_URL to a PostgreSQL."
        ) from None
    try:
        return embedded.start(settings.home)
    except RuntimeError as problem:
        raise ConnectionError(" ".join(str(problem).split())) from problem


@contextmanager
def open_database(settings: Settings) -> Iterator[Database]:
    """Yield the migrated and open database of these settings."""
    with open_database_server(settings) as url:
        migrate(url, Failpoints(settings.failpoint).reach)
        opened = Database(url).open()
        try:
            yield opened
        finally:
            opened.close()


def warn_if_root(settings: Settings) -> None:
    """Warn in one line when root serves with the credentials of a GitHub App."""
    if os.name == "posix" and os.geteuid() == 0:
        log.warning(
            "running as root with the credentials of a GitHub App; make a user for Muster, give it the folder of"
            f" MUSTER_HOME (useradd --system muster && chown -R muster {shlex.quote(str(settings.home))}), and start"
            " Muster as that user"
        )


@contextmanager
def open_application(settings: Settings, clock: TimeSource) -> Iterator[Application]:
    """Yield the application of a GitHub App with these settings.

    Raises SettingsFault before anything is started.
    """
    require_app_credentials(settings)
    with open_database(settings) as opened:
        application = build(settings, opened, clock)
        try:
            yield application
        finally:
            application.client.close()


def build(
    settings: Settings,
    database: Database,
    clock: TimeSource,
    *,
    transport: httpx.BaseTransport | None = None,
    http_client: SafeHttpClient | None = None,
    failpoints: Failpoints | None = None,
    wait: Callable[[float], None] = time.sleep,
    lease: timedelta = LEASE_PERIOD,
) -> Application:
    """Build the application on an open database.

    `transport` carries the calls to GitHub, `http_client` those to other hosts; None: the network.  `wait` sleeps the
    given seconds until a turn that is near.
    """
    rate_limiter = DatabaseRateLimiter(database, GITHUB_RATES if settings.enforce_rate_limits else UNLIMITED)
    client = Client(
        settings.api_url,
        AppKey(settings.app_id, settings.private_key),
        clock,
        transport,
        rate_limiter,
        wait,
        outgoing=settings.outgoing,
    )
    http_client = http_client or SafeHttpClient(outgoing=settings.outgoing)
    installations = InstallationCounter(database, client.list_installations, clock)
    directory = RepositoryDirectory(client, partial(save_located, database))
    ctx = WorkerContext(
        database=database,
        tracker=lambda repository: GitHubTracker(client, repository, directory=directory),
        locate=partial(locate_repository, client),
        signer=Signer(settings.webhook_secrets, settings.app_id),
        clock=clock,
        installations=installations,
        policies=PolicySource(OnCallFeeds(http_client, settings.feeds, installations)),
        channels=ChannelRegistry(http_client, settings.channels),
        failpoints=failpoints or Failpoints(settings.failpoint),
        max_incidents_per_installation=_MAX_INCIDENTS_PER_INSTALLATION
        if settings.enforce_rate_limits
        else WorkerContext.max_incidents_per_installation,
        lease_period=lease,
    )
    return Application(settings, ctx, client)


def create_offline_context(database: Database, clock: TimeSource) -> WorkerContext:
    """Create the context of a command that needs the database alone: it cannot call GitHub."""

    def refuse(*_: object) -> NoReturn:
        raise DeliveryFailed("this command does not call GitHub", retry_after=None)

    installations = InstallationCounter(database, refuse, clock)
    return WorkerContext(
        database=database, tracker=refuse, installations=installations, signer=Signer(("",)), clock=clock
    )


def serve(application: Application, *, web: bool, worker: bool, queue: Queue | None = None) -> None:
    """Serve until a signal: the web receiver, the workers, or both.  `queue` replaces the application's own.

    The first signal lets running work finish, within half a minute; a second one ends the process at once.  Either way
    nothing is lost: unfinished work is found by the next process.
    """
    queue = queue or Queue(application.ctx, reconciler=create_reconciler(application))
    stopped = threading.Event()

    def stop(number: int, frame: object) -> None:
        if stopped.is_set():
            os._exit(128 + number)  # threads that wait for GitHub would delay a graceful exit
        stopped.set()
        queue.stop()
        shutdown_timer = threading.Timer(_SHUTDOWN_SECONDS, os._exit, (1,))
        shutdown_timer.daemon = True
        shutdown_timer.start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for problem in application.settings.outgoing.find_problems(application.ctx.clock()):
        log.warning("outgoing connections", reason=problem)
    app_check = AppCheck(application.client)
    receiver = http_server(application, queue, app_check) if web else None
    admin = admin_server(application, app_check)
    audit_loop = AuditLoop(
        application.ctx,
        enqueue=queue.enqueue_incidents,
        heartbeat_url=application.settings.heartbeat_url,
        http_client=SafeHttpClient(outgoing=application.settings.outgoing),
    )
    if receiver is not None:
        log.info("listening", url=f"http://{application.settings.host}:{receiver.port}/webhook")
    app_check.start()
    try:
        if worker and not web and hasattr(os, "nice"):
            os.nice(_WORKER_NICE_LEVEL)  # answering GitHub within 10 s comes before our own work
        if worker:
            audit_loop.start()
            queue.run()
        else:
            stopped.wait()
    finally:
        audit_loop.stop()
        app_check.stop()
        for server in (receiver, admin):
            if server is not None:
                server.stop()


def return_large_blocks_to_system() -> None:
    """Return freed memory blocks of 1 MiB or more to the system at once (reliability, A5).

    glibc raises that threshold by itself after the first large delivery, and then keeps several copies of 25 MB in each
    thread. Does nothing without glibc.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, 2**20)


def http_server(application: Application, queue: Queue, app_check: AppCheck | None = None) -> HttpServer:
    """Start the HTTP server of the public port: web receiver and health."""
    return_large_blocks_to_system()
    settings, ctx = application.settings, application.ctx
    flask = create_app(
        ctx.database,
        settings.webhook_secrets,
        ctx.clock,
        on_delivery=queue.on_delivery,
        readiness_problems=lambda: _list_problems(application, app_check),
        failpoints=ctx.failpoints,
    )
    # A little more than the largest delivery, so that the application itself can answer 413.
    with explain_listen_errors(settings.host, settings.port, "MUSTER_HOST", "PORT"):
        return HttpServer(
            flask,
            settings.host,
            settings.port,
            name="muster",
            max_body_bytes=MAX_BODY_BYTES + 65536,
            limits=RequestLimits(proxies=(*LOOPBACK, *settings.trusted_proxies)),
            check_head=create_head_check(flask),
        )


@contextmanager
def explain_listen_errors(host: str, port: int, host_setting: str, port_setting: str) -> Iterator[None]:
    """Turn an error on the way to a listening socket into one line that names the settings.

    Raises ConnectionError.
    """
    address = f"{host}:{port}"
    try:
        yield
    except ValueError:  # waitress cannot resolve the name
        raise ConnectionError(f"{address} cannot be listened on: {host_setting} is no address of a machine.") from None
    except OSError as problem:
        if problem.errno == errno.EADDRINUSE:
            advice = f"another process listens there. End it, or set {port_setting} to another port."
        elif problem.errno == errno.EACCES:
            advice = f"this user may not. Set {port_setting} to a port above 1023."
        elif problem.errno == errno.EADDRNOTAVAIL:
            advice = f"this machine has no such address. Set {host_setting} to one of its own, or to 127.0.0.1."
        else:
            advice = f"{problem.strerror or problem}. See {host_setting} and {port_setting}."
        raise ConnectionError(f"{address} cannot be listened on: {advice}") from None


def _list_problems(application: Application, app_check: AppCheck | None) -> list[str]:
    """Return why this Muster is not ready; the reasons of GitHub do not close the door."""
    unknown = [app_check.problem] if app_check is not None and app_check.problem else []
    return [*unknown, *readiness_problems(application.ctx)]


def admin_server(application: Application, app_check: AppCheck | None = None) -> HttpServer | None:
    """Start the HTTP server of the admin port: metrics, and the reasons why this Muster is not ready.

    None where the port is taken, such as by another process of the same machine; work goes on without it.
    """
    settings, ctx = application.settings, application.ctx
    flask = create_admin_app(ctx.database, lambda: _list_problems(application, app_check), lambda: update_gauges(ctx))
    try:
        server = HttpServer(flask, settings.admin_host, settings.admin_port, name="muster-admin", max_connections=50)
    except OSError as problem:
        log.warning(
            "no admin port: there are no metrics of this process; set MUSTER_ADMIN_PORT to a free one",
            port=settings.admin_port,
            reason=problem.strerror or str(problem),
        )
        return None
    log.info("admin port", url=f"http://{settings.admin_host}:{server.port}/readyz")
    return server


def create_reconciler(application: Application) -> Reconciler:
    """Create the reconciler, in pull mode if `MUSTER_PULL` is set: deliveries then come from GitHub's list only."""
    settings = application.settings
    if not settings.pull:
        return Reconciler(application.ctx, application.client)
    return Reconciler(
        application.ctx, application.client, scan_interval=timedelta(seconds=settings.pull_seconds), pull=True
    )


def rebuild_incidents(application: Application, repo: str | None, issue: int | None) -> Iterator[str]:
    """Restore incidents from GitHub, all or the given one, and yield a line for each.  Raises DeliveryFailed."""
    for repository in list_installed_repositories(application.client):
        if repo is not None and repository.name.lower() != repo.lower():
            continue
        active_policy = application.ctx.policies.load(
            application.ctx.database, application.ctx.tracker(repository), repository, application.ctx.clock()
        )
        numbers = (
            [issue] if issue else application.ctx.tracker(repository).incidents(active_policy.policy.labels.incident)
        )
        with application.ctx.database.transaction() as db:
            erased = tombstones.find_erased(db, (IncidentKey(repository.id, number) for number in numbers))
        for number in numbers:
            if IncidentKey(repository.id, number) in erased:
                yield f"{repository.name}#{number} was erased here, and is not restored"
                continue
            try:
                outcome = rebuild_one(application.ctx, repository, number) or "is no incident"
            except FoldFailed as failed:
                outcome = f"could not be rebuilt, and is as it was: {failed}"
            yield f"{repository.name}#{number} {outcome}"


def configure_logging(log_format: str, level: str = "info") -> None:
    """Log to stderr, as text for people or as JSON for machines; colour on terminals only.

    `level`: debug, info, warning or error; the log of libraries begins at warnings, except for debug.
    """
    min_level = logging.getLevelNamesMapping()[level.upper()]
    library_level = min_level if level == "debug" else max(min_level, logging.WARNING)
    logging.basicConfig(level=library_level, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
    renderer = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(min_level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
