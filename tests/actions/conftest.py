"""A runner of GitHub Actions beside the sandbox GitHub, which runs our actions as they are written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import pytest

from tests.actions.expressions import Broken
from tests.actions.interpreter import Job, Machine, RunResult, StandIn, load_yaml, run_action, run_workflow
from tests.runner.conftest import Runner
from tests.runner.conftest import runner as runner  # noqa: PLC0414 -- a fixture is known by its name in this module
from tools.workflows import ACTIONS, COMMIT_PLACEHOLDER, OWNER_PLACEHOLDER, ROOT

LOCK = ROOT / "requirements" / "actions.txt"
SHOP_ID = 1000009
"""The repository's id where no sandbox GitHub is behind the runner."""
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("incident*.yml"))
COPIES = sorted((ROOT / "docs" / "actions").glob("*.yml"))


@dataclass
class Cache:
    """GitHub's cache: `actions/cache/restore` and `actions/cache/save`.

    `fallback` is the folder restored for any key that was not saved; None: a miss.
    """

    folder: Path
    fallback: Path | None = None
    entries: dict[str, Path] = field(default_factory=dict)
    requested_keys: list[str] = field(default_factory=list)

    def restore(self, machine: Machine, inputs: Mapping[str, str]) -> Mapping[str, str]:
        path, key = self._path_and_key(inputs)
        self.requested_keys.append(key)
        found = self.entries.get(key, self.fallback)
        if found is None:
            return {"cache-hit": "false"}
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(found)
        return {"cache-hit": "true"}

    def save(self, machine: Machine, inputs: Mapping[str, str]) -> Mapping[str, str]:
        path, key = self._path_and_key(inputs)
        assert path.is_dir()
        assert key not in self.entries, "GitHub would refuse: a key is written once"
        self.entries[key] = Path(shutil.copytree(path, self.folder / key, symlinks=True))
        return {}

    @staticmethod
    def _path_and_key(inputs: Mapping[str, str]) -> tuple[Path, str]:
        if set(inputs) != {"path", "key"} or not all(inputs.values()):
            raise Broken(f"a cache needs a path and a key, and got {dict(inputs)}")
        if "," in inputs["key"] or len(inputs["key"]) > 512:
            raise Broken(f"no key for a cache: {inputs['key']}")
        return Path(inputs["path"]), inputs["key"]


@dataclass
class SetupPython:
    """`actions/setup-python`, which provides the Python that the test names and records its inputs."""

    python: Path
    calls: list[Mapping[str, str]] = field(default_factory=list)

    def __call__(self, machine: Machine, inputs: Mapping[str, str]) -> Mapping[str, str]:
        known = {"python-version", "update-environment", "check-latest", "architecture", "cache"}
        if unknown := set(inputs) - known:
            raise Broken(f"setup-python has no {unknown}")
        if inputs.get("update-environment") != "false":
            machine.environment["pythonLocation"] = str(self.python.parent.parent)
        self.calls.append(inputs)
        return {"python-version": inputs["python-version"], "python-path": str(self.python)}


@dataclass
class StubEnvironment:
    """An environment whose Python records its arguments and environment, and gives the outputs set by the test."""

    folder: Path

    @classmethod
    def create(cls, folder: Path) -> StubEnvironment:
        (folder / "bin").mkdir(parents=True)
        python = folder / "bin" / "python"
        python.write_text(f"""\
#!{shutil.which("bash")}
if [ "$1" = -I ]; then exit 0; fi
printf '%s\\n' "$@" >'{folder}/words'
{shutil.which("env")} -0 >'{folder}/environment'
if [ -e '{folder}/says' ]; then {shutil.which("cat")} '{folder}/says' >>"$GITHUB_OUTPUT"; fi
""")
        python.chmod(0o755)
        (folder / "ready").touch()
        return cls(folder)

    def set_outputs(self, outputs: Mapping[str, str]) -> None:
        (self.folder / "says").write_text("".join(f"{name}={value}\n" for name, value in outputs.items()))

    def arguments(self) -> list[str]:
        return (self.folder / "words").read_text().splitlines()

    def environment(self) -> dict[str, str]:
        rows = (self.folder / "environment").read_text().rstrip("\0").split("\0")
        return dict(row.split("=", 1) for row in rows)


