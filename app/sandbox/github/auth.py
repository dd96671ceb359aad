"""Authentication of callers: App JWTs, installation tokens and personal access tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import jwt

from app.sandbox.github.errors import ApiError
from app.sandbox.github.registration import AppRegistration
from app.sandbox.github.world import Account, Actor, Installation, Repository, Role, World

LEVELS = {"read": 1, "write": 2, "admin": 3}
TOKEN_LIFETIME = timedelta(hours=1)

# The repository role a person needs where an app needs a permission of that level.
REQUIRED_ROLES: dict[str, Role] = {"read": "read", "write": "write", "admin": "admin"}


@dataclass
class Caller:
    """The authenticated identity behind a call and what it may reach."""

    name: str
    account: Account | None = None
    is_app: bool = False
    installation: Installation | None = None
    repositories: frozenset[int] | None = None
    permissions: Mapping[str, str] | None = None
    via_app: bool = False

    @property
    def actor(self) -> Actor:
        """The account that a change is recorded under. Raises ApiError 401 for an anonymous caller."""
        if self.account is None:
            raise ApiError(401, "Requires authentication")
        return Actor(self.account, self.via_app)

    def can_see(self, repository: Repository) -> bool:
        """Return True if the repository is visible to this caller; to all others it does not exist."""
        if self.installation is not None:
            own = repository.id in self.installation.repositories
            return own and (self.repositories is None or repository.id in self.repositories)
        if self.account is not None:
            return repository.role(self.account) != "none"
        return not repository.private

    def has_permission(self, permission: str, level: str, repository: Repository | None) -> bool:
        """Return True if the caller has a permission such as ("issues", "write").

        Alternatives are written as `issues|pull_requests`; one of them is enough.
        """
        if self.installation is not None:
            granted = self.installation.permissions if self.permissions is None else self.permissions
            best = max(LEVELS.get(granted.get(name, ""), 0) for name in permission.split("|"))
            return permission == "metadata" or best >= LEVELS[level]
        if self.account is not None and repository is not None:
            return repository.allows(self.account, REQUIRED_ROLES[level])
        return level == "read"


@dataclass(frozen=True)
class InstallationToken:
    """An issued installation token."""

    token: str
    installation: Installation
    expires_at: datetime
    repositories: frozenset[int] | None
    permissions: dict[str, str]
    bot: Account | None = None
    """The account that the token writes as; None: the app's own bot."""


class Auth:
    """Checks the Authorization header; expiry follows the given clock."""

    def __init__(self, world: World, app: AppRegistration, clock: Callable[[], datetime]) -> None:
        self._world = world
        self._app = app
        self._clock = clock
        self._public_key = app.public_key_pem
        self._tokens: dict[str, InstallationToken] = {}
        self._personal: dict[str, Account] = {}
        self._issued_count = 0

    def token_for(self, account: Account) -> str:
        """Return the personal access token of an account, the same one each time."""
        token = "ghp_" + self._derive_secret(f"person {account.login}")
        self._personal[token] = account
        return token

    def issue_token(
        self,
        installation: Installation,
        repositories: frozenset[int] | None,
        permissions: dict[str, str],
        bot: Account | None = None,
    ) -> InstallationToken:
        """Issue a new installation token that is valid for one hour.

        With `bot` the token belongs to another app than ours and writes as that account.
        """
        now = self._clock()
        self._tokens = {text: token for text, token in self._tokens.items() if token.expires_at > now}
        self._issued_count += 1
        text = "ghs_" + self._derive_secret(f"token {self._issued_count}")
        token = InstallationToken(text, installation, now + TOKEN_LIFETIME, repositories, permissions, bot)
        self._tokens[text] = token
        return token

    def authenticate(self, header: str | None) -> Caller:
        """Return the caller for an Authorization header; a missing header means an anonymous caller.

        Raises ApiError 401 for credentials that are wrong or expired, and 403 for a suspended installation.
        """
        if not header:
            return Caller("anonymous")
        scheme, _, credentials = header.partition(" ")
        credentials = credentials.strip()
        if scheme.lower() not in ("bearer", "token") or not credentials:
            raise ApiError(401, "Bad credentials")
        if credentials.count(".") == 2:
            if scheme.lower() != "bearer":  # documentation of the REST API, authenticating
                raise ApiError(401, "Bad credentials")
            self._check_jwt(credentials)
            return Caller(f"app {self._app.slug}", is_app=True)
        if credentials in self._personal:
            account = self._personal[credentials]
            return Caller(account.login, account)
        token = self._tokens.get(credentials)
        if token is None or token.expires_at <= self._clock() or token.installation.removed:
            raise ApiError(401, "Bad credentials")
        if token.installation.suspended_at is not None:
            raise ApiError(403, "This installation has been suspended")
        bot = token.bot or self._world.account(f"{self._app.slug}[bot]")
        name = f"{token.bot.login if token.bot else 'installation'} {token.installation.id}"
        own = token.bot is None
        return Caller(name, bot, False, token.installation, token.repositories, token.permissions, via_app=own)

    def _check_jwt(self, text: str) -> None:
        try:
            claims = jwt.decode(
                text,
                self._public_key,
                algorithms=["RS256"],
                # The times are checked below against the given clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False, "verify_iss": False},
            )
        except jwt.PyJWTError:
            raise ApiError(401, "A JSON web token could not be decoded") from None
        now = self._clock().timestamp()
        issued, expires = claims.get("iat"), claims.get("exp")
        if str(claims.get("iss")) not in (str(self._app.app_id), self._app.client_id):
            raise ApiError(401, "'Issuer' claim ('iss') must be an Integer")
        if not isinstance(expires, int | float):
            raise ApiError(401, "Missing 'expiration' claim ('exp') in assertion")
        if not isinstance(issued, int | float):
            raise ApiError(401, "Missing 'issued at' claim ('iat') in assertion")
        if issued > now:
            raise ApiError(
                401, "'Issued at' claim ('iat') must be an Integer representing the time that the assertion was issued"
            )
        if expires <= now:
            raise ApiError(
                401,
                "'Expiration time' claim ('exp') must be a numeric value representing the future time at which the "
                "assertion expires",
            )
        if expires > now + 600:
            raise ApiError(401, "'Expiration time' claim ('exp') is too far in the future")

    def _derive_secret(self, purpose: str) -> str:
        # Derived instead of random, so that equal runs are equal; it is valid for the sandbox GitHub only.
        return hashlib.sha256(f"{self._app.webhook_secret} {purpose}".encode()).hexdigest()[:36]
