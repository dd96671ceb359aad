"""Read the settings from the environment, once."""

from __future__ import annotations

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from app.environment.fault import SettingsFault as SettingsFault  # noqa: PLC0414 - this is where others find it
from app.outgoing import Outgoing, ProxyFailure
from app.tenancy import FOR_ENDING, parse_tenants

_GITHUB_API_URL = "https://api.github.com"
_KEY_NAME, _KEY_FILE_NAME = "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_PRIVATE_KEY_FILE"
_MAX_EXCERPT_CHARACTERS = 24
_MIN_SIGNING_SECRET_CHARACTERS = 16
"""The shortest signing secret: a shorter one could be guessed from a single signed message."""
_MIN_SECRET_CHARACTERS = 32
"""The shortest webhook secret: in other Apps an empty or guessable one disabled the check (reliability, row 13)."""


_CREDENTIAL_NAMES = (
    "GITHUB_APP_ID",
    "GITHUB_APP_PRIVATE_KEY",
    "GITHUB_APP_PRIVATE_KEY_FILE",
    "GITHUB_WEBHOOK_SECRET",
    "GITHUB_WEBHOOK_SECRET_OLD",
    "GITHUB_CLIENT_ID",
    "GITHUB_CLIENT_SECRET",
)
"""The variables of a GitHub App: with one of them set, the sandbox is never served by itself."""
_MUSTER_NAMES = tuple(
    f"MUSTER_{name}"
    for name in (
        *(
            "HOME",
            "HOST",
            "PUBLIC_URL",
            "LOG",
            "LOG_LEVEL",
            "ADMIN_HOST",
            "ADMIN_PORT",
            "HEARTBEAT_URL",
            "PACE",
            "TRUSTED_PROXIES",
        ),
        *("PULL", "PULL_SECONDS", "AT", "ISSUE", "PERIOD", "PULL_REQUEST_TOKEN", "SIGNING_SECRET", "APP_ID", "PYTHON"),
    )
)
"""The settings with our own prefix, with those of a run in GitHub Actions."""
_APP_PREFIXES = ("GITHUB_APP", "GITHUB_WEBHOOK", "GITHUB_CLIENT", "GITHUB_PRIVATE")
"""Names that look like ours; other tools set variables that begin with `GITHUB_`, too."""
_MIN_LIKENESS_RATIO, _MIN_MISSPELLING_RATIO = 0.75, 0.85
"""How alike two names are for one to be suggested, and for one to be taken for the other."""


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
    outgoing: Outgoing = field(default_factory=Outgoing)
    """The operator's certificates and proxy."""
    database_url: str = field(default="", repr=False)
    api_url: str = "https://api.github.com"
    app_id: int = 0
    private_key: str = field(default="", repr=False)
    webhook_secrets: tuple[str, ...] = field(default=(), repr=False)
    public_url: str = ""
    log: str = "text"
    log_level: str = "info"
    enforce_rate_limits: bool = False
    """True: keep GitHub's published limits before it has to enforce them; `read_settings` defaults to True."""
    feeds: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the operator's on-call feeds by name: `FEED_<NAME>`, an address or file path, and its `_FOR`."""
    channels: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables of the operator's channels by name: `CHANNEL_<NAME>_URL`, `_SECRET` and `_FOR`."""
    heartbeat_url: str = field(default="", repr=False)
    """Receives a heartbeat every minute while all is well; empty: none is sent.  Such addresses are secrets."""
    failpoint: str = ""
    pull: bool = False
    """True: fetch deliveries from GitHub's list, since none arrive at the web receiver."""
    pull_seconds: int = 5

    credential_names: frozenset[str] = frozenset()
    """The names of the App's variables that are set, or seem to be set under a misspelled name."""
    misspelled: Mapping[str, str] = field(default_factory=dict)
    """Names that are no settings, and the setting that each resembles."""
    warnings: tuple[str, ...] = ()
    """What an operator should know at the start, a sentence each, without values."""

    @property
    def has_credentials(self) -> bool:
        """True if anything of a GitHub App is set; without, Muster serves against the sandbox GitHub."""
        return bool(self.app_id or self.credential_names)


