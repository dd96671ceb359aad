"""Runs composite actions and the jobs of workflows as the runner of GitHub Actions would, on this machine.

Steps run in a real bash with the files that the runner provides; a step sees only what it is given.  Actions of other
authors are stand-ins passed in by the test.  What GitHub would quietly ignore, such as an undeclared input, raises
Broken here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from tests.actions.expressions import Broken, Expressions, StrictContext, as_text

SHELLS = {"bash": ("bash", "--noprofile", "--norc", "-eo", "pipefail")}
_COMMAND = re.compile(r"::([a-z-]+)(?: ([^:]*))?::(.*)")
_COMMAND_NAMES = ("error", "warning", "notice", "debug", "group", "endgroup", "add-mask")
_STEP_KEYS = {"name", "id", "if", "uses", "with", "run", "shell", "env", "working-directory", "continue-on-error"}
_ACTION_KEYS = {"name", "description", "author", "branding", "inputs", "outputs", "runs"}
_JOB_KEYS = {
    "name",
    "needs",
    "if",
    "runs-on",
    "timeout-minutes",
    "permissions",
    "outputs",
    "env",
    "steps",
    "concurrency",
}
_RESERVED_VARIABLES = re.compile(r"GITHUB_|RUNNER_|NODE_OPTIONS$")
"""Names of variables that a step may not set for later ones."""

Files = Mapping[str, str]
StandIn = Callable[["Machine", Mapping[str, str]], Mapping[str, str]]
"""Replacement for an action of another author: takes its inputs, returns its outputs."""


@dataclass(frozen=True)
class Annotation:
    """A workflow command in a log that GitHub shows as an annotation."""

    kind: str
    message: str
    properties: Mapping[str, str]


@dataclass
class RunResult:
    """What an action or a job left behind."""

    ok: bool = True
    outputs: Mapping[str, str] = field(default_factory=dict)
    log: list[str] = field(default_factory=list)
    annotations: list[Annotation] = field(default_factory=list)
    summary: str = ""
    steps: dict[str, str] = field(default_factory=dict)
    """The result of each step by name, steps of nested actions included: `success`, `failure` or `skipped`."""

    def messages_of(self, kind: str) -> list[str]:
        """Return the messages of the annotations of that kind, such as `error`."""
        return [one.message for one in self.annotations if one.kind == kind]


@dataclass
class Machine:
    """One runner: its folders, its contexts and the stand-ins for actions of other authors."""

    folder: Path
    stand_ins: Mapping[str, StandIn]
    """By the part of `uses:` before the @."""
    action_folders: Mapping[str, Path] = field(default_factory=dict)
    """The folders of actions in other repositories, by the part of `uses:` before the @."""
    repository: Path | None = None
    """The workflow's repository at its commit, which `$/` names; `./` is the workspace."""
    github: dict[str, Any] = field(default_factory=dict)
    """The `github` context with its `event`; plain values become GITHUB_... variables of each step."""
    environment: dict[str, str] = field(default_factory=dict)
    """The machine's own variables, such as PATH, and those that steps have set for later ones."""
    os: str = "Linux"
    _file_numbers: Iterator[int] = field(default_factory=count, repr=False)

    @property
    def workspace(self) -> Path:
        return self._ensure_folder("workspace")

    @property
    def temp(self) -> Path:
        return self._ensure_folder("temp")

    def _ensure_folder(self, name: str) -> Path:
        path = self.folder / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def new_file(self, prefix: str) -> Path:
        """Create an empty file outside the workspace."""
        path = self._ensure_folder("files") / f"{prefix.lower()}-{next(self._file_numbers)}"
        path.touch()
        return path

    def contexts(self) -> dict[str, Any]:
        runner = StrictContext(os=self.os, arch="X64", temp=str(self.temp), name="here")
        return {"github": {**self.github, "workspace": str(self.workspace)}, "runner": runner}

    def environment_variables(self) -> dict[str, str]:
        """Return the environment variables of each step."""
        plain = {
            f"GITHUB_{name.upper()}": str(value) for name, value in self.github.items() if _is_exported(name, value)
        }
        event = self._ensure_folder("files") / "event.json"
        event.write_text(json.dumps(self.github.get("event", {})))
        return {
            **self.environment,
            **plain,
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_EVENT_PATH": str(event),
            "GITHUB_WORKSPACE": str(self.workspace),
            "RUNNER_OS": self.os,
            "RUNNER_ARCH": "X64",
            "RUNNER_TEMP": str(self.temp),
        }


