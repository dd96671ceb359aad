"""A wrong setting is reported in one clear line, and nothing is started (A3)."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from psycopg.conninfo import conninfo_to_dict

from app.cli.main import main
from app.sandbox.github import AppRegistration
from app.settings import Settings, SettingsFault, list_hidden_variables, read_settings, require_app_credentials

CANARY = "canary0that0nobody0may0see"
GOOD_SECRET = "a-secret-that-nobody-could-guess-1"


@pytest.fixture(scope="module")
def key() -> str:
    return AppRegistration.generate().private_key_pem


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """Yield an empty working folder, with the environment cleared."""
    monkeypatch.chdir(tmp_path)
    for name in ("DATABASE_URL", "FAILPOINT", "PORT"):
        monkeypatch.delenv(name, raising=False)
    yield tmp_path
    structlog.reset_defaults()  # the log wrote to this test's stderr


FAULTS: list[tuple[dict[str, str], str]] = [
    ({}, "GITHUB_APP_ID is not set"),
    ({"GITHUB_APP_ID": "seven"}, "GITHUB_APP_ID: 'seven' is not a number"),
    ({"GITHUB_APP_ID": "7"}, "no private key: set GITHUB_APP_PRIVATE_KEY_FILE"),
    (
        {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": "nonsense", "GITHUB_WEBHOOK_SECRET": GOOD_SECRET},
        "no private key in PEM",
    ),
    ({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": "{key}"}, "GITHUB_WEBHOOK_SECRET is not set"),
    ({"GITHUB_WEBHOOK_SECRET": "development"}, "GITHUB_WEBHOOK_SECRET: too easy to guess; at least 32 characters"),
    ({"GITHUB_WEBHOOK_SECRET": "a" * 64}, "GITHUB_WEBHOOK_SECRET: too easy to guess"),
    (
        {"GITHUB_WEBHOOK_SECRET": GOOD_SECRET, "GITHUB_WEBHOOK_SECRET_OLD": "x"},
        "GITHUB_WEBHOOK_SECRET_OLD: too easy to guess",
    ),
    ({"GITHUB_APP_PRIVATE_KEY_FILE": "nowhere.pem"}, "nowhere.pem cannot be read"),
    ({"PORT": "-1"}, "PORT: '-1' is not a number up to 65535"),
    ({"PORT": "65536"}, "PORT: '65536' is not a number"),
    ({"PORT": "８０"}, "PORT: '８０' is not a number"),
    ({"MUSTER_LOG": "loud"}, "MUSTER_LOG: 'loud' is none of text, json"),
    ({"MUSTER_PACE": "fast"}, "MUSTER_PACE: 'fast' is none of github, free"),
    ({"FAILPOINT": "after_commit:soon"}, "FAILPOINT: 'after_commit:soon'"),
    ({"GITHUB_API_URL": "api.github.com"}, "GITHUB_API_URL: 'api.github.com' is no URL"),
    # FC-S14: the App's token is sent there.
    (
        {"GITHUB_API_URL": "http://ghes.example/api/v3"},
        "GITHUB_API_URL: tokens are sent there, so it has to begin with https",
    ),
    ({"GITHUB_API_URL": "http://127.0.0.1.example/"}, "GITHUB_API_URL: tokens are sent there"),
    ({"GITHUB_API_URL": "https://{canary}@ghes.example/"}, "GITHUB_API_URL: it holds a name or a password"),
    ({"GITHUB_API_URL": "{canary}@ghes.example"}, "GITHUB_API_URL: it holds a name or a password"),
    ({"MUSTER_PUBLIC_URL": "https://me:{canary}@desk.example"}, "MUSTER_PUBLIC_URL: it holds a name or a password"),
    ({"MUSTER_PUBLIC_URL": "https://[desk"}, "MUSTER_PUBLIC_URL: it is no URL"),
    ({"GITHUB_APP_ID": "{canary}"}, "GITHUB_APP_ID: its value is not a number"),
    ({"MUSTER_LOG_LEVEL": "chatty"}, "MUSTER_LOG_LEVEL: 'chatty' is none of info, debug, warning, error"),
    ({"MUSTER_ADMIN_PORT": "x"}, "MUSTER_ADMIN_PORT: 'x' is not a number"),
    # FC-O2: a name that is misspelled is named beside the one that is missing.
    (
        {"GITHUB_APPID": "7", "GITHUB_APP_PRIVATE_KEY": "{key}"},
        "GITHUB_APP_ID is not set: the number on the settings page of your GitHub App. GITHUB_APPID is set",
    ),
    (
        {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY_PATH": "app.pem"},
        "GITHUB_APP_PRIVATE_KEY_PATH is set, which is no",
    ),
    (
        {"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": "{key}", "GITHUB_WEBHOOKS_SECRET": GOOD_SECRET},
        "GITHUB_WEBHOOKS_SECRET is set, which is no setting: is it a misspelling?",
    ),
    ({"GITHUB_APP_PRIVATE_KEY": "/nowhere/{canary}.pem"}, "it looks like the path of a file that does not exist"),
    # FC-O4, TS-14: what stands there instead of an address of PostgreSQL.
    ({"DATABASE_URL": "mysql://u:{canary}@db/muster"}, "DATABASE_URL: 'mysql://' is not PostgreSQL, the only database"),
    ({"DATABASE_URL": "sqlite:///{canary}.db"}, "'sqlite://' is not PostgreSQL"),
    (
        {"DATABASE_URL": "postgresql+psycopg://u:{canary}@db/x"},
        "'postgresql+psycopg://' is the spelling of another program",
    ),
    ({"DATABASE_URL": "jdbc:postgresql://db/x?password={canary}"}, "write it as postgresql://"),
    ({"DATABASE_URL": "postgresql://u:{canary}@{canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:{canary}/{canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:{canary}%{canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:12/{canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:{canary}@#/{canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:a {canary}@db/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:{canary}@db:54x/x"}, "percent-encode the password"),
    ({"DATABASE_URL": "postgresql://u:p@db/x?{canary}=1"}, "that PostgreSQL's library does not know"),
    ({"DATABASE_URL": "{canary}"}, "DATABASE_URL: it is neither a URL"),
    ({"DATABASE_URL": "host=db password={canary} word"}, "DATABASE_URL: it is neither a URL"),
    ({"MUSTER_TRUSTED_PROXIES": "proxy.example"}, "MUSTER_TRUSTED_PROXIES: 'proxy.example' does not appear to be"),
    (
        {"MUSTER_HEARTBEAT_URL": "http://monitor.example/x"},
        "MUSTER_HEARTBEAT_URL: it is no address that begins with https",
    ),
]


@pytest.mark.parametrize(
    ("set_to", "says"), FAULTS, ids=[f"{next(iter(given), '')}-{says[:40]}" for given, says in FAULTS]
)
def test_a3_a_fault_is_one_clear_line_and_exit_code_2(
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
    set_to: dict[str, str],
    says: str,
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value.replace("{key}", key).replace("{canary}", CANARY))
    assert main(["web"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    *warnings, line = err.splitlines()
    assert all("is no setting: did you mean" in warning for warning in warnings)
    assert line.startswith("muster: ")
    assert CANARY not in err
    assert says in line
    assert key not in line
    assert list(alone.iterdir()) == [], "nothing was started"


def test_a3_a_key_file_that_others_may_read_is_refused(
    alone: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], key: str
) -> None:
    file = alone / "key.pem"
    file.write_text(key)
    file.chmod(0o644)
    monkeypatch.setenv("GITHUB_APP_PRIVATE_KEY_FILE", str(file))
    assert main(["worker"]) == 2
    assert f"others may read {file}. Run: chmod 400 {file}" in capsys.readouterr().err
    file.chmod(0o400)
    assert read_settings({"GITHUB_APP_PRIVATE_KEY_FILE": str(file)}).private_key == key


def test_what_is_complete_stays_out_of_sight(key: str) -> None:
    environment = {
        "GITHUB_APP_ID": "7",
        "GITHUB_APP_PRIVATE_KEY": key.replace("\n", "\\n"),
        "GITHUB_WEBHOOK_SECRET": GOOD_SECRET,
        "GITHUB_WEBHOOK_SECRET_OLD": GOOD_SECRET[::-1],
        "DATABASE_URL": "postgresql://muster:password@db/muster",
    }
    found = require_app_credentials(read_settings(environment))
    assert found.private_key == key
    assert found.webhook_secrets == (GOOD_SECRET, GOOD_SECRET[::-1])
    for secret in (key, GOOD_SECRET, GOOD_SECRET[::-1], "password"):
        assert secret not in repr(found)


def read_with_dotenv(folder: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    (folder / ".env").write_text(text)
    (folder / ".env").chmod(0o600)
    return read_settings(environment or {}, folder=folder)


def test_dot_env_lies_below_the_environment(tmp_path: Path) -> None:
    text = "# ours\n\nexport GITHUB_APP_ID=7\nPORT = '9000'\nMUSTER_PUBLIC_URL=\"https://desk.example/\"\nnonsense\n"
    found = read_with_dotenv(tmp_path, text, {"PORT": "9001"})
    assert (found.app_id, found.port, found.public_url) == (7, 9001, "https://desk.example")
    assert found.warnings == ()


def test_fc_o5_dot_env_is_read_by_the_rules_of_python_dotenv(tmp_path: Path, key: str) -> None:
    """FC-O5: comments behind a value, a key over several lines, and a dollar sign that stays one."""
    text = (
        "\ufeffPORT=9000 # the proxy knows it\nGITHUB_APP_ID=7\t# ours\nMUSTER_HOME='var # not a comment'\n"
        f'GITHUB_APP_PRIVATE_KEY="{key}"\nDATABASE_URL="host=db password=a${{PORT}}$b"\nMUSTER_LOG=\n'
    )
    found = read_with_dotenv(tmp_path, text)
    assert (found.port, found.app_id, found.home, found.log) == (9000, 7, Path("var # not a comment"), "text")
    assert found.private_key == key
    assert found.database_url == "host=db password=a${PORT}$b"


def test_a_line_of_dot_env_that_cannot_be_read_is_named_by_its_number(tmp_path: Path) -> None:
    found = read_with_dotenv(tmp_path, f"PORT=9000\nA B={CANARY}\nMUSTER_LOG=json\n")
    assert (found.port, found.log) == (9000, "json")
    (warning,) = found.warnings
    assert "line 2 cannot be read" in warning
    assert CANARY not in warning


def test_dot_env_that_is_no_utf_8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"PORT=9000\nMUSTER_HOME=f\xfcr\n")
    (tmp_path / ".env").chmod(0o600)
    with pytest.raises(SettingsFault, match="line 2 is not UTF-8"):
        read_settings({}, folder=tmp_path)


def test_a_folder_called_dot_env_is_none_of_ours(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    assert read_settings({}, folder=tmp_path).port == 8080


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
@pytest.mark.parametrize("linked", [False, True])
def test_fc_s14_a_dot_env_that_others_may_write_is_refused(tmp_path: Path, mode: int, linked: bool) -> None:
    """FC-S14: they could send the App's token to a server of their own."""
    file = tmp_path / ("real.env" if linked else ".env")
    file.write_text("GITHUB_API_URL=https://elsewhere.example\n")
    file.chmod(mode)
    if linked:
        (tmp_path / ".env").symlink_to(file)
    with pytest.raises(SettingsFault, match=r"others may write it.*Run: chmod 600 .*\.env"):
        read_settings({}, folder=tmp_path)