def read_settings(environment: Mapping[str, str] | None = None, *, folder: Path = Path()) -> Settings:
    """Return the settings of this process; the environment overrides `.env` in `folder`, and empty means unset.

    Raises SettingsFault.
    """
    from app.environment.database_url import check_database_url, find_unencoded_characters
    from app.environment.dotenv_file import read_dotenv_file

    own, file = _own_variables(environment), read_dotenv_file(folder / ".env")
    variables = {**file.variables, **own}
    misspelled = dict(_find_misspelled(variables))
    private_key, key_warnings = _read_private_key(variables, own)
    channels, channel_warnings = _channel_variables(variables)
    feeds, feed_warnings = _feed_variables(variables)
    database_url = check_database_url(variables.get("DATABASE_URL", ""))
    public_url = _parse_url(variables, "MUSTER_PUBLIC_URL", "")
    return Settings(
        home=Path(variables.get("MUSTER_HOME", "var")),
        host=variables.get("MUSTER_HOST", "127.0.0.1"),
        port=_parse_number(variables, "PORT", 8080, maximum=65535),
        trusted_proxies=_parse_networks(variables, "MUSTER_TRUSTED_PROXIES"),
        outgoing=_read_outgoing(variables),
        database_url=database_url,
        api_url=_require_private_transport("GITHUB_API_URL", _parse_url(variables, "GITHUB_API_URL", _GITHUB_API_URL)),
        app_id=_parse_number(variables, "GITHUB_APP_ID", 0),
        private_key=private_key,
        webhook_secrets=_webhook_secrets(variables),
        public_url=public_url,
        admin_host=variables.get("MUSTER_ADMIN_HOST", "127.0.0.1"),
        admin_port=_parse_number(variables, "MUSTER_ADMIN_PORT", 8081, maximum=65535),
        log=_parse_choice(variables, "MUSTER_LOG", ("text", "json")),
        log_level=_parse_choice(variables, "MUSTER_LOG_LEVEL", ("info", "debug", "warning", "error")),
        enforce_rate_limits=_parse_choice(variables, "MUSTER_PACE", ("github", "free")) == "github",
        feeds=feeds,
        channels=channels,
        heartbeat_url=_parse_heartbeat_url(variables),
        failpoint=_parse_failpoint(variables),
        pull=_parse_choice(variables, "MUSTER_PULL", ("0", "1")) == "1",
        pull_seconds=max(1, _parse_number(variables, "MUSTER_PULL_SECONDS", 5, maximum=300)),
        credential_names=_find_credential_names(variables, misspelled),
        misspelled=misspelled,
        warnings=(
            *file.warnings,
            *_hidden_warnings(own, file.variables),
            *(f"{name} is no setting: did you mean {meant}?" for name, meant in misspelled.items()),
            *key_warnings,
            *_transport_warnings(public_url),
            *_password_warnings(find_unencoded_characters(database_url)),
            *channel_warnings,
            *feed_warnings,
        ),
    )


def list_hidden_variables(environment: Mapping[str, str] | None = None, *, folder: Path = Path()) -> tuple[str, ...]:
    """Return the names of the variables of this process that hide another value in `.env`.

    Raises SettingsFault when that file cannot be read.
    """
    from app.environment.dotenv_file import read_dotenv_file

    return _hidden_names(_own_variables(environment), read_dotenv_file(folder / ".env").variables)


def require_app_credentials(settings: Settings) -> Settings:
    """Return the same settings if a GitHub App can start with them.  Raises SettingsFault."""
    from app.environment.private_key import check_private_key

    if not settings.app_id:
        raise SettingsFault(
            "GITHUB_APP_ID is not set: the number on the settings page of your GitHub App."
            + _misspelling_hint(settings, "GITHUB_APP_ID")
        )
    if not settings.private_key:
        raise SettingsFault(
            "no private key: set GITHUB_APP_PRIVATE_KEY_FILE to the .pem file of your GitHub App."
            + _misspelling_hint(settings, "GITHUB_APP_PRIVATE_KEY", "GITHUB_APP_PRIVATE_KEY_FILE")
        )
    check_private_key(settings.private_key)
    if not settings.webhook_secrets:
        raise SettingsFault(
            "GITHUB_WEBHOOK_SECRET is not set: without it anybody could send us deliveries."
            + _misspelling_hint(settings, "GITHUB_WEBHOOK_SECRET")
        )
    return settings