def _is_exported(name: str, value: Any) -> bool:
    """Return whether a context value becomes a variable.

    The token does not: a step that wants it has to name it.
    """
    return name != "token" and isinstance(value, (str, int))


def load_yaml(path: Path) -> Any:
    """Load a YAML file of GitHub's with every value as text, as expressions see it, so that `on` is no boolean."""
    return yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # noqa: S506 -- it makes nothing but texts


def run_action(
    machine: Machine,
    folder: Path,
    given: Mapping[str, str],
    job_result: RunResult | None = None,
    *,
    step_path: str = "",
) -> RunResult:
    """Run the composite action in `folder` with these inputs.

    `job_result` is what its job has done so far; None: the action runs alone.
    """
    action = load_yaml(folder / "action.yml")
    _check_keys(action, _ACTION_KEYS, f"{folder.name}/action.yml")
    if action["runs"].get("using") != "composite":
        raise Broken(f"{folder}: only composite actions are run here")
    inputs = _resolve_inputs(machine, folder.name, action.get("inputs") or {}, given)
    result = (
        RunResult()
        if job_result is None
        else RunResult(log=job_result.log, annotations=job_result.annotations, steps=job_result.steps)
    )
    scope = _Scope(machine, result, {"inputs": inputs}, {"GITHUB_ACTION_PATH": str(folder)}, step_path)
    scope.run(action["runs"]["steps"])
    texts = scope.expressions()
    result.outputs = {name: texts.interpolate(one["value"]) for name, one in (action.get("outputs") or {}).items()}
    return result


def _resolve_inputs(
    machine: Machine, name: str, declared: Mapping[str, Any], given: Mapping[str, str]
) -> StrictContext:
    if unknown := set(given) - set(declared):
        raise Broken(f"{name} has no input {', '.join(sorted(unknown))}")
    texts = Expressions(machine.contexts(), {})
    found = StrictContext()
    for key, one in declared.items():
        if one.get("required") == "true" and not given.get(key):
            raise Broken(f"{name} needs the input {key}")
        found[key] = given[key] if key in given else texts.interpolate(one.get("default", ""))
    return found


