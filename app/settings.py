"""Read the settings from the environment, once."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

_MIN_SECRET_CHARACTERS = 32
"""The shortest webhook secret: in other Apps an empty or guessable one disabled the check (reliability, row 13)."""


class SettingsFault(Exception):
    """A setting that cannot be used; the message says which, and what would work."""


@dataclass(frozen=True)
class Settings:
    """Where Muster runs and as which App; secrets stay out of its `repr`."""

    home: Path = Path("var")
    host: str = "127.0.0.1"
    port: int = 8080
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    """Where `/metrics` and the reasons of `/readyz` are served; 0: any free port."""
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Proxies before us, besides those on loopback: the limit of connections per address does not apply to them."""
    database_url: str = field(default="", repr=False)
    api_url: str = "https://api.github.com"
    app_id: int = 0
    private_key: str = field(default="", repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    public_url: str = ""
    log: str = "text"
    enforce_rate_limits: bool = False
    """True: keep GitHub's published limits before it has to enforce them; `read_settings` defaults to True."""
    feeds: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of `env:NAME` for the on-call feeds in a policy, by name: addresses and file paths."""
    channels: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of `env:NAME` for the channels in a policy, by name: addresses and secrets."""
    heartbeat_url: str = field(default="", repr=False)
    """Receives a heartbeat every minute while all is well; empty: none is sent.  Such addresses are secrets."""
    failpoint: str = ""
    pull: bool = False
    """True: fetch deliveries from GitHub's list, since none arrive at the web receiver."""
    pull_seconds: int = 5

    @property
    def has_credentials(self) -> bool:
        """True for a GitHub App; without credentials, Muster serves against the sandbox GitHub."""
        return bool(self.app_id)


def read_settings(environment: Mapping[str, str] | None = None, *, folder: Path = Path()) -> Settings:
    """Return the settings of this process; the environment overrides `.env` in `folder`.  Raises SettingsFault."""
    variables = {**_read_dotenv(folder / ".env"), **(os.environ if environment is None else environment)}
    return Settings(
        home=Path(variables.get("MUSTER_HOME", "var")),
        host=variables.get("MUSTER_HOST", "127.0.0.1"),
        port=_parse_number(variables, "PORT", 8080, maximum=65535),
        admin_host=variables.get("MUSTER_ADMIN_HOST") or "127.0.0.1",
        admin_port=_parse_number(variables, "MUSTER_ADMIN_PORT", 8081, maximum=65535),
        trusted_proxies=_parse_networks(variables, "MUSTER_TRUSTED_PROXIES"),
        database_url=variables.get("DATABASE_URL", ""),
        api_url=_parse_url(variables, "GITHUB_API_URL", "https://api.github.com"),
        app_id=_parse_number(variables, "GITHUB_APP_ID", 0),
        private_key=_read_private_key(variables),
        webhook_secrets=_webhook_secrets(variables),
        public_url=_parse_url(variables, "MUSTER_PUBLIC_URL", ""),
        log=_parse_choice(variables, "MUSTER_LOG", ("text", "json")),
        enforce_rate_limits=_parse_choice(variables, "MUSTER_PACE", ("github", "free")) == "github",
        feeds=_feed_variables(variables),
        channels=_channel_variables(variables),
        heartbeat_url=_parse_heartbeat_url(variables),
        failpoint=_parse_failpoint(variables),
        pull=_parse_choice(variables, "MUSTER_PULL", ("0", "1")) == "1",
        pull_seconds=max(1, _parse_number(variables, "MUSTER_PULL_SECONDS", 5, maximum=300)),
    )


def require_app_credentials(settings: Settings) -> Settings:
    """Return the same settings if a GitHub App can start with them.  Raises SettingsFault."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    if not settings.app_id:
        raise SettingsFault("GITHUB_APP_ID is not set: the number on the settings page of your GitHub App.")
    if not settings.private_key:
        raise SettingsFault("no private key: set GITHUB_APP_PRIVATE_KEY_FILE to the .pem file of your GitHub App.")
    try:
        load_pem_private_key(settings.private_key.encode(), password=None)
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise SettingsFault(
            "no private key in PEM: the .pem file that GitHub gave you, whole and unencrypted."
        ) from None
    if not settings.webhook_secrets:
        raise SettingsFault("GITHUB_WEBHOOK_SECRET is not set: without it anybody could send us deliveries.")
    return settings


def _read_private_key(variables: Mapping[str, str]) -> str:
    if text := variables.get("GITHUB_APP_PRIVATE_KEY"):
        return text.replace("\\n", "\n")
    name = variables.get("GITHUB_APP_PRIVATE_KEY_FILE")
    if not name:
        return ""
    path = Path(name)
    try:
        text, mode = path.read_text(), path.stat().st_mode
    except OSError as problem:
        raise SettingsFault(f"GITHUB_APP_PRIVATE_KEY_FILE: {name} cannot be read ({problem.strerror}).") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsFault(f"GITHUB_APP_PRIVATE_KEY_FILE: others may read {name}. Run: chmod 400 {name}")
    return text


def _webhook_secrets(variables: Mapping[str, str]) -> tuple[str, ...]:
    """Return the current webhook secret, and the old one during a rotation."""
    names = [name for name in ("GITHUB_WEBHOOK_SECRET", "GITHUB_WEBHOOK_SECRET_OLD") if variables.get(name)]
    for name in names:
        secret = variables[name]
        if len(secret) < _MIN_SECRET_CHARACTERS or len(set(secret)) < 8:
            raise SettingsFault(
                f"{name}: too easy to guess; at least {_MIN_SECRET_CHARACTERS} characters are needed,"
                " such as those of: openssl rand -hex 32"
            )
    return tuple(variables[name] for name in names)


def _parse_url(variables: Mapping[str, str], name: str, default: str) -> str:
    text = variables.get(name) or default
    if text and not text.startswith(("https://", "http://")):
        raise SettingsFault(f"{name}: '{text[:40]}' is no URL, such as https://api.github.com.")
    return text.rstrip("/")


def _parse_networks(variables: Mapping[str, str], name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    texts = [text.strip() for text in variables.get(name, "").split(",") if text.strip()]
    try:
        return tuple(ip_network(text) for text in texts)
    except ValueError as problem:
        raise SettingsFault(f"{name}: {problem}; addresses or networks are needed, such as 10.0.0.5.") from None


def _parse_heartbeat_url(variables: Mapping[str, str]) -> str:
    text = variables.get("MUSTER_HEARTBEAT_URL", "")
    if text and not text.startswith("https://"):
        raise SettingsFault("MUSTER_HEARTBEAT_URL: it is no address that begins with https://")
    return text


_RESERVED_PREFIXES = ("GITHUB_", "MUSTER_", "DATABASE_", "SLACK_", "TEAMS_", "SMTP_", "PAGERDUTY_")
"""Prefixes of variables that hold something else, even if it is an address: no policy may refer to them."""


def _feed_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that can be a feed.

    Policies are written by others, so they must not be able to refer to anything else in the environment.
    """
    return {
        name: text
        for name, text in variables.items()
        if not name.startswith(_RESERVED_PREFIXES)
        and (text.startswith("https://") or (Path(text).is_absolute() and text.lower().endswith(".ics")))
    }


_MIN_SIGNING_SECRET_CHARACTERS = 16
"""The shortest signing secret: a shorter one could be guessed from a single signed message."""


def _channel_variables(variables: Mapping[str, str]) -> Mapping[str, str]:
    """Return the variables that can be a channel's address or secret; a secret shows by its name that it is one."""
    return {
        name: text
        for name, text in variables.items()
        if not name.startswith(_RESERVED_PREFIXES)
        and (
            text.startswith("https://")
            or (
                len(text) >= _MIN_SIGNING_SECRET_CHARACTERS
                and (name.startswith("CHANNEL_") or name.endswith("_SECRET"))
            )
        )
    }


def _parse_failpoint(variables: Mapping[str, str]) -> str:
    text = variables.get("FAILPOINT", "")
    _, colon, nth = text.partition(":")
    if colon and not (nth.isascii() and nth.isdigit() and int(nth)):
        raise SettingsFault(f"FAILPOINT: '{text[:40]}' is not a name and a number, such as after_commit:2.")
    return text


def _parse_number(variables: Mapping[str, str], name: str, default: int, maximum: int = 2**53) -> int:
    text = variables.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) > maximum:
        raise SettingsFault(f"{name}: '{text[:40]}' is not a number up to {maximum}.")
    return int(text)


def _parse_choice(variables: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = variables.get(name, choices[0])
    if text not in choices:
        raise SettingsFault(f"{name}: '{text[:40]}' is none of {', '.join(choices)}.")
    return text


def _read_dotenv(path: Path) -> dict[str, str]:
    """Return the `NAME=value` lines of the file without expansion; quotes around a value are removed."""
    if not path.is_file():
        return {}
    rows = (line.strip().removeprefix("export ") for line in path.read_text().splitlines())
    pairs = (row.partition("=") for row in rows if row and not row.startswith("#"))
    return {name.strip(): value.strip().strip("\"'") for name, sign, value in pairs if sign}