@dataclass
class Bench:
    """A runner of Actions without a GitHub behind it, for what needs none."""

    machine: Machine
    cache: Cache
    setup_python: SetupPython

    @classmethod
    def create(cls, folder: Path, cached_environment: Path | None = None) -> Bench:
        """Create a machine with nothing but the PATH of this one; its cache holds `cached_environment`."""
        cache, python = Cache(folder / "cache", cached_environment), SetupPython(Path(sys.executable))
        stand_ins = {
            "actions/cache/restore": cache.restore,
            "actions/cache/save": cache.save,
            "actions/setup-python": python,
        }
        places = {f"{OWNER_PLACEHOLDER}/actions/{name}": ROOT / "actions" / name for name in ACTIONS}
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder)}
        machine = Machine(folder / "machine", stand_ins, places, repository=ROOT, environment=environment)
        return cls(machine, cache, python)

    def start_run(self, event: str, payload: Mapping[str, Any], **context: str) -> None:
        """Start a run; `context` is what GitHub adds to the `github` context beside the event."""
        self.machine.github = {
            "event_name": event,
            "event": {"repository": self.repository(), **payload},
            "repository": "octo/shop",
            "repository_owner": "octo",
            "api_url": "http://127.0.0.1:9",
            "server_url": "http://127.0.0.1:9",
            "run_id": "1",
            "run_attempt": "1",
            "sha": "5" * 40,
            "ref": "refs/heads/main",
            "head_ref": "",
            "workflow": "test",
            "actor": "mona",
            "token": self.token({}),
            **context,
        }

    def run_action(self, action: str, event: str, payload: Mapping[str, Any], **given: str) -> RunResult:
        """Run one of our actions for that event; `given` are its inputs, with `_` for `-` in their names."""
        self.start_run(event, payload)
        inputs = {name.replace("_", "-"): value for name, value in given.items()}
        return run_action(self.machine, ROOT / "actions" / action, inputs)

    def run_workflow(self, workflow: Path, event: str, payload: Mapping[str, Any], **context: str) -> dict[str, Job]:
        """Run a workflow for that event, each job with a token of exactly its permissions."""
        self.start_run(event, payload, **context)
        return run_workflow(workflow, self.machine, self.token)

    def repository(self) -> dict[str, Any]:
        return {"id": SHOP_ID, "full_name": "octo/shop", "default_branch": "main"}

    def token(self, rights: Mapping[str, str]) -> str:
        return "a token of " + (", ".join(rights) or "nothing")


@dataclass
class RunnerBench(Bench):
    """A runner of Actions with the sandbox GitHub and its repository behind it."""

    runner: Runner

    def start_run(self, event: str, payload: Mapping[str, Any], **context: str) -> None:
        github, sha = self.runner.github, self.runner.shop.git.refs["refs/heads/main"]
        of_sandbox = {"api_url": github.api_url, "server_url": github.url, "sha": sha, "token": self.runner.token()}
        super().start_run(event, payload, **of_sandbox, **context)

    def set_clock_to_real_time(self, *, hours_ago: float = 2) -> None:
        """Set the sandbox GitHub's clock to that many hours ago.

        A command that runs in its own process has the real clock.
        """
        self.runner.clock.at = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=hours_ago)

    def repository(self) -> dict[str, Any]:
        return self.runner.repository

    def token(self, rights: Mapping[str, str]) -> str:
        self.runner.rights = {"metadata": "read", **{name.replace("-", "_"): how for name, how in rights.items()}}
        return self.runner.token()


def read_locked_versions(lock: Path = LOCK) -> dict[str, str]:
    """Return the distributions that a lock file names, with their versions."""
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", lock.read_text("utf-8"), re.MULTILINE))


@pytest.fixture(scope="session")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build an environment of only what the actions' lock names, linked from the environment of these tests."""
    folder = tmp_path_factory.mktemp("ready")
    subprocess.run([sys.executable, "-I", "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    site = next((folder / "lib").glob("python*/site-packages"))
    for name, version in read_locked_versions().items():
        found = distribution(name)
        assert found.version == version, f"{name} is not the one that requirements/actions.txt names"
        tops = {Path(file).parts[0] for file in found.files or ()} - {".."}
        for top in tops:
            if not (site / top).exists():
                (site / top).symlink_to(Path(str(found.locate_file(top))))
    (folder / "ready").touch()
    return folder


@pytest.fixture
def runner_bench(runner: Runner, ready: Path, tmp_path: Path) -> RunnerBench:
    plain_bench = Bench.create(tmp_path, ready)
    return RunnerBench(plain_bench.machine, plain_bench.cache, plain_bench.setup_python, runner)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench.create(tmp_path)


@pytest.fixture
def stub(bench: Bench, tmp_path: Path) -> StubEnvironment:
    """Replace Muster and all it runs on by a stub, where only the steps around it matter."""
    bench.cache.fallback = StubEnvironment.create(tmp_path / "stub").folder
    return StubEnvironment(bench.cache.fallback)


@dataclass
class CalledActions:
    """Records which of our actions a workflow called, with which inputs; all return `outputs`."""

    inputs: dict[str, Mapping[str, str]] = field(default_factory=dict)
    outputs: dict[str, str] = field(default_factory=dict)

    def stand_in_for(self, action: str) -> StandIn:
        declared = load_yaml(ROOT / "actions" / action / "action.yml")["inputs"]

        def record_call(machine: Machine, inputs: Mapping[str, str]) -> Mapping[str, str]:
            if unknown := set(inputs) - set(declared):
                raise Broken(f"{action} has no input {unknown}")
            self.inputs[action] = inputs
            return self.outputs

        return record_call


@pytest.fixture
def called(bench: Bench) -> CalledActions:
    """Replace our own actions by stand-ins, where only the jobs around them matter."""
    calls = CalledActions()
    ours = {
        f"{where}/actions/{name}": calls.stand_in_for(name) for where in ("$", OWNER_PLACEHOLDER) for name in ACTIONS
    }
    bench.machine.stand_ins = {**bench.machine.stand_ins, **ours}
    return calls


__all__ = [
    "ACTIONS",
    "COMMIT_PLACEHOLDER",
    "COPIES",
    "LOCK",
    "OWNER_PLACEHOLDER",
    "ROOT",
    "WORKFLOWS",
    "CalledActions",
    "RunnerBench",
    "StubEnvironment",
    "read_locked_versions",
]