@dataclass
class _Scope:
    """Steps that see each other's outputs: those of one action, or of one job."""

    machine: Machine
    result: RunResult
    contexts: dict[str, Any]
    env: dict[str, str]
    path: str = ""
    steps: StrictContext = field(default_factory=StrictContext)

    def expressions(self, env: Mapping[str, str] | None = None) -> Expressions:
        contexts = {**self.machine.contexts(), **self.contexts, "steps": self.steps, "env": dict(env or self.env)}
        functions = {
            "success": lambda: self.result.ok,
            "failure": lambda: not self.result.ok,
            "always": lambda: True,
            "cancelled": lambda: False,
        }
        return Expressions(contexts, functions)

    def run(self, steps: Sequence[Mapping[str, Any]]) -> None:
        # All ids are known from the start: using a skipped step is no typo, it only has no outputs.
        self.steps.update({step["id"]: _step_context() for step in steps if "id" in step})
        for step in steps:
            _check_keys(step, _STEP_KEYS, step.get("name", "a step"))
            name = self.path + str(step.get("name") or step.get("uses") or step.get("run"))
            if not self.expressions().evaluate_condition(step.get("if", "success()")):
                self.result.steps[name] = "skipped"
                continue
            ok, outputs = self._run_step(step, name)
            self.result.steps[name] = "success" if ok else "failure"
            continue_on_error = self.expressions().interpolate(step.get("continue-on-error", "false")) == "true"
            if "id" in step:
                self.steps[step["id"]] = _step_context(outputs, ok, ok or continue_on_error)
            self.result.ok = self.result.ok and (ok or continue_on_error)

    def _run_step(self, step: Mapping[str, Any], name: str) -> tuple[bool, Mapping[str, str]]:
        texts = self.expressions()
        env = {**self.env, **{key: texts.interpolate(value) for key, value in (step.get("env") or {}).items()}}
        if "uses" in step:
            given = {key: texts.interpolate(value) for key, value in (step.get("with") or {}).items()}
            return self._use_action(str(step["uses"]), given, name)
        return self._run_shell(step, env)

    def _use_action(self, uses: str, inputs: Mapping[str, str], name: str) -> tuple[bool, Mapping[str, str]]:
        action_name, _, _ = uses.partition("@")
        if action_name in self.machine.stand_ins:
            return True, self.machine.stand_ins[action_name](self.machine, inputs)
        folder = self._action_folder(action_name)
        if folder is None or not (folder / "action.yml").is_file():
            raise Broken(f"no stand-in for {uses}")
        inner = run_action(self.machine, folder, inputs, self.result, step_path=f"{name} / ")
        self.result.summary += inner.summary
        return inner.ok, inner.outputs

    def _action_folder(self, action_name: str) -> Path | None:
        if action_name.startswith("./"):
            return self.machine.workspace / action_name
        if action_name.startswith("$/") and self.machine.repository is not None and not self.path:
            return self.machine.repository / action_name[2:]
        return self.machine.action_folders.get(action_name)

    def _run_shell(self, step: Mapping[str, Any], env: Mapping[str, str]) -> tuple[bool, Mapping[str, str]]:
        if "${{" in step["run"]:
            raise Broken(f"an expression inside run: anybody's words would be a command: {step['run']}")
        if step.get("shell") not in SHELLS:
            raise Broken(f"no such shell here: {step.get('shell')}")
        script = self.machine.new_file("script.sh")
        script.write_text(step["run"])
        files = {name: self.machine.new_file(name) for name in ("ENV", "PATH", "OUTPUT", "STEP_SUMMARY", "STATE")}
        file_variables = {f"GITHUB_{name}": str(path) for name, path in files.items()}
        process = subprocess.run(
            [*SHELLS[step["shell"]], str(script)],
            cwd=self.machine.workspace / self.expressions().interpolate(step.get("working-directory", "")),
            env={**self.machine.environment_variables(), **env, **file_variables},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=300,
            check=False,
        )
        for line in process.stdout.decode("utf-8", "replace").splitlines():
            self.result.log.append(line)
            self.result.annotations.extend(annotations(line))
        self._apply_settings(files)
        self.result.summary += files["STEP_SUMMARY"].read_text("utf-8")
        return process.returncode == 0, parse_settings(files["OUTPUT"].read_text("utf-8"))

    def _apply_settings(self, files: Mapping[str, Path]) -> None:
        """Apply the variables and PATH entries that a step sets for all later steps of its job."""
        for name, value in parse_settings(files["ENV"].read_text("utf-8")).items():
            if _RESERVED_VARIABLES.match(name):
                raise Broken(f"a step may not set {name}")
            self.machine.environment[name] = value
        for folder in files["PATH"].read_text("utf-8").split():
            self.machine.environment["PATH"] = f"{folder}{os.pathsep}{self.machine.environment['PATH']}"


def _step_context(
    outputs: Mapping[str, str] | None = None, outcome_ok: bool | None = None, conclusion_ok: bool | None = None
) -> StrictContext:
    words = {None: "skipped", True: "success", False: "failure"}
    return StrictContext(outputs=dict(outputs or {}), outcome=words[outcome_ok], conclusion=words[conclusion_ok])


def parse_settings(text: str) -> dict[str, str]:
    """Parse a file such as GITHUB_OUTPUT: `name=value`, or `name<<END`, lines, `END`."""
    found: dict[str, str] = {}
    lines = iter(text.splitlines())
    for line in lines:
        heredoc = re.fullmatch(r"([^=<]+)<<(.+)", line)
        if heredoc:
            name, end = heredoc[1], heredoc[2]
            value: list[str] = []
            for inner in lines:
                if inner == end:
                    break
                value.append(inner)
            else:
                raise Broken(f"{name} has no end {end}")
            found[name] = "\n".join(value)
            continue
        name, equals, plain = line.partition("=")
        if line and not (name and equals):
            raise Broken(f"neither name=value nor name<<END: {line}")
        if line:
            found[name] = plain
    return found


