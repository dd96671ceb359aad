"""The sandbox GitHub: wires its parts, serves it on loopback and lets tests and the demo control it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from flask import Flask, Response, request
from werkzeug.exceptions import HTTPException

from app.sandbox.github import api, pages, world
from app.sandbox.github.api.gateway import PREFIX, CallRecord, Gateway
from app.sandbox.github.auth import Auth
from app.sandbox.github.code_changes import Changes
from app.sandbox.github.code_json import CodeSerializer
from app.sandbox.github.errors import ApiError, not_found
from app.sandbox.github.faults import Faults
from app.sandbox.github.git import EMPTY_TREE_SHA, FILE_MODE, Entry
from app.sandbox.github.hooks import Hooks
from app.sandbox.github.limits import Limits, Meter
from app.sandbox.github.people import Person
from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.world import Account, Actor, Installation, Repository, Role, Team, World
from app.web.server import HttpServer

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

HOST = "127.0.0.1"
ACTIONS_BOT_LOGIN = world.ACTIONS_BOT_LOGIN
# Enough for tests that open connections faster than they close them.
MAX_CONNECTIONS = 1000


class SandboxGitHub:
    """A GitHub on this machine: people, repositories, an app, webhooks and pages.

    `refresh` makes pages reload themselves every so many seconds.
    """

    def __init__(
        self,
        clock: Callable[[], datetime],
        app: AppRegistration | None = None,
        *,
        limits: Limits | None = None,
        refresh: int | None = None,
    ) -> None:
        self.clock = clock
        self.app = app or AppRegistration.generate()
        self.world = World()
        self.hooks = Hooks(self.app, clock)
        self.faults = Faults()
        ghost = Account(self.world.new_id(), "ghost", "User", None, clock())
        self.bot = Account(self.world.new_id(), f"{self.app.slug}[bot]", "Bot", None, clock())
        self.world.accounts = {account.login.lower(): account for account in (ghost, self.bot)}
        self.serializer = CodeSerializer(self.app, ghost)
        self.changes = Changes(self.world, self.serializer, self.hooks, clock)
        self.auth = Auth(self.world, self.app, clock)
        self.meter = Meter(limits or Limits(), clock)
        self._gateway = Gateway(self.app, self.changes, self.auth, self.meter, self.faults, clock)
        self._wsgi = self._build_wsgi(refresh)
        self._server: HttpServer | None = None

    # Serving.

    def start(self, port: int = 0) -> Self:
        """Serve on 127.0.0.1, by default on a free port."""
        self._server = HttpServer(self._wsgi, HOST, port, name="github.com", max_connections=MAX_CONNECTIONS)
        self.serializer.url = f"http://{HOST}:{self._server.port}"
        self.hooks.start()
        return self

    def stop(self) -> None:
        """Close every connection and end the threads; stopping twice is harmless."""
        self.hooks.stop()
        if self._server is not None:
            self._server.stop()
            self._server = None

    def __enter__(self) -> Self:
        if self._server is None:
            self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The base URL of the pages."""
        return self.serializer.url

    @property
    def api_url(self) -> str:
        """The base URL of the REST API, for GITHUB_API_URL."""
        return self.serializer.api_url

    @property
    def wsgi(self) -> Flask:
        """The WSGI application, for requests without a network."""
        return self._wsgi

    # People and repositories.

    def add_person(self, login: str, name: str | None = None) -> Person:
        """Add a person; an existing one is returned."""
        with self.world.lock:
            known = self.world.accounts.get(login.lower())
            account = known or self._create_account(login, "User", name)
            account.name = name or account.name
            return Person(self.changes, account)

    def person(self, login: str) -> Person:
        """Return a person. Raises ApiError 404 for an unknown login."""
        return Person(self.changes, self.world.account(login))

    def add_organization(self, login: str, members: Mapping[str, Role] | None = None) -> Account:
        """Add an organisation with its members: `admin` for owners, `read` for others."""
        with self.world.lock:
            account = self.world.accounts.get(login.lower()) or self._create_account(login, "Organization", None)
            for member, role in (members or {}).items():
                self.add_person(member)
                account.members[member.lower()] = role
            return account

    def add_team(self, organization: str, slug: str, members: Iterable[str] = ()) -> Team:
        """Add a team; unknown organisations and members are created."""
        with self.world.lock:
            owner = self.add_organization(organization)
            people = [self.add_person(login).account for login in members]
            for account in people:
                owner.members.setdefault(account.login.lower(), "read")
            team = Team(self.world.new_id(), owner, slug, people)
            self.world.teams[organization.lower(), slug.lower()] = team
            return team

    def add_repository(
        self,
        full_name: str,
        files: Mapping[str, str | bytes] | None = None,
        *,
        private: bool = False,
        install: bool = True,
        description: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Repository:
        """Add a repository with a first commit of `files`; an unknown owner becomes an organisation.

        `labels` are names with colours. With `install` the app is installed on it, after the first commit.
        Raises ValueError if the name is taken.
        """
        owner_name, _, name = full_name.partition("/")
        with self.world.lock:
            owner = self.world.accounts.get(owner_name.lower()) or self.add_organization(owner_name)
            key = full_name.lower()
            if not name or key in self.world.repositories:
                raise ValueError(f"{full_name!r} is not a new owner/name")
            repository = Repository(self.world.new_id(), owner, name, private, description, self.clock())
            self.world.repositories[key] = repository
            self.world.former_names.pop(key, None)
            for label, color in (labels or {}).items():
                self.changes.find_or_create_label(repository, label).color = color.lower()
            self._add_first_commit(repository, files if files is not None else {"README.md": f"# {name}\n"})
            if install:
                self.install(repository)
            return repository

    def repository(self, full_name: str) -> Repository:
        """Return a repository. Raises ApiError 404."""
        owner, _, name = full_name.partition("/")
        return self.world.repository(owner, name)

    def rename_repository(self, repository: Repository, name: str) -> None:
        """Rename a repository; the old name then answers with 301."""
        with self.world.lock:
            old_full_name, old_name = repository.full_name, repository.name
            del self.world.repositories[old_full_name.lower()]
            repository.name = name
            self.world.repositories[repository.full_name.lower()] = repository
            self.world.former_names.pop(repository.full_name.lower(), None)
            self.world.former_names[old_full_name.lower()] = repository
            changes = {"repository": {"name": {"from": old_name}}}
            self.changes.send_event(
                repository, "repository", Actor(repository.owner), action="renamed", changes=changes
            )

    # Installations and tokens.

    def install(self, *repositories: Repository) -> Installation:
        """Install the app on repositories of one owner; there is one installation for each owner."""
        with self.world.lock:
            owner = repositories[0].owner
            installation = self.world.installation_of(owner)
            new = installation is None
            if installation is None:
                rights = dict(self.app.permissions)
                installation = Installation(self.world.new_id(), owner, self.clock(), rights, list(self.app.events))
                self.world.installations[installation.id] = installation
            added = [repository for repository in repositories if repository.id not in installation.repositories]
            for repository in added:
                installation.repositories[repository.id] = repository
                repository.installation = installation
            if new:
                self._send_installation_event(installation, "created", repositories=self._repository_briefs(added))
            elif added:
                self._send_repositories_event(installation, "added", added)
            return installation

    def uninstall(self, owner: str, *repositories: Repository) -> None:
        """Uninstall the app from some repositories of an owner, or from all."""
        with self.world.lock:
            installation = self._find_installation(owner)
            removed = list(repositories or installation.repositories.values())
            for repository in removed:
                installation.repositories.pop(repository.id, None)
                repository.installation = None
            if repositories:
                self._send_repositories_event(installation, "removed", removed)
            else:
                installation.removed = True
                self._send_installation_event(installation, "deleted", repositories=self._repository_briefs(removed))

    def suspend(self, owner: str) -> None:
        """Suspend the installation; its tokens stop working until `unsuspend`."""
        with self.world.lock:
            installation = self._find_installation(owner)
            installation.suspended_at, installation.suspended_by = self.clock(), installation.account
            self._send_installation_event(installation, "suspend")

    def unsuspend(self, owner: str) -> None:
        """End the suspension of an installation."""
        with self.world.lock:
            installation = self._find_installation(owner)
            installation.suspended_at = installation.suspended_by = None
            self._send_installation_event(installation, "unsuspend")

    def accept_permissions(self, owner: str, permissions: Mapping[str, str]) -> None:
        """Have an owner accept permissions; tokens that were issued before keep the former ones."""
        with self.world.lock:
            installation = self._find_installation(owner)
            installation.permissions.update(permissions)
            self._send_installation_event(installation, "new_permissions_accepted")

    def token_for(self, login: str) -> str:
        """Return a person's personal access token."""
        return self.auth.token_for(self.world.account(login))

    def issue_actions_token(self, repository: Repository, permissions: Mapping[str, str]) -> str:
        """Issue the GITHUB_TOKEN of a GitHub Actions run, with the permissions that its job requests."""
        with self.world.lock:
            if ACTIONS_BOT_LOGIN not in self.world.accounts:
                self.world.accounts[ACTIONS_BOT_LOGIN] = Account(
                    self.world.new_id(), ACTIONS_BOT_LOGIN, "Bot", None, self.clock()
                )
            # A run has its own installation, on that repository alone; the app need not be installed there.
            installation = Installation(self.world.new_id(), repository.owner, self.clock(), dict(permissions), [])
            installation.repositories[repository.id] = repository
            return self.auth.issue_token(
                installation, None, dict(permissions), self.world.accounts[ACTIONS_BOT_LOGIN]
            ).token

    def ping(self) -> None:
        """Send the event that GitHub sends when a hook is created."""
        hook = {
            "type": "App",
            "id": self.app.hook_id,
            "name": "web",
            "active": True,
            "events": self.app.events,
            "app_id": self.app.app_id,
            "config": {"content_type": "json", "insecure_ssl": "0", "secret": "********", "url": self.hooks.url or ""},
        }
        with self.world.lock:
            payload = {"zen": "Anything added dilutes everything else.", "hook_id": self.app.hook_id, "hook": hook}
            self.hooks.emit("ping", payload, None, None)

    # The call log.

    def call_log_position(self) -> int:
        """Return the current end of the call log, for `calls_since`."""
        return self._gateway.call_count

    def calls_since(self, position: int = 0) -> list[CallRecord]:
        """Return the calls answered since that position, oldest first; the log keeps the newest 100,000."""
        with self.world.lock:
            calls = self._gateway.calls
            first = self._gateway.call_count - len(calls)
            return list(islice(calls, max(0, position - first), None))

    def _create_account(self, login: str, kind: Literal["User", "Organization"], name: str | None) -> Account:
        account = Account(self.world.new_id(), login, kind, name, self.clock())
        self.world.accounts[login.lower()] = account
        return account

    def _add_first_commit(self, repository: Repository, files: Mapping[str, str | bytes]) -> None:
        if not files:
            return
        git, tree = repository.git, EMPTY_TREE_SHA
        for path, text in files.items():
            content = text.encode("utf-8", "replace") if isinstance(text, str) else text
            tree = git.write_entry(tree, path, Entry(FILE_MODE, git.add_blob(content)))
        signature = self.changes.signature(repository.owner)
        commit = git.add_commit(tree, (), "Initial commit", signature, account=repository.owner.login)
        git.refs[f"refs/heads/{repository.default_branch}"] = commit.sha
        repository.pushed_at = self.clock()

    def _find_installation(self, owner: str) -> Installation:
        found = self.world.installation_of(self.world.account(owner))
        if found is None:
            raise not_found()
        return found

    def _repository_briefs(self, repositories: Iterable[Repository]) -> list[dict[str, Any]]:
        return [self.serializer.repository_brief(repository) for repository in repositories]

    def _send_installation_event(self, installation: Installation, action: str, **parts: Any) -> None:
        self.changes.send_installation_event(
            installation,
            "installation",
            Actor(installation.account),
            action=action,
            installation=self.serializer.installation(installation),
            **parts,
        )

    def _send_repositories_event(
        self, installation: Installation, action: str, repositories: Iterable[Repository]
    ) -> None:
        brief = self._repository_briefs(repositories)
        self.changes.send_installation_event(
            installation,
            "installation_repositories",
            Actor(installation.account),
            action=action,
            installation=self.serializer.installation(installation),
            repository_selection="selected",
            repositories_added=brief if action == "added" else [],
            repositories_removed=brief if action == "removed" else [],
        )

    def _build_wsgi(self, refresh: int | None) -> Flask:
        flask = Flask("app.sandbox.github", static_folder=None)
        for part in api.BLUEPRINT_FACTORIES:
            flask.register_blueprint(part(self._gateway))
        flask.register_blueprint(pages.blueprint(self.changes, refresh))

        @flask.errorhandler(HTTPException)
        def refuse(error: HTTPException) -> Response:
            if request.path.startswith(PREFIX):
                status = error.code or 500
                return self._gateway.respond_with_error(not_found() if status == 404 else ApiError(status, error.name))
            return pages.add_security_headers(
                Response(f"{error.code} {error.name}\n", error.code or 500, content_type="text/plain")
            )

        flask.wsgi_app = _RepositoryIds(flask.wsgi_app, self.world)  # type: ignore[method-assign]
        return flask


class _RepositoryIds:
    """Answers `/repositories/ID/...` like `/repos/OWNER/NAME/...` of the repository with that id, as GitHub does.

    The call log and the faults of tests know the repository by its name.
    """

    def __init__(self, application: WSGIApplication, world: World) -> None:
        self._application = application
        self._world = world

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        prefix = f"{PREFIX}/repositories/"
        path = str(environ.get("PATH_INFO", ""))
        number, slash, rest = path.removeprefix(prefix).partition("/")
        if path.startswith(prefix) and number.isascii() and number.isdigit():
            with self._world.lock:
                found = (one for one in self._world.repositories.values() if one.id == int(number))
                if repository := next(found, None):
                    environ["PATH_INFO"] = f"{PREFIX}/repos/{repository.full_name}{slash}{rest}"
        return self._application(environ, start_response)