def _own_variables(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Return the variables of the process, without the empty ones: those are unset."""
    given = os.environ if environment is None else environment
    return {name: text for name, value in given.items() if (text := value.strip())}


def _hidden_names(own: Mapping[str, str], file: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(sorted(name for name, value in file.items() if own.get(name, value) != value))


def _hidden_warnings(own: Mapping[str, str], file: Mapping[str, str]) -> Iterator[str]:
    for name in _hidden_names(own, file):
        if name in (*_CREDENTIAL_NAMES, "DATABASE_URL"):
            yield f"{name} of the environment hides another value in .env. Unset it if that of the file is meant."


def _find_misspelled(variables: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the names that look like settings of ours and are none, each with the setting that it resembles."""
    known = {*_CREDENTIAL_NAMES, *_MUSTER_NAMES, "GITHUB_API_URL"}
    for name in sorted(variables):
        if name in known or not name.startswith(("GITHUB", "MUSTER_")):
            continue
        candidates = _MUSTER_NAMES if name.startswith("MUSTER_") else _CREDENTIAL_NAMES
        likeness, meant = max((_likeness(name, candidate), candidate) for candidate in candidates)
        looks_ours = name.startswith((*_APP_PREFIXES, "MUSTER_"))
        if likeness >= (_MIN_LIKENESS_RATIO if looks_ours else _MIN_MISSPELLING_RATIO):
            yield name, meant


def _likeness(name: str, known: str) -> float:
    """Return how alike two names are behind their prefixes, from 0 to 1."""
    ours, theirs = (
        text.replace("_", "").removeprefix("GITHUB").removeprefix("MUSTER").removesuffix("S") for text in (name, known)
    )
    return difflib.SequenceMatcher(None, ours, theirs, autojunk=False).ratio()


def _find_credential_names(variables: Mapping[str, str], misspelled: Mapping[str, str]) -> frozenset[str]:
    return frozenset(
        {name for name in _CREDENTIAL_NAMES if name in variables}
        | {
            name
            for name, meant in misspelled.items()
            if meant in _CREDENTIAL_NAMES and _likeness(name, meant) >= _MIN_MISSPELLING_RATIO
        }
    )


def _misspelling_hint(settings: Settings, *names: str) -> str:
    found = [name for name, meant in settings.misspelled.items() if meant in names]
    return f" {found[0]} is set, which is no setting: is it a misspelling?" if found else ""


def _read_private_key(variables: Mapping[str, str], own: Mapping[str, str]) -> tuple[str, tuple[str, ...]]:
    """Return the private key as PEM, empty if none is given, and warnings.  Raises SettingsFault."""
    text, path = variables.get(_KEY_NAME, ""), variables.get(_KEY_FILE_NAME, "")
    warnings: tuple[str, ...] = ()
    if text and path:
        # The environment goes before the file, whichever of the two names it uses.
        used = _KEY_FILE_NAME if _KEY_FILE_NAME in own and _KEY_NAME not in own else _KEY_NAME
        text, path = ("", path) if used == _KEY_FILE_NAME else (text, "")
        warnings = (f"{_KEY_NAME} and {_KEY_FILE_NAME} are both set; {used} is used.",)
    if path:
        return _read_key_file(_KEY_FILE_NAME, Path(path)), warnings
    return (_parse_key_variable(text) if text else ""), warnings


def _parse_key_variable(text: str) -> str:
    from app.environment.private_key import looks_like_base64, normalize_private_key

    is_path = "-----BEGIN" not in text and not looks_like_base64(text) and len(text.splitlines()) == 1
    if not is_path or not (text.lower().endswith(".pem") or text.startswith(("/", "./", "../", "~/"))):
        return normalize_private_key(text)
    path = Path(text).expanduser()
    if not path.exists():
        raise SettingsFault(f"{_KEY_NAME}: it looks like the path of a file that does not exist.")
    return _read_key_file(_KEY_NAME, path)


def _read_key_file(variable: str, path: Path) -> str:
    from app.environment.private_key import normalize_private_key

    try:
        content, mode = path.expanduser().read_bytes(), path.expanduser().stat().st_mode
    except OSError as problem:
        raise SettingsFault(f"{variable}: {path} cannot be read ({problem.strerror}).") from None
    if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise SettingsFault(f"{variable}: others may read {path}. Run: chmod 400 {path}")
    return normalize_private_key(content)


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
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_url = parts.scheme in ("https", "http") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise SettingsFault(f"{name}: it is no URL, such as https://api.github.com.") from None
    if "@" in text.partition("?")[0]:
        raise SettingsFault(f"{name}: it holds a name or a password before its host, and must not.")
    if not is_url:
        raise SettingsFault(f"{name}: {_excerpt(text)} is no URL, such as https://api.github.com.")
    return text.rstrip("/")


def _require_private_transport(name: str, url: str) -> str:
    """Return the URL of a server that is sent tokens: over https, or on this machine."""
    if url.startswith("http://") and not _is_loopback(url):
        raise SettingsFault(f"{name}: tokens are sent there, so it has to begin with https://, except on this machine.")
    return url


def _is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _transport_warnings(public_url: str) -> Iterator[str]:
    if public_url.startswith("http://") and not _is_loopback(public_url):
        yield "MUSTER_PUBLIC_URL: links with secrets travel there in the clear; use https://"


def _password_warnings(characters: str) -> Iterator[str]:
    if characters:
        yield (
            f"DATABASE_URL: its password holds {' '.join(characters)} as they are, which other programs misread;"
            " percent-encode the password"
        )


def _excerpt(text: str) -> str:
    """Return a value for a message: only a short one, since a secret may stand in the wrong variable."""
    return f"'{text}'" if len(text) <= _MAX_EXCERPT_CHARACTERS and text.isprintable() else "its value"


def _read_outgoing(variables: Mapping[str, str]) -> Outgoing:
    found = Outgoing.from_variables(variables)
    try:
        found.proxy_for("https", "github.com", 443)
    except ProxyFailure as problem:
        raise SettingsFault(str(problem)) from None
    return found


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


def _feed_variables(variables: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the variables of the operator's feeds, and warnings.

    Policies are written by others, so they must not be able to refer to anything else in the environment.
    """
    named = {name: text for name, text in variables.items() if name.startswith("FEED_")}
    found = {
        name: text
        for name, text in named.items()
        if name.endswith(FOR_ENDING)
        or text.startswith("https://")
        or (Path(text).is_absolute() and text.lower().endswith(".ics"))
    }
    warnings = [
        f"{name}: it is neither an https address nor the whole path of an .ics file, so it is no feed."
        for name in named
        if name not in found
    ]
    return found, (*warnings, *_tenant_warnings(found))


def _channel_variables(variables: Mapping[str, str]) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the variables of the operator's channels, and warnings."""
    found, warnings = dict[str, str](), list[str]()
    for name, text in variables.items():
        if not name.startswith("CHANNEL_"):
            continue
        if name.endswith("_SECRET"):
            if len(text) < _MIN_SIGNING_SECRET_CHARACTERS:
                warnings.append(f"{name}: it has fewer than {_MIN_SIGNING_SECRET_CHARACTERS} characters: not used.")
                continue
        elif not name.endswith(FOR_ENDING) and not text.startswith("https://"):
            warnings.append(f"{name}: it is no address that begins with https://, so it is not used.")
            continue
        found[name] = text
    return found, (*warnings, *_tenant_warnings(found))


def _tenant_warnings(variables: Mapping[str, str]) -> Iterator[str]:
    for name, text in variables.items():
        wrong: Iterable[str] = parse_tenants(text)[1] if name.endswith(FOR_ENDING) else ()
        for entry in wrong:
            yield f"{name}: {_excerpt(entry)} is neither an owner nor owner/repository, so it is left out."


def _parse_failpoint(variables: Mapping[str, str]) -> str:
    text = variables.get("FAILPOINT", "")
    _, colon, nth = text.partition(":")
    if colon and not (nth.isascii() and nth.isdigit() and int(nth)):
        raise SettingsFault(f"FAILPOINT: {_excerpt(text)} is not a name and a number, such as after_commit:2.")
    return text


def _parse_number(variables: Mapping[str, str], name: str, default: int, maximum: int = 2**53) -> int:
    text = variables.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit()) or int(text) > maximum:
        raise SettingsFault(f"{name}: {_excerpt(text)} is not a number up to {maximum}.")
    return int(text)


def _parse_choice(variables: Mapping[str, str], name: str, choices: tuple[str, ...]) -> str:
    text = variables.get(name, choices[0]).lower()
    if text not in choices:
        raise SettingsFault(f"{name}: {_excerpt(text)} is none of {', '.join(choices)}.")
    return text
