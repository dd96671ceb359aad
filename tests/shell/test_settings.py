"""A wrong setting is reported in one clear line, and nothing is started (A3)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from app.cli.main import main
from app.sandbox.github import AppRegistration
from app.settings import SettingsFault, read_settings, require_app_credentials

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
    ({"MUSTER_TRUSTED_PROXIES": "proxy.example"}, "MUSTER_TRUSTED_PROXIES: 'proxy.example' does not appear to be"),
    (
        {"MUSTER_HEARTBEAT_URL": "http://monitor.example/x"},
        "MUSTER_HEARTBEAT_URL: it is no address that begins with https",
    ),
]


@pytest.mark.parametrize(("set_to", "says"), FAULTS, ids=[says[:40] for _, says in FAULTS])
def test_a3_a_fault_is_one_clear_line_and_exit_code_2(
    alone: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    key: str,
    set_to: dict[str, str],
    says: str,
) -> None:
    for name, value in set_to.items():
        monkeypatch.setenv(name, value.replace("{key}", key))
    assert main(["web"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    (line,) = err.splitlines()
    assert line.startswith("muster: ")
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


def test_dot_env_lies_below_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text(
        "# ours\n\nexport GITHUB_APP_ID=7\nPORT = '9000'\nMUSTER_PUBLIC_URL=\"https://desk.example/\"\nnonsense\n"
    )
    found = read_settings({"PORT": "9001"}, folder=tmp_path)
    assert (found.app_id, found.port, found.public_url) == (7, 9001, "https://desk.example")


def test_fc_s13_proxies_are_addresses_and_networks() -> None:
    assert read_settings({}).trusted_proxies == ()
    named = read_settings({"MUSTER_TRUSTED_PROXIES": "10.0.0.5, fd00::/64"}).trusted_proxies
    assert [str(one) for one in named] == ["10.0.0.5/32", "fd00::/64"]


def test_a_secret_that_is_missing_is_not_an_empty_one(key: str) -> None:
    with pytest.raises(SettingsFault):
        require_app_credentials(
            read_settings({"GITHUB_APP_ID": "7", "GITHUB_APP_PRIVATE_KEY": key, "GITHUB_WEBHOOK_SECRET": ""})
        )