def annotations(line: str) -> Iterator[Annotation]:
    """Yield the workflow command that a log line holds, if it is one."""
    found = _COMMAND.fullmatch(line.lstrip())
    if found is None:
        return
    if found[1] not in _COMMAND_NAMES:
        raise Broken(f"no workflow command: {line}")
    pairs = [pair.partition("=") for pair in (found[2] or "").split(",") if pair]
    yield Annotation(found[1], _unescape(found[3]), {name.strip(): _unescape(value) for name, _, value in pairs})


def _unescape(text: str) -> str:
    for code, character in (("%0D", "\r"), ("%0A", "\n"), ("%3A", ":"), ("%2C", ","), ("%25", "%")):
        text = text.replace(code, character)
    return text


# Workflows.


@dataclass
class Job:
    """One job of a run, and its result."""

    result: str
    permissions: Mapping[str, str]
    run_result: RunResult


def run_workflow(path: Path, machine: Machine, token: Callable[[Mapping[str, str]], str]) -> dict[str, Job]:
    """Run the jobs of the workflow if `machine.github` starts it; return no jobs otherwise.

    `token` makes a job's token from the permissions it asks for, so that a missing permission is found.
    """
    workflow, github = load_yaml(path), machine.github
    inputs = _inputs_if_started(workflow["on"], github)
    if inputs is None:
        return {}
    contexts = {"inputs": inputs, "secrets": {}, "vars": {}}
    expressions = Expressions({**machine.contexts(), **contexts}, {})
    github["concurrency"] = expressions.interpolate((workflow.get("concurrency") or {}).get("group", ""))
    jobs: dict[str, Job] = {}
    for name, job in workflow["jobs"].items():
        _check_keys(job, _JOB_KEYS, name)
        jobs[name] = _run_job(job, workflow, machine, jobs, contexts, token)
    return jobs


def _run_job(
    job: Mapping[str, Any],
    workflow: Mapping[str, Any],
    machine: Machine,
    jobs: Mapping[str, Job],
    contexts: Mapping[str, Any],
    token: Callable[[Mapping[str, str]], str],
) -> Job:
    names = [job["needs"]] if isinstance(job.get("needs"), str) else list(job.get("needs") or [])
    needs = StrictContext(
        {name: StrictContext(outputs=dict(jobs[name].run_result.outputs), result=jobs[name].result) for name in names}
    )
    permissions = job["permissions"] if "permissions" in job else workflow["permissions"]
    scope = _Scope(machine, RunResult(), {**contexts, "needs": needs}, dict(workflow.get("env") or {}))
    scope.result.ok = all(jobs[name].result == "success" for name in names)
    if not scope.expressions().evaluate_condition(job.get("if", "success()")):
        return Job("skipped", permissions, RunResult())
    scope.result.ok = True
    machine.github["token"] = token(permissions)
    scope.run(job["steps"])
    texts = scope.expressions()
    scope.result.outputs = {key: texts.interpolate(value) for key, value in (job.get("outputs") or {}).items()}
    return Job("success" if scope.result.ok else "failure", permissions, scope.result)


def _inputs_if_started(on: Any, github: Mapping[str, Any]) -> StrictContext | None:
    """Return the workflow's inputs if the event starts it, else None; path filters are left to GitHub."""
    event, payload = github["event_name"], github.get("event", {})
    if not isinstance(on, Mapping) or event not in on:
        return None
    filters = on[event] or {}
    if event == "schedule" and payload.get("schedule") not in [row["cron"] for row in filters]:
        return None
    if "types" in filters and payload.get("action") not in filters["types"]:
        return None
    # On any event but workflow_dispatch, every input is present and empty.
    declared = (on.get("workflow_dispatch") or {}).get("inputs") or {}
    given = payload.get("inputs") or {} if event == "workflow_dispatch" else {}
    if unknown := set(given) - set(declared):
        raise Broken(f"no such input: {', '.join(sorted(unknown))}")
    by_default = {
        name: one.get("default", "") if event == "workflow_dispatch" else "" for name, one in declared.items()
    }
    return StrictContext({name: as_text(given.get(name, default)) for name, default in by_default.items()})


def _check_keys(mapping: Mapping[str, Any], known: set[str], where: str) -> None:
    if unknown := set(mapping) - known:
        raise Broken(f"{where}: unknown keys {', '.join(sorted(unknown))}")