def test_fc_s14_a_dot_env_in_a_folder_that_all_may_write_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n")
    (tmp_path / ".env").chmod(0o600)
    tmp_path.chmod(0o777)
    with pytest.raises(SettingsFault, match="Run: chmod o-w"):
        read_settings({}, folder=tmp_path)
    tmp_path.chmod(0o1777)
    assert read_settings({}, folder=tmp_path).port == 9000, "nobody else can replace it there, as in /tmp"
    tmp_path.chmod(0o700)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_fc_s14_a_dot_env_of_somebody_else_is_told(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n")
    (tmp_path / ".env").chmod(0o600)
    os.chown(tmp_path / ".env", 12345, -1)
    (warning,) = read_settings({}, folder=tmp_path).warnings
    assert "belongs to another user (id 12345)" in warning


def test_fc_s14_a_dot_env_that_others_may_read_is_warned_about(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("PORT=9000\n")
    (tmp_path / ".env").chmod(0o644)
    found = read_settings({}, folder=tmp_path)
    assert found.port == 9000
    assert found.warnings == (
        f"{tmp_path}/.env: others may read the secrets in it. To change that: chmod 600 {tmp_path}/.env",
    )


def test_ts_06_an_empty_variable_hides_nothing(tmp_path: Path) -> None:
    """TS-06: compose passes `GITHUB_APP_ID=` where the machine has no such variable."""
    found = read_with_dotenv(
        tmp_path, "GITHUB_APP_ID=7\nPORT=9000\nMUSTER_LOG=json\n", {"GITHUB_APP_ID": "", "PORT": " "}
    )
    assert (found.app_id, found.port, found.log) == (7, 9000, "json")
    assert list_hidden_variables({"GITHUB_APP_ID": ""}, folder=tmp_path) == ()
    empty = dict.fromkeys(
        ("MUSTER_HOME", "MUSTER_HOST", "MUSTER_LOG", "MUSTER_PACE", "MUSTER_PULL", "DATABASE_URL"), ""
    )
    defaults = read_settings(empty, folder=tmp_path / "none")
    assert (defaults.home, defaults.host, defaults.log, defaults.pull) == (Path("var"), "127.0.0.1", "text", False)


def test_ts_06_a_stale_variable_that_hides_the_file_s_is_named(tmp_path: Path) -> None:
    environment = {"GITHUB_APP_ID": "8", "PORT": "9001", "DATABASE_URL": f"host=db password={CANARY}"}
    text = f"GITHUB_APP_ID=7\nPORT=9000\nMUSTER_LOG=json\nDATABASE_URL=postgresql://u:{CANARY}x@db/x\n"
    found = read_with_dotenv(tmp_path, text, environment)
    assert found.app_id == 8
    assert list_hidden_variables(environment, folder=tmp_path) == ("DATABASE_URL", "GITHUB_APP_ID", "PORT")
    assert [warning.partition(" ")[0] for warning in found.warnings] == ["DATABASE_URL", "GITHUB_APP_ID"]
    assert CANARY not in repr(found)
    assert list_hidden_variables({"GITHUB_APP_ID": "7"}, folder=tmp_path) == ()


def test_fc_o2_names_of_other_tools_are_not_judged() -> None:
    of_actions = (
        "ACTION",
        "ACTIONS",
        "ACTOR",
        "API_URL",
        "ENV",
        "EVENT_PATH",
        "JOB",
        "PATH",
        "REF",
        "REPOSITORY",
        "RUN_ID",
    )
    environment = {f"GITHUB_{name}": "https://api.github.com" for name in of_actions} | {
        "GITHUB_TOKEN": "x", "GITHUB_STEP_SUMMARY": "x", "GITHUB_WORKFLOW": "x", "GITHUB_SHA": "x", "MUSTER_SOMETHING": "x",
        "GITHUB_GRAPHQL_URL": "x", "GITHUB_SERVER_URL": "x", "GITLAB_CLIENT_SECRET": "x", "GITHUB_ACTION_PATH": "x",
    }  # fmt: skip
    found = read_settings(environment)
    assert (found.warnings, found.has_credentials) == ((), False)
    found = read_settings({"MUSTER_PORTS": "1", "MUSTER_LOGLEVEL": "debug", "MUSTER_PUBLIC_URI": "x"})
    assert found.warnings == (
        "MUSTER_LOGLEVEL is no setting: did you mean MUSTER_LOG_LEVEL?",
        "MUSTER_PUBLIC_URI is no setting: did you mean MUSTER_PUBLIC_URL?",
    )


@pytest.mark.parametrize(
    "given",
    [
        {"GITHUB_APPID": "7"},
        {"GITHUB_APP_I": "7"},
        {"GITHUB_WEBHOOK_SECRET": GOOD_SECRET},
        {"GITHUB_WEBHOOK_SECRETS": GOOD_SECRET},
        {"GITHUB_CLIENT_ID": "Iv1.x"},
        {"GITHUB_APP_PRIVATE_KEY": "x"},
    ],
    ids=lambda given: next(iter(given)),
)
def test_fc_o2_part_of_the_credentials_is_never_the_sandbox(given: dict[str, str]) -> None:
    assert read_settings(given).has_credentials
    assert not read_settings({}).has_credentials


def spoil(key: str) -> dict[str, str]:
    """Return the key as forms, shells and secret stores make it."""
    loaded = s.load_pem_private_key(key.encode(), None)
    pkcs8 = loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()
    pkcs1 = loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption()).decode()
    der = loaded.private_bytes(s.Encoding.DER, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption())
    base64_of_pem = base64.b64encode(pkcs1.encode()).decode()
    body = "".join(pkcs8.splitlines()[1:-1])
    return {
        "PKCS#1": pkcs1,
        "PKCS#8": pkcs8,
        "literal newlines": pkcs1.replace("\n", "\\n"),
        "literal CRLF": pkcs1.replace("\n", "\\r\\n"),
        "CRLF": pkcs1.replace("\n", "\r\n"),
        "blanks": pkcs1.replace("\n", " "),
        "no newlines": pkcs8.replace("\n", ""),
        "single quotes": f"'{pkcs1}'",
        "quotes and literal newlines": '"' + pkcs8.replace("\n", "\\n") + '"',
        "base64": base64_of_pem,
        "base64 in lines": "\n".join(base64_of_pem[n : n + 76] for n in range(0, len(base64_of_pem), 76)),
        "base64 without padding": base64_of_pem.rstrip("="),
        "base64 twice": base64.b64encode(base64_of_pem.encode()).decode(),
        "url-safe base64": base64.urlsafe_b64encode(pkcs8.encode()).decode(),
        "base64 of DER": base64.b64encode(der).decode(),
        "the body alone": body,
        "indented": "\n".join(f"    {line}" for line in pkcs1.splitlines()),
        "with a comment before": f"Bag Attributes\n    friendlyName: app\n{pkcs8}",
    }


FORMS = (
    "PKCS#1", "PKCS#8", "literal newlines", "literal CRLF", "CRLF", "blanks", "no newlines", "single quotes",
    "quotes and literal newlines", "base64", "base64 in lines", "base64 without padding", "base64 twice",
    "url-safe base64", "base64 of DER", "the body alone", "indented", "with a comment before",
)  # fmt: skip


def numbers_of(pem: str) -> object:
    loaded = load_pem_private_key(pem.encode(), None)
    assert isinstance(loaded, RSAPrivateKey)
    return loaded.private_numbers()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("place", ["variable", "file", ".env"])
def test_ts_10_a_private_key_is_read_in_whatever_form_it_comes(tmp_path: Path, key: str, form: str, place: str) -> None:
    """TS-10: web forms, shells and secret stores change a key in these ways."""
    text = spoil(key)[form]
    environment = {"GITHUB_APP_ID": "7", "GITHUB_WEBHOOK_SECRET": GOOD_SECRET}
    if place == "variable":
        environment["GITHUB_APP_PRIVATE_KEY"] = text
    elif place == "file":
        (tmp_path / "key.pem").write_bytes(text.encode())
        (tmp_path / "key.pem").chmod(0o400)
        environment["GITHUB_APP_PRIVATE_KEY_FILE"] = str(tmp_path / "key.pem")
    else:
        quoted = text if form == "single quotes" or text.startswith('"') else f"'{text}'"
        (tmp_path / ".env").write_text(f"GITHUB_APP_PRIVATE_KEY={quoted}\n", newline="")
        (tmp_path / ".env").chmod(0o600)
    found = require_app_credentials(read_settings(environment, folder=tmp_path))
    assert numbers_of(found.private_key) == numbers_of(key)


def test_ts_10_a_path_in_the_variable_of_the_key_is_read(tmp_path: Path, key: str) -> None:
    file = tmp_path / "app.pem"
    file.write_text(key)
    file.chmod(0o400)
    found = read_settings({"GITHUB_APP_PRIVATE_KEY": str(file)})
    assert numbers_of(found.private_key) == numbers_of(key)
    file.chmod(0o440)
    with pytest.raises(SettingsFault, match="others may read"):
        read_settings({"GITHUB_APP_PRIVATE_KEY": str(file)})


def other_texts(key: str) -> dict[str, str]:
    """Return what is no private key of an App, by what the fault says of it."""
    loaded: Any = s.load_pem_private_key(key.encode(), None)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "muster")])
    day = datetime(2026, 3, 14, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder(name, name, loaded.public_key(), 7, day, day + timedelta(days=1))
        .sign(loaded, hashes.SHA256())
        .public_bytes(s.Encoding.PEM)
        .decode()
    )
    public = loaded.public_key().public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo).decode()
    ssh = loaded.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH).decode()
    locked = s.BestAvailableEncryption(b"x")
    encrypted = loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, locked).decode()
    old_encrypted = loaded.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, locked).decode()
    curve = ec.generate_private_key(ec.SECP256R1())
    curve_sec1 = curve.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption()).decode()
    curve_pkcs8 = curve.private_bytes(s.Encoding.PEM, s.PrivateFormat.PKCS8, s.NoEncryption()).decode()
    return {
        "looks like a certificate": certificate,
        "it is a public key;": public,
        "public key for ssh": ssh,
        "it is encrypted": encrypted,
        "it is encrypted with": old_encrypted,
        "for elliptic curves": curve_sec1,
        "it is not an RSA key": curve_pkcs8,
        "its last line is missing": key[: len(key) // 2],
        "damaged or cut off": "\n".join([*key.splitlines()[:5], *key.splitlines()[-1:]]),
        "base64 of a certificate": "".join(certificate.splitlines()[1:-1]),
        "base64 of something else: it looks like a certificate": base64.b64encode(certificate.encode()).decode(),
        "base64 of a public key": "".join(public.splitlines()[1:-1]),
        "and it is encrypted": "".join(encrypted.splitlines()[1:-1]),
        "base64, but of no key": base64.b64encode(b"x" * 400).decode(),
        "fingerprint of a key": "SHA256:" + base64.b64encode(b"x" * 32).decode(),
        "it holds none": "hunter2",
    }


@pytest.mark.parametrize("says", sorted(other_texts(AppRegistration.generate().private_key_pem)))
def test_ts_10_what_is_no_private_key_is_called_what_it_is(key: str, says: str) -> None:
    text = other_texts(key)[says]
    with pytest.raises(SettingsFault) as raised:
        require_app_credentials(
            read_settings({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": text, "GITHUB_WEBHOOK_SECRET": GOOD_SECRET})
        )
    message = str(raised.value)
    assert says in message
    assert "\n" not in message
    assert not any(line in message for line in text.splitlines() if len(line) > 20 or line == "hunter2")


def test_ts_10_of_two_keys_one_is_used_and_that_is_said(tmp_path: Path, key: str) -> None:
    file = tmp_path / "app.pem"
    file.write_text("unused")
    file.chmod(0o400)
    both = {"GITHUB_APP_PRIVATE_KEY": key, "GITHUB_APP_PRIVATE_KEY_FILE": str(file)}
    found = read_settings(both)
    assert found.private_key == key
    assert "are both set; GITHUB_APP_PRIVATE_KEY is used" in found.warnings[0]
    file.chmod(0o600)
    file.write_text(key)
    found = read_with_dotenv(tmp_path, "GITHUB_APP_PRIVATE_KEY=stale\n", {"GITHUB_APP_PRIVATE_KEY_FILE": str(file)})
    assert found.private_key == key, "the environment goes before the file"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:pa%23ss@db/x",
        "postgres://u:pa@db:5432/x?sslmode=require",
        "POSTGRESQL://u@db",
        "postgresql:///x?host=/var/run/postgresql&user=a@b",
        "postgresql://u:p@[::1]:5432/x",
        "postgresql://u:p@a:1,b:2/x?target_session_attrs=any",
        "host=db dbname=x password='a#/@%:b'",
        "'postgresql://u:p@db/x'",
    ],
)
def test_ts_14_addresses_that_postgresql_understands_are_taken(url: str) -> None:
    found = read_settings({"DATABASE_URL": url})
    assert conninfo_to_dict(found.database_url)
    assert found.warnings == ()


@pytest.mark.parametrize("character", ["#", ":", "?"])
def test_ts_14_a_password_that_others_would_misread_works_with_a_warning(character: str) -> None:
    found = read_settings({"DATABASE_URL": f"postgresql://u:{CANARY}{character}x@db/muster"})
    assert conninfo_to_dict(found.database_url)["password"] == f"{CANARY}{character}x"
    (warning,) = found.warnings
    assert "percent-encode the password" in warning
    assert CANARY not in warning


def test_http_is_for_this_machine_alone() -> None:
    for url in ("http://localhost:8080", "http://127.0.0.1:1", "http://[::1]:80/api"):
        assert read_settings({"GITHUB_API_URL": url}).api_url == url
    found = read_settings({"MUSTER_PUBLIC_URL": "http://desk.lan"})
    assert "MUSTER_PUBLIC_URL: links with secrets travel there in the clear" in found.warnings[0]


def test_fc_s13_proxies_are_addresses_and_networks() -> None:
    assert read_settings({}).trusted_proxies == ()
    named = read_settings({"MUSTER_TRUSTED_PROXIES": "10.0.0.5, fd00::/64"}).trusted_proxies
    assert [str(one) for one in named] == ["10.0.0.5/32", "fd00::/64"]


def test_a_secret_that_is_missing_is_not_an_empty_one(key: str) -> None:
    with pytest.raises(SettingsFault):
        require_app_credentials(
            read_settings({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": key, "GITHUB_WEBHOOK_SECRET": ""})
        )
