"""The command line: what it prints, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import app
from tests.shell.night import POLICY, Night

ROOT = Path(app.__file__).parents[1]
FORM = """\
name: Incident
description: Tell us
body:
  - type: input
    id: what
    attributes:
      label: What happened?
  - type: dropdown
    id: severity
    attributes: {label: Severity, options: [SEV1, SEV2]}
  - type: checkboxes
    attributes: {label: Checks, options: [{label: I looked}]}
"""
BODY = "### What happened?\n\nIt is down\n\n### Severity\n\nSEV1\n\n### Checks\n\n- [x] I looked"


def run_muster(*words: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", "app", *words],
        cwd=folder,
        env=own,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_command(tmp_path: Path) -> None:
    done = run_muster("--help", folder=tmp_path)
    assert done.returncode == 0
    for command in (
        "serve",
        "web",
        "worker",
        "demo",
        "parse-form",
        "policy",
        "inbox",
        "outbox",
        "rebuild",
        "state",
        "db",
    ):
        assert f"\n    {command}" in done.stdout


WRONG_USAGES = (
    ["nonsense"],
    [],
    ["policy"],
    ["parse-form"],
    ["db", "drop"],
    ["rebuild", "--issue", "x"],
    ["serve", "--loud"],
    ["inbox"],
    ["outbox", "retry", "x"],
)


@pytest.mark.parametrize("words", WRONG_USAGES, ids=" ".join)
def test_wrong_usage(tmp_path: Path, words: list[str]) -> None:
    done = run_muster(*words, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: muster")
    assert "Traceback" not in done.stderr


def test_parse_form(tmp_path: Path) -> None:
    (tmp_path / "form.yml").write_text(FORM)
    (tmp_path / "body.md").write_text(BODY)
    done = run_muster("parse-form", "--form", "form.yml", "body.md", folder=tmp_path)
    assert done.returncode == 0
    assert json.loads(done.stdout) == {
        "what": "It is down",
        "severity": "SEV1",
        "Checks": [{"label": "I looked", "checked": True}],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["parse-form", "--form", "nowhere.yml", "body.md"], "nowhere.yml: No such file"),
        (["policy", "check", "nowhere.yml"], "nowhere.yml: No such file"),
        (["policy", "check", "."], "Is a directory"),
        (["rebuild", "--issue", "7"], "--issue needs --repo"),
        (["db", "status"], "no server listens (host 127.0.0.1, port 9, database nowhere"),
        (["state", "dump", "--canonical"], "no server listens (host 127.0.0.1, port 9, database nowhere"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_fault_that_the_user_can_mend_is_one_line(tmp_path: Path, words: list[str], says: str) -> None:
    (tmp_path / "body.md").write_text(BODY)
    done = run_muster(*words, folder=tmp_path, DATABASE_URL="postgresql://127.0.0.1:9/nowhere?connect_timeout=1")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert says in line


def test_policy_check(tmp_path: Path) -> None:
    (tmp_path / "good.yml").write_text(POLICY)
    (tmp_path / "bad.yml").write_text(POLICY.replace("Europe/Berlin", "Atlantis") + "sevrities: {}\n")
    assert run_muster("policy", "check", "good.yml", folder=tmp_path).returncode == 0
    done = run_muster("policy", "check", "bad.yml", folder=tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("bad.yml:2:11: timezone: 'Atlantis'")
    assert lines[1].startswith("bad.yml:12:1: ")


def test_the_database_is_looked_after(tonight: Night, tmp_path: Path) -> None:
    url = tonight.database.url
    tonight.github.person("mona").opens(tonight.shop, "Down", "It is down.", ["incident"])
    tonight.advance_and_settle()
    done = run_muster("db", "status", folder=tmp_path, DATABASE_URL=url)
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()} == {"done"}
    assert run_muster("db", "migrate", folder=tmp_path, DATABASE_URL=url).stdout == "the schema is up to date\n"
    dumped = run_muster("state", "dump", "--canonical", folder=tmp_path, DATABASE_URL=url)
    assert dumped.returncode == 0
    assert set(json.loads(dumped.stdout)) == {"incidents", "alarms", "effects"}
    assert dumped.stdout.replace(tonight.github.url, "").count("INC-2026-0314-001") == 1
